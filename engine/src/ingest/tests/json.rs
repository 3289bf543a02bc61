use crate::ingest::json::{DEPTH_MAX, Fault, Scanner, Value, compact};
use proptest::prelude::*;

/// The verdict on a text that should be one value.
fn verdict(text: &[u8]) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    scanner.space();
    scanner.value(0)?;
    scanner.end()
}

/// What a JSON string stands for.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut scanner = Scanner::new(text);
    let text = scanner.text().unwrap();
    scanner.end().unwrap();
    assert_eq!(text.bytes(&mut Vec::new()), &*text.into_cow());
    text.into_cow().into_owned()
}

#[test]
fn the_grammar_is_strict() {
    for good in [
        "0",
        "-0",
        "-0.0e-0",
        "1E+2",
        "1e999",
        "[]",
        "{}",
        " [ ] ",
        "\t{\r}\n",
        "[1,2]",
        "{\"\":{}}",
        "null",
        "true",
        "false",
        "\"\"",
        "\"\u{7f}\"",
        "\"\\ud800\"",
        "[[],{},[{}]]",
        "{\"a\":1,\"a\":2}",
        "\"\\/\"",
    ] {
        assert_eq!(verdict(good.as_bytes()), Ok(()), "{good:?}");
    }
    for bad in [
        "",
        " ",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1.e1",
        "1e",
        "1e+",
        "--1",
        "0x1",
        "NaN",
        "Infinity",
        "nul",
        "nulll",
        "True",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1]",
        "[1}",
        "{1:2}",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u+123\"",
        "\"\t\"",
        "\"\n\"",
        "\"\0\"",
        "\"\u{1f}\"",
        "1 1",
        "{}{}",
        "[]]",
        "\u{feff}{}",
        "{}\0",
        "\0",
        "//\n1",
        "\u{a0}1",
        "\"a\"b",
        "[1,\u{c}2]",
    ] {
        assert_eq!(verdict(bad.as_bytes()), Err(Fault::NotJson), "{bad:?}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_bytes() {
    assert_eq!(unescaped(b"\"\xff\xc3(\xed\xa0\x80\xf8\""), b"\xff\xc3(\xed\xa0\x80\xf8");
    assert_eq!(unescaped(b"\"\\n\xff\\u00e9\""), b"\n\xff\xc3\xa9");
    assert_eq!(verdict(b"\xff"), Err(Fault::NotJson), "outside of strings they are nothing");
}

#[test]
fn escapes_stand_for_their_bytes() {
    assert_eq!(unescaped(br#""\"\\\/\b\f\n\r\t""#), b"\"\\/\x08\x0c\n\r\t");
    assert_eq!(unescaped(br#""\u0000\u0041\u00E9\u20aC""#), "\0Aé€".as_bytes());
    assert_eq!(unescaped(br#""\ud83d\ude00""#), "😀".as_bytes());
    assert_eq!(unescaped(br#""\\u0041 \\xC3""#), br"\u0041 \xC3");
    assert_eq!(
        unescaped(b"\"caf\\u00e9 long enough for words of eight\""),
        "café long enough for words of eight".as_bytes()
    );
}

#[test]
fn a_lone_surrogate_is_the_replacement_character() {
    assert_eq!(unescaped(br#""\ud800""#), "\u{fffd}".as_bytes());
    assert_eq!(unescaped(br#""\udc00x""#), "\u{fffd}x".as_bytes());
    assert_eq!(unescaped(br#""\ud800A""#), "\u{fffd}A".as_bytes());
    assert_eq!(unescaped(br#""\ud800\u0041""#), "\u{fffd}A".as_bytes());
    assert_eq!(unescaped(br#""\ud800\n""#), "\u{fffd}\n".as_bytes());
    assert_eq!(unescaped(br#""\ud800\ud83d\ude00""#), "\u{fffd}😀".as_bytes());
    assert_eq!(unescaped(br#""\ude00\ud83d""#), "\u{fffd}\u{fffd}".as_bytes());
}

#[test]
fn every_place_of_a_word_of_eight_is_seen() {
    for before in 0..20 {
        for after in 0..20 {
            let text = format!("\"{}\\n{}\"", "é".repeat(before), "x".repeat(after));
            assert_eq!(unescaped(text.as_bytes()), format!("{}\n{}", "é".repeat(before), "x".repeat(after)).as_bytes());
            for bad in ["\u{1}", "\u{1f}", "\0"] {
                let text = format!("\"{}{bad}{}\"", "\u{ff}".repeat(before), " ".repeat(after));
                assert_eq!(verdict(text.as_bytes()), Err(Fault::NotJson), "{text:?}");
            }
        }
    }
}

#[test]
fn nesting_ends_at_the_limit() {
    let limit = DEPTH_MAX as usize;
    let lists = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let objects = |depth: usize| "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
    let mixed = |depth: usize| "[{\"a\":".repeat(depth / 2) + "[]" + &"}]".repeat(depth / 2);
    assert_eq!(verdict(lists(limit).as_bytes()), Ok(()));
    assert_eq!(verdict(lists(limit + 1).as_bytes()), Err(Fault::TooDeep));
    assert_eq!(verdict(objects(limit).as_bytes()), Ok(()));
    assert_eq!(verdict(objects(limit + 1).as_bytes()), Err(Fault::TooDeep));
    assert_eq!(verdict(mixed(limit - 2).as_bytes()), Ok(()));
    assert_eq!(verdict(mixed(limit).as_bytes()), Err(Fault::TooDeep));
    assert_eq!(verdict("[".repeat(200_000).as_bytes()), Err(Fault::TooDeep));
    let wide = format!("[{}[]]", format!("{},", lists(limit - 1)).repeat(1000));
    assert_eq!(verdict(wide.as_bytes()), Ok(()), "closed containers do not count");
}

#[test]
fn the_fault_further_left_counts() {
    assert_eq!(verdict(("]".to_owned() + &"[".repeat(100)).as_bytes()), Err(Fault::NotJson));
    assert_eq!(verdict(("[".repeat(100) + "?").as_bytes()), Err(Fault::TooDeep));
    assert_eq!(verdict(("[".repeat(64) + "?" + &"[".repeat(100)).as_bytes()), Err(Fault::NotJson));
}

#[test]
fn white_space_outside_strings_goes() {
    let mut scratch = Vec::new();
    assert_eq!(compact(br#"{"a b":[1,2]}"#, &mut scratch), br#"{"a b":[1,2]}"#);
    assert_eq!(
        compact(b"[ 1 ,\t\"a \\\" b\\n\" , { \"c d\" : null }\r\n]", &mut scratch),
        b"[1,\"a \\\" b\\n\",{\"c d\":null}]"
    );
}

/// JSON texts with white space in them.
fn json() -> impl Strategy<Value = String> {
    let space = "[ \t\r\n]{0,2}";
    let string =
        prop_oneof!["\"[a-z\"\\\\/u0-9é\u{7f}]{0,9}\"", "\"([a-z ]|\\\\[\"\\\\/bfnrtu]|\\\\u[0-9a-fA-F]{4}){0,9}\""];
    let number = "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?";
    let leaf = prop_oneof![string.clone(), number, Just("null".into()), Just("true".into()), Just("false".into())];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let member = (string.clone(), space, space, inner.clone()).prop_map(|(k, a, b, v)| format!("{k}{a}:{b}{v}"));
        let item = (space, inner, space).prop_map(|(a, v, b)| format!("{a}{v}{b}"));
        prop_oneof![
            (prop::collection::vec(item, 0..5), space).prop_map(|(items, a)| format!("[{a}{}]", items.join(","))),
            (prop::collection::vec(member, 0..5), space)
                .prop_map(|(items, a)| format!("{{{}{a}}}", items.join(&format!("{a},")))),
        ]
    })
}

fn serde_says(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

proptest! {
    #[test]
    fn serde_json_gives_the_same_verdict(
        text in json(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, "[\\[\\]{}:,\"\\\\0-9eE.+\\- \nnulltruefalseé\u{1}]"), 0..3),
    ) {
        let mut chars: Vec<char> = text.chars().collect();
        for (place, edit, char) in edits {
            let char = char.chars().next().unwrap();
            let at = place.index(chars.len() + 1);
            match edit {
                0 => chars.insert(at, char),
                1 if at < chars.len() => chars[at] = char,
                _ if at < chars.len() => drop(chars.remove(at)),
                _ => {}
            }
        }
        let text: String = chars.into_iter().collect();
        prop_assert_eq!(verdict(text.as_bytes()).is_ok(), serde_says(&text), "{:?}", text);
    }

    #[test]
    fn any_string_comes_back(text in any::<String>()) {
        prop_assert_eq!(unescaped(serde_json::to_string(&text).unwrap().as_bytes()), text.as_bytes());
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        prop_assert_eq!(unescaped(format!("\"{units}\"").as_bytes()), text.as_bytes());
    }

    #[test]
    fn compact_is_what_serde_writes_back(text in json()) {
        let value = Scanner::new(text.as_bytes()).value(0);
        if serde_says(&text) && let Ok(Value::List(raw) | Value::Object(raw)) = value {
            let mut scratch = Vec::new();
            let compact = compact(raw, &mut scratch);
            let same = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
            prop_assert_eq!(same(compact), same(text.as_bytes()));
            prop_assert!(compact.len() <= raw.len());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\",:\\u0dD8eE+-. tn"[..])], 0..60)) {
        let _ = verdict(&bytes);
        let mut quoted = bytes.clone();
        quoted.insert(0, b'"');
        if let Ok(text) = Scanner::new(&quoted).text() {
            text.into_cow();
        }
    }
}
