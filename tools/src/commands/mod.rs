//! The commands: from arguments to questions to answers written.
//!
//! Invariants:
//! - What can be refused without a store is refused before one is opened.
//! - Results go to `out`, everything else to `err`.
//! - Nothing here knows how an answer is found: that is behind `Engine` and `Answers`.
//!
//! Steps: parse → check → ask → write.

// `state`.
mod state;

// `who`.
mod who;

// `what`.
mod what;

// `history`.
mod history;

// `diff`.
mod diff;

// `hosts`, `tables`, `coverage`.
mod list;

// `import`.
mod import;
pub use import::{ImportJob, Input};
pub use serve::ServeJob;
pub use ship::ShipJob;

// `fsck`.
mod fsck;

// `demo`.
mod demo;

// `serve`.
mod serve;

// `ship`.
mod ship;

// `backup`, `restore`, `compact`, `stats`.
mod operate;

// `completions`, `man`.
mod manual;

// Texts of arguments as names, times, conditions.
mod read;

// Questions that can hardly be meant.
mod doubts;

// Options that a command would not heed.
mod unheeded;

#[cfg(test)]
mod tests;

use crate::args::{Cli, ColorWhen, Command, InspectArgs, LogFormat, SimulateArgs};
use crate::connection::Source;
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::{self, Answer, Format, text};
use crate::operate::{Operation, Surface};
use crate::progress::Progress;
use crate::summary::ImportSummary;
use crate::when::{Reader, Zone};
use doubts::Asked;
use erstwhile_engine::catalogue::Catalogue;
use erstwhile_engine::check::fsck::{Options as FsckOptions, Report};
use erstwhile_engine::fact::{Micros, Name};
use erstwhile_engine::read::answer::{Diff, History, HostEntry, State, StreamEntry, TableEntry, What, Who};
use erstwhile_engine::read::question::{
    DiffQuestion, HistoryQuestion, ListQuestion, StateQuestion, WhatQuestion, WhoQuestion,
};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// A store that is open for questions.
pub trait Answers {
    /// The rows of a table at T.
    fn state(&self, question: &StateQuestion) -> Result<State, Failure>;
    /// Who had an address or a uid at T.
    fn who(&self, question: &WhoQuestion) -> Result<Who, Failure>;
    /// Which device was behind a path at T.
    fn what(&self, question: &WhatQuestion) -> Result<What, Failure>;
    /// The versions or events of a table.
    fn history(&self, question: &HistoryQuestion) -> Result<History, Failure>;
    /// What changed between two times.
    fn diff(&self, question: &DiffQuestion) -> Result<Diff, Failure>;
    /// The hosts.
    fn hosts(&self, question: &ListQuestion) -> Result<Vec<HostEntry>, Failure>;
    /// The tables.
    fn tables(&self, question: &ListQuestion) -> Result<Vec<TableEntry>, Failure>;
    /// The streams with their breaks.
    fn coverage(&self, question: &ListQuestion) -> Result<Vec<StreamEntry>, Failure>;
    /// The lines of a map that say that streams of a name are of a table.
    fn map_lines(&self, stream: &[u8], table: &[u8]) -> String;
    /// Whether anything is stored of a table.
    fn has_table(&self, table: &Name) -> Result<bool, Failure>;
    /// What is known of osquery's tables.
    fn catalogue(&self) -> Arc<Catalogue>;
}

/// What the commands stand on.
pub trait Engine {
    /// Opens a store that is there, or connects to a server that has it open.
    fn open(&self, source: &Source) -> Result<Box<dyn Answers + '_>, Failure>;
    /// Serves a store until it is told to stop; `err` is told once it listens.
    fn serve(&self, job: &ServeJob, err: &mut dyn Write) -> Result<(), Failure>;
    /// Follows logs and hands them to a server until it is told to stop; what happens is told line by line.
    fn ship(&self, job: &ShipJob, tell: &mut dyn FnMut(&str)) -> Result<(), Failure>;
    /// Imports into a store, which is made if it is not there.
    fn import(&self, store: &Path, job: &ImportJob, progress: &Progress) -> Result<ImportSummary, Failure>;
    /// Shows what files hold: all files of the store if none is named.
    fn inspect(
        &self,
        store: Option<&Path>,
        args: &InspectArgs,
        format: Format,
        out: &mut dyn Write,
    ) -> Result<(), Failure>;
    /// Checks whether a store is what was written.
    fn fsck(&self, store: &Path, options: &FsckOptions, progress: &Progress) -> Result<Report, Failure>;
    /// Does what operators do to a store.
    fn operate(&self, operation: &Operation<'_>, surface: &mut Surface<'_>) -> Result<Exit, Failure>;
    /// Makes a fleet's logs.
    fn simulate(
        &self,
        args: &SimulateArgs,
        format: LogFormat,
        progress: &Progress,
        out: &mut dyn Write,
    ) -> Result<(), Failure>;
}

/// What is around the command.
pub struct Surroundings<'a> {
    /// The time.
    pub now: Micros,
    /// Where results go.
    pub out: &'a mut dyn Write,
    /// Where everything else goes.
    pub err: &'a mut dyn Write,
    /// How wide the terminal is that results go to; `None` if it is none.
    pub width: Option<usize>,
    /// Whether results may be coloured if nothing else is said.
    pub color: bool,
    /// Whether a person looks at standard error.
    pub err_is_terminal: bool,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings")
            .field("now", &self.now)
            .field("width", &self.width)
            .field("color", &self.color)
            .field("err_is_terminal", &self.err_is_terminal)
            .finish_non_exhaustive()
    }
}

/// Runs one command line.
pub fn run(args: impl IntoIterator<Item = OsString>, engine: &dyn Engine, around: &mut Surroundings<'_>) -> Exit {
    let cli = match Cli::read(args) {
        Ok(cli) => cli,
        Err(error) => return refused(&error, around),
    };
    match Run::new(&cli, engine, around).and_then(Run::command) {
        Ok(exit) => exit,
        Err(failure) => ended(&failure, around),
    }
}

/// Says why it was not done.
fn ended(failure: &Failure, around: &mut Surroundings<'_>) -> Exit {
    if *failure != Failure::Closed {
        // If nobody hears it there is nobody to tell.
        let _ = writeln!(around.err, "erstwhile: {failure}");
    }
    failure.exit()
}

/// Help and the version are results; all else is a mistake in usage.
fn refused(error: &clap::Error, around: &mut Surroundings<'_>) -> Exit {
    let text = error.render();
    if error.use_stderr() {
        let _ = write!(around.err, "{text}");
        return Exit::Usage;
    }
    let told = if around.color { write!(around.out, "{}", text.ansi()) } else { write!(around.out, "{text}") };
    match told.and_then(|()| around.out.flush()).map_err(Failure::from) {
        Ok(()) => Exit::Done,
        Err(failure) => ended(&failure, around),
    }
}

/// One command on its way.
struct Run<'r, 'a> {
    cli: &'r Cli,
    engine: &'r dyn Engine,
    around: &'r mut Surroundings<'a>,
    reader: Reader,
}

impl<'r, 'a> Run<'r, 'a> {
    fn new(cli: &'r Cli, engine: &'r dyn Engine, around: &'r mut Surroundings<'a>) -> Result<Run<'r, 'a>, Failure> {
        let zone = match &cli.tz {
            Some(name) => Zone::named(name)?,
            None => Zone::utc(),
        };
        let reader = Reader { now: around.now, zone };
        Ok(Run { cli, engine, around, reader })
    }

    fn command(self) -> Result<Exit, Failure> {
        unheeded::refuse(self.cli)?;
        match &self.cli.command {
            Command::Import(args) => self.import(args),
            Command::State(args) => self.state(args),
            Command::Who(args) => self.who(&args.subject),
            Command::What(args) => self.what(&args.subject),
            Command::History(args) => self.history(args),
            Command::Diff(args) => self.diff(args),
            Command::Hosts(args) => self.hosts(args),
            Command::Tables(args) => self.tables(args),
            Command::Coverage(args) => self.coverage(args),
            Command::Inspect(args) => {
                let store = self.cli.store.as_deref();
                if args.files.is_empty() {
                    self.store()?;
                }
                let format = self.cli.format();
                if format == Format::Csv {
                    return Err(Failure::Usage("inspect writes text, json or ndjson, not csv".to_owned()));
                }
                let inspected = self.engine.inspect(store, args, format, self.around.out);
                // What was shown comes before what is said of it.
                self.around.out.flush()?;
                inspected.map(|()| Exit::Done)
            }
            Command::Fsck(args) => self.fsck(args),
            Command::Backup(args) => self.backup(args),
            Command::Restore(args) => self.restore(args),
            Command::Recover(args) => self.recover(args),
            Command::Compact(args) => self.compact(args),
            Command::Stats(args) => self.stats(args),
            Command::Completions(args) => self.completions(args),
            Command::Man(args) => self.man(args),
            Command::Serve(args) => self.serve(args),
            Command::Ship(args) => self.ship(args),
            Command::Simulate(args) => {
                let format = args.log_format().ok_or_else(|| {
                    Failure::Usage(format!(
                        "simulate writes logs: its --format is one of {}",
                        LogFormat::WORDS.join(", ")
                    ))
                })?;
                if !(args.days.is_finite() && args.days >= 0.0) {
                    return Err(Failure::Usage("--days is a number of days".to_owned()));
                }
                let progress = Progress::share(self.around.err_is_terminal);
                self.engine.simulate(args, format, &progress, self.around.out)?;
                drop(progress);
                self.around.out.flush()?;
                Ok(Exit::Done)
            }
            Command::Demo => self.demo(),
        }
    }

    /// The store's directory, which must be named.
    fn store(&self) -> Result<&'r Path, Failure> {
        self.cli
            .store
            .as_deref()
            .ok_or_else(|| Failure::Usage("which store? Give --store DIR or set ERSTWHILE_STORE".to_owned()))
    }

    /// Whether results are coloured.
    fn color(&self) -> bool {
        match self.cli.color {
            ColorWhen::Auto => self.around.color,
            ColorWhen::Always => true,
            ColorWhen::Never => false,
        }
    }

    /// Opens the store, asks, writes the answer, and says what is doubtful about the question.
    fn answer(
        self,
        asked: Asked<'_>,
        ask: impl FnOnce(&dyn Answers) -> Result<Answer, Failure>,
    ) -> Result<Exit, Failure> {
        let source = Source::find(self.cli)?;
        let answers = self.engine.open(&source)?;
        let answer = ask(&*answers)?;
        let view = text::View {
            color: self.color(),
            width: self.around.width,
            zone: self.reader.zone,
            suggest: &|stream, table| answers.map_lines(stream, table),
        };
        let format = self.cli.format();
        forms::write(&answer, format, &view, self.around.out)?;
        self.around.out.flush()?;
        if format == Format::Csv {
            let plain = text::View { color: false, ..view };
            text::write_rest(&answer, &plain, self.around.err)?;
        }
        for note in doubts::notes(asked, &answer, &*answers) {
            // If nobody hears it there is nobody to tell.
            let _ = writeln!(self.around.err, "note: {note}");
        }
        Ok(Exit::Done)
    }
}
