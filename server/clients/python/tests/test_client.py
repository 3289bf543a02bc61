"""The client against a server of one script: what it sends, how answers stream, what it does when things go wrong."""

import gc
import os
import pathlib
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import uuid
from datetime import datetime, timezone

import fake  # isort: skip - finds the package
import erstwhile
from erstwhile import _wire as wire

FakeServer, held = fake.FakeServer, fake.held


def connect(server, **options):
    options.setdefault("timeout", 5)
    return erstwhile.connect(server.address, **options)


def serving(*steps, **welcome):
    """A script: the greeting, the steps, the goodbye."""

    def script(peer):
        peer.greet(**welcome)
        for step in steps:
            step(peer)
        peer.bye()

    return script


class Connecting(unittest.TestCase):
    def test_hello_and_welcome(self):
        peers = []

        def script(peer):
            peer.greet(roles=2)
            peers.append(peer)
            peer.bye()

        with FakeServer(script) as server, connect(server, token="sesame", client="test/1") as store:
            self.assertEqual(store.server, "fake/1")
            self.assertEqual(store.roles, ("read",))
            self.assertEqual(store.id, uuid.UUID(bytes=fake.STORE))
            self.assertEqual(store.limits["requests_max"], 4)
            self.assertIn("open", repr(store))
        hello = peers[0].hello
        self.assertEqual((hello.token, hello.client, hello.oldest, hello.newest), (b"sesame", "test/1", 1, 1))
        with self.assertRaises(erstwhile.Disconnected):
            store.hosts()

    def test_token_file(self):
        peers = []
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "token")
            path.write_bytes(b"from file\n")
            with FakeServer(serving(peers.append)) as server, connect(server, token_file=path):
                pass
            self.assertEqual(peers[0].hello.token, b"from file")
            with self.assertRaises(erstwhile.UsageError):
                erstwhile.connect("127.0.0.1:1", token="x", token_file=path)

    def test_files_that_are_no_token_or_certificate_are_named(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "file")
            for argument in ("token_file", "ca", "cert"):
                with self.subTest(argument), self.assertRaises(erstwhile.FileError) as caught:
                    erstwhile.connect("127.0.0.1:1", **{argument: path})
                self.assertIsInstance(caught.exception, (erstwhile.Error, OSError))
                self.assertIn(str(path), str(caught.exception))
                self.assertIn("No such file", str(caught.exception))
            for text in ("", "one\ntwo\n", "text " * 1500):
                path.write_text(text)
                for argument in ("token_file", "ca", "cert"):
                    with self.subTest(argument, text=text[:9]), self.assertRaises(erstwhile.FileError) as caught:
                        erstwhile.connect("127.0.0.1:1", **{argument: path})
                    self.assertIn(str(path), str(caught.exception))

    def test_addresses(self):
        for address in ("nowhere", ":1", "h:", "h:x", "::1:5", ("h", 0), "h:70000"):
            with self.subTest(address=address), self.assertRaises(erstwhile.UsageError):
                erstwhile.connect(address)
        with self.assertRaises(erstwhile.Disconnected):
            erstwhile.connect("127.0.0.1:1", timeout=5)

    def test_refused(self):
        def script(peer):
            peer.expect(wire.Hello)
            peer.send(wire.ErrorMessage(5, "no such token", 0))

        with FakeServer(script) as server, self.assertRaisesRegex(erstwhile.Unauthenticated, "no such token") as caught:
            connect(server)
        self.assertEqual((caught.exception.code, caught.exception.retry_after), (5, None))

    def test_advice_names_arguments_of_this_package(self):
        def script(peer):
            peer.expect(wire.Hello)
            peer.send(wire.ErrorMessage(5, "this server wants a token; give one with --token-file", 0))

        with FakeServer(script) as server, self.assertRaises(erstwhile.Unauthenticated) as caught:
            connect(server)
        self.assertEqual(str(caught.exception), "this server wants a token; give one with token_file= or token=")

    def test_busy_says_when(self):
        def script(peer):
            peer.expect(wire.Hello)
            peer.send(wire.ErrorMessage(12, "too many wrong tokens", 2500))

        with FakeServer(script) as server, self.assertRaises(erstwhile.Busy) as caught:
            connect(server)
        self.assertEqual(caught.exception.retry_after, 2.5)

    def test_the_servers_timeout_keeps_its_words(self):
        def script(peer):
            peer.expect(wire.Hello)
            peer.send(wire.ErrorMessage(11, "the hello did not come", 0))

        with FakeServer(script) as server, self.assertRaisesRegex(erstwhile.TimedOut, "hello did not come"):
            connect(server)

    def test_silent_server(self):
        with FakeServer(lambda peer: time.sleep(0.6)) as server:
            start = time.monotonic()
            said = f"no answer from {server.address} within 0.2 s; is an erstwhile server listening there"
            with self.assertRaisesRegex(erstwhile.TimedOut, said):
                connect(server, timeout=0.2)
            self.assertLess(time.monotonic() - start, 0.5)

    def test_something_else_answers(self):
        def script(peer):
            peer.expect(wire.Hello)
            peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        with FakeServer(script) as server, self.assertRaises(erstwhile.ProtocolError):
            connect(server)

    def test_other_version(self):
        def script(peer):
            peer.greet(version=2)

        with FakeServer(script) as server, self.assertRaises(erstwhile.ProtocolError):
            connect(server)


class Questions(unittest.TestCase):
    """Each question as the server sees it."""

    def seen(self, ask, end, **values):
        questions = []

        def script(peer):
            peer.greet()
            ident, question = peer.next()
            questions.append(question)
            peer.done(ident, end, **values)
            peer.bye()

        with FakeServer(script) as server, connect(server, window=1000) as store:
            answer = ask(store)
            if isinstance(answer, erstwhile.Answer):
                self.assertEqual(answer.rows(), [])
        return questions[0], answer

    def test_state(self):
        question, answer = self.seen(
            lambda store: store.state(
                "users",
                at="1970-01-01T00:02:30Z",
                host=b"\xff",
                where={"uid": 1000, "shell": erstwhile.begins("/bin"), "a": erstwhile.within("10.0.0.0/8")},
                known_at=5,
                limit=1.5,
            ),
            wire.STATE,
            **fake.STATE_END,
        )
        conditions = [
            wire.Condition("is", "uid", "1000"),
            wire.Condition("begins", "shell", "/bin"),
            wire.Condition("in", "a", "10.0.0.0/8"),
        ]
        self.assertEqual(question, wire.State(1000, 1500, 5_000_000, "users", 150, "\udcff", None, conditions))
        self.assertEqual(answer.table, "users")
        self.assertEqual(answer.at, datetime(1970, 1, 1, 0, 2, 30, tzinfo=timezone.utc))
        self.assertEqual(answer.known_at, datetime(1970, 1, 1, 0, 0, 5, 1, timezone.utc))
        self.assertEqual(answer.cost["streams_replayed"], 8)
        self.assertEqual(answer.coverage.covered, 3)
        self.assertEqual(answer.coverage.unknown_hosts, [("db-1", "gap")])
        with self.assertRaises(AttributeError):
            answer.question

    def test_who(self):
        end = dict(question="who", at=5, known_at=None, coverage=fake.COUNTS, cost=list(range(9)))
        question, answer = self.seen(lambda store: store.who_ip("10.0.0.7", at=5), wire.WHO, **end)
        self.assertEqual(question, wire.Who(1000, 0, None, "ip", "10.0.0.7", 5, None))
        self.assertEqual(answer.question, "who")
        self.assertIsNone(answer.known_at)
        self.assertEqual(answer.cost["cost_9"], 8)
        question, _ = self.seen(lambda store: store.who_uid(1000, host="h", at=5), wire.WHO, **end)
        self.assertEqual(question, wire.Who(1000, 0, None, "uid", "1000", 5, "h"))

    def test_spans(self):
        end = dict(table="t", from_=1, to=None, known_at=None, cost=[])
        question, answer = self.seen(lambda store: store.history("t", host="h", from_=1), wire.HISTORY, **end)
        self.assertEqual(question, wire.History(1000, 0, None, "t", "h", None, [], 1, None))
        self.assertEqual((answer.from_.second, answer.to), (1, None))
        question, _ = self.seen(lambda store: store.events("t", stream="s", to=9), wire.EVENTS, **end)
        self.assertEqual(question, wire.Events(1000, 0, None, "t", None, "s", [], None, 9))

    def test_diff(self):
        end = dict(table="t", host="h", from_=1, to=2, known_at=None, cost=[])
        question, answer = self.seen(lambda store: store.diff("t", 1, 2, host="h"), wire.DIFF, **end)
        self.assertEqual(question, wire.Diff(1000, 0, None, "t", "h", None, 1, 2))
        self.assertEqual(answer.host, "h")

    def test_lists(self):
        for ask, end, asked in (
            (lambda store: store.hosts(), wire.HOSTS, wire.Hosts(1000, 0, None)),
            (lambda store: store.tables(known_at=0), wire.TABLES, wire.Tables(1000, 0, 0)),
            (lambda store: store.coverage("t"), wire.COVERAGE, wire.Coverage(1000, 0, None, "t", None)),
        ):
            question, answer = self.seen(ask, end)
            self.assertEqual(question, asked)
            with self.assertRaises(AttributeError):
                answer.cost

    def test_stats(self):
        statistics = [wire.Statistic("segments", 3)]
        question, answer = self.seen(lambda store: store.stats(), wire.STATS, statistics=statistics)
        self.assertEqual(answer, {"segments": 3})
        self.assertEqual(question, wire.Stats(1000, 0, None))

    def test_admin(self):
        for ask, end in (
            (lambda store: store.flush(), wire.FLUSH),
            (lambda store: store.compact(), wire.COMPACT),
            (lambda store: store.shutdown(), wire.SHUTDOWN),
        ):
            question, answer = self.seen(ask, end)
            self.assertEqual(wire.encode(question)[0], end)
            self.assertIsNone(answer)

    def test_what_makes_no_sense_is_refused_here(self):
        with FakeServer(serving()) as server, connect(server) as store:
            for ask in (
                lambda: store.state("users", at=datetime(2018, 12, 24)),
                lambda: store.state("users", at=2**61),
                lambda: store.state("users", at=0, where={"a": True}),
                lambda: store.state("users", at=0, limit=0),
                lambda: store.state("u" * 70_000, at=0),
                lambda: store.lookup("users", "uid", [("h", "x" * (1 << 20), 0)]),
                lambda: store.producer("no number"),
            ):
                with self.assertRaises(erstwhile.UsageError):
                    ask()

    def test_what_device(self):
        entries = [held("desk", "possible", path=str(number)) for number in range(3)]

        def script(peer):
            peer.greet()
            ident, question = peer.expect(wire.What)
            self.assertEqual((question.path, question.host), ("/mnt/usb", "desk"))
            peer.part(ident, wire.HELD, entries[:2])
            peer.part(ident, wire.HELD, entries[2:])
            links = [
                wire.LinkEntry("mounts", 1, None),
                wire.LinkEntry("block_devices", 2, None),
                wire.LinkEntry("usb_devices", 0, "never collected"),
            ]
            end = dict(question="what device /mnt/usb", at=5, known_at=6, coverage=fake.COUNTS, cost=[])
            peer.done(ident, wire.WHAT, verdict="unknown", links=links, **end)
            peer.bye()

        with FakeServer(script) as server, connect(server) as store:
            answer = store.what_device("/mnt/usb", host="desk", at=5)
            self.assertEqual([row["path"] for row in answer], ["0", "1", "2"])
            self.assertEqual([[row["path"] for row in link.rows] for link in answer.links], [["0"], ["1", "2"], []])
            self.assertEqual(answer.links[2].missing, "never collected")
            self.assertEqual(answer.verdict, "unknown")
            out = answer.to_dict()
            self.assertEqual(list(out), ["question", "at", "known_at", "verdict", "links", "coverage", "cost"])
            self.assertEqual(out["links"][2], {"table": "usb_devices", "rows": [], "missing": "never collected"})

    def test_lookup(self):
        keys = [("a", 1000, 5), ("b", "0", 6), ("a", b"7", 7)]

        def script(peer):
            peer.greet()
            ident, question = peer.expect(wire.Lookup)
            self.assertEqual(question.hosts, ["a", "b"])
            self.assertEqual(question.keys, [wire.Key(0, "1000", 5), wire.Key(0, "7", 7), wire.Key(1, "0", 6)])
            rows = [held("a")._replace(verdict=None, before=None, after=None), held("b")._replace(verdict=None)]
            peer.part(ident, wire.VERSIONS, rows[:1])
            peer.part(ident, wire.VERSIONS, rows[1:])
            hits = [wire.Hit(0, 0, 2, "definite", 4, 6), wire.Hit(1, 0, 1, "possible", 4, None)]
            peer.part(ident, wire.HITS, hits)
            peer.part(ident, wire.HITS, [wire.Hit(2, 1, 1, "unknown", None, None)])
            peer.done(ident, wire.LOOKUP, cost=[1])
            peer.bye()

        with FakeServer(script) as server, connect(server) as store:
            answer = store.lookup("users", "uid", keys)
            rows = answer.rows()
            self.assertEqual([(row.key, row.host, row.verdict, row.count) for row in rows],
                             [(0, "a", "definite", 2), (2, "a", "possible", 1), (1, "b", "unknown", 1)])  # fmt: skip
            self.assertEqual([len(found) for found in answer.by_key()], [1, 1, 1])
            self.assertEqual(answer.by_key()[1][0].host, "b")
            self.assertEqual(answer.cost["rows_decoded"], 1)


class Streaming(unittest.TestCase):
    def test_rows_come_as_they_arrive(self):
        go_on = threading.Event()

        def script(peer):
            peer.greet()
            ident, _ = peer.next()
            peer.part(ident, wire.HELD, [held("a"), held("b")])
            self.assertTrue(go_on.wait(5))
            peer.part(ident, wire.HELD, [held("c")])
            peer.done(ident, wire.STATE, **fake.STATE_END)
            peer.bye()

        with FakeServer(script) as server, connect(server) as store:
            rows = iter(store.state("users", at=150))
            self.assertEqual([next(rows).host, next(rows).host], ["a", "b"])
            go_on.set()
            self.assertEqual([row.host for row in rows], ["c"])

    def test_credit_is_given_as_rows_are_read(self):
        """The server sends only what it has credit for, and counts that with a window it could not send all."""
        sent, most = [], []

        def script(peer):
            peer.greet()
            ident, question = peer.next()
            allowed, used = question.window, 0
            for number in range(200):
                while used >= allowed:
                    credit_for, credit = peer.expect(wire.Credit)
                    self.assertEqual(credit_for, ident)
                    allowed += credit.bytes
                used += peer.part(ident, wire.HELD, [held(str(number))])
                sent.append(number)
                most.append(allowed - used)
            peer.done(ident, wire.STATE, **fake.STATE_END)
            peer.bye()

        with FakeServer(script) as server, connect(server, window=500) as store:
            answer = iter(store.state("users", at=150))
            next(answer)
            time.sleep(0.2)
            self.assertLess(len(sent), 12)
            self.assertEqual([int(row.host) for row in answer], list(range(1, 200)))
        self.assertLessEqual(max(most), 500)

    def test_beyond_the_credit_is_a_violation(self):
        def script(peer):
            peer.greet()
            ident, _ = peer.next()
            peer.expect(wire.Ping)
            for _ in range(3):
                peer.part(ident, wire.HELD, [held()])
            with self.assertRaises((EOFError, OSError)):
                peer.next()

        with FakeServer(script) as server, connect(server, window=100) as store:
            answer = store.state("users", at=150)
            with self.assertRaisesRegex(erstwhile.ProtocolError, "credit"):
                store.ping()
            with self.assertRaisesRegex(erstwhile.ProtocolError, "credit"):
                answer.rows()

    def test_a_small_window_of_the_server(self):
        def script(peer):
            peer.greet(window_bytes_max=10)
            ident, question = peer.next()
            self.assertEqual(question.window, 10)
            size = peer.part(ident, wire.HELD, [held()])
            self.assertEqual(peer.expect(wire.Credit)[1].bytes, size)
            peer.done(ident, wire.STATE, **fake.STATE_END)
            peer.bye()

        with FakeServer(script) as server, connect(server, window=0) as store:
            self.assertEqual(len(store.state("users", at=150).rows()), 1)

    def test_breaking_off_cancels_and_leaves_the_connection_usable(self):
        cancelled = threading.Event()

        def script(peer):
            peer.greet()
            ident, _ = peer.next()
            peer.part(ident, wire.HELD, [held("a")])
            peer.part(ident, wire.HELD, [held("b")])
            gone, _ = peer.expect(wire.Cancel)
            self.assertEqual(gone, ident)
            cancelled.set()
            peer.part(ident, wire.HELD, [held("late")])
            other, _ = peer.expect(wire.Hosts)
            self.assertNotEqual(other, ident)
            peer.send(wire.ErrorMessage(10, "cancelled", 0), ident)
            peer.part(other, wire.HOST_LIST, [wire.HostEntry("h", 1, 0, 1, None)])
            peer.done(other, wire.HOSTS)
            peer.bye()

        with FakeServer(script) as server, connect(server) as store:
            answer = store.state("users", at=150)
            for row in answer:
                self.assertEqual(row.host, "a")
                break
            self.assertTrue(cancelled.wait(5))
            self.assertEqual([host.host for host in store.hosts()], ["h"])
            with self.assertRaises(erstwhile.Cancelled):
                answer.coverage

    def test_an_answer_that_is_forgotten_is_cancelled(self):
        def script(peer):
            peer.greet()
            ident, _ = peer.next()
            self.assertEqual(peer.expect(wire.Cancel)[0], ident)
            peer.done(ident, wire.STATE, **fake.STATE_END)
            peer.bye()

        with FakeServer(script) as server, connect(server) as store:
            store.state("users", at=150)
            gc.collect()
            time.sleep(0.1)

    def test_leaving_the_with_cancels(self):
        def script(peer):
            peer.greet()
            ident, _ = peer.next()
            self.assertEqual(peer.expect(wire.Cancel)[0], ident)
            peer.expect(wire.Goodbye)
            peer.send(wire.ErrorMessage(10, "cancelled", 0), ident)
            peer.send(wire.ServerGoodbye())

        with FakeServer(script) as server, connect(server) as store:
            answer = store.state("users", at=150)
        with self.assertRaises(erstwhile.Error):
            answer.rows()

    def test_an_answer_that_has_ended_is_not_cancelled(self):
        def script(peer):
            peer.greet()
            ident, _ = peer.next()
            peer.part(ident, wire.HELD, [held("a"), held("b")])
            peer.done(ident, wire.STATE, **fake.STATE_END)
            ident, _ = peer.expect(wire.Hosts)
            peer.done(ident, wire.HOSTS)
            peer.bye()

        with FakeServer(script) as server, connect(server) as store:
            answer = store.state("users", at=150)
            answer.coverage
            for _ in answer:
                break
            self.assertEqual(store.hosts().rows(), [])
            self.assertEqual(len(answer.rows()), 2)

    def test_answers_come_mixed(self):
        def script(peer):
            peer.greet()
            first, _ = peer.next()
            second, _ = peer.next()
            peer.part(second, wire.HELD, [held("s1")])
            peer.part(first, wire.HELD, [held("f1")])
            peer.done(second, wire.STATE, **fake.STATE_END)
            peer.part(first, wire.HELD, [held("f2")])
            peer.done(first, wire.STATE, **fake.STATE_END)
            peer.bye()

        with FakeServer(script) as server, connect(server) as store:
            first, second = store.state("users", at=150), store.state("users", at=150)
            self.assertEqual([row.host for row in first], ["f1", "f2"])
            self.assertEqual([row.host for row in second], ["s1"])

    def test_the_end_can_be_asked_for_at_any_time(self):
        def answer(peer):
            ident, _ = peer.next()
            for name in "abc":
                peer.part(ident, wire.HELD, [held(name)])
            peer.done(ident, wire.STATE, **fake.STATE_END)

        with FakeServer(serving(answer, answer, answer)) as server, connect(server) as store:
            first = store.state("users", at=150)
            self.assertEqual(first.coverage.covered, 3)
            self.assertEqual([row.host for row in first], ["a", "b", "c"])
            self.assertEqual([row.host for row in first], ["a", "b", "c"])
            second = store.state("users", at=150)
            seen = []
            for row in second:
                seen.append(row.host)
                self.assertEqual(second.coverage.covered, 3)
            self.assertEqual(seen, ["a", "b", "c"])
            third = store.state("users", at=150)
            self.assertEqual(len(list(third)), 3)
            with self.assertRaises(erstwhile.UsageError):
                iter(third)

    def test_more_requests_than_the_server_takes(self):
        def script(peer):
            peer.greet(requests_max=2)
            first, _ = peer.next()
            peer.part(first, wire.HELD, [held("x" * 2000)])
            second, _ = peer.next()
            peer.part(second, wire.HELD, [held("x" * 2000)])
            cancelled, _ = peer.expect(wire.Cancel)
            self.assertEqual(cancelled, first)
            time.sleep(0.1)
            peer.send(wire.ErrorMessage(10, "cancelled", 0), first)
            third, _ = peer.expect(wire.Hosts)
            peer.done(third, wire.HOSTS)
            while not isinstance(peer.next()[1], wire.Cancel):
                pass
            peer.done(second, wire.STATE, **fake.STATE_END)
            peer.bye()

        with FakeServer(script) as server, connect(server, window=1000) as store:
            first, second = store.state("users", at=1), store.state("users", at=2)
            with self.assertRaises(erstwhile.TooMany):
                store.hosts()
            first.close()
            self.assertEqual(store.hosts().rows(), [])
            second.close()

    def test_threads_take_turns(self):
        def script(peer):
            peer.greet(requests_max=8)
            for _ in range(40):
                ident, question = peer.next()
                peer.part(ident, wire.HELD, [held(str(question.at))])
                peer.done(ident, wire.STATE, **fake.STATE_END)
            peer.bye()

        got = []

        def ask(store, number):
            for turn in range(10):
                at = number * 100 + turn
                got.append([row.host for row in store.state("users", at=at)] == [str(at)])

        with FakeServer(script) as server, connect(server) as store:
            threads = [threading.Thread(target=ask, args=(store, number)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
        self.assertEqual(got, [True] * 40)


class Showing(unittest.TestCase):
    def shown(self, entries, look):
        def answer(peer):
            ident, _ = peer.next()
            for at in range(0, len(entries), 100):
                peer.part(ident, wire.HELD, entries[at : at + 100])
            peer.done(ident, wire.STATE, **fake.STATE_END)

        with FakeServer(serving(answer)) as server, connect(server) as store:
            return look(store.state("users", at=150))

    def test_few_rows_and_how_many_more(self):
        entries = [held(f"host-{number}", "possible" if number % 2 else "definite") for number in range(120)]
        for look in (repr, lambda answer: answer._repr_html_()):
            text = self.shown(entries, look)
            for said in ("host-49", "70 more", "120 rows", "60 definite", "60 possible", "3 covered", "1970-01-01T"):
                self.assertIn(said, text)
            self.assertNotIn("host-50", text)

    def test_html_is_escaped(self):
        text = self.shown([held("<b>", **{"<i>": "<img src=x>"})], lambda answer: answer._repr_html_())
        for evil in ("<b>&", "<i>", "<img", "<td><b>"):
            self.assertNotIn(evil, text)
        self.assertIn("&lt;img src=x&gt;", text)

    def test_showing_loses_no_row(self):
        def look(answer):
            rows = iter(answer)
            next(rows)
            self.assertIn("1 rows handed out", repr(answer))
            answer._repr_html_()
            return len(list(rows))

        self.assertEqual(self.shown([held(), held(), held()], look), 2)

    def test_to_dict(self):
        out = self.shown([held()], lambda answer: answer.to_dict())
        self.assertEqual(list(out), ["table", "at", "known_at", "rows", "coverage", "cost"])
        self.assertEqual(out["known_at"], "1970-01-01T00:00:05.000001Z")
        self.assertEqual(out["rows"][0]["evidence"]["verdict"], "definite")

    def test_a_failure_is_shown(self):
        def answer(peer):
            ident, _ = peer.next()
            peer.send(wire.ErrorMessage(16, "segment 7 is damaged", 0), ident)

        with FakeServer(serving(answer)) as server, connect(server) as store:
            self.assertIn("segment 7 is damaged", repr(store.state("users", at=150)))


class Appending(unittest.TestCase):
    ID = bytes(range(16))

    def test_lines(self):
        def script(peer):
            peer.greet()
            ident, opened = peer.expect(wire.Producer)
            self.assertEqual((opened.producer, opened.first, opened.last), (self.ID, 5, 9))
            self.assertEqual(len(opened.instance), 16)
            peer.done(ident, wire.PRODUCER, greatest=8)
            ident, append = peer.expect(wire.AppendLines)
            self.assertEqual(append, wire.AppendLines(self.ID, 9, [wire.Chunk("log", 70, b"{}\n")]))
            said = dict(sequence=9, already=False, recorded=7, lines=1, dead_letters=0)
            peer.done(ident, wire.APPEND_LINES, **said)
            ident, append = peer.expect(wire.AppendLooks)
            self.assertEqual(append.looks[0].added, [wire.Copies({"uid": "0"})])
            peer.done(ident, wire.APPEND_LOOKS, **{**said, "sequence": 10, "recorded": None})
            peer.bye()

        with FakeServer(script) as server, connect(server) as store:
            producer = store.producer(uuid.UUID(bytes=self.ID), first=5, last=9)
            self.assertEqual(producer.greatest, 8)
            acknowledged = producer.append_lines(9, [("log", 70, b"{}\n")])
            self.assertEqual((acknowledged.sequence, acknowledged.lines, acknowledged.already), (9, 1, False))
            self.assertEqual(acknowledged.recorded.microsecond, 7)
            look = erstwhile.Look("h", "users", 5, [erstwhile.Copies({"uid": "0"})])
            self.assertIsNone(producer.append_looks(10, [look]).recorded)

    def test_pipelined(self):
        def script(peer):
            peer.greet()
            ident, _ = peer.expect(wire.Producer)
            peer.done(ident, wire.PRODUCER, greatest=0)
            batches = [peer.expect(wire.AppendLines) for _ in range(3)]
            for ident, batch in batches:
                said = dict(already=False, recorded=7, lines=1, dead_letters=0)
                peer.done(ident, wire.APPEND_LINES, sequence=batch.sequence, **said)
            peer.bye()

        with FakeServer(script) as server, connect(server) as store:
            producer = store.producer(self.ID)
            sent = [producer.send_lines(number, [("log", 0, b"{}\n")]) for number in (1, 2, 3)]
            self.assertEqual([batch.result().sequence for batch in reversed(sent)], [3, 2, 1])
            self.assertEqual(sent[0].result().sequence, 1)

    def test_sequence(self):
        def script(peer):
            peer.greet()
            ident, _ = peer.expect(wire.Producer)
            peer.send(wire.ErrorMessage(15, "the store has 12", 0), ident)
            ident, _ = peer.expect(wire.Producer)
            peer.send(wire.ErrorMessage(14, "another process", 1000), ident)
            peer.bye()

        with FakeServer(script) as server, connect(server) as store:
            with self.assertRaisesRegex(erstwhile.SequenceError, "has 12"):
                store.producer(self.ID)
            with self.assertRaises(erstwhile.ProducerBusy):
                store.producer(self.ID)

    def test_two_that_both_send_do_not_block_each_other(self):
        """Large batches go out while a large answer comes in, and the server reads nothing before it has sent it."""
        rows = [held("x" * 1000, name=str(number)) for number in range(1000)]

        def script(peer):
            peer.greet(request_bytes_max=1 << 25, window_bytes_max=1 << 26)
            ident, _ = peer.expect(wire.State)
            time.sleep(0.2)
            for _ in range(300):
                peer.part(ident, wire.HELD, [row._replace(columns={"c": "y" * 60_000}) for row in rows[:1]])
            peer.done(ident, wire.STATE, **fake.STATE_END)
            ident, _ = peer.expect(wire.Producer)
            peer.done(ident, wire.PRODUCER, greatest=0)
            ident, _ = peer.expect(wire.AppendLines)
            said = dict(sequence=1, already=False, recorded=7, lines=1, dead_letters=0)
            peer.done(ident, wire.APPEND_LINES, **said)
            peer.bye()

        with FakeServer(script) as server, connect(server, window=1 << 26) as store:
            answer = store.state("users", at=150)
            opened = store._connection.start(wire.Producer(self.ID, self.ID, 1, 0))
            batch = wire.AppendLines(self.ID, 1, [wire.Chunk("log", 0, b"z" * (12 << 20))])
            sent = store._connection.start(batch)
            self.assertEqual(store._connection.next_message(opened).values["greatest"], 0)
            self.assertEqual(store._connection.next_message(sent).values["sequence"], 1)
            self.assertEqual(len(answer.rows()), 300)


class GoingWrong(unittest.TestCase):
    def test_an_error_ends_a_request_and_not_the_connection(self):
        codes = {6: erstwhile.Forbidden, 7: erstwhile.Unsupported, 8: erstwhile.UsageError, 9: erstwhile.TooMany,
                 11: erstwhile.TimedOut, 12: erstwhile.Busy, 13: erstwhile.Draining, 16: erstwhile.Damage,
                 17: erstwhile.Failed, 18: erstwhile.Slow, 99: erstwhile.Error}  # fmt: skip

        def answer(peer):
            for code in codes:
                ident, _ = peer.next()
                peer.part(ident, wire.HELD, [held()])
                peer.send(wire.ErrorMessage(code, f"words of {code}", 250), ident)

        with FakeServer(serving(answer)) as server, connect(server) as store:
            for code, kind in codes.items():
                with self.assertRaisesRegex(kind, f"words of {code}") as caught:
                    store.state("users", at=150).rows()
                self.assertEqual((caught.exception.code, caught.exception.retry_after), (code, 0.25))

    def test_an_error_of_the_connection(self):
        def script(peer):
            peer.greet()
            peer.next()
            peer.send(wire.ErrorMessage(2, "the checksum is wrong", 0))

        with FakeServer(script) as server, connect(server) as store:
            answer = store.state("users", at=150)
            for ask in (answer.rows, store.hosts, answer.rows):
                with self.assertRaisesRegex(erstwhile.ChecksumError, "checksum is wrong"):
                    ask()

    def test_idle_is_told(self):
        def script(peer):
            peer.greet()
            peer.send(wire.ErrorMessage(19, "nothing came for 60 s", 0))

        with FakeServer(script) as server, connect(server) as store:
            time.sleep(0.2)
            with self.assertRaises(erstwhile.Idle):
                store.hosts()

    def test_violations_close_the_connection(self):
        def with_payload(kind, payload):
            return lambda peer, ident: peer.raw(wire.frame(kind, ident, payload))

        good = wire.frame(wire.DONE, 1, wire.encode(wire.Done(wire.STATE, fake.STATE_END))[1])
        for name, act in {
            "checksum": lambda peer, ident: peer.raw(good[:-1] + bytes([good[-1] ^ 1])),
            "reserved": lambda peer, ident: peer.raw(good[:5] + b"\1" + good[6:]),
            "too long": lambda peer, ident: peer.raw((1 << 23).to_bytes(4, "little") + good[4:16]),
            "type": with_payload(0x92, b""),
            "client's type": with_payload(wire.STATE, b""),
            "part": with_payload(wire.PART, b"\x01\xff"),
            "part of another kind": lambda peer, ident: peer.part(ident, wire.CHANGES, []),
            "end of another": lambda peer, ident: peer.done(ident, wire.HOSTS),
            "error": with_payload(wire.ERROR, b"\x01"),
            "nobody's": lambda peer, ident: peer.done(ident + 1, wire.HOSTS),
            "second welcome": lambda peer, ident: peer.send(fake.welcome()),
            "pong": lambda peer, ident: peer.send(wire.Pong(b"?")),
            "hello": lambda peer, ident: peer.send(wire.Hello()),
        }.items():

            def script(peer, act=act):
                peer.greet()
                ident, _ = peer.next()
                act(peer, ident)
                with self.assertRaises((EOFError, OSError)):
                    peer.next()

            with self.subTest(name), FakeServer(script) as server, connect(server) as store:
                with self.assertRaises(erstwhile.ProtocolError):
                    store.state("users", at=150).rows()
                with self.assertRaises(erstwhile.ProtocolError):
                    store.hosts()
                self.assertIn("closed", repr(store))

    def test_wrong_links_and_hits(self):
        def script(peer):
            peer.greet()
            ident, question = peer.next()
            if isinstance(question, wire.What):
                end = dict(question="", at=0, known_at=None, coverage=fake.COUNTS, cost=[], verdict="unknown")
                peer.done(ident, wire.WHAT, links=[wire.LinkEntry("mounts", 1, None)], **end)
            else:
                peer.part(ident, wire.HITS, [wire.Hit(0, 0, 1, "definite", None, None)])
            with self.assertRaises((EOFError, OSError)):
                peer.next()

        for ask in (
            lambda store: store.what_device("/", host="h", at=0),
            lambda store: store.lookup("users", "uid", [("h", 0, 0)]),
        ):
            with FakeServer(script) as server, connect(server) as store, self.assertRaises(erstwhile.ProtocolError):
                ask(store).rows()

    def test_the_server_vanishes(self):
        for last in (b"", wire.frame(wire.PART, 1, b"x" * 100)[:50]):

            def script(peer, last=last):
                peer.greet()
                peer.next()
                peer.raw(last)

            with FakeServer(script) as server, connect(server) as store:
                with self.assertRaises(erstwhile.Disconnected):
                    store.state("users", at=150).rows()

    def test_a_silent_server_is_asked_and_given_up(self):
        def script(peer):
            peer.greet()
            peer.next()
            peer.expect(wire.Ping)
            with self.assertRaises((EOFError, OSError)):
                peer.next()

        with FakeServer(script) as server, connect(server, timeout=0.2) as store:
            start = time.monotonic()
            with self.assertRaises(erstwhile.TimedOut):
                store.state("users", at=150).rows()
            self.assertLess(time.monotonic() - start, 2)

    def test_a_slow_server_that_lives_is_waited_for(self):
        def script(peer):
            peer.greet()
            ident, _ = peer.next()
            for _ in range(3):
                _, ping = peer.expect(wire.Ping)
                peer.send(wire.Pong(ping.data))
            peer.done(ident, wire.STATE, **fake.STATE_END)
            peer.bye()

        with FakeServer(script) as server, connect(server, timeout=0.2) as store:
            self.assertEqual(store.state("users", at=150).rows(), [])

    def test_a_request_has_an_end_even_if_the_server_lives(self):
        def script(peer):
            peer.greet(request_millis_max=300)
            peer.next()
            with self.assertRaises((EOFError, OSError)):
                while True:
                    _, ping = peer.expect(wire.Ping)
                    peer.send(wire.Pong(ping.data))

        with FakeServer(script) as server, connect(server, timeout=0.2) as store:
            with self.assertRaises(erstwhile.TimedOut):
                store.state("users", at=150).rows()

    def test_a_server_that_takes_no_bytes(self):
        done = threading.Event()

        def script(peer):
            peer.greet(request_bytes_max=1 << 26)
            done.wait(5)

        with FakeServer(script) as server, connect(server, timeout=0.3) as store:
            batch = wire.AppendLines(b"p" * 16, 1, [wire.Chunk("log", 0, b"z" * (50 << 20))])
            with self.assertRaises(erstwhile.TimedOut):
                store._connection.start(batch)
            done.set()
            with self.assertRaises(erstwhile.TimedOut):
                store.hosts()

    def test_draining(self):
        def script(peer):
            peer.greet()
            ident, _ = peer.next()
            peer.send(wire.ServerGoodbye())
            peer.part(ident, wire.HELD, [held()])
            peer.done(ident, wire.STATE, **fake.STATE_END)
            peer.expect(wire.Goodbye)

        with FakeServer(script) as server, connect(server) as store:
            self.assertEqual(len(store.state("users", at=150).rows()), 1)
            self.assertTrue(store.draining)
            with self.assertRaises(erstwhile.Draining):
                store.hosts()

    def test_ping(self):
        def answer(peer):
            ident, ping = peer.expect(wire.Ping)
            self.assertEqual(ident, 0)
            peer.send(wire.Pong(ping.data))

        with FakeServer(serving(answer)) as server, connect(server) as store:
            self.assertLess(store.ping(), 5)


@unittest.skipUnless(shutil.which("openssl"), "openssl is not there to make a certificate")
class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.cert, cls.key = (os.path.join(folder.name, name) for name in ("cert.pem", "key.pem"))
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=store.test"
        )
        names = ["-addext", "subjectAltName=DNS:store.test"]
        made = subprocess.run(
            [*command.split(), *names, "-keyout", cls.key, "-out", cls.cert], capture_output=True, text=True
        )
        if made.returncode:
            raise unittest.SkipTest(f"openssl made no certificate: {made.stderr}")
        cls.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cls.context.load_cert_chain(cls.cert, cls.key)

    def test_an_answer(self):
        def answer(peer):
            ident, _ = peer.next()
            for number in range(50):
                peer.part(ident, wire.HELD, [held(str(number), c="x" * 20_000)])
            peer.done(ident, wire.STATE, **fake.STATE_END)

        with FakeServer(serving(answer), self.context) as server:
            with connect(server, ca=self.cert, server_name="store.test", window=1 << 20) as store:
                rows = store.state("users", at=150).rows()
                self.assertEqual([int(row.host) for row in rows], list(range(50)))

    def test_large_both_ways(self):
        def script(peer):
            peer.greet(request_bytes_max=1 << 25)
            ident, batch = peer.expect(wire.AppendLines)
            self.assertEqual(len(batch.chunks[0].lines), 8 << 20)
            said = dict(sequence=1, already=False, recorded=7, lines=1, dead_letters=0)
            peer.done(ident, wire.APPEND_LINES, **said)
            peer.bye()

        with FakeServer(script, self.context) as server:
            with connect(server, ca=self.cert, server_name="store.test") as store:
                batch = wire.AppendLines(b"p" * 16, 1, [wire.Chunk("log", 0, b"z" * (8 << 20))])
                sent = store._connection.start(batch)
                self.assertEqual(store._connection.next_message(sent).values["sequence"], 1)

    def test_a_wrong_name(self):
        with FakeServer(serving(), self.context) as server, self.assertRaises(erstwhile.Disconnected):
            connect(server, ca=self.cert, server_name="other.test")

    def test_an_authority_that_is_not_trusted(self):
        with FakeServer(serving(), self.context) as server, self.assertRaises(erstwhile.Disconnected):
            connect(server, server_name="store.test")

    def test_no_tls_there(self):
        def script(peer):
            peer.sock.recv(100)

        with FakeServer(script) as server, self.assertRaises(erstwhile.Error):
            connect(server, ca=self.cert)


if __name__ == "__main__":
    unittest.main()
