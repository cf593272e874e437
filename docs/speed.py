"""Puts the tables that a benchmark prints into docs/speed.md.

    make speed
    make speed SPEED=fleet BENCH="--directory DIR --rounds 2"

What it printed comes on stdin, and is passed on; its name is the argument. In the page each of its tables stands below
a comment with its name.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("speed.md")
TABLE = r"^\|.*\n\| ?---.*\n(?:\|.*\n)*"


def with_tables(page: str, name: str, printed: str) -> str:
    """Return a page with the tables that were printed, in their order, below the comments with a name.

    Raises ValueError where there are not as many of them as of the comments, each with a table.
    """
    places = re.compile(rf"(<!-- benchmarks/{re.escape(name)}\.py -->\n\n){TABLE}", re.MULTILINE)
    tables = re.findall(TABLE, printed, re.MULTILINE)
    found = len(places.findall(page))
    if found != len(tables) or not tables:
        raise ValueError(f"benchmarks/{name}.py printed {len(tables)} tables, and the page has {found} of it")
    following = iter(tables)
    return places.sub(lambda place: place[1] + next(following), page)


def main() -> None:
    """Write the page."""
    (name,) = sys.argv[1:]
    printed = sys.stdin.read()
    sys.stdout.write(printed)
    PAGE.write_text(with_tables(PAGE.read_text(), name, printed))


if __name__ == "__main__":
    main()
