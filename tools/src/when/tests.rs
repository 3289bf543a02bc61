use super::calendar::{Civil, LAST, micros_text, second_text};
use super::{Reader, WhenError, Zone};

/// 2018-12-24T10:00:00.250000Z.
const NOW: i64 = 1_545_645_600_250_000;
const TEN: i64 = 1_545_645_600;

fn utc() -> Reader {
    Reader { now: NOW, zone: Zone::utc() }
}

fn berlin() -> Reader {
    Reader { now: NOW, zone: Zone::named("Europe/Berlin").expect("the zone database has Berlin") }
}

fn message(reader: &Reader, text: &str) -> String {
    reader.second(text).unwrap_err().to_string()
}

#[test]
fn every_form_of_one_moment_is_that_moment() {
    for text in [
        "2018-12-24T10:00:00Z",
        "2018-12-24t10:00:00z",
        "2018-12-24 10:00",
        "2018-12-24 10:00:00",
        "2018-12-24T12:00:00+02:00",
        "2018-12-24 12:00 +0200",
        "2018-12-24T04:30:00-05:30",
        "2018-12-24T10:00:00.999999999Z",
        "2018-12-24 10:00 UTC",
        "2018-12-24T09:59:60Z",
        "1545645600",
        "1545645600.999",
        " 2018-12-24 10:00 ",
        "today 10:00",
        "now",
    ] {
        assert_eq!(utc().second(text), Ok(TEN), "{text}");
    }
    assert_eq!(utc().second("2018-12-24"), Ok(TEN - 36_000), "midnight");
    assert_eq!(utc().second("yesterday"), Ok(TEN - 36_000 - 86_400));
    assert_eq!(berlin().second("2018-12-24 11:00"), Ok(TEN), "local");
    assert_eq!(berlin().second("2018-12-24 10:00Z"), Ok(TEN));
    assert_eq!(berlin().second("yesterday 11:00"), Ok(TEN - 86_400));
}

#[test]
fn spans_go_back_from_now() {
    for (text, seconds) in [
        ("3 days ago", 3 * 86_400),
        ("2 hours ago", 7_200),
        ("90 minutes ago", 5_400),
        ("1 week ago", 7 * 86_400),
        ("1 hour 30 min ago", 5_400),
        ("1h30m ago", 5_400),
        ("0 seconds ago", 0),
    ] {
        assert_eq!(utc().second(text), Ok(TEN - seconds), "{text}");
    }
    assert_eq!(utc().micros("1 second ago"), Ok(NOW - 1_000_000));
    for text in ["ago", "days ago", "3 fortnights ago", "2 months ago", "-1 day ago", "1.5 h ago"] {
        assert!(matches!(utc().second(text), Err(WhenError::Calendar { .. })), "{text}");
    }
    for text in ["9999999 days ago", "99999999999999999 days ago"] {
        assert!(utc().second(text).is_err(), "{text} is before 1970");
    }
}

#[test]
fn recorded_times_keep_their_microseconds() {
    assert_eq!(utc().micros("2018-12-24T10:00:00.250000Z"), Ok(NOW));
    assert_eq!(utc().micros("1545645600.25"), Ok(NOW));
    assert_eq!(utc().micros("1545645600.2500009"), Ok(NOW), "floored");
    assert_eq!(utc().micros(&micros_text(NOW)), Ok(NOW), "as printed in answers");
    assert_eq!(utc().micros("2018-12-24T11:00:00.25+01:00"), Ok(NOW));
}

/// Dashboards hand out milliseconds; read as seconds they are the year 50949, and every host would be "presumed".
#[test]
fn milliseconds_are_refused_with_what_was_meant() {
    assert_eq!(
        message(&utc(), "1545645600250"),
        "\"1545645600250\" has 13 digits, which looks like milliseconds; times are Unix seconds: \
         write 1545645600 or 2018-12-24T10:00:00.250000Z"
    );
    assert!(message(&utc(), "1545645600250000").contains("microseconds"));
    assert!(message(&utc(), "1545645600250000000").contains("nanoseconds"));
    assert!(message(&utc(), "15456456002500").contains("too many"));
}

#[test]
fn a_local_time_that_happens_twice_or_never_is_an_error_that_says_so() {
    assert_eq!(
        message(&berlin(), "2018-10-28 02:30"),
        "\"2018-10-28 02:30\" happens twice in Europe/Berlin, when clocks are put back; \
         write 2018-10-28T02:30:00+02:00 or 2018-10-28T02:30:00+01:00"
    );
    assert_eq!(
        message(&berlin(), "2018-03-25 02:30"),
        "\"2018-03-25 02:30\" never happens in Europe/Berlin: clocks are put forward at \
         2018-03-25T02:00:00+01:00 to 2018-03-25T03:00:00+02:00; write a time before or after that"
    );
    let first = berlin().second("2018-10-28T02:30:00+02:00").unwrap();
    let second = berlin().second("2018-10-28T02:30:00+01:00").unwrap();
    assert_eq!(second - first, 3_600);
}

#[test]
fn what_the_calendar_does_not_have_is_refused() {
    for (text, part) in [
        ("2018-02-29", "2018-02 has days 01 to 28"),
        ("2018-13-01", "no month 13"),
        ("2018-12-24 24:00", "hours"),
        ("2018-12-24 10:60", "minutes"),
        ("2018-12-24 10:00:61", "seconds"),
        ("1969-12-31T23:59:59Z", "out of range"),
        ("1970-01-01T00:00:00+01:00", "out of range"),
        ("9999-12-31T23:59:60Z", "out of range"),
        ("-1", "out of range"),
        ("999999999999", "out of range"),
        ("tomorrow", "is no time"),
        ("", "is no time"),
        ("2018-12-24T", "is no time"),
        ("2018-12-24T10", "is no time"),
        ("2018-12-24T10:00:00.Z", "is no time"),
        ("2018-12-24T10:00:00 Europe/Berlin", "is no time"),
        ("20181-12-24", "is no time"),
        ("2018-12-24é", "is no time"),
        ("１２", "is no time"),
    ] {
        let message = message(&utc(), text);
        assert!(message.contains(part), "{text}: {message}");
    }
    assert_eq!(utc().second("2016-02-29"), Ok(1_456_704_000));
    assert_eq!(utc().second("9999-12-31T23:59:59Z"), Ok(LAST));
    assert_eq!(utc().second("0"), Ok(0));
}

#[test]
fn zones_are_names_offsets_or_an_error() {
    assert!(Zone::named("utc").unwrap().is_utc());
    let fixed = Zone::named("+05:30").unwrap();
    assert_eq!(fixed.name(), "+05:30");
    assert_eq!(fixed.full(TEN), "2018-12-24 15:30:00 +05:30");
    assert!(Zone::named("Mars/Olympus").is_err());
    assert!(Zone::named("+25:00").is_err());
    assert!(Zone::named("+é0").is_err());
}

#[test]
fn times_are_shown_near_a_moment_without_its_date() {
    assert_eq!(Zone::utc().near(TEN + 182, TEN), "10:03:02");
    assert_eq!(Zone::utc().near(TEN - 86_400, TEN), "2018-12-23 10:00:00");
    let berlin = berlin().zone;
    assert_eq!(berlin.full(TEN), "2018-12-24 11:00:00 +01:00");
    assert_eq!(berlin.near(TEN + 182, TEN), "11:03:02");
    // 00:30Z and 01:30Z of that day are both 02:30 in Berlin.
    assert_eq!(berlin.near(1_540_690_200, 1_540_686_600), "2018-10-28 02:30:00+01:00");
    assert_eq!(Zone::utc().full_micros(NOW), "2018-12-24 10:00:00.250000 UTC");
}

#[test]
fn the_calendar_is_its_own_inverse() {
    assert_eq!(second_text(LAST), "9999-12-31T23:59:59Z");
    assert_eq!(second_text(LAST + 1), "10000-01-01T00:00:00Z");
    assert_eq!(second_text(-1), "1969-12-31T23:59:59Z");
    let mut second = -90_000_000_000;
    while second < 300_000_000_000 {
        assert_eq!(Civil::of(second).seconds(), second);
        second += 86_399 * 7;
    }
    for extreme in [i64::MIN / 2, i64::MAX / 2] {
        assert_eq!(Civil::of(extreme).seconds(), extreme);
    }
}
