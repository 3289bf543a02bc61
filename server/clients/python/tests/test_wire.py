"""The codec: all messages there and back, bytes written by hand, and bytes that nobody should send."""

import random
import unittest
import zlib

import fake  # isort: skip - finds the package
from erstwhile import ProtocolError, UsageError
from erstwhile import _wire as wire

BEGIN = (65_536, 0, None)
SPAN = (*BEGIN, "processes", "web-1", None, [wire.Condition("is", "name", "sshd")], -5, 2**60)
ODD = b"\xff\xfe host".decode("utf-8", "surrogateescape")


def version(**changes):
    base = wire.Version(
        "web-1", "pack/users", {"uid": "0", "username": "root"}, 1, 1000, None, None, None, "seen", "open", True
    )
    return base._replace(**changes)


HELD = [
    version(verdict="definite", before=1000, after=2000),
    version(host=ODD, from_=-7, from_after=-100, to=-7, to_after=-7, start="break", end="break", verdict="unknown"),
    version(
        columns={}, copies=300, from_=2**60, to=None, verified=False, verdict="possible", before=-(2**60), after=-1
    ),
    version(
        columns={"é": "ü", "uid": ""}, from_=-(2**60), to=2**60, to_after=0, end="gone", verdict="presumed", after=3
    ),
]
VERSIONS = [entry._replace(verdict=None, before=None, after=None) for entry in HELD]
EVENTS = [
    wire.EventEntry("a", "s", {"path": "/bin/sh"}, 1, 100, 105),
    wire.EventEntry("b", "s", {"path": "/bin/sh", "uid": "x" * 300}, 200, 90, 60),
]
CHANGES = [
    wire.ChangeEntry("a", "s", {"name": "vim"}, 1, "added", "definite", "unknown"),
    wire.ChangeEntry("a", "s", {"name": "vi"}, 1, "removed", "presumed", "possible"),
]
STREAM = wire.StreamEntry(
    "h", "s", "snapshot", "users", True, 12, 5, 500, "5.7.0", -3, 4_000,
    [wire.BreakEntry(None, 7, "no-base"), wire.BreakEntry(9, None, "damage")],
)  # fmt: skip
TABLE = wire.TableEntry("users", False, 3, 2, 1, 9, 1, ["pack_users", ODD])
LOOKS = [
    wire.Look("h", "users", 50, [wire.Copies({"b": "2", "a": "1"}), wire.Copies({"a": "1"}, 3)], [wire.Copies({})]),
    wire.Look(ODD, "e", -1, [], [], "event", "process_events", 2**64 - 1, 0, False, "2.10"),
]
ACKNOWLEDGED = dict(sequence=7, already=True, recorded=None, lines=300, dead_letters=0)
COUNTED = dict(coverage=fake.COUNTS, cost=[1, 2, 3, 4, 5, 6, 7, 800, 9])

MESSAGES = [
    wire.Hello(answer_bytes_max=wire.LARGEST_ANSWER, token=b"\xff\x00secret", client="my-tool/2.1"),
    fake.welcome(),
    wire.Ping(b"abc"),
    wire.Pong(b"\0" * 64),
    wire.Cancel(),
    wire.Credit(2**64 - 1),
    wire.Goodbye(),
    wire.ServerGoodbye(),
    wire.ErrorMessage(12, "wait a little", 1500),
    wire.State(*BEGIN, "users", 5, "web", ODD, [wire.Condition("begins", "p", ""), wire.Condition("in", "a", "::/0")]),
    wire.State(0, 30_000, -1, "users", -(2**60), None, None, []),
    wire.Who(*BEGIN, "ip", "10.0.0.7", 5, None),
    wire.Who(*BEGIN, "uid", "1000", 5, "web-1"),
    wire.What(*BEGIN, "/mnt/usb", "web-1", 5),
    wire.History(*SPAN),
    wire.Events(*SPAN),
    wire.Diff(*BEGIN, "users", "web-1", None, 1, 2),
    wire.Hosts(*BEGIN),
    wire.Tables(*BEGIN),
    wire.Coverage(*BEGIN, None, "web-1"),
    wire.Stats(*BEGIN),
    wire.Lookup(*BEGIN, "users", "uid", ["a", "b"], [wire.Key(0, "1000", 5), wire.Key(1, "", -5)]),
    wire.Producer(b"p" * 16, b"i" * 16, 1, 2**64 - 1),
    wire.AppendLines(b"p" * 16, 300, [wire.Chunk("/var/log/x", 2**40, b"{}\n\xff\n"), wire.Chunk("", 0, b"")]),
    wire.AppendLooks(b"p" * 16, 1, LOOKS),
    wire.Flush(),
    wire.Compact(),
    wire.Shutdown(),
    wire.Part(wire.HELD, HELD),
    wire.Part(wire.HELD, []),
    wire.Part(wire.VERSIONS, VERSIONS),
    wire.Part(wire.EVENT_ROWS, EVENTS),
    wire.Part(wire.CHANGES, CHANGES),
    wire.Part(wire.HOST_LIST, [wire.HostEntry("h", 3, -1, 2, "5.7"), wire.HostEntry(ODD, 0, 0, 0, None)]),
    wire.Part(wire.TABLE_LIST, [TABLE]),
    wire.Part(wire.STREAM_LIST, [STREAM]),
    wire.Part(wire.HITS, [wire.Hit(0, 5, 1, "definite", 1, None), wire.Hit(300, 0, 2, "unknown", None, -9)]),
    wire.Done(wire.STATE, fake.STATE_END),
    wire.Done(wire.WHO, dict(question="who ip 10.0.0.7", at=5, known_at=None, **COUNTED)),
    wire.Done(
        wire.WHAT,
        dict(
            question="what device /x", at=5, known_at=6, verdict="possible",
            links=[wire.LinkEntry("mounts", 2, None), wire.LinkEntry("usb_devices", 0, "no such row")], **COUNTED,
        ),
    ),
    wire.Done(wire.HISTORY, dict(table="users", from_=None, to=5, known_at=6, cost=[])),
    wire.Done(wire.EVENTS, dict(table="e", from_=3, to=None, known_at=6, cost=[1])),
    wire.Done(wire.DIFF, dict(table="users", host="h", from_=3, to=4, known_at=6, cost=[1])),
    wire.Done(wire.HOSTS, {}),
    wire.Done(wire.TABLES, {}),
    wire.Done(wire.COVERAGE, {}),
    wire.Done(wire.LOOKUP, dict(cost=[1])),
    wire.Done(wire.STATS, dict(statistics=[wire.Statistic("segments", 3), wire.Statistic("least", -(2**63))])),
    wire.Done(wire.PRODUCER, dict(greatest=0)),
    wire.Done(wire.APPEND_LINES, ACKNOWLEDGED),
    wire.Done(wire.APPEND_LOOKS, {**ACKNOWLEDGED, "already": False, "recorded": 10**15}),
    wire.Done(wire.FLUSH, {}),
    wire.Done(wire.COMPACT, {}),
    wire.Done(wire.SHUTDOWN, {}),
]  # fmt: skip


class Messages(unittest.TestCase):
    def test_all_messages_come_back_as_they_were(self):
        for message in MESSAGES:
            with self.subTest(message=message):
                kind, payload = wire.encode(message)
                back = wire.decode(kind, payload)
                self.assertIs(type(back), type(message))
                self.assertEqual(back, message)
                self.assertEqual(wire.encode(back), (kind, payload))

    def test_every_type_and_kind_is_among_them(self):
        self.assertEqual({wire._TYPES[type(message)] for message in MESSAGES}, set(wire._CODECS))
        self.assertEqual({one.kind for one in MESSAGES if isinstance(one, wire.Part)}, set(wire._PARTS))
        self.assertEqual({one.request for one in MESSAGES if isinstance(one, wire.Done)}, set(wire._ENDS))

    def test_every_truncation_is_refused(self):
        for message in MESSAGES:
            if isinstance(message, (wire.Ping, wire.Pong)):  # any bytes will do
                continue
            kind, payload = wire.encode(message)
            for length in range(len(payload)):
                with self.subTest(message=message, length=length), self.assertRaises(ProtocolError):
                    wire.decode(kind, payload[:length])

    def test_every_byte_too_many_is_refused(self):
        for message in MESSAGES:
            if isinstance(message, (wire.Ping, wire.Pong)):
                continue
            kind, payload = wire.encode(message)
            with self.subTest(message=message), self.assertRaises(ProtocolError):
                wire.decode(kind, payload + b"\0")

    def test_flipped_bytes_raise_nothing_but_protocol_errors(self):
        dice = random.Random(7)
        read = 0
        for message in MESSAGES:
            kind, payload = wire.encode(message)
            for _ in range(400 if payload else 0):
                flipped = bytearray(payload)
                for _ in range(dice.randint(1, 4)):
                    flipped[dice.randrange(len(flipped))] = dice.randrange(256)
                try:
                    back = wire.decode(kind, bytes(flipped))
                except ProtocolError:
                    continue
                read += 1
                # Names and shapes may be in another order than we write them; what they say is the same.
                again_kind, again = wire.encode(back)
                self.assertEqual(wire.decode(again_kind, again), back)
        self.assertGreater(read, 100)

    def test_random_bytes_raise_nothing_but_protocol_errors(self):
        dice = random.Random(8)
        for _ in range(20_000):
            kind = dice.choice([*wire._CODECS, 0x77])
            payload = bytes(dice.choice((0, 1, 2, 5, dice.randrange(256))) for _ in range(dice.randrange(40)))
            try:
                wire.decode(kind, payload)
            except ProtocolError:
                pass


class ByHand(unittest.TestCase):
    """Bytes that were put together from the page, not by the codec."""

    def test_frame(self):
        checked = bytes.fromhex("03000000 02 000000 04030201")
        crc = zlib.crc32(checked + b"abc").to_bytes(4, "little")
        self.assertEqual(wire.frame(0x02, 0x01020304, b"abc"), checked + crc + b"abc")

    def test_crc_is_that_of_zip(self):
        self.assertEqual(zlib.crc32(b"123456789"), 0xCBF43926)

    def test_hello(self):
        payload = b"erstwire" + bytes.fromhex("0100 0100 00 808004 02") + b"tk" + b"\x03" + b"a/1"
        self.assertEqual(wire.encode(wire.Hello(token=b"tk", client="a/1")), (1, payload))

    def test_state(self):
        payload = (
            bytes.fromhex("00 e807 01 09")  # window 0, 1000 ms, known at -5
            + b"\x05users"
            + bytes.fromhex("c801 01")  # at 100
            + b"\x01h\x00"  # host h, no stream
            + b"\x01\x01\x01p\x01/"  # one condition: p begins with /
        )
        message = wire.State(0, 1000, -5, "users", 100, "h", None, [wire.Condition("begins", "p", "/")])
        self.assertEqual(wire.encode(message), (0x10, payload))

    def test_held(self):
        payload = (
            b"\x01"  # held
            + b"\x02\x01h\x01s"  # names
            + b"\x01\x02\x03gid\x03uid"  # one shape
            + b"\x01\x00"  # one row, of shape 0
            + b"\x01\x04"  # lengths
            + b"71000"
            + b"\x02"  # two entries
            + b"\x00\x00\x01\x01\x00\x00\x01\x02"  # host, stream, row, count
            + bytes.fromhex("c801 13")  # from: 100, then -10
            + b"\x0b\x00"  # from_after: 90, none
            + b"\x33\x00"  # to: 150, none
            + b"\x01\x00"  # to_after: 150, none
            + bytes.fromhex("08 35")  # seen, gone, verified, definite; break, open, not verified, unknown
            + b"\x00\x04"  # before: none; zigzag 3 is -2: 88
            + b"\x15\x01"  # after: zigzag 20 is 10: 110; 90
        )
        row = {"gid": "7", "uid": "1000"}
        entries = [
            wire.Version("h", "s", row, 1, 100, 90, 150, 150, "seen", "gone", True, "definite", None, 110),
            wire.Version("h", "s", row, 2, 90, None, None, None, "break", "open", False, "unknown", 88, 90),
        ]
        self.assertEqual(wire.decode(0x90, payload), wire.Part(wire.HELD, entries))
        self.assertEqual(wire.encode(wire.Part(wire.HELD, entries)), (0x90, payload))

    def test_done_of_state(self):
        payload = (
            bytes.fromhex("10 0575736572 73")
            + bytes.fromhex("c801 00")
            + b"\x03\x02\x01\x00\x00\x01\x01x\x07\x02\x05\x06"
        )
        counts = wire.CoverageCounts(3, 2, 1, 0, 0, [wire.SilentHost("x", "before-first")])
        values = dict(table="users", at=100, known_at=None, coverage=counts, cost=[5, 6])
        self.assertEqual(wire.decode(0x91, payload), wire.Done(wire.STATE, values))

    def test_look(self):
        look = wire.Look("h", "q", 3, [wire.Copies({"b": "", "a": "x"}, 2)], [], "diff", "", 1, None, True, "3.4")
        payload = (
            b"\x01h\x01q\x00\x00\x01\x00\x06\x01\x01"
            + b"\x01\x02\x01a\x01b"  # one shape
            + b"\x00"  # none removed
            + b"\x01\x00\x02\x01x\x00"
        )
        head = b"p" * 16 + b"\x01\x01"
        self.assertEqual(wire.encode(wire.AppendLooks(b"p" * 16, 1, [look])), (0x22, head + payload))


class Strictness(unittest.TestCase):
    def refused(self, kind, payload):
        with self.assertRaises(ProtocolError):
            wire.decode(kind, payload)

    def test_numbers(self):
        for data, number in ((b"\x00", 0), (b"\x7f", 127), (b"\x80\x01", 128), (b"\xff" * 9 + b"\x01", 2**64 - 1)):
            self.assertEqual(wire.decode(wire.CREDIT, data), wire.Credit(number))
            self.assertEqual(wire.encode(wire.Credit(number))[1], data)
        for data in (b"\x80\x00", b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x01", b"\x80" * 9 + b"\x00", b"\x80", b""):
            self.refused(wire.CREDIT, data)

    def test_zigzag(self):
        for number, written in ((0, 0), (-1, 1), (1, 2), (-2, 3), (2**63 - 1, 2**64 - 2), (-(2**63), 2**64 - 1)):
            self.assertEqual(wire.zigzag(number), written)
            out = bytearray()
            wire.INT.put(out, number)
            self.assertEqual(wire.INT.take(wire.Reader(bytes(out))), number)

    def test_seconds_out_of_range(self):
        with self.assertRaises(UsageError):
            wire.encode(wire.What(*BEGIN, "p", "h", 2**60 + 1))
        kind, payload = wire.encode(wire.What(*BEGIN, "p", "h", 2**60))
        out = bytearray()
        wire.INT.put(out, 2**60 + 1)
        self.refused(kind, payload[:-9] + bytes(out))

    def test_bytes_that_mean_nothing(self):
        _, payload = wire.encode(wire.Part(wire.CHANGES, CHANGES[:1]))
        self.refused(0x90, payload[:-1] + b"\x20")
        _, payload = wire.encode(wire.Part(wire.VERSIONS, VERSIONS[:1]))
        for bits in (0x06, 0x10, 0x80):
            self.refused(0x90, payload[:-1] + bytes([bits]))
        self.refused(0x90, b"\x00")
        self.refused(0x90, b"\x09")
        self.refused(0x91, b"\x99")
        self.refused(0x44, b"")

    def test_places_that_are_not_there(self):
        head = b"\x03\x01\x01h\x01\x00\x01\x00"  # events, a name, a shape without columns, a row of it
        good = b"\x01" + b"\x00\x00\x00\x01" + b"\x02\x02"
        self.assertEqual(wire.decode(0x90, head + good).entries, [wire.EventEntry("h", "h", {}, 1, 1, 2)])
        for place in range(1, 4):
            bad = bytearray(good)
            bad[place] = 1
            self.refused(0x90, head + bytes(bad))
        self.refused(0x90, b"\x03\x01\x01h\x01\x00\x01\x01" + good)

    def test_columns_out_of_order(self):
        for names in (b"\x01b\x01a", b"\x01a\x01a"):
            self.refused(0x90, b"\x03\x00\x01\x02" + names + b"\x00\x00")

    def test_counts_beyond_the_payload(self):
        self.refused(0x90, b"\x05" + b"\xff" * 9 + b"\x01")
        self.refused(0x90, b"\x08" + b"\xff" * 9 + b"\x01")
        self.refused(0x90, b"\x01" + b"\xff" * 9 + b"\x01")

    def test_an_end_without_an_end(self):
        _, payload = wire.encode(wire.Part(wire.VERSIONS, VERSIONS[:1]))
        self.refused(0x90, payload[:-2] + b"\x01" + payload[-1:])

    def test_frames(self):
        whole = wire.frame(wire.PING, 0, b"hello")
        header, payload = whole[:16], whole[16:]
        self.assertEqual(wire.frame_length(header, 5), 5)
        self.assertEqual(wire.open_frame(header, payload), (wire.PING, 0))
        with self.assertRaises(ProtocolError):
            wire.frame_length(header, 4)
        for place in range(len(whole)):
            flipped = bytearray(whole)
            flipped[place] ^= 0x10
            with self.subTest(place=place), self.assertRaises(ProtocolError):
                wire.frame_length(bytes(flipped[:16]), 5)
                wire.open_frame(bytes(flipped[:16]), bytes(flipped[16:]))

    def test_what_must_not_be_sent(self):
        for message in (
            wire.Hello(token=b"x" * 257),
            wire.Hello(client="x" * 129),
            wire.Hello(answer_bytes_max=65_535),
            wire.Ping(b"x" * 65),
            wire.Who(*BEGIN, "mac", "1", 0, None),
            wire.State(*BEGIN, "users", 0.5, None, None, []),
            wire.State(*BEGIN, "users\ud800", 0, None, None, []),
            wire.State(*BEGIN, 7, 0, None, None, []),
            wire.Credit(-1),
            wire.Credit(2**64),
            wire.Producer(b"short", b"i" * 16, 0, 0),
            wire.AppendLooks(b"p" * 16, 1, [wire.Look("h", "q", 0, [wire.Copies({}, 0)])]),
            wire.AppendLooks(b"p" * 16, 1, [wire.Look("h", "q", 0, [wire.Copies({}), wire.Copies({})])]),
        ):
            with self.subTest(message=message), self.assertRaises(UsageError):
                wire.encode(message)


if __name__ == "__main__":
    unittest.main()
