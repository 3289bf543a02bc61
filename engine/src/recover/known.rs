//! What manifests tell, of whatever age and however damaged.
//!
//! Invariants:
//! - Every segment that any whole frame of any manifest tells of is known; which of them were the store last is known as far
//!   as the frames of the newest file go on. What is wrongly thought to be of it is looked for in vain and told to be lost,
//!   never the other way around.

use super::Found;
use crate::check::inspect::Around;
use crate::check::inspect::walk::{Stretch, stretches};
use crate::codec::varint;
use crate::format::frame::{FileId, FileKind, kind};
use crate::io::Storage;
use crate::log::Durable;
use crate::manifest::{Edit, SegmentMeta, decode_edit};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known beside the segments and logs.
#[derive(Default)]
pub(super) struct Known {
    /// Every segment that was ever told of.
    pub(super) metas: BTreeMap<u64, Arc<SegmentMeta>>,
    /// Those that were the store last.
    pub(super) live: BTreeMap<u64, Arc<SegmentMeta>>,
    /// Logs below this hold nothing that segments lack.
    pub(super) log_floor: u64,
    /// Whether any manifest told anything: without one nobody knows which logs were sealed and removed.
    pub(super) is_told: bool,
    pub(super) next_file: u64,
    pub(super) durable: Option<Durable>,
}

impl Known {
    pub(super) fn of(storage: &dyn Storage, files: &[Found], store: Option<[u8; 16]>) -> Known {
        let mut known = Known { durable: Around::of(storage).durable, ..Known::default() };
        // The last that can be read is in force, whichever `CURRENT` names: of two the older says less.
        let mut manifests: Vec<&Found> = files.iter().filter(|file| file.kind == FileKind::Manifest).collect();
        manifests.sort_by_key(|file| file.number);
        for file in manifests {
            if let (Ok(bytes), Some(store)) = (storage.read_from(&file.name, 0), store) {
                known.take(&bytes, FileId { store, number: file.number });
            }
        }
        known
    }

    fn take(&mut self, bytes: &[u8], id: FileId) {
        let mut is_begun = false;
        for stretch in stretches(bytes, &id, FileKind::Manifest) {
            let Stretch::Sound(_, frame) = stretch else { continue };
            let mut payload = frame.payload;
            if frame.kind == kind::SNAPSHOT && varint::take_u64(&mut payload).is_err() {
                continue;
            }
            let (true, Ok(edit)) = (matches!(frame.kind, kind::SNAPSHOT | kind::EDIT), decode_edit(payload)) else {
                continue;
            };
            if !std::mem::replace(&mut is_begun, true) {
                self.live.clear();
            }
            self.apply(edit);
        }
    }

    fn apply(&mut self, Edit { add, remove, log_floor, next_file, .. }: Edit) {
        self.is_told = true;
        for number in remove {
            self.live.remove(&number);
        }
        for meta in add {
            self.metas.insert(meta.number, meta.clone());
            self.live.insert(meta.number, meta);
        }
        self.log_floor = self.log_floor.max(log_floor.unwrap_or(0));
        self.next_file = self.next_file.max(next_file);
    }
}
