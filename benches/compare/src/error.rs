//! Whatever goes wrong with a peer is told in words: a person reads it in the table.

/// An error of any peer.
pub(crate) type Error = Box<dyn std::error::Error>;

/// What can fail.
pub(crate) type Result<T> = std::result::Result<T, Error>;
