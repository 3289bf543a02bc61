//! What a client asks for: questions, appends, administration.

use crate::frame::kind;
use crate::hello::Roles;
use crate::looks::{get_looks, put_looks};
use crate::value::{Malformed, Read, Reader, Writer};
use crate::weight;
use erstwhile_engine::fact::{Delivery, Micros, Name};
use erstwhile_engine::read::matching::Network;
use erstwhile_engine::read::question::{
    DiffQuestion, HistoryQuestion, ListQuestion, StateQuestion, Subject, Wanted, WhatQuestion, Where, WhoQuestion,
};
use erstwhile_engine::read::stats::StatsQuestion;

/// Keys of a batched look-up.
pub const KEYS_MAX: usize = 1 << 20;

/// The longest payload of a ping.
pub const PING_BYTES_MAX: usize = 64;

/// How a question is to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How many bytes of parts may be sent before more credit comes; 0: as many as the server allows.
    pub window: u64,
    /// The longest it may take; 0: as long as the server allows.
    pub millis_max: u64,
}

/// A value of a host at a time, of a batched look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'b> {
    /// The host's place among those listed.
    pub host: usize,
    /// The value.
    pub value: &'b [u8],
    /// T.
    pub at: i64,
}

/// Many questions for a value at once.
#[derive(Clone, Debug)]
pub struct Lookup<'b> {
    /// The table.
    pub table: Name,
    /// The column.
    pub column: Name,
    /// The hosts that keys name.
    pub hosts: Vec<&'b [u8]>,
    /// The keys.
    pub keys: Vec<Key<'b>>,
    /// Only facts recorded at or before this count.
    pub known_at: Option<Micros>,
}

/// A question.
#[derive(Clone, Debug)]
pub enum Question<'b> {
    /// A table at T.
    State(StateQuestion),
    /// Who had an address or a uid at T.
    Who(WhoQuestion),
    /// Which device was behind a path at T.
    What(WhatQuestion),
    /// Versions, or events.
    History(HistoryQuestion),
    /// What changed between two times.
    Diff(DiffQuestion),
    /// Events.
    Events(HistoryQuestion),
    /// The hosts.
    Hosts(ListQuestion),
    /// The tables.
    Tables(ListQuestion),
    /// The streams.
    Coverage(ListQuestion),
    /// What the server says of itself.
    Stats,
    /// Many questions for a value at once.
    Lookup(Lookup<'b>),
    /// What the store weighs: administration, and answered like a question.
    Weigh(StatsQuestion),
}

/// Whole lines of a source.
pub use erstwhile_engine::ingest::producer::Chunk;

/// What a client asks for.
#[derive(Clone, Debug)]
pub enum Request<'b> {
    /// Something about what is stored.
    Ask(Terms, Question<'b>),
    /// The connection appends as a producer.
    Producer {
        /// Which.
        producer: u128,
        /// Which process.
        instance: u128,
        /// The least sequence that it may send again.
        first: u64,
        /// The greatest that it may ever have sent.
        last: u64,
    },
    /// Raw lines.
    AppendLines {
        /// Whose.
        producer: u128,
        /// The batch's number.
        sequence: u64,
        /// The lines.
        chunks: Vec<Chunk<'b>>,
    },
    /// Looks.
    AppendLooks {
        /// Whose.
        producer: u128,
        /// The batch's number.
        sequence: u64,
        /// The looks; the table of a stream is empty where the store is to map its name.
        looks: Vec<Delivery>,
    },
    /// What is in memory becomes a segment.
    Flush,
    /// All segments become one.
    Compact,
    /// The server drains and ends.
    Shutdown,
}

impl Question<'_> {
    fn kind(&self) -> u8 {
        match self {
            Question::State(_) => kind::STATE,
            Question::Who(_) => kind::WHO,
            Question::What(_) => kind::WHAT,
            Question::History(_) => kind::HISTORY,
            Question::Diff(_) => kind::DIFF,
            Question::Events(_) => kind::EVENTS,
            Question::Hosts(_) => kind::HOSTS,
            Question::Tables(_) => kind::TABLES,
            Question::Coverage(_) => kind::COVERAGE,
            Question::Stats => kind::STATS,
            Question::Lookup(_) => kind::LOOKUP,
            Question::Weigh(_) => kind::WEIGH,
        }
    }

    fn known_at(&self) -> Option<Micros> {
        match self {
            Question::State(q) => q.known_at,
            Question::Who(q) => q.known_at,
            Question::What(q) => q.known_at,
            Question::History(q) | Question::Events(q) => q.known_at,
            Question::Diff(q) => q.known_at,
            Question::Hosts(q) | Question::Tables(q) | Question::Coverage(q) => q.known_at,
            Question::Stats | Question::Weigh(_) => None,
            Question::Lookup(q) => q.known_at,
        }
    }
}

/// What a request of a type needs; `None` for types that are none.
pub fn role_of(kind: u8) -> Option<Roles> {
    match kind {
        kind::STATE..=kind::LOOKUP => Some(Roles::READ),
        kind::PRODUCER..=kind::APPEND_LOOKS => Some(Roles::INGEST),
        kind::FLUSH..=kind::WEIGH => Some(Roles::ADMIN),
        _ => None,
    }
}

/// Whether requests of a type may be large.
pub fn is_large(kind: u8) -> bool {
    [kind::APPEND_LINES, kind::APPEND_LOOKS, kind::LOOKUP].contains(&kind)
}

impl<'b> Request<'b> {
    /// The type of its frame.
    pub fn kind(&self) -> u8 {
        match self {
            Request::Ask(_, question) => question.kind(),
            Request::Producer { .. } => kind::PRODUCER,
            Request::AppendLines { .. } => kind::APPEND_LINES,
            Request::AppendLooks { .. } => kind::APPEND_LOOKS,
            Request::Flush => kind::FLUSH,
            Request::Compact => kind::COMPACT,
            Request::Shutdown => kind::SHUTDOWN,
        }
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut to = Writer::new(out);
        match self {
            Request::Ask(terms, question) => {
                to.uint(terms.window);
                to.uint(terms.millis_max);
                to.opt(question.known_at(), Writer::int);
                put_question(&mut to, question);
            }
            Request::Producer { producer, instance, first, last } => {
                to.raw(&producer.to_be_bytes());
                to.raw(&instance.to_be_bytes());
                to.uint(*first);
                to.uint(*last);
            }
            Request::AppendLines { producer, sequence, chunks } => {
                to.raw(&producer.to_be_bytes());
                to.uint(*sequence);
                to.list(chunks.iter(), |to, chunk| {
                    to.bytes(chunk.source);
                    to.uint(chunk.offset);
                    to.bytes(chunk.lines);
                });
            }
            Request::AppendLooks { producer, sequence, looks } => {
                to.raw(&producer.to_be_bytes());
                to.uint(*sequence);
                put_looks(&mut to, looks);
            }
            Request::Flush | Request::Compact | Request::Shutdown => {}
        }
    }

    /// Reads a payload of a type for which [`role_of`] knows a role.
    pub fn decode(kind: u8, payload: &'b [u8]) -> Read<Request<'b>> {
        let mut from = Reader::new(payload);
        let request = match kind {
            kind::PRODUCER => Request::Producer {
                producer: from.u128()?,
                instance: from.u128()?,
                first: from.uint()?,
                last: from.uint()?,
            },
            kind::APPEND_LINES => Request::AppendLines {
                producer: from.u128()?,
                sequence: from.uint()?,
                chunks: from
                    .list(3, |from| Ok(Chunk { source: from.bytes()?, offset: from.uint()?, lines: from.bytes()? }))?,
            },
            kind::APPEND_LOOKS => {
                Request::AppendLooks { producer: from.u128()?, sequence: from.uint()?, looks: get_looks(&mut from)? }
            }
            kind::FLUSH => Request::Flush,
            kind::COMPACT => Request::Compact,
            kind::SHUTDOWN => Request::Shutdown,
            _ => {
                let terms = Terms { window: from.uint()?, millis_max: from.uint()? };
                let known_at = from.opt(Reader::micros)?;
                Request::Ask(terms, get_question(kind, &mut from, known_at)?)
            }
        };
        from.end()?;
        Ok(request)
    }
}

fn put_name(to: &mut Writer<'_>, name: &Name) {
    to.bytes(name);
}

fn put_wheres(to: &mut Writer<'_>, wheres: &[Where]) {
    to.list(wheres.iter(), |to, Where { column, text }| {
        let (kind, text): (u8, Name) = match text {
            Wanted::Is(text) => (0, text.clone()),
            Wanted::Begins(text) => (1, text.clone()),
            Wanted::In(network) => (2, Name::from(network.to_string().as_bytes())),
        };
        to.u8(kind);
        to.bytes(column);
        to.bytes(&text);
    });
}

fn get_wheres(from: &mut Reader<'_>) -> Read<Vec<Where>> {
    from.list(3, |from| {
        let kind = from.below(3, "kind of condition")?;
        let column = from.name()?;
        let at = *from;
        let text = from.bytes()?;
        let text = match kind {
            0 => Wanted::Is(Name::from(text)),
            1 => Wanted::Begins(Name::from(text)),
            _ => Wanted::In(Network::parse(text).ok_or_else(|| at.no("network"))?),
        };
        Ok(Where { column, text })
    })
}

fn put_question(to: &mut Writer<'_>, question: &Question<'_>) {
    match question {
        Question::State(q) => {
            to.bytes(&q.table);
            to.int(q.at);
            to.opt(q.host.as_ref(), put_name);
            to.opt(q.stream.as_ref(), put_name);
            put_wheres(to, &q.wheres);
        }
        Question::Who(q) => {
            let (kind, text) = match &q.subject {
                Subject::Ip(text) => (0, text),
                Subject::Uid(text) => (1, text),
            };
            to.u8(kind);
            to.bytes(text);
            to.int(q.at);
            to.opt(q.host.as_ref(), put_name);
        }
        Question::What(q) => {
            to.bytes(&q.path);
            to.bytes(&q.host);
            to.int(q.at);
        }
        Question::History(q) | Question::Events(q) => {
            to.bytes(&q.table);
            to.opt(q.host.as_ref(), put_name);
            to.opt(q.stream.as_ref(), put_name);
            put_wheres(to, &q.wheres);
            to.opt(q.from, Writer::int);
            to.opt(q.to, Writer::int);
        }
        Question::Diff(q) => {
            to.bytes(&q.table);
            to.bytes(&q.host);
            to.opt(q.stream.as_ref(), put_name);
            to.int(q.from);
            to.int(q.to);
        }
        Question::Hosts(_) | Question::Tables(_) | Question::Stats => {}
        Question::Weigh(q) => weight::put_question(to, q),
        Question::Coverage(q) => {
            to.opt(q.table.as_ref(), put_name);
            to.opt(q.host.as_ref(), put_name);
        }
        Question::Lookup(q) => {
            to.bytes(&q.table);
            to.bytes(&q.column);
            to.list(q.hosts.iter(), |to, host| to.bytes(host));
            to.list(q.keys.iter(), |to, key| {
                to.uint(key.host as u64);
                to.bytes(key.value);
                to.int(key.at);
            });
        }
    }
}

fn get_question<'b>(kind: u8, from: &mut Reader<'b>, known_at: Option<Micros>) -> Read<Question<'b>> {
    Ok(match kind {
        kind::STATE => Question::State(StateQuestion {
            table: from.name()?,
            at: from.second()?,
            host: from.opt(Reader::name)?,
            stream: from.opt(Reader::name)?,
            wheres: get_wheres(from)?,
            known_at,
        }),
        kind::WHO => {
            let is_uid = from.below(2, "ip or uid")? == 1;
            let text = from.name()?;
            let subject = if is_uid { Subject::Uid(text) } else { Subject::Ip(text) };
            Question::Who(WhoQuestion { subject, at: from.second()?, host: from.opt(Reader::name)?, known_at })
        }
        kind::WHAT => {
            Question::What(WhatQuestion { path: from.name()?, host: from.name()?, at: from.second()?, known_at })
        }
        kind::HISTORY => Question::History(get_history(from, known_at)?),
        kind::EVENTS => Question::Events(get_history(from, known_at)?),
        kind::DIFF => Question::Diff(DiffQuestion {
            table: from.name()?,
            host: from.name()?,
            stream: from.opt(Reader::name)?,
            from: from.second()?,
            to: from.second()?,
            known_at,
        }),
        kind::HOSTS => Question::Hosts(ListQuestion { known_at, ..ListQuestion::default() }),
        kind::TABLES => Question::Tables(ListQuestion { known_at, ..ListQuestion::default() }),
        kind::COVERAGE => {
            Question::Coverage(ListQuestion { table: from.opt(Reader::name)?, host: from.opt(Reader::name)?, known_at })
        }
        kind::STATS if known_at.is_none() => Question::Stats,
        kind::WEIGH if known_at.is_none() => Question::Weigh(weight::get_question(from)?),
        kind::LOOKUP => Question::Lookup(get_lookup(from, known_at)?),
        _ => return Err(from.no("question")),
    })
}

fn get_history(from: &mut Reader<'_>, known_at: Option<Micros>) -> Read<HistoryQuestion> {
    Ok(HistoryQuestion {
        table: from.name()?,
        host: from.opt(Reader::name)?,
        stream: from.opt(Reader::name)?,
        wheres: get_wheres(from)?,
        from: from.opt(Reader::second)?,
        to: from.opt(Reader::second)?,
        known_at,
    })
}

fn get_lookup<'b>(from: &mut Reader<'b>, known_at: Option<Micros>) -> Read<Lookup<'b>> {
    let (table, column) = (from.name()?, from.name()?);
    let hosts = from.list(1, Reader::bytes)?;
    let at = *from;
    let keys =
        from.list(3, |from| Ok(Key { host: from.place(hosts.len())?, value: from.bytes()?, at: from.second()? }))?;
    if keys.len() > KEYS_MAX {
        return Err(at.no("fewer keys"));
    }
    Ok(Lookup { table, column, hosts, keys, known_at })
}

/// The credit of a frame.
pub fn credit(payload: &[u8]) -> Result<u64, Malformed> {
    let mut from = Reader::new(payload);
    let bytes = from.uint()?;
    from.end()?;
    Ok(bytes)
}
