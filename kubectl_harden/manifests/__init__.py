"""Files: found, read, checked, fixed, and written; and what kubectl and helm build."""
