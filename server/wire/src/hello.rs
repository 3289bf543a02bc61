//! How a connection begins: who the client is and what it may do.

use crate::value::{Read, Reader, Writer};

/// The first bytes of a hello.
pub const MAGIC: &[u8; 8] = b"erstwire";

/// The version that is spoken here.
pub const VERSION: u16 = 1;

/// The longest token.
pub const TOKEN_BYTES_MAX: usize = 256;

/// The longest name of a program.
pub const AGENT_BYTES_MAX: usize = 128;

/// The shortest limit that a client may set on payloads.
pub const ANSWER_BYTES_MIN: u64 = 65_536;

/// The longest.
pub const ANSWER_BYTES_MAX: u64 = 128 << 20;

/// What a client says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version that it speaks.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
    /// Capabilities that it knows, a bit each.
    pub capabilities: u64,
    /// The longest payload that it takes.
    pub answer_bytes_max: u64,
    /// What proves who it is; empty: nothing.
    pub token: Vec<u8>,
    /// Who it says it is.
    pub agent: Vec<u8>,
}

impl Hello {
    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut to = Writer::new(out);
        to.raw(MAGIC);
        to.u16(self.oldest);
        to.u16(self.newest);
        to.uint(self.capabilities);
        to.uint(self.answer_bytes_max);
        to.bytes(&self.token);
        to.bytes(&self.agent);
    }

    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Read<Hello> {
        let mut from = Reader::new(payload);
        if from.raw(MAGIC.len())? != MAGIC {
            return Err(Reader::new(payload).no("hello"));
        }
        let (oldest, newest, capabilities) = (from.u16()?, from.u16()?, from.uint()?);
        let at = from;
        let answer_bytes_max = from.uint()?;
        if !(ANSWER_BYTES_MIN..=ANSWER_BYTES_MAX).contains(&answer_bytes_max) {
            return Err(at.no("limit of payloads that is allowed"));
        }
        let (token, agent) = (from.short(TOKEN_BYTES_MAX)?.to_vec(), from.short(AGENT_BYTES_MAX)?.to_vec());
        from.end()?;
        Ok(Hello { oldest, newest, capabilities, answer_bytes_max, token, agent })
    }
}

/// What a token allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Roles(pub u8);

impl Roles {
    /// May append.
    pub const INGEST: Roles = Roles(1);
    /// May ask.
    pub const READ: Roles = Roles(2);
    /// May flush, compact, shut down.
    pub const ADMIN: Roles = Roles(4);
    /// All.
    pub const ALL: Roles = Roles(7);

    /// Both.
    #[must_use]
    pub fn and(self, other: Roles) -> Roles {
        Roles(self.0 | other.0)
    }

    /// Whether all of these are among them.
    pub fn cover(self, wanted: Roles) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that is spoken from now on.
    pub version: u16,
    /// Capabilities that both know.
    pub capabilities: u64,
    /// What the client may do.
    pub roles: Roles,
    /// The store's number.
    pub store: [u8; 16],
    /// Who the server is.
    pub server: Vec<u8>,
    /// What the server bears.
    pub limits: Limits,
}

/// What a server bears of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest payload of a large request.
    pub request_bytes_max: u64,
    /// Requests under way at once.
    pub requests_max: u64,
    /// The largest credit of a request.
    pub window_bytes_max: u64,
    /// A request takes no longer.
    pub request_millis_max: u64,
    /// A connection on which nothing happens is closed after so long.
    pub idle_millis_max: u64,
}

impl Welcome {
    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut to = Writer::new(out);
        to.u16(self.version);
        to.uint(self.capabilities);
        to.u8(self.roles.0);
        to.raw(&self.store);
        to.bytes(&self.server);
        let Limits { request_bytes_max, requests_max, window_bytes_max, request_millis_max, idle_millis_max } =
            self.limits;
        for limit in [request_bytes_max, requests_max, window_bytes_max, request_millis_max, idle_millis_max] {
            to.uint(limit);
        }
    }

    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Read<Welcome> {
        let mut from = Reader::new(payload);
        let (version, capabilities, roles) = (from.u16()?, from.uint()?, Roles(from.below(8, "roles")?));
        let mut store = [0; 16];
        store.copy_from_slice(from.raw(16)?);
        let server = from.bytes()?.to_vec();
        let limits = Limits {
            request_bytes_max: from.uint()?,
            requests_max: from.uint()?,
            window_bytes_max: from.uint()?,
            request_millis_max: from.uint()?,
            idle_millis_max: from.uint()?,
        };
        from.end()?;
        Ok(Welcome { version, capabilities, roles, store, server, limits })
    }
}
