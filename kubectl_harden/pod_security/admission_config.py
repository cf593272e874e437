"""The API server's configuration of Pod Security admission: defaults for namespaces without labels, and exemptions.

Source: k8s.io/apiserver/pkg/admission/config.go (the AdmissionConfiguration that --admission-control-config-file
names), and k8s.io/pod-security-admission, admission/api/load, admission/api/validation and admission/api/v1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError, SyntaxFault, meant
from kubectl_harden.field_path import field_path
from kubectl_harden.model import Path
from kubectl_harden.pod_security.controls._words import go_quote
from kubectl_harden.pod_security.namespace_labels import (
    MODES,
    UNCONFIGURED,
    Defaults,
    invalid_level,
    invalid_version,
    policy_of_words,
)
from kubectl_harden.pod_security.policy import NEWEST
from kubectl_harden.yaml_text.documents import Document, documents

__all__ = ["AdmissionConfig", "Elsewhere", "Parsed", "parse_admission_config", "read_admission_config"]

PLUGIN: Final = "PodSecurity"
_DEFAULTS: Final = (*MODES, *(f"{mode}-version" for mode in MODES))
_ADMISSION: Final = "AdmissionConfiguration"
_ADMISSION_VERSIONS: Final = ("apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1")
_POD_SECURITY: Final = "PodSecurityConfiguration"
_POD_SECURITY_VERSIONS: Final = tuple(
    f"pod-security.admission.config.k8s.io/{v}" for v in ("v1", "v1beta1", "v1alpha1")
)

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NOT_A_LABEL: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    f"'{_LABEL}')"
)
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_NOT_A_SUBDOMAIN: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)


class AdmissionConfig(NamedTuple):
    """An API server's configuration of Pod Security admission; ``file`` is the name that reports give it."""

    defaults: Defaults = UNCONFIGURED
    usernames: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    runtime_classes: tuple[str, ...] = ()
    file: str = ""


class Elsewhere(NamedTuple):
    """An AdmissionConfiguration that refers to another file, by a path relative to its own directory."""

    path: str


Parsed = AdmissionConfig | Elsewhere


def parse_admission_config(text: str) -> Parsed:
    """Return the content of an AdmissionConfiguration, or of a PodSecurityConfiguration alone.

    As the API server does, only the first document is read. Raises SyntaxFault, with the place of the error.
    """
    document = next(documents(text), None)
    if not isinstance(document, Document):
        fault = (document.message, document.offset) if document is not None else ("the file is empty", 0)
        raise SyntaxFault(*fault)
    for offset, key in document.repeated:
        raise SyntaxFault(f'the key "{key}" is repeated', offset)
    try:
        return read_admission_config(document.value)
    except InputError as error:
        raise SyntaxFault(error.args[0], document.offset_of(error.path or ())) from None


def read_admission_config(value: object) -> Parsed:
    """Return the content of such a document, by its value. Raises InputError with the path of the error."""
    head = _fields(value, (), None)
    kind, version = (_text(head.get(key), (key,)) for key in ("kind", "apiVersion"))
    if (kind, version) in ((_POD_SECURITY, known) for known in _POD_SECURITY_VERSIONS):
        return _pod_security(value, ())
    if (kind, version) in ((_ADMISSION, known) for known in _ADMISSION_VERSIONS):
        return _plugin(_fields(value, (), ("apiVersion", "kind", "plugins")))
    raise InputError(
        f"this is not an API server's admission configuration: write apiVersion {_ADMISSION_VERSIONS[0]} and kind "
        f"{_ADMISSION}, or {_POD_SECURITY_VERSIONS[0]} and {_POD_SECURITY}"
    )


def _plugin(head: dict[str, object]) -> Parsed:
    """Return the configuration of the PodSecurity plugin; the first of several counts."""
    found: list[tuple[Path, object, str]] = []
    for index, plugin in enumerate(_items(head.get("plugins"), ("plugins",))):
        path = ("plugins", index)
        fields = _fields(plugin, path, ("name", "path", "configuration"))
        name, elsewhere = (_text(fields.get(key), (*path, key)) for key in ("name", "path"))
        if name == PLUGIN:
            found.append(((*path, "configuration"), fields.get("configuration"), elsewhere))
    for where, inline, elsewhere in found[:1]:
        if inline is not None:
            return _pod_security(inline, where)
        if elsewhere:
            return Elsewhere(elsewhere)
    return AdmissionConfig()


def _pod_security(value: object, base: Path) -> AdmissionConfig:
    """Return a PodSecurityConfiguration, decoded strictly, defaulted, and validated."""
    top = _fields(value, base, ("apiVersion", "kind", "defaults", "exemptions"))
    if top.get("kind") != _POD_SECURITY or top.get("apiVersion") not in _POD_SECURITY_VERSIONS:
        raise InputError(f"write apiVersion {_POD_SECURITY_VERSIONS[0]} and kind {_POD_SECURITY}", base)
    given = _fields(top.get("defaults"), (*base, "defaults"), _DEFAULTS)
    texts = {key: _text(given.get(key), (*base, "defaults", key)) for key in _DEFAULTS}
    exempt = _fields(top.get("exemptions"), (*base, "exemptions"), tuple(_EXEMPTIONS))
    names = {key: _names(exempt.get(key), (*base, "exemptions", key)) for key in _EXEMPTIONS}
    _validate(texts, names, base)
    defaults = {
        mode: policy_of_words(f"{texts[mode] or 'privileged'}:{texts[f'{mode}-version'] or 'latest'}", NEWEST)
        for mode in MODES
    }
    return AdmissionConfig(defaults, names["usernames"], names["namespaces"], names["runtimeClasses"])


def _names(value: object, path: Path) -> tuple[str, ...]:
    return tuple(_text(item, (*path, index)) for index, item in enumerate(_items(value, path)))


def _validate(defaults: Mapping[str, str], exemptions: Mapping[str, tuple[str, ...]], base: Path) -> None:
    """Raise InputError for the first error (ValidatePodSecurityConfiguration); empty values mean the defaults."""
    for key, text in defaults.items():
        words = invalid_version(text) if key.endswith("-version") else invalid_level(text)
        if text and words:
            raise _invalid(base, ("defaults", key), text, words)
    for key, names in exemptions.items():
        for index, name in enumerate(names):
            path = ("exemptions", key, index)
            words = _EXEMPTIONS[key](name)
            if words:
                raise _invalid(base, path, name, words)
            if name in names[:index]:
                raise InputError(f"{field_path(path)}: Duplicate value: {go_quote(name)}", (*base, *path))


def _invalid(base: Path, path: Path, value: str, words: str) -> InputError:
    return InputError(f"{field_path(path)}: Invalid value: {go_quote(value)}: {words}", (*base, *path))


def _wrong_namespace(name: str) -> str:
    faults = _too_long(name, 63)
    if not re.fullmatch(_LABEL, name):
        faults.append("must not contain dots" if re.fullmatch(_SUBDOMAIN, name) else _NOT_A_LABEL)
    return ", ".join(faults)


def _wrong_runtime_class(name: str) -> str:
    faults = [] if re.fullmatch(_SUBDOMAIN, name) else [_NOT_A_SUBDOMAIN]
    return ", ".join([*_too_long(name, 253), *faults])


def _wrong_username(name: str) -> str:
    return "" if name else "username must not be empty"


_EXEMPTIONS: Final[dict[str, Callable[[str], str]]] = {
    "namespaces": _wrong_namespace,
    "runtimeClasses": _wrong_runtime_class,
    "usernames": _wrong_username,
}
"""For each list of exemptions, the validation of a name in it; in the order in which they are validated."""


def _too_long(name: str, limit: int) -> list[str]:
    # Go's len() counts bytes.
    return [f"must be no more than {limit} characters"] if len(name.encode()) > limit else []


# -- decoding --------------------------------------------------------------------------------------


def _fields(value: object, path: Path, known: tuple[str, ...] | None) -> dict[str, Any]:
    """Return an object's fields, none for null. Raises InputError for another type, and for unknown fields."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _type(path, "an object")
    for key in value if known is not None else ():
        if key not in (known or ()):
            raise InputError(f'unknown field "{field_path((*path, key))}".{meant(key, known or ())}', (*path, key))
    return value


def _items(value: Any, path: Path) -> list[object]:
    if value is not None and not isinstance(value, list):
        raise _type(path, "a list")
    return value or []


def _text(value: object, path: Path) -> str:
    if value is not None and not isinstance(value, str):
        raise _type(path, "a string")
    return value or ""


def _type(path: Path, wanted: str) -> InputError:
    where = f"{field_path(path)}: " if path else ""
    return InputError(f"{where}must be {wanted}", path)
