//! The code map says of each folder what its head says.

use std::fs;
use std::path::Path;

/// Words alone: without line breaks and the marks of links.
fn words(text: &str) -> String {
    text.replace("mod@", "").replace(['[', ']'], "").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The list under "Invariants:" of a module's head.
fn invariants(source: &str) -> Vec<String> {
    let head = source.lines().take_while(|line| line.starts_with("//!")).map(|line| line.get(4..).unwrap_or_default());
    let list = head.skip_while(|line| *line != "Invariants:").skip(1);
    let mut found: Vec<String> = Vec::new();
    for line in list.take_while(|line| line.starts_with("- ") || line.starts_with("  ")) {
        match (line.strip_prefix("- "), found.last_mut()) {
            (None, Some(last)) => *last = format!("{last} {line}"),
            (first, _) => found.push(first.unwrap_or(line).to_owned()),
        }
    }
    found
}

/// A map that lies about one folder is believed about none.
#[test]
fn the_code_map_has_every_folder_with_its_invariants() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = words(&fs::read_to_string(root.join("README.md")).unwrap());
    let mut folders = 0;
    for entry in fs::read_dir(root.join("src")).unwrap() {
        let folder = entry.unwrap();
        let Ok(source) = fs::read_to_string(folder.path().join("mod.rs")) else {
            continue;
        };
        folders += 1;
        let name = folder.file_name().into_string().unwrap();
        assert!(map.contains(&words(&format!("## [{name}](src/{name})"))), "README.md lacks a part on src/{name}");
        for invariant in invariants(&source) {
            assert!(map.contains(&words(&invariant)), "README.md lacks, of src/{name}/mod.rs: {invariant}");
        }
    }
    assert!(folders > 10, "{folders}");
}
