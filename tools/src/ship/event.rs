//! What happens that somebody may want to know.

use super::report::number;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Something that happened. The text is one line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The sink took us in.
    Opened {
        /// The greatest sequence that is in.
        greatest: u64,
        /// How many recorded batches are sent again.
        again: usize,
    },
    /// The sink is away; it is tried again.
    Away {
        /// What it said.
        why: String,
        /// When.
        wait: Duration,
    },
    /// A source is followed from now on.
    Follows {
        /// The log.
        source: PathBuf,
    },
    /// No file of a source is there, and none was before.
    Absent {
        /// The log.
        source: PathBuf,
    },
    /// Nothing fits a pattern.
    Unmatched {
        /// The pattern.
        pattern: String,
    },
    /// A packed file that was named and is no rotated one by its name: nothing of it is sent.
    LeftOut {
        /// The file.
        file: PathBuf,
        /// The log that it lies beside.
        source: PathBuf,
    },
    /// The log is another file than before: it was rotated.
    Rotated {
        /// The log.
        source: PathBuf,
    },
    /// The log was cut off or overwritten in place. What was unread is looked for in a copy.
    Truncated {
        /// The log.
        source: PathBuf,
        /// At least so many bytes were unread.
        unread: u64,
    },
    /// A rotated file was written to after its end had been sent; the rest comes after newer lines.
    Late {
        /// The log.
        source: PathBuf,
        /// The rotated file.
        file: PathBuf,
        /// So many bytes.
        bytes: u64,
    },
    /// A file of the log is gone of which all that had been seen was sent.
    Gone {
        /// The log.
        source: PathBuf,
    },
    /// Bytes that were never sent are gone.
    Lost {
        /// The log.
        source: PathBuf,
        /// At least so many bytes.
        bytes: u64,
        /// Which, and why.
        what: String,
    },
    /// A line was too long.
    Skipped {
        /// The log.
        source: PathBuf,
        /// Where it began in the source.
        offset: u64,
        /// How long it was.
        bytes: u64,
        /// The longest that is taken.
        bytes_max: u64,
    },
    /// The other side could not read lines and put them aside.
    DeadLetters {
        /// The batch.
        sequence: u64,
        /// How many.
        lines: u64,
    },
    /// A file cannot be read; it is tried again.
    Trouble {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Opened { greatest: 0, again: 0 } => f.write_str("connected; nothing was sent before"),
            Event::Opened { greatest, again: 0 } => write!(f, "connected; all up to batch {greatest} is in"),
            Event::Opened { greatest, again } => {
                let again = match again {
                    1 => "1 recorded batch is".to_owned(),
                    _ => format!("{again} recorded batches are"),
                };
                write!(f, "connected; all up to batch {greatest} is in; {again} sent again")
            }
            Event::Away { why, wait } => write!(f, "{why}; tried again in {:.1} s", wait.as_secs_f64()),
            Event::Follows { source } => write!(f, "{}: followed from now on", source.display()),
            Event::Absent { source } => {
                write!(f, "{}: there is no such file yet; it is followed once it is there", source.display())
            }
            Event::Unmatched { pattern } => {
                write!(f, "{pattern}: no file fits this pattern yet; those that come are followed")
            }
            Event::LeftOut { file, source } => write!(
                f,
                "{}: not shipped, since it is packed and by its name no rotated file of {}; give it to `erstwhile \
                 import`, or unpack it under a name of its own and name that",
                file.display(),
                source.display()
            ),
            Event::Rotated { source } => write!(f, "{}: rotated", source.display()),
            Event::Truncated { source, unread: 0 } => write!(
                f,
                "{}: cut off or overwritten; all that had been seen of it is sent; what was written to it since the \
                 last look is lost unless a copy of it turns up",
                source.display()
            ),
            Event::Truncated { source, unread } => write!(
                f,
                "{}: cut off or overwritten with {} unread; they are looked for in a copy",
                source.display(),
                number(*unread, "byte", "bytes")
            ),
            Event::Late { source, file, bytes } => write!(
                f,
                "{}: {} grew by {} after its end had been sent; they follow now",
                source.display(),
                file.display(),
                number(*bytes, "byte", "bytes")
            ),
            Event::Gone { source } => write!(
                f,
                "{}: a file of the log is gone; all that had been seen of it is sent, and what was written to it after \
                 that is lost",
                source.display()
            ),
            Event::Lost { source, bytes, what } => {
                let (bytes, were) = (number(*bytes, "byte", "bytes"), if *bytes == 1 { "was" } else { "were" });
                write!(f, "LOST: {}: at least {bytes} {were} never sent: {what}", source.display())
            }
            Event::Skipped { source, offset, bytes, bytes_max } => write!(
                f,
                "SKIPPED: {}: the line at offset {offset} has {bytes} bytes, more than the {bytes_max} that a batch can \
                 hold",
                source.display()
            ),
            Event::DeadLetters { sequence, lines } => {
                let (lines, aside) = match lines {
                    1 => ("1 line".to_owned(), "was put aside as a dead letter"),
                    _ => (format!("{lines} lines"), "were put aside as dead letters"),
                };
                write!(f, "{lines} of batch {sequence} could not be read and {aside}")
            }
            Event::Trouble { file, why } => write!(f, "{}: {why}; tried again", file.display()),
        }
    }
}
