//! How a command ends, for scripts.

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// It could not be done.
    Failed = 1,
    /// What was asked makes no sense.
    Usage = 2,
    /// Done, but something was left aside: dead letters on import, losses on a repair.
    Incomplete = 3,
    /// Damage was found.
    Damage = 4,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}
