"""``times.py``: times as the API writes them."""

from __future__ import annotations

import time

from kubectl_harden.times import day_after, rfc3339, seconds_of


def test_a_time_is_read_as_it_was_written() -> None:
    assert rfc3339(1_795_984_800.9) == "2026-11-29T20:40:00Z"
    assert seconds_of("2026-11-29T20:40:00Z") == seconds_of("2026-11-29T21:40:00+01:00") == 1_795_984_800
    assert abs((seconds_of(rfc3339()) or 0) - time.time()) < 60


def test_what_is_not_a_time_has_no_seconds() -> None:
    assert seconds_of("yesterday") is seconds_of("") is None


def test_days_go_by_utc() -> None:
    assert rfc3339(seconds_of(f"{day_after(30)}T00:00:00Z"))[:10] == day_after(30) > day_after(0)
