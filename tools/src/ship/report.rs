//! How far behind a shipper is, and what it did: for a person's eye.

use std::fmt;
use std::path::PathBuf;

/// How far one source is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The log.
    pub source: PathBuf,
    /// Bytes that are not known to be in: unread ones, and those under way.
    pub bytes: u64,
    /// Some of the bytes are packed, so there are more of them.
    pub at_least: bool,
    /// No line that is not in is older: seconds since the log was last written to that was then sent to its end. `None`
    /// if it never was; 0 if nothing is missing.
    pub seconds: Option<u64>,
    /// What is missing is one line that has no end yet: no line feed follows it.
    pub is_open: bool,
}

/// `1 batch`, `2 batches`.
pub(super) fn number(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What a shipper did since it was started, and how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Of each source that is followed.
    pub lags: Vec<Lag>,
    /// The sequence of the next batch.
    pub next: u64,
    /// Batches that are not known to be in.
    pub under_way: usize,
    /// Batches that went in.
    pub batches: u64,
    /// Bytes of lines that went in.
    pub bytes: u64,
    /// Lines that the other side counted.
    pub lines: u64,
    /// Of these, lines that it could not read.
    pub dead_letters: u64,
    /// Lines that were too long.
    pub skipped_lines: u64,
    /// Bytes that were gone before they were sent.
    pub lost_bytes: u64,
    /// Why nothing goes in now.
    pub away: Option<String>,
}

/// How many sources are named.
const WORST: usize = 5;

impl Report {
    /// Bytes behind, over all sources.
    pub fn bytes_behind(&self) -> u64 {
        self.lags.iter().map(|lag| lag.bytes).sum()
    }

    /// The sources that are behind, the farthest first.
    pub fn worst(&self) -> Vec<&Lag> {
        let mut behind: Vec<&Lag> = self.lags.iter().filter(|lag| lag.bytes > 0).collect();
        behind.sort_by_key(|lag| (std::cmp::Reverse(lag.seconds.unwrap_or(u64::MAX)), std::cmp::Reverse(lag.bytes)));
        behind
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { lags, batches, bytes, lines, dead_letters, .. } = self;
        let sources = |count: usize| number(count as u64, "source", "sources");
        let (batches, lines) = (number(*batches, "batch", "batches"), number(*lines, "line", "lines"));
        write!(f, "{}; {batches}, {lines}, {} in", sources(lags.len()), number(*bytes, "byte", "bytes"))?;
        for (count, one, many) in [
            (*dead_letters, "dead letter", "dead letters"),
            (self.skipped_lines, "line SKIPPED", "lines SKIPPED"),
            (self.lost_bytes, "byte LOST", "bytes LOST"),
            (self.under_way as u64, "batch under way", "batches under way"),
        ] {
            if count > 0 {
                write!(f, ", {}", number(count, one, many))?;
            }
        }
        if let Some(why) = &self.away {
            write!(f, "; WAITING: {why}")?;
        }
        let worst = self.worst();
        if worst.is_empty() {
            return f.write_str("; nothing behind");
        }
        write!(f, "; {} behind in {}", number(self.bytes_behind(), "byte", "bytes"), sources(worst.len()))?;
        for lag in worst.iter().take(WORST) {
            write!(f, "\n  {lag}")?;
        }
        if worst.len() > WORST {
            write!(f, "\n  and {} more", worst.len() - WORST)?;
        }
        Ok(())
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = if self.at_least { "at least " } else { "" };
        write!(f, "{}: {least}{} behind", self.source.display(), number(self.bytes, "byte", "bytes"))?;
        match self.seconds {
            Some(seconds) => write!(f, ", {seconds} s")?,
            None => f.write_str(", since its beginning")?,
        }
        if self.is_open {
            f.write_str(": its last line has no line feed yet, so it is not sent")?;
        }
        Ok(())
    }
}
