//! The log of very many machines that hold little and change seldom: a few accounts, two addresses and a system each, for
//! a day. The simulator's office has few machines that hold much; what costs by the stream rather than by the row shows
//! only here.
//!
//! Invariants:
//! - The same arguments give the same bytes, whatever the machine.
//! - Lines come by time, those of one look together, in event format; counters count runs, as agents before 4.5 have
//!   them, so an import is told `--agent-version 4.4.0`.
//! - Memory is bounded by the looks that bring something, sixteen bytes each; a row is a function of its machine and of
//!   how often it has changed.

use std::error::Error;
use std::io::{BufWriter, Write};

const USAGE: &str = "\
usage: wide [--hosts N] > FILE

Writes one day of N machines (200000) with the tables users, interface_addresses and os_version.";

/// Thursday, 2026-01-01T00:00:00Z.
const START: u64 = 1_767_225_600;
const DAY: u64 = 86_400;
/// Seconds between two looks at a table.
const EVERY: [u64; 3] = [3600, 600, 3600];
/// Of a hundred machines, how many change a table during the day: a guest comes and mostly goes, another address is
/// lent, the system is upgraded.
const CHANGE: [u64; 3] = [10, 40, 10];
/// More than there are machines, and a power of two, so that an odd factor gives every machine another.
const ADDRESSES: u64 = 1 << 18;

const GIVEN: [&str; 8] = ["Ada", "Barbara", "Edsger", "Frances", "Grace", "Ken", "Radia", "Tony"];
const FAMILY: [&str; 12] = [
    "Allen", "Dijkstra", "Hamilton", "Hoare", "Hopper", "Kay", "Liskov", "Lovelace", "Perlman", "Ritchie", "Shannon",
    "Thompson",
];

/// A look that brings something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Look {
    /// Seconds since the start.
    at: u32,
    host: u32,
    table: Table,
    /// How often the table changed before.
    changes: u8,
    counter: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Users,
    InterfaceAddresses,
    OsVersion,
}

/// A number that looks like chance, from two.
fn mixed(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(b.wrapping_mul(0xd1b5_4a32_d192_ed03));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The looks of a machine that bring something.
fn looks(host: u32, out: &mut Vec<Look>) {
    for table in [Table::Users, Table::InterfaceAddresses, Table::OsVersion] {
        let (every, chance) = (EVERY[table as usize], mixed(u64::from(host), table as u64));
        // Agents spread their runs over the interval.
        let splay = chance % every;
        let runs = (DAY - splay).div_ceil(every);
        let mut look = |changes: u8, run: u64| {
            out.push(Look { at: (splay + run * every) as u32, host, table, changes, counter: run as u16 });
        };
        look(0, 0);
        if (chance >> 32) % 100 < CHANGE[table as usize] {
            let first = 1 + (chance >> 40) % (runs - 2);
            look(1, first);
            if table != Table::OsVersion && (chance >> 20) % 4 > 0 {
                look(2, first + 1 + (chance >> 50) % (runs - first - 1));
            }
        }
    }
}

fn uuid(host: u32) -> String {
    let (a, b) = (mixed(u64::from(host), 77), mixed(u64::from(host), 78));
    let (b, c) = (b >> 16, b & 0xffff);
    format!("{:08x}-{:04x}-4{:03x}-a{:03x}-{b:012x}", a >> 32, a >> 16 & 0xffff, a & 0xfff, c & 0xfff)
}

fn user(uid: u64, name: &str, description: &str, home: &str, shell: &str) -> String {
    format!(
        r#"{{"uid":"{uid}","gid":"{uid}","uid_signed":"{uid}","gid_signed":"{uid}","username":"{name}","description":"{description}","directory":"{home}","shell":"{shell}","uuid":""}}"#
    )
}

fn person(host: u32, uid: u64) -> String {
    let chance = mixed(u64::from(host), uid);
    let given = GIVEN[(chance % GIVEN.len() as u64) as usize];
    let family = FAMILY[(chance / 64 % FAMILY.len() as u64) as usize];
    let name = format!("{}{}{}", given[..1].to_lowercase(), family.to_lowercase(), chance % 90 + 10);
    user(uid, &name, &format!("{given} {family},,,"), &format!("/home/{name}"), "/bin/bash")
}

fn address(host: u32, changes: u8) -> String {
    let number = (u64::from(host) * 7919 + u64::from(changes) * 104_729) % ADDRESSES;
    let net = format!("10.{}.{}", 20 + number / 65_536, number / 256 % 256);
    let last = number % 256;
    format!(
        r#"{{"interface":"eth0","address":"{net}.{last}","mask":"255.255.255.0","broadcast":"{net}.255","point_to_point":"","type":"dhcp"}}"#
    )
}

fn system(host: u32, changes: u8) -> String {
    let patch = u64::from(host) % 3 + u64::from(changes);
    format!(
        r#"{{"name":"Debian GNU/Linux","version":"13.{patch} (trixie)","major":"13","minor":"{patch}","patch":"0","build":"","platform":"debian","platform_like":"","codename":"trixie","arch":"x86_64"}}"#
    )
}

impl Look {
    /// What it removes and adds.
    fn rows(&self) -> (Option<String>, Vec<String>) {
        let (host, changes) = (self.host, self.changes);
        match (self.table, changes) {
            (Table::Users, 0) => {
                let root = user(0, "root", "root", "/root", "/bin/bash");
                let nobody = user(65_534, "nobody", "nobody", "/nonexistent", "/usr/sbin/nologin");
                (None, vec![root, nobody, person(host, 1000)])
            }
            (Table::Users, 1) => (None, vec![person(host, 1001)]),
            (Table::Users, _) => (Some(person(host, 1001)), Vec::new()),
            (Table::InterfaceAddresses, 0) => {
                let local = r#"{"interface":"lo","address":"127.0.0.1","mask":"255.0.0.0","broadcast":"","point_to_point":"","type":"unknown"}"#;
                (None, vec![local.to_owned(), address(host, 0)])
            }
            (Table::InterfaceAddresses, _) => (Some(address(host, changes - 1)), vec![address(host, changes)]),
            (Table::OsVersion, 0) => (None, vec![system(host, 0)]),
            (Table::OsVersion, _) => (Some(system(host, changes - 1)), vec![system(host, changes)]),
        }
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let name = match self.table {
            Table::Users => "users",
            Table::InterfaceAddresses => "interface_addresses",
            Table::OsVersion => "os_version",
        };
        let (uuid, host, at, counter) = (uuid(self.host), self.host, u64::from(self.at), self.counter);
        let (hour, minute, second, unix) = (at / 3600, at / 60 % 60, at % 60, START + at);
        let (removed, added) = self.rows();
        let lines = removed.iter().map(|row| (row, "removed")).chain(added.iter().map(|row| (row, "added")));
        for (row, action) in lines {
            writeln!(
                out,
                r#"{{"name":"pack_state_{name}","hostIdentifier":"{uuid}","calendarTime":"Thu Jan  1 {hour:02}:{minute:02}:{second:02} 2026 UTC","unixTime":{unix},"epoch":0,"counter":{counter},"numerics":false,"decorations":{{"host_uuid":"{uuid}","hostname":"desk-{host:06}.corp.example"}},"columns":{row},"action":"{action}"}}"#
            )?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    erstwhile_benches::tell_usage(USAGE);
    let words: Vec<String> = std::env::args().skip(1).collect();
    let hosts: u32 = match &words[..] {
        [] => 200_000,
        [option, hosts] if option == "--hosts" => hosts.parse()?,
        _ => return Err(USAGE.into()),
    };
    if u64::from(hosts) > ADDRESSES {
        return Err(format!("at most {ADDRESSES} machines").into());
    }
    let mut all = Vec::new();
    (0..hosts).for_each(|host| looks(host, &mut all));
    all.sort_unstable();
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    all.iter().try_for_each(|look| look.write(&mut out))?;
    Ok(out.flush()?)
}
