//! Stories of the catalogue, of names and of maps.

use super::*;
use proptest::prelude::*;
use std::path::PathBuf;

fn catalogue(lines: &str) -> Catalogue {
    Catalogue::from_text(&format!("{}\n{lines}", facts::HEAD)).unwrap()
}

fn declared(name: &str) -> Entry {
    Entry { name: name.into(), table: None, whole: false, removed: true, primary: false }
}

#[test]
fn the_shipped_text_parses_and_is_canonical() {
    let shipped = Catalogue::shipped();
    assert_eq!(shipped.to_text(), facts::SHIPPED);
    assert_eq!(shipped.tables().len(), 286);
    assert!(shipped.table(b"mounts").unwrap().column(b"path").is_some());
}

#[test]
fn removed_tables_are_in_and_aliases_are_not() {
    let shipped = Catalogue::shipped();
    assert!(shipped.is_evented(b"bpf_process_events"), "gone from newer agents, still in logs");
    assert!(shipped.table(b"hosts").is_none(), "an alias of etc_hosts");
}

#[test]
fn evented_is_the_flag_and_beyond_the_catalogue_the_ending() {
    let shipped = Catalogue::shipped();
    assert!(!shipped.is_evented(b"osquery_events"), "lists the event sources, and is no event itself");
    assert!(shipped.is_evented(b"file_events"));
    assert!(shipped.is_evented(b"vendor_door_events"));
    assert!(!shipped.is_evented(b"vendor_events_log"));
}

#[test]
fn columns_are_found_by_name_and_kept_in_their_order() {
    let known = catalogue("badges state - zeta:D!~@windows,darwin alpha:T\n");
    let table = known.table(b"badges").unwrap();
    assert_eq!(table.columns().iter().map(|column| &*column.name).collect::<Vec<_>>(), ["zeta", "alpha"]);
    assert_eq!(known.column_type(b"badges", b"zeta"), Some(ColumnType::Double));
    assert_eq!(known.column_type(b"badges", b"Zeta"), None);
    assert_eq!(known.column_type(b"doors", b"zeta"), None);
    let zeta = table.column(b"zeta").unwrap();
    assert!(zeta.required && zeta.hidden && table.has_double());
    assert_eq!(&*zeta.platforms, [Box::from("darwin"), Box::from("windows")]);
}

#[test]
fn a_wrong_line_is_named_and_refuses_the_text() {
    for (line, message) in [
        ("badges state", "too few words"),
        ("badges often - id:B", "`often` is neither"),
        ("bad/ges state - id:B", "`bad/ges` is no name"),
        ("badges state darwin,,linux id:B", "`` is no name"),
        ("badges state - id", "`id` is no column"),
        ("badges state - id:", "`id:` is no column"),
        ("badges state - id:B~!", "`id:B~!` is no column"),
        ("badges state - id:Q", "column `id` has the unknown type `Q`"),
        ("badges state - id:B@", "`` is no name"),
        ("badges state - id:B id:T", "column `id` occurs twice"),
        ("users event -", "the table occurs twice"),
    ] {
        let text = format!("{}\n# fine\n\nusers state linux uid:B\n{line}\n", facts::HEAD);
        let shown = Catalogue::from_text(&text).unwrap_err().to_string();
        assert!(shown.starts_with("line 5 of the catalogue: ") && shown.contains(message), "{line}: {shown}");
    }
    let shown = Catalogue::from_text("erstwhile catalogue 2\n").unwrap_err().to_string();
    assert!(shown.contains("not with `erstwhile catalogue 2`"), "{shown}");
    assert!(Catalogue::from_text("").is_err());
}

#[test]
fn osquery_publishes_a_list_and_collections_are_objects() {
    let table = r#"{"name":"doors","evented":false,"url":"…","platforms":["linux","darwin"],"notes":"","columns":[
        {"name":"id","type":"unsigned_bigint","hidden":false,"required":true,"index":true},
        {"name":"load","type":"DOUBLE","description":"…"},
        {"name":"key","type":"Unsigned BigInt","hidden":true,"platforms":["linux"]},
        {"name":"raw","type":"blob"}]}"#;
    let expected = catalogue("doors state darwin,linux id:U! load:D key:U~@linux raw:T\n");
    let list = Catalogue::from_osquery_schema(format!(" [{table}]").as_bytes()).unwrap();
    assert_eq!(list, expected);
    let object = format!(r#"{{"source":"…","tables":[],"removed_tables":[{table}]}}"#);
    assert_eq!(Catalogue::from_osquery_schema(object.as_bytes()).unwrap(), expected);
    let twice = format!("[{table},{table}]");
    let shown = Catalogue::from_osquery_schema(twice.as_bytes()).unwrap_err().to_string();
    assert_eq!(shown, "table `doors` of the schema: the table occurs twice; remove one");
    let odd = table.replace("blob", "uuid");
    let shown = Catalogue::from_osquery_schema(format!("[{odd}]").as_bytes()).unwrap_err().to_string();
    assert!(shown.starts_with("table `doors` of the schema: column `raw` has the unknown type `uuid`"), "{shown}");
    for other in ["", "{}", "[{}]", "7", "[[", "\u{feff}"] {
        let error = Catalogue::from_osquery_schema(other.as_bytes()).unwrap_err();
        assert!(matches!(error, CatalogueError::Json(_)), "{other:?}: {error}");
    }
}

/// Hosts with older agents go on reporting what a newer schema has dropped.
#[test]
fn an_update_drops_nothing() {
    let old = catalogue("doors state linux id:I gone:D\nkept_events event - time:B\n");
    let new = catalogue("doors event darwin fresh:T id:B\nwindows state - id:B\n");
    let expected =
        catalogue("doors event darwin fresh:T id:B gone:D\nkept_events event - time:B\nwindows state - id:B\n");
    assert_eq!(old.updated_with(&new), expected);
    assert_eq!(expected.updated_with(&new), expected, "once more changes nothing");
    assert_eq!(Catalogue::default().updated_with(&new), new);
}

/// Proves that the shipped facts are current.
#[test]
fn the_shipped_text_is_what_osquery_publishes() {
    let Some(folder) = std::env::var_os("ERSTWHILE_REAL_DATA") else {
        eprintln!("skipped: ERSTWHILE_REAL_DATA names no folder with osquery's schema.json");
        return;
    };
    let json = std::fs::read(PathBuf::from(folder).join("schema.json")).unwrap();
    let text = Catalogue::from_osquery_schema(&json).unwrap().to_text();
    let differs = text.lines().zip(facts::SHIPPED.lines()).find(|(fresh, shipped)| fresh != shipped);
    assert_eq!(differs, None, "tables.txt is out of date; put the schema's text in its place");
    assert_eq!(text, facts::SHIPPED);
}

fn assumed(name: &str) -> String {
    let mapping = table_of(name.as_bytes(), &StreamMap::empty(), &Catalogue::shipped());
    assert!(mapping.assumed && mapping.removed && !mapping.whole && !mapping.primary);
    String::from_utf8(mapping.table.to_vec()).unwrap()
}

#[test]
fn a_name_without_a_map_speaks_for_itself() {
    for (name, table) in [
        ("users", "users"),
        ("pack/inventory/users", "users"),
        ("pack/inventory/all_users", "pack/inventory/all_users"),
        ("pack/inventory/", "pack/inventory/"),
        ("pack_inventory_users", "users"),
        ("pack_users", "users"),
        // `process_events` is a table too and ends it as well.
        ("pack_mac_es_process_events", "es_process_events"),
        ("pack_mac_process_events", "process_events"),
        ("pack_linux_process_open_sockets", "process_open_sockets"),
        ("pack_inventory_logins", "pack_inventory_logins"),
        ("pack_inventoryusers", "pack_inventoryusers"),
        ("pack_x/y_users", "users"),
        ("inventory_users", "inventory_users"),
        ("Users", "Users"),
        ("", ""),
    ] {
        assert_eq!(assumed(name), table, "{name}");
    }
}

#[test]
fn names_need_not_be_utf8() {
    let mapping = table_of(b"pack/\xff/users", &StreamMap::empty(), &Catalogue::shipped());
    assert_eq!(&*mapping.table, b"users");
    let mapping = table_of(b"\xff", &StreamMap::empty(), &Catalogue::shipped());
    assert_eq!(&*mapping.table, b"\xff");
}

#[test]
fn the_first_entry_that_fits_applies_and_it_alone() {
    let text = "\
[[stream]]
name = \"pack/a/users\"
table = \"accounts\"
whole = true

[[stream]]
name = \"pack/a/*\"
removed = false
primary = true

[[stream]]
name = \"*users\"
table = \"never reached by pack a\"
";
    let (map, shipped) = (StreamMap::parse(text).unwrap(), Catalogue::shipped());
    assert_eq!(map.text(), text);
    let mapping = |name: &str| table_of(name.as_bytes(), &map, &shipped);
    let table = |name: &str| Name::from(name.as_bytes());
    assert_eq!(
        mapping("pack/a/users"),
        Mapping { table: table("accounts"), assumed: false, removed: true, whole: true, primary: false }
    );
    // An entry without a table declares the rest; the table is still a conclusion and stays marked as one.
    assert_eq!(
        mapping("pack/a/all/users"),
        Mapping { table: table("users"), assumed: true, removed: false, whole: false, primary: true }
    );
    assert_eq!(mapping("users").table, table("never reached by pack a"));
    assert!(mapping("mounts").assumed);
}

#[test]
fn a_map_with_anything_unknown_in_it_is_refused() {
    for (text, line, message) in [
        ("[[stream]]\nname = \"x\"\n\n[[streams]]\nname = \"y\"\n", 4, "unknown key `streams`"),
        ("[[stream]]\nname = \"x\"\ntabel = \"users\"\n", 3, "unknown key `tabel`"),
        ("# none\n[[stream]]\ntable = \"users\"\n", 2, "has no name"),
        ("\n[stream]\nname = \"x\"\n", 2, "write [[stream]]"),
        ("stream = [1]\n", 1, "write [[stream]]"),
        ("[[stream]]\nname = \"x\"\nwhole = \"yes\"\n", 3, "`whole` takes true or false, not this string"),
        ("[[stream]]\nname = \"x\"\ntable = 7\n", 3, "`table` takes a string, not this integer"),
        ("[[stream]]\nname = \"x\"\nname = \"y\"\n", 3, "not TOML: duplicate key"),
        ("[[stream]]\nname = x\n", 2, "not TOML: "),
    ] {
        let error = StreamMap::parse(text).unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.to_string().contains(message), "{text}: {error}");
    }
}

/// A file that is nothing but brackets must not cost the stack.
#[test]
fn deep_nesting_is_refused() {
    for open in ["stream = ", "[[stream]]\nname = "] {
        assert!(StreamMap::parse(&format!("{open}{}", "[".repeat(1 << 20))).is_err());
        assert!(StreamMap::parse(&format!("{open}{}", "{a=".repeat(1 << 20))).is_err());
    }
    assert!(Catalogue::from_osquery_schema("[".repeat(1 << 20).as_bytes()).is_err());
}

#[test]
fn a_map_may_be_empty_or_inline() {
    assert!(StreamMap::parse("").unwrap().entries().is_empty());
    assert!(StreamMap::parse("# to come\n").unwrap().entries().is_empty());
    let inline = StreamMap::parse("stream = [{ name = \"a\", table = \"b\" }]\r\n").unwrap();
    assert_eq!(inline.entries(), [Entry { table: Some(Name::from(&b"b"[..])), ..declared("a") }]);
}

#[test]
fn a_star_is_any_run_of_bytes() {
    for (pattern, name, fits) in [
        ("*", &b""[..], true),
        ("*", b"\xff\x00", true),
        ("", b"", true),
        ("", b"a", false),
        ("a*a", b"a", false),
        ("a*a", b"aa", true),
        ("*ab*b", b"abb", true),
        ("*ab*b", b"ab", false),
        ("pack/*/users", b"pack//users", true),
        ("pack/*/users", b"pack/users", false),
        ("a**b", b"ab", true),
        ("users", b"users2", false),
    ] {
        assert_eq!(declared(pattern).fits(name), fits, "{pattern} {name:?}");
    }
}

#[test]
fn a_suggestion_says_what_it_cannot_say() {
    assert_eq!(
        suggest(b"a\"b\\c\n\x1b\x7f", "t\u{e9}".as_bytes()),
        "[[stream]]\nname = \"a\\\"b\\\\c\\n\\u001B\\u007F\"\ntable = \"t\u{e9}\"\n"
    );
    assert_eq!(
        suggest(b"pack/\xff\xfe/users", b"users"),
        "# \"pack/\u{fffd}\u{fffd}/users\" cannot be written exactly: this fits every name of the form below.\n\
         [[stream]]\nname = \"pack/*/users\"\ntable = \"users\"\n"
    );
    for (name, table) in [(&b"\xff"[..], &b"t"[..]), (b"*", b"t"), (b"*\xff*", b"t"), (b"x\ny", b"\xff")] {
        let text = suggest(name, table);
        assert!(text.starts_with("# \"") && text.lines().count() == 1, "{text}");
        assert!(StreamMap::parse(&text).unwrap().entries().is_empty());
    }
}

/// The definition of `*`, tried out in full.
fn fits_naively(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|taken| fits_naively(rest, &name[taken..])),
        Some((byte, rest)) => name.split_first().is_some_and(|(first, name)| first == byte && fits_naively(rest, name)),
    }
}

fn any_catalogue() -> impl Strategy<Value = Catalogue> {
    let name = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,3}";
    let platforms = proptest::collection::vec(name.prop_map(Box::<str>::from), 0..3).prop_map(Box::<[_]>::from);
    let kind = proptest::sample::select(vec![
        ColumnType::Text,
        ColumnType::Integer,
        ColumnType::BigInt,
        ColumnType::UnsignedBigInt,
        ColumnType::Double,
    ]);
    let column = (kind, any::<bool>(), any::<bool>(), platforms.clone());
    let columns = proptest::collection::btree_map(name, column, 0..4).prop_map(|columns| {
        let made = columns.into_iter().rev().map(|(name, (kind, required, hidden, platforms))| Column {
            name: name.into(),
            kind,
            required,
            hidden,
            platforms,
        });
        made.collect::<Box<[Column]>>()
    });
    proptest::collection::btree_map(name, (any::<bool>(), platforms, columns), 0..4).prop_map(|tables| {
        let made = tables
            .into_iter()
            .map(|(name, (evented, platforms, columns))| Table::new(&name, evented, platforms, columns).unwrap());
        Catalogue { tables: made.collect() }
    })
}

proptest! {
    #[test]
    fn text_and_catalogue_are_one(known in any_catalogue()) {
        prop_assert_eq!(Catalogue::from_text(&known.to_text()).unwrap(), known);
    }

    #[test]
    fn an_update_knows_all_of_both(old in any_catalogue(), new in any_catalogue()) {
        let updated = old.updated_with(&new);
        for table in new.tables() {
            for column in table.columns() {
                prop_assert_eq!(updated.table(table.name()).unwrap().column(column.name.as_bytes()), Some(column));
            }
            prop_assert_eq!(updated.is_evented(table.name()), table.evented());
        }
        for table in old.tables() {
            let kept = updated.table(table.name()).unwrap();
            prop_assert!(table.columns().iter().all(|column| kept.column(column.name.as_bytes()).is_some()));
        }
        prop_assert_eq!(Catalogue::from_text(&updated.to_text()).unwrap(), updated, "sorted, without repeats");
    }

    #[test]
    fn any_text_is_taken_or_refused(lines in "([a-z:!~@,TIBUD# -]{0,20}\n){0,4}", map in "([a-z\\[\\]=\"* ]{0,12}\n){0,4}") {
        let _ = Catalogue::from_text(&format!("{}\n{lines}", facts::HEAD));
        let _ = StreamMap::parse(&map);
    }

    #[test]
    fn any_bytes_are_a_schema_or_not(bytes: Vec<u8>) {
        prop_assert!(Catalogue::from_osquery_schema(&bytes).is_err());
    }

    #[test]
    fn a_pattern_fits_what_its_definition_says(pattern in "[ab*]{0,8}", name in "[ab*]{0,10}") {
        prop_assert_eq!(
            declared(&pattern).fits(name.as_bytes()),
            fits_naively(pattern.as_bytes(), name.as_bytes())
        );
    }

    /// What a suggestion puts into a map declares the stream; what it cannot declare it leaves a comment.
    #[test]
    fn a_suggestion_declares_its_stream(
        name in prop_oneof![any::<Vec<u8>>(), ".{0,12}".prop_map(String::into_bytes), "[a*\\x00-\\x1f]{0,6}".prop_map(String::into_bytes)],
        table in ".{0,6}",
    ) {
        let text = suggest(&name, table.as_bytes());
        let map = StreamMap::parse(&text).unwrap();
        let mapping = table_of(&name, &map, &Catalogue::default());
        if map.entries().is_empty() {
            prop_assert!(text.starts_with("# ") && mapping.assumed);
        } else {
            prop_assert_eq!(&*mapping.table, table.as_bytes());
            prop_assert!(!mapping.assumed && mapping.removed);
        }
        let exact = !text.starts_with('#');
        prop_assert_eq!(exact, std::str::from_utf8(&name).is_ok_and(|name| !name.contains('*')));
    }
}
