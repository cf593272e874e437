"""Namespaces to a level: selected, surveyed, and migrated."""
