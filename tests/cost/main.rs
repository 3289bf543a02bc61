//! What a question costs is what it asks for: no counter moves with the length of the history, with the other hosts or
//! with the other tables, and no look of any history costs more keys than the rows that it answers allow.

mod bound;
mod fleet;
mod questions;
mod unrelated;
