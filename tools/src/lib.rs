//! The parts of the `erstwhile` command that tests and other programs may want as a library.

pub mod simulate;
