"""What can go wrong, each kind with a name of its own, so that a program can tell what to do about it.

What must stay true:
- every exception that this package raises on purpose is an `Error`;
- one that the server reported has its `code` and keeps the server's words, but for an option of the command that it
  advises, which has another name here; one found here has `code` None.
"""

from __future__ import annotations

import copy
from typing import Dict, Optional, Type


class Error(Exception):
    """The base of all. `retry_after`: how many seconds to wait before another try; None: waiting does not help."""

    code: Optional[int] = None

    def __init__(self, message: str, *, retry_after: Optional[float] = None, code: Optional[int] = None):
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.code = code

    def __str__(self) -> str:
        return self.message

    def again(self) -> Error:
        """The same error, to be raised a second time without the first one's traceback."""
        return copy.copy(self)


class ProtocolError(Error):
    """The other side sent what the protocol does not allow. The connection is closed."""


class Disconnected(Error, ConnectionError):
    """There is no connection, or no longer."""


class Malformed(Error):
    """The server could not read what this client sent."""


class ChecksumError(Error):
    """A frame changed on its way to the server."""


class TooLarge(Error):
    """A frame was larger than the server takes."""


class VersionError(Error):
    """The server speaks no version of the protocol that this client speaks."""


class Unauthenticated(Error):
    """The server does not know the token."""


class Forbidden(Error):
    """The token does not allow this."""


class Unsupported(Error):
    """The server does not know this kind of request."""


class UsageError(Error, ValueError):
    """What was asked makes no sense."""


class FileError(Error, OSError):
    """A file that was named, of a token or of certificates, cannot be read or holds something else."""


class TooMany(Error):
    """Too many requests at once, or too many connections."""


class Cancelled(Error):
    """The answer was broken off."""


class TimedOut(Error, TimeoutError):
    """It took too long: the server gave up, or nothing came from it."""


class Busy(Error):
    """The server has too much to do; `retry_after` says when to try again."""


class Draining(Error):
    """The server is about to stop; connect anew, elsewhere or later."""


class ProducerBusy(Error):
    """Another process appends as this producer."""


class SequenceError(Error):
    """A producer's sequence does not fit what the store has."""


class Damage(Error):
    """Stored bytes are wrong; the store must be checked."""


class Failed(Error):
    """The server's system refused, such as a full disk."""


class Slow(Error):
    """The answer was read too slowly, and the server gave it up."""


class Idle(Error):
    """The connection was not used for so long that the server closed it."""


BY_CODE: Dict[int, Type[Error]] = {
    1: Malformed,
    2: ChecksumError,
    3: TooLarge,
    4: VersionError,
    5: Unauthenticated,
    6: Forbidden,
    7: Unsupported,
    8: UsageError,
    9: TooMany,
    10: Cancelled,
    11: TimedOut,
    12: Busy,
    13: Draining,
    14: ProducerBusy,
    15: SequenceError,
    16: Damage,
    17: Failed,
    18: Slow,
    19: Idle,
}

# What the server calls as the command does, and this package otherwise.
_NAMES = {"--token-file": "token_file= or token="}

# After these the server closes the connection, whichever request they name.
ENDS_CONNECTION = frozenset({1, 2, 3, 4, 5, 19})


def from_server(code: int, message: str, retry_millis: int) -> Error:
    """The exception for an ERROR frame. A code that is new is a plain `Error`."""
    kind = BY_CODE.get(code, Error)
    for option, argument in _NAMES.items():
        message = message.replace(option, argument)
    return kind(message, retry_after=retry_millis / 1000 if retry_millis else None, code=code)
