//! A store as a server.
//!
//! The journey of a request: a socket (`net`) → a [`session`], which knows who may say what and when → a question is
//! answered ([`answering`]) or a batch is taken ([`producers`]) → frames, past the [`gate`] of what the client takes, to
//! the socket. Around it: what the operator says ([`config`], [`tokens`]) and is told ([`stats`], [`metrics`]).
//!
//! What goes over the wire: `PROTOCOL.md`, and the crate `erstwhile-wire`.

pub mod config;

pub mod tokens;

pub mod session;

pub mod answering;

pub mod producers;

pub mod gate;

pub mod stats;

pub mod metrics;

pub mod workers;

pub mod time;

pub mod server;

pub mod net;

pub mod http;

pub mod serve;
