"""The file of --admission-config."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kubectl_harden.errors import InputError, SyntaxFault, UsageError
from kubectl_harden.pod_security.admission_config import AdmissionConfig, Elsewhere, parse_admission_config
from kubectl_harden.text_files import read_text
from kubectl_harden.yaml_text.documents import Lines

if TYPE_CHECKING:
    from kubectl_harden.pod_security.admission_config import Parsed

__all__ = ["load_admission_config", "notes_on"]


def load_admission_config(file: str) -> AdmissionConfig:
    """Return an API server's admission configuration, or that of the file which it names.

    Raises UsageError where the file is not there, and InputError with the place of what is wrong in it.
    """
    if not os.path.exists(file):
        raise UsageError(f'--admission-config "{file}": there is no such file')
    found = _parsed(file)
    if isinstance(found, Elsewhere):
        # As the API server finds it (makeAbs).
        file = os.path.join(os.path.dirname(file), found.path)
        found = _parsed(file)
    if isinstance(found, Elsewhere):
        raise InputError(f"{file}: this is not a PodSecurityConfiguration, but names another file again")
    return found._replace(file=file)


def _parsed(file: str) -> Parsed:
    text = ""
    try:
        text = read_text(file)
        return parse_admission_config(text)
    except SyntaxFault as fault:
        line, column = Lines(text).place(fault.offset)
        raise InputError(f"{file}:{line}:{column}: {fault.args[0]}") from None
    except InputError as error:
        raise InputError(f"{file}: {error.args[0]}") from None


def notes_on(config: AdmissionConfig) -> list[str]:
    """Return notes on the parts of a configuration that cannot be applied to manifests."""
    if not config.usernames:
        return []
    names = ", ".join(config.usernames)
    return [f"{config.file} exempts users ({names}): who applies manifests is not known, so this does not count"]
