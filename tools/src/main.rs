//! The `erstwhile` command.

/// The engine behind the commands.
mod wired;

use erstwhile::commands::{Surroundings, run};
use std::io::{self, BufWriter, IsTerminal};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    let stdout = io::stdout();
    let color = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
    let mut surroundings = Surroundings {
        now,
        out: &mut BufWriter::with_capacity(64 * 1024, stdout.lock()),
        err: &mut io::stderr(),
        width: comfy_table::Table::new().width().map(usize::from),
        color,
        err_is_terminal: io::stderr().is_terminal(),
    };
    run(std::env::args_os(), &wired::Wired, &mut surroundings).into()
}
