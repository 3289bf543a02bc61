"""The protocol's bytes, without a socket: frames, values, and every message in both directions.

Each message is described once, field by field; writing and reading follow from that one description.

What must stay true:
- what is read is exactly what the page allows: a byte left over, a byte missing, a number longer than needed or out of
  its range is a `ProtocolError`, and nothing but a `ProtocolError` comes out of reading, whatever the bytes;
- reading makes no more values than there are bytes: every count is compared with what is left first;
- what is written is the shortest form, and what the page forbids is a `UsageError` before a byte is sent;
- names and texts are `str`, decoded as UTF-8 with "surrogateescape": any bytes come back as they were.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, Union

from ._errors import ProtocolError, UsageError

Text = Union[str, bytes]

MAGIC = b"erstwire"
VERSION = 1
HEADER = struct.Struct("<IB3sII")
_CHECKED = struct.Struct("<IB3sI")

SMALLEST_ANSWER, LARGEST_ANSWER = 65_536, 16_777_216
HELLO_LIMIT = 4096
TOKEN_LIMIT = 256
REQUEST_LIMIT = 65_536
LOOKUP_KEYS = 1_048_576
SECOND_LIMIT = 2**60

HELLO, PING, CANCEL, CREDIT, GOODBYE = 0x01, 0x02, 0x03, 0x04, 0x05
STATE, WHO, WHAT, HISTORY, DIFF, EVENTS = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15
HOSTS, TABLES, COVERAGE, STATS, LOOKUP = 0x16, 0x17, 0x18, 0x19, 0x1A
PRODUCER, APPEND_LINES, APPEND_LOOKS = 0x20, 0x21, 0x22
FLUSH, COMPACT, SHUTDOWN = 0x30, 0x31, 0x32
WELCOME, PONG, SERVER_GOODBYE, PART, DONE, ERROR = 0x81, 0x82, 0x85, 0x90, 0x91, 0xFF

LARGE_REQUESTS = frozenset({APPEND_LINES, APPEND_LOOKS, LOOKUP})

HELD, VERSIONS, EVENT_ROWS, CHANGES, HOST_LIST, TABLE_LIST, STREAM_LIST, HITS = range(1, 9)

PARTS_OF = {
    STATE: {HELD},
    WHO: {HELD},
    WHAT: {HELD},
    HISTORY: {VERSIONS, EVENT_ROWS},
    DIFF: {CHANGES},
    EVENTS: {EVENT_ROWS},
    HOSTS: {HOST_LIST},
    TABLES: {TABLE_LIST},
    COVERAGE: {STREAM_LIST},
    LOOKUP: {VERSIONS, HITS},
}

VERDICTS = ("definite", "presumed", "possible", "unknown")
STARTS = ("seen", "break")
ENDS = ("gone", "break", "open")
KINDS = ("diff", "snapshot", "event")
CAUSES = ("gap", "fork", "no-base", "doubtful-zero", "not-held", "damage", "expired", "before-first")
MISSING = (None, "never collected", "no such row", "unknown at T")
AGENTS = ("2.10", "3.4", "5.7")
COSTS = (
    "rows_decoded",
    "bytes_read",
    "blocks_verified",
    "bytes_verified",
    "cache_hits",
    "keys_decoded",
    "segments_touched",
    "streams_replayed",
)
ROLES = ("ingest", "read", "admin")


def to_bytes(text: Text) -> bytes:
    """A name as the wire has it."""
    if isinstance(text, str):
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise UsageError(f"{text!r} holds a surrogate that stands for no byte") from None
    if isinstance(text, (bytes, bytearray, memoryview)):
        return bytes(text)
    raise UsageError(f"a name is str or bytes, not {type(text).__name__}")


def to_text(raw: bytes) -> str:
    """A name as this package shows it."""
    return raw.decode("utf-8", "surrogateescape")


# --- frames


def frame(kind: int, ident: int, payload: bytes) -> bytes:
    """One whole frame."""
    checked = _CHECKED.pack(len(payload), kind, b"\0\0\0", ident)
    return checked + struct.pack("<I", zlib.crc32(payload, zlib.crc32(checked))) + payload


def frame_length(header: bytes, limit: int) -> int:
    """The payload's length, from the frame's first 16 bytes, before room is made for it."""
    length, _, zero, _, _ = HEADER.unpack(header)
    if length > limit:
        raise ProtocolError(f"a frame of {length} bytes, where at most {limit} are allowed")
    if zero != b"\0\0\0":
        raise ProtocolError("a frame's reserved bytes are not zero")
    return length


def open_frame(header: bytes, payload: bytes) -> Tuple[int, int]:
    """Type and id of a frame whose checksum holds."""
    _, kind, _, ident, checksum = HEADER.unpack(header)
    if zlib.crc32(payload, zlib.crc32(header[:12])) != checksum:
        raise ProtocolError("a frame's checksum does not hold")
    return kind, ident


# --- values


class Reader:
    """Takes values from the front of a payload."""

    __slots__ = ("data", "pos")

    def __init__(self, data: bytes):
        self.data = data
        self.pos = 0

    def left(self) -> int:
        return len(self.data) - self.pos

    def raw(self, count: int) -> bytes:
        if count > self.left():
            raise ProtocolError(f"a payload ends too early: {count} bytes were to come, {self.left()} are left")
        start = self.pos
        self.pos = start + count
        return self.data[start : self.pos]

    def u8(self) -> int:
        return self.raw(1)[0]

    def uint(self) -> int:
        data, pos, value, shift = self.data, self.pos, 0, 0
        while True:
            if pos >= len(data):
                raise ProtocolError("a payload ends within a number")
            byte = data[pos]
            pos += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise ProtocolError("a number of more than 10 bytes")
        if byte == 0 and shift:
            raise ProtocolError("a number is longer than needed")
        if value >> 64:
            raise ProtocolError("a number is larger than 64 bits")
        self.pos = pos
        return value

    def sint(self) -> int:
        value = self.uint()
        return (value >> 1) ^ -(value & 1)

    def count(self) -> int:
        """How many follow: each takes a byte at least, so a number beyond what is left cannot be true."""
        count = self.uint()
        if count > self.left():
            raise ProtocolError(f"{count} values are announced, {self.left()} bytes are left")
        return count

    def uints(self, count: int) -> List[int]:
        if count > self.left():
            raise ProtocolError(f"{count} numbers were to come, {self.left()} bytes are left")
        run = self.data[self.pos : self.pos + count]
        if run.isascii():  # Mostly so: each number is a single byte.
            self.pos += count
            return list(run)
        return [self.uint() for _ in range(count)]

    def ints(self, count: int) -> List[int]:
        return [(value >> 1) ^ -(value & 1) for value in self.uints(count)]

    def end(self) -> None:
        if self.left():
            raise ProtocolError(f"{self.left()} bytes are left over at the end of a payload")


def put_uint(out: bytearray, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**64:
        raise UsageError(f"{value!r} is no number from 0 to 2^64 - 1")
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


class Codec(NamedTuple):
    """How one value is written and read."""

    put: Callable[[bytearray, Any], None]
    take: Callable[[Reader], Any]


def _ranged(low: int, high: int, put: Callable, take: Callable, what: str) -> Codec:
    def put_ranged(out: bytearray, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise UsageError(f"{value!r} is no {what} from {low} to {high}")
        put(out, value)

    def take_ranged(reader: Reader) -> int:
        value = take(reader)
        if not low <= value <= high:
            raise ProtocolError(f"{value} is no {what} from {low} to {high}")
        return value

    return Codec(put_ranged, take_ranged)


def _put_int(out: bytearray, value: int) -> None:
    put_uint(out, zigzag(value))


def fixed(size: int) -> Codec:
    """So many bytes as they are."""

    def put(out: bytearray, value: bytes) -> None:
        if not isinstance(value, bytes) or len(value) != size:
            raise UsageError(f"{value!r} is not {size} bytes")
        out += value

    return Codec(put, lambda reader: reader.raw(size))


def _little(size: int) -> Codec:
    return _ranged(
        0,
        256**size - 1,
        lambda out, value: out.extend(value.to_bytes(size, "little")),
        lambda reader: int.from_bytes(reader.raw(size), "little"),
        "number",
    )


def uint_of(low: int, high: int) -> Codec:
    return _ranged(low, high, put_uint, Reader.uint, "number")


def _data(limit: Optional[int] = None) -> Codec:
    def put(out: bytearray, value: bytes) -> None:
        value = to_bytes(value)
        if limit is not None and len(value) > limit:
            raise UsageError(f"{len(value)} bytes, where at most {limit} are allowed")
        put_uint(out, len(value))
        out += value

    def take(reader: Reader) -> bytes:
        length = reader.uint()
        if limit is not None and length > limit:
            raise ProtocolError(f"{length} bytes, where at most {limit} are allowed")
        return reader.raw(length)

    return Codec(put, take)


def _text(limit: Optional[int] = None) -> Codec:
    data = _data(limit)
    return Codec(data.put, lambda reader: to_text(data.take(reader)))


def word_of(words: Sequence[Optional[str]]) -> Codec:
    """A `u8` that stands for one of some words."""

    def put(out: bytearray, value: Optional[str]) -> None:
        if value not in words:
            raise UsageError(f"{value!r} is none of {', '.join(map(str, words))}")
        out.append(words.index(value))

    def take(reader: Reader) -> Optional[str]:
        number = reader.u8()
        if number >= len(words):
            raise ProtocolError(f"a byte is {number}, where only 0 to {len(words) - 1} mean something")
        return words[number]

    return Codec(put, take)


def _put_flag(out: bytearray, value: bool) -> None:
    if value not in (False, True):
        raise UsageError(f"{value!r} is neither true nor false")
    out.append(bool(value))


def _take_flag(reader: Reader) -> bool:
    value = reader.u8()
    if value > 1:
        raise ProtocolError(f"a byte is {value}, where only 0 and 1 mean something")
    return value == 1


def opt(inner: Codec) -> Codec:
    """A value or None."""

    def put(out: bytearray, value: Any) -> None:
        out.append(value is not None)
        if value is not None:
            inner.put(out, value)

    return Codec(put, lambda reader: inner.take(reader) if _take_flag(reader) else None)


def list_of(inner: Codec, limit: Optional[int] = None) -> Codec:
    def put(out: bytearray, values: Sequence[Any]) -> None:
        if limit is not None and len(values) > limit:
            raise UsageError(f"{len(values)} entries, where at most {limit} are allowed")
        put_uint(out, len(values))
        for value in values:
            inner.put(out, value)

    def take(reader: Reader) -> List[Any]:
        count = reader.count()
        if limit is not None and count > limit:
            raise ProtocolError(f"{count} entries, where at most {limit} are allowed")
        return [inner.take(reader) for _ in range(count)]

    return Codec(put, take)


def _take_magic(reader: Reader) -> bytes:
    if reader.raw(len(MAGIC)) != MAGIC:
        raise ProtocolError("this is no hello of this protocol")
    return MAGIC


def _take_rest(reader: Reader) -> bytes:
    if reader.left() > 64:
        raise ProtocolError("a ping of more than 64 bytes")
    return reader.raw(reader.left())


def _put_rest(out: bytearray, value: bytes) -> None:
    if len(value) > 64:
        raise UsageError("a ping of more than 64 bytes")
    out += value


U8 = _little(1)
U16 = _little(2)
UINT = Codec(put_uint, Reader.uint)
INT = _ranged(-(2**63), 2**63 - 1, _put_int, Reader.sint, "number")
SECOND = _ranged(-SECOND_LIMIT, SECOND_LIMIT, _put_int, Reader.sint, "second")
MICROS = _ranged(-SECOND_LIMIT, SECOND_LIMIT, _put_int, Reader.sint, "time")
TEXT = _text()
FLAG = Codec(_put_flag, _take_flag)
NUMBER16 = fixed(16)
_MAGIC = Codec(lambda out, value: fixed(8).put(out, value), _take_magic)
_REST = Codec(_put_rest, _take_rest)


# --- records: messages and what they hold


def wire(codec: Codec, **default: Any) -> Any:
    """A field of a record, in the order of the page."""
    return dataclasses.field(metadata={"codec": codec}, **default)


def record(cls: type) -> Codec:
    """The codec of a dataclass whose fields were made with `wire`."""
    fields = [(field.name, field.metadata["codec"]) for field in dataclasses.fields(cls)]

    def put(out: bytearray, value: Any) -> None:
        for name, codec in fields:
            codec.put(out, getattr(value, name))

    def take(reader: Reader) -> Any:
        return cls(**{name: codec.take(reader) for name, codec in fields})

    return Codec(put, take)


_CODECS: Dict[int, Codec] = {}
_TYPES: Dict[Type[Any], int] = {}


def message(kind: int) -> Callable[[type], type]:
    def register(cls: type) -> type:
        _CODECS[kind] = record(cls)
        _TYPES[cls] = kind
        return cls

    return register


def encode(value: Any) -> Tuple[int, bytes]:
    """Type and payload of a message."""
    kind = _TYPES[type(value)]
    out = bytearray()
    _CODECS[kind].put(out, value)
    return kind, bytes(out)


def decode(kind: int, payload: bytes) -> Any:
    """The message that a payload of this type holds, nothing missing and nothing left over."""
    codec = _CODECS.get(kind)
    if codec is None:
        raise ProtocolError(f"a frame of a type that is not known: {kind:#04x}")
    reader = Reader(payload)
    value = codec.take(reader)
    reader.end()
    return value


@message(HELLO)
@dataclass(frozen=True)
class Hello:
    magic: bytes = wire(_MAGIC, default=MAGIC)
    oldest: int = wire(U16, default=VERSION)
    newest: int = wire(U16, default=VERSION)
    capabilities: int = wire(UINT, default=0)
    answer_bytes_max: int = wire(uint_of(SMALLEST_ANSWER, LARGEST_ANSWER), default=SMALLEST_ANSWER)
    token: bytes = wire(_data(TOKEN_LIMIT), default=b"")
    client: str = wire(_text(128), default="")


@message(WELCOME)
@dataclass(frozen=True)
class Welcome:
    version: int = wire(U16)
    capabilities: int = wire(UINT)
    roles: int = wire(_ranged(0, 7, U8.put, U8.take, "set of roles"))
    store: bytes = wire(NUMBER16)
    server: str = wire(TEXT)
    request_bytes_max: int = wire(UINT)
    requests_max: int = wire(UINT)
    window_bytes_max: int = wire(UINT)
    request_millis_max: int = wire(UINT)
    idle_millis_max: int = wire(UINT)


@message(PING)
@dataclass(frozen=True)
class Ping:
    data: bytes = wire(_REST)


@message(PONG)
@dataclass(frozen=True)
class Pong:
    data: bytes = wire(_REST)


@message(CANCEL)
@dataclass(frozen=True)
class Cancel:
    pass


@message(CREDIT)
@dataclass(frozen=True)
class Credit:
    bytes: int = wire(UINT)


@message(GOODBYE)
@dataclass(frozen=True)
class Goodbye:
    pass


@message(SERVER_GOODBYE)
@dataclass(frozen=True)
class ServerGoodbye:
    pass


@message(ERROR)
@dataclass(frozen=True)
class ErrorMessage:
    code: int = wire(U16)
    text: str = wire(TEXT)
    retry_millis: int = wire(UINT)


class Condition(NamedTuple):
    """What a column must be: test is "is", "begins" or "in"."""

    test: str
    column: Text
    value: Text


_TEST = word_of(("is", "begins", "in"))


def _put_condition(out: bytearray, condition: Condition) -> None:
    _TEST.put(out, condition.test)
    TEXT.put(out, condition.column)
    TEXT.put(out, condition.value)


_CONDITIONS = list_of(
    Codec(_put_condition, lambda reader: Condition(_TEST.take(reader), TEXT.take(reader), TEXT.take(reader)))
)


@dataclass(frozen=True)
class Question:
    """What every question begins with. `window` 0 and `millis` 0 stand for the server's greatest."""

    window: int = wire(UINT)
    millis: int = wire(UINT)
    known_at: Optional[int] = wire(opt(MICROS))


@message(STATE)
@dataclass(frozen=True)
class State(Question):
    table: Text = wire(TEXT)
    at: int = wire(SECOND)
    host: Optional[Text] = wire(opt(TEXT))
    stream: Optional[Text] = wire(opt(TEXT))
    conditions: List[Condition] = wire(_CONDITIONS)


@message(WHO)
@dataclass(frozen=True)
class Who(Question):
    what: str = wire(word_of(("ip", "uid")))
    value: Text = wire(TEXT)
    at: int = wire(SECOND)
    host: Optional[Text] = wire(opt(TEXT))


@message(WHAT)
@dataclass(frozen=True)
class What(Question):
    path: Text = wire(TEXT)
    host: Text = wire(TEXT)
    at: int = wire(SECOND)


@dataclass(frozen=True)
class _Span(Question):
    table: Text = wire(TEXT)
    host: Optional[Text] = wire(opt(TEXT))
    stream: Optional[Text] = wire(opt(TEXT))
    conditions: List[Condition] = wire(_CONDITIONS)
    from_: Optional[int] = wire(opt(SECOND))
    to: Optional[int] = wire(opt(SECOND))


@message(HISTORY)
@dataclass(frozen=True)
class History(_Span):
    pass


@message(EVENTS)
@dataclass(frozen=True)
class Events(_Span):
    pass


@message(DIFF)
@dataclass(frozen=True)
class Diff(Question):
    table: Text = wire(TEXT)
    host: Text = wire(TEXT)
    stream: Optional[Text] = wire(opt(TEXT))
    from_: int = wire(SECOND)
    to: int = wire(SECOND)


@message(HOSTS)
@dataclass(frozen=True)
class Hosts(Question):
    pass


@message(TABLES)
@dataclass(frozen=True)
class Tables(Question):
    pass


@message(COVERAGE)
@dataclass(frozen=True)
class Coverage(Question):
    table: Optional[Text] = wire(opt(TEXT))
    host: Optional[Text] = wire(opt(TEXT))


@message(STATS)
@dataclass(frozen=True)
class Stats(Question):
    pass


class Key(NamedTuple):
    """One thing to look up; `host` is a place in the question's list."""

    host: int
    value: Text
    at: int


def _put_key(out: bytearray, key: Key) -> None:
    put_uint(out, key.host)
    TEXT.put(out, key.value)
    SECOND.put(out, key.at)


_KEYS = list_of(Codec(_put_key, lambda reader: Key(reader.uint(), TEXT.take(reader), SECOND.take(reader))), LOOKUP_KEYS)


@message(LOOKUP)
@dataclass(frozen=True)
class Lookup(Question):
    table: Text = wire(TEXT)
    column: Text = wire(TEXT)
    hosts: Sequence[Text] = wire(list_of(TEXT))
    keys: List[Key] = wire(_KEYS)

    def __post_init__(self) -> None:
        if any(key.host >= len(self.hosts) for key in self.keys):
            raise ProtocolError("a key names a host that is not in the list")


@message(PRODUCER)
@dataclass(frozen=True)
class Producer:
    producer: bytes = wire(NUMBER16)
    instance: bytes = wire(NUMBER16)
    first: int = wire(UINT)
    last: int = wire(UINT)


class Chunk(NamedTuple):
    """Whole lines of one source, from an offset on."""

    source: Text
    offset: int
    lines: bytes


_LINES = _data()


def _put_chunk(out: bytearray, chunk: Chunk) -> None:
    TEXT.put(out, chunk.source)
    put_uint(out, chunk.offset)
    _LINES.put(out, chunk.lines)


_CHUNKS = list_of(Codec(_put_chunk, lambda reader: Chunk(TEXT.take(reader), reader.uint(), _LINES.take(reader))))


@message(APPEND_LINES)
@dataclass(frozen=True)
class AppendLines:
    producer: bytes = wire(NUMBER16)
    sequence: int = wire(UINT)
    chunks: List[Chunk] = wire(_CHUNKS)


class Copies(NamedTuple):
    """A row of a look and how many equal copies of it there are."""

    columns: Mapping[Any, Text]
    copies: int = 1


@dataclass(frozen=True)
class Look:
    """One run of a query on one host: what it added and removed, or (of a snapshot) all there was.

    `kind` is "diff", "snapshot" or "event". `agent` is what the lines tell of the agent's version: "2.10", "3.4" or
    "5.7".
    """

    host: Text
    name: Text
    second: int
    added: Sequence[Copies] = ()
    removed: Sequence[Copies] = ()
    kind: str = "diff"
    table: Text = ""
    epoch: int = 0
    counter: Optional[int] = None
    whole: bool = True
    agent: str = "5.7"


_KIND, _AGENT, _COUNTER = word_of(KINDS), word_of(AGENTS), opt(UINT)


def _by_bytes(columns: Mapping[Any, Any]) -> Tuple[Tuple[bytes, bytes], ...]:
    pairs = {to_bytes(name): to_bytes(value) for name, value in columns.items()}
    return tuple(sorted(pairs.items()))


def _put_shapes(out: bytearray, shapes: Iterable[Tuple[bytes, ...]]) -> None:
    shapes = list(shapes)
    put_uint(out, len(shapes))
    for shape in shapes:
        put_uint(out, len(shape))
        for name in shape:
            put_uint(out, len(name))
            out += name


def _take_shapes(reader: Reader) -> List[List[str]]:
    shapes = []
    for _ in range(reader.count()):
        names = [reader.raw(reader.uint()) for _ in range(reader.count())]
        if any(before >= after for before, after in zip(names, names[1:])):
            raise ProtocolError("a shape's columns are not in order, each once")
        shapes.append([to_text(name) for name in names])
    return shapes


def _put_look(out: bytearray, look: Look) -> None:
    TEXT.put(out, look.host)
    TEXT.put(out, look.name)
    TEXT.put(out, look.table)
    _KIND.put(out, look.kind)
    put_uint(out, look.epoch)
    _COUNTER.put(out, look.counter)
    SECOND.put(out, look.second)
    FLAG.put(out, look.whole)
    _AGENT.put(out, look.agent)
    shapes: Dict[Tuple[bytes, ...], int] = {}
    rows = bytearray()
    for listed in (look.removed, look.added):
        once = set()
        put_uint(rows, len(listed))
        for columns, count in listed:
            row = _by_bytes(columns)
            if row in once:
                raise UsageError("a row stands twice in a list: give it once, with a count")
            once.add(row)
            if count < 1:
                raise UsageError("a row has at least one copy")
            shape = tuple(name for name, _ in row)
            put_uint(rows, shapes.setdefault(shape, len(shapes)))
            put_uint(rows, count)
            for _, value in row:
                put_uint(rows, len(value))
                rows += value
    _put_shapes(out, shapes)
    out += rows


def _take_copies(reader: Reader, shapes: List[List[str]]) -> List[Copies]:
    rows, once = [], set()
    for _ in range(reader.count()):
        number, count = reader.uint(), reader.uint()
        if number >= len(shapes):
            raise ProtocolError("a row names a shape that is not there")
        if count < 1:
            raise ProtocolError("a row without a copy")
        values = tuple(TEXT.take(reader) for _ in shapes[number])
        row = (tuple(shapes[number]), values)
        if row in once:
            raise ProtocolError("a row stands twice in a list")
        once.add(row)
        rows.append(Copies(dict(zip(shapes[number], values)), count))
    return rows


def _take_look(reader: Reader) -> Look:
    host, name, table = TEXT.take(reader), TEXT.take(reader), TEXT.take(reader)
    kind, epoch, counter = _KIND.take(reader), reader.uint(), _COUNTER.take(reader)
    second, whole, agent = SECOND.take(reader), FLAG.take(reader), _AGENT.take(reader)
    shapes = _take_shapes(reader)
    removed = _take_copies(reader, shapes)
    added = _take_copies(reader, shapes)
    return Look(host, name, second, added, removed, kind, table, epoch, counter, whole, agent)


@message(APPEND_LOOKS)
@dataclass(frozen=True)
class AppendLooks:
    producer: bytes = wire(NUMBER16)
    sequence: int = wire(UINT)
    looks: List[Look] = wire(list_of(Codec(_put_look, _take_look)))


@message(FLUSH)
@dataclass(frozen=True)
class Flush:
    pass


@message(COMPACT)
@dataclass(frozen=True)
class Compact:
    pass


@message(SHUTDOWN)
@dataclass(frozen=True)
class Shutdown:
    pass


# --- parts of answers


class Version(NamedTuple):
    """A row with its times; of kind held also with its evidence."""

    host: str
    stream: str
    columns: Dict[str, str]
    copies: int
    from_: int
    from_after: Optional[int]
    to: Optional[int]
    to_after: Optional[int]
    start: str
    end: str
    verified: bool
    verdict: Optional[str] = None
    before: Optional[int] = None
    after: Optional[int] = None


class EventEntry(NamedTuple):
    host: str
    stream: str
    columns: Dict[str, str]
    copies: int
    time: int
    seen: int


class ChangeEntry(NamedTuple):
    host: str
    stream: str
    columns: Dict[str, str]
    copies: int
    action: str
    verdict_from: str
    verdict_to: str


@dataclass(frozen=True)
class HostEntry:
    host: str = wire(TEXT)
    streams: int = wire(UINT)
    first: int = wire(SECOND)
    last: int = wire(SECOND)
    agent_version: Optional[str] = wire(opt(TEXT))


@dataclass(frozen=True)
class TableEntry:
    table: str = wire(TEXT)
    evented: bool = wire(FLAG)
    streams: int = wire(UINT)
    hosts: int = wire(UINT)
    first: int = wire(SECOND)
    last: int = wire(SECOND)
    assumed: int = wire(UINT)
    assumed_streams: List[str] = wire(list_of(TEXT))


@dataclass(frozen=True)
class BreakEntry:
    from_: Optional[int] = wire(opt(SECOND))
    to: Optional[int] = wire(opt(SECOND))
    cause: str = wire(word_of(CAUSES))


@dataclass(frozen=True)
class StreamEntry:
    host: str = wire(TEXT)
    stream: str = wire(TEXT)
    kind: str = wire(_KIND)
    table: str = wire(TEXT)
    assumed: bool = wire(FLAG)
    looks: int = wire(UINT)
    first: int = wire(SECOND)
    last: int = wire(SECOND)
    agent_version: Optional[str] = wire(opt(TEXT))
    skew_min: int = wire(INT)
    skew_max: int = wire(INT)
    breaks: List[BreakEntry] = wire(list_of(record(BreakEntry)))


class Hit(NamedTuple):
    """`key` is a place in the question, `version` one among all versions of the answer."""

    key: int
    version: int
    copies: int
    verdict: str
    before: Optional[int]
    after: Optional[int]


@dataclass(frozen=True)
class Part:
    kind: int
    entries: List[Any]


def _put_referred(out: bytearray, entries: Sequence[Any]) -> None:
    """What entries refer to, how many they are, and the four columns that all kinds begin with."""
    names: Dict[bytes, int] = {}
    shapes: Dict[Tuple[bytes, ...], int] = {}
    rows: Dict[Tuple[Tuple[bytes, bytes], ...], int] = {}
    columns: Tuple[List[int], ...] = ([], [], [], [])
    for entry in entries:
        row = _by_bytes(entry.columns)
        shapes.setdefault(tuple(name for name, _ in row), len(shapes))
        columns[0].append(names.setdefault(to_bytes(entry.host), len(names)))
        columns[1].append(names.setdefault(to_bytes(entry.stream), len(names)))
        columns[2].append(rows.setdefault(row, len(rows)))
        columns[3].append(entry.copies)
    list_of(TEXT).put(out, list(names))
    _put_shapes(out, shapes)
    put_uint(out, len(rows))
    for row in rows:
        put_uint(out, shapes[tuple(name for name, _ in row)])
    for row in rows:
        for _, value in row:
            put_uint(out, len(value))
    for row in rows:
        for _, value in row:
            out += value
    put_uint(out, len(entries))
    for column in columns:
        for number in column:
            put_uint(out, number)


def _pick(values: Sequence[Any], places: List[int], what: str) -> List[Any]:
    try:
        return [values[place] for place in places]
    except IndexError:
        raise ProtocolError(f"an entry names a {what} that is not there") from None


def _take_referred(reader: Reader) -> Tuple[int, List[str], List[str], List[Dict[str, str]], List[int]]:
    names = [TEXT.take(reader) for _ in range(reader.count())]
    shapes = _take_shapes(reader)
    row_shapes = _pick(shapes, reader.uints(reader.count()), "shape")
    lengths = reader.uints(sum(map(len, row_shapes)))
    texts = reader.raw(sum(lengths))
    rows, at, place = [], 0, 0
    for shape in row_shapes:
        row = {}
        for name in shape:
            row[name] = to_text(texts[at : at + lengths[place]])
            at += lengths[place]
            place += 1
        rows.append(row)
    count = reader.count()
    hosts = _pick(names, reader.uints(count), "host")
    streams = _pick(names, reader.uints(count), "stream")
    return count, hosts, streams, _pick(rows, reader.uints(count), "row"), reader.uints(count)


def _second(value: int) -> int:
    if not -SECOND_LIMIT <= value <= SECOND_LIMIT:
        raise ProtocolError(f"{value} is no second: out of range")
    return value


def _running(reader: Reader, count: int) -> List[int]:
    """Times that are written as their difference from the one before."""
    times, time = [], 0
    for step in reader.ints(count):
        time = _second(time + step)
        times.append(time)
    return times


def _put_versions(out: bytearray, entries: Sequence[Version], held: bool) -> None:
    _put_referred(out, entries)
    before = 0
    for entry in entries:
        _put_int(out, entry.from_ - before)
        before = entry.from_
    for entry in entries:
        put_uint(out, 0 if entry.from_after is None else 1 + entry.from_ - entry.from_after)
    for entry in entries:
        put_uint(out, 0 if entry.to is None else 1 + entry.to - entry.from_)
    for entry in entries:
        put_uint(out, 0 if entry.to_after is None else 1 + entry.to - entry.to_after)  # type: ignore[operator]
    for entry in entries:
        bits = STARTS.index(entry.start) | ENDS.index(entry.end) << 1 | entry.verified << 3
        out.append(bits | VERDICTS.index(entry.verdict) << 4 if held else bits)
    if held:
        for name in ("before", "after"):
            for entry in entries:
                time = getattr(entry, name)
                put_uint(out, 0 if time is None else 1 + zigzag(time - entry.from_))


def _take_versions(reader: Reader, held: bool) -> List[Version]:
    count, hosts, streams, rows, counts = _take_referred(reader)
    froms = _running(reader, count)
    from_afters = [
        None if number == 0 else _second(from_ + 1 - number) for from_, number in zip(froms, reader.uints(count))
    ]
    tos = [None if number == 0 else _second(from_ - 1 + number) for from_, number in zip(froms, reader.uints(count))]
    to_afters: List[Optional[int]] = []
    for to, number in zip(tos, reader.uints(count)):
        if number == 0:
            to_afters.append(None)
        elif to is None:
            raise ProtocolError("an entry tells of the look before its end, and has no end")
        else:
            to_afters.append(_second(to + 1 - number))
    bits = reader.raw(count)
    for number in bits:
        if number > (0x3F if held else 0x0F) or number >> 1 & 3 == 3:
            raise ProtocolError(f"an entry's bits mean nothing: {number:#04x}")
    evidence = []
    for _ in range(2 if held else 0):
        evidence.append(
            [
                None if number == 0 else _second(from_ + ((number - 1) >> 1 ^ -((number - 1) & 1)))
                for from_, number in zip(froms, reader.uints(count))
            ]
        )
    verdicts = [VERDICTS[number >> 4] for number in bits] if held else [None] * count
    befores, afters = evidence if held else ([None] * count, [None] * count)
    starts = [STARTS[number & 1] for number in bits]
    ends = [ENDS[number >> 1 & 3] for number in bits]
    verified = [bool(number & 8) for number in bits]
    columns = (hosts, streams, rows, counts, froms, from_afters, tos, to_afters, starts, ends, verified)
    return list(map(Version, *columns, verdicts, befores, afters))


def _put_events(out: bytearray, entries: Sequence[EventEntry]) -> None:
    _put_referred(out, entries)
    before = 0
    for entry in entries:
        _put_int(out, entry.time - before)
        before = entry.time
    for entry in entries:
        _put_int(out, entry.seen - entry.time)


def _take_events(reader: Reader) -> List[EventEntry]:
    count, hosts, streams, rows, counts = _take_referred(reader)
    times = _running(reader, count)
    seen = [_second(time + step) for time, step in zip(times, reader.ints(count))]
    return list(map(EventEntry, hosts, streams, rows, counts, times, seen))


def _put_changes(out: bytearray, entries: Sequence[ChangeEntry]) -> None:
    _put_referred(out, entries)
    for entry in entries:
        verdicts = VERDICTS.index(entry.verdict_from) << 1 | VERDICTS.index(entry.verdict_to) << 3
        out.append((entry.action == "added") | verdicts)


def _take_changes(reader: Reader) -> List[ChangeEntry]:
    count, hosts, streams, rows, counts = _take_referred(reader)
    bits = reader.raw(count)
    if any(number > 0x1F for number in bits):
        raise ProtocolError("a change's bits mean nothing")
    actions = ["added" if number & 1 else "removed" for number in bits]
    froms = [VERDICTS[number >> 1 & 3] for number in bits]
    return list(
        map(ChangeEntry, hosts, streams, rows, counts, actions, froms, [VERDICTS[number >> 3] for number in bits])
    )


_VERDICT, _OPT_SECOND = word_of(VERDICTS), opt(SECOND)
_HIT_COLUMNS = (UINT, UINT, UINT, _VERDICT, _OPT_SECOND, _OPT_SECOND)


def _put_hits(out: bytearray, entries: Sequence[Hit]) -> None:
    put_uint(out, len(entries))
    for place, codec in enumerate(_HIT_COLUMNS):
        for entry in entries:
            codec.put(out, entry[place])


def _take_hits(reader: Reader) -> List[Hit]:
    count = reader.count()
    columns = [reader.uints(count) for _ in range(3)]
    columns += [[codec.take(reader) for _ in range(count)] for codec in _HIT_COLUMNS[3:]]
    return list(map(Hit, *columns))


_PARTS: Dict[int, Codec] = {
    HELD: Codec(lambda out, rows: _put_versions(out, rows, True), lambda reader: _take_versions(reader, True)),
    VERSIONS: Codec(lambda out, rows: _put_versions(out, rows, False), lambda reader: _take_versions(reader, False)),
    EVENT_ROWS: Codec(_put_events, _take_events),
    CHANGES: Codec(_put_changes, _take_changes),
    HOST_LIST: list_of(record(HostEntry)),
    TABLE_LIST: list_of(record(TableEntry)),
    STREAM_LIST: list_of(record(StreamEntry)),
    HITS: Codec(_put_hits, _take_hits),
}


def _put_part(out: bytearray, part: Part) -> None:
    out.append(part.kind)
    _PARTS[part.kind].put(out, part.entries)


def _take_part(reader: Reader) -> Part:
    kind = reader.u8()
    if kind not in _PARTS:
        raise ProtocolError(f"a part of a kind that is not known: {kind}")
    return Part(kind, _PARTS[kind].take(reader))


_TYPES[Part], _CODECS[PART] = PART, Codec(_put_part, _take_part)


# --- the end of an answer


@dataclass(frozen=True)
class SilentHost:
    """A host that cannot speak, and why."""

    host: str = wire(TEXT)
    cause: str = wire(word_of(CAUSES))


@dataclass(frozen=True)
class CoverageCounts:
    """How many hosts could speak. `unknown_hosts` names at most 100 of the unknown."""

    covered: int = wire(UINT)
    presumed: int = wire(UINT)
    unknown: int = wire(UINT)
    never: int = wire(UINT)
    assumed: int = wire(UINT)
    unknown_hosts: List[SilentHost] = wire(list_of(record(SilentHost), 100))


@dataclass(frozen=True)
class LinkEntry:
    """`rows`: so many of the held rows, in order."""

    table: str = wire(TEXT)
    rows: int = wire(UINT)
    missing: Optional[str] = wire(word_of(MISSING))


@dataclass(frozen=True)
class Statistic:
    name: str = wire(TEXT)
    value: int = wire(INT)


@dataclass(frozen=True)
class Done:
    """`request` is the type that was asked; `values` has the names of its table."""

    request: int
    values: Dict[str, Any]


_COVERAGE_COUNTS, _COST = record(CoverageCounts), list_of(UINT)
_AT = (("at", SECOND), ("known_at", opt(MICROS)))
_COUNTED = (("coverage", _COVERAGE_COUNTS), ("cost", _COST))
_SPAN = (
    ("table", TEXT),
    ("from_", _OPT_SECOND),
    ("to", _OPT_SECOND),
    ("known_at", opt(MICROS)),
    ("cost", _COST),
)
_ACKNOWLEDGED = (
    ("sequence", UINT),
    ("already", FLAG),
    ("recorded", opt(MICROS)),
    ("lines", UINT),
    ("dead_letters", UINT),
)

_ENDS: Dict[int, Tuple[Tuple[str, Codec], ...]] = {
    STATE: (("table", TEXT), *_AT, *_COUNTED),
    WHO: (("question", TEXT), *_AT, *_COUNTED),
    WHAT: (
        ("question", TEXT),
        *_AT,
        ("verdict", _VERDICT),
        ("links", list_of(record(LinkEntry))),
        *_COUNTED,
    ),
    HISTORY: _SPAN,
    EVENTS: _SPAN,
    DIFF: (
        ("table", TEXT),
        ("host", TEXT),
        ("from_", SECOND),
        ("to", SECOND),
        ("known_at", opt(MICROS)),
        ("cost", _COST),
    ),
    HOSTS: (),
    TABLES: (),
    COVERAGE: (),
    LOOKUP: (("cost", _COST),),
    STATS: (("statistics", list_of(record(Statistic))),),
    PRODUCER: (("greatest", UINT),),
    APPEND_LINES: _ACKNOWLEDGED,
    APPEND_LOOKS: _ACKNOWLEDGED,
    FLUSH: (),
    COMPACT: (),
    SHUTDOWN: (),
}


def _put_done(out: bytearray, done: Done) -> None:
    out.append(done.request)
    for name, codec in _ENDS[done.request]:
        codec.put(out, done.values[name])


def _take_done(reader: Reader) -> Done:
    request = reader.u8()
    if request not in _ENDS:
        raise ProtocolError(f"the end of a request of a type that is not known: {request:#04x}")
    return Done(request, {name: codec.take(reader) for name, codec in _ENDS[request]})


_TYPES[Done], _CODECS[DONE] = DONE, Codec(_put_done, _take_done)
