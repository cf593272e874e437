"""Equal pod templates are judged and planned once: clusters have the same app in many namespaces.

A verdict depends only on the pod template and the policy. A plan depends only on the parts of its key: of the object,
``plan`` reads nothing but the pod template.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from kubectl_harden.model import Finding, Learned, Level, Policy
from kubectl_harden.pod_security.control import Control
from kubectl_harden.pod_security.location import Location
from kubectl_harden.pod_security.policy import evaluate, highest_level

if TYPE_CHECKING:
    from kubectl_harden.plan_model import Plan
    from kubectl_harden.planning.options import FixOptions

__all__ = ["Evaluation", "evaluated", "once"]

MOST: Final = 4096
"""At most this many plans are kept."""
MOST_EVALUATIONS: Final = 1024
_PLANS: Final[dict[bytes, Plan]] = {}
_EVALUATIONS: Final[dict[bytes, Evaluation]] = {}
MOST_OPTIONS: Final = 16
_OPTIONS: Final[dict[int, tuple[FixOptions, str]]] = {}
"""By id; the reference keeps Python from reusing the id for another object."""

_K = TypeVar("_K")
_T = TypeVar("_T")


class Evaluation(NamedTuple):
    """What a policy forbids in a pod, in the API server's order, and the highest level that the pod meets."""

    findings: tuple[tuple[Control, Finding], ...]
    level: Level


def evaluated(location: Location, policy: Policy) -> Evaluation:
    """Return the evaluation of a pod template by a policy. Raises InputError where it cannot be decoded."""

    def make() -> Evaluation:
        pod = location.pod()
        findings = evaluate(pod, policy)
        return Evaluation(tuple(findings), highest_level(pod, policy, [control.level for control, _ in findings]))

    if not _is_alone(location) and not location.undecided:
        key = _digest(location.value, f"{location.is_pod} {policy.level} {policy.minor}")
        return _kept(_EVALUATIONS, MOST_EVALUATIONS, key, make)
    return make()


def once(
    location: Location,
    policy: Policy,
    options: FixOptions,
    learned: Learned,
    accepted: Mapping[str, str],
    make: Callable[[], Plan],
) -> Plan:
    """Return the plan that ``make`` makes for these arguments, or has made for equal ones.

    It is always made where a person chooses, and for a pod template that no API server has decoded or that is spread
    over its object. Raises what ``make`` raises.
    """
    if options.choose is not None or _is_alone(location):
        return make()
    place = (location.path, location.is_pod, location.pod_security_context, location.undecided)
    about = f"{_text(place, policy)}{dict(learned)!r}{dict(accepted)!r}{_asked(options)}"
    return _kept(_PLANS, MOST, _digest(location.value, about), make)


@lru_cache(MOST_EVALUATIONS)
def _text(*about: object) -> str:
    return repr(about)


def _asked(options: FixOptions) -> str:
    """Return a person's options as text; it is made once, because it is the same for all plans of a command."""

    def make() -> tuple[FixOptions, str]:
        return options, repr(options._replace(learn=type(options)().learn))

    return _kept(_OPTIONS, MOST_OPTIONS, id(options), make)[1]


def _is_alone(location: Location) -> bool:
    return not location.decoded or location.spread


def _kept(kept: dict[_K, _T], most: int, key: _K, make: Callable[[], _T]) -> _T:
    found = kept.get(key)
    if found is None:
        if len(kept) >= most:
            kept.clear()
        found = kept[key] = make()
    return found


def _digest(value: Any, rest: str) -> bytes:
    """Return a digest that only equal values share: unlike ==, it distinguishes 1, 1.0 and True."""
    # Imported late: manifests are judged without it.
    import hashlib

    # Version 2 has no references, which would make the texts of equal values differ.
    text = marshal.dumps(value, 2)
    return hashlib.blake2b(b"%d\n%b%b" % (len(text), text, rest.encode(errors="surrogatepass"))).digest()
