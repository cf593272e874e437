"""Workloads in a cluster: found, checked, patched, followed, and rolled back."""
