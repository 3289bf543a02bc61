//! `serve`.

use super::Run;
use crate::args::ServeArgs;
use crate::exit::Exit;
use crate::fail::Failure;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What is to be served, and where; what is not said here the configuration says, or its defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServeJob {
    /// The configuration.
    pub config: Option<PathBuf>,
    /// The store's directory.
    pub store: Option<PathBuf>,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Where metrics are.
    pub http: Option<SocketAddr>,
    /// Whether the configuration is only to be printed.
    pub print_config: bool,
    /// Whether it is only to be checked.
    pub check_config: bool,
}

impl Run<'_, '_> {
    pub(super) fn serve(self, args: &ServeArgs) -> Result<Exit, Failure> {
        let job = ServeJob {
            config: args.config.clone(),
            store: self.cli.store.clone(),
            listen: args.listen.clone(),
            http: args.http,
            print_config: args.print_config,
            check_config: args.check_config,
        };
        if job.config.is_none() && job.store.is_none() && !job.print_config {
            self.store()?;
        }
        let to: &mut dyn std::io::Write = if job.print_config { self.around.out } else { self.around.err };
        self.engine.serve(&job, to)?;
        self.around.out.flush()?;
        Ok(Exit::Done)
    }
}
