//! The messages between servers and clients, as bytes: the codec of `server/PROTOCOL.md`, without a socket.
//!
//! Invariants:
//! - Whatever bytes come, decoding ends with a message or with an error that says where; it never panics, and it makes
//!   room for nothing that the bytes have no room for.
//! - What is decoded and encoded again is the same bytes. Where a message may be written in several ways (what it lists in
//!   vain, networks, costs that a later server counts), it is decoded to the same.
//!
//! The journey: bytes → [`frame`] → [`hello`], [`request`] or [`answer`] (whose rows are [`part`]s), over [`value`].

// How single values are written.
pub mod value;

// Length, type, request, checksum.
pub mod frame;

// How a connection begins.
pub mod hello;

// What a client asks for.
pub mod request;

// What a producer sends of looks.
pub mod looks;

// Rows of an answer, in columns.
pub mod part;

// What a store weighs.
pub mod weight;

// How an answer ends.
pub mod answer;

// Why a request failed.
pub mod failure;

#[cfg(test)]
mod tests;
