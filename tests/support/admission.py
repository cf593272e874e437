"""The AdmissionConfiguration of an API server: defaults of Pod Security admission, and exemptions."""

from __future__ import annotations

from textwrap import indent

_HEAD = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
"""


def admission_configuration(*fields: str) -> str:
    """Return the file with some fields of the PodSecurityConfiguration, each a line or more of YAML."""
    return _HEAD + "".join(indent(text, "    ") + "\n" for text in fields)
