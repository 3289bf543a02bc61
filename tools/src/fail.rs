//! Why a command did not do what was asked, in words for standard error and as an exit code.

use crate::exit::Exit;
use crate::when::WhenError;
use crate::when::calendar::micros_text;
use erstwhile_engine::error::{Error, Misuse};
use std::fmt;
use std::io;
use std::path::Path;

/// Whose fault it is decides the kind; the text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What was asked makes no sense; asking differently helps.
    Usage(String),
    /// The world did not comply: a file is missing, a disk is full.
    Failed(String),
    /// Bytes of the store are wrong.
    Damage(String),
    /// Nobody reads the output any more; there is nothing to tell and no one to tell it to.
    Closed,
}

impl Failure {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Usage(_) => Exit::Usage,
            Failure::Failed(_) => Exit::Failed,
            Failure::Damage(_) => Exit::Damage,
            Failure::Closed => Exit::Done,
        }
    }

    /// An error of the engine, in words for people and with its exit code.
    pub fn of_store(store: &Path, error: &Error) -> Failure {
        let text = match error {
            Error::Misuse(Misuse::RecordedBack { at, last }) => {
                return Failure::Usage(format!(
                    "--recorded-at {}: the store's last commit was recorded at {}; give a later time, or none",
                    micros_text(*at),
                    micros_text(*last)
                ));
            }
            Error::Misuse(Misuse::NoGeneration { number: None }) => {
                return Failure::Usage(format!(
                    "{}: {error}; is the path right, and its disk mounted?",
                    store.display()
                ));
            }
            Error::Misuse(
                Misuse::Question(_) | Misuse::NotEmpty { .. } | Misuse::OtherStore | Misuse::NoGeneration { .. },
            ) => return Failure::Usage(format!("{}{error}", prefix(store, error))),
            Error::Misuse(Misuse::NoStore) => {
                return Failure::Failed(format!(
                    "{} holds no store; name one that does, or make one with `erstwhile import`",
                    store.display()
                ));
            }
            Error::Backup(_) => format!("{}: {error}", store.display()),
            _ => format!("store {}: {error}", store.display()),
        };
        match error {
            Error::Corrupt(_) | Error::Backup(_) => Failure::Damage(text),
            _ => Failure::Failed(text),
        }
    }

    /// A file that could not be used.
    pub fn file(path: &Path, error: &io::Error) -> Failure {
        Failure::Failed(format!("{}: {error}", path.display()))
    }
}

/// A directory that holds no store where one is to be looked at or mended.
pub(crate) fn no_store(path: &Path) -> Failure {
    let hint = "is the path right, and its disk mounted?";
    Failure::Failed(format!("{}: the directory holds no store; {hint}", path.display()))
}

/// What goes before an error of which the directory is to blame.
fn prefix(store: &Path, error: &Error) -> String {
    match error {
        Error::Misuse(Misuse::Question(_)) => String::new(),
        _ => format!("{}: ", store.display()),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) | Failure::Failed(text) | Failure::Damage(text) => f.write_str(text),
            Failure::Closed => f.write_str("nobody reads the output"),
        }
    }
}

impl std::error::Error for Failure {}

/// An error while writing output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Failed(format!("writing the output: {error}")),
        }
    }
}

impl From<WhenError> for Failure {
    fn from(error: WhenError) -> Failure {
        Failure::Usage(error.to_string())
    }
}
