//! Rows that occur in many places, each kept once or a few times.
//!
//! The users that every machine of an image has are a row or a few in the memory of a reader, however many machines hold them:
//! the cache holds more, and who reads a fleet's rows meets the same few again and again.
//!
//! Invariants:
//! - A row that is given is equal to the bytes that were asked for.
//! - What is kept here takes at most `bytes_max`: a place for each so many bytes, a row of so many at most in each.
//!
//! How: a place by the row's hash. The first time only the hash is noted, so that rows which never come back cost nothing
//! but that; the second time the row is kept. Another row at the same place takes it over, unless the one that is there was
//! given since the last time another wanted its place: rows that never come back are many. Threads that read at once have
//! shares of their own, since the few rows that all hosts have would be counted by all of them, one after the other.

use crate::options::cores;
use crate::row::{Row, hash_of, push_table};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Longer rows are not shared.
const ROW_BYTES_MAX: usize = 1 << 10;

/// In what is noted of a place: its row was given lately.
const IS_USED: u64 = 1;

/// So many shares there are where threads read at once: whoever asks reads with them, and pools have threads that rest.
const SHARES: usize = 4;

/// The number of the next thread.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The number of this thread.
    static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

/// Rows that occurred more than once.
pub struct SharedRows {
    /// Share after share, the hash of the row that is kept at each place or was seen there; its last bit is [`IS_USED`].
    noted: Box<[AtomicU64]>,
    rows: Box<[Mutex<Option<Row>>]>,
    shares: usize,
    /// How many places each share has.
    of_share: usize,
}

impl SharedRows {
    /// Room for rows of `bytes_max` together.
    pub fn new(bytes_max: usize) -> SharedRows {
        let places = bytes_max / (ROW_BYTES_MAX + size_of::<AtomicU64>() + size_of::<Mutex<Option<Row>>>());
        let shares = if cores() == 1 { 1 } else { SHARES };
        SharedRows {
            noted: std::iter::repeat_with(AtomicU64::default).take(places).collect(),
            rows: std::iter::repeat_with(Mutex::default).take(places).collect(),
            shares,
            of_share: places / shares,
        }
    }

    /// Where a row of this hash is kept for this thread.
    fn place(&self, hash: u64) -> Option<usize> {
        // The upper half of the hash as a part of all places, which takes no division.
        let within = ((hash >> 32) * self.of_share as u64) >> 32;
        let share = THREAD.with(|thread| thread % self.shares);
        (self.of_share > 0).then_some(share * self.of_share + within as usize)
    }

    /// The row with these canonical bytes, if it is kept.
    pub fn get(&self, canonical: &[u8]) -> Option<Row> {
        if canonical.len() > ROW_BYTES_MAX {
            return None;
        }
        let hash = hash_of(canonical);
        let place = self.place(hash)?;
        // What other threads note meanwhile costs a row or a place at worst.
        let noted = &self.noted[place];
        let before = noted.load(Ordering::Relaxed);
        if before & !IS_USED != hash & !IS_USED {
            let now = if before & IS_USED != 0 { before } else { hash };
            noted.store(now & !IS_USED, Ordering::Relaxed);
            return None;
        }
        let mut kept = self.rows[place].try_lock()?;
        if let Some(row) = kept.as_ref().filter(|row| row.as_bytes() == canonical) {
            if before & IS_USED == 0 {
                noted.store(before | IS_USED, Ordering::Relaxed);
            }
            return Some(row.clone());
        }
        let mut bytes = canonical.to_vec();
        let has_table = push_table(&mut bytes, 0) && bytes.len() <= ROW_BYTES_MAX;
        if !has_table {
            bytes.truncate(canonical.len());
        }
        let row = Row::with_table(&bytes.into(), 0..canonical.len() as u32, has_table).with_hash(hash);
        *kept = Some(row.clone());
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::RowBuilder;

    fn row(uid: u64) -> Vec<u8> {
        let mut builder = RowBuilder::default();
        builder.column(b"uid", uid.to_string().as_bytes());
        builder.canonical().to_vec()
    }

    fn address(row: &Row) -> *const u8 {
        row.as_bytes().as_ptr()
    }

    #[test]
    fn a_row_is_kept_from_its_second_time_on() {
        let shared = SharedRows::new(1 << 20);
        assert!(shared.get(&row(0)).is_none());
        let second = shared.get(&row(0)).expect("it came twice");
        let third = shared.get(&row(0)).expect("it came again");
        assert_eq!(second.as_bytes(), row(0));
        assert_eq!(address(&second), address(&third));
        assert!(shared.get(&row(1)).is_none());
    }

    #[test]
    fn rows_that_come_once_leave_the_others() {
        let shared = SharedRows::new(2 * SHARES * 1100);
        (0..2).for_each(|_| drop(shared.get(&row(0))));
        let kept = shared.get(&row(0)).expect("it came again");
        for other in 1..100 {
            assert!(shared.get(&row(other)).is_none());
            assert_eq!(shared.get(&row(0)).map(|row| address(&row)), Some(address(&kept)), "after {other}");
        }
        // It is taken over once nobody asks for it any more.
        let others = (100..200).filter(|&other| (0..4).any(|_| shared.get(&row(other)).is_some()));
        assert_eq!(others.count(), 100);
    }

    #[test]
    fn rows_that_meet_in_a_place_are_told_apart() {
        let shared = SharedRows::new(3 * SHARES * 1100);
        for at in 0..1000 {
            let canonical = row(at % 7);
            if let Some(given) = shared.get(&canonical) {
                assert_eq!(given.as_bytes(), canonical);
            }
        }
        let bytes: usize = shared.rows.iter().filter_map(|row| row.lock().as_ref().map(Row::buffer_bytes)).sum();
        assert!(bytes <= 3 * SHARES * 1100);
    }

    #[test]
    fn long_rows_and_no_room_share_nothing() {
        let long = {
            let mut builder = RowBuilder::default();
            builder.column(b"description", &[b'x'; ROW_BYTES_MAX]);
            builder.canonical().to_vec()
        };
        let (none, some) = (SharedRows::new(0), SharedRows::new(1 << 20));
        for _ in 0..3 {
            assert!(some.get(&long).is_none());
            assert!(none.get(&row(0)).is_none());
        }
    }
}
