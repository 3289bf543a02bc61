"""An answer: rows that arrive while they are read, and what is said at its end.

What must stay true:
- the server is given credit only for what was read, so that an answer of any size needs little memory here;
- whoever breaks off an iteration leaves the connection as usable as before;
- what is said at the end can be asked for at any time: the rows until then are kept, none is lost.
"""

from __future__ import annotations

from collections import Counter, deque
from datetime import datetime
from typing import Any, Deque, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from . import _rows, _times, _wire
from ._connection import Connection, Request
from ._errors import Cancelled, Error, ProtocolError, UsageError
from ._rows import Change, Coverage, Event, Host, Link, Record, Row, Stream, Table

SHOWN = 50

_MAKERS = {
    _wire.HELD: Row,
    _wire.VERSIONS: Row,
    _wire.EVENT_ROWS: Event,
    _wire.CHANGES: Change,
    _wire.HOST_LIST: Host,
    _wire.TABLE_LIST: Table,
    _wire.STREAM_LIST: Stream,
}


class Answer:
    """The answer to one question. Iterate it, or ask it for `rows()`.

    Iterating hands out rows as they arrive and keeps none; breaking off cancels the rest. `rows()` reads all and keeps
    them: after it the answer can be read again and again. What the server says at the end (`coverage`, `known_at`,
    `cost`, …) reads the rest first and keeps the rows for whoever asks next.
    """

    def __init__(self, connection: Connection, request: Request, title: str):
        self._connection = connection
        self._request = request
        self._title = title
        self._ready: Deque[Record] = deque()
        self._kept: Optional[List[Record]] = None
        self._given = 0
        self._end: Optional[Dict[str, Any]] = None
        self._error: Optional[Error] = None

    # --- reading

    def _fill(self) -> bool:
        """Reads one part more; False at the end."""
        if self._error is not None:
            raise self._error.again()
        if self._end is not None:
            return False
        try:
            message = self._connection.next_message(self._request)
            if isinstance(message, _wire.Part):
                with self._connection.closing_if_wrong():
                    self._ready.extend(self._take(message))
                return True
            with self._connection.closing_if_wrong():
                self._ended(message.values)
        except Error as error:
            self._error = error
            raise
        self._end = message.values
        return False

    def _take(self, part: _wire.Part) -> Sequence[Record]:
        return list(map(_MAKERS[part.kind], part.entries))

    def _ended(self, values: Dict[str, Any]) -> None:
        """Looks at what the end says, before it is believed."""

    def _finish(self) -> None:
        while self._fill():
            pass
        if not self._given and self._kept is None:
            self._kept = list(self._ready)

    def __iter__(self) -> Iterator[Any]:
        if self._kept is not None:
            return iter(self._kept)
        if self._given and self._end is not None and not self._ready:
            raise UsageError("this answer was read to its end; rows() keeps rows if it is called first")
        return self._stream()

    def _stream(self) -> Iterator[Record]:
        try:
            while True:
                while self._ready:
                    row = self._ready.popleft()
                    self._given += 1
                    yield row
                if not self._fill():
                    return
        finally:
            if self._end is None:
                self.close()

    def rows(self) -> List[Any]:
        """All rows as a list; of an answer that is being iterated, those that were not handed out yet."""
        self._finish()
        if self._kept is None:
            rest = list(self._ready)
            self._ready.clear()
            return rest
        return list(self._kept)

    def close(self) -> None:
        """Breaks the answer off, if it has not ended: the server is asked to stop."""
        if self._end is None and self._error is None:
            self._ready.clear()
            self._error = Cancelled("this answer was broken off before its end")
            self._connection.drop(self._request)

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # Nobody is there to hear of it.
            pass

    # --- the end

    @property
    def end(self) -> Dict[str, Any]:
        """All that was said at the end, as the protocol has it."""
        self._finish()
        assert self._end is not None
        return self._end

    def _said(self, name: str) -> Any:
        end = self.end
        if name not in end:
            raise AttributeError(f"the answer to {self._title} says nothing of {name.rstrip('_')}")
        return end[name]

    @property
    def coverage(self) -> Coverage:
        """How many hosts could speak."""
        return Coverage(self._said("coverage"))

    @property
    def known_at(self) -> Union[datetime, int, None]:
        """Up to when facts were recorded that this answer rests on; None of an empty store."""
        return _times.from_micros(self._said("known_at"))

    @property
    def cost(self) -> Dict[str, int]:
        """What the answer cost the server. Costs that this client has no name for are called `cost_9` and so on."""
        values = self._said("cost")
        names = [*_wire.COSTS, *(f"cost_{place + 1}" for place in range(len(_wire.COSTS), len(values)))]
        return dict(zip(names, values))

    @property
    def table(self) -> str:
        return self._said("table")

    @property
    def host(self) -> str:
        return self._said("host")

    @property
    def question(self) -> str:
        """The words asked, such as `who ip 10.0.0.7`."""
        return self._said("question")

    @property
    def at(self) -> Union[datetime, int, None]:
        return _times.from_seconds(self._said("at"))

    @property
    def from_(self) -> Union[datetime, int, None]:
        return _times.from_seconds(self._said("from_"))

    @property
    def to(self) -> Union[datetime, int, None]:
        return _times.from_seconds(self._said("to"))

    # --- showing

    def _all(self) -> List[Record]:
        self._finish()
        if self._kept is None:
            raise UsageError("rows of this answer were handed out and not kept; call rows() first")
        return self._kept

    def to_dict(self) -> Dict[str, Any]:
        """The whole answer in the shape of the command's JSON."""
        rows = [row.to_dict() for row in self._all()]
        end, text = self.end, _times.text_of_seconds
        out: Dict[str, Any] = {}
        for name in ("table", "question", "host"):
            if name in end:
                out[name] = _rows.shown(end[name])
        for name, key in (("at", "at"), ("from_", "from"), ("to", "to")):
            if name in end:
                out[key] = text(end[name])
        if "known_at" in end:
            out["known_at"] = _times.text_of_micros(end["known_at"])
        if "verdict" in end:
            out["verdict"] = end["verdict"]
        out[self._rows_key()] = rows
        if "coverage" in end:
            out["coverage"] = self.coverage.to_dict()
        if "cost" in end:
            out["cost"] = self.cost
        return out

    def _rows_key(self) -> str:
        names = {_wire.HOSTS: "hosts", _wire.TABLES: "tables", _wire.COVERAGE: "streams"}
        return names.get(self._request.kind, "rows")

    def _summary(self) -> str:
        rows = self._all()
        said = [f"{len(rows)} {self._rows_key() if len(rows) != 1 else self._rows_key()[:-1]}"]
        verdicts = Counter(row.verdict for row in rows if isinstance(row, Row) and row.verdict)
        if verdicts:
            said.append(", ".join(f"{verdicts[word]} {word}" for word in _wire.VERDICTS if verdicts[word]))
        end = self.end
        if "verdict" in end:
            said.append(f"on the whole {end['verdict']}")
        if "coverage" in end:
            said.append("hosts: " + ", ".join(f"{count} {name}" for name, count in self.coverage.facts()))
        if end.get("known_at") is not None:
            said.append(f"as known at {_times.text_of_micros(end['known_at'])}")
        return "; ".join(said)

    def _cannot_be_shown(self) -> Optional[str]:
        """Showing must not fail, nor take rows from under an iteration."""
        if self._given and self._kept is None:
            return f"{self._given} rows handed out"
        try:
            self._finish()
        except Error as error:
            return f"{type(error).__name__}: {error}"
        return None

    def __repr__(self) -> str:
        why = self._cannot_be_shown()
        if why is not None:
            return f"<Answer to {self._title}: {why}>"
        rows = self._all()
        lines = [f"<Answer to {self._title}: {self._summary()}>", *map(repr, rows[:SHOWN])]
        if len(rows) > SHOWN:
            lines.append(f"… and {len(rows) - SHOWN} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        why = self._cannot_be_shown()
        if why is not None:
            return f"<p>{_rows.escaped(self._title)}: {_rows.escaped(why)}</p>"
        rows = self._all()
        out = [f"<p><b>{_rows.escaped(self._title)}</b>: {_rows.escaped(self._summary())}</p>"]
        if rows:
            out.append(_table_of(rows[:SHOWN]))
        if len(rows) > SHOWN:
            out.append(f"<p>… and {len(rows) - SHOWN} more</p>")
        return "".join(out)


def _table_of(rows: Sequence[Record]) -> str:
    """One table of all: facts first, then every column that a row has."""
    facts = [dict(row.facts()) for row in rows]
    columns = [row.columns if isinstance(row, (Row, Event, Change)) else {} for row in rows]
    fact_names = list(dict.fromkeys(name for item in facts for name, value in item.items() if value is not None))
    column_names = list(dict.fromkeys(name for item in columns for name in item))
    lines = [
        [*(fact.get(name) for name in fact_names), *(column.get(name) for name in column_names)]
        for fact, column in zip(facts, columns)
    ]
    return _rows.html_table([*fact_names, *column_names], lines)


class WhatAnswer(Answer):
    """From a path to a device: `links`, and how sure it is on the whole (`verdict`). It is small and keeps its rows."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._seen: List[Record] = []

    def _take(self, part: _wire.Part) -> Sequence[Record]:
        rows = super()._take(part)
        self._seen.extend(rows)
        return rows

    def _ended(self, values: Dict[str, Any]) -> None:
        if sum(link.rows for link in values["links"]) != len(self._seen):
            raise ProtocolError("the links of an answer have other rows than it has")

    @property
    def verdict(self) -> str:
        return self._said("verdict")

    @property
    def links(self) -> List[Link]:
        links, at = [], 0
        for link in self._said("links"):
            rows = [row for row in self._seen[at : at + link.rows] if isinstance(row, Row)]
            links.append(Link(link.table, rows, link.missing))
            at += link.rows
        return links

    def to_dict(self) -> Dict[str, Any]:
        end = self.end
        return {
            "question": _rows.shown(end["question"]),
            "at": _times.text_of_seconds(end["at"]),
            "known_at": _times.text_of_micros(end["known_at"]),
            "verdict": end["verdict"],
            "links": [link.to_dict() for link in self.links],
            "coverage": self.coverage.to_dict(),
            "cost": self.cost,
        }


class LookupAnswer(Answer):
    """Rows for many keys at once: each has in `key` the place of its key among those that were asked."""

    def __init__(self, connection: Connection, request: Request, title: str, places: List[int]):
        super().__init__(connection, request, title)
        self._places = places
        self._versions: List[_wire.Version] = []

    def _take(self, part: _wire.Part) -> Sequence[Record]:
        if part.kind == _wire.VERSIONS:
            self._versions.extend(part.entries)
            return ()
        rows = []
        for hit in part.entries:
            if hit.key >= len(self._places) or hit.version >= len(self._versions):
                raise ProtocolError("a hit names a key or a version that is not there")
            version = self._versions[hit.version]._replace(
                copies=hit.copies, verdict=hit.verdict, before=hit.before, after=hit.after
            )
            rows.append(Row(version, self._places[hit.key]))
        return rows

    def by_key(self) -> List[List[Row]]:
        """For each key, in the order asked, its rows."""
        out: List[List[Row]] = [[] for _ in self._places]
        for row in self._all():
            assert isinstance(row, Row) and row.key is not None
            out[row.key].append(row)
        return out


__all__: Tuple[str, ...] = ("Answer", "WhatAnswer", "LookupAnswer")
