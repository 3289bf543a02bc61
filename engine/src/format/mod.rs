//! What every file on disk has in common: names, headers and frames. What a frame holds is told beside the code that
//! fills it.
//!
//! Invariants:
//! - This folder knows bytes and names, never files: nothing here reads or writes a disk.
//! - No byte of a store is believed before its checksum was.
//! - Everything is little-endian, of fixed width or a varint; no `usize` reaches a disk.
//! - Numbers of versions, kinds and frame types are never reused.

pub mod frame;

pub mod names;
