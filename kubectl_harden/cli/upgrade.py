"""The value of --upgrade-to: a policy version to compare with."""

from __future__ import annotations

import re

from kubectl_harden.errors import UsageError

__all__ = ["upgrade_minor"]


def upgrade_minor(version: str) -> int:
    """Return the minor number of the policy version to compare with. Raises UsageError."""
    from kubectl_harden.pod_security.policy import NEWEST, parse_policy

    newer = re.fullmatch(r"v1\.([1-9][0-9]{0,3})", version)
    if newer is not None and int(newer[1]) > NEWEST:
        raise UsageError(f"policy version {version} is not known: the newest that is known here is v1.{NEWEST}")
    return parse_policy("restricted", version).minor
