"""Asks an erstwhile server what was on which host at which moment.

    import erstwhile

    with erstwhile.connect("127.0.0.1:7787", token_file="token") as store:
        for row in store.who_ip("10.0.0.7", at="2018-12-24T10:02:00Z"):
            print(row.verdict, row.host, row["interface"])

Names and values are bytes on the wire, mostly UTF-8 and not always. Here they are str, decoded as UTF-8 with
errors="surrogateescape": `text.encode("utf-8", "surrogateescape")` gives back the very bytes. Wherever a name or a
value is asked for, str of that kind and bytes are taken.
"""

from ._answers import Answer, LookupAnswer, WhatAnswer
from ._client import Acknowledgement, Pending, Producer, Store, begins, connect, within
from ._errors import (
    Busy,
    Cancelled,
    ChecksumError,
    Damage,
    Disconnected,
    Draining,
    Error,
    Failed,
    FileError,
    Forbidden,
    Idle,
    Malformed,
    ProducerBusy,
    ProtocolError,
    SequenceError,
    Slow,
    TimedOut,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unsupported,
    UsageError,
    VersionError,
)
from ._rows import Break, Change, Coverage, Event, Host, Link, Row, Stream, Table
from ._wire import Copies, Look

__version__ = "0.1.0"

__all__ = [
    "Acknowledgement",
    "Answer",
    "Break",
    "Busy",
    "Cancelled",
    "Change",
    "ChecksumError",
    "Copies",
    "Coverage",
    "Damage",
    "Disconnected",
    "Draining",
    "Error",
    "Event",
    "Failed",
    "FileError",
    "Forbidden",
    "Host",
    "Idle",
    "Link",
    "Look",
    "LookupAnswer",
    "Malformed",
    "Pending",
    "Producer",
    "ProducerBusy",
    "ProtocolError",
    "Row",
    "SequenceError",
    "Slow",
    "Stream",
    "Store",
    "Table",
    "TimedOut",
    "TooLarge",
    "TooMany",
    "Unauthenticated",
    "Unsupported",
    "UsageError",
    "VersionError",
    "WhatAnswer",
    "begins",
    "connect",
    "within",
]
