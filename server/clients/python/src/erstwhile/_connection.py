"""One connection: frames go out and come in, and each that comes in finds the request that it belongs to.

What must stay true:
- no wait is without an end: a server silent for `timeout` is asked whether it lives, and given up after as long again;
- while a frame is being sent, what arrives is taken in, so that two sides that both send cannot block each other;
- what is kept of answers that nobody reads is bounded by the credit that was given;
- after anything that the protocol does not allow, the connection is closed, and every later call says why.

The lock is held for one frame at a time. It is taken without waiting where the garbage collector may call (`drop`).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from typing import Any, Deque, Dict, Iterator, Optional, Tuple

from . import _wire
from ._errors import (
    ENDS_CONNECTION,
    Disconnected,
    Draining,
    Error,
    ProtocolError,
    TimedOut,
    TooMany,
    UsageError,
    from_server,
)

_CHUNK = 1 << 18

# How many seconds a server may take until it has said who it is: one that is well does so at once.
GREETING = 10.0


def no_answer(address: str, waited: float) -> str:
    return f"no answer from {address} within {waited:g} s; is an erstwhile server listening there?"


class Request:
    """A request under way, and the frames that came for it and were not taken yet."""

    __slots__ = ("ident", "kind", "queue", "window", "allowed", "received", "owed", "limit", "ended", "dropped")

    def __init__(self, ident: int, kind: int, window: int, limit: float):
        self.ident = ident
        self.kind = kind
        self.queue: Deque[Tuple[int, bytes]] = deque()
        self.window = window
        self.allowed = window
        self.received = 0
        self.owed = 0  # bytes that were read and not given as credit yet
        self.limit = limit
        self.ended = False
        self.dropped = False


class Connection:
    """See the module. `sock` is connected, and its TLS handshake done."""

    def __init__(self, sock: socket.socket, timeout: float, hello: _wire.Hello, address: str):
        self._sock: Optional[socket.socket] = sock
        self._timeout = timeout
        self._limit = hello.answer_bytes_max
        self._lock = threading.Lock()
        self._in = bytearray()
        self._eof: Optional[str] = None
        self._failure: Optional[Error] = None
        self._pending: Dict[int, Request] = {}
        self._dropped: Deque[Request] = deque()
        self._pings: Deque[bytes] = deque()
        self._next_ident = 1
        self._welcome: Optional[_wire.Welcome] = None
        self._leaving = False
        self._left = False
        self.draining = False
        sock.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)
        try:
            with self._lock:
                self._send(hello, 0)
                greeting = min(timeout, GREETING)
                until = time.monotonic() + greeting
                while self._welcome is None:
                    self._receive(until, ask=False, late=no_answer(address, greeting))
            self.welcome: _wire.Welcome = self._welcome
            if self.welcome.version != _wire.VERSION or self.welcome.capabilities:
                raise ProtocolError("the server agreed to what it was not offered")
        except BaseException as error:
            if not isinstance(error, Error):
                error = Disconnected("the connection was given up")
            self._fail(error)
            raise

    # --- what others call

    def start(self, message: Any, window: int = 0, limit: Optional[float] = None) -> Request:
        """Sends a request."""
        kind, payload = _wire.encode(message)
        longest = self.welcome.request_bytes_max if kind in _wire.LARGE_REQUESTS else _wire.REQUEST_LIMIT
        if len(payload) > longest:
            raise UsageError(f"a request of {len(payload)} bytes, where the server takes {longest}: send it in pieces")
        with self._lock:
            self._absorb()
            self._flush_dropped()
            self._alive()
            if self.draining:
                raise Draining("the server is about to stop: connect anew, elsewhere or later")
            self._make_room()
            most = self.welcome.request_millis_max / 1000
            request = Request(self._free_ident(), kind, window, min(limit, most) if limit else most)
            self._pending[request.ident] = request
            try:
                self._write(_wire.frame(kind, request.ident, payload))
            except BaseException:
                request.ended = True
                self._pending.pop(request.ident, None)
                raise
            return request

    def next_message(self, request: Request) -> Any:
        """The next part of an answer, or its end; the request's error is raised. Gives credit for what was read."""
        until = time.monotonic() + request.limit + self._timeout
        while True:
            with self._lock:
                self._flush_dropped()
                self._give_credit(request)
                if request.queue:
                    kind, payload = request.queue.popleft()
                    request.owed += len(payload) if kind == _wire.PART else 0
                    break
                self._alive()
                self._receive(until)
        with self.closing_if_wrong():
            message = _wire.decode(kind, payload)
            if isinstance(message, _wire.Part):
                if message.kind not in _wire.PARTS_OF.get(request.kind, ()):
                    raise ProtocolError(f"a part of kind {message.kind}, which is none of what was asked")
            elif isinstance(message, _wire.Done):
                if message.request != request.kind:
                    raise ProtocolError("the end of an answer to something else")
        if isinstance(message, _wire.ErrorMessage):
            raise from_server(message.code, message.text, message.retry_millis)
        return message

    def drop(self, request: Request) -> None:
        """Nobody will read more of this answer: the server is asked to stop, now or before the next call."""
        self._dropped.append(request)
        if self._lock.acquire(blocking=False):
            try:
                self._flush_dropped()
            except Error:  # The connection has it, and says it to whoever calls next.
                pass
            finally:
                self._lock.release()

    def ping(self, data: bytes) -> None:
        until = time.monotonic() + self._timeout
        with self._lock:
            self._absorb()
            self._alive()
            self._send(_wire.Ping(data), 0)
            self._pings.append(data)
            while self._pings:
                self._receive(until, ask=False)

    def close(self) -> None:
        """Breaks off answers, waits for appends and for the server's goodbye, `timeout` at most. Never fails."""
        with self._lock:
            if self._failure is None:
                try:
                    self._dropped.extend(one for one in self._pending.values() if one.window)
                    self._flush_dropped()
                    self._leaving = True
                    self._send(_wire.Goodbye(), 0)
                    until = time.monotonic() + self._timeout
                    # A server that had said goodbye by itself may not say it again.
                    while self._pending if self.draining and not self._left else not self._left:
                        self._receive(until, ask=False)
                except Error:
                    pass
            self._fail(Disconnected("the connection was closed"))

    @contextlib.contextmanager
    def closing_if_wrong(self) -> Iterator[None]:
        """What is found wrong with the server's bytes inside ends the connection."""
        try:
            yield
        except ProtocolError as error:
            with self._lock:
                self._fail(error)
            raise

    @property
    def closed(self) -> bool:
        return self._failure is not None

    # --- inside, with the lock held

    def _alive(self) -> None:
        if self._failure is not None:
            raise self._failure.again()

    def _fail(self, error: Error) -> None:
        """Closes the connection for this reason, unless it was closed for another."""
        if self._failure is None:
            self._failure = error
        for request in self._pending.values():
            request.ended = True
        self._pending.clear()
        if self._sock is not None:
            self._selector.close()
            self._sock.close()
            self._sock = None

    def _free_ident(self) -> int:
        while self._next_ident in self._pending:
            self._next_ident = self._next_ident % 0xFFFFFFFF + 1
        ident = self._next_ident
        self._next_ident = ident % 0xFFFFFFFF + 1
        return ident

    def _make_room(self) -> None:
        """Waits for a request to end if as many are under way as the server takes."""
        until = time.monotonic() + self.welcome.request_millis_max / 1000 + self._timeout
        while len(self._pending) >= self.welcome.requests_max:
            # One ends by itself unless all are answers that wait for their readers.
            if not any(one.dropped or not one.window or one.received < one.allowed for one in self._pending.values()):
                raise TooMany(f"{len(self._pending)} answers are open, as many as the server takes: read or close one")
            self._receive(until)
            self._flush_dropped()

    def _give_credit(self, request: Request) -> None:
        # In few and large pieces: the rest of the window keeps the server busy meanwhile.
        if request.owed and not request.ended and request.owed * 2 >= request.window:
            self._send(_wire.Credit(request.owed), request.ident)
            request.allowed += request.owed
            request.owed = 0

    def _flush_dropped(self) -> None:
        while self._dropped:
            request = self._dropped.popleft()
            request.queue.clear()
            if not request.ended and not request.dropped:
                request.dropped = True
                self._send(_wire.Cancel(), request.ident)

    # --- bytes

    def _send(self, message: Any, ident: int) -> None:
        kind, payload = _wire.encode(message)
        self._write(_wire.frame(kind, ident, payload))

    def _write(self, data: bytes) -> None:
        self._alive()
        rest = memoryview(data)
        until = time.monotonic() + self._timeout
        try:
            while rest:
                assert self._sock is not None
                try:
                    sent = self._sock.send(rest)
                except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    if not self._read_available() and not self._wait(until, writing=True):
                        raise TimedOut(f"the server took no bytes for {self._timeout:g} s") from None
                except OSError as why:
                    raise self._last_words(f"the connection broke: {why}") from None
                else:
                    rest = rest[sent:]
                    until = time.monotonic() + self._timeout
        except BaseException as error:
            # Also when interrupted: half a frame cannot be taken back.
            self._fail(error if isinstance(error, Error) else Disconnected("a frame was sent in part only"))
            raise

    def _last_words(self, otherwise: str) -> Error:
        """Why the server hung up, if it said so before."""
        with contextlib.suppress(Error):
            while self._read_available():
                pass
            while self._failure is None:
                found = self._take_frame()
                if found is None:
                    break
                self._dispatch(*found)
        return self._failure or Disconnected(otherwise)

    def _hung_up(self) -> Error:
        if self.draining:
            return Draining("the server has stopped: connect anew, elsewhere or later")
        return Disconnected(f"{self._eof}{' in the middle of a frame' if self._in else ''}")

    def _wait(self, until: float, writing: bool = False) -> bool:
        """Until the socket is ready; False: it was not in time."""
        assert self._sock is not None
        events = selectors.EVENT_WRITE if writing else 0
        if self._eof is None:
            events |= selectors.EVENT_READ
        self._selector.modify(self._sock, events)
        return bool(self._selector.select(max(0.0, until - time.monotonic())))

    def _read_available(self) -> bool:
        """Takes in what has arrived, without waiting; False: nothing had."""
        if self._eof is not None or self._sock is None:
            return False
        try:
            data = self._sock.recv(_CHUNK)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as why:
            self._eof = f"the connection broke: {why}"
            return False
        if not data:
            self._eof = "the server closed the connection"
            return False
        self._in += data
        return True

    def _take_frame(self) -> Optional[Tuple[int, int, bytes]]:
        """The first frame of what has arrived, if all of it has."""
        size = _wire.HEADER.size
        if len(self._in) < size:
            return None
        header = bytes(self._in[:size])
        try:
            end = size + _wire.frame_length(header, self._limit)
            if len(self._in) < end:
                return None
            payload = bytes(self._in[size:end])
            kind, ident = _wire.open_frame(header, payload)
        except ProtocolError as error:
            self._fail(error)
            raise
        del self._in[:end]
        return kind, ident, payload

    def _absorb(self) -> None:
        """Takes note of all that has arrived, without waiting."""
        while self._failure is None:
            found = self._take_frame()
            if found is not None:
                self._dispatch(*found)
            elif not self._read_available():
                if self._eof is not None:
                    self._fail(self._hung_up())
                return

    def _receive(self, until: float, ask: bool = True, late: str = "the server did not answer in time") -> None:
        """Waits for one frame and gives it to whom it belongs. With `ask`, a silent server is asked if it lives."""
        self._alive()
        patience = time.monotonic() + self._timeout
        asked = False
        while True:
            found = self._take_frame()
            if found is not None:
                self._dispatch(*found)
                return
            if self._read_available():
                patience, asked = time.monotonic() + self._timeout, False
            elif self._eof is not None:
                self._fail(self._hung_up())
                self._alive()
            elif not self._wait(min(patience, until)):
                now = time.monotonic()
                if now >= until or asked:
                    self._fail(TimedOut(late))
                    self._alive()
                elif ask and now >= patience:
                    self._send(_wire.Ping(b"there?"), 0)
                    self._pings.append(b"there?")
                    patience, asked = now + self._timeout, True

    def _dispatch(self, kind: int, ident: int, payload: bytes) -> None:
        try:
            self._place(kind, ident, payload)
        except ProtocolError as error:
            self._fail(error)
            raise

    def _place(self, kind: int, ident: int, payload: bytes) -> None:
        if ident == 0:
            message = _wire.decode(kind, payload)
            if isinstance(message, _wire.ErrorMessage):
                error = from_server(message.code, message.text, message.retry_millis)
                self._fail(error)
                raise error.again()
            if isinstance(message, _wire.Welcome) and self._welcome is None:
                self._welcome = message
            elif isinstance(message, _wire.Pong) and self._pings and self._pings[0] == message.data:
                self._pings.popleft()
            elif isinstance(message, _wire.ServerGoodbye) and self._welcome is not None:
                self.draining = True
                self._left = self._leaving
            else:
                raise ProtocolError(f"a frame of type {kind:#04x} that nobody waits for")
            return
        request = self._pending.get(ident)
        if request is None or kind not in (_wire.PART, _wire.DONE, _wire.ERROR):
            raise ProtocolError(f"a frame of type {kind:#04x} for request {ident}, which does not await it")
        if kind == _wire.PART:
            if request.received >= request.allowed:
                raise ProtocolError("a part of an answer beyond the credit")
            request.received += len(payload)
        else:
            request.ended = True
            del self._pending[ident]
        if not request.dropped:
            request.queue.append((kind, payload))
        if kind == _wire.ERROR:
            message = _wire.decode(kind, payload)
            if message.code in ENDS_CONNECTION:
                self._fail(from_server(message.code, message.text, message.retry_millis))
