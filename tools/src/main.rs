//! The `erstwhile` command.

// The engine behind the commands.
mod wired;

// A server as a store.
mod remote;

// A store as a server.
mod serving;

// Logs to a server.
mod shipping;

use erstwhile::commands::{Surroundings, run};
use erstwhile_engine::io::{Clock, SystemClock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, BufWriter, IsTerminal};
use std::process::ExitCode;

/// Imports allocate a row on one thread and free it on another, all the time: the system's allocator gives such memory
/// back and takes it again, a tenth of the import's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes as many open files as the system gives: a merge holds all that it reads open, and a server each connection, where
/// many shells allow 1,024.
fn open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, whoever meets the limit says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn main() -> ExitCode {
    open_files();
    let stdout = io::stdout();
    let color = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
    let mut surroundings = Surroundings {
        now: SystemClock::new().now_micros(),
        out: &mut BufWriter::with_capacity(64 * 1024, stdout.lock()),
        err: &mut io::stderr(),
        width: comfy_table::Table::new().width().map(usize::from),
        color,
        err_is_terminal: io::stderr().is_terminal(),
    };
    run(std::env::args_os(), &wired::Wired, &mut surroundings).into()
}
