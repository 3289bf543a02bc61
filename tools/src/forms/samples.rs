//! Answers made by hand, as a reader would get them around 2018-12-24T10:00:00Z.

use erstwhile_engine::fact::{Kind, Name, Second};
use erstwhile_engine::read::answer::*;
use erstwhile_engine::row::{Row, RowBuilder};
use std::sync::Arc;

/// 2018-12-24T10:00:00Z.
pub(crate) const AT: Second = 1_545_645_600;

/// A name.
pub(crate) fn name(text: &str) -> Name {
    Name::from(text.as_bytes())
}

/// A row.
pub(crate) fn row(columns: &[(&str, &[u8])]) -> Row {
    let mut builder = RowBuilder::new();
    for (name, text) in columns {
        builder.column(name.as_bytes(), text);
    }
    builder.row()
}

/// A version that began an hour before [`AT`] and was last seen two minutes before it.
pub(crate) fn version(host: &str, stream: &str, columns: &[(&str, &[u8])]) -> Version {
    Version {
        host: name(host),
        stream: name(stream),
        row: row(columns),
        count: 1,
        from: AT - 3_600,
        from_after: Some(AT - 3_900),
        to: None,
        to_after: None,
        start: Start::Seen,
        end: End::Open,
        verified: true,
    }
}

fn address(host: &str, interface: &str) -> Version {
    let columns: [(&str, &[u8]); 3] = [("address", b"10.0.0.7"), ("interface", interface.as_bytes()), ("mask", b"")];
    version(host, "pack/net/interface_addresses", &columns)
}

fn cost() -> Cost {
    Cost {
        rows_decoded: 12,
        keys_decoded: 40,
        bytes_read: 4_096,
        blocks_verified: 2,
        bytes_verified: 16_384,
        cache_hits: 5,
        segments_touched: 1,
        streams_resolved: 3,
    }
}

/// Three hosts cannot speak, of which two are named.
pub(crate) fn coverage() -> Coverage {
    Coverage {
        covered: 410,
        presumed: 2,
        unknown: 3,
        never: 85,
        assumed: 1,
        unknown_hosts: vec![(name("db-1"), Cause::BeforeFirst), (name("web-7"), Cause::Gap)],
    }
}

/// Four candidates, one of each verdict.
pub(crate) fn who() -> Who {
    let mut possible = address("web-2", "eth1");
    (possible.to, possible.to_after) = (Some(AT + 182), Some(AT - 118));
    possible.end = End::Gone;
    let mut unknown = address("web-4", "eth0");
    unknown.verified = false;
    unknown.start = Start::Break;
    let held =
        |version: Version, verdict, after| Held { version: version.into(), verdict, before: Some(AT - 118), after };
    Who {
        question: "who ip 10.0.0.7".to_owned(),
        at: AT,
        known_at: Some(AT * 1_000_000 + 900_000_000),
        rows: vec![
            held(address("web-1", "eth0"), Verdict::Definite, Some(AT + 182)),
            held(address("web-3", "eth0"), Verdict::Presumed, None),
            held(possible, Verdict::Possible, Some(AT + 182)),
            held(unknown, Verdict::Unknown, Some(AT + 90_000)),
        ],
        coverage: coverage(),
        cost: cost(),
    }
}

/// A wide table with what is hard to show: no UTF-8, control characters, absent and empty texts.
pub(crate) fn state() -> State {
    let plain = version(
        "web-1",
        "procs",
        &[("cmdline", b"/usr/sbin/sshd -D"), ("empty", b""), ("name", b"sshd"), ("on_disk", b"1"), ("pid", b"811")],
    );
    let mut odd = version(
        "web-1",
        "procs",
        &[
            ("cmdline", b"say \"a,b\"\r\n\x1b[2J\xff"),
            ("empty", b""),
            ("name", b"sh"),
            ("on_disk", b"1"),
            ("pid", b"4711"),
            ("why", b"?"),
        ],
    );
    odd.count = 2;
    State {
        table: name("processes"),
        at: AT,
        known_at: Some(AT * 1_000_000),
        rows: vec![
            Held { version: plain.into(), verdict: Verdict::Definite, before: Some(AT), after: None },
            Held { version: odd.into(), verdict: Verdict::Definite, before: Some(AT), after: None },
        ],
        coverage: Coverage { covered: 1, ..Coverage::default() },
        cost: cost(),
    }
}

/// A chain that ends before the USB device.
pub(crate) fn what() -> What {
    let link = |table: &str, columns: &[(&str, &[u8])]| Link {
        table: name(table),
        rows: vec![Held {
            version: version("web-1", table, columns).into(),
            verdict: Verdict::Definite,
            before: Some(AT - 118),
            after: Some(AT + 182),
        }],
        missing: None,
    };
    What {
        question: "what device /media/stick".to_owned(),
        at: AT,
        known_at: Some(AT * 1_000_000),
        verdict: Verdict::Unknown,
        links: vec![
            link("mounts", &[("device", b"/dev/sdb1"), ("path", b"/media/stick")]),
            link("block_devices", &[("model", b"Ultra"), ("name", b"/dev/sdb1"), ("vendor", b"SanDisk")]),
            Link { table: name("usb_devices"), rows: Vec::new(), missing: Some(Missing::NeverCollected) },
        ],
        coverage: Coverage { covered: 1, ..Coverage::default() },
        cost: cost(),
    }
}

/// A version that came and went, and a sighting of a stream without a state.
pub(crate) fn history() -> History {
    let mut gone = version("web-1", "users", &[("uid", b"1000"), ("username", b"mallory")]);
    (gone.to, gone.to_after) = (Some(AT), Some(AT - 300));
    gone.end = End::Gone;
    History {
        table: name("users"),
        from: Some(AT - 7_200),
        to: None,
        known_at: None,
        rows: vec![
            HistoryRow::Version(gone.into()),
            HistoryRow::Event(Arc::new(Event {
                host: name("web-1"),
                stream: name("users_seen"),
                time: AT,
                seen: AT + 5,
                row: row(&[("uid", b"0")]),
                count: 3,
            })),
        ],
        cost: cost(),
    }
}

/// One user came, one left.
pub(crate) fn diff() -> Diff {
    let change = |added, columns: &[(&str, &[u8])]| Change {
        host: name("web-1"),
        stream: name("users"),
        added,
        row: row(columns),
        count: 1,
        verdict_from: Verdict::Definite,
        verdict_to: Verdict::Presumed,
    };
    Diff {
        table: name("users"),
        host: name("web-1"),
        from: AT - 86_400,
        to: AT,
        known_at: Some(AT * 1_000_000 + 1),
        rows: vec![
            change(true, &[("uid", b"1000"), ("username", b"mallory")]),
            change(false, &[("uid", b"1001"), ("username", b"alice")]),
        ],
        cost: cost(),
    }
}

/// Two hosts, one with a name that is not UTF-8.
pub(crate) fn hosts() -> Vec<HostEntry> {
    vec![
        HostEntry { host: Name::from(&b"caf\xe9"[..]), streams: 1, first: AT, last: AT, agent_version: None },
        HostEntry {
            host: name("web-1"),
            streams: 12,
            first: AT - 86_400,
            last: AT,
            agent_version: Some("5.12.1".to_owned()),
        },
    ]
}

/// A table that is known and one that is assumed.
pub(crate) fn tables() -> Vec<TableEntry> {
    vec![
        TableEntry {
            table: name("process_events"),
            evented: true,
            streams: 3,
            hosts: 3,
            first: AT - 86_400,
            last: AT,
            assumed: 0,
            assumed_names: Vec::new(),
        },
        TableEntry {
            table: name("users"),
            evented: false,
            streams: 5,
            hosts: 4,
            first: AT - 86_400,
            last: AT,
            assumed: 2,
            assumed_names: vec![name("pack/it/users"), name("pack_sec_users")],
        },
    ]
}

/// A stream with two breaks, one of which has not ended.
pub(crate) fn streams() -> Vec<StreamEntry> {
    vec![StreamEntry {
        host: name("web-1"),
        stream: name("pack_sec_users"),
        kind: Kind::Diff,
        table: name("users"),
        assumed: true,
        looks: 1_234,
        first: AT - 86_400,
        last: AT,
        agent_version: Some("5.12.1".to_owned()),
        skew: (-3, 600),
        breaks: vec![
            Break { from: None, to: Some(AT - 86_000), cause: Cause::NoBase },
            Break { from: Some(AT - 117), to: None, cause: Cause::Gap },
        ],
    }]
}
