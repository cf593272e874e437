"""Times that people write (``cli/connect.py``)."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubectl_harden.cli.connect import seconds
from kubectl_harden.errors import UsageError

TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")


@pytest.mark.parametrize(
    ("text", "number"),
    [("30", 30), ("30s", 30), ("1.5m", 90), ("1h", 3600), ("7d", 604_800), ("250ms", 0.25), (f"{9**40}d", 1e9)],
)
def test_times(text: str, number: float) -> None:
    assert seconds(text, "--timeout") == number


@given(st.text("15.smhd -٣²\n", max_size=6))
@example("1.")
@example(".5")
@example("1.5.1")
@example("5sm")
@example("1e3")
def test_what_is_a_time(text: str) -> None:
    if TIME.fullmatch(text):
        assert seconds(text, "--timeout") >= 0
    else:
        with pytest.raises(UsageError, match="write a time such as 30s, 5m or 1h"):
            seconds(text, "--timeout")
