"""The JSON value of a YAML scalar, by the rules of go.yaml.in/yaml/v2 ``resolve.go``.

Only PyYAML's syntax is used anywhere, never its own resolution, which differs.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

__all__ = ["UNSAFE", "Unresolvable", "json_number", "key_text", "resolve"]

UNSAFE: Final = (
    "\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
"""The inside of a regex character class: line breaks that parsers disagree on, and what a terminal acts on or hides."""
_PREFIX: Final = "tag:yaml.org,2002:"
_RESOLVABLE: Final = {None, "", *(_PREFIX + name for name in ("str", "bool", "int", "float", "null", "timestamp"))}

_WORDS: Final[dict[str, object]] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    "<<": "<<",
}
_NUMERIC: Final = frozenset("+-.0123456789")
"""The characters that numbers and timestamps begin with."""
_DIGITS: Final = 19
"""A decimal number of fewer digits fits into 64 bits."""
# These are not compiled: most numbers are decimal and need none of them.
_FLOAT: Final = r"(?a)[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
_INTEGER: Final = r"(?a)([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)"
_TIMESTAMP: Final = (
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:[Tt]([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})([.,][0-9]+)?(?:Z|[-+]([0-9]{2}):([0-9]{2}))"
    r"| ([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})([.,][0-9]+)?)?"
)


class Unresolvable(ValueError):
    """A scalar that kubectl refuses: its tag contradicts its text, or JSON cannot hold it."""


def _short(tag: str) -> str:
    return "!!" + tag[len(_PREFIX) :] if tag.startswith(_PREFIX) else tag


def resolve(tag: str | None, text: str) -> Any:
    """Return the JSON value (str, bool, int, float, None) of a plain or tagged scalar.

    ``tag`` is the full tag or None. Raises Unresolvable where kubectl gives an error.
    """
    if tag is None and text not in _WORDS and text[0] not in _NUMERIC:
        return text
    if tag == _PREFIX + "binary":
        from base64 import b64decode

        try:
            data = b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
        except ValueError:
            raise Unresolvable("!!binary value contains invalid base64 data") from None
        # As encoding/json writes a string: each byte that is not UTF-8 becomes a character of its own.
        return re.sub("[\udc80-\udcff]", "\ufffd", data.decode("utf-8", "surrogateescape"))
    if tag not in _RESOLVABLE or tag == _PREFIX + "str":
        return text
    kind, value = _plain(tag, text)
    if tag and tag != _PREFIX + kind:
        if tag == _PREFIX + "float" and kind == "int" and -(1 << 63) <= value < 1 << 63:
            value = float(value)
        else:
            raise Unresolvable(f"cannot decode !!{kind} `{text}` as a {_short(tag)}")
    return value


def json_number(value: float) -> int | float:
    """Return a float as encoding/json writes it: without a fraction where it is integral and below 1e21.

    Raises Unresolvable for a number that JSON cannot hold.
    """
    if not math.isfinite(value):
        raise Unresolvable(f"{value} is not a number that JSON can hold")
    if not value.is_integer() or abs(value) >= 1e21:
        return value
    if abs(value) < 1 << 53:
        return int(value)
    from decimal import Decimal

    # The shortest digits that mean this number, then zeros.
    return int(Decimal(repr(value)))


def _plain(tag: str | None, text: str) -> tuple[str, Any]:
    if text in _WORDS:
        value = _WORDS[text]
        if value is None:
            return "null", None
        if isinstance(value, bool):
            return "bool", value
        return ("merge", value) if value == "<<" else ("float", value)
    first = text[0]
    if first == ".":
        # strconv.ParseFloat, which takes underscores between digits.
        return _float(re.sub(r"(?<=[0-9])_(?=[0-9])", "", text), text)
    if first not in _NUMERIC:
        return "str", text
    if text.isdecimal() and text.isascii() and text[0] != "0" and len(text) < _DIGITS:
        return "int", int(text)
    if text[4:5] == "-" and (not tag or tag == _PREFIX + "timestamp") and _is_timestamp(text):
        return "timestamp", text
    plain = text.replace("_", "")
    match = re.fullmatch(_INTEGER, plain)
    # No 64-bit integer has more decimal digits, and Python refuses to read thousands of them.
    if match and (match[2][0] == "0" or len(match[2]) <= 20):
        sign, digits = match.groups()
        number = _digits(digits)
        number = -number if sign == "-" else number
        if -(1 << 63) <= number < 1 << 63 or (not sign and number < 1 << 64):
            return "int", number
    return _float(plain, text)


def _digits(digits: str) -> int:
    if digits[:1] == "0" and len(digits) > 1:
        base = {"x": 16, "b": 2, "o": 8}.get(digits[1].lower())
        return int(digits[2:], base) if base else int(digits, 8)
    return int(digits)


def _float(number: str, text: str) -> tuple[str, object]:
    if re.fullmatch(_FLOAT, number):
        value = float(number)
        if math.isfinite(value):
            return "float", value
    return "str", text


def _is_timestamp(text: str) -> bool:
    match = re.fullmatch(_TIMESTAMP, text, re.ASCII)
    if match is None:
        return False
    year, month, day = (int(part) for part in match.group(1, 2, 3))
    hour, minute, second = match.group(4, 5, 6) if match.group(4) else match.group(10, 11, 12)
    if not (1 <= month <= 12 and 1 <= day <= _days(year, month)):
        return False
    if hour is None:
        return True
    zone_hour, zone_minute = match.group(8, 9)
    if zone_hour is not None and (int(zone_hour) > 24 or int(zone_minute) > 60):
        return False
    return int(hour) < 24 and int(minute) < 60 and int(second) < 60


def _days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _format_float32(value: float) -> str:
    """strconv.FormatFloat(value, 'g', -1, 32), as sigs.k8s.io/yaml writes a float key."""
    from struct import pack, unpack

    try:
        narrow = unpack("f", pack("f", value))[0]
    except OverflowError:
        narrow = math.copysign(math.inf, value)
    if not math.isfinite(narrow):
        return ".nan" if math.isnan(narrow) else (".inf" if narrow > 0 else "-.inf")
    for digits in range(1, 10):
        text = f"{narrow:.{digits}g}"
        if unpack("f", pack("f", float(text)))[0] == narrow:
            break
    mantissa, _, exponent = f"{float(text):.{digits - 1}e}".partition("e")
    power = int(exponent)
    if power < -4 or power >= 6:
        return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"
    return f"{float(text):.{max(digits - 1 - power, 0)}f}"


def key_text(key: object) -> str:
    """Return the JSON key for a decoded YAML key. Raises Unresolvable for null and uint64 keys."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int) and key < 1 << 63:
        return str(key)
    if isinstance(key, float):
        return _format_float32(key)
    raise Unresolvable("a key must be a string, a number or a boolean, not " + ("null" if key is None else str(key)))
