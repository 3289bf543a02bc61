//! Short texts are compared and copied in place: most names and values are a few bytes, and a call to compare or copy them
//! costs more than that itself.

/// Whether two texts are equal.
#[inline]
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // Two words that overlap, from the front and from the back.
    let words = |a: &[u8; 8], b: &[u8; 8]| u64::from_le_bytes(*a) == u64::from_le_bytes(*b);
    let halves = |a: &[u8; 4], b: &[u8; 4]| u32::from_le_bytes(*a) == u32::from_le_bytes(*b);
    match (a.first_chunk(), b.first_chunk(), a.last_chunk(), b.last_chunk()) {
        (Some(a0), Some(b0), Some(a1), Some(b1)) => {
            words(a0, b0) && words(a1, b1) && (a.len() <= 16 || a[8..a.len() - 8] == b[8..b.len() - 8])
        }
        _ => match (a.first_chunk(), b.first_chunk(), a.last_chunk(), b.last_chunk()) {
            (Some(a0), Some(b0), Some(a1), Some(b1)) => halves(a0, b0) && halves(a1, b1),
            // Of three bytes at most these are all.
            _ => a.first() == b.first() && a.get(a.len() / 2) == b.get(b.len() / 2) && a.last() == b.last(),
        },
    }
}

/// Whether a text begins with another.
#[inline]
pub(crate) fn begins(text: &[u8], with: &[u8]) -> bool {
    text.get(..with.len()).is_some_and(|front| equal(front, with))
}

/// Bytes are copied by so many at a time.
pub(crate) const CHUNK: usize = 32;

/// Copies the first `len` bytes of `from` to the front of `to`, and maybe what follows them: where both go on for a
/// [`CHUNK`] no length is told to the copy.
#[inline(always)]
pub(crate) fn copy(to: &mut [u8], from: &[u8], len: usize) {
    const HALF: usize = CHUNK / 2;
    if len <= CHUNK
        && let (Some(to), Some(from)) = (to.first_chunk_mut::<CHUNK>(), from.first_chunk::<CHUNK>())
    {
        *to = *from;
    } else if len <= HALF
        && let (Some(to), Some(from)) = (to.first_chunk_mut::<HALF>(), from.first_chunk::<HALF>())
    {
        *to = *from;
    } else {
        to[..len].copy_from_slice(&from[..len]);
    }
}

/// A hash of a text's length and ends, whose upper bits are the better ones: for tables that may miss a text.
#[inline]
pub(crate) fn small_hash(text: &[u8]) -> u64 {
    let (first, last) = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
            (Some(first), Some(last)) => (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()),
            _ => match text {
                [] => (0, 0),
                [first, rest @ ..] => {
                    let second = rest.first().copied().unwrap_or(0);
                    (u64::from(*first) << 8 | u64::from(second), u64::from(text[text.len() - 1]))
                }
            },
        },
    };
    (first ^ last.rotate_left(29)).wrapping_add(text.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_of_every_length_counts() {
        for len in 0..40 {
            let text: Vec<u8> = (1..=len).collect();
            assert!(equal(&text, &text.clone()) && begins(&[&text[..], b"more"].concat(), &text));
            assert!(!equal(&text, &[&text[..], b"\0"].concat()) && !begins(&text, &[&text[..], b"\0"].concat()));
            for at in 0..text.len() {
                let mut other = text.clone();
                other[at] ^= 0x80;
                assert!(!equal(&text, &other) && !begins(&text, &other), "byte {at} of {len}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_copied_is_there(
            from in prop::collection::vec(any::<u8>(), 0..80),
            len in any::<prop::sample::Index>(),
            more in 0usize..80,
        ) {
            let len = len.index(from.len() + 1);
            let mut to = vec![0; len + more];
            copy(&mut to, &from, len);
            prop_assert_eq!(&to[..len], &from[..len]);
        }

        #[test]
        fn texts_are_equal_as_slices_are(
            a in prop::collection::vec(0u8..2, 0..20),
            b in prop::collection::vec(0u8..2, 0..20),
        ) {
            prop_assert_eq!(equal(&a, &b), a == b);
            prop_assert_eq!(begins(&a, &b), a.starts_with(&b));
        }
    }
}
