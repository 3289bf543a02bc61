use crate::ingest::double::{format, rewrite};
use proptest::prelude::*;

fn rewritten(text: &str) -> Option<String> {
    rewrite(text.as_bytes()).map(|text| String::from_utf8(text.to_vec()).unwrap())
}

#[test]
fn c_writes_the_same() {
    for line in include_str!("double.tsv").lines().filter(|line| !line.starts_with('#')) {
        let (text, expected) = line.split_once('\t').unwrap();
        assert_eq!(rewritten(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn other_texts_stay() {
    for text in ["", "-", "abc", "1.", ".5", "+1", "1 ", "0x10", "1e999", "-1e999", "inf", "nan", "1_0", "1e", "٣"] {
        assert_eq!(rewritten(text), None, "{text}");
    }
}

/// The same by hand: all digits of the exact value, then rounding on paper.
fn by_hand(value: f64) -> String {
    let exact = format!("{:.1080}", value.abs());
    let (whole, fraction) = exact.split_once('.').unwrap();
    let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|byte| byte - b'0').collect();
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let Some(first) = all.iter().position(|&digit| digit != 0) else {
        return format!("{sign}0.0");
    };
    let mut exponent = whole.len() as i32 - 1 - first as i32;
    let mut digits = all[first..first + 15].to_vec();
    let rest = &all[first + 15..];
    let odd = digits[14] % 2 == 1;
    if rest[0] > 5 || rest[0] == 5 && (odd || rest[1..].iter().any(|&digit| digit != 0)) {
        let mut at = 15;
        loop {
            if at == 0 {
                digits.insert(0, 1);
                exponent += 1;
                break;
            }
            at -= 1;
            digits[at] = (digits[at] + 1) % 10;
            if digits[at] != 0 {
                break;
            }
        }
    }
    digits.truncate(15);
    while digits.len() > 1 && digits.last() == Some(&0) {
        digits.pop();
    }
    let mut text: String = digits.iter().map(|digit| char::from(digit + b'0')).collect();
    if !(-4..15).contains(&exponent) {
        if text.len() > 1 {
            text.insert(1, '.');
        }
        let e = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{text}e{e}{:02}", exponent.abs());
    }
    if exponent < 0 {
        return format!("{sign}0.{}{text}", "0".repeat((-exponent - 1) as usize));
    }
    let whole = exponent as usize + 1;
    while text.len() <= whole {
        text.push('0');
    }
    text.insert(whole, '.');
    format!("{sign}{text}")
}

proptest! {
    #[test]
    fn any_double_is_written_as_by_hand(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        prop_assert_eq!(String::from_utf8(format(value).to_vec()).unwrap(), by_hand(value));
    }

    /// Ties happen only where few binary digits follow the fifteenth decimal one.
    #[test]
    fn ties_go_to_the_even_digit(whole in 100_000_000_000_000u64..1_000_000_000_000_000, eighths in 0u8..8) {
        let value = whole as f64 + f64::from(eighths) / 8.0;
        prop_assert_eq!(String::from_utf8(format(value).to_vec()).unwrap(), by_hand(value));
    }

    #[test]
    fn twice_is_once(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let once = format(value);
        let twice = rewrite(&once);
        // The largest doubles round up to a text beyond all doubles, which then stays.
        prop_assert!(twice.is_none_or(|twice| *twice == *once));
    }
}
