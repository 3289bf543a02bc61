//! What several tests stand on.

/// Stores that are what was written.
pub mod checked;
/// Whether a store tells no more than another.
pub mod less;
/// Losses put into a store.
pub mod lost;
/// A scripted history as the naive model knows it.
pub mod modelled;
/// Chance that can be repeated.
pub mod rng;
/// Logs, questions, and the two who answer them.
#[cfg(feature = "command")]
pub mod scenario;
/// What must be answered about a simulated fleet, from the truth about it.
#[cfg(feature = "command")]
pub mod truth;
/// A scripted history, and what a store holds of it.
pub mod workload;
