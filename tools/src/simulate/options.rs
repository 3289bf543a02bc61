//! What a simulation is asked for.

/// How the agents of the fleet write their results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One line per changed row.
    Event,
    /// One line per run, with the rows it removed and added.
    Batch,
    /// One line per run, with all rows. Event tables are still written a line per row.
    Snapshot,
}

/// What to simulate. Equal options give equal bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many machines.
    pub hosts: u32,
    /// How long, in days; fractions are allowed.
    pub days: f64,
    /// What decides all chance.
    pub seed: u64,
    /// How results are written.
    pub format: Format,
    /// Whether anything goes wrong. Without faults every clock is right and every line arrives once, whole and in time.
    pub faults: bool,
    /// The first second, by the true clock.
    pub start: u64,
    /// Seconds between two runs of a frequent query; in snapshot format six times as long.
    pub poll_seconds: u32,
    /// How many polls pass between two runs of the slowest queries (packages, operating system).
    pub slow_polls: u32,
    /// How often leases, users, sticks, ports, sessions, packages and agents change; 1 is an office.
    pub churn: f64,
    /// Mean seconds between two new processes of one host in office hours.
    pub process_seconds: f64,
    /// Daemons and kernel threads of a host; 0 to about 60.
    pub daemons: u32,
    /// Packages of an image.
    pub packages: u32,
    /// How dense the faults are. 1 is a fleet with bad luck now and then; where hosts and days are few, so much more
    /// that most kinds occur all the same.
    pub fault_rate: f64,
    /// Also losses that no consumer can notice: a crash before the counter is stored, part of a look, and any fault
    /// of agents older than 4.5 that leaves no trace in their counters.
    pub silent_losses: bool,
    /// Agent versions and their weights.
    pub versions: Vec<(String, u32)>,
    /// Whether agents name themselves by their hostnames only, not also by UUIDs.
    pub hostnames: bool,
    /// Tables whose queries are scheduled as snapshots, every sixth poll, whatever the format; without faults.
    pub snapshots: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        let versions = [
            ("2.10.2", 2),
            ("3.4.0", 3),
            ("4.4.0", 4),
            ("4.6.0", 5),
            ("5.7.0", 12),
            ("5.8.1", 4),
            ("5.10.2", 20),
            ("5.19.0", 24),
            ("5.22.1", 26),
        ];
        Options {
            hosts: 50,
            days: 2.0,
            seed: 1,
            format: Format::Event,
            faults: false,
            start: 1_772_409_600,
            poll_seconds: 600,
            slow_polls: 144,
            churn: 1.0,
            process_seconds: 120.0,
            daemons: 40,
            packages: 320,
            fault_rate: 1.0,
            silent_losses: false,
            versions: versions.map(|(version, weight)| (version.to_owned(), weight)).into(),
            hostnames: false,
            snapshots: Vec::new(),
        }
    }
}

impl Options {
    /// A small fleet where much goes wrong in a few hours: few rows, many changes, dense faults. For tests.
    pub fn nasty(seed: u64, format: Format) -> Options {
        Options {
            hosts: 5,
            days: 0.3,
            seed,
            format,
            faults: true,
            start: 1_772_409_600 + 9 * 3600,
            poll_seconds: 240,
            slow_polls: 8,
            churn: 25.0,
            process_seconds: 300.0,
            daemons: 5,
            packages: 10,
            fault_rate: 1.5,
            versions: Options::default().versions.into_iter().map(|(version, _)| (version, 1)).collect(),
            ..Options::default()
        }
    }

    /// The second at which the simulation ends, exclusive.
    pub fn end(&self) -> u64 {
        self.start + (self.days.clamp(0.0, 36_500.0) * 86_400.0) as u64
    }

    /// How much denser than [`Options::fault_rate`] 1 in a large fleet the faults of a host are.
    pub(super) fn host_rate(&self) -> f64 {
        self.fault_rate * (60.0 / (f64::from(self.hosts) * self.days).max(1.0)).max(1.0)
    }

    /// The same for the faults of the relay.
    pub(super) fn relay_rate(&self) -> f64 {
        self.fault_rate * (3.0 / self.days.max(0.3)).max(1.0)
    }

    /// Whether the second falls into the hours when people work.
    pub(crate) fn office_hours(second: u64) -> bool {
        let hour = second / 3600 % 24;
        let weekday = second / 86_400 % 7; // 1970-01-01 was a Thursday, so 2 and 3 are the weekend.
        (7..18).contains(&hour) && !(2..4).contains(&weekday)
    }
}
