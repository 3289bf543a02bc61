//! Time, CPU, memory and disk, as the operating system tells them.

use crate::error::Result;
use erstwhile_engine::io::{Clock, SystemClock};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

static CLOCK: LazyLock<SystemClock> = LazyLock::new(SystemClock::new);

/// Nanoseconds since some moment.
#[inline]
pub(crate) fn nanos() -> u64 {
    CLOCK.monotonic_nanos()
}

/// Fields 14 to 17 of a process's stat: user and system time of its own and of its children that ended, in ticks.
fn ticks(pid: &str) -> Option<(u32, [u64; 4])> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a file name in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
    Some((field(4)? as u32, [field(14)?, field(15)?, field(16)?, field(17)?]))
}

/// CPU seconds of this process, of a server that it started and of that server's own processes.
pub(crate) fn cpu_seconds(server: Option<u32>) -> f64 {
    /// `USER_HZ`, which is 100 on every Linux that matters here.
    const TICKS_PER_SECOND: f64 = 100.0;
    let own = ticks("self").map_or(0, |(_, times)| times[0] + times[1]);
    let of_server = server.map_or(0, |server| {
        let own = ticks(&server.to_string()).map_or(0, |(_, times)| times.iter().sum());
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let workers = processes.filter_map(|entry| ticks(entry.file_name().to_str()?));
        own + workers.filter(|(parent, _)| *parent == server).map(|(_, times)| times[0] + times[1]).sum::<u64>()
    });
    (own + of_server) as f64 / TICKS_PER_SECOND
}

/// The most memory that this process held, in bytes.
pub(crate) fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    kib.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// A clock for a load.
pub(crate) struct Watch {
    begun: u64,
    cpu: f64,
    server: Option<u32>,
}

impl Watch {
    pub(crate) fn start(server: Option<u32>) -> Watch {
        Watch { begun: nanos(), cpu: cpu_seconds(server), server }
    }

    pub(crate) fn stop(self) -> crate::peer::Loaded {
        let seconds = (nanos() - self.begun) as f64 / 1e9;
        crate::peer::Loaded { seconds, cpu_seconds: cpu_seconds(self.server) - self.cpu }
    }
}

/// The bytes of all files below a directory.
pub(crate) fn bytes_below(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// Of sorted numbers the one that `share` of them do not exceed.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0)
}

/// Cores and memory.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        kib.split_whitespace().next()?.parse::<f64>().ok()
    });
    let memory = memory.map_or("?".to_owned(), |kib| format!("{:.1}", kib / 1_048_576.0));
    format!("{cores} cores, {memory} GiB, {} {}", std::env::consts::OS, std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn a_percentile_is_the_least_that_its_share_does_not_exceed() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 0.50), percentile(&hundred, 0.99)), (50, 99));
        assert_eq!((percentile(&[7], 0.99), percentile(&[], 0.5)), (7, 0));
    }
}
