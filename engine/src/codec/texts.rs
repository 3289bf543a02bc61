#![doc = include_str!("texts.md")]

use super::{Fault, ints, take, take_between, take_u8, varint, zstd};
use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry;

/// Which texts are there; the numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Presence {
    All = 0,
    None = 1,
    Bitmap = 2,
}

/// The form of a block; the numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Form {
    Constant = 0,
    Dictionary = 1,
    Decimal = 2,
    Plain = 3,
}

/// The names of the form and the presence of the block at the front of `bytes`, for tools that show it; `None` if there
/// is no such form or presence.
pub fn form_words(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    const FORMS: [&str; 4] = ["constant", "dictionary", "decimal", "plain"];
    const PRESENCES: [&str; 3] = ["all", "none", "bitmap"];
    let tag = usize::from(*bytes.first()?);
    Some((FORMS.get(tag & 15)?, PRESENCES.get(tag >> 4)?))
}

const PAYLOAD_RAW: u8 = 0;
const PAYLOAD_ZSTD: u8 = 1;

/// Payloads below this never shrink.
const ZSTD_BYTES_MIN: usize = 24;

/// Zstd's level where nothing speaks for another.
pub const LEVEL_DEFAULT: i32 = 3;

/// The most bytes of distinct texts that a block can hold.
pub const TEXT_BYTES_MAX: usize = u32::MAX as usize;

/// The most bytes that a block of so many places with so many bytes of text takes.
pub const fn size_max(count: usize, text_bytes: usize) -> usize {
    if count == 0 { 0 } else { count / 8 + 8 * count + text_bytes + 30 }
}

/// Appends the texts in their smallest form; `level` is zstd's.
///
/// # Panics
///
/// If the texts together exceed [`TEXT_BYTES_MAX`].
pub fn encode(texts: &[Option<&[u8]>], level: i32, out: &mut Vec<u8>) {
    if texts.is_empty() {
        return;
    }
    let present: Vec<&[u8]> = texts.iter().flatten().copied().collect();
    let total: u64 = present.iter().map(|text| text.len() as u64).sum();
    assert!(total <= TEXT_BYTES_MAX as u64, "{total} bytes of text in one block");
    let presence = match present.len() {
        0 => Presence::None,
        n if n == texts.len() => Presence::All,
        _ => Presence::Bitmap,
    };
    let tag_at = out.len();
    out.push((presence as u8) << 4);
    if presence == Presence::Bitmap {
        out.extend(
            texts
                .chunks(8)
                .map(|chunk| chunk.iter().enumerate().fold(0, |byte, (i, text)| byte | u8::from(text.is_some()) << i)),
        );
    }
    let Some(&first) = present.first() else {
        return;
    };
    let form = if present.iter().all(|&text| text == first) {
        varint::put_u64(out, first.len() as u64);
        out.extend_from_slice(first);
        Form::Constant
    } else {
        let (form, body) = smallest(&present, level);
        out.extend_from_slice(&body);
        form
    };
    out[tag_at] |= form as u8;
}

/// The smallest form but constant of at least two texts.
fn smallest(present: &[&[u8]], level: i32) -> (Form, Vec<u8>) {
    let (distinct, codes) = distinct(present);
    let numbers: Option<Vec<i64>> = present.iter().map(|text| parse_decimal(text)).collect();
    let mut candidates = Vec::with_capacity(3);
    if let Some(numbers) = &numbers {
        let mut body = Vec::new();
        ints::encode_signed(numbers, &mut body);
        candidates.push((Form::Decimal, body));
    } else if distinct.len() * 2 > present.len() {
        let mut body = Vec::new();
        put_texts(present, level, &mut body);
        candidates.push((Form::Plain, body));
    }
    if distinct.len() < present.len() {
        let mut body = Vec::new();
        varint::put_u64(&mut body, distinct.len() as u64);
        put_texts(&distinct, level, &mut body);
        ints::encode(&codes, &mut body);
        candidates.push((Form::Dictionary, body));
    }
    let smallest = candidates.into_iter().min_by_key(|(_, body)| body.len());
    smallest.expect("plain is tried where a dictionary is not, unless decimal is")
}

/// The distinct texts in the order of their first use, and which one each place has.
fn distinct<'a>(present: &[&'a [u8]]) -> (Vec<&'a [u8]>, Vec<u64>) {
    let mut seen = FxHashMap::default();
    let mut distinct = Vec::new();
    let codes = present.iter().map(|&text| match seen.entry(text) {
        Entry::Occupied(seen) => *seen.get(),
        Entry::Vacant(vacant) => {
            distinct.push(text);
            *vacant.insert(distinct.len() as u64 - 1)
        }
    });
    let codes = codes.collect();
    (distinct, codes)
}

/// Lengths and payload.
fn put_texts(texts: &[&[u8]], level: i32, out: &mut Vec<u8>) {
    let lengths: Vec<u64> = texts.iter().map(|text| text.len() as u64).collect();
    ints::encode(&lengths, out);
    let bytes = texts.concat();
    if bytes.len() >= ZSTD_BYTES_MIN {
        out.push(PAYLOAD_ZSTD);
        if zstd::encode_if_smaller(&bytes, level, bytes.len(), out) {
            return;
        }
        out.pop();
    }
    out.push(PAYLOAD_RAW);
    out.extend_from_slice(&bytes);
}

/// The number that prints back as exactly this text.
fn parse_decimal(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let canonical = match digits {
        [b'0'] => !negative,
        [b'1'..=b'9', rest @ ..] => rest.len() < 19,
        _ => false,
    };
    if !canonical {
        return None;
    }
    // Downwards, because the least number has no positive twin.
    let least = digits.iter().try_fold(0i64, |value, &digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| value.checked_mul(10)?.checked_sub(i64::from(digit)))?
    })?;
    if negative { Some(least) } else { least.checked_neg() }
}

/// Appends a number as its text; the inverse of [`parse_decimal`].
fn put_decimal(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut at, mut left) = (digits.len(), value.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.extend_from_slice(&digits[at..]);
}

/// A decoded block: places, each with one of the distinct texts or with none.
///
/// *Entries* are the texts that are stored: those of a dictionary, or one for every present place where the block has no
/// dictionary. A predicate need be decided only once for each.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// All entries end to end.
    bytes: Vec<u8>,
    /// Where each entry ends.
    ends: Vec<u32>,
    places: usize,
    codes: Codes,
}

/// Which entry each place has.
#[derive(Clone, Debug, Default)]
enum Codes {
    #[default]
    Absent,
    /// All have the first.
    First,
    /// Each has its own.
    Own,
    /// By place; [`ABSENT`] for none.
    Table(Vec<u32>),
}

const ABSENT: u32 = u32::MAX;

impl Texts {
    /// How many places there are.
    pub fn len(&self) -> usize {
        self.places
    }

    /// Whether there are no places.
    pub fn is_empty(&self) -> bool {
        self.places == 0
    }

    /// The text of a place; `None` if it is absent, or if there is no such place.
    #[inline]
    pub fn get(&self, place: usize) -> Option<&[u8]> {
        self.code(place).map(|code| self.entry(code))
    }

    /// Which entry a place has; `None` if its text is absent, or if there is no such place.
    #[inline]
    pub fn code(&self, place: usize) -> Option<usize> {
        match &self.codes {
            Codes::Absent => None,
            Codes::First => (place < self.places).then_some(0),
            Codes::Own => (place < self.places).then_some(place),
            Codes::Table(codes) => codes.get(place).filter(|&&code| code != ABSENT).map(|&code| code as usize),
        }
    }

    /// How many entries there are.
    pub fn entries(&self) -> usize {
        self.ends.len()
    }

    /// The text of an entry.
    ///
    /// # Panics
    ///
    /// If there is no such entry.
    #[inline]
    pub fn entry(&self, code: usize) -> &[u8] {
        let start = if code == 0 { 0 } else { self.ends[code - 1] };
        &self.bytes[start as usize..self.ends[code] as usize]
    }

    /// The text of every place in turn.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        (0..self.places).map(|place| self.get(place))
    }

    /// The memory it holds.
    pub fn memory_bytes(&self) -> usize {
        let codes = if let Codes::Table(codes) = &self.codes { codes.capacity() } else { 0 };
        self.bytes.capacity() + 4 * (self.ends.capacity() + codes)
    }
}

/// Takes a block of so many places off the front, whose entries may take `limit_bytes` together.
///
/// Beyond the limit it allocates a small multiple of the count; bound both.
pub fn decode(bytes: &mut &[u8], count: usize, limit_bytes: usize) -> Result<Texts, Fault> {
    if count == 0 {
        return Ok(Texts::default());
    }
    if count >= ABSENT as usize {
        return Err(Fault::Range { found: count as u64, min: 0, max: u64::from(ABSENT) - 1 });
    }
    let limit = limit_bytes.min(TEXT_BYTES_MAX);
    let tag = take_u8(bytes)?;
    let (presence, form) = (tag >> 4, tag & 15);
    let bitmap = match presence {
        p if p == Presence::All as u8 => None,
        p if p == Presence::None as u8 && form == 0 => {
            return Ok(Texts { places: count, ..Texts::default() });
        }
        p if p == Presence::Bitmap as u8 => Some(take_bitmap(bytes, count)?),
        _ => return Err(Fault::Tag { found: tag }),
    };
    let present = bitmap.map_or(count, |(_, present)| present);
    let mut texts = Texts { places: count, ..Texts::default() };
    let codes = match form {
        f if f == Form::Constant as u8 => {
            let len = varint::take_u64(bytes)?;
            check_limit(len, limit)?;
            texts.bytes = take(bytes, len as usize)?.to_vec();
            texts.ends = vec![len as u32];
            Codes::First
        }
        f if f == Form::Dictionary as u8 => {
            let distinct = take_between(bytes, 1, present as u64)?;
            take_texts(bytes, distinct as usize, limit, &mut texts)?;
            Codes::Table(take_codes(bytes, present, distinct)?)
        }
        f if f == Form::Decimal as u8 => {
            take_decimals(bytes, present, limit, &mut texts)?;
            Codes::Own
        }
        f if f == Form::Plain as u8 => {
            take_texts(bytes, present, limit, &mut texts)?;
            Codes::Own
        }
        _ => return Err(Fault::Tag { found: tag }),
    };
    texts.codes = match bitmap {
        None => codes,
        Some((bitmap, _)) => spread(bitmap, count, codes),
    };
    Ok(texts)
}

fn check_limit(needed: u64, limit: usize) -> Result<(), Fault> {
    if needed <= limit as u64 { Ok(()) } else { Err(Fault::Limit { needed, limit: limit as u64 }) }
}

/// The bitmap and how many bits are set in it.
fn take_bitmap<'a>(bytes: &mut &'a [u8], count: usize) -> Result<(&'a [u8], usize), Fault> {
    let bitmap = take(bytes, count.div_ceil(8))?;
    let last = *bitmap.last().unwrap_or(&0);
    let spare = bitmap.len() * 8 - count;
    if usize::from(last) >> (8 - spare) != 0 {
        return Err(Fault::Range { found: u64::from(last), min: 0, max: (1 << (8 - spare)) - 1 });
    }
    let present: usize = bitmap.iter().map(|byte| byte.count_ones() as usize).sum();
    if present == 0 || present == count {
        return Err(Fault::Range { found: present as u64, min: 1, max: count as u64 - 1 });
    }
    Ok((bitmap, present))
}

/// The codes of the present places, with the absent ones between them.
fn spread(bitmap: &[u8], count: usize, codes: Codes) -> Codes {
    let mut rank = 0;
    let table = (0..count).map(|place| {
        if bitmap[place / 8] >> (place % 8) & 1 == 0 {
            return ABSENT;
        }
        rank += 1;
        match &codes {
            Codes::Absent => ABSENT,
            Codes::First => 0,
            Codes::Own => rank as u32 - 1,
            Codes::Table(codes) => codes[rank - 1],
        }
    });
    Codes::Table(table.collect())
}

fn take_codes(bytes: &mut &[u8], present: usize, distinct: u64) -> Result<Vec<u32>, Fault> {
    let codes = ints::decode(bytes, present)?;
    if let Some(&found) = codes.iter().find(|&&code| code >= distinct) {
        return Err(Fault::Range { found, min: 0, max: distinct - 1 });
    }
    Ok(codes.into_iter().map(|code| code as u32).collect())
}

/// Lengths and payload.
fn take_texts(bytes: &mut &[u8], count: usize, limit: usize, texts: &mut Texts) -> Result<(), Fault> {
    let lengths = ints::decode(bytes, count)?;
    let total = lengths.iter().fold(0u64, |sum, &len| sum.saturating_add(len));
    check_limit(total, limit)?;
    let mut end = 0;
    texts.ends = lengths
        .into_iter()
        .map(|len| {
            end += len as u32;
            end
        })
        .collect();
    match take_u8(bytes)? {
        PAYLOAD_RAW => {
            texts.bytes = take(bytes, total as usize)?.to_vec();
            Ok(())
        }
        PAYLOAD_ZSTD => zstd::decode(bytes, total as usize, &mut texts.bytes),
        found => Err(Fault::Tag { found }),
    }
}

fn take_decimals(bytes: &mut &[u8], count: usize, limit: usize, texts: &mut Texts) -> Result<(), Fault> {
    let numbers = ints::decode_signed(bytes, count)?;
    let total = numbers.iter().map(|&number| decimal_len(number)).sum();
    check_limit(total, limit)?;
    texts.bytes.reserve_exact(total as usize);
    texts.ends.reserve_exact(count);
    for number in numbers {
        put_decimal(number, &mut texts.bytes);
        texts.ends.push(texts.bytes.len() as u32);
    }
    Ok(())
}

fn decimal_len(value: i64) -> u64 {
    u64::from(value < 0) + 1 + u64::from(value.unsigned_abs().checked_ilog10().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(texts: &[Option<&[u8]>]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(texts, LEVEL_DEFAULT, &mut out);
        out
    }

    /// The form of texts, all of them present, after a round trip.
    fn form_of(texts: impl IntoIterator<Item = String>) -> u8 {
        let texts: Vec<String> = texts.into_iter().collect();
        let texts: Vec<Option<&[u8]>> = texts.iter().map(|text| Some(text.as_bytes())).collect();
        let out = block(&texts);
        check(&texts, &out);
        out[0]
    }

    fn check(texts: &[Option<&[u8]>], out: &[u8]) {
        let text_bytes: usize = texts.iter().flatten().map(|text| text.len()).sum();
        assert!(out.len() <= size_max(texts.len(), text_bytes));
        let with_more = [out, &[0xee]].concat();
        let mut rest = &with_more[..];
        let back = decode(&mut rest, texts.len(), text_bytes).unwrap();
        assert_eq!(rest, [0xee]);
        assert_eq!(back.len(), texts.len());
        assert!(back.iter().eq(texts.iter().copied()));
        assert!(back.get(texts.len()).is_none());
    }

    #[test]
    fn the_page_tells_the_forms() {
        let page = include_str!("texts.md");
        for form in [Form::Constant, Form::Dictionary, Form::Decimal, Form::Plain] {
            let word = format!("{form:?}").to_lowercase();
            assert_eq!(form_words(&[form as u8]), Some((&*word, "all")));
            let row = format!("\n| {} | {word} |", form as u8);
            assert!(page.contains(&row), "{row}");
        }
        for presence in [Presence::All, Presence::None, Presence::Bitmap] {
            let word = format!("{presence:?}").to_lowercase();
            assert_eq!(form_words(&[(presence as u8) << 4]), Some(("constant", &*word)));
            let row = format!("\n| {} | {word}", presence as u8);
            assert!(page.contains(&row), "{row}");
        }
        assert!(page.contains(&format!("{PAYLOAD_RAW} as they are, or {PAYLOAD_ZSTD} as a")));
        assert!(page.contains(&format!("n/8 + 8n + b + {} bytes", size_max(1, 0) - 8)));
        assert_eq!(block(&[Some(b"a"), None, Some(b"b")]), [0x23, 0x05, 0x00, 0x01, 0x00, 0x61, 0x62]);
        assert!(page.contains("tag `23`, bitmap `05`, lengths 1 and 1 (`00 01`), payload `00 61 62`"));
    }

    #[test]
    fn each_shape_finds_its_form() {
        assert!(block(&[]).is_empty());
        assert_eq!(block(&[None; 100]), [0x10]);
        assert_eq!(block(&[Some(b"")]), [0, 0]);
        assert_eq!(form_of((0..100).map(|_| "root".to_owned())), Form::Constant as u8);
        assert_eq!(form_of((0..100).map(|i| ["ext4", "tmpfs", "xfs"][i * i % 3].to_owned())), Form::Dictionary as u8);
        assert_eq!(form_of((0..100).map(|i| (i * i - 50).to_string())), Form::Decimal as u8);
        let uid =
            |i: u64| ["0", "501", "4294967294", "-9000000000"][(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62) as usize];
        assert_eq!(form_of((0..200).map(|i| uid(i * i).to_owned())), Form::Dictionary as u8, "few distinct numbers");
        assert_eq!(form_of((0..100).map(|i| format!("/usr/bin/{i:03}"))), Form::Plain as u8);
        assert_eq!(form_of(["007", "0"].map(str::to_owned)), Form::Plain as u8);
    }

    #[test]
    fn absent_is_not_empty() {
        let texts = [None, Some(&b""[..]), Some(b"x"), Some(b""), None];
        let out = block(&texts);
        check(&texts, &out);
        let constant = [Some(&b""[..]), None];
        check(&constant, &block(&constant));
    }

    #[test]
    fn only_what_prints_back_is_decimal() {
        for good in ["0", "-1", "10", "9223372036854775807", "-9223372036854775808"] {
            let number = parse_decimal(good.as_bytes()).unwrap();
            let mut back = Vec::new();
            put_decimal(number, &mut back);
            assert_eq!((number.to_string(), &back[..]), (good.to_owned(), good.as_bytes()));
            assert_eq!(decimal_len(number), good.len() as u64);
        }
        for bad in [
            "",
            "-",
            "-0",
            "00",
            "01",
            "+1",
            " 1",
            "1 ",
            "1a",
            "--1",
            "1:",
            "1/",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999999",
        ] {
            assert_eq!(parse_decimal(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_dictionary_is_not_expanded() {
        let long = "x".repeat(1000);
        let texts: Vec<Option<&[u8]>> = (0..1000).map(|i| [Some(long.as_bytes()), Some(b"y"), None][i % 3]).collect();
        let out = block(&texts);
        let back = decode(&mut &out[..], 1000, 1001).unwrap();
        assert_eq!((back.entries(), back.entry(0), back.entry(1)), (2, long.as_bytes(), &b"y"[..]));
        assert_eq!((back.code(3), back.code(4), back.code(5)), (Some(0), Some(1), None));
        assert!(back.memory_bytes() < 6000, "{}", back.memory_bytes());
        assert_eq!(decode(&mut &out[..], 1000, 1000).unwrap_err(), Fault::Limit { needed: 1001, limit: 1000 });
    }

    #[test]
    fn lies_are_refused() {
        let fault = |bytes: &[u8], count| decode(&mut &*bytes, count, 100).unwrap_err();
        assert_eq!(fault(&[], 1), Fault::Length { needed: 1, found: 0 });
        assert_eq!(fault(&[0x30], 1), Fault::Tag { found: 0x30 });
        assert_eq!(fault(&[0x04], 1), Fault::Tag { found: 0x04 });
        assert_eq!(fault(&[0x11], 1), Fault::Tag { found: 0x11 });
        assert_eq!(fault(&[0x20, 0], 2), Fault::Range { found: 0, min: 1, max: 1 }, "a bitmap that says none");
        assert_eq!(fault(&[0x20, 3], 2), Fault::Range { found: 2, min: 1, max: 1 }, "a bitmap that says all");
        assert_eq!(fault(&[0x20, 5], 2), Fault::Range { found: 5, min: 0, max: 3 }, "a bit past the end");
        assert_eq!(fault(&[0, 101], 1), Fault::Limit { needed: 101, limit: 100 });
        assert_eq!(fault(&[3, 0, 101], 1), Fault::Limit { needed: 101, limit: 100 });
        assert_eq!(fault(&[3, 0, 1, 2, b'x'], 1), Fault::Tag { found: 2 });
        assert_eq!(fault(&[1, 3], 2), Fault::Range { found: 3, min: 1, max: 2 }, "more distinct texts than texts");
        let code = [1, 1, 0, 1, 0, b'x', 0, 1];
        assert_eq!(fault(&code, 2), Fault::Range { found: 1, min: 0, max: 0 }, "a code past the dictionary");
    }

    /// Texts of many shapes, some absent.
    fn shapes() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
        let raw = prop::collection::vec((any::<i64>(), prop::collection::vec(any::<u8>(), 0..20)), 0..200);
        (raw, 0u32..6, 0u32..64, 0i64..5).prop_map(|(raw, shape, shift, gaps)| {
            raw.into_iter()
                .map(|(random, bytes)| {
                    let small = random >> shift;
                    let text = match shape {
                        0 => bytes,
                        1 => small.to_string().into_bytes(),
                        2 => format!("/usr/lib/{}", small.rem_euclid(9)).into_bytes(),
                        3 => format!("/opt/bin/program --flag={small}").into_bytes(),
                        4 => b"same".to_vec(),
                        _ => bytes.into_iter().take(1).collect(),
                    };
                    let absent = match gaps {
                        0 | 1 => false,
                        2 => true,
                        _ => random.rem_euclid(gaps) == 0,
                    };
                    (!absent).then_some(text)
                })
                .collect()
        })
    }

    fn borrowed(texts: &[Option<Vec<u8>>]) -> Vec<Option<&[u8]>> {
        texts.iter().map(|text| text.as_deref()).collect()
    }

    /// Whatever the bytes, an answer is whole and within its bounds.
    fn look_at(bytes: &[u8], count: usize, limit: usize) {
        if let Ok(texts) = decode(&mut &*bytes, count, limit) {
            assert_eq!(texts.iter().count(), count);
            assert!(texts.memory_bytes() <= limit + 8 * count, "{}", texts.memory_bytes());
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(texts in shapes(), level in -5i32..12) {
            let texts = borrowed(&texts);
            let mut out = Vec::new();
            encode(&texts, level, &mut out);
            check(&texts, &out);
        }

        #[test]
        fn no_bytes_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            presence in 0u8..3,
            form in 0u8..5,
            count in 0usize..100,
            limit in 0usize..1000,
        ) {
            look_at(&[&[presence << 4 | form][..], &bytes].concat(), count, limit);
        }

        #[test]
        fn no_change_panics(
            texts in shapes(), at: prop::sample::Index, byte: u8, cut: bool, count in 0usize..250, limit in 0usize..5000,
        ) {
            let mut out = block(&borrowed(&texts));
            if !out.is_empty() {
                let at = at.index(out.len());
                out[at] = byte;
                out.truncate(if cut { at } else { out.len() });
            }
            look_at(&out, count, limit);
            look_at(&out, texts.len(), limit);
        }
    }
}
