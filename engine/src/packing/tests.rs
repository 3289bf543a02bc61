//! Rows go in and come out, whatever they are and whatever was learned.

use super::numbers::Form;
use super::*;
use crate::row::RowBuilder;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

type Columns = Vec<(Vec<u8>, Vec<u8>)>;

fn canonical(columns: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut builder = RowBuilder::new();
    columns.iter().for_each(|(name, text)| builder.column(name, text));
    builder.canonical().to_vec()
}

fn row(columns: &[(&str, &str)]) -> Vec<u8> {
    let columns: Columns =
        columns.iter().map(|(name, text)| (name.as_bytes().into(), text.as_bytes().into())).collect();
    canonical(&columns)
}

/// Looks of so many rows, a minute apart.
struct Even {
    starts: Vec<u32>,
    seconds: Vec<i64>,
}

impl Even {
    fn new(rows: usize, each: usize) -> Even {
        let starts: Vec<u32> = (0..rows.max(1)).step_by(each).map(|start| start as u32).collect();
        let seconds = (0..starts.len()).map(|look| 1_767_225_600 + 60 * look as i64).collect();
        Even { starts, seconds }
    }

    fn looks(&self) -> Looks<'_> {
        Looks { starts: &self.starts, seconds: &self.seconds }
    }
}

fn learn(rows: &[Vec<u8>], looks: &Looks<'_>) -> Arc<Dictionary> {
    let mut learner = Learner::new();
    rows.iter().enumerate().for_each(|(i, row)| learner.row(row, looks.at(i).second));
    let dictionary = learner.finish();
    let (mut bytes, mut again) = (Vec::new(), Vec::new());
    dictionary.encode(&mut bytes);
    let decoded = Dictionary::decode(&bytes).unwrap();
    decoded.encode(&mut again);
    assert_eq!(bytes, again, "a decoded dictionary is the encoded one");
    Arc::new(decoded)
}

fn pack(dictionary: &Arc<Dictionary>, rows: &[Vec<u8>], looks: Looks<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Packer::new(dictionary.clone()).pack(rows, looks, &mut out);
    out
}

/// Reads several rows at once: all, some of them in other steps, and all in no order.
fn check_several(block: &Block<'_>, rows: &[Vec<u8>], looks: &Looks<'_>) {
    let all = || 0..rows.len() as u16;
    let steps = [1, 2, 3, 5, 7, 11].map(|step| all().step_by(step).collect::<Vec<u16>>());
    let mixed = all().rev().step_by(2).chain(all().step_by(3)).collect();
    let (mut scratch, mut out) = (RowsScratch::default(), Vec::new());
    for wanted in steps.into_iter().chain([mixed]) {
        out.clear();
        out.push(7);
        let mut found = Vec::new();
        let mut rest = &wanted[..];
        while !rest.is_empty() {
            let put = |k: usize, start: usize, out: &mut Vec<u8>| {
                found.push((rest[k], out[start..].to_vec()));
                // What follows stands behind whatever is left here.
                if k.is_multiple_of(2) { out.truncate(start) } else { out.extend([0; 5]) }
            };
            let count = block.rows(looks, rest, &mut scratch, &mut out, put).unwrap();
            assert!(count > 0);
            rest = &rest[count..];
        }
        let expected: Vec<_> = wanted.iter().map(|&i| (i, rows[usize::from(i)].clone())).collect();
        assert_eq!(found, expected);
        assert_eq!(out[0], 7);
    }
    let outside = [0, rows.len() as u16];
    assert!(block.rows(looks, &outside, &mut scratch, &mut out, |_, _, _| ()).is_err());
}

/// Packs rows with what was learned from others, and reads them by row, by column and by name.
fn check(dictionary: &Arc<Dictionary>, rows: &[Vec<u8>], looks: &Looks<'_>) -> Vec<u8> {
    let bytes = pack(dictionary, rows, *looks);
    let block = Block::open(dictionary, &bytes, rows.len()).unwrap();
    check_several(&block, rows, looks);
    let mut out = Vec::new();
    for (i, row) in rows.iter().enumerate().rev() {
        out.clear();
        block.row(looks, i, &mut out).unwrap();
        assert_eq!(&out, row, "row {i}");
        for cell in super::cells::Cells::new(row) {
            out.clear();
            if let Some(column) = dictionary.column(cell.name) {
                let number = super::tokens::parse_integer(cell.text);
                assert_eq!(block.number(looks, i, column).unwrap(), number, "row {i}");
            }
            assert!(block.by_name(looks, i, cell.name, &mut out).unwrap());
            assert_eq!(out, cell.text, "row {i}");
        }
        out.clear();
        let mut known = 0;
        for column in 0..dictionary.columns().count() {
            known += usize::from(block.column(looks, i, column, &mut out).unwrap());
        }
        assert!(known <= super::cells::Cells::new(row).count());
        assert!(!block.by_name(looks, i, b"no such column", &mut out).unwrap());
    }
    let mut weights = ColumnWeights::new();
    weigh(dictionary, &bytes, rows.len(), looks, &mut weights).unwrap();
    let mut told: BTreeMap<Vec<u8>, (u64, u64)> = BTreeMap::new();
    for cell in rows.iter().flat_map(|row| super::cells::Cells::new(row)) {
        let (rows, text_bytes) = told.entry(cell.name.to_vec()).or_default();
        (*rows, *text_bytes) = (*rows + 1, *text_bytes + cell.text.len() as u64);
    }
    for (name, (rows, text_bytes)) in told {
        let weight = weights[&name[..]];
        assert_eq!((weight.rows, weight.text_bytes), (rows, text_bytes), "{name:?}");
    }
    let bits: u64 = weights.values().map(|weight| weight.bits).sum();
    assert!(bits <= 8 * bytes.len() as u64, "{bits} bits of {} bytes", bytes.len());
    let mut none = Vec::new();
    assert!(block.row(looks, rows.len(), &mut none).is_err() && none.is_empty());
    bytes
}

/// Rows such as a machine has, of which no two are equal.
fn processes(count: usize) -> Vec<Vec<u8>> {
    let commands: [&dyn Fn(u64) -> String; 5] = [
        &|i| format!("/usr/bin/worker --job {} --shard {}", i * 7919 % 1_000_003, i % 16),
        &|i| format!("curl https://{:04}.example/items/{:016x}", i % 9000, i.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        &|i| format!("vim /home/u{}/{}", i % 40, ["notes.md", "todo", "draft.txt"][i as usize % 3]),
        &|i| {
            let hash = u128::from(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * 0x1_0000_0001;
            let hex = format!("{hash:032x}");
            format!("mount {}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
        },
        &|_| String::new(),
    ];
    (0..count as u64)
        .map(|i| {
            let kind = (i * i % 11 % 5) as usize;
            let uid = (i % 7 * 1000).to_string();
            row(&[
                ("cmdline", &commands[kind](i)),
                ("gid", &uid),
                ("name", ["worker", "curl", "vim", "mount", "idle"][kind]),
                ("parent", &(if i % 3 == 0 { i % 50 } else { 9000 + i * 31 % 700 }).to_string()),
                ("pid", &(300 + i * 13 + i % 5).to_string()),
                ("start", &(1_767_225_600 + i as i64 / 5 * 60 - (i * 37 % 600) as i64).to_string()),
                ("uid", &uid),
            ])
        })
        .collect()
}

/// Nearly all of a block is told column by column, and what says more takes more.
#[test]
fn columns_are_weighed_by_what_they_say() {
    let rows = processes(2_000);
    let looks = Even::new(BLOCK_ROWS_MAX, 5);
    let dictionary = learn(&rows, &Looks::NONE);
    let (mut weights, mut all) = (ColumnWeights::new(), 0);
    for rows in rows.chunks_exact(BLOCK_ROWS_MAX) {
        let bytes = pack(&dictionary, rows, looks.looks());
        all += 8 * bytes.len() as u64;
        weigh(&dictionary, &bytes, rows.len(), &looks.looks(), &mut weights).unwrap();
    }
    let told: u64 = weights.values().map(|weight| weight.bits).sum();
    assert!(told <= all && 10 * told >= 8 * all, "{told} of {all} bits");
    let bits = |name: &str| weights[name.as_bytes()].bits;
    assert!(bits("cmdline") > 4 * bits("name"), "{weights:?}");
    assert!(bits("gid") < bits("pid"), "gid is what uid is: {weights:?}");
    assert!(weights.values().all(|weight| weight.bits < 8 * weight.text_bytes), "{weights:?}");
    // What the dictionary does not know is told too: rows that are kept whole are of their own columns.
    let strange = vec![row(&[("other", "a text that nobody knows"), ("pid", "1")])];
    let bytes = pack(&dictionary, &strange, Looks::NONE);
    let mut weights = ColumnWeights::new();
    weigh(&dictionary, &bytes, 1, &Looks::NONE, &mut weights).unwrap();
    assert!(weights[&b"other"[..]].bits >= 8 * 24, "{weights:?}");
}

#[test]
fn the_example_of_the_page() {
    let dictionary = learn(&[], &Looks::NONE);
    let bytes = check(&dictionary, &[row(&[("a", "1")]), row(&[("a", "2")])], &Looks::NONE);
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(include_str!("packing.md").contains(&format!("`{}`", hex.join(" "))), "{}", hex.join(" "));
}

#[test]
fn the_page_has_the_limits() {
    let page = include_str!("packing.md");
    for text in [
        format!("Up to {BLOCK_ROWS_MAX} rows"),
        format!("| groups | 0 to {GROUPS_MAX} |"),
        format!("at most {COLUMNS_MAX}, of which at most {NUMBERS_MAX} are numbers"),
        format!("plain bytes are at most {} MiB", MEMORY_BYTES_MAX >> 20),
        format!("Of every {SAMPLED_ROWS} records"),
        format!("at most {} widths a group", SAMPLED_ROWS / 2),
        format!("of at most {NAME_BYTES_MAX} bytes"),
        format!("width to {}", super::block::CODE_WIDTH_MAX),
        format!("more than {} rows and", super::numbers::STEPS_MAX),
        format!("a {ZSTD_RATIO_MAX}th"),
    ] {
        assert!(page.contains(&text), "{text}");
    }
    for form in super::numbers::Form::ALL {
        assert!(page.contains(&format!("| {} | {} |", form as u8, format!("{form:?}").to_lowercase())), "{form:?}");
    }
}

/// Aims are measured elsewhere; this holds the order of magnitude, so that a broken learner cannot hide behind
/// exactness.
#[test]
fn rows_that_are_alike_are_small() {
    let rows = processes(4096);
    let even = Even::new(rows.len(), 5);
    let dictionary = learn(&rows, &even.looks());
    let mut bytes = 0;
    for rows in rows.chunks(250) {
        bytes += check(&dictionary, rows, &Even::new(rows.len(), 5).looks()).len();
    }
    let each = bytes as f64 / rows.len() as f64;
    assert!(each < 12.0, "{each} bytes a row\n{}", dictionary.describe(20));
    let looks = even.looks();
    let mut of_look = rows[5..10].to_vec();
    of_look.reverse();
    of_look.sort_by(|a, b| dictionary.order(a, b));
    assert_eq!(of_look, rows[5..10], "rows of a look are sorted by pid");
    assert_eq!(looks.at(7).second, looks.seconds[1]);
}

#[test]
fn what_was_not_in_the_sample_is_kept_all_the_same() {
    let sample = processes(1000);
    let even = Even::new(256, 3);
    let dictionary = learn(&sample, &even.looks());
    let mut rows = processes(1100)[1000..].to_vec();
    let texts = ["", "0", "-0", "-1", "00", "+1", " 1", "18446744073709551616", "999999999999999999", "1e3", "é", "\0"];
    for name in ["cmdline", "gid", "name", "parent", "pid", "start", "uid"] {
        rows.extend(texts.iter().map(|text| row(&[(name, text)])));
    }
    rows.push(row(&[("other", "1"), ("pid", "1")]));
    rows.push(Vec::new());
    rows.push(row(&[("cmdline", &"long ".repeat(1 << 16)), ("pid", "5")]));
    for rows in rows.chunks(100) {
        check(&dictionary, rows, &even.looks());
    }
}

#[test]
fn own_texts_are_framed_where_that_saves_and_can_be_given_again() {
    let dictionary = learn(&[], &Looks::NONE);
    let rows: Vec<Vec<u8>> = (0..50).map(|i| row(&[("text", &format!("much the same, but for {i}"))])).collect();
    let bytes = check(&dictionary, &rows, &Looks::NONE);
    let block = Block::open(&dictionary, &bytes, rows.len()).unwrap();
    assert!(block.framed_bytes() > bytes.len());
    let own = block.unpack_own().unwrap();
    assert_eq!(own.len(), block.framed_bytes());
    let block = Block::open(&dictionary, &bytes, rows.len()).unwrap().with_own(&own);
    let mut out = Vec::new();
    block.row(&Looks::NONE, 49, &mut out).unwrap();
    assert_eq!(out, rows[49]);
    let one = row(&[("a", &"x".repeat(1 << 20))]);
    let bytes = check(&dictionary, &[one], &Looks::NONE);
    assert!(bytes.len() > 1 << 20, "a frame does not stand for a thousand times its length");
}

/// Everything that reads a block, so that faults anywhere are met.
fn read_all(dictionary: &Dictionary, bytes: &[u8], rows: usize, looks: &Looks<'_>) {
    let _ = weigh(dictionary, bytes, rows, looks, &mut ColumnWeights::new());
    let Ok(block) = Block::open(dictionary, bytes, rows) else {
        return;
    };
    let all: Vec<u16> = (0..rows as u16).collect();
    let mut out = Vec::new();
    let _ = block.rows(looks, &all, &mut RowsScratch::default(), &mut out, |_, _, _| ());
    for i in 0..rows {
        out.clear();
        let _ = block.row(looks, i, &mut out);
        for column in 0..dictionary.columns().count() {
            out.clear();
            let _ = block.column(looks, i, column, &mut out);
            let _ = block.number(looks, i, column);
        }
    }
}

#[test]
fn no_changed_byte_of_a_block_panics() {
    let rows = processes(400);
    let even = Even::new(60, 5);
    let dictionary = learn(&rows, &even.looks());
    let mut rows = rows[..56].to_vec();
    rows.push(row(&[("pid", "none"), ("uid", "")]));
    rows.push(row(&[("strange", "column")]));
    rows.push(row(&[("cmdline", "vim /home/u3/unheard")]));
    let bytes = check(&dictionary, &rows, &even.looks());
    for at in 0..bytes.len() {
        for change in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            read_all(&dictionary, &changed, rows.len(), &even.looks());
        }
        read_all(&dictionary, &bytes[..at], rows.len(), &even.looks());
    }
    for count in 0..=BLOCK_ROWS_MAX + 1 {
        read_all(&dictionary, &bytes, count, &even.looks());
    }
}

#[test]
fn no_changed_byte_of_a_dictionary_panics() {
    let rows = processes(300);
    let dictionary = learn(&rows, &Even::new(300, 5).looks());
    let mut plain = Vec::new();
    dictionary.encode_plain(&mut plain);
    let block = pack(&dictionary, &rows[..40], Looks::NONE);
    for at in 0..plain.len() {
        for change in [1, 128, 255] {
            let mut changed = plain.clone();
            changed[at] ^= change;
            let mut bytes = Vec::new();
            crate::codec::varint::put_u64(&mut bytes, changed.len() as u64);
            bytes.push(0);
            bytes.extend(&changed);
            if let Ok(changed) = Dictionary::decode(&bytes) {
                read_all(&changed, &block, 40, &Looks::NONE);
                check(&Arc::new(changed), &rows[..10], &Looks::NONE);
            }
        }
    }
}

/// Texts that are alike in many ways, and others that are not.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let word =
        prop::sample::select(vec!["run", "job", "a1b2c3", "DEADBEEF00", "x", "é", "007", "42", "-", " ", "/", "=", ""]);
    prop_oneof![
        4 => prop::collection::vec(word, 0..8).prop_map(|words| words.concat().into_bytes()),
        3 => any::<u32>().prop_map(|number| (number >> (number % 32)).to_string().into_bytes()),
        1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        1 => any::<u128>().prop_map(|id| {
            let hex = format!("{id:032x}");
            format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]).into_bytes()
        }),
        1 => (0u32..2000, 0usize..5).prop_map(|(number, zeros)| format!("{number:0zeros$}").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

fn rows_of(count: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let name = prop::sample::select(vec!["a", "b", "count", "path", "pid", ""]);
    let row = prop::collection::vec((name.prop_map(|name| name.as_bytes().to_vec()), text()), 0..6);
    prop::collection::vec(row.prop_map(|columns| canonical(&columns)), count)
}

/// The form in which integers are written, and read again.
fn form_read_back(values: &[i64], looks: &Looks<'_>) -> Form {
    let (mut out, mut scratch) = (Vec::new(), super::numbers::Scratch::default());
    let form = super::numbers::put(values, None, looks, &mut scratch, &mut out);
    let mut reader = super::reader::Reader::new(&out);
    if !values.is_empty() {
        assert_eq!(out[0], form as u8);
        let column = super::numbers::Numbers::take(&mut reader, values.len(), 0).unwrap();
        for (i, value) in values.iter().enumerate() {
            assert_eq!(column.get(&out, i, looks.at(i)).unwrap(), *value, "{form:?}");
        }
    }
    assert!(reader.check().is_ok() && reader.rest().is_empty());
    form
}

/// But for the form that only a column after another has.
#[test]
fn each_form_is_the_smallest_of_some_integers() {
    let state = Cell::new(1u64);
    let random = |below: u64| {
        state.set(state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        ((state.get() >> 33) % below) as i64
    };
    let seconds: Vec<i64> = (0..40).map(|_| random(1 << 40)).collect();
    let starts: Vec<u32> = (0..40).map(|look| look * 5).collect();
    let form_of = |value: &mut dyn FnMut(usize) -> i64| {
        let values: Vec<i64> = (0..200).map(value).collect();
        form_read_back(&values, &Looks { starts: &starts, seconds: &seconds })
    };
    assert_eq!(form_of(&mut |_| 7), Form::Constant);
    assert_eq!(form_of(&mut |_| random(4000)), Form::Packed);
    assert_eq!(form_of(&mut |_| (random(16) + 3).pow(9)), Form::Few);
    let mut last = 0;
    let mut rise = |_| {
        last += random(1000);
        last
    };
    assert_eq!(form_of(&mut rise), Form::Rising);
    assert_eq!(form_of(&mut |i| seconds[i / 5] - random(900)), Form::Before);
    assert_eq!(form_of(&mut |_| if random(2) == 0 { random(200) } else { random(1 << 31) }), Form::Split);
    assert_eq!(form_of(&mut |i| (i / 5 * 300_000 + i % 5) as i64), Form::Steps);
    let frequent = [1 << 20, 1 << 25, 1 << 29, 1 << 30];
    let mut mostly = |_| if random(4) == 0 { random(1 << 31) } else { frequent[random(4) as usize] };
    assert_eq!(form_of(&mut mostly), Form::Frequent);
}

/// Integers of many kinds: of any width, rising with falls, few different ones, two kinds mixed, before their look.
fn integers() -> impl Strategy<Value = Vec<i64>> {
    (prop::collection::vec(any::<u64>(), 0..=BLOCK_ROWS_MAX), 0u32..64, 0u8..8, any::<i64>()).prop_map(
        |(raw, shift, kind, base)| {
            let mut last = base >> shift;
            let of_kind = |(i, random): (usize, &u64)| match kind {
                0 => (*random >> shift) as i64,
                1 => {
                    last = last.wrapping_add(if random % 40 == 0 { -5000 } else { (random % 64) as i64 });
                    last
                }
                2 => base.wrapping_mul((random % 7) as i64),
                3 => base.wrapping_add((random >> if random % 3 == 0 { 58 } else { shift }) as i64),
                5 => (i / 5 * 300 + i % 5) as i64,
                6 => {
                    if random % 4 == 0 {
                        base.wrapping_mul((random >> 32) as i64)
                    } else {
                        base >> (random % 5)
                    }
                }
                4 => 1_767_225_600 + (i / 5 * 60) as i64 - (random % 600) as i64,
                _ => base,
            };
            raw.iter().enumerate().map(of_kind).collect()
        },
    )
}

/// Rows that all have the same columns, so that these become numbers and shapes.
fn like_rows(count: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let cell = (any::<u16>(), any::<i16>(), text(), 0u8..40);
    prop::collection::vec(cell, count).prop_map(|cells| {
        let mut pid = 0u64;
        cells
            .into_iter()
            .map(|(step, size, text, odd)| {
                pid += u64::from(step % 64);
                let size = if odd == 0 { "none".to_owned() } else { size.to_string() };
                let command = format!("run job {} of {}", step, ["one", "two", "three"][usize::from(step % 3)]);
                let mut columns: Columns = vec![
                    (b"command".to_vec(), command.into_bytes()),
                    (b"pid".to_vec(), pid.to_string().into_bytes()),
                    (b"same".to_vec(), pid.to_string().into_bytes()),
                    (b"size".to_vec(), size.into_bytes()),
                    (b"text".to_vec(), text),
                ];
                if odd == 1 {
                    columns.remove(usize::from(step % 5));
                }
                canonical(&columns)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_packed_is_read(sample in rows_of(0..200), rows in rows_of(0..120), each in 1usize..40) {
        let even = Even::new(rows.len().max(sample.len()), each);
        let dictionary = learn(&sample, &even.looks());
        check(&dictionary, &rows, &even.looks());
        for part in sample.chunks(100) {
            check(&dictionary, part, &even.looks());
        }
    }

    #[test]
    fn what_is_alike_is_read(sample in like_rows(0..500), rows in like_rows(0..BLOCK_ROWS_MAX), each in 1usize..40) {
        let even = Even::new(rows.len().max(sample.len()), each);
        let dictionary = learn(&sample, &even.looks());
        check(&dictionary, &rows, &even.looks());
        for part in sample.chunks(BLOCK_ROWS_MAX) {
            check(&dictionary, part, &even.looks());
        }
    }

    #[test]
    fn numbers_are_read_in_whatever_form(
        values in integers(), each in 1usize..40, is_sorted: bool
    ) {
        let mut values = values;
        if is_sorted {
            values.sort_unstable();
        }
        form_read_back(&values, &Even::new(values.len(), each).looks());
    }

    #[test]
    fn ones_are_counted_and_found(mut ones in prop::collection::vec(0usize..900, 0..256), last in 900usize..1000) {
        ones.sort_unstable();
        ones.dedup();
        ones.push(last);
        let mut out = Vec::new();
        super::ranked::put(ones.iter().copied(), last + 1, &mut out);
        prop_assert_eq!(out.len(), super::ranked::size(last + 1));
        let mut reader = super::reader::Reader::new(&out);
        let read = super::ranked::Ranked::take(&mut reader, last + 1);
        prop_assert!(reader.check().is_ok() && reader.rest().is_empty());
        for (rank, place) in ones.iter().enumerate() {
            prop_assert_eq!(read.select(&out, rank), Ok(*place));
        }
        prop_assert!(read.select(&out, ones.len()).is_err());
        for i in 0..=last {
            let before = ones.partition_point(|one| *one < i);
            prop_assert_eq!(read.get(&out, i), (ones[before] == i, before));
        }
    }

    #[test]
    fn tokens_are_the_text(text in text()) {
        let mut tokens = Vec::new();
        if super::tokens::tokenize(&text, &mut tokens) {
            let again: Vec<u8> = tokens.iter().flat_map(|token| token.of(&text)).copied().collect();
            prop_assert_eq!(again, text);
            prop_assert!(tokens.iter().all(|token| token.start < token.end));
        }
    }

    #[test]
    fn digits_are_decimal(value: u64, shift in 0u32..64) {
        let mut digits = [0; super::tokens::DIGITS_ROOM];
        let len = super::tokens::put_digits(value >> shift, &mut digits);
        prop_assert_eq!(std::str::from_utf8(&digits[..len]).unwrap(), (value >> shift).to_string());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), rows in 0usize..300) {
        let dictionary = learn(&processes(100), &Looks::NONE);
        read_all(&dictionary, &bytes, rows, &Looks::NONE);
        let _ = Dictionary::decode(&bytes);
        let mut framed = vec![200, 1, 0];
        framed.extend(&bytes);
        framed.resize(203, 0);
        let _ = Dictionary::decode(&framed);
    }
}
