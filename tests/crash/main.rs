//! A store that is stopped: at every operation, by failed syncs, by a full disk; a producer that goes on afterwards; and
//! readers beside a writer.

mod beside;
mod full;
mod produce;
mod stop;
mod sync;
