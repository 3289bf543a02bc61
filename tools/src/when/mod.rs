//! Times in and out: what a person writes becomes an instant, an instant becomes what a person or a program reads.
//!
//! Invariants:
//! - Nothing here looks at the wall clock: "now" is given (`Reader::now`).
//! - A text has one meaning or none: a local time that happens twice or never is refused, never guessed.
//! - Instants lie in the years 1970–9999; what is shown may lie outside, for spans reach over the ends.

// Days and seconds: the proleptic Gregorian calendar without any zone.
pub mod calendar;

// The zone that local times are in.
mod zone;
pub use zone::Zone;

// A person's text to an instant.
mod read;
pub use read::{Reader, WhenError};

// Instants for people.
mod show;

#[cfg(test)]
mod tests;
