//! Options of a store or a server that a command would not heed: they are refused, so that nobody takes them for heeded.
//!
//! Invariant: only what stands on the command line is refused. The environment says it to all commands, whomever it is for.

use crate::args::{Cli, Command};
use crate::fail::Failure;

/// Refuses what would have no effect.
pub(super) fn refuse(cli: &Cli) -> Result<(), Failure> {
    const DIRECTORY: &str = "it works on a store's directory, on the machine that has it: give --store DIR";
    let said = |is: fn(&str) -> bool| cli.said.iter().copied().find(|option| is(option));
    let (of_store, of_server) = (said(|option| option == "--store"), said(|option| option != "--store"));
    let (command, refused, why) = match &cli.command {
        Command::Import(_) => (
            "import",
            of_server,
            "it reads into a store's directory (--store DIR); `erstwhile ship` hands lines to a server",
        ),
        Command::Ship(_) => (
            "ship",
            of_store,
            "it hands lines to a server (--server ADDR); `erstwhile import` reads them into a store's directory",
        ),
        Command::Inspect(_) => ("inspect", of_server, DIRECTORY),
        Command::Fsck(_) => ("fsck", of_server, DIRECTORY),
        Command::Backup(_) => ("backup", of_server, DIRECTORY),
        Command::Recover(_) => ("recover", of_server, DIRECTORY),
        Command::Restore(_) => ("restore", of_server, "it makes a store's directory of a backup's (--from, --to)"),
        Command::Serve(_) => ("serve", of_server, "it is the server; where it listens is said by --listen ADDR"),
        Command::Simulate(_) => ("simulate", of_server, "it asks no server"),
        Command::Demo => ("demo", of_server, "it asks no server"),
        Command::Completions(_) => ("completions", of_server, "it asks no server"),
        Command::Man(_) => ("man", of_server, "it asks no server"),
        Command::State(_)
        | Command::Who(_)
        | Command::What(_)
        | Command::History(_)
        | Command::Diff(_)
        | Command::Hosts(_)
        | Command::Tables(_)
        | Command::Coverage(_)
        | Command::Compact(_)
        | Command::Stats(_) => return Ok(()),
    };
    match refused {
        None => Ok(()),
        Some(option) => Err(Failure::Usage(format!("{command} does not take {option}: {why}"))),
    }
}
