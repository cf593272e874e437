"""Evidence of how an app runs: a module for each source."""
