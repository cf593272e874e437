"""Lists in pages: the next page is fetched while one is processed.

Sources: metav1.ListMeta for continue tokens, and metav1.PartialObjectMetadataList for objects' metadata alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.answers import UNWANTED, Wanted, bad_answer, decoded, items_in, opened
from kubectl_harden.cluster.connection import Connection
from kubectl_harden.cluster.protobuf import PREFIX, metadata_list
from kubectl_harden.errors import Denied, NotFound, NotPermitted

__all__ = ["PARTIAL", "Page", "page_again", "pages"]

MOST_PAGES: Final = 20_000
_MOST_EMPTY_PAGES: Final = 100
"""This many empty pages in a row are taken for a list that does not end."""

_PARTIAL_LIST: Final = "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA: Final = (
    f"application/vnd.kubernetes.protobuf;{_PARTIAL_LIST},application/json;{_PARTIAL_LIST},application/json"
)
"""Asks for metadata alone; a server that does not know it sends whole objects."""
PARTIAL: Final = ("meta.k8s.io/v1", "PartialObjectMetadata")


_NONE: Final = object()


class Page(NamedTuple):
    """The items of a page, decoded one by one, and whether they are metadata alone.

    ``token`` is the continue token that the page was requested with, "" for the first.
    """

    items: Iterator[object]
    token: str
    partial: bool


def pages(
    connection: Connection,
    path: str,
    about: tuple[str, str],
    query: dict[str, str],
    metadata: Callable[[], bool] = lambda: False,
    wanted: Wanted | None = None,
) -> Iterator[Page]:
    """Yield the pages of a list of objects of ``about`` (apiVersion and kind).

    ``metadata`` tells, for each page that is requested, whether metadata is enough. ``wanted`` is for Pods: those whose
    metadata it rejects are not decoded, and UNWANTED stands for them. Raises ClusterError, and Expired where the list
    must begin again.
    """
    what = f"GET {path}"
    tokens: set[str] = set()
    empty = 0

    def asked(token: str, *, partial: bool) -> bytes:
        full = {**query, "continue": token} if token else query
        if partial:
            try:
                return connection.text(path, full, accept=METADATA)
            except (Denied, NotFound, NotPermitted):
                pass  # Whole objects are known to whoever knows no others (406), and in JSON it is told what is wrong.
        return connection.text(path, full)

    token = ""
    ahead = ThreadPoolExecutor(1)
    try:
        page: Future[bytes] | None = ahead.submit(asked, token, partial=metadata())
        while page is not None:
            # Only the text of the next page is held meanwhile: objects take many times as much.
            value, later = _opened(page.result(), what, wanted)
            partial = isinstance(value, dict) and value.get("kind") == f"{PARTIAL[1]}List"
            read = items_in(value, PARTIAL if partial else about, what)
            items = chain(read if wanted is None else (i if wanted(i) else UNWANTED for i in read), later)
            following = value["metadata"].get("continue")
            page = None
            if following:
                if following in tokens or len(tokens) == MOST_PAGES:
                    raise bad_answer(what, "the list does not end: the answers lead back to an earlier page")
                tokens.add(following)
                page = ahead.submit(asked, following, partial=metadata())
            first = next(items, _NONE)
            empty = empty + 1 if first is _NONE else 0
            if empty == _MOST_EMPTY_PAGES:
                raise bad_answer(what, f"the list does not end: {empty} pages one after another are empty")
            del value
            yield Page(items if first is _NONE else chain((first,), items), token, partial)
            token = following or ""
    finally:
        # Ctrl-C does not wait for an answer.
        ahead.shutdown(wait=False, cancel_futures=True)


def _opened(text: bytes, what: str, wanted: Wanted | None) -> tuple[Any, Iterator[object]]:
    """Return a list without its items, and the items. Raises Unreachable, also while items are read."""
    if not text.startswith(PREFIX):
        return opened(text, what, wanted)
    with _protobuf(what):
        value, items = metadata_list(text)
    return value, _read(items, what)


def _read(items: Iterator[object], what: str) -> Iterator[object]:
    with _protobuf(what):
        yield from items


@contextmanager
def _protobuf(what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise bad_answer(what, f"the answer is not Kubernetes' protobuf: {error}") from None


def page_again(
    connection: Connection, path: str, about: tuple[str, str], query: dict[str, str], token: str
) -> list[object]:
    """Return the whole objects of a page that was listed as metadata. Raises ClusterError, such as Expired."""
    what = f"GET {path}"
    return items_in(decoded(connection.text(path, {**query, "continue": token}), what), about, what)
