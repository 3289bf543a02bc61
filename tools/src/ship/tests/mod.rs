//! A shipper with real files, a clock in the hand, and a sink that fails as servers do.

mod fake;

// Anything that can happen to files and processes, at random, and nothing may be lost or come twice.
mod model;

// Single cases.
mod batches;
mod errors;
mod losses;
mod rotation;
