"""The start of kubectl-harden.pyz. Old versions of Python must be able to read it, so that it can refuse them."""

import sys

UNREADABLE = 3


def stop(why):
    """End with the reason, and with a code that no verdict has."""
    sys.stderr.write("error: " + why + "\n")
    sys.exit(UNREADABLE)


def start():
    """Run the command line."""
    if sys.version_info < (3, 11):  # noqa: UP036
        stop("kubectl-harden.pyz needs Python 3.11 or later, and this is Python " + sys.version.split()[0])
    try:
        import yaml._yaml  # noqa: F401
    except ImportError:
        stop(
            "kubectl-harden.pyz needs PyYAML with libyaml, which reads YAML as kubectl does. Install it for "
            + sys.executable
            + ": python3-yaml (Debian, Ubuntu), python3-pyyaml (Fedora), py3-yaml (Alpine), or pip install PyYAML"
        )
    from kubectl_harden.cli import main

    main()


if __name__ == "__main__":
    start()
