//! A store that is stopped: at every operation, by failed syncs, by a full disk; a producer that goes on afterwards;
//! readers beside a writer; backups that are made and restored, and merges that are stopped, all the while.

mod backup;
mod beside;
mod compact;
mod full;
mod produce;
mod stop;
mod sync;
