"""The store as a Python program meets it: questions, appends, administration.

What must stay true:
- every argument is checked and turned into the wire's form here, before anything is sent;
- a question is sent when it is asked, so that several can be under way while the first is read.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import time
import uuid
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from . import _times, _wire
from ._answers import Answer, LookupAnswer, WhatAnswer
from ._connection import GREETING, Connection, Request, no_answer
from ._errors import Disconnected, Error, FileError, TimedOut, UsageError
from ._rows import Moment
from ._times import Time
from ._wire import Chunk, Condition, Look, Text

WINDOW = 1 << 20
ANSWER_BYTES = 4 << 20
CLIENT = "erstwhile-python/0.1.0"

Where = Union[Mapping[Text, Any], Iterable[Tuple[Text, Any]], None]


class begins:  # noqa: N801 - reads as a word: where={"path": begins("/tmp/")}
    """In `where`: the column begins with this."""

    def __init__(self, text: Text):
        self.text = text

    def __repr__(self) -> str:
        return f"begins({self.text!r})"


class within:  # noqa: N801
    """In `where`: the column is an address in this network, such as "10.0.0.0/8"."""

    def __init__(self, network: Any):
        self.network = network if isinstance(network, bytes) else str(network)

    def __repr__(self) -> str:
        return f"within({self.network!r})"


def _value(value: Any) -> Text:
    if isinstance(value, bool) or value is None or isinstance(value, float):
        raise UsageError(f"stored values are texts: write {value!r} as osquery does, such as '1'")
    return value if isinstance(value, (str, bytes)) else str(value)


def _conditions(where: Where) -> List[Condition]:
    if where is None:
        return []
    pairs = where.items() if isinstance(where, Mapping) else where
    conditions = []
    for column, value in pairs:
        if isinstance(value, begins):
            conditions.append(Condition("begins", column, value.text))
        elif isinstance(value, within):
            conditions.append(Condition("in", column, value.network))
        elif isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
            conditions.append(Condition("in", column, str(value)))
        else:
            conditions.append(Condition("is", column, _value(value)))
    return conditions


def _optional_seconds(value: Optional[Time]) -> Optional[int]:
    return None if value is None else _times.to_seconds(value)


def _number16(value: Union[bytes, str, uuid.UUID]) -> bytes:
    if isinstance(value, uuid.UUID):
        return value.bytes
    if isinstance(value, str):
        try:
            return uuid.UUID(value).bytes
        except ValueError:
            raise UsageError(f"{value!r} is no number of 16 bytes in hexadecimal") from None
    if not isinstance(value, bytes) or len(value) != 16:
        raise UsageError("a producer is 16 bytes, as bytes, uuid.UUID or hexadecimal text")
    return value


_instance = (0, b"")


def _own_instance() -> bytes:
    """A number that no other process has; a forked one is another."""
    global _instance
    if _instance[0] != os.getpid():
        _instance = (os.getpid(), os.urandom(16))
    return _instance[1]


class Acknowledgement(NamedTuple):
    """A batch is durable. `already`: it had been; `recorded` None: it held nothing new."""

    sequence: int
    already: bool
    recorded: Optional[Moment]
    lines: int
    dead_letters: int


class Pending:
    """A batch that was sent and is not acknowledged yet."""

    def __init__(self, connection: Connection, request: Request):
        self._connection = connection
        self._request = request
        self._result: Any = None

    def result(self) -> Acknowledgement:
        """Waits until the batch is durable; raises what went wrong."""
        if isinstance(self._result, Exception):
            raise self._result
        if self._result is None:
            try:
                said = self._connection.next_message(self._request).values
            except Exception as error:
                self._result = error
                raise
            self._result = Acknowledgement(**{**said, "recorded": _times.from_micros(said["recorded"])})
        return self._result


class Producer:
    """Appends batches in order, each once, whatever is restarted meanwhile.

    `greatest` is the sequence that the store had when this was opened: the next one to send is one more.
    """

    def __init__(self, connection: Connection, producer: bytes, greatest: int):
        self._connection = connection
        self.id = producer
        self.greatest = greatest

    def send_lines(self, sequence: int, chunks: Iterable[Tuple[Text, int, Text]]) -> Pending:
        """Sends lines of osquery's result log without waiting: (source, offset in it, whole lines) each."""
        listed = [Chunk(source, offset, _wire.to_bytes(lines)) for source, offset, lines in chunks]
        message = _wire.AppendLines(self.id, sequence, listed)
        return Pending(self._connection, self._connection.start(message))

    def append_lines(self, sequence: int, chunks: Iterable[Tuple[Text, int, Text]]) -> Acknowledgement:
        """Sends lines and waits until they are durable."""
        return self.send_lines(sequence, chunks).result()

    def send_looks(self, sequence: int, looks: Sequence[Look]) -> Pending:
        """Sends looks, each complete, without waiting."""
        return Pending(self._connection, self._connection.start(_wire.AppendLooks(self.id, sequence, list(looks))))

    def append_looks(self, sequence: int, looks: Sequence[Look]) -> Acknowledgement:
        """Sends looks and waits until they are durable."""
        return self.send_looks(sequence, looks).result()


class Store:
    """A connection to a server. Close it, or use it in a `with`.

    Times (`at`, `from_`, `to`, `known_at`) are aware datetimes, Unix seconds or RFC 3339 text. Names and values are str
    or bytes. `limit`: how many seconds the server may take for it. Several threads may use a store: they take turns.
    """

    def __init__(self, connection: Connection, window: int):
        self._connection = connection
        welcome = connection.welcome
        self._window = min(window, welcome.window_bytes_max) if window else welcome.window_bytes_max
        self.server = welcome.server
        self.id = uuid.UUID(bytes=welcome.store)
        self.roles = tuple(role for bit, role in enumerate(_wire.ROLES) if welcome.roles >> bit & 1)
        self.limits = {
            name: getattr(welcome, name)
            for name in (
                "request_bytes_max",
                "requests_max",
                "window_bytes_max",
                "request_millis_max",
                "idle_millis_max",
            )
        }

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Says goodbye and closes; answers that are not read to their end are broken off."""
        self._connection.close()

    def __repr__(self) -> str:
        state = "closed" if self._connection.closed else "draining" if self.draining else "open"
        return f"<Store {self.id} at {self.server!r}, {state}, roles: {', '.join(self.roles) or 'none'}>"

    @property
    def draining(self) -> bool:
        """The server said that it is about to stop: it takes no more requests."""
        return self._connection.draining

    def ping(self) -> float:
        """Asks whether the server lives; how many seconds the answer took. It keeps the connection from being idle."""
        start = time.monotonic()
        self._connection.ping(os.urandom(8))
        return time.monotonic() - start

    # --- questions

    def _begin(self, known_at: Optional[Time], limit: Optional[float]) -> Tuple[int, int, Optional[int]]:
        if limit is not None and not 0 < limit < 2**53:
            raise UsageError("a limit is a number of seconds above 0")
        millis = 0 if limit is None else max(1, int(limit * 1000))
        return self._window, millis, None if known_at is None else _times.to_micros(known_at)

    def _start(self, message: Any) -> Request:
        return self._connection.start(message, self._window, message.millis / 1000 or None)

    def _ask(self, title: str, message: Any, kind: type = Answer) -> Any:
        return kind(self._connection, self._start(message), title)

    def state(
        self,
        table: Text,
        *,
        at: Time,
        host: Optional[Text] = None,
        stream: Optional[Text] = None,
        where: Where = None,
        known_at: Optional[Time] = None,
        limit: Optional[float] = None,
    ) -> Answer:
        """A table as it was at a moment. `where`: column → value, `begins(...)` or `within(...)`; all must hold."""
        begin = self._begin(known_at, limit)
        message = _wire.State(*begin, table, _times.to_seconds(at), host, stream, _conditions(where))
        return self._ask(f"state {_said(table)}", message)

    def who_ip(
        self,
        address: Any,
        *,
        at: Time,
        host: Optional[Text] = None,
        known_at: Optional[Time] = None,
        limit: Optional[float] = None,
    ) -> Answer:
        """Which host had this address at that moment: rows of interface_addresses, the surest first."""
        message = _wire.Who(*self._begin(known_at, limit), "ip", _value(address), _times.to_seconds(at), host)
        return self._ask(f"who ip {_said(message.value)}", message)

    def who_uid(
        self,
        uid: Union[int, Text],
        *,
        at: Time,
        host: Optional[Text] = None,
        known_at: Optional[Time] = None,
        limit: Optional[float] = None,
    ) -> Answer:
        """Which user had this uid at that moment: rows of users, the surest first."""
        message = _wire.Who(*self._begin(known_at, limit), "uid", _value(uid), _times.to_seconds(at), host)
        return self._ask(f"who uid {_said(message.value)}", message)

    def what_device(
        self,
        path: Text,
        *,
        host: Text,
        at: Time,
        known_at: Optional[Time] = None,
        limit: Optional[float] = None,
    ) -> WhatAnswer:
        """Which device was behind this path on that host at that moment: see the answer's `links`."""
        message = _wire.What(*self._begin(known_at, limit), path, host, _times.to_seconds(at))
        return self._ask(f"what device {_said(path)}", message, WhatAnswer)

    def history(
        self,
        table: Text,
        *,
        host: Optional[Text] = None,
        stream: Optional[Text] = None,
        where: Where = None,
        from_: Optional[Time] = None,
        to: Optional[Time] = None,
        known_at: Optional[Time] = None,
        limit: Optional[float] = None,
    ) -> Answer:
        """Rows of a table with their times (of an event table: events) that overlap [from_, to)."""
        return self._span(_wire.History, "history", table, host, stream, where, from_, to, known_at, limit)

    def events(
        self,
        table: Text,
        *,
        host: Optional[Text] = None,
        stream: Optional[Text] = None,
        where: Where = None,
        from_: Optional[Time] = None,
        to: Optional[Time] = None,
        known_at: Optional[Time] = None,
        limit: Optional[float] = None,
    ) -> Answer:
        """Events of [from_, to)."""
        return self._span(_wire.Events, "events", table, host, stream, where, from_, to, known_at, limit)

    def _span(
        self, kind: Any, word: str, table: Text, host: Any, stream: Any, where: Where, from_: Any, to: Any, *rest: Any
    ) -> Answer:
        spanned = (_conditions(where), _optional_seconds(from_), _optional_seconds(to))
        return self._ask(f"{word} {_said(table)}", kind(*self._begin(*rest), table, host, stream, *spanned))

    def diff(
        self,
        table: Text,
        from_: Time,
        to: Time,
        *,
        host: Text,
        stream: Optional[Text] = None,
        known_at: Optional[Time] = None,
        limit: Optional[float] = None,
    ) -> Answer:
        """What a table of one host lost and gained between two moments."""
        times = (_times.to_seconds(from_), _times.to_seconds(to))
        message = _wire.Diff(*self._begin(known_at, limit), table, host, stream, *times)
        return self._ask(f"diff {_said(table)}", message)

    def hosts(self, *, known_at: Optional[Time] = None, limit: Optional[float] = None) -> Answer:
        """The hosts that the store knows."""
        return self._ask("hosts", _wire.Hosts(*self._begin(known_at, limit)))

    def tables(self, *, known_at: Optional[Time] = None, limit: Optional[float] = None) -> Answer:
        """The tables that are stored."""
        return self._ask("tables", _wire.Tables(*self._begin(known_at, limit)))

    def coverage(
        self,
        table: Optional[Text] = None,
        *,
        host: Optional[Text] = None,
        known_at: Optional[Time] = None,
        limit: Optional[float] = None,
    ) -> Answer:
        """Which streams there are, when they were looked at, and where they have breaks."""
        return self._ask("coverage", _wire.Coverage(*self._begin(known_at, limit), table, host))

    def stats(self, *, limit: Optional[float] = None) -> Dict[str, int]:
        """Numbers about the store and the server."""
        request = self._start(_wire.Stats(*self._begin(None, limit)))
        statistics = self._connection.next_message(request).values["statistics"]
        return {item.name: item.value for item in statistics}

    def lookup(
        self,
        table: Text,
        column: Text,
        keys: Iterable[Tuple[Text, Any, Time]],
        *,
        known_at: Optional[Time] = None,
        limit: Optional[float] = None,
    ) -> LookupAnswer:
        """For each key (host, value, at): the rows that had the value in the column on that host at that moment.

        Each row says in `key` which one it answers; `by_key()` gives all in order. Keys are sent host by host.
        """
        hosts: Dict[bytes, int] = {}
        listed = []
        for host, value, at in keys:
            number = hosts.setdefault(_wire.to_bytes(host), len(hosts))
            listed.append(_wire.Key(number, _value(value), _times.to_seconds(at)))
        places = sorted(range(len(listed)), key=lambda place: listed[place].host)
        ordered = [listed[place] for place in places]
        message = _wire.Lookup(*self._begin(known_at, limit), table, column, list(hosts), ordered)
        title = f"lookup of {len(listed)} keys in {_said(table)}.{_said(column)}"
        return LookupAnswer(self._connection, self._start(message), title, places)

    # --- appending and administration

    def producer(self, id: Union[bytes, str, uuid.UUID], *, first: int = 1, last: int = 0) -> Producer:
        """Opens this connection for batches of a producer.

        `id`: 16 random bytes, kept by the caller for ever. `last`: the greatest sequence that may ever have been sent,
        0 if none; `first`: the least that may be sent again.
        """
        number = _number16(id)
        request = self._connection.start(_wire.Producer(number, _own_instance(), first, last))
        return Producer(self._connection, number, self._connection.next_message(request).values["greatest"])

    def flush(self) -> None:
        """What is in the server's memory becomes a segment."""
        self._connection.next_message(self._connection.start(_wire.Flush()))

    def compact(self) -> None:
        """All segments become one."""
        self._connection.next_message(self._connection.start(_wire.Compact()))

    def shutdown(self) -> None:
        """The server finishes what is under way and ends."""
        self._connection.next_message(self._connection.start(_wire.Shutdown()))


def _said(text: Text) -> str:
    return text if isinstance(text, str) else _wire.to_text(text)


def _address(address: Union[str, Tuple[str, int]]) -> Tuple[str, int]:
    if isinstance(address, tuple):
        host, port = address
    else:
        host, colon, port_text = address.rpartition(":")
        bare = host.startswith("[") and host.endswith("]")
        if not colon or not host or not port_text.isascii() or not port_text.isdigit() or (":" in host and not bare):
            raise UsageError(f"{address!r} is no address such as 127.0.0.1:7787 or [::1]:7787")
        host, port = host[1:-1] if bare else host, int(port_text)
    if not 0 < port < 65536:
        raise UsageError(f"{port} is no port")
    return host, port


def _token(token: Optional[Text], token_file: Any) -> bytes:
    if token is not None and token_file is not None:
        raise UsageError("give a token or a file with it, not both")
    if token_file is None:
        return b"" if token is None else _wire.to_bytes(token)
    try:
        with open(token_file, "rb") as file:
            found = file.read(4096).strip()
    except OSError as why:
        raise FileError(f"{_path(token_file)}: {why.strerror or why}: token_file names the token's file") from why
    if not found:
        raise FileError(f"{_path(token_file)}: it is empty, where a token should be; is it the right file?")
    if len(found) > _wire.TOKEN_LIMIT or any(byte < 32 or byte == 127 for byte in found):
        raise FileError(
            f"{_path(token_file)}: it holds no token, which is one line of at most {_wire.TOKEN_LIMIT} bytes; "
            "is it the right file?"
        )
    return found


def _path(path: Any) -> str:
    return repr(path) if isinstance(path, int) else os.fsdecode(path)


def _context(ca: Any, cert: Any, key: Any) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise FileError(f"{_path(ca)}: it holds no certificate in PEM; is it the right file for ca?") from None
    except OSError as why:
        raise FileError(f"{_path(ca)}: {why.strerror or why}: ca names the file of certificates to trust") from why
    if cert is None:
        if key is not None:
            raise UsageError("a key needs its certificate: give cert, too")
        return context
    named = _path(cert) if key is None else f"{_path(cert)}, {_path(key)}"
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as why:
        raise FileError(f"{named}: no certificate in PEM with its key: {why.reason or why}") from why
    except OSError as why:
        raise FileError(f"{named}: {why.strerror or why}: cert and key name the files of this client's own") from why
    return context


def connect(
    address: Union[str, Tuple[str, int]],
    *,
    token: Optional[Text] = None,
    token_file: Any = None,
    tls: Optional[bool] = None,
    ca: Any = None,
    server_name: Optional[str] = None,
    cert: Any = None,
    key: Any = None,
    timeout: float = 30.0,
    window: int = WINDOW,
    answer_bytes_max: int = ANSWER_BYTES,
    client: str = CLIENT,
) -> Store:
    """Connects to a server, such as `connect("127.0.0.1:7787", token_file="/etc/erstwhile/token")`.

    TLS is used with `tls=True`, or if any of these is given: `ca` (a file of certificates to trust; otherwise the
    system's), `server_name` (what the server's certificate must name; otherwise the address's host), `cert` and `key`
    (files of this client's own). `timeout`: how many seconds of silence are borne, 10 at most until the server has said
    who it is. `window`: how many bytes of an answer may be on their way; 0: as many as the server allows.
    `answer_bytes_max`: the longest frame that is taken.
    """
    if not timeout > 0:
        raise UsageError("a timeout is a number of seconds above 0")
    if isinstance(window, bool) or not isinstance(window, int) or not 0 <= window < 2**63:
        raise UsageError("a window is a number of bytes")
    host, port = _address(address)
    hello = _wire.Hello(answer_bytes_max=answer_bytes_max, token=_token(token, token_file), client=client)
    _wire.encode(hello)  # Says what is wrong with it before anything is opened.
    named = [what is not None for what in (ca, server_name, cert, key)]
    if tls is False and any(named):
        raise UsageError("ca, server_name, cert and key are for TLS, which tls=False excludes")
    context = None
    if tls or any(named):
        context = _context(ca, cert, key)
    sock = None
    try:
        sock = socket.create_connection((host, port), min(timeout, GREETING))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=server_name or host)
        return Store(Connection(sock, timeout, hello, f"{host}:{port}"), window)
    except Error:  # Comes first: some of these are OSErrors, too, and say more than what follows.
        _close(sock)
        raise
    except socket.timeout:
        _close(sock)
        raise TimedOut(no_answer(f"{host}:{port}", min(timeout, GREETING))) from None
    except OSError as why:
        _close(sock)
        raise Disconnected(f"cannot connect to {host}:{port}: {why}") from why
    except BaseException:
        _close(sock)
        raise


def _close(sock: Optional[socket.socket]) -> None:
    if sock is not None:
        sock.close()
