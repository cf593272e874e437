"""Equal pod templates are planned for once: clusters have the same app in many namespaces.

A plan depends on nothing but what its key is made of: ``plan`` reads the object along the pod template alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kubectl_harden.model import Learned, Plan, Policy
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.location import Location

__all__ = ["once"]

MOST: Final = 4096
"""So many plans are kept."""
_PLANS: Final[dict[bytes, Plan]] = {}


def once(
    location: Location,
    policy: Policy,
    options: FixOptions,
    learned: Learned,
    accepted: Mapping[str, str],
    make: Callable[[], Plan],
) -> Plan:
    """Return the plan that ``make`` makes of these, or has made of equal ones.

    Where a person chooses, or the pod template is not one that an API server has decoded and that stands in one place,
    it is made in any case. Raises what ``make`` raises.
    """
    if options.choose is not None or not location.decoded or location.spread:
        return make()
    key = _key(location, policy, options, learned, accepted)
    found = _PLANS.get(key)
    if found is None:
        if len(_PLANS) >= MOST:
            _PLANS.clear()
        found = _PLANS[key] = make()
    return found


def _key(
    location: Location, policy: Policy, options: FixOptions, learned: Learned, accepted: Mapping[str, str]
) -> bytes:
    # Late: manifests, which no API server has decoded, never come here.
    import hashlib
    import json

    rest = options._replace(learn=FixOptions().learn)
    text = json.dumps([location.path, location.value])
    about = (location._replace(value=None), policy, rest, dict(learned), dict(accepted))
    return hashlib.blake2b(f"{text}\n{about!r}".encode(errors="surrogatepass"), digest_size=32).digest()
