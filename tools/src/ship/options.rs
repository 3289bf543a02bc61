//! What may be chosen.

use std::time::Duration;

/// Where a source begins that was never followed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the oldest rotated file that lies there.
    Oldest,
    /// With the file that is written now, from its first byte.
    Live,
}

/// What may be chosen; the defaults suit a host as well as a log host.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where a new source begins.
    pub begin: Begin,
    /// A batch is cut once so many bytes wait,
    pub batch_bytes: u64,
    /// or the first of them has waited so long.
    pub batch_wait: Duration,
    /// How many batches may be under way; so many are held in memory, and one more is being cut.
    pub in_flight_max: usize,
    /// A longer line is skipped, counted and told.
    pub line_bytes_max: u64,
    /// Between two looks at the files when something happens,
    pub poll: Duration,
    /// and when nothing has happened for long.
    pub poll_idle: Duration,
    /// Between two searches for new files when no file says that there are any.
    pub scan: Duration,
    /// An unknown file that is no log's own has to stand still for so long before it is taken: it may be a copy in the
    /// making.
    pub settle: Duration,
    /// How long a rotated file may still be written to before its end is believed.
    pub linger: Duration,
    /// How long a file is searched for before what was unread of it is given up as lost.
    pub missing: Duration,
    /// The shortest and the longest wait after a sink was away.
    pub retry: (Duration, Duration),
    /// How many files are kept open; with more sources they are opened for each look, and a file that is deleted before
    /// it was read is lost.
    pub open_files_max: usize,
    /// How many packed files are unpacked at the same time.
    pub unpack_max: usize,
    /// A source whose files are all gone is forgotten after so long.
    pub forget: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            begin: Begin::Oldest,
            batch_bytes: 4 << 20,
            batch_wait: Duration::from_millis(100),
            in_flight_max: 4,
            line_bytes_max: 64 << 20,
            poll: Duration::from_millis(250),
            poll_idle: Duration::from_secs(1),
            scan: Duration::from_secs(10),
            settle: Duration::from_secs(1),
            linger: Duration::from_secs(2),
            missing: Duration::from_secs(3),
            retry: (Duration::from_millis(250), Duration::from_secs(60)),
            open_files_max: 512,
            unpack_max: 4,
            forget: Duration::from_secs(30 * 86_400),
        }
    }
}
