"""Times in and out."""

import unittest
from datetime import datetime, timedelta, timezone

import fake  # isort: skip - finds the package
from erstwhile import UsageError, _times


class Times(unittest.TestCase):
    def test_in(self):
        moment = datetime(2018, 12, 24, 11, 2, 0, 999_999, timezone(timedelta(hours=1)))
        for value, seconds in (
            (moment, 1545645720),
            (1545645720, 1545645720),
            (1545645720.9, 1545645720),
            (-0.5, -1),
            ("2018-12-24T10:02:00Z", 1545645720),
            ("2018-12-24 10:02:00.999z", 1545645720),
            ("2018-12-24T11:02:00+01:00", 1545645720),
            ("2018-12-24T04:32:00-05:30", 1545645720),
            ("1969-12-31T23:59:59.5Z", -1),
            ("2016-12-31T23:59:60Z", 1483228800),
            (2**60, 2**60),
        ):
            with self.subTest(value=value):
                self.assertEqual(_times.to_seconds(value), seconds)

    def test_micros(self):
        self.assertEqual(_times.to_micros(1), 1_000_000)
        self.assertEqual(_times.to_micros(0.3), 300_000)
        self.assertEqual(_times.to_micros(1545645720.123456), 1545645720123456)
        self.assertEqual(_times.to_micros("2018-12-24T10:02:00.1234567Z"), 1545645720123456)
        self.assertEqual(_times.to_micros(datetime(1970, 1, 1, 0, 0, 0, 7, timezone.utc)), 7)

    def test_refused(self):
        for value in (
            datetime(2018, 12, 24),
            True,
            None,
            b"2018-12-24T10:02:00Z",
            float("nan"),
            float("inf"),
            "2018-12-24T10:02:00",
            "2018-12-24",
            "2018-13-24T10:02:00Z",
            "0000-01-01T00:00:00Z",
            "2018-12-24T10:02:00+99:00",
            "1545645720",
            "",
        ):
            with self.subTest(value=value), self.assertRaises(UsageError):
                _times.to_seconds(value)
        with self.assertRaisesRegex(UsageError, "no time zone"):
            _times.to_micros(datetime(2018, 12, 24))

    def test_out(self):
        self.assertEqual(_times.from_seconds(0), datetime(1970, 1, 1, tzinfo=timezone.utc))
        self.assertEqual(_times.from_seconds(2**60), 2**60)
        self.assertEqual(_times.from_seconds(-(2**60)), -(2**60))
        self.assertIsNone(_times.from_seconds(None))
        self.assertEqual(_times.from_micros(1).microsecond, 1)
        self.assertEqual(_times.from_micros(2**60), 2**60)
        self.assertEqual(_times.text_of_seconds(-62135596800), "0001-01-01T00:00:00Z")
        self.assertEqual(_times.text_of_seconds(2**50), 2**50)
        self.assertEqual(_times.text_of_micros(1545645720000001), "2018-12-24T10:02:00.000001Z")


if __name__ == "__main__":
    unittest.main()
