//! How an answer ends: what it says beside its rows.

use crate::frame::kind;
use crate::value::{Read, Reader, Writer};
use crate::weight;
use erstwhile_engine::fact::{Micros, Name, Second};
use erstwhile_engine::read::answer::{Cause, Cost, Coverage, Missing, Verdict};
use erstwhile_engine::read::stats::Stats;

/// What an append did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// The batch's number.
    pub sequence: u64,
    /// Whether it was in already.
    pub again: bool,
    /// The commit's recorded time; `None` if all was known.
    pub recorded: Option<Micros>,
    /// Lines that are not blank.
    pub lines: u64,
    /// Those that cannot be read.
    pub dead_letters: u64,
}

/// One link of a chain of evidence; its rows are the next of the answer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEnd {
    /// The table that makes the link.
    pub table: Name,
    /// How many rows.
    pub rows: u64,
    /// Why there are none.
    pub missing: Option<Missing>,
}

/// The end of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Of a state.
    State {
        /// The table asked for.
        table: Name,
        /// T.
        at: Second,
        /// The recorded time up to which facts count.
        known_at: Option<Micros>,
        /// Which hosts can speak.
        coverage: Coverage,
        /// What it cost.
        cost: Cost,
    },
    /// Of who had an address or a uid.
    Who {
        /// The words asked.
        question: String,
        /// T.
        at: Second,
        /// The recorded time up to which facts count.
        known_at: Option<Micros>,
        /// Which hosts can speak.
        coverage: Coverage,
        /// What it cost.
        cost: Cost,
    },
    /// Of which device was behind a path.
    What {
        /// The words asked.
        question: String,
        /// T.
        at: Second,
        /// The recorded time up to which facts count.
        known_at: Option<Micros>,
        /// The weakest verdict of all links.
        verdict: Verdict,
        /// The links.
        links: Vec<LinkEnd>,
        /// Which hosts can speak, for the first link.
        coverage: Coverage,
        /// What it cost.
        cost: Cost,
    },
    /// Of versions, or of events.
    History {
        /// Whether events were asked for.
        events: bool,
        /// The table asked for.
        table: Name,
        /// The span's first second.
        from: Option<Second>,
        /// The first second after the span.
        to: Option<Second>,
        /// The recorded time up to which facts count.
        known_at: Option<Micros>,
        /// What it cost.
        cost: Cost,
    },
    /// Of a difference.
    Diff {
        /// The table asked for.
        table: Name,
        /// The host asked for.
        host: Name,
        /// The first time.
        from: Second,
        /// The second time.
        to: Second,
        /// The recorded time up to which facts count.
        known_at: Option<Micros>,
        /// What it cost.
        cost: Cost,
    },
    /// Of hosts, tables, coverage, flush, compact, shutdown: nothing but that it is done.
    Plain(u8),
    /// Of many look-ups.
    Lookup(Cost),
    /// What the server says of itself.
    Stats(Vec<(String, i64)>),
    /// What the store weighs, whose tables and hosts were parts.
    Weigh(Stats),
    /// The greatest sequence of a producer that is in; 0: none.
    Producer(u64),
    /// Of lines.
    Lines(Appended),
    /// Of looks.
    Looks(Appended),
}

fn put_coverage(to: &mut Writer<'_>, coverage: &Coverage) {
    let Coverage { covered, presumed, unknown, never, assumed, unknown_hosts } = coverage;
    [covered, presumed, unknown, never, assumed].into_iter().for_each(|count| to.uint(*count));
    to.list(unknown_hosts.iter(), |to, (host, cause)| {
        to.bytes(host);
        to.u8(*cause as u8);
    });
}

fn get_coverage(from: &mut Reader<'_>) -> Read<Coverage> {
    Ok(Coverage {
        covered: from.uint()?,
        presumed: from.uint()?,
        unknown: from.uint()?,
        never: from.uint()?,
        assumed: from.uint()?,
        unknown_hosts: from.list(2, |from| Ok((from.name()?, get_cause(from)?)))?,
    })
}

/// The causes by their numbers.
const CAUSES: [Cause; 8] = [
    Cause::Gap,
    Cause::Fork,
    Cause::NoBase,
    Cause::DoubtfulZero,
    Cause::NotHeld,
    Cause::Damage,
    Cause::Expired,
    Cause::BeforeFirst,
];

pub(crate) fn get_cause(from: &mut Reader<'_>) -> Read<Cause> {
    Ok(CAUSES[usize::from(from.below(CAUSES.len() as u8, "cause")?)])
}

/// The verdicts by their numbers.
const VERDICTS: [Verdict; 4] = [Verdict::Definite, Verdict::Presumed, Verdict::Possible, Verdict::Unknown];

/// The verdict of two bits.
pub(crate) fn verdict(bits: u8) -> Verdict {
    VERDICTS[usize::from(bits & 3)]
}

pub(crate) fn get_verdict(from: &mut Reader<'_>) -> Read<Verdict> {
    from.below(4, "verdict").map(verdict)
}

fn put_cost(to: &mut Writer<'_>, cost: &Cost) {
    let Cost {
        rows_decoded,
        bytes_read,
        blocks_verified,
        bytes_verified,
        cache_hits,
        keys_decoded,
        segments_touched,
        streams_resolved,
    } = *cost;
    let all = [
        rows_decoded,
        bytes_read,
        blocks_verified,
        bytes_verified,
        cache_hits,
        keys_decoded,
        segments_touched,
        streams_resolved,
    ];
    to.list(all.into_iter(), Writer::uint);
}

fn get_cost(from: &mut Reader<'_>) -> Read<Cost> {
    let at = *from;
    // What a later server counts beside is left out.
    let counts = from.list(1, Reader::uint)?;
    let &[
        rows_decoded,
        bytes_read,
        blocks_verified,
        bytes_verified,
        cache_hits,
        keys_decoded,
        segments_touched,
        streams_resolved,
        ..,
    ] = &counts[..]
    else {
        return Err(at.no("costs"));
    };
    Ok(Cost {
        rows_decoded,
        bytes_read,
        blocks_verified,
        bytes_verified,
        cache_hits,
        keys_decoded,
        segments_touched,
        streams_resolved,
    })
}

fn put_appended(to: &mut Writer<'_>, appended: &Appended) {
    to.uint(appended.sequence);
    to.u8(u8::from(appended.again));
    to.opt(appended.recorded, Writer::int);
    to.uint(appended.lines);
    to.uint(appended.dead_letters);
}

fn get_appended(from: &mut Reader<'_>) -> Read<Appended> {
    Ok(Appended {
        sequence: from.uint()?,
        again: from.bool()?,
        recorded: from.opt(Reader::micros)?,
        lines: from.uint()?,
        dead_letters: from.uint()?,
    })
}

const MISSING: [Option<Missing>; 4] =
    [None, Some(Missing::NeverCollected), Some(Missing::NoSuchRow), Some(Missing::UnknownAtT)];

impl Done {
    /// The type of the request that it ends.
    pub fn kind(&self) -> u8 {
        match self {
            Done::State { .. } => kind::STATE,
            Done::Who { .. } => kind::WHO,
            Done::What { .. } => kind::WHAT,
            Done::History { events: false, .. } => kind::HISTORY,
            Done::History { events: true, .. } => kind::EVENTS,
            Done::Diff { .. } => kind::DIFF,
            Done::Plain(kind) => *kind,
            Done::Lookup(_) => kind::LOOKUP,
            Done::Stats(_) => kind::STATS,
            Done::Weigh(_) => kind::WEIGH,
            Done::Producer(_) => kind::PRODUCER,
            Done::Lines(_) => kind::APPEND_LINES,
            Done::Looks(_) => kind::APPEND_LOOKS,
        }
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut to = Writer::new(out);
        to.u8(self.kind());
        match self {
            Done::State { table, at, known_at, coverage, cost } => {
                to.bytes(table);
                to.int(*at);
                to.opt(*known_at, Writer::int);
                put_coverage(&mut to, coverage);
                put_cost(&mut to, cost);
            }
            Done::Who { question, at, known_at, coverage, cost } => {
                to.bytes(question.as_bytes());
                to.int(*at);
                to.opt(*known_at, Writer::int);
                put_coverage(&mut to, coverage);
                put_cost(&mut to, cost);
            }
            Done::What { question, at, known_at, verdict, links, coverage, cost } => {
                to.bytes(question.as_bytes());
                to.int(*at);
                to.opt(*known_at, Writer::int);
                to.u8(*verdict as u8);
                to.list(links.iter(), |to, link| {
                    to.bytes(&link.table);
                    to.uint(link.rows);
                    let missing = MISSING.iter().position(|missing| *missing == link.missing);
                    to.u8(missing.unwrap_or_default() as u8);
                });
                put_coverage(&mut to, coverage);
                put_cost(&mut to, cost);
            }
            Done::History { events: _, table, from, to: until, known_at, cost } => {
                to.bytes(table);
                to.opt(*from, Writer::int);
                to.opt(*until, Writer::int);
                to.opt(*known_at, Writer::int);
                put_cost(&mut to, cost);
            }
            Done::Diff { table, host, from, to: until, known_at, cost } => {
                to.bytes(table);
                to.bytes(host);
                to.int(*from);
                to.int(*until);
                to.opt(*known_at, Writer::int);
                put_cost(&mut to, cost);
            }
            Done::Plain(_) => {}
            Done::Lookup(cost) => put_cost(&mut to, cost),
            Done::Stats(stats) => to.list(stats.iter(), |to, (name, value)| {
                to.bytes(name.as_bytes());
                to.int(*value);
            }),
            Done::Weigh(stats) => weight::put_sums(&mut to, stats),
            Done::Producer(last) => to.uint(*last),
            Done::Lines(appended) | Done::Looks(appended) => put_appended(&mut to, appended),
        }
    }

    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Read<Done> {
        let mut from = Reader::new(payload);
        let at = from;
        let done = match from.u8()? {
            kind::STATE => Done::State {
                table: from.name()?,
                at: from.second()?,
                known_at: from.opt(Reader::micros)?,
                coverage: get_coverage(&mut from)?,
                cost: get_cost(&mut from)?,
            },
            kind::WHO => Done::Who {
                question: from.text()?.to_owned(),
                at: from.second()?,
                known_at: from.opt(Reader::micros)?,
                coverage: get_coverage(&mut from)?,
                cost: get_cost(&mut from)?,
            },
            kind::WHAT => Done::What {
                question: from.text()?.to_owned(),
                at: from.second()?,
                known_at: from.opt(Reader::micros)?,
                verdict: get_verdict(&mut from)?,
                links: from.list(3, |from| {
                    let (table, rows) = (from.name()?, from.uint()?);
                    let missing = MISSING[usize::from(from.below(MISSING.len() as u8, "reason")?)];
                    Ok(LinkEnd { table, rows, missing })
                })?,
                coverage: get_coverage(&mut from)?,
                cost: get_cost(&mut from)?,
            },
            kind @ (kind::HISTORY | kind::EVENTS) => Done::History {
                events: kind == kind::EVENTS,
                table: from.name()?,
                from: from.opt(Reader::second)?,
                to: from.opt(Reader::second)?,
                known_at: from.opt(Reader::micros)?,
                cost: get_cost(&mut from)?,
            },
            kind::DIFF => Done::Diff {
                table: from.name()?,
                host: from.name()?,
                from: from.second()?,
                to: from.second()?,
                known_at: from.opt(Reader::micros)?,
                cost: get_cost(&mut from)?,
            },
            kind @ (kind::HOSTS | kind::TABLES | kind::COVERAGE | kind::FLUSH | kind::COMPACT | kind::SHUTDOWN) => {
                Done::Plain(kind)
            }
            kind::LOOKUP => Done::Lookup(get_cost(&mut from)?),
            kind::STATS => Done::Stats(from.list(2, |from| Ok((from.text()?.to_owned(), from.int()?)))?),
            kind::WEIGH => Done::Weigh(weight::get_sums(&mut from)?),
            kind::PRODUCER => Done::Producer(from.uint()?),
            kind::APPEND_LINES => Done::Lines(get_appended(&mut from)?),
            kind::APPEND_LOOKS => Done::Looks(get_appended(&mut from)?),
            _ => return Err(at.no("type of a request")),
        };
        from.end()?;
        Ok(done)
    }
}
