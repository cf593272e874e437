"""Text is UTF-8, or it is said where it is not."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.errors import InputError
from kubectl_harden.text_files import encoding_of, json_of, leads_out, read_json, read_text, text_of


@given(data=st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode(errors="surrogatepass")))
def test_bytes_are_kept_or_refused_with_a_place(data: bytes) -> None:
    message = text = ""
    try:
        text = text_of(data)
    except InputError as error:
        message = error.args[0]
    encoding = encoding_of(data)
    if b"\0" in data and encoding == "utf-8":
        assert message.startswith("has NUL bytes")
    elif message:
        with pytest.raises(UnicodeDecodeError):
            data.decode(encoding)
    else:
        assert text.encode(encoding) == data


def test_the_place_counts_lines_and_characters() -> None:
    with pytest.raises(InputError, match=r"line 2, column 3: not valid UTF-8 \(byte 0xff\)"):
        text_of("ü\nüü".encode() + b"\xff")


def test_line_ends_and_byte_order_mark_stay(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read_text(str(tmp_path / "f")) == "\ufeffa\r\nb\rc\n"


def test_what_nobody_named_must_be_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="this is not a regular file"):
        read_text(str(tmp_path / "pipe"), regular=True)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "file").write_text("x")
    assert read_text(str(tmp_path / "link"), regular=True) == "x"
    for regular in (True, False):
        with pytest.raises(InputError, match="No such file or directory"):
            read_text(str(tmp_path / "none"), regular=regular)
    with pytest.raises(InputError, match="Is a directory"):
        read_text(str(tmp_path))


@given(text=st.text(max_size=30) | st.sampled_from(["[" * 100_000, "9" * 5_000, '{"a": 1}', "\ufeff1"]))
def test_json_is_a_value_or_one_error(text: str) -> None:
    try:
        expected = json.loads(text)
    except (ValueError, RecursionError):
        with pytest.raises(InputError, match=r"\A[^\n]*\Z"):
            json_of(text)
    else:
        assert repr(json_of(text)) == repr(expected)


def test_json_of_a_file_has_a_place(tmp_path: Path) -> None:
    (tmp_path / "f").write_text('{\n  "a": x}')
    with pytest.raises(InputError, match=r"line 2, column 8: not valid JSON"):
        read_json(str(tmp_path / "f"))


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/tty", "/proc/self/environ", "/proc/kmsg", "fifo"])
def test_what_nobody_named_is_read_only_where_it_is_a_regular_file(tmp_path: Path, target: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    link = tmp_path / "link.yaml"
    link.symlink_to(target)
    with pytest.raises(InputError, match="not a regular file"):
        read_text(str(link), regular=True)


def test_what_a_shell_pipes_in_is_read(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"kind: Pod\n")
    os.close(writer)
    assert read_text(f"/dev/fd/{reader}") == "kind: Pod\n"
    os.close(reader)
    (tmp_path / "empty.yaml").touch()
    assert read_text(str(tmp_path / "empty.yaml"), regular=True) == ""


@pytest.mark.parametrize(
    ("path", "out"),
    [("..", True), ("../a", True), ("../../a", True), ("a", False), ("..a", False), ("..\\a", False), ("...", False),
     ("a/../b", False), (".", False), ("./../a", True), (".//..", True), ("./a/..", False), ("/..", False), ("", False)],
)  # fmt: skip
def test_a_path_that_leads_out(path: str, out: bool) -> None:
    assert leads_out(path) is out
    assert (PurePath(path).parts[:1] == ("..",)) is out
