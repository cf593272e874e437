"""Admission policies that change pods, as text."""

from __future__ import annotations

from collections.abc import Iterable

from kubectl_harden.planning.admission_policy import PolicyObjects
from kubectl_harden.yaml_text.tree import dump

__all__ = ["not_made", "policies_yaml"]


def policies_yaml(made: Iterable[PolicyObjects]) -> str:
    """Return policies and their bindings as a YAML stream."""
    return "---\n".join(dump(value) for objects in made for value in (objects.policy, objects.binding))


def not_made(name: str, objects: PolicyObjects) -> str:
    """Return a sentence on the planned edits of a workload that a policy does not make."""
    return f"{name}: no policy can make these edits: {', '.join(objects.left_out)}"
