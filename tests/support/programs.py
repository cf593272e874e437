"""The other tools of the field that the tests run."""

from __future__ import annotations

from tests.support.tools import Program

KREW = Program("krew", "krew", "sigs.k8s.io/krew/cmd/krew")
VALIDATE_KREW_MANIFEST = Program("validate-krew-manifest", "krew", "sigs.k8s.io/krew/cmd/validate-krew-manifest")
HELM_3 = Program("helm3", "helm/v3", "helm.sh/helm/v3/cmd/helm")
HELM_4 = Program("helm4", "helm/v4", "helm.sh/helm/v4/cmd/helm")
KUSTOMIZE = Program("kustomize", "kustomize", "sigs.k8s.io/kustomize/kustomize/v5")
KUSTOMIZE_CONTROLLER = Program("kustomize-controller", "flux", "github.com/fluxcd/kustomize-controller")
PROMETHEUS_OPERATOR = Program(
    "prometheus-operator", "prometheus-operator", "github.com/prometheus-operator/prometheus-operator/cmd/operator"
)
"""These two take minutes to build, so that only the nightly tests ask for them."""
ALL = (KREW, VALIDATE_KREW_MANIFEST, HELM_3, HELM_4, KUSTOMIZE)
