"""The API server: the only code that speaks to it."""
