"""The Pod Security Standards: pods, controls, policies, labels, and the words of admission; no I/O."""
