//! What a server gives over loopback, client and server together on one machine: what one client waits for, what many
//! questions at once give, how fast rows become durable, and what idle connections take.
//!
//! Invariants:
//! - The server is a process of its own, so that its memory is its own.
//! - Keys are drawn from the store itself, and every answer is looked at: one that has no row where there must be one ends the run.
//! - The bare echo beside which latencies stand is measured in the same run, by the same client, with frames as long.
//!
//! A question takes two wakings of a sleeping core, or none, as it happens, and so does an echo: on one core (`taskset -c 1`)
//! nobody sleeps, and what is left is the work.
//!
//! `load DIR [LOG]`: the store is served as it is and not changed; if a log is given, its lines are appended to a new store
//! beside it. `load DIR LOG appends` does that alone; with a version behind it, status lines tell first that all hosts run it.
//! `load DIR LOG asked ROWS_PER_SECOND [VERSION]` only asks while a new store is written to that fast.

#![expect(clippy::disallowed_methods, reason = "what is measured is the real time")]

use erstwhile_client::{Chunk, Client, Connect, Incoming, Question, Request, Terms, TlsOptions};
use erstwhile_engine::fact::{Name, Second};
use erstwhile_engine::read::question::{ListQuestion, StateQuestion, Subject, WhoQuestion};
use erstwhile_server::config::Config;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// As the command has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Questions of each kind.
const TIMES: usize = 5000;
/// Requests under way at once.
const PIPELINED: usize = 64;
/// Idle connections.
const IDLE: usize = 10_000;
/// Bytes of lines in a batch.
const BATCH_BYTES: usize = 4 << 20;
/// Batches under way at once.
const BATCHES: usize = 4;

/// A server of its own process.
struct Served {
    child: Child,
    plain: String,
    tls: String,
    token: String,
    ca: PathBuf,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves a store, as the child that [`start`] makes.
fn serve(store: &Path, tls: bool) -> Outcome<()> {
    let mut config =
        Config { store: store.to_owned(), listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))], ..Config::default() };
    config.tls.loopback = tls;
    config.limits.request_bytes_max = 16 << 20;
    erstwhile_server::serve::run(config, |ready| {
        println!("{}", ready.listening[0].0);
    })?;
    Ok(())
}

fn start_one(store: &Path, tls: bool) -> Outcome<(Child, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(if tls { "--serve-tls" } else { "--serve" }).arg(store).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    Ok((child, line.trim().to_owned()))
}

fn start(store: &Path, with_tls: bool) -> Outcome<Served> {
    let (child, address) = start_one(store, with_tls)?;
    let token = std::fs::read_to_string(store.join("server/admin.token"))?.trim().to_owned();
    let ca = store.join("server/certificate.pem");
    let (plain, tls) = if with_tls { (String::new(), address) } else { (address, String::new()) };
    Ok(Served { child, plain, tls, token, ca })
}

impl Served {
    fn connect(&self) -> Outcome<Client> {
        let mut to = Connect::to(if self.plain.is_empty() { &self.tls } else { &self.plain }).token(&self.token);
        if self.plain.is_empty() {
            to.tls = Some(TlsOptions { ca: self.ca.clone(), ..TlsOptions::default() });
        }
        Ok(Client::connect(&to)?)
    }

    /// Memory that is no file's, in MiB.
    fn own_mebibytes(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("the system does not tell")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<f64>()? / 1024.0)
    }
}

/// Draws numbers that are the same for the same seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % end.max(1)
    }
}

/// What questions are made of.
struct Drawn {
    hosts: Vec<Name>,
    addresses: Vec<(Name, Second)>,
    span: (Second, Second),
}

fn state(table: &str, at: Second, host: &Name) -> StateQuestion {
    let table = Name::from(table.as_bytes());
    StateQuestion { table, at, host: Some(host.clone()), stream: None, wheres: Vec::new(), known_at: None }
}

fn who(address: &Name, at: Second) -> WhoQuestion {
    WhoQuestion { subject: Subject::Ip(address.clone()), at, host: None, known_at: None }
}

fn drawn(client: &mut Client) -> Outcome<Drawn> {
    let hosts = client.hosts(&ListQuestion::default())?;
    let first = hosts.iter().map(|host| host.first).max().ok_or("no hosts")?;
    let last = hosts.iter().map(|host| host.last).min().ok_or("no hosts")?;
    let span = (first + (last - first) / 10, last - (last - first) / 10);
    let hosts: Vec<Name> = hosts.into_iter().map(|host| host.host).collect();
    let (mut draw, mut addresses) = (Draw(1), Vec::new());
    while addresses.len() < 1000 {
        let at = span.0 + draw.below((span.1 - span.0) as usize) as Second;
        let host = &hosts[draw.below(hosts.len())];
        for held in client.state(&state("interface_addresses", at, host))?.rows {
            if let Some(address) = held.version.row.get(b"address").filter(|text| text.starts_with(b"10.")) {
                addresses.push((Name::from(address), at));
            }
        }
    }
    Ok(Drawn { hosts, addresses, span })
}

/// Prints the median and the 99th percentile of what each of some took.
fn tell(name: &str, mut micros: Vec<f64>) -> f64 {
    micros.sort_by(f64::total_cmp);
    let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
    println!("{name:<52} p50 {:>9.1} µs   p99 {:>9.1} µs", at(0.5), at(0.99));
    at(0.5)
}

fn timed(times: usize, mut ask: impl FnMut(usize) -> Outcome<()>) -> Outcome<Vec<f64>> {
    let mut micros = Vec::with_capacity(times);
    for round in 0..times + times / 10 {
        let began = Instant::now();
        ask(round)?;
        if round >= times / 10 {
            micros.push(began.elapsed().as_nanos() as f64 / 1e3);
        }
    }
    Ok(micros)
}

/// A frame of so many bytes there and so many back, with nothing in between.
struct Echo {
    stream: TcpStream,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Echo {
    fn new(there: usize, back: usize) -> Outcome<Echo> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || -> std::io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            let (mut incoming, outgoing) = (vec![0; there], vec![0; back]);
            loop {
                stream.read_exact(&mut incoming)?;
                stream.write_all(&outgoing)?;
            }
        });
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Echo { stream, outgoing: vec![0; there], incoming: vec![0; back] })
    }

    fn once(&mut self) -> Outcome<()> {
        self.stream.write_all(&self.outgoing)?;
        self.stream.read_exact(&mut self.incoming)?;
        Ok(())
    }
}

/// How often one thing is done before the other.
const IN_A_ROW: usize = 50;

/// Times an echo and a question in turns, so that both meet the same moods of the machine; prints both and how far apart they are.
fn tell_beside(name: &str, (there, back): (usize, usize), mut ask: impl FnMut(usize) -> Outcome<()>) -> Outcome<()> {
    let mut echo = Echo::new(there, back)?;
    let (mut bare, mut asked) = (Vec::new(), Vec::new());
    for turn in 0..TIMES / IN_A_ROW + 10 {
        let some = timed(IN_A_ROW, |_| echo.once())?;
        let others = timed(IN_A_ROW, |round| ask(turn * IN_A_ROW + round))?;
        if turn >= 10 {
            bare.extend(some);
            asked.extend(others);
        }
    }
    let bare = tell(&format!("a bare echo, {there} bytes there, {back} back"), bare);
    let found = tell(name, asked);
    println!("{:<52} echo + {:.1} µs", "", found - bare);
    Ok(())
}

fn who_has(client: &mut Client, address: &Name, at: Second) -> Outcome<()> {
    match client.who(&who(address, at))?.rows.len() {
        0 => Err("nobody has the address".into()),
        _ => Ok(()),
    }
}

fn who_ip(client: &mut Client, drawn: &Drawn, times: usize) -> Outcome<Vec<f64>> {
    timed(times, |round| {
        let (address, at) = &drawn.addresses[round % drawn.addresses.len()];
        who_has(client, address, *at)
    })
}

fn latencies(served: &Served, word: &str) -> Outcome<Drawn> {
    let mut client = served.connect()?;
    let drawn = drawn(&mut client)?;
    tell_beside(&format!("who ip, {word}"), (70, 260), |round| {
        let (address, at) = &drawn.addresses[round % drawn.addresses.len()];
        who_has(&mut client, address, *at)
    })?;
    // So few that what they need stays decoded, as the addresses of `who ip` are; then ever others.
    for (few, how) in [(200, "asked before"), (usize::MAX, "ever other times")] {
        let mut draw = Draw(2);
        tell_beside(&format!("150 processes of a host, {word}, {how}"), (70, 35_000), |round| {
            if round % few == 0 {
                draw = Draw(2);
            }
            let at = drawn.span.0 + draw.below((drawn.span.1 - drawn.span.0) as usize) as Second;
            let host = &drawn.hosts[draw.below(drawn.hosts.len().min(50))];
            match client.state(&state("processes", at, host))?.rows.len() {
                120..180 => Ok(()),
                rows => Err(format!("{rows} processes").into()),
            }
        })?;
    }
    Ok(drawn)
}

/// Questions a second with many under way.
fn pipelined(client: &mut Client, drawn: &Drawn) -> Outcome<()> {
    // Half of them are sent as the other half was answered, so that neither side waits for the other.
    const HALF: usize = PIPELINED / 2;
    let rounds = 6000;
    let requests: Vec<Request<'_>> = (0..HALF * 32)
        .map(|at| {
            let (address, at) = &drawn.addresses[at % drawn.addresses.len()];
            Request::Ask(Terms::default(), Question::Who(who(address, *at)))
        })
        .collect();
    let began = Instant::now();
    let mut rows = 0;
    for round in 0..=rounds {
        if round < rounds {
            let from = round % 32 * HALF;
            client.send_all(&requests[from..from + HALF])?;
        }
        let mut ended = 0;
        while round > 0 && ended < HALF {
            match client.receive()?.1 {
                Incoming::Part(_) | Incoming::Weighed(_) => rows += 1,
                Incoming::Done(_) => ended += 1,
                Incoming::Failed(failure) => return Err(failure.into()),
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let asked = rounds * HALF;
    println!("who ip, {PIPELINED} under way: {:.0} a second ({asked} asked, {rows} parts)", asked as f64 / seconds);
    Ok(())
}

/// Appends a log's lines until it ends, or is told to stop; tells how many rows, and in how many seconds.
fn append(
    served: &Served,
    log: &Path,
    number: u128,
    pace: Option<f64>,
    stop: &AtomicBool,
    done: &AtomicU64,
) -> Outcome<(u64, f64)> {
    let mut client = served.connect()?;
    client.producer(number, number, 1, 0)?;
    let (mut input, mut offset, mut sequence) = (File::open(log)?, 0u64, 0u64);
    let (mut under_way, mut rows) = (0, 0);
    let mut rest = Vec::new();
    let began = Instant::now();
    loop {
        let mut buffer = std::mem::take(&mut rest);
        let start = buffer.len();
        buffer.resize(start + BATCH_BYTES, 0);
        let read = input.read(&mut buffer[start..])?;
        buffer.truncate(start + read);
        let is_end = read == 0 || stop.load(Ordering::Relaxed);
        if !is_end {
            let Some(last) = buffer.iter().rposition(|byte| *byte == b'\n') else { continue };
            rest = buffer.split_off(last + 1);
            sequence += 1;
            let chunks = vec![Chunk { source: b"log", offset, lines: &buffer }];
            client.send(&Request::AppendLines { producer: number, sequence, chunks })?;
            offset += buffer.len() as u64;
            under_way += 1;
        }
        while under_way > if is_end { 0 } else { BATCHES - 1 } {
            match client.receive()?.1 {
                Incoming::Done(erstwhile_client::Done::Lines(appended)) => {
                    rows += appended.lines;
                    done.fetch_add(appended.lines, Ordering::Relaxed);
                    under_way -= 1;
                }
                other => return Err(format!("{other:?}").into()),
            }
        }
        if is_end {
            return Ok((rows, began.elapsed().as_secs_f64()));
        }
        if let Some(pace) = pace {
            let due = Duration::from_secs_f64(rows as f64 / pace);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }
}

/// Tells which version all hosts of a log run.
fn tell_version(served: &Served, log: &Path, version: &str) -> Outcome<()> {
    let mut hosts = std::collections::BTreeSet::new();
    for line in BufReader::new(File::open(log)?).lines() {
        let line = line?;
        let host = line.split("\"hostIdentifier\":\"").nth(1).and_then(|rest| rest.split('"').next());
        hosts.extend(host.map(str::to_owned));
    }
    let line = |host: String| {
        format!(
            "{{\"hostIdentifier\":\"{host}\",\"severity\":0,\"message\":\"\",\"unixTime\":1,\"version\":\"{version}\"}}\n"
        )
    };
    let lines: String = hosts.into_iter().map(line).collect();
    let mut client = served.connect()?;
    client.producer(2, 2, 1, 0)?;
    client.append_lines(2, 1, vec![Chunk { source: b"status", offset: 0, lines: lines.as_bytes() }])?;
    Ok(())
}

fn fresh(beside: &Path) -> Outcome<Served> {
    let _ = std::fs::remove_dir_all(beside);
    std::fs::create_dir_all(beside)?;
    start(beside, false)
}

/// Appends as fast as it goes; rows a second.
fn appends(beside: &Path, log: &Path, version: Option<&str>) -> Outcome<f64> {
    let served = fresh(beside)?;
    version.map_or(Ok(()), |version| tell_version(&served, log, version))?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let (rows, seconds) = append(&served, log, 1, None, &stop, &done)?;
    let most = rows as f64 / seconds;
    println!(
        "appended durably (each batch synced), {BATCHES} batches of {} MiB under way: {most:.0} rows a second ({rows} rows, {seconds:.1} s)",
        BATCH_BYTES >> 20
    );
    println!("the server's own memory then: {:.0} MiB", served.own_mebibytes()?);
    Ok(most)
}

/// Appends so many rows a second, with questions beside it.
fn asked_beside(beside: &Path, log: &Path, pace: f64, version: Option<&str>) -> Outcome<()> {
    let served = Arc::new(fresh(beside)?);
    version.map_or(Ok(()), |version| tell_version(&served, log, version))?;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let (other, stopped, counted, log) = (served.clone(), stop.clone(), done.clone(), log.to_owned());
    let writer = std::thread::spawn(move || {
        append(&other, &log, 1, Some(pace), &stopped, &counted).map_err(|error| error.to_string())
    });
    while done.load(Ordering::Relaxed) < 1_000_000 && !writer.is_finished() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut client = served.connect()?;
    let drawn = drawn(&mut client)?;
    tell(&format!("who ip while {pace:.0} rows a second are appended"), who_ip(&mut client, &drawn, TIMES * 4)?);
    stop.store(true, Ordering::Relaxed);
    let (rows, seconds) = writer.join().map_err(|_| "the writer panicked")??;
    println!("rows appended meanwhile: {:.0} a second", rows as f64 / seconds);
    Ok(())
}

fn ingest(store: &Path, log: &Path, version: Option<&str>) -> Outcome<()> {
    let beside = store.with_extension("load");
    let most = appends(&beside, log, version)?;
    asked_beside(&beside, log, most / 2.0, version)?;
    std::fs::remove_dir_all(&beside)?;
    Ok(())
}

fn idle(served: &Served) -> Outcome<()> {
    let before = served.own_mebibytes()?;
    let mut all = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        all.push(served.connect()?);
    }
    println!(
        "{IDLE} idle connections: {:.0} MiB of the server's own memory, {before:.0} without",
        served.own_mebibytes()?
    );
    Ok(())
}

const USAGE: &str = "\
usage: load DIR [LOG [appends [VERSION] | asked ROWS_PER_SECOND [VERSION]]]

What a server gives over loopback: answers from the store in DIR and, if there is a LOG, appends to a new store beside it.
appends: only these; asked: questions while so many rows a second are appended. VERSION is the agent's.";

fn main() -> Outcome<()> {
    erstwhile_benches::tell_usage(USAGE);
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [word, store] if word == "--serve" => return serve(Path::new(store), false),
        [word, store] if word == "--serve-tls" => return serve(Path::new(store), true),
        [_] | [_, _] => {}
        [store, log, word, version @ ..] if word == "appends" => {
            return ingest(Path::new(store), Path::new(log), version.first().map(String::as_str));
        }
        [store, log, word, pace, version @ ..] if word == "asked" => {
            let beside = Path::new(store).with_extension("load");
            let version = version.first().map(String::as_str);
            return asked_beside(&beside, Path::new(log), pace.parse()?, version);
        }
        _ => return Err(USAGE.into()),
    }
    let store = Path::new(&args[0]);
    {
        let served = start(store, false)?;
        let drawn = latencies(&served, "plain")?;
        pipelined(&mut served.connect()?, &drawn)?;
        idle(&served)?;
    }
    latencies(&start(store, true)?, "TLS")?;
    if let Some(log) = args.get(1) {
        ingest(store, Path::new(log), None)?;
    }
    Ok(())
}
