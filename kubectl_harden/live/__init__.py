"""Workloads in a cluster: finding, checking, patching, following their rollouts, and rolling back."""
