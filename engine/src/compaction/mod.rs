//! Segments are merged, so that their number stays bounded and what belongs together comes together.
//!
//! Invariants:
//! - A merge changes no answer, with `known_at` or without: facts are moved, and what they mean is written beside them, never
//!   instead.
//! - [`plan`] chooses and touches nothing; [`merge`] works and chooses nothing; files are retired by the store once no
//!   reader has them.

mod indexing;
pub mod merge;
pub mod pace;
pub mod plan;
