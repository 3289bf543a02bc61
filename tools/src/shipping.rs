//! `ship`: from what was asked to a shipper that runs, with a server as its sink.

use crate::remote::connect_to;
use erstwhile::commands::ShipJob;
use erstwhile::fail::Failure;
use erstwhile::ship::{Ack, Begin, Chunk, Event, Opened, Opening, Options, Shipper, Sink, SinkError};
use erstwhile_client::{Client, Code, Connect, Done, Error, Incoming, Request};
use erstwhile_engine::io::SystemClock;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A server that says nothing for so long is taken for gone.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A server that takes batches.
struct Server {
    to: Connect,
    connected: Option<Connected>,
}

struct Connected {
    client: Client,
    producer: u128,
    /// Requests under way and the sequences that they bring.
    under_way: VecDeque<(u32, u64)>,
}

/// What is to be done about an error of the server at an address.
fn told(address: &str, error: Error) -> SinkError {
    let why = match &error {
        // These name what they are about.
        Error::Silent { .. } | Error::Unusable(_) => error.to_string(),
        _ => format!("server {address}: {error}"),
    };
    let failure = match &error {
        Error::Refused(failure) => failure,
        Error::Unusable(_) => return SinkError::Refused { why },
        _ => return SinkError::Away { why, wait: None },
    };
    match failure.code() {
        Some(Code::Unauthenticated | Code::Forbidden) => {
            let why = format!(
                "{why}. Give this shipper one with the role ingest by --token-file or ERSTWHILE_TOKEN_FILE, and start it \
                 again. Nothing is lost: it goes on where it was, as long as the logs are there"
            );
            SinkError::Refused { why }
        }
        Some(Code::Version | Code::Usage | Code::Sequence)
        | Some(Code::Malformed | Code::TooLarge | Code::Unsupported) => SinkError::Refused { why },
        _ => {
            let wait = (failure.retry_millis > 0).then(|| Duration::from_millis(failure.retry_millis));
            SinkError::Away { why, wait }
        }
    }
}

impl Server {
    fn with<T>(&mut self, work: impl FnOnce(&mut Connected) -> Result<T, Error>) -> Result<T, SinkError> {
        let away = || SinkError::Away { why: format!("not connected to {}", self.to.address), wait: None };
        let mut connected = self.connected.take().ok_or_else(away)?;
        let done = work(&mut connected).map_err(|error| told(&self.to.address, error))?;
        // After an error it is connected anew.
        self.connected = Some(connected);
        Ok(done)
    }
}

impl Sink for Server {
    fn open(&mut self, opening: &Opening) -> Result<Opened, SinkError> {
        self.connected = None;
        let told = |error| told(&self.to.address, error);
        let mut client = Client::connect(&self.to).map_err(told)?;
        let Opening { producer, instance, first, last } = *opening;
        let greatest = client.producer(producer, instance, first, last).map_err(told)?;
        let request_bytes_max = client.welcome().limits.request_bytes_max;
        self.connected = Some(Connected { client, producer, under_way: VecDeque::new() });
        Ok(Opened { greatest, request_bytes_max })
    }

    fn send(&mut self, sequence: u64, chunks: &[Chunk<'_>]) -> Result<(), SinkError> {
        self.with(|Connected { client, producer, under_way }| {
            let chunk = |&Chunk { source, offset, lines }| erstwhile_client::Chunk { source, offset, lines };
            let chunks = chunks.iter().map(chunk).collect();
            let id = client.send(&Request::AppendLines { producer: *producer, sequence, chunks })?;
            under_way.push_back((id, sequence));
            Ok(())
        })
    }

    fn acknowledged(&mut self, wait: Duration) -> Result<Option<Ack>, SinkError> {
        self.with(|Connected { client, under_way, .. }| {
            let Some((id, incoming)) = client.receive_within(wait)? else { return Ok(None) };
            match incoming {
                Incoming::Done(Done::Lines(appended)) => {
                    under_way.retain(|(other, _)| *other != id);
                    let (sequence, lines) = (appended.sequence, appended.lines);
                    Ok(Some(Ack { sequence, lines, dead_letters: appended.dead_letters }))
                }
                Incoming::Failed(failure) => Err(Error::Refused(failure)),
                other => Err(Error::Protocol(format!("{other:?} instead of an acknowledgement"))),
            }
        })
    }
}

/// A service reports this seldom if it is told to say nothing until its end.
const NEVER: Duration = Duration::from_secs(u64::MAX / 4_000_000_000);

/// Does what was asked.
pub(crate) fn ship(job: &ShipJob, tell: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|error| Failure::Failed(format!("signals cannot be heard: {error}")))?;
    }
    let mut to = connect_to(&job.server);
    to.timeout = TIMEOUT;
    let begin = if job.from_oldest { Begin::Oldest } else { Begin::Live };
    // Events wait here until whoever runs the shipper says them.
    let events: Rc<RefCell<Vec<Event>>> = Rc::default();
    let noted = events.clone();
    let sink = Server { to, connected: None };
    let mut shipper = Shipper::open(
        &job.state,
        &job.files,
        Options { begin, ..Options::default() },
        sink,
        SystemClock::new(),
        Box::new(move |event| noted.borrow_mut().push(event)),
    )?;
    let tell = RefCell::new(tell);
    let say_events = || events.borrow_mut().drain(..).for_each(|event| tell.borrow_mut()(&event.to_string()));
    let every = if job.report_seconds == 0 { NEVER } else { Duration::from_secs(job.report_seconds) };
    let ended = shipper.run(
        &|| {
            say_events();
            stop.load(Ordering::Relaxed)
        },
        job.once,
        every,
        &mut |report| tell.borrow_mut()(&report.to_string()),
    );
    say_events();
    ended
}
