"""Reports and plans as text for people and data for programs."""
