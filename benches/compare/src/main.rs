//! Compares erstwhile with SQLite, DuckDB, Parquet, PostgreSQL and ClickHouse on one fleet.
//!
//! Invariants:
//! - Every peer gets the same rows and the same questions, and every answer is compared with one that none of them gave.
//! - A peer that cannot run stands in the table with its reason.
//! - Only one peer runs at a time, each in a process of its own.
//!
//! Steps: [`log`](fleet::survey) → interval rows and questions for all of it, for its first part and for some of its
//! hosts → a [`worker`] for each peer, load and variant → [`report`].

// What peers are given: rows in files.
mod fleet;

// What they are asked, and the right answers.
mod question;

// What they answer.
mod answer;

// Who they are.
mod peer;
mod peers;

// How they are driven.
mod native;
mod sql;
mod worker;

// What comes out.
mod measure;
mod report;

mod args;
mod error;

use args::{Cli, CompareArgs, Form, Inner, SimulateArgs};
use clap::Parser;
use error::Result;
use fleet::Fleet;
use peer::{Kind, Source};
use question::{Asked, Draw};
use report::{Data, Report, Variant};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use worker::Outcome;

/// The command line's own allocator, so that what is measured is what people run.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ran = match &cli.inner {
        Some(Inner::Worker(arguments)) => worker::run(arguments).map(|()| true),
        Some(Inner::Simulate(arguments)) => simulate(arguments).map(|()| true),
        None => compare(&cli.options),
    };
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One agent version, the newest that the simulator knows: older ones write numbers as text, which is no news to a
/// comparison of stores.
fn simulate(arguments: &SimulateArgs) -> Result<()> {
    let SimulateArgs { hosts, days, seed, .. } = *arguments;
    let defaults = erstwhile::simulate::Options::default();
    let versions = defaults.versions.iter().max_by_key(|(version, _)| version_numbers(version)).cloned();
    let versions = versions.into_iter().collect();
    let options = erstwhile::simulate::Options { hosts, days, seed, versions, ..defaults };
    erstwhile::simulate::run(&options, &arguments.out)?;
    Ok(())
}

fn version_numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

fn say(what: &str) {
    eprintln!("compare: {what}");
}

/// Has another process simulate, and makes one log of it.
fn simulated(arguments: &CompareArgs, scratch: &Path) -> Result<PathBuf> {
    let out = scratch.join("fleet");
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("simulate").args(["--hosts", &arguments.hosts.to_string()]);
    command.args(["--days", &arguments.days.to_string(), "--seed", &arguments.seed.to_string()]).arg("--out").arg(&out);
    if !command.stdin(Stdio::null()).status()?.success() {
        return Err("the simulation failed".into());
    }
    fs::remove_dir_all(out.join("truth"))?;
    let mut logs = fs::read_dir(out.join("logs"))?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    logs.sort();
    match &*logs {
        [log] => Ok(log.clone()),
        _ => Err(format!("the simulation wrote {} logs", logs.len()).into()),
    }
}

/// A variant of the log, ready for workers.
struct Prepared {
    variant: Variant,
    fleet: Fleet,
    description: PathBuf,
    /// Sets of questions with their answers.
    ask: Vec<PathBuf>,
    directory: PathBuf,
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    serde_json::to_writer(&mut out, value)?;
    Ok(out.flush()?)
}

fn prepared(variant: Variant, fleet: Fleet, sets: &[Vec<Asked>], directory: PathBuf) -> Result<Prepared> {
    let description = directory.join("fleet.json");
    write_json(&description, &fleet)?;
    let mut ask = Vec::new();
    for (i, set) in sets.iter().enumerate() {
        let file = directory.join(format!("questions-{i}.json"));
        write_json(&file, set)?;
        ask.push(file);
    }
    Ok(Prepared { variant, fleet, description, ask, directory })
}

/// All variants: the whole log, and (for growth) its first part and some of its hosts.
fn prepare(arguments: &CompareArgs, log: &Path, scratch: &Path) -> Result<Vec<Prepared>> {
    say("reading the log");
    let survey = fleet::survey(log)?;
    let growth = i64::from(arguments.growth.max(1));
    let cut = survey.first + (survey.end - survey.first) / growth;
    let hosts: Vec<u32> = (0..survey.hosts.len() as u32).collect();
    let few: Vec<u32> = hosts.iter().copied().step_by(growth as usize).collect();
    let count = arguments.questions.max(1);
    let mut all = Draw::new(arguments.seed, count, &survey, hosts, survey.first..survey.end);
    let mut shared = Draw::new(arguments.seed + 1, count, &survey, few.clone(), survey.first..cut);
    say("making interval rows and questions");
    let directory = scratch.join("all");
    let fleet = fleet::intervals(log, &survey, &directory, |table, interval| {
        all.see(table, &interval);
        shared.see(table, &interval);
    })?;
    let mut questions = all.questions(&fleet);
    let shared = shared.questions(&fleet);
    let mut found = vec![(Variant::All, fleet, directory, Vec::new())];
    if growth > 1 {
        say("the same for less history and for fewer hosts");
        let few: Vec<&str> = few.iter().map(|&host| &*survey.hosts[host as usize]).collect();
        let of_few = |host: &[u8]| few.iter().any(|few| few.as_bytes() == host);
        for variant in [Variant::ShortHistory, Variant::FewHosts] {
            let directory = scratch.join(variant.key());
            fs::create_dir_all(&directory)?;
            let part = directory.join("events.jsonl");
            match variant {
                Variant::ShortHistory => fleet::cut(log, &part, |_, second| second < cut)?,
                _ => fleet::cut(log, &part, |host, _| of_few(host))?,
            }
            let fleet = fleet::intervals(&part, &survey, &directory, |_, _| {})?;
            found.push((variant, fleet, directory, Vec::new()));
        }
        for (_, fleet, _, answered) in &mut found {
            *answered = question::answered(fleet, shared.clone())?;
        }
        question::keep_what_does_not_grow(found.iter_mut().map(|(.., answered)| answered).collect());
    }
    let mut variants = Vec::new();
    for (variant, fleet, directory, shared) in found {
        let mut sets = Vec::new();
        if variant == Variant::All {
            sets.push(question::answered(&fleet, std::mem::take(&mut questions))?);
        }
        if growth > 1 {
            sets.push(shared);
        }
        variants.push(prepared(variant, fleet, &sets, directory)?);
    }
    Ok(variants)
}

/// Runs a worker; a failure is told in words.
fn work(
    arguments: &CompareArgs,
    kind: Kind,
    source: Source,
    on: &Prepared,
) -> Result<std::result::Result<Outcome, String>> {
    let directory = on.directory.join(kind.key());
    let out = on.directory.join("outcome.json");
    let _ = fs::remove_file(&out);
    let mut command = Command::new(std::env::current_exe()?);
    let key = |source| if source == Source::Json { "json" } else { "rows" };
    command.args(["worker", "--peer", kind.key(), "--source", key(source)]);
    command.arg("--fleet").arg(&on.description).arg("--directory").arg(&directory);
    command.arg("--libraries").arg(&arguments.libraries).arg("--out").arg(&out);
    command.args(["--timeout-seconds", &arguments.timeout_seconds.to_string()]);
    if let Some(version) = &arguments.agent_version {
        command.args(["--agent-version", version]);
    }
    if asks(kind) == source {
        for file in &on.ask {
            command.arg("--ask").arg(file);
        }
    }
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let outcome = match output.status.success() {
        true => Ok(serde_json::from_reader(File::open(&out)?)?),
        false => {
            let told = String::from_utf8_lossy(&output.stderr);
            let told = told.trim().rsplit('\n').find(|line| line.starts_with("compare: ")).map(str::to_owned);
            Err(told.map_or_else(|| output.status.to_string(), |line| line.replacen("compare: ", "", 1)))
        }
    };
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    Ok(outcome)
}

/// Which of a peer's two loads is asked the questions: erstwhile's from the log, which knows what only lines tell.
fn asks(kind: Kind) -> Source {
    if kind == Kind::Erstwhile { Source::Json } else { Source::Rows }
}

/// Whether all answers agree.
fn compare(arguments: &CompareArgs) -> Result<bool> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("compare");
    let scratch = match &arguments.scratch {
        Some(directory) => {
            fs::create_dir_all(directory)?;
            builder.tempdir_in(directory)?
        }
        None => builder.tempdir()?,
    };
    // A server that runs as another user must get through.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755))?;
    let scratch_path = scratch.path().canonicalize()?;
    let log = match &arguments.input {
        Some(log) => log.canonicalize().map_err(|error| format!("{}: {error}", log.display()))?,
        None => {
            say("simulating");
            simulated(arguments, &scratch_path)?
        }
    };
    let variants = prepare(arguments, &log, &scratch_path)?;
    let chosen = |kind: &Kind| arguments.only.is_empty() || arguments.only.contains(kind);
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(chosen).collect();
    let all = &variants[0].fleet;
    let data = match &arguments.input {
        Some(log) => log.file_name().map_or_else(|| "a log".into(), |name| name.to_string_lossy().into_owned()),
        None => format!("simulated: {} hosts, {} days, seed {}", arguments.hosts, arguments.days, arguments.seed),
    };
    let mut report = Report::new(Data::of(data, all, arguments.growth.max(1)), kinds.clone());
    for variant in &variants {
        report.changes(variant.variant, variant.fleet.changes);
        for &kind in &kinds {
            for source in [Source::Rows, Source::Json] {
                if source == Source::Json && arguments.skip_json && asks(kind) == Source::Rows {
                    continue;
                }
                let said = format!("{}: {}, {}", variant.variant.words(), kind.words(), worker::words(source));
                let cannot = (source == Source::Json).then(|| cannot_json(kind, &variant.fleet)).flatten();
                let outcome = match cannot {
                    Some(reason) => Err(reason),
                    None => work(arguments, kind, source, variant)?,
                };
                match &outcome {
                    Ok(outcome) => {
                        say(&format!("{said}: {:.2} s", outcome.load_seconds));
                        outcome.faults().for_each(|fault| say(&format!("{said}: {fault}")));
                    }
                    Err(reason) => say(&format!("{said}: {reason}")),
                }
                report.outcome(variant.variant, kind, source, outcome);
            }
        }
    }
    let text = match arguments.format {
        Form::Table => report.table(),
        Form::Json => serde_json::to_string_pretty(&report.json())? + "\n",
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(report.agrees())
}

/// Why the peers' SQL for JSON does not fit this log.
fn cannot_json(kind: Kind, fleet: &Fleet) -> Option<String> {
    if kind == Kind::Erstwhile {
        return None;
    }
    (!fleet.row_lines).then(|| "the log's lines are not of one row each".to_owned())
}
