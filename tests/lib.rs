//! Tests of erstwhile that cross its crates: the naive model, crashes, corruption, the command itself.
