"""Whether an API server has refused any pod since it started: a cheap first answer, from its metrics.

Source: k8s.io/pod-security-admission, metrics/metrics.go (``pod_security_evaluations_total``, alpha; dry-runs count).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.errors import ClusterError

__all__ = ["evaluations_note"]

_SERIES: Final = b"pod_security_evaluations_total{"
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_VALUE: Final = re.compile(r"\} ([0-9.]+(?:e[+-]?[0-9]+)?)", re.IGNORECASE)
_SECONDS: Final = 10.0


def evaluations_note(cluster: Cluster) -> str | None:
    """Return how many pods the API server that answers has found to violate a level since it started.

    None where its metrics may not be read or do not have it. Each API server counts for itself.
    """
    counts: Counter[str] = Counter()
    told = False
    try:
        for line in cluster.connection.lines("/metrics", {}, _SECONDS):
            if not line.startswith(_SERIES):
                continue
            text = line.decode(errors="replace")
            labels, value = dict(_LABEL.findall(text)), _VALUE.search(text)
            if value is not None and labels.get("resource") == "pod":
                told = True
                if labels.get("decision") == "deny":
                    counts[labels.get("mode", "")] += int(float(value[1]))
    except ClusterError:
        return None
    if not told:
        return None
    refused, audited = counts["enforce"], counts["audit"]
    found = [f"refused {refused:,} pod{'s' if refused > 1 else ''}" if refused else "refused no pod"]
    found += [f"noted {audited:,} for audit"] if audited else []
    return (
        f"the API server that answered has {' and '.join(found)} since it started, dry-runs included "
        "(pod_security_evaluations_total; each API server counts its own)"
    )
