//! `ship`.

use super::Run;
use crate::args::{ShipArgs, ShipBegin};
use crate::connection::ToServer;
use crate::exit::Exit;
use crate::fail::Failure;
use std::ffi::OsString;
use std::path::PathBuf;

/// What is to be shipped, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShipJob {
    /// The server.
    pub server: ToServer,
    /// Logs, by path or by pattern.
    pub files: Vec<OsString>,
    /// Where the place is kept.
    pub state: PathBuf,
    /// Whether a new log begins with its oldest rotated file.
    pub from_oldest: bool,
    /// Whether to end once everything is in.
    pub once: bool,
    /// Seconds between reports; 0: only at the end.
    pub report_seconds: u64,
}

impl Run<'_, '_> {
    pub(super) fn ship(self, args: &ShipArgs) -> Result<Exit, Failure> {
        let server = ToServer::find(&self.cli.server, |name| std::env::var(name).ok())?
            .ok_or_else(|| Failure::Usage("which server? Give --server ADDR or set ERSTWHILE_SERVER".to_owned()))?;
        let job = ShipJob {
            server,
            files: args.files.clone(),
            state: args.state.clone(),
            from_oldest: args.begin == ShipBegin::Oldest,
            once: args.once,
            report_seconds: args.report_seconds,
        };
        let err = &mut *self.around.err;
        self.engine.ship(&job, &mut |line| {
            // Who does not listen is served all the same.
            let _ = writeln!(err, "{line}");
        })?;
        Ok(Exit::Done)
    }
}
