//! What several tests stand on.

/// Chance that can be repeated.
pub mod rng;
/// Logs, questions, and the two who answer them.
pub mod scenario;
/// A scripted history, and what a store holds of it.
pub mod workload;
