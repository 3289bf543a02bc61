//! Tiny logs in which everything that can go wrong does: few hosts, streams, seconds and rows, so that counters repeat,
//! looks collide and clocks step back all the time.

use erstwhile_tests::support::rng::Rng;
use erstwhile_tests::support::scenario::{Import, Scenario};
use std::fmt::Write as _;

/// The first second of all tiny logs.
pub(crate) const START: i64 = 1_700_000_000;
/// So many seconds there are.
pub(crate) const SECONDS: usize = 14;

/// The hosts.
pub(crate) const HOSTS: [&str; 3] = ["h1", "h2", "H1"];
/// The streams: mapped in every way, evented or not, and under two forms of one table.
pub(crate) const STREAMS: [&str; 10] = [
    "pack/a/users",
    "pack_b_users",
    "pack/a/interface_addresses",
    "mounts",
    "block_devices",
    "usb_devices",
    "pack/a/process_events",
    "own_query",
    "osquery_info",
    "pack/a/account_policy_data",
];

const VERSIONS: [&str; 12] = [
    "2.7.0",
    "2.10.2",
    "2.11.2",
    "3.4.0",
    "4.4.0",
    "4.5.0",
    "5.7.0",
    "5.8.0",
    "5.8.1",
    "5.8.2",
    "5.19.0",
    "5.22.1-9-g1",
];

fn row(rng: &mut Rng, stream: &str) -> String {
    let n = rng.below(3);
    match stream {
        "pack/a/users" | "pack_b_users" => {
            format!(r#"{{"uid":"{}","username":"u{n}"}}"#, rng.pick(&["500", "0500", "501"]))
        }
        "pack/a/interface_addresses" => {
            let addresses = ["10.0.0.7", "::ffff:10.0.0.7", "fe80::1%eth0", "fe80::1%en1", "10.0.0.70", "-"];
            format!(r#"{{"interface":"eth{}","address":"{}"}}"#, n % 2, rng.pick(&addresses))
        }
        "mounts" => {
            let paths = ["/", "/mnt/usb", "/mnt", "/mnt/usb2"];
            format!(r#"{{"device":"/dev/sd{}1","path":"{}"}}"#, ["a", "b", "b"][n], rng.pick(&paths))
        }
        "block_devices" => rng
            .pick(&[
                r#"{"name":"/dev/sdb1","parent":"/dev/sdb","serial":"","vendor":"","model":""}"#,
                r#"{"name":"/dev/sdb","parent":"","serial":"S1","vendor":"V","model":"M"}"#,
                r#"{"name":"/dev/sdb","parent":"/dev/sdb1","serial":"","vendor":"V","model":"M"}"#,
                r#"{"name":"/dev/sda1","parent":"/dev/sda"}"#,
            ])
            .to_string(),
        "usb_devices" => rng
            .pick(&[
                r#"{"usb_address":"1","serial":"S1","vendor":"V","model":"M"}"#,
                r#"{"usb_address":"2","serial":"","vendor":"V","model":"M"}"#,
                r#"{"usb_address":3,"serial":"S2","vendor":"V","model":"N"}"#,
            ])
            .to_string(),
        "pack/a/process_events" => {
            let times = ["1700000003", "1700000004", "x", "-1", ""];
            format!(r#"{{"pid":"{n}","time":"{}"}}"#, rng.pick(&times))
        }
        "osquery_info" => format!(r#"{{"pid":"{n}","version":"{}"}}"#, rng.pick(&VERSIONS)),
        "pack/a/account_policy_data" => {
            let times = ["0.5", "0.50", "5e-1", "1", "1.0", "1556571398.0123456789", "x", ""];
            format!(r#"{{"uid":"1","creation_time":"{}"}}"#, rng.pick(&times))
        }
        _ => rng
            .pick(&[r#"{"a":"1"}"#, r#"{"a":"1","b":""}"#, r#"{"a":"\u00e9\"x"}"#, r#"{"a":1.0}"#, r#"{"a":null}"#])
            .to_string(),
    }
}

fn rows(rng: &mut Rng, stream: &str, most: usize) -> String {
    let mut out = String::from("[");
    for i in 0..rng.below(most + 1) {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&row(rng, stream));
    }
    out.push(']');
    out
}

/// How an agent of one run writes.
struct Style {
    strings: bool,
    numerics: bool,
    counters: u64,
}

fn head(rng: &mut Rng, host: &str, stream: &str, second: i64, style: &Style, look: (u64, Option<u64>)) -> String {
    let mut out = format!(r#"{{"name":"{stream}","hostIdentifier":"{host}","calendarTime":"x","#);
    let quote = if style.strings { "\"" } else { "" };
    let _ = write!(out, r#""unixTime":{quote}{second}{quote},"#);
    if look.0 > 0 || rng.chance(80) {
        let _ = write!(out, r#""epoch":{quote}{}{quote},"#, look.0);
    }
    if let Some(counter) = look.1 {
        let _ = write!(out, r#""counter":{quote}{counter}{quote},"#);
    }
    if style.numerics {
        out.push_str(r#""numerics":false,"#);
    }
    out
}

/// The lines of one look.
fn look(rng: &mut Rng, host: &str, stream: &str, second: i64, style: &Style, out: &mut Vec<String>) {
    let counter = if rng.chance(style.counters) { Some(*rng.pick(&[0, 0, 1, 1, 2, 3, 4, 5])) } else { None };
    let epoch = *rng.pick(&[0, 0, 0, 7]);
    let head = head(rng, host, stream, second, style, (epoch, counter));
    match rng.below(10) {
        0..=4 => {
            let removed = if counter == Some(0) && rng.chance(80) { 0 } else { rng.below(3) };
            let added = rng.below(4);
            for i in 0..removed + added {
                let action = if i < removed { "removed" } else { "added" };
                out.push(format!(r#"{head}"columns":{},"action":"{action}"}}"#, row(rng, stream)));
            }
        }
        5..=7 => {
            let removed = if counter == Some(0) && rng.chance(80) { "[]".to_owned() } else { rows(rng, stream, 2) };
            let removed = if removed == "[]" && rng.chance(30) { "\"\"".to_owned() } else { removed };
            let added = rows(rng, stream, 3);
            out.push(format!(r#"{head}"diffResults":{{"removed":{removed},"added":{added}}}}}"#));
        }
        8 => out.push(format!(r#"{head}"snapshot":{},"action":"snapshot"}}"#, rows(rng, stream, 3))),
        _ => {
            for _ in 0..rng.below(3) {
                out.push(format!(r#"{head}"columns":{},"action":"snapshot"}}"#, row(rng, stream)));
            }
        }
    }
}

/// Chains that are mostly as they should be, so that not everything is a break.
fn honest(rng: &mut Rng, host: &str, stream: &str, style: &Style, out: &mut Vec<String>) {
    let mut held: Vec<String> = Vec::new();
    let mut counter = 0;
    let mut second = START + rng.below(4) as i64;
    while second < START + SECONDS as i64 {
        let head = head(rng, host, stream, second, style, (0, Some(counter)));
        if counter == 0 {
            held = (0..rng.below(4)).map(|_| row(rng, stream)).collect();
            held.iter().for_each(|row| out.push(format!(r#"{head}"columns":{row},"action":"added"}}"#)));
        } else {
            if !held.is_empty() && rng.chance(60) {
                let gone = held.remove(rng.below(held.len()));
                out.push(format!(r#"{head}"columns":{gone},"action":"removed"}}"#));
            }
            let new = row(rng, stream);
            out.push(format!(r#"{head}"columns":{new},"action":"added"}}"#));
            held.push(new);
        }
        counter += if rng.chance(7) { 2 } else { 1 };
        if rng.chance(8) {
            counter = 0;
        }
        second += 1 + rng.below(3) as i64 - i64::from(rng.chance(5)) * 2;
    }
}

/// A scenario from a seed.
pub(crate) fn scenario(seed: u64) -> Scenario {
    let rng = &mut Rng::new(seed);
    let mut lines: Vec<String> = Vec::new();
    let hosts = 1 + rng.below(HOSTS.len());
    let style = Style { strings: rng.chance(20), numerics: rng.chance(70), counters: *rng.pick(&[100, 100, 95, 0]) };
    for host in &HOSTS[..hosts] {
        if rng.chance(70) {
            for _ in 0..=rng.below(2) {
                let second = START - 2 + rng.below(SECONDS + 2) as i64;
                let version = rng.pick(&VERSIONS);
                lines.push(format!(
                    r#"{{"hostIdentifier":"{host}","unixTime":{second},"severity":0,"message":"m","version":"{version}"}}"#
                ));
            }
        }
        for _ in 0..1 + rng.below(3) {
            let stream = *rng.pick(&STREAMS);
            if rng.chance(45) {
                honest(rng, host, stream, &style, &mut lines);
            } else {
                for _ in 0..1 + rng.below(8) {
                    let second = START + rng.below(SECONDS) as i64;
                    look(rng, host, stream, second, &style, &mut lines);
                }
            }
        }
    }
    for _ in 0..rng.below(3) {
        let dead = [
            "",
            "  ",
            "{",
            "[1]",
            r#"{"name":"x"}"#,
            r#"{"name":"users","hostIdentifier":"h9","unixTime":1700000001}"#,
        ];
        let at = rng.below(lines.len() + 1);
        lines.insert(at, (*rng.pick(&dead)).to_owned());
    }
    in_imports(rng, &lines)
}

/// Lines cut into inputs and imports: in order or not, overlapping or not.
pub(crate) fn in_imports(rng: &mut Rng, lines: &[String]) -> Scenario {
    let mut scenario = Scenario::default();
    let imports = 1 + rng.below(3);
    for i in 0..imports {
        let mut import = Import::default();
        for k in 0..1 + rng.below(2) {
            let (mut a, mut b) = (rng.below(lines.len() + 1), rng.below(lines.len() + 1));
            if rng.chance(40) || (i == 0 && rng.chance(50)) {
                (a, b) = (0, lines.len());
            }
            let mut some: Vec<&String> = lines[a.min(b)..a.max(b)].iter().collect();
            if rng.chance(25) {
                rng.shuffle(&mut some);
            }
            let mut bytes = Vec::new();
            for line in some {
                bytes.extend_from_slice(line.as_bytes());
                bytes.push(b'\n');
            }
            if rng.chance(5) {
                bytes.truncate(bytes.len().saturating_sub(10));
            }
            import.inputs.push((format!("input-{i}-{k}"), bytes));
        }
        if rng.chance(10) {
            import.agent_version = Some((*rng.pick(&VERSIONS)).to_owned());
        }
        if rng.chance(15) {
            let maps = [
                "[[stream]]\nname = \"own_*\"\ntable = \"users\"\n",
                "[[stream]]\nname = \"pack/a/users\"\nremoved = false\n",
                "[[stream]]\nname = \"*users\"\ntable = \"users\"\nwhole = true\n[[stream]]\nname = \"*\"\nprimary = true\n",
                "[[stream]]\nname = \"mounts\"\ntable = \"file_events\"\n",
            ];
            import.map = Some((*rng.pick(&maps)).to_owned());
        }
        scenario.imports.push(import);
    }
    scenario
}
