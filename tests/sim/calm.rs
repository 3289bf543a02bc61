//! Calm logs: few hosts whose streams mostly go on as they should, look by look, so that what a merge made of them and
//! what came since are read without being replayed; and now and then one thing that makes a difference there.

use crate::written::Upkeep;
use erstwhile_tests::support::rng::Rng;
use erstwhile_tests::support::scenario::{Import, Scenario};
use std::fmt::Write as _;

/// The first second.
pub(crate) const START: i64 = 1_700_000_000;
/// The hosts.
pub(crate) const HOSTS: [&str; 3] = ["a", "b", "c"];
/// The values that are asked for one by one.
pub(crate) const UIDS: [&str; 6] = ["500", "0500", "501", "+7", "7", "x"];

const ADDRESSES: [&str; 9] =
    ["10.0.0.7", "::ffff:10.0.0.7", "010.0.0.7", "fe80::1%eth0", "fe80::1%en1", "fe80::1", "10.0.0.8", "FE80::2", "-"];

const STREAMS: [&str; 5] = [
    "pack/a/users",
    "pack_b_users",
    "pack/a/interface_addresses",
    "pack_b_interface_addresses",
    "pack/a/process_events",
];

/// What makes a difference in a scenario.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Nothing, besides new epochs.
    Calm,
    /// Looks that are late, lost, or come twice.
    Late,
    /// What the host's agent decides: counters that skip numbers or begin again, and versions that are told before or after.
    Agents,
    /// Epochs that were there before.
    Epochs,
    /// Looks that are lost with what they saw, rows of which one copy leaves before the other, and now and then a fork; from
    /// there it goes on as it should.
    Broken,
}

/// How many seconds a stream is looked at.
const SECONDS: i64 = 24;

/// A row with one of the first so many values.
fn row(rng: &mut Rng, stream: &str, values: usize) -> String {
    if stream.ends_with("_events") {
        format!(r#"{{"pid":"{}","time":"{}"}}"#, rng.below(2), START + rng.below(4) as i64)
    } else if stream.ends_with("users") {
        // Not every row begins with the same column.
        let first = if rng.chance(10) { r#""description":"d","# } else { "" };
        format!(r#"{{{first}"uid":"{}","username":"u{}"}}"#, rng.pick(&UIDS[..values]), rng.below(2))
    } else {
        format!(r#"{{"address":"{}","interface":"eth{}"}}"#, rng.pick(&ADDRESSES[..values]), rng.below(2))
    }
}

fn version_line(host: &str, second: i64, version: &str) -> String {
    format!(r#"{{"hostIdentifier":"{host}","unixTime":{second},"severity":0,"message":"m","version":"{version}"}}"#)
}

/// One look: when it was, and its lines.
type Look = (i64, Vec<String>);

/// Rows, and how many copies of each.
type Rows = Vec<(String, usize)>;

/// A stream that is looked at every few seconds.
struct Stream<'s> {
    host: &'s str,
    name: &'s str,
    is_snapshot: bool,
    is_batch: bool,
    mood: Mood,
    /// How many values there are.
    values: usize,
    /// The first version of the host's agent.
    version: &'s str,
    held: Rows,
    epoch: u64,
    epochs: u64,
    counter: Option<u64>,
}

impl Stream<'_> {
    fn lines(&self, second: i64, removed: &[(String, usize)], added: &[(String, usize)]) -> Vec<String> {
        let mut head = format!(
            r#"{{"name":"{}","hostIdentifier":"{}","unixTime":{second},"numerics":false,"#,
            self.name, self.host
        );
        if !self.is_snapshot {
            let _ = write!(head, r#""epoch":{},"counter":{},"#, self.epoch, self.counter.unwrap_or(0));
        }
        let each = |rows: &[(String, usize)]| -> Vec<String> {
            rows.iter().flat_map(|(row, count)| std::iter::repeat_n(row.clone(), *count)).collect()
        };
        let (removed, added) = (each(removed), each(added));
        if self.is_snapshot {
            return vec![format!(r#"{head}"snapshot":[{}],"action":"snapshot"}}"#, added.join(","))];
        }
        if self.is_batch {
            let (removed, added) = (removed.join(","), added.join(","));
            return vec![format!(r#"{head}"diffResults":{{"removed":[{removed}],"added":[{added}]}}}}"#)];
        }
        let line = |row: &String, action: &str| format!(r#"{head}"columns":{row},"action":"{action}"}}"#);
        let removed = removed.iter().map(|row| line(row, "removed"));
        removed.chain(added.iter().map(|row| line(row, "added"))).collect()
    }

    /// What is held from now on, and what left and came for it.
    fn change(&mut self, rng: &mut Rng, most: usize) -> (Rows, Rows) {
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        for _ in 0..rng.below(most + 1) {
            if !self.held.is_empty() {
                removed.push(self.held.remove(rng.below(self.held.len())));
            }
        }
        for _ in 0..rng.below(most + 1) {
            // A few values come once.
            let row = match rng.below(16) {
                0 if self.name.ends_with("users") => format!(r#"{{"uid":"9{}","username":"u"}}"#, rng.below(1000)),
                0 => format!(r#"{{"address":"10.9.{}.9","interface":"eth0"}}"#, rng.below(256)),
                _ => row(rng, self.name, self.values),
            };
            let new = (row, if rng.chance(8) { 2 } else { 1 });
            let is_there = |(other, _): &&(String, usize)| *other == new.0;
            // A row that leaves and comes back at once is seldom regular.
            if self.held.iter().any(|held| is_there(&held)) || removed.iter().find(is_there).is_some() && rng.chance(90)
            {
                continue;
            }
            added.push(new.clone());
            self.held.push(new);
        }
        (removed, added)
    }

    /// The next look.
    fn look(&mut self, rng: &mut Rng, second: i64) -> Look {
        if self.is_snapshot {
            self.change(rng, 1);
            return (second, self.lines(second, &[], &self.held));
        }
        let is_odd = rng.chance(15);
        let begins = match self.mood {
            _ if self.counter.is_none() => true,
            Mood::Epochs if rng.chance(30) => {
                let is_new = self.epochs < 2 || rng.chance(60);
                self.epochs += u64::from(is_new);
                self.epoch = if is_new { self.epochs } else { rng.below(self.epochs as usize + 1) as u64 };
                true
            }
            Mood::Agents => is_odd && self.version.starts_with('5'),
            _ if rng.chance(if self.mood == Mood::Broken { 12 } else { 7 }) => {
                self.epochs += 1;
                self.epoch = self.epochs;
                true
            }
            _ => false,
        };
        if self.name.ends_with("_events") {
            self.held = (0..rng.below(4)).map(|_| (row(rng, self.name, self.values), 1)).collect();
            self.counter = Some(self.counter.map_or(0, |counter| counter + 1));
            return (second, self.lines(second, &[], &self.held));
        }
        if begins {
            self.counter = Some(0);
            let most = if self.mood == Mood::Broken { rng.below(2) } else { 1 };
            self.change(rng, most);
            return (second, self.lines(second, &[], &self.held));
        }
        let is_lost = self.mood == Mood::Broken && rng.chance(12);
        if is_lost {
            self.change(rng, 1);
        }
        let step = match self.mood {
            Mood::Broken => 1 + u64::from(is_lost),
            Mood::Agents if is_odd => 2,
            Mood::Late => 1 - u64::from(rng.chance(2)),
            _ => 1,
        };
        self.counter = self.counter.map(|counter| counter + step);
        let most = usize::from(self.mood != Mood::Broken || rng.chance(60));
        let (mut removed, added) = self.change(rng, most);
        let has_two = |(row, count): &&mut (String, usize)| *count == 2 && added.iter().all(|(other, _)| other != row);
        if self.mood == Mood::Broken
            && rng.chance(15)
            && let Some((row, count)) = self.held.iter_mut().find(has_two)
        {
            *count = 1;
            removed.push((row.clone(), 1));
        }
        let lines = match removed.is_empty() && added.is_empty() && !self.is_batch {
            // Where rows are written line by line, a look without change is not written.
            true => {
                self.counter = self.counter.map(|counter| counter.saturating_sub(step));
                Vec::new()
            }
            false => self.lines(second, &removed, &added),
        };
        (second, lines)
    }
}

/// A scenario with breaks from a seed.
pub(crate) fn broken(seed: u64) -> Scenario {
    of_mood(Mood::Broken, seed).0
}

/// A scenario from a seed: imports of a few seconds each, and what is done to the store after each.
pub(crate) fn scenario(seed: u64) -> (Scenario, Vec<Upkeep>) {
    let moods = [Mood::Calm, Mood::Late, Mood::Broken, Mood::Agents, Mood::Epochs, Mood::Broken];
    of_mood(moods[seed as usize % moods.len()], seed)
}

fn of_mood(mood: Mood, seed: u64) -> (Scenario, Vec<Upkeep>) {
    let rng = &mut Rng::new(seed);
    let hosts = 1 + rng.below(HOSTS.len());
    let mut looks: Vec<Look> = Vec::new();
    for host in &HOSTS[..hosts] {
        let version = *rng.pick(&["5.22.1", "4.4.0"]);
        for name in STREAMS {
            if !rng.chance(55) {
                continue;
            }
            let mut kinds = vec![rng.chance(40)];
            if name.ends_with("_events") {
                kinds = vec![false];
            } else if rng.chance(8) {
                kinds = vec![true, false];
            }
            for is_snapshot in kinds {
                let mut stream = Stream {
                    host,
                    name,
                    is_snapshot,
                    is_batch: rng.chance(60),
                    mood,
                    values: 2 + rng.below(5),
                    version,
                    held: Vec::new(),
                    epoch: 0,
                    epochs: 0,
                    counter: None,
                };
                let mut second = START + if rng.chance(30) { rng.below(SECONDS as usize) as i64 } else { 0 };
                let rest = 1 + rng.below(3);
                let first = looks.len();
                while second < START + SECONDS {
                    // A clock that was set back.
                    let back = if mood == Mood::Broken && rng.chance(6) { 3 } else { 0 };
                    looks.push(stream.look(rng, second - back));
                    if mood == Mood::Broken && stream.is_batch && !is_snapshot && rng.chance(2) {
                        let fork = (row(rng, name, stream.values), 1);
                        looks.push((second, stream.lines(second, &[], &[fork])));
                    }
                    second += 1 + rng.below(rest) as i64;
                }
                // One is lost.
                if mood == Mood::Late && rng.chance(20) && looks.len() > first {
                    looks.remove(first + rng.below(looks.len() - first));
                }
            }
        }
        let versions = match mood {
            Mood::Agents => 1 + rng.below(2),
            _ => rng.below(2),
        };
        if versions > 0 {
            for of in 0..versions {
                let second = START + if of == 0 { rng.below(3) } else { rng.below(SECONDS as usize) } as i64;
                let version = match of {
                    0 => version,
                    // Mostly one that says the same.
                    _ => rng.pick(&["5.20.0", "4.4.1", "5.7.0", version, version]),
                };
                looks.push((second, vec![version_line(host, second, version)]));
            }
        }
    }
    // When each comes: mostly when it was.
    let mut came: Vec<(i64, Look)> = Vec::new();
    for look in looks {
        let lines = look.1.len();
        if mood == Mood::Late && lines > 1 && rng.chance(10) {
            // Some of it comes first, and all of it later.
            let some = look.1[..1 + rng.below(lines - 1)].to_vec();
            came.push((look.0, (look.0, some)));
            came.push((look.0 + 1 + rng.below(4) as i64, look));
        } else if mood == Mood::Late && rng.chance(5) {
            came.push((look.0 + 1 + rng.below(6) as i64, look.clone()));
            if rng.chance(30) {
                came.push((look.0, look));
            }
        } else {
            let is_note = look.1.first().is_some_and(|line| line.contains("severity"));
            came.push((look.0 + if is_note { rng.below(4) as i64 } else { 0 }, look));
        }
    }
    came.sort_by_key(|(came, look)| (*came, look.0));
    let (mut scenario, mut upkeep) = (Scenario::default(), Vec::new());
    let mut rest = &came[..];
    let mut until = START;
    while !rest.is_empty() {
        until += 1 + rng.below(4) as i64;
        let (now, later) = rest.split_at(rest.partition_point(|(came, _)| *came < until));
        rest = later;
        let mut import = Import::default();
        let bytes = now.iter().flat_map(|(_, look)| &look.1).fold(String::new(), |bytes, line| bytes + line + "\n");
        import.inputs.push((format!("at {until}"), bytes.into_bytes()));
        if mood == Mood::Agents && rng.chance(6) || mood == Mood::Broken && rng.chance(2) {
            import.agent_version = Some((*rng.pick(&["5.22.1", "4.4.0", "5.7.0"])).to_owned());
        }
        if mood == Mood::Calm && rng.chance(8) {
            let maps = ["pack_b_users\"\ntable = \"users", "pack_b_*\"\ntable = \"interface_addresses", "x"];
            import.map = Some(format!("[[stream]]\nname = \"{}\"\n", rng.pick(&maps)));
        }
        upkeep.push(match rng.below(10) {
            0 => Upkeep::Compact,
            1 if mood == Mood::Broken => Upkeep::Compact,
            1..=2 => Upkeep::Flush,
            _ if scenario.imports.is_empty() && rng.chance(70) => Upkeep::Compact,
            _ => Upkeep::Nothing,
        });
        scenario.imports.push(import);
    }
    // A version that is told alone, and other than before.
    if mood == Mood::Agents {
        for _ in 0..3 {
            let at = 1 + rng.below(scenario.imports.len());
            let (host, version) = (rng.pick(&HOSTS[..hosts]), rng.pick(&["5.7.0", "5.7.0", "4.4.1"]));
            let second = START + rng.below(SECONDS as usize / 2) as i64;
            let line = version_line(host, second, version) + "\n";
            let inputs = vec![("a version".to_owned(), line.into_bytes())];
            scenario.imports.insert(at, Import { inputs, ..Import::default() });
            upkeep.insert(at, Upkeep::Nothing);
        }
    }
    (scenario, upkeep)
}
