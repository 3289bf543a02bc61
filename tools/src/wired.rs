//! The engine behind the commands: a directory as a store, errors as failures.

use crate::remote::{Remote, Remotes};
use crate::{serving, shipping};
use erstwhile::args::{InspectArgs, LogFormat, SimulateArgs, SyncMode as SyncArg};
use erstwhile::commands::{Answers, Engine, ImportJob, Input, ServeJob, ShipJob};
use erstwhile::connection::Source;
use erstwhile::exit::Exit;
use erstwhile::fail::Failure;
use erstwhile::forms::Format;
use erstwhile::forms::text::count;
use erstwhile::inspect;
use erstwhile::operate::{self, Operation, Surface};
use erstwhile::progress::Progress;
use erstwhile::simulate;
use erstwhile::summary::ImportSummary;
use erstwhile_engine::catalogue::{Catalogue, StreamMap, suggest};
use erstwhile_engine::check::fsck::{Options as FsckOptions, Report, fsck};
use erstwhile_engine::error::{Error, Misuse};
use erstwhile_engine::fact::{Micros, Name};
use erstwhile_engine::ingest::import::{ImportOptions, Imported, import};
use erstwhile_engine::io::{Clock, DiskStorage, Storage, SystemClock};
use erstwhile_engine::log::SyncMode;
use erstwhile_engine::options::Options;
use erstwhile_engine::read::answer::{Cost, Diff, History, HostEntry, State, StreamEntry, TableEntry, What, Who};
use erstwhile_engine::read::question::{
    DiffQuestion, HistoryQuestion, ListQuestion, StateQuestion, WhatQuestion, WhoQuestion,
};
use erstwhile_engine::read::view::View;
use erstwhile_engine::store::{Store, open_view};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The engine of this build.
pub(crate) struct Wired;

/// A store open for questions.
struct Opened {
    path: PathBuf,
    view: View,
}

impl Opened {
    fn ask<T>(&self, answer: Result<T, Error>) -> Result<T, Failure> {
        answer.map_err(|error| Failure::of_store(&self.path, &error))
    }
}

impl Answers for Opened {
    fn state(&self, question: &StateQuestion) -> Result<State, Failure> {
        self.ask(self.view.state(question))
    }

    fn who(&self, question: &WhoQuestion) -> Result<Who, Failure> {
        self.ask(self.view.who(question))
    }

    fn what(&self, question: &WhatQuestion) -> Result<What, Failure> {
        self.ask(self.view.what(question))
    }

    fn history(&self, question: &HistoryQuestion) -> Result<History, Failure> {
        self.ask(self.view.history(question))
    }

    fn diff(&self, question: &DiffQuestion) -> Result<Diff, Failure> {
        self.ask(self.view.diff(question))
    }

    fn hosts(&self, question: &ListQuestion) -> Result<Vec<HostEntry>, Failure> {
        self.ask(self.view.list_hosts(question))
    }

    fn tables(&self, question: &ListQuestion) -> Result<Vec<TableEntry>, Failure> {
        self.ask(self.view.list_tables(question))
    }

    fn coverage(&self, question: &ListQuestion) -> Result<Vec<StreamEntry>, Failure> {
        self.ask(self.view.list_streams(question))
    }

    fn map_lines(&self, stream: &[u8], table: &[u8]) -> String {
        suggest(stream, table)
    }

    fn has_table(&self, table: &Name) -> Result<bool, Failure> {
        self.ask(self.view.tables()).map(|tables| tables.contains(table))
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        let settings = self.view.settings(Micros::MAX, &mut Cost::default());
        settings.map_or_else(|_| Catalogue::shipped(), |settings| settings.catalogue.clone())
    }
}

/// A file that tells how much of it was read.
fn open_input(input: &Input) -> Result<(String, Box<dyn Read>), Failure> {
    match input {
        Input::Stdin => Ok(("-".to_owned(), Box::new(std::io::stdin()))),
        Input::File(path) => {
            let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
            // The same file by another path is the same source of dead letters.
            let name = path.canonicalize().unwrap_or_else(|_| path.clone());
            Ok((name.to_string_lossy().into_owned(), Box::new(file)))
        }
    }
}

fn import_options(job: &ImportJob) -> Result<ImportOptions, Failure> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| Failure::file(path, &error));
    let mut options = ImportOptions {
        agent_version: job.agent_version.clone(),
        recorded_at: job.recorded_at,
        hold: Some(job.hold),
        ..ImportOptions::default()
    };
    if let Some(path) = &job.map {
        let text = String::from_utf8(read(path)?)
            .map_err(|error| Failure::Usage(format!("{}: the map is not UTF-8: {error}", path.display())))?;
        let map = StreamMap::parse(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        options.map = Some(map);
    }
    if let Some(path) = &job.catalogue {
        let catalogue = Catalogue::from_osquery_schema(&read(path)?)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        options.catalogue = Some(catalogue);
    }
    Ok(options)
}

/// Who writes, for those who are refused meanwhile.
fn holder() -> String {
    format!("process {} (erstwhile import)", std::process::id())
}

/// Opens a directory for writing.
fn open_for_writing(path: &Path, options: Options) -> Result<(Store, Arc<dyn Clock>), Failure> {
    let storage = DiskStorage::open(path, true).map_err(|error| Failure::file(path, &error))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let store =
        Store::open(storage, clock.clone(), options, &holder()).map_err(|error| Failure::of_store(path, &error))?;
    Ok((store, clock))
}

/// Opens a directory for questions.
fn open_for_reading(path: &Path) -> Result<Opened, Failure> {
    let storage = DiskStorage::open(path, false).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::of_store(path, &Misuse::NoStore.into()),
        _ => Failure::file(path, &error),
    })?;
    let view =
        open_view(&storage, Options::default().cache_bytes_max).map_err(|error| Failure::of_store(path, &error))?;
    Ok(Opened { path: path.to_owned(), view })
}

/// What an import did, for people and programs.
fn summary(imported: &Imported, view: &View, bytes: u64, seconds: f64) -> Result<ImportSummary, Error> {
    let mut summary = ImportSummary {
        lines: imported.lines,
        looks: imported.looks,
        rows: imported.rows,
        status_lines: imported.status_lines,
        known_deliveries: imported.known_deliveries,
        forks: imported.forks,
        dead_letters: imported.dead_letters.clone(),
        bytes,
        seconds,
        recorded_at: imported.recorded,
        faults: imported.faults.iter().map(ToString::to_string).collect(),
        ..ImportSummary::default()
    };
    for (cause, count) in imported.touched.count_breaks(view)? {
        summary.breaks.insert(cause.word(), count);
    }
    if imported.map_changed {
        let note =
            "the map's tables and `removed` hold for looks recorded from now on; looks recorded before keep theirs";
        summary.notes.push(note.to_owned());
    }
    Ok(summary)
}

impl Engine for Wired {
    fn open(&self, source: &Source) -> Result<Box<dyn Answers + '_>, Failure> {
        Ok(match source {
            Source::Store(store) => Box::new(open_for_reading(store)?),
            Source::Server(server) => Box::new(Remote::open(server)?),
        })
    }

    fn ship(&self, job: &ShipJob, tell: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        shipping::ship(job, tell)
    }

    fn serve(&self, job: &ServeJob, to: &mut dyn Write) -> Result<(), Failure> {
        serving::serve(job, to)
    }

    fn import(&self, store: &Path, job: &ImportJob, progress: &Progress) -> Result<ImportSummary, Failure> {
        let options = import_options(job)?;
        let (logs, sync) = match job.sync {
            SyncArg::Sealed => (false, SyncMode::Always),
            SyncArg::Always => (true, SyncMode::Always),
            SyncArg::Interval => (true, SyncMode::Interval { millis: 1000 }),
            SyncArg::Never => (true, SyncMode::Never),
        };
        let inputs = job.inputs.iter().map(open_input).collect::<Result<Vec<_>, _>>()?;
        let (open, clock) = open_for_writing(store, Options { logs, sync, ..Options::bulk() })?;
        let begun = clock.monotonic_nanos();
        let mut bytes = 0;
        let imported = import(&open, &clock, inputs, &options, |name, more| {
            progress.say(name);
            progress.advance(more);
            bytes += more;
            if progress.is_at_end() {
                progress.end_with("writing what was read last");
            }
        })
        .map_err(|error| Failure::of_store(store, &error))?;
        progress.end_with("merging");
        open.compact_if_due().map_err(|error| Failure::of_store(store, &error))?;
        let seconds = (clock.monotonic_nanos() - begun) as f64 / 1e9;
        let summary =
            summary(&imported, &open.view(), bytes, seconds).map_err(|error| Failure::of_store(store, &error))?;
        open.close().map_err(|error| Failure::of_store(store, &error))?;
        Ok(summary)
    }

    fn inspect(
        &self,
        store: Option<&Path>,
        args: &InspectArgs,
        format: Format,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        inspect::run(store, args, format, out)
    }

    fn fsck(&self, store: &Path, options: &FsckOptions, progress: &Progress) -> Result<Report, Failure> {
        let storage = DiskStorage::open(store, false).map_err(|error| Failure::file(store, &error))?;
        fsck(&storage, &SystemClock::new(), options, progress).map_err(|error| Failure::of_store(store, &error))
    }

    fn operate(&self, operation: &Operation<'_>, surface: &mut Surface<'_>) -> Result<Exit, Failure> {
        operate::run(operation, &Remotes, surface)
    }

    fn simulate(
        &self,
        args: &SimulateArgs,
        format: LogFormat,
        progress: &Progress,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let format = match format {
            LogFormat::Event => simulate::Format::Event,
            LogFormat::Batch => simulate::Format::Batch,
            LogFormat::Snapshot => simulate::Format::Snapshot,
        };
        let options = simulate::Options {
            hosts: args.hosts,
            days: args.days,
            seed: args.seed,
            format,
            faults: args.faults == erstwhile::args::Faults::All,
            ..simulate::Options::default()
        };
        progress.lengthen(options.end() - options.start);
        let summary = simulate::run_watched(&options, &args.out, &mut |seconds| progress.advance(seconds))
            .map_err(|error| Failure::file(&args.out, &error))?;
        writeln!(
            out,
            "{} of {} in {}; the truth in {}",
            count(summary.lines, "line", "lines"),
            count(summary.hosts, "host", "hosts"),
            args.out.join("logs").display(),
            args.out.join("truth").display()
        )?;
        Ok(())
    }
}
