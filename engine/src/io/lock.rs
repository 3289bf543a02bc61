#![doc = include_str!("lock.md")]

pub(crate) const MAGIC: [u8; 8] = *b"erstlk\x00\x01";

/// Where the note begins; its checksum follows it.
pub(crate) const NOTE_AT: usize = 8;
const NOTE_SIZE: usize = 32;
/// The note with its checksum, as written at [`NOTE_AT`].
pub(crate) const NOTE_FIELD_SIZE: usize = NOTE_SIZE + 4;
pub(crate) const HOLDER_LEN_AT: usize = 44;
pub(crate) const HOLDER_CRC_AT: usize = 48;
pub(crate) const HOLDER_AT: usize = 52;
const _: () = assert!(NOTE_AT == MAGIC.len() && NOTE_AT + NOTE_FIELD_SIZE == HOLDER_LEN_AT);
const _: () = assert!(HOLDER_LEN_AT + 4 == HOLDER_CRC_AT && HOLDER_CRC_AT + 4 == HOLDER_AT);

/// More text than this from a holder is cut.
const HOLDER_BYTES_MAX: usize = 4096;

/// What a holder published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// The note.
    pub bytes: [u8; NOTE_SIZE],
    /// Whether that was a holder before the one that has the lock now, or had it last: that one has said nothing yet.
    pub is_left: bool,
}

/// The whole file for a new holder, with the note of the file before if that has one.
pub(super) fn file(holder: &str, before: &[u8]) -> Vec<u8> {
    let holder = &holder[..holder.floor_char_boundary(HOLDER_BYTES_MAX)];
    let mut bytes = Vec::with_capacity(HOLDER_AT + holder.len());
    bytes.extend(MAGIC);
    bytes.extend(match note(before) {
        Field::Is(note) => note_field(&Note { is_left: true, ..note }),
        Field::Absent | Field::Torn => [0; NOTE_FIELD_SIZE],
    });
    bytes.extend((holder.len() as u32).to_le_bytes());
    bytes.extend(crc32fast::hash(holder.as_bytes()).to_le_bytes());
    bytes.extend(holder.as_bytes());
    bytes
}

/// By the checksum beside a note, whether a holder before published it; `None` if it is not the note's.
pub(crate) fn is_left(note: &[u8], crc: u32) -> Option<bool> {
    let own = crc32fast::hash(note);
    if crc == own { Some(false) } else { (crc == !own).then_some(true) }
}

/// The bytes to write at [`NOTE_AT`].
pub(super) fn note_field(note: &Note) -> [u8; NOTE_FIELD_SIZE] {
    let mut field = [0; NOTE_FIELD_SIZE];
    let crc = crc32fast::hash(&note.bytes);
    field[..NOTE_SIZE].copy_from_slice(&note.bytes);
    field[NOTE_SIZE..].copy_from_slice(&if note.is_left { !crc } else { crc }.to_le_bytes());
    field
}

/// What a file says of its note.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Absent,
    /// Perhaps being written: read again.
    Torn,
    Is(Note),
}

/// The note of a whole file or of its front.
pub(crate) fn note(file: &[u8]) -> Field {
    let Some(field) = file.get(NOTE_AT..NOTE_AT + NOTE_FIELD_SIZE) else {
        return Field::Absent;
    };
    let Some((bytes, crc)) = field.split_first_chunk::<NOTE_SIZE>() else {
        return Field::Absent;
    };
    let crc = crc.first_chunk().map_or(0, |crc| u32::from_le_bytes(*crc));
    if !file.starts_with(&MAGIC) || field.iter().all(|&byte| byte == 0) {
        return Field::Absent;
    }
    is_left(bytes, crc).map_or(Field::Torn, |is_left| Field::Is(Note { bytes: *bytes, is_left }))
}

/// The holder's text, if the file verifies so far.
pub(crate) fn holder(file: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u32::from_le_bytes(*file.get(at..)?.first_chunk()?));
    let len = word(HOLDER_LEN_AT)?;
    let text = file.get(HOLDER_AT..)?.get(..len as usize)?;
    (file.starts_with(&MAGIC) && crc32fast::hash(text) == word(HOLDER_CRC_AT)?)
        .then(|| String::from_utf8_lossy(text).into_owned())
}

/// Stands for a holder that left no readable text.
pub(super) const UNKNOWN_HOLDER: &str = "someone who left no name";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_offsets_of_the_code() {
        let page = include_str!("lock.md");
        let rows = [
            (0, MAGIC.len(), "bytes | magic"),
            (NOTE_AT, NOTE_SIZE, "bytes | note"),
            (NOTE_AT + NOTE_SIZE, 4, "u32 LE | CRC-32 of the note"),
            (HOLDER_LEN_AT, 4, "u32 LE | length"),
            (HOLDER_CRC_AT, 4, "u32 LE | CRC-32 of the holder"),
        ];
        for (at, size, what) in rows {
            assert!(page.contains(&format!("\n| {at} | {size} | {what}")), "{what}");
        }
        assert!(page.contains(&format!("\n| {HOLDER_AT} | | bytes | the holder's text")));
        assert_eq!(crc32fast::hash(&[0; NOTE_SIZE]), 0x190a_55ad);
    }

    #[test]
    fn whatever_does_not_verify_is_absent() {
        let mut bytes = file("pid 7", &[]);
        assert_eq!((holder(&bytes).as_deref(), note(&bytes)), (Some("pid 7"), Field::Absent));
        let published = Note { bytes: [9; NOTE_SIZE], is_left: false };
        bytes[NOTE_AT..NOTE_AT + NOTE_FIELD_SIZE].copy_from_slice(&note_field(&published));
        assert_eq!(note(&bytes), Field::Is(published));
        let left = Field::Is(Note { is_left: true, ..published });
        let next = file("pid 8", &bytes);
        assert_eq!((holder(&next).as_deref(), note(&next)), (Some("pid 8"), left));
        let left = note(&next);
        assert_eq!(note(&file("pid 9", &next)), left, "it is kept as long as nobody says anything new");
        bytes[NOTE_AT] = 8;
        assert_eq!(note(&bytes), Field::Torn);
        assert_eq!(note(&file("pid 8", &bytes)), Field::Absent);
        for cut in 0..bytes.len() {
            assert_eq!(holder(&bytes[..cut]), None);
            note(&bytes[..cut]);
        }
    }
}
