//! The engine of erstwhile: what osquery's result logs say goes in, the state of any table of any host at any past
//! instant comes out.
//!
//! Modules stand in the order of the data's journey.

// One row of an osquery table as canonical bytes.
pub mod row;

// Comparing short texts.
mod bytes;

// Distinct things, numbered as they come.
pub mod numbering;

// The words that the whole engine shares: streams, looks, deliveries.
pub mod fact;

// Facts of the store's own: what users say, what lines tell beside their rows.
pub mod note;

// Which agent version a host ran, and what may be concluded from it.
pub mod agent;

// What a stream's name means: osquery's tables, and the store's own map of names.
pub mod catalogue;

// The bytes of logs become parsed lines, lines become deliveries, and deliveries are imported.
pub mod ingest;

// A batch becomes durable.
pub mod log;

// Which files are the store.
pub mod manifest;

// Segments are merged, so that their number stays bounded.
pub mod compaction;

// A sealed memtable becomes an immutable columnar file.
pub mod segment;

// Durable batches become readable in memory; sealing.
pub mod memtable;

// One stream's deliveries become looks in order, row versions and breaks.
pub mod timeline;

// Questions and answers: the state of any table at any past instant, with its evidence.
pub mod read;
pub mod recover;

// A store is copied in generations, and made again from them.
pub mod backup;

// Walks everything, reports, never writes.
pub mod check;

// What every file has in common: names, headers, frames.
pub mod format;

// What can go wrong.
pub mod error;

// What an opener may choose.
pub mod options;

// The façade: open, append, ask, close.
pub mod store;

// Storage and time: real, in memory, and failing on request.
pub mod io;

// Columns as bytes: integers and texts, each block in its smallest form.
pub mod codec;

// Rows as blocks that are small and give one row without the others.
pub mod packing;

#[cfg(test)]
mod readme;
