//! The store's own map from names of streams to tables, and the guesses where it says nothing.
//!
//! Must stay true: the first entry that fits a name speaks alone; a table that no entry names is a guess and is told as
//! one.

use super::catalogue::Catalogue;

/// One `[[stream]]` of a map file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    name: Vec<u8>,
    table: Option<Vec<u8>>,
    whole: Option<bool>,
    removed: Option<bool>,
    primary: Option<bool>,
}

/// The entries of a map file in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StreamMap {
    entries: Vec<Entry>,
}

impl StreamMap {
    /// Reads the small part of TOML that a map needs: `[[stream]]`, strings, booleans, comments.
    pub(crate) fn parse(text: &str) -> Result<StreamMap, String> {
        let mut map = StreamMap::default();
        for (at, raw) in text.lines().enumerate() {
            let line = raw.trim();
            let wrong = |what: &str| format!("map line {}: {what}", at + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(rest) = line.strip_prefix("[[") {
                let (inside, after) = rest.split_once("]]").ok_or_else(|| wrong("no ]]"))?;
                if inside.trim() != "stream" || !is_end(after) {
                    return Err(wrong("only [[stream]] is known"));
                }
                map.entries.push(Entry::default());
                continue;
            }
            let (key, value) = line.split_once('=').ok_or_else(|| wrong("no ="))?;
            let entry = map.entries.last_mut().ok_or_else(|| wrong("before any [[stream]]"))?;
            let value = scalar(value.trim()).ok_or_else(|| wrong("neither a string nor a boolean"))?;
            let twice = match (key.trim(), value) {
                ("name", Scalar::Text(text)) => !std::mem::replace(&mut entry.name, text).is_empty(),
                ("table", Scalar::Text(text)) => entry.table.replace(text).is_some(),
                ("whole", Scalar::Bool(flag)) => entry.whole.replace(flag).is_some(),
                ("removed", Scalar::Bool(flag)) => entry.removed.replace(flag).is_some(),
                ("primary", Scalar::Bool(flag)) => entry.primary.replace(flag).is_some(),
                (other, _) => return Err(wrong(&format!("unknown key or wrong type: {other}"))),
            };
            if twice {
                return Err(wrong("a key for the second time"));
            }
        }
        if map.entries.iter().any(|e| e.name.is_empty()) {
            return Err("map: a stream without name".to_owned());
        }
        Ok(map)
    }

    fn entry(&self, name: &[u8]) -> Option<&Entry> {
        self.entries.iter().find(|entry| fits(&entry.name, name))
    }

    /// Is the table of this name a guess?
    pub(crate) fn is_assumed(&self, name: &[u8]) -> bool {
        self.entry(name).is_none_or(|entry| entry.table.is_none())
    }

    /// Does the map declare that removed rows are not logged?
    pub(crate) fn lacks_removed(&self, name: &[u8]) -> bool {
        self.entry(name).is_some_and(|entry| entry.removed == Some(false))
    }

    /// The table that a name stands for.
    pub(crate) fn table(&self, name: &[u8], catalogue: &Catalogue) -> Vec<u8> {
        if let Some(table) = self.entry(name).and_then(|entry| entry.table.clone()) {
            return table;
        }
        let last = name.rsplit(|&b| b == b'/').next().unwrap_or(name);
        if catalogue.has(last) {
            return last.to_vec();
        }
        if name.starts_with(b"pack_") {
            let ends = |table: &&[u8]| name.strip_suffix(*table).is_some_and(|before| before.ends_with(b"_"));
            if let Some(table) = catalogue.names().filter(ends).max_by_key(|table| table.len()) {
                return table.to_vec();
            }
        }
        name.to_vec()
    }
}

/// Does the pattern, in which `*` is any run of bytes, fit all of the name?
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|at| fits(rest, &name[at..])),
        Some((byte, rest)) => name.split_first().is_some_and(|(first, more)| first == byte && fits(rest, more)),
    }
}

enum Scalar {
    Text(Vec<u8>),
    Bool(bool),
}

fn is_end(rest: &str) -> bool {
    let rest = rest.trim();
    rest.is_empty() || rest.starts_with('#')
}

fn scalar(value: &str) -> Option<Scalar> {
    for (word, flag) in [("true", true), ("false", false)] {
        if let Some(rest) = value.strip_prefix(word) {
            return is_end(rest).then_some(Scalar::Bool(flag));
        }
    }
    if let Some(rest) = value.strip_prefix('\'') {
        let (text, after) = rest.split_once('\'')?;
        return is_end(after).then(|| Scalar::Text(text.into()));
    }
    let mut letters = value.strip_prefix('"')?.chars();
    let mut text = String::new();
    loop {
        match letters.next()? {
            '"' => return is_end(letters.as_str()).then(|| Scalar::Text(text.into_bytes())),
            '\\' => match letters.next()? {
                '"' => text.push('"'),
                '\\' => text.push('\\'),
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'u' => {
                    let four: String = letters.by_ref().take(4).collect();
                    text.push(char::from_u32(u32::from_str_radix(&four, 16).ok()?)?);
                }
                _ => return None,
            },
            letter => text.push(letter),
        }
    }
}
