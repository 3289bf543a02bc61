//! What a manifest promises when it returns.

use super::{ManifestFile, decode_current, read_current};
use crate::format::names;
use crate::io::{AfterCrash, FaultyStorage, ManualClock, Plan, Storage, Unsynced};
use std::sync::Arc;

/// A loss of power right after keeps the store that was made and the file that was begun, without a sync of whatever comes
/// next.
#[test]
fn what_is_begun_is_durable_at_once() {
    let storage = Arc::new(FaultyStorage::new(Plan::default()));
    let (given, clock): (Arc<dyn Storage>, _) = (storage.clone(), Arc::new(ManualClock::new(1)));
    let lost = AfterCrash { bytes: Unsynced::Lost, names: Unsynced::Lost };
    drop(ManifestFile::create_new(given.clone(), clock.clone(), [7; 16]).unwrap());
    assert_eq!(read_current(&storage.after_crash(lost)).unwrap().store_id, [7; 16]);
    drop(ManifestFile::open(given, clock).unwrap());
    let found = storage.after_crash(lost);
    assert_eq!(decode_current(&found.read_from(names::CURRENT, 0).unwrap()).unwrap(), 2);
    read_current(&found).unwrap();
}
