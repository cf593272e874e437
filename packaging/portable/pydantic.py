"""What the Kubernetes client names of pydantic when it reads a kubeconfig: names only, nothing is validated.

pydantic itself is compiled for one platform and one version of Python. The client needs it for the models of its
generated API, which kubectl-harden.pyz does not have.
"""

from __future__ import annotations


class BaseModel:
    """The base of the client's answers, of which none is made."""


class SecretStr(str):
    """A secret, which the client takes out of models only."""

    __slots__ = ()


StrictInt = int
StrictBytes = bytes


def Field(*_arguments: object, **_options: object) -> None:  # noqa: N802
    """Describe a field of a model, of which none is made."""
