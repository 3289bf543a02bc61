//! Walks everything, reports, never writes.
//!
//! Invariants:
//! - Of a storage only what reads is called: a read-only directory is enough, and a damaged one is not made worse.
//! - Bytes from anywhere are shown, skipped or reported, and never panic.

pub(crate) mod account;
pub mod fsck;
pub mod inspect;
pub mod loss;
