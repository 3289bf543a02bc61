"""Times as people write them and times as the wire has them.

What must stay true:
- a time without a time zone is refused, never guessed;
- what is finer than the wire is floored, towards the past also before 1970;
- a second that `datetime` cannot hold comes back as the number it is.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone
from decimal import ROUND_FLOOR, Context, Decimal
from typing import Optional, Union

from ._errors import UsageError

Time = Union[datetime, int, float, str]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)
_WIDE = Context(prec=400, rounding=ROUND_FLOOR)


def _to_micros(value: Time) -> int:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise UsageError(
                f"{value!r} has no time zone, so it names no moment: "
                "give it one, such as datetime(..., tzinfo=timezone.utc)"
            )
        return (value - _EPOCH) // timedelta(microseconds=1)
    if isinstance(value, bool):
        raise UsageError("a time is a datetime, Unix seconds or RFC 3339 text, not True or False")
    if isinstance(value, int):
        return value * 1_000_000
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UsageError(f"{value!r} is no time")
        # By its shortest text: 0.3 is meant as three tenths, although the float lies a little below.
        return int((Decimal(repr(value)) * 1_000_000).to_integral_value(ROUND_FLOOR, _WIDE))
    if isinstance(value, str):
        return _parse(value)
    raise UsageError(f"a time is a datetime, Unix seconds or RFC 3339 text, not {type(value).__name__}")


def _parse(text: str) -> int:
    match = _RFC3339.fullmatch(text.strip())
    if not match:
        raise UsageError(f"{text!r} is no RFC 3339 time such as 2018-12-24T10:00:00Z (the zone must be there)")
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    leap = second == 60
    offset_hours, offset_minutes = int(match[10] or 0), int(match[11] or 0)
    if offset_hours > 23 or offset_minutes > 59:
        raise UsageError(f"{text!r} has an impossible time zone")
    try:
        local = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=timezone.utc)
    except ValueError as why:
        raise UsageError(f"{text!r} is no time: {why}") from None
    seconds = (local - _EPOCH) // timedelta(seconds=1) + leap
    offset = offset_hours * 3600 + offset_minutes * 60
    seconds -= -offset if match[9] == "-" else offset
    return seconds * 1_000_000 + int((match[7] or "0").ljust(6, "0")[:6])


def to_seconds(value: Time) -> int:
    """Observed time: whole seconds, floored."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return _to_micros(value) // 1_000_000


def to_micros(value: Time) -> int:
    """Recorded time: whole microseconds, floored."""
    return _to_micros(value)


def from_seconds(seconds: Optional[int]) -> Union[datetime, int, None]:
    """An aware UTC datetime; the number itself beyond the years 1 to 9999."""
    if seconds is None:
        return None
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return seconds


def from_micros(micros: Optional[int]) -> Union[datetime, int, None]:
    """As `from_seconds`; beyond its range the number is one of microseconds."""
    if micros is None:
        return None
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return micros


def text_of_seconds(seconds: Optional[int]) -> Union[str, int, None]:
    """RFC 3339 in UTC, as the command's JSON has it."""
    moment = from_seconds(seconds)
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
    return moment


def text_of_micros(micros: Optional[int]) -> Union[str, int, None]:
    """RFC 3339 in UTC with microseconds."""
    moment = from_micros(micros)
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return moment
