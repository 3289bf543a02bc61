"""Entries of answers: what they say, their JSON, and how they are shown."""

import unittest
from datetime import datetime, timezone

import fake  # isort: skip - finds the package
from erstwhile import Change, Coverage, Event, Host, Row, Stream, Table
from erstwhile import _wire as wire

ODD = b"\xff\xe2\x82x".decode("utf-8", "surrogateescape")


def at(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc)


class Rows(unittest.TestCase):
    def test_fields(self):
        row = Row(fake.held())
        self.assertEqual(row["username"], "ada")
        self.assertEqual(row.columns, {"uid": "1000", "username": "ada"})
        self.assertEqual((row.host, row.stream, row.count), ("web-1", "users", 1))
        self.assertEqual((row.from_, row.from_after, row.to, row.to_after), (at(100), at(90), at(200), at(190)))
        self.assertEqual((row.start, row.end, row.verified, row.verdict), ("seen", "gone", True, "definite"))
        self.assertEqual((row.before, row.after), (at(150), at(160)))
        self.assertIn("uid", row)
        self.assertEqual(list(row), ["uid", "username"])
        self.assertIsNone(row.get("gid"))
        with self.assertRaises(KeyError):
            row["gid"]
        self.assertEqual(row, Row(fake.held()))
        self.assertNotEqual(row, Row(fake.held(), 1))

    def test_a_changed_copy_changes_no_row(self):
        row = Row(fake.held())
        row.columns["uid"] = "0"
        self.assertEqual(row["uid"], "1000")

    def test_times_beyond_datetime(self):
        row = Row(fake.held()._replace(from_=2**60))
        self.assertEqual(row.from_, 2**60)
        self.assertEqual(row.to_dict()["from"], 2**60)
        repr(row)
        row._repr_html_()

    def test_to_dict(self):
        self.assertEqual(
            Row(fake.held()).to_dict(),
            {
                "host": "web-1",
                "stream": "users",
                "columns": {"uid": "1000", "username": "ada"},
                "count": 1,
                "from": "1970-01-01T00:01:40Z",
                "from_after": "1970-01-01T00:01:30Z",
                "to": "1970-01-01T00:03:20Z",
                "to_after": "1970-01-01T00:03:10Z",
                "start": "seen",
                "end": "gone",
                "verified": True,
                "evidence": {
                    "verdict": "definite",
                    "before": "1970-01-01T00:02:30Z",
                    "after": "1970-01-01T00:02:40Z",
                },
            },
        )
        self.assertEqual(list(Row(fake.held()).to_dict())[:4], ["host", "stream", "columns", "count"])
        self.assertNotIn("evidence", Row(fake.held()._replace(verdict=None)).to_dict())

    def test_what_is_no_utf8(self):
        row = Row(fake.held(name=ODD))
        self.assertEqual(row["name"].encode("utf-8", "surrogateescape"), b"\xff\xe2\x82x")
        out = row.to_dict()
        self.assertEqual(out["columns"], {"name": "\ufffd\ufffdx"})
        self.assertIs(out["lossy"], True)
        row._repr_html_().encode("utf-8")
        repr(row).encode("utf-8")

    def test_html_is_escaped(self):
        evil = "<script>&\"'"
        for entry in (
            Row(fake.held(host=evil, **{evil: evil})),
            Event(wire.EventEntry(evil, evil, {evil: evil}, 1, 0, 0)),
            Change(wire.ChangeEntry(evil, evil, {evil: evil}, 1, "added", "definite", "unknown")),
            Host(wire.HostEntry(evil, 1, 0, 0, evil)),
            Table(wire.TableEntry(evil, False, 1, 1, 0, 0, 0, [evil])),
            Stream(wire.StreamEntry(evil, evil, "diff", evil, False, 1, 0, 0, evil, 0, 0, [])),
        ):
            shown = entry._repr_html_()
            self.assertIn("&lt;script&gt;&amp;&quot;&#x27;", shown)
            for part in ("<script", '&"', "\"'"):
                self.assertNotIn(part, shown)

    def test_others_to_dict(self):
        event = Event(wire.EventEntry("h", "s", {"a": "b"}, 2, 0, 5)).to_dict()
        self.assertEqual(
            event,
            {
                "host": "h",
                "stream": "s",
                "time": "1970-01-01T00:00:00Z",
                "seen": "1970-01-01T00:00:05Z",
                "columns": {"a": "b"},
                "count": 2,
            },
        )
        change = Change(wire.ChangeEntry("h", "s", {}, 1, "added", "definite", "unknown")).to_dict()
        self.assertEqual(list(change), ["host", "stream", "action", "columns", "count", "verdict_from", "verdict_to"])
        stream = wire.StreamEntry("h", "s", "diff", "t", True, 3, 0, 9, None, -1, 2, [wire.BreakEntry(None, 5, "gap")])
        self.assertEqual(
            Stream(stream).to_dict(),
            {
                "host": "h",
                "stream": "s",
                "kind": "diff",
                "table": "t",
                "assumed": True,
                "looks": 3,
                "first": "1970-01-01T00:00:00Z",
                "last": "1970-01-01T00:00:09Z",
                "agent_version": None,
                "skew": [-1, 2],
                "breaks": [{"from": None, "to": "1970-01-01T00:00:05Z", "cause": "gap"}],
            },
        )
        counts = wire.CoverageCounts(1, 0, 3, 0, 0, [wire.SilentHost("h", "gap")])
        self.assertEqual(
            Coverage(counts).to_dict(),
            {
                "covered": 1,
                "presumed": 0,
                "unknown": 3,
                "never": 0,
                "assumed": 0,
                "unknown_hosts": [{"host": "h", "cause": "gap"}],
                "more": 2,
            },
        )


if __name__ == "__main__":
    unittest.main()
