//! Rows that occur in many places, each kept once.
//!
//! The users that every machine of an image has are one row in the memory of a reader, however many machines hold it: the
//! cache holds more, and who reads a fleet's rows meets the same few again and again.
//!
//! Invariants:
//! - A row that is given is equal to the bytes that were asked for.
//! - It takes at most `bytes_max`: a place for each so many bytes, a row of so many at most in each.
//!
//! How: a place by the row's hash. The first time only the hash is noted, so that rows which never come back cost nothing;
//! the second time the row is kept; another row at the same place takes it over.

use crate::row::{Row, hash_of, push_table};
use parking_lot::Mutex;

/// Longer rows are not shared.
const ROW_BYTES_MAX: usize = 1 << 10;

#[derive(Default)]
struct Place {
    hash: u64,
    row: Option<Row>,
}

/// Rows that occurred more than once.
pub struct SharedRows {
    places: Box<[Mutex<Place>]>,
}

impl SharedRows {
    /// Room for rows of `bytes_max` together.
    pub fn new(bytes_max: usize) -> SharedRows {
        let places = bytes_max / (ROW_BYTES_MAX + size_of::<Mutex<Place>>());
        SharedRows { places: std::iter::repeat_with(Mutex::default).take(places).collect() }
    }

    /// The row with these canonical bytes, if it is kept.
    pub fn get(&self, canonical: &[u8]) -> Option<Row> {
        if canonical.len() > ROW_BYTES_MAX || self.places.is_empty() {
            return None;
        }
        let hash = hash_of(canonical);
        let mut place = self.places[hash as usize % self.places.len()].try_lock()?;
        if place.hash != hash {
            *place = Place { hash, row: None };
            return None;
        }
        match &place.row {
            Some(row) => (row.as_bytes() == canonical).then(|| row.clone()),
            None => {
                let mut bytes = canonical.to_vec();
                let has_table = push_table(&mut bytes, 0) && bytes.len() <= ROW_BYTES_MAX;
                if !has_table {
                    bytes.truncate(canonical.len());
                }
                let row = Row::with_table(&bytes.into(), 0..canonical.len() as u32, has_table).with_hash(hash);
                place.row = Some(row.clone());
                Some(row)
            }
        }
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
    fn rows_that_meet_in_a_place_are_told_apart() {
        let shared = SharedRows::new(3 * 1100);
        for at in 0..1000 {
            let canonical = row(at % 7);
            if let Some(given) = shared.get(&canonical) {
                assert_eq!(given.as_bytes(), canonical);
            }
        }
        let bytes: usize =
            shared.places.iter().filter_map(|place| place.lock().row.as_ref().map(Row::buffer_bytes)).sum();
        assert!(bytes <= 3 * 1100);
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
