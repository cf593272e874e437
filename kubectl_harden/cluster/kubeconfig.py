"""How an API server is reached, and with which credentials: the only module that imports ``kubernetes``.

The kubernetes package finds the server, the certificates, the proxy and the credentials (plugins included).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kubectl_harden.errors import ClusterError
from kubectl_harden.json_values import mapping
from kubectl_harden.text_files import read_text

if TYPE_CHECKING:
    from urllib3 import PoolManager

__all__ = ["IMPERSONATE", "Access", "ClusterOptions", "Described", "described", "entries_of", "first_line", "log_in"]

IMPERSONATE: Final = "Impersonate-User"
_SERVICE_ACCOUNT_NAMESPACE: Final = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_CONNECTIONS: Final = 16
_SEEN: Final = "'NoneType' object has no attribute 'strip'"
"""What the kubernetes package raises where a plugin fails at a terminal, which got the output that it looks for."""


class ClusterOptions(NamedTuple):
    """How to reach the cluster, as given by kubectl's global options.

    ``timeout`` is for a whole request with all its attempts, in seconds; 0 stands for LONGEST_REQUEST.
    """

    kubeconfig: str | None = None
    context: str | None = None
    cluster: str | None = None
    user: str | None = None
    server: str | None = None
    token: str | None = None
    as_user: str | None = None
    as_groups: tuple[str, ...] = ()
    insecure: bool = False
    certificate_authority: str | None = None
    timeout: float = 0

    def words(self) -> tuple[str, ...]:
        """Return the options that lead to the same cluster as the same user. A token is never put on a command line."""
        named = {
            "--kubeconfig": self.kubeconfig,
            "--context": self.context,
            "--cluster": self.cluster,
            "--user": self.user,
            "--server": self.server,
            "--certificate-authority": self.certificate_authority,
            "--as": self.as_user,
        }
        words = [word for option, value in named.items() if value for word in (option, value)]
        words += [word for group in self.as_groups for word in ("--as-group", group)]
        return (*words, *(("--insecure-skip-tls-verify",) if self.insecure else ()))


class _Chosen(NamedTuple):
    """What a kubeconfig says besides the server and the credentials: see Access."""

    context: str | None = None
    namespace: str = "default"
    impersonation: tuple[tuple[str, str], ...] = ()


class Access:
    """What a request to the API server needs.

    ``server`` is its URL, ``context`` the context's name (None in a pod, or with --server alone), ``namespace`` the
    context's, ``impersonation`` the headers that impersonate another user.
    """

    def __init__(self, configuration: Any, chosen: _Chosen) -> None:
        self._configuration = configuration
        self.server = str(configuration.host)
        self._renewing = Lock()
        self.context, self.namespace, self.impersonation = chosen

    def authorization(self) -> str | None:
        """Return the current Authorization header: tokens of plugins and files are renewed when they expire.

        One thread renews it, and the others wait for the result: a plugin may prompt a person.
        """
        with self._renewing:
            found: str | None = self._configuration.get_api_key_with_prefix("BearerToken")
        return found

    def pool(self) -> PoolManager:
        """Return connections with the certificates and the proxy. Raises ClusterError where they cannot be used."""
        from kubernetes.client.rest import RESTClientObject

        try:
            pool: PoolManager = RESTClientObject(self._configuration).pool_manager
        except (OSError, ValueError) as error:
            raise ClusterError(f"the kubeconfig cannot be used: {first_line(error)}") from None
        return pool


def log_in(options: ClusterOptions) -> Access:
    """Read the kubeconfig, and run its credential plugin. Raises ClusterError where it cannot be used."""
    from kubernetes.client.configuration import Configuration

    words = _Words()
    logging.getLogger().addHandler(words)
    try:
        with _usable():
            configuration = Configuration()
            chosen = _configure(configuration, options)
    finally:
        logging.getLogger().removeHandler(words)
    if words.said:
        raise ClusterError(f"no credentials: {'; '.join(words.said)}")
    _overrule(configuration, options)
    return Access(configuration, chosen)


@contextmanager
def _usable() -> Iterator[None]:
    """Raise ClusterError for what the kubernetes package raises about a kubeconfig that cannot be used."""
    from kubernetes.config.config_exception import ConfigException

    try:
        yield
    except (ConfigException, OSError, ValueError) as error:
        raise ClusterError(f"the kubeconfig cannot be used: {first_line(error)}") from None
    except (AttributeError, KeyError, IndexError, TypeError, RecursionError):
        raise ClusterError("the kubeconfig cannot be used: one of its fields has the wrong type") from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "yaml":
            raise
        raise ClusterError(f"the kubeconfig is not YAML: {first_line(error)}") from None


def _overrule(configuration: Any, options: ClusterOptions) -> None:
    """Override what the kubeconfig says with the options of the command line."""
    if options.server:
        configuration.host = options.server.rstrip("/")
    if options.token:
        configuration.api_key["BearerToken"] = f"Bearer {options.token}"
        configuration.refresh_api_key_hook = None
    if options.insecure:
        configuration.verify_ssl = False
    if options.certificate_authority:
        configuration.ssl_ca_cert = options.certificate_authority
    configuration.connection_pool_maxsize = _CONNECTIONS
    # Like client-go: a dead connection is noticed within a minute and a half.
    configuration.keep_alive = True
    if not configuration.verify_ssl:
        import urllib3

        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        configuration.ssl_ca_cert = None


def _configure(configuration: object, options: ClusterOptions) -> _Chosen:
    """Fill a configuration in from the kubeconfig, or from the pod that this runs in."""
    from kubernetes.config.incluster_config import SERVICE_HOST_ENV_NAME, load_incluster_config
    from kubernetes.config.kube_config import KubeConfigLoader

    merged = _merged(options.kubeconfig)
    if merged.config is None:
        namespace = "default"
        if os.environ.get(SERVICE_HOST_ENV_NAME):
            load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            if os.path.exists(_SERVICE_ACCOUNT_NAMESPACE):
                namespace = read_text(_SERVICE_ACCOUNT_NAMESPACE).strip()
        elif not options.server:
            raise ClusterError(
                "no cluster is configured: set KUBECONFIG or --kubeconfig, or name --server "
                "(to check manifests instead: -f FILE)"
            )
        return _Chosen(None, namespace, _impersonation({}, options))
    config: dict[str, Any] = merged.config.value
    # Of several files the first that says it counts, as for kubectl.
    named = (text["current-context"] for text in merged.config_files.values() if text.get("current-context"))
    name = options.context or next(named, None)
    context = _entry(config, "contexts", name, "context")
    if name is not None and context is None:
        known = ", ".join(sorted(str(_value(item).get("name")) for item in config["contexts"]))
        raise ClusterError(f'the kubeconfig has no context "{name}"; it has: {known or "none"}')
    cluster = options.cluster or (context or {}).get("cluster")
    user = options.user or (context or {}).get("user")
    namespace = (context or {}).get("namespace") or "default"
    if cluster is None and options.server:
        return _Chosen(name, namespace, _impersonation({}, options))
    for kind, given, known_as in (("clusters", cluster, "cluster"), ("users", user, "user")):
        if given is not None and _entry(config, kind, given, known_as) is None:
            raise ClusterError(f'the kubeconfig has no {known_as} "{given}"')
    if cluster is None and name is not None:
        raise ClusterError(f'the context "{name}" of the kubeconfig names no cluster')
    if cluster is None:
        raise ClusterError("the kubeconfig names no current context: use --context")
    chosen = {"name": "kubectl-harden", "context": {"cluster": cluster, "user": user}}
    config["contexts"].append(type(merged.config)("context", chosen, merged.config.path))
    loader: Any = KubeConfigLoader
    loader(merged.config, active_context="kubectl-harden", config_base_path=None).load_and_set(configuration)
    return _Chosen(name, namespace, _impersonation(_entry(config, "users", user, "user") or {}, options))


class _Words(logging.Handler):
    """Keeps what the kubernetes package only logs in this thread: why a credential plugin failed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._thread = get_ident()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            said = first_line(record.getMessage())
            self.said.append("exec: the credential plugin failed; its own message is above" if said == _SEEN else said)


def entries_of(kubeconfig: str | None, section: str) -> list[str]:
    """Return the names in a section (contexts, clusters, users) of the kubeconfig; none where there is no kubeconfig.

    Raises ClusterError where it cannot be read.
    """
    with _usable():
        merged = _merged(kubeconfig)
        return [str(_value(item)["name"]) for item in merged.config.value[section]] if merged.config else []


class Described(NamedTuple):
    """What a kubeconfig says of a context: its API server ("" where that is not said), and its credential plugin.

    ``may_ask``: the plugin may use the terminal, which client-go's interactiveMode ``Never`` forbids.
    """

    server: str
    may_ask: bool


def described(options: ClusterOptions, contexts: Sequence[str]) -> list[Described]:
    """Return what the kubeconfig says of contexts; no plugin is run. Raises ClusterError where it cannot be read."""
    with _usable():
        merged = _merged(options.kubeconfig)
        config = merged.config.value if merged.config else {"contexts": [], "clusters": [], "users": []}
        return [_described(config, name, options.user) for name in contexts]


def _described(config: dict[str, Any], name: str, user: str | None) -> Described:
    context = mapping(_entry(config, "contexts", name, "context"))
    cluster = mapping(_entry(config, "clusters", context.get("cluster"), "cluster"))
    plugin = mapping(mapping(_entry(config, "users", user or context.get("user"), "user")).get("exec"))
    may_ask = bool(plugin) and plugin.get("interactiveMode") != "Never" and os.isatty(0)
    return Described(str(cluster.get("server") or "").rstrip("/"), may_ask)


def _merged(kubeconfig: str | None) -> Any:
    """Return the files of the kubeconfig as one. Raises ClusterError, and what the kubernetes package raises."""
    from kubernetes.config.kube_config import KubeConfigMerger

    if kubeconfig and not os.path.exists(kubeconfig):
        raise ClusterError(f"--kubeconfig {kubeconfig}: no such file")
    paths = kubeconfig or os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
    # kubectl reads an empty file, such as /dev/null, as an empty configuration.
    filled = os.pathsep.join(path for path in paths.split(os.pathsep) if not _is_empty(path))
    merged: Any = KubeConfigMerger(filled)  # type: ignore[no-untyped-call]
    for path, config in merged.config_files.items():
        _refuse_twins(path, config)
    return merged


def _refuse_twins(path: str, config: Mapping[str, Any]) -> None:
    """Refuse a file with two entries of one name, as client-go does (tools/clientcmd/api/v1/conversion.go)."""
    for section in ("contexts", "clusters", "users"):
        seen: set[str] = set()
        for name in (str(item["name"]) for item in config.get(section) or ()):
            if name in seen:
                raise ClusterError(f'the kubeconfig {path} has two {section} named "{name}": rename one of them')
            seen.add(name)


def _is_empty(path: str) -> bool:
    """Whether a file is there and has nothing in it."""
    try:
        with open(path, "rb") as file:
            return not file.read(1)
    except OSError:
        return False


def _value(item: object) -> Any:
    return getattr(item, "value", item)


def _entry(config: dict[str, Any], kind: str, name: str | None, key: str) -> dict[str, Any] | None:
    for item in config[kind]:
        found = _value(item)
        if name is not None and found.get("name") == name:
            return found.get(key) or {}
    return None


def _impersonation(user: dict[str, Any], options: ClusterOptions) -> tuple[tuple[str, str], ...]:
    """Return the headers for ``--as``, or for a kubeconfig's ``as``."""
    name = options.as_user or user.get("as")
    if not name:
        return ()
    headers = [(IMPERSONATE, name)]
    headers.extend(("Impersonate-Group", group) for group in options.as_groups or user.get("as-groups") or ())
    if user.get("as-uid") and not options.as_user:
        headers.append(("Impersonate-Uid", user["as-uid"]))
    return tuple(headers)


def first_line(error: object) -> str:
    """Return the first line of what an error says, or its type."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
