"""The command ``krm``."""

from __future__ import annotations

import click

from kubectl_harden.cli.codes import OK, VIOLATIONS
from kubectl_harden.cli.options import Command

__all__ = ["krm"]


@click.command(cls=Command, short_help="Check or fix a ResourceList, as a function of kustomize and kpt.")
def krm() -> int:
    """Check or fix the items of a ResourceList: a KRM function, for kustomize and kpt.

    It reads the ResourceList from stdin and writes it to stdout, with a result for each violation. The
    functionConfig (a ConfigMap's data, or the spec of any kind) says what to do: level, policyVersion, admissionConfig
    (the API server's configuration, as text or inline), fix (true edits the items) and maxRisk. Without a level, the
    Namespaces among the items decide. The exit code is 1 when a violation is left that nobody has accepted.

    \b
    Examples:
      # In a kustomization: ./harden is an executable script with the line "exec kubectl-harden krm"
      kustomize build --enable-alpha-plugins --enable-exec overlay/
      # overlay/harden.yaml, which the kustomization names below transformers
      apiVersion: kubectl-harden/v1
      kind: Harden
      metadata:
        name: harden
        annotations:
          config.kubernetes.io/function: "exec: {path: ./harden}"
      spec:
        level: restricted
      # By hand
      kubectl-harden krm < resources.yaml
    """
    from kubectl_harden.manifests.krm import run_function
    from kubectl_harden.reports.output import data, error
    from kubectl_harden.text_files import STDIN, read_text

    returned = run_function(read_text(STDIN))
    data([returned.text])
    for failure in returned.failures:
        error(failure)
    return VIOLATIONS if returned.failures else OK
