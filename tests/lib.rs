//! Tests of erstwhile that cross its crates: the naive model, crashes, corruption, the command itself.

// The independent naive model, the oracle of the comparison.
pub mod model;

// What several tests stand on.
pub mod support;
