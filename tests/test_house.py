"""How the code is kept: limits that a review would otherwise have to count."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "kubectl_harden"
ANY_PER_THOUSAND_LINES = 15


def uses_of_any(text: str) -> int:
    """Return how often code names Any, but to import it."""
    count, is_first, is_import = 0, True, False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT):
            continue
        if is_first:
            is_import = token.string in ("from", "import")
        is_first = token.type == tokenize.NEWLINE
        count += token.type == tokenize.NAME and token.string == "Any" and not is_import
    return count


def test_any_is_counted_where_it_is_used() -> None:
    text = 'from typing import (\n    Any,\n)\n"""Any"""\nx: Any = "Any"  # Any\n\n\ndef f(a: dict[str, Any]) -> Any:\n    """Any."""\n'
    assert uses_of_any(text) == 3


def test_few_types_are_left_open() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    counts = {path: uses_of_any(text) for path, text in texts.items()}
    lines = sum(len(text.splitlines()) for text in texts.values())
    most = sorted(((count, str(path.relative_to(PACKAGE))) for path, count in counts.items()), reverse=True)[:10]
    assert sum(counts.values()) * 1000 <= ANY_PER_THOUSAND_LINES * lines, most
