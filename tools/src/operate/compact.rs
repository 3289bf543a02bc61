//! `compact`.
//!
//! Steps: plan beside whoever writes → show it → open the store to write → merge step by step, until nothing is left, a
//! signal comes or time is over.

use super::{Compaction, Servers, Surface, clock, directory, holder};
use crate::connection::ToServer;
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::Format;
use crate::forms::json::Json;
use crate::forms::text::count;
use crate::progress::Progress;
use crate::summary::bytes_text;
use erstwhile_engine::compaction::pace::Pace;
use erstwhile_engine::compaction::plan::{Extent, Step};
use erstwhile_engine::error::{Error, Misuse};
use erstwhile_engine::io::{Clock, DiskStorage};
use erstwhile_engine::options::Options;
use erstwhile_engine::read::stats::{Stats, StatsQuestion};
use erstwhile_engine::store::{Store, open_view, plan_of};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often it is looked whether to stop, and how far it is.
const LOOK: Duration = Duration::from_millis(100);

/// What was done.
struct Done {
    planned: Vec<Step>,
    steps: usize,
    stopped: Option<&'static str>,
    /// How many segments there were and are, and their bytes.
    before: (usize, u64),
    after: (usize, u64),
    seconds: f64,
}

impl Done {
    /// What a server would do: it merges all at once, and the one that is left only if it was never merged.
    fn of_server(weighed: &Stats) -> Done {
        let (segments, bytes) = (weighed.segments as usize, weighed.segment_bytes);
        let step = Step { segments, copies: weighed.rows, read_bytes: bytes, written_bytes: bytes };
        let planned = if segments > 1 || weighed.unpacked_segments > 0 { vec![step] } else { Vec::new() };
        let (before, after) = ((segments, bytes), (segments, bytes));
        Done { planned, steps: 0, stopped: None, before, after, seconds: 0.0 }
    }
}

/// Has a server merge everything, or tells what that would read.
pub(super) fn ask(
    to: &ToServer,
    dry_run: bool,
    servers: &dyn Servers,
    surface: &mut Surface<'_>,
) -> Result<(), Failure> {
    if dry_run {
        let weighed = servers.weigh(to, &StatsQuestion::default())?;
        let done = Done::of_server(&weighed);
        match surface.format {
            Format::Json => json(&done, true, surface)?,
            _ => plan_text(&done, weighed.memtable_bytes, surface)?,
        }
        return Ok(());
    }
    servers.compact(to)?;
    match surface.format {
        Format::Json => writeln!(surface.out, "{{\"server\":true}}")?,
        _ => writeln!(surface.out, "the server {} has merged its segments", to.address)?,
    }
    Ok(())
}

pub(super) fn run(path: &Path, how: Compaction, surface: &mut Surface<'_>) -> Result<Exit, Failure> {
    let extent = if how.unpacked_only { Extent::Unpacked } else { Extent::All };
    let failure = |error: Error| Failure::of_store(path, &error);
    let pace = Pace::new(how.io_bytes_per_second_max);
    let options = Options { background: false, keeps_whole: false, pace: pace.clone(), ..Options::default() };
    let storage = directory(path)?;
    let view = open_view(&storage, options.cache_bytes_max).map_err(failure)?;
    let planned = plan_of(&view, extent, options.merge_fanout).map_err(failure)?;
    let of = |segments: &[Arc<erstwhile_engine::segment::Segment>]| {
        (segments.len(), segments.iter().map(|segment| segment.bytes()).sum())
    };
    let (before, in_memory) = (of(view.segments()), view.memtable_bytes() as u64);
    drop(view);
    let mut done = Done { planned, steps: 0, stopped: None, before, after: before, seconds: 0.0 };
    if surface.format == Format::Text {
        plan_text(&done, in_memory, surface)?;
        surface.out.flush()?;
    }
    if !how.dry_run && (!done.planned.is_empty() || in_memory > 0) {
        let clock = Arc::new(clock());
        let store = Store::open(Arc::<DiskStorage>::new(storage), clock.clone(), options, &holder("compact"))
            .map_err(failure)?;
        let begun = clock.monotonic_nanos();
        let stops = signals()?;
        let deadline = how.seconds_max.map(|seconds| begun.saturating_add(seconds.saturating_mul(1_000_000_000)));
        let progress = surface.progress();
        progress.lengthen(done.planned.iter().map(|step| step.read_bytes + step.written_bytes).sum());
        done.steps = watched(&pace, &stops, deadline, &*clock, &progress, || steps(&store, extent)).map_err(failure)?;
        drop(progress);
        if pace.is_stopped() {
            let by_signal = stops.load(Ordering::Relaxed);
            done.stopped = Some(if by_signal { "signal" } else { "time limit" });
        }
        done.seconds = (clock.monotonic_nanos() - begun) as f64 / 1e9;
        done.after = of(store.view().segments());
        store.close().map_err(failure)?;
    }
    match surface.format {
        Format::Json => json(&done, how.dry_run, surface)?,
        _ if how.dry_run => {}
        _ => done_text(&done, surface)?,
    }
    if let Some(why) = done.stopped {
        let left = done.planned.len().saturating_sub(done.steps);
        writeln!(
            surface.err,
            "erstwhile: stopped by a {why} with about {} left; the store is whole, and the next run goes on from there",
            count(left as u64, "step", "steps")
        )?;
        return Ok(Exit::Incomplete);
    }
    Ok(Exit::Done)
}

/// Merges until nothing is left or it is stopped; tells how many merges were done.
fn steps(store: &Store, extent: Extent) -> Result<usize, Error> {
    let mut done = 0;
    loop {
        match store.compact_step(extent) {
            Ok(true) => done += 1,
            Ok(false) | Err(Error::Misuse(Misuse::Stopped)) => return Ok(done),
            Err(error) => return Err(error),
        }
    }
}

/// Set once somebody wants it to end.
fn signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|error| Failure::Failed(format!("signals cannot be heard: {error}")))?;
    }
    Ok(stop)
}

/// Works, and beside it shows how far it is and stops it when that is wanted.
fn watched<T>(
    pace: &Pace,
    stops: &AtomicBool,
    deadline: Option<u64>,
    clock: &dyn Clock,
    progress: &Progress,
    work: impl FnOnce() -> T,
) -> T {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut shown = 0;
            while !is_done.load(Ordering::Acquire) {
                if stops.load(Ordering::Relaxed) || deadline.is_some_and(|deadline| clock.monotonic_nanos() >= deadline)
                {
                    pace.stop();
                }
                let moved = pace.moved_bytes();
                progress.advance(moved - shown);
                shown = moved;
                std::thread::park_timeout(LOOK);
            }
        });
        let worked = work();
        is_done.store(true, Ordering::Release);
        watcher.thread().unpark();
        worked
    })
}

fn plan_text(done: &Done, in_memory: u64, surface: &mut Surface<'_>) -> io::Result<()> {
    if in_memory > 0 {
        writeln!(surface.out, "what is in logs only becomes a segment first")?;
    }
    let (segments, bytes) = done.before;
    let segments = count(segments as u64, "segment", "segments");
    if done.planned.is_empty() {
        return writeln!(surface.out, "nothing to merge: {segments}, {}", bytes_text(bytes));
    }
    let steps = count(done.planned.len() as u64, "step", "steps");
    writeln!(surface.out, "plan: {segments} ({}), {steps}", bytes_text(bytes))?;
    for (at, step) in (1..).zip(&done.planned) {
        writeln!(
            surface.out,
            "  {at}. {}, {}: reads {}, writes at most about {}",
            count(step.segments as u64, "segment", "segments"),
            count(step.copies, "row", "rows"),
            bytes_text(step.read_bytes),
            bytes_text(step.written_bytes)
        )?;
    }
    Ok(())
}

fn done_text(done: &Done, surface: &mut Surface<'_>) -> io::Result<()> {
    let of = |(segments, bytes): (usize, u64)| {
        format!("{} ({})", count(segments as u64, "segment", "segments"), bytes_text(bytes))
    };
    if done.steps == 0 && done.before == done.after {
        return Ok(());
    }
    writeln!(surface.out, "{} became {} in {:.1} s", of(done.before), of(done.after), done.seconds)
}

fn json(done: &Done, dry_run: bool, surface: &mut Surface<'_>) -> io::Result<()> {
    let mut json = Json::new(surface.out);
    json.open(b'{');
    json.bool("dry_run", dry_run);
    json.key("plan");
    json.open(b'[');
    for step in &done.planned {
        json.entry();
        json.number("segments", step.segments as u64);
        json.number("rows", step.copies);
        json.number("read_bytes", step.read_bytes);
        json.number("written_bytes_expected", step.written_bytes);
        json.close(b'}');
    }
    json.close(b']');
    json.number("steps_done", done.steps as u64);
    match done.stopped {
        Some(why) => json.text("stopped", why.as_bytes()),
        None => json.null("stopped"),
    }
    for (key, number) in [
        ("segments_before", done.before.0 as u64),
        ("bytes_before", done.before.1),
        ("segments_after", done.after.0 as u64),
        ("bytes_after", done.after.1),
    ] {
        json.number(key, number);
    }
    json.key("seconds");
    json.value(format_args!("{:.3}", done.seconds));
    json.close(b'}');
    json.line()?;
    json.flush()
}
