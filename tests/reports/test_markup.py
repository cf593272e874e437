"""Text in HTML stays text."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.reports.markup import Markup, joined, printable_lines, tag


class Read(HTMLParser):
    """Keeps the elements, their attributes and the text that a parser finds."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(), st.text())
def test_whatever_a_text_holds_it_makes_no_element(words: str, value: str) -> None:
    read = Read()
    read.feed(tag("p", words, title=value))
    read.close()
    assert read.elements == [("p", {"title": printable_lines(value)})]
    assert read.text == printable_lines(words)


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert tag("b", "a\x1b[2J\u202eb") == "<b>a\\x1b[2J\\u202eb</b>"


def test_markup_is_kept_and_text_beside_it_is_not() -> None:
    assert joined((Markup("<i>x</i>"), "<i>y</i>")) == "<i>x</i>&lt;i&gt;y&lt;/i&gt;"
    assert tag("a", "x", class_="n", data_g='"', open=True, hidden=False, id=None) == (
        '<a class="n" data-g="&quot;" open>x</a>'
    )
    assert tag("input", type="search") == '<input type="search">'
