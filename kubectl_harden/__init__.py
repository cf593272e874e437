"""kubectl harden: verdicts of Pod Security admission, and the smallest patch that changes them."""

__version__ = "0.1.0"
