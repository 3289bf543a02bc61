"""Against a server that runs: only with ERSTWHILE_SERVER (host:port), and ERSTWHILE_TOKEN if it wants one.

With TLS: ERSTWHILE_CA and, if its certificate has another name than the address, ERSTWHILE_SERVER_NAME. The store
should hold interface_addresses and users; what is not there is skipped.
"""

import itertools
import os
import unittest

import fake  # isort: skip - finds the package
import erstwhile

SERVER = os.environ.get("ERSTWHILE_SERVER")
FEW = 5


def known(row):
    return (row.host, row.stream, row.columns)


@unittest.skipUnless(SERVER, "ERSTWHILE_SERVER (host:port) is not set")
class Server(unittest.TestCase):
    def setUp(self):
        self.store = erstwhile.connect(
            SERVER,
            token=os.environ.get("ERSTWHILE_TOKEN"),
            ca=os.environ.get("ERSTWHILE_CA"),
            server_name=os.environ.get("ERSTWHILE_SERVER_NAME"),
        )
        self.addCleanup(self.store.close)

    def moments(self, name):
        """The table's last look, and a second halfway through what is known of it."""
        for table in self.store.tables():
            if table.table == name:
                return [table.last, table.first + (table.last - table.first) / 2]
        self.skipTest(f"the store has no {name}")

    def some_rows(self, table, at):
        """A few, from different places of the answer; breaking off is part of the test."""
        return list(itertools.islice(self.store.state(table, at=at), 0, 20 * FEW, 20))

    def test_lists(self):
        hosts, tables = self.store.hosts().rows(), self.store.tables().rows()
        self.assertTrue(hosts)
        self.assertTrue(tables)
        self.assertEqual(len({host.host for host in hosts}), len(hosts))
        for entry in (*hosts, *tables):
            self.assertLessEqual(entry.first, entry.last)
        streams = self.store.coverage(host=hosts[0].host).rows()
        self.assertEqual({stream.host for stream in streams}, {hosts[0].host})
        self.assertEqual(len(streams), hosts[0].streams)
        self.store.stats()
        self.assertGreaterEqual(self.store.ping(), 0)

    def test_who_ip(self):
        asked = 0
        for at in self.moments("interface_addresses"):
            for row in self.some_rows("interface_addresses", at):
                if row.get("address"):
                    answer = self.store.who_ip(row["address"], at=at)
                    self.assertIn(known(row), [known(found) for found in answer.rows()])
                    self.assertIsNotNone(answer.coverage)
                    asked += 1
        self.assertTrue(asked, "no row was there to ask about")

    def test_who_uid(self):
        asked = 0
        for at in self.moments("users"):
            for row in self.some_rows("users", at):
                if row.get("uid"):
                    answer = self.store.who_uid(row["uid"], host=row.host, at=at)
                    self.assertIn(known(row), [known(found) for found in answer.rows()])
                    asked += 1
        self.assertTrue(asked, "no row was there to ask about")

    def test_lookup(self):
        for at in self.moments("users"):
            rows = [row for row in self.some_rows("users", at) if row.get("uid")]
            found = self.store.lookup("users", "uid", [(row.host, row["uid"], at) for row in rows]).by_key()
            for row, candidates in zip(rows, found):
                self.assertIn(known(row), [known(candidate) for candidate in candidates])

    def test_history_holds_what_state_shows(self):
        at = self.moments("users")[1]
        for row in self.some_rows("users", at):
            versions = self.store.history("users", host=row.host, where={"uid": row["uid"]}).rows()
            self.assertIn((known(row), row.from_), [(known(version), version.from_) for version in versions])

    def test_diff_tells_what_came_and_what_left(self):
        seen = set()
        for name in ("interface_addresses", "users"):
            after, before = self.moments(name)
            for host in self.store.hosts().rows()[:200]:
                states = {
                    "removed": [known(row) for row in self.store.state(name, at=before, host=host.host)],
                    "added": [known(row) for row in self.store.state(name, at=after, host=host.host)],
                }
                for change in self.store.diff(name, before, after, host=host.host):
                    self.assertIn(known(change), states[change.action])
                    seen.add(change.action)
        self.assertTrue(seen, "nothing changed")

    def test_breaking_off_leaves_the_connection_usable(self):
        at = self.moments("users")[0]
        for _ in range(20):
            for _ in self.store.state("users", at=at):
                break
        self.assertTrue(self.store.hosts().rows())

    def test_several_at_once(self):
        at = self.moments("users")[0]
        answers = [self.store.state("users", at=at) for _ in range(min(4, self.store.limits["requests_max"]))]
        rows = [answer.rows() for answer in reversed(answers)]
        self.assertTrue(all(these == rows[0] for these in rows))

    def test_nonsense_is_refused(self):
        with self.assertRaises(erstwhile.UsageError):
            self.store.diff("users", 2, 1, host="no such host").rows()
        self.assertTrue(self.store.tables().rows())


if __name__ == "__main__":
    unittest.main()
