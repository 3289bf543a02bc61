"""What answers are made of, as people meet it: rows, hosts, tables, streams, counts of hosts.

What must stay true:
- times are aware UTC datetimes, or numbers where `datetime` ends;
- `to_dict()` has the shape of the command's JSON;
- nothing that came from a host reaches a page unescaped.
"""

from __future__ import annotations

import html
from datetime import datetime
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from . import _times, _wire

Moment = Union[datetime, int]


def shown(text: str) -> str:
    """The text without what is no UTF-8: U+FFFD for each maximal part of it."""
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _is_lossy(text: str) -> bool:
    return not text.isascii() and any("\udc80" <= letter <= "\udcff" for letter in text)


def _span(from_: Optional[int], to: Optional[int]) -> str:
    ends = ["…" if time is None else str(_times.text_of_seconds(time)) for time in (from_, to)]
    return " – ".join(ends)


def escaped(value: Any) -> str:
    return html.escape(shown(str(value)))


def html_table(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A table of plain values, each escaped; None is an empty cell."""
    out = ["<table><thead><tr>", *(f"<th>{escaped(name)}</th>" for name in head), "</tr></thead><tbody>"]
    for line in lines:
        cells = ("<td></td>" if value is None else f"<td>{escaped(value)}</td>" for value in line)
        out += ["<tr>", *cells, "</tr>"]
    out.append("</tbody></table>")
    return "".join(out)


class Record:
    """What every entry of an answer can do."""

    __slots__ = ("_entry",)

    def __init__(self, entry: Any):
        self._entry = entry

    def facts(self) -> List[Tuple[str, Any]]:
        """Name and value of what is shown beside the columns."""
        raise NotImplementedError

    def to_dict(self) -> Dict[str, Any]:
        """The entry in the shape of the command's JSON."""
        raise NotImplementedError

    def __eq__(self, other: Any) -> bool:
        return type(other) is type(self) and self._entry == other._entry

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        said = " ".join(f"{name}={value!r}" for name, value in self.facts() if value is not None)
        return f"<{type(self).__name__} {said}>"

    def _repr_html_(self) -> str:
        facts = self.facts()
        return html_table([name for name, _ in facts], [[value for _, value in facts]])


class _Columned(Record):
    """An entry with a row: `row["username"]`, `"uid" in row`, `row.get("gid")`."""

    __slots__ = ()

    @property
    def host(self) -> str:
        return self._entry.host

    @property
    def stream(self) -> str:
        return self._entry.stream

    @property
    def columns(self) -> Dict[str, str]:
        """The row: column → text. A copy, which may be changed."""
        return dict(self._entry.columns)

    @property
    def count(self) -> int:
        """How many equal copies."""
        return self._entry.copies

    def __getitem__(self, column: str) -> str:
        return self._entry.columns[column]

    def get(self, column: str, default: Optional[str] = None) -> Optional[str]:
        return self._entry.columns.get(column, default)

    def __contains__(self, column: object) -> bool:
        return column in self._entry.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._entry.columns)

    def _finished(self, fields: Dict[str, Any]) -> Dict[str, Any]:
        """The dict with its host, stream and row as UTF-8, and a mark if that lost something."""
        entry = self._entry
        lossy = any(map(_is_lossy, (entry.host, entry.stream, *entry.columns, *entry.columns.values())))
        out: Dict[str, Any] = {"host": shown(entry.host), "stream": shown(entry.stream)}
        out.update(fields)
        out["columns"] = {shown(name): shown(value) for name, value in entry.columns.items()}
        if lossy:
            out["lossy"] = True
        return out

    def table_facts(self) -> Tuple[List[Tuple[str, Any]], Dict[str, str]]:
        return self.facts(), self._entry.columns

    def __repr__(self) -> str:
        said = " ".join(f"{name}={value!r}" for name, value in self.facts() if value not in (None, 1))
        return f"<{type(self).__name__} {said} {self._entry.columns!r}>"

    def _repr_html_(self) -> str:
        facts, columns = self.table_facts()
        both = [*facts, *columns.items()]
        return html_table([name for name, _ in both], [[value for _, value in both]])


class Row(_Columned):
    """A row with its times, and in answers about a moment with its evidence.

    `from_`, `to`: from when to when (exclusive); `to` None: still there. It appeared in (`from_after`, `from_`] and
    left in (`to_after`, `to`]. `verdict` is how sure it is at the moment asked about, by the looks `before` and
    `after`; None in a history. `key` is the place of the key that it answers, for a lookup.
    """

    __slots__ = ("key",)

    def __init__(self, entry: _wire.Version, key: Optional[int] = None):
        super().__init__(entry)
        self.key = key

    from_ = property(lambda self: _times.from_seconds(self._entry.from_))
    from_after = property(lambda self: _times.from_seconds(self._entry.from_after))
    to = property(lambda self: _times.from_seconds(self._entry.to))
    to_after = property(lambda self: _times.from_seconds(self._entry.to_after))
    before = property(lambda self: _times.from_seconds(self._entry.before))
    after = property(lambda self: _times.from_seconds(self._entry.after))

    @property
    def start(self) -> str:
        """How it begins: "seen", or "break" where the log has one."""
        return self._entry.start

    @property
    def end(self) -> str:
        """How it ends: "gone", "break" or "open"."""
        return self._entry.end

    @property
    def verified(self) -> bool:
        return self._entry.verified

    @property
    def verdict(self) -> Optional[str]:
        return self._entry.verdict

    def facts(self) -> List[Tuple[str, Any]]:
        entry = self._entry
        facts = [
            ("verdict", entry.verdict),
            ("host", entry.host),
            ("stream", entry.stream),
            ("count", entry.copies),
            ("time", _span(entry.from_, entry.to)),
        ]
        if self.key is not None:
            facts.insert(0, ("key", str(self.key)))
        return facts

    def to_dict(self) -> Dict[str, Any]:
        entry, text = self._entry, _times.text_of_seconds
        out = self._finished(
            {
                "columns": None,
                "count": entry.copies,
                "from": text(entry.from_),
                "from_after": text(entry.from_after),
                "to": text(entry.to),
                "to_after": text(entry.to_after),
                "start": entry.start,
                "end": entry.end,
                "verified": entry.verified,
            }
        )
        if entry.verdict is not None:
            out["evidence"] = {"verdict": entry.verdict, "before": text(entry.before), "after": text(entry.after)}
        return out

    def __eq__(self, other: Any) -> bool:
        return super().__eq__(other) and self.key == other.key

    __hash__ = None  # type: ignore[assignment]


class Event(_Columned):
    """Something that happened at `time` and was seen by the look of `seen`."""

    __slots__ = ()

    time = property(lambda self: _times.from_seconds(self._entry.time))
    seen = property(lambda self: _times.from_seconds(self._entry.seen))

    def facts(self) -> List[Tuple[str, Any]]:
        entry = self._entry
        time = str(_times.text_of_seconds(entry.time))
        return [("time", time), ("host", entry.host), ("stream", entry.stream), ("count", entry.copies)]

    def to_dict(self) -> Dict[str, Any]:
        entry, text = self._entry, _times.text_of_seconds
        times = {"time": text(entry.time), "seen": text(entry.seen)}
        return self._finished({**times, "columns": None, "count": entry.copies})


class Change(_Columned):
    """A row that is there at one of two moments only: `action` is "added" or "removed"."""

    __slots__ = ()

    @property
    def action(self) -> str:
        return self._entry.action

    @property
    def verdict_from(self) -> str:
        return self._entry.verdict_from

    @property
    def verdict_to(self) -> str:
        return self._entry.verdict_to

    def facts(self) -> List[Tuple[str, Any]]:
        entry = self._entry
        return [
            ("action", entry.action),
            ("verdicts", f"{entry.verdict_from} → {entry.verdict_to}"),
            ("host", entry.host),
            ("stream", entry.stream),
            ("count", entry.copies),
        ]

    def to_dict(self) -> Dict[str, Any]:
        entry = self._entry
        verdicts = {"verdict_from": entry.verdict_from, "verdict_to": entry.verdict_to}
        return self._finished({"action": entry.action, "columns": None, "count": entry.copies, **verdicts})


class _Seen(Record):
    """An entry with a first and a last look."""

    __slots__ = ()

    first = property(lambda self: _times.from_seconds(self._entry.first))
    last = property(lambda self: _times.from_seconds(self._entry.last))

    def _times_dict(self) -> Dict[str, Any]:
        text = _times.text_of_seconds
        return {"first": text(self._entry.first), "last": text(self._entry.last)}

    def _looked(self) -> Tuple[str, str]:
        return ("looked at", _span(self._entry.first, self._entry.last))


class Host(_Seen):
    """A host that the store knows."""

    __slots__ = ()

    host = property(lambda self: self._entry.host)
    streams = property(lambda self: self._entry.streams)
    agent_version = property(lambda self: self._entry.agent_version)

    def facts(self) -> List[Tuple[str, Any]]:
        return [
            ("host", self.host),
            ("streams", self.streams),
            self._looked(),
            ("agent version", self.agent_version),
        ]

    def to_dict(self) -> Dict[str, Any]:
        version = self.agent_version
        return {
            "host": shown(self.host),
            "streams": self.streams,
            **self._times_dict(),
            "agent_version": version if version is None else shown(version),
        }


class Table(_Seen):
    """A table that is stored. `assumed_streams`: names of streams that are taken for it without being told."""

    __slots__ = ()

    table = property(lambda self: self._entry.table)
    evented = property(lambda self: self._entry.evented)
    streams = property(lambda self: self._entry.streams)
    hosts = property(lambda self: self._entry.hosts)
    assumed = property(lambda self: self._entry.assumed)
    assumed_streams = property(lambda self: list(self._entry.assumed_streams))

    def facts(self) -> List[Tuple[str, Any]]:
        return [
            ("table", self.table),
            ("holds", "events" if self.evented else "rows"),
            ("streams", self.streams),
            ("hosts", self.hosts),
            self._looked(),
            ("assumed", self.assumed),
        ]

    def to_dict(self) -> Dict[str, Any]:
        return {
            "table": shown(self.table),
            "evented": self.evented,
            "streams": self.streams,
            "hosts": self.hosts,
            **self._times_dict(),
            "assumed": self.assumed,
        }


class Break(Record):
    """A stretch in which a stream cannot be trusted; `from_` None: since ever, `to` None: for good."""

    __slots__ = ()

    from_ = property(lambda self: _times.from_seconds(self._entry.from_))
    to = property(lambda self: _times.from_seconds(self._entry.to))
    cause = property(lambda self: self._entry.cause)

    def facts(self) -> List[Tuple[str, Any]]:
        return [("cause", self.cause), ("time", _span(self._entry.from_, self._entry.to))]

    def to_dict(self) -> Dict[str, Any]:
        text = _times.text_of_seconds
        return {"from": text(self._entry.from_), "to": text(self._entry.to), "cause": self.cause}


class Stream(_Seen):
    """One scheduled query on one host: when it was looked at, and where it cannot be trusted.

    `skew`: the least and the greatest that the store's clock was ahead of the host's at a look, in seconds.
    """

    __slots__ = ()

    host = property(lambda self: self._entry.host)
    stream = property(lambda self: self._entry.stream)
    kind = property(lambda self: self._entry.kind)
    table = property(lambda self: self._entry.table)
    assumed = property(lambda self: self._entry.assumed)
    looks = property(lambda self: self._entry.looks)
    agent_version = property(lambda self: self._entry.agent_version)
    skew = property(lambda self: (self._entry.skew_min, self._entry.skew_max))
    breaks = property(lambda self: [Break(entry) for entry in self._entry.breaks])

    def facts(self) -> List[Tuple[str, Any]]:
        return [
            ("host", self.host),
            ("stream", self.stream),
            ("kind", self.kind),
            ("table", self.table),
            ("looks", self.looks),
            self._looked(),
            ("breaks", len(self._entry.breaks)),
        ]

    def to_dict(self) -> Dict[str, Any]:
        version = self.agent_version
        return {
            "host": shown(self.host),
            "stream": shown(self.stream),
            "kind": self.kind,
            "table": shown(self.table),
            "assumed": self.assumed,
            "looks": self.looks,
            **self._times_dict(),
            "agent_version": version if version is None else shown(version),
            "skew": list(self.skew),
            "breaks": [item.to_dict() for item in self.breaks],
        }


class Coverage(Record):
    """How many hosts could speak for an answer: "nobody" is worth as much as these counts."""

    __slots__ = ()

    covered = property(lambda self: self._entry.covered)
    presumed = property(lambda self: self._entry.presumed)
    unknown = property(lambda self: self._entry.unknown)
    never = property(lambda self: self._entry.never)
    assumed = property(lambda self: self._entry.assumed)

    @property
    def unknown_hosts(self) -> List[Tuple[str, str]]:
        """Host and cause, of at most 100 hosts that cannot speak."""
        return [(item.host, item.cause) for item in self._entry.unknown_hosts]

    @property
    def more(self) -> int:
        """How many more hosts cannot speak."""
        return max(0, self._entry.unknown - len(self._entry.unknown_hosts))

    def facts(self) -> List[Tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in ("covered", "presumed", "unknown", "never", "assumed")]

    def to_dict(self) -> Dict[str, Any]:
        out = dict(self.facts())
        out["unknown_hosts"] = [{"host": shown(host), "cause": cause} for host, cause in self.unknown_hosts]
        if self.more:
            out["more"] = self.more
        return out


class Link:
    """One step from a path to a device: its rows, or what is missing."""

    __slots__ = ("table", "rows", "missing")

    def __init__(self, table: str, rows: List[Row], missing: Optional[str]):
        self.table = table
        self.rows = rows
        self.missing = missing

    def to_dict(self) -> Dict[str, Any]:
        rows = [row.to_dict() for row in self.rows]
        return {"table": shown(self.table), "rows": rows, "missing": self.missing}

    def __repr__(self) -> str:
        return f"<Link {self.table!r} {f'missing: {self.missing}' if self.missing else self.rows}>"
