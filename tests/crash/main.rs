//! A store that is stopped: at every operation, by failed syncs, by a full disk; and readers beside a writer.

mod beside;
mod full;
mod stop;
mod sync;
