"""What is wrong with an object, and the smallest plan, as patches."""
