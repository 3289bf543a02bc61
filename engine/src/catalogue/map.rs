//! The stream map: what the user knows about the names in their logs.
//!
//! A map is TOML, a list of `[[stream]]` tables:
//!
//! ```toml
//! [[stream]]
//! name = "pack/inventory/accounts"  # exact, or with `*` for any run of bytes, the empty one included
//! table = "users"                   # the table that the stream reports
//! whole = true                      # its query selects the whole table
//!
//! [[stream]]
//! name = "*/alerts_*"
//! removed = false                   # it never reports rows that leave
//! ```
//!
//! Only `name` must be there. The first entry that fits a name applies, and it alone.
//!
//! Invariants:
//! - A map that says anything unknown is refused: a misspelt key would otherwise be a silent untruth.
//! - [`StreamMap::text`] is the text that was given, so the recorded fact and the parsed map cannot differ.

use super::error::show;
use crate::fact::Name;
use memchr::memmem;
use std::fmt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The keys of an entry.
const KEYS: [&str; 5] = ["name", "table", "whole", "removed", "primary"];

/// A parsed stream map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamMap {
    text: String,
    entries: Vec<Entry>,
}

/// One `[[stream]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name that it is for, or a pattern with `*`.
    pub name: String,
    /// The table, if the entry gives one.
    pub table: Option<Name>,
    /// The query selects the whole table; false unless given.
    pub whole: bool,
    /// The stream reports rows that leave; true unless given.
    pub removed: bool,
    /// The stream is to be preferred; false unless given.
    pub primary: bool,
}

impl Entry {
    /// Whether the entry is for this name.
    pub fn fits(&self, name: &[u8]) -> bool {
        fits(self.name.as_bytes(), name)
    }
}

/// The pieces between the `*` must occur in `name` in order, the first at its start and the last at its end. Taking each
/// middle piece as early as possible leaves the most room for the rest, so no choice need ever be taken back.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let mut pieces = pattern.split(|byte| *byte == b'*');
    let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match memmem::find(rest, piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl StreamMap {
    /// The map that says nothing.
    pub fn empty() -> StreamMap {
        StreamMap { text: String::new(), entries: Vec::new() }
    }

    /// Reads a map.
    ///
    /// ```
    /// use erstwhile_engine::catalogue::StreamMap;
    /// let error = StreamMap::parse("[[stream]]\nname = \"x\"\ntabel = \"users\"\n").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "line 3 of the stream map: unknown key `tabel`; use name, table, whole, removed or primary"
    /// );
    /// ```
    pub fn parse(text: &str) -> Result<StreamMap, MapError> {
        let at = |start, fault| MapError { line: line_of(text, start), fault };
        let document = DeTable::parse(text)
            .map_err(|error| at(error.span().map_or(0, |span| span.start), MapFault::Toml(error.message().into())))?;
        let mut entries = Vec::new();
        for (key, value) in document.get_ref() {
            if key.get_ref() != "stream" {
                return Err(at(key.span().start, MapFault::UnknownTop(key.get_ref().as_ref().into())));
            }
            let DeValue::Array(streams) = value.get_ref() else {
                return Err(at(key.span().start, MapFault::NotAList));
            };
            for stream in streams {
                let entry = read_entry(stream).map_err(|(start, fault)| at(start, fault))?;
                entries.push(entry);
            }
        }
        Ok(StreamMap { text: text.into(), entries })
    }

    /// The text as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The entries in the order of the text.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry that applies to a name.
    pub fn first_fit(&self, name: &[u8]) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.fits(name))
    }
}

impl Default for StreamMap {
    fn default() -> StreamMap {
        StreamMap::empty()
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// An entry, or what is wrong and where its text starts.
fn read_entry(stream: &Spanned<DeValue<'_>>) -> Result<Entry, (usize, MapFault)> {
    let DeValue::Table(keys) = stream.get_ref() else {
        return Err((stream.span().start, MapFault::NotAList));
    };
    let (mut name, mut entry) =
        (None, Entry { name: String::new(), table: None, whole: false, removed: true, primary: false });
    for (key, value) in keys {
        match key.get_ref().as_ref() {
            "name" => name = Some(text_of("name", value)?.to_owned()),
            "table" => entry.table = Some(Name::from(text_of("table", value)?.as_bytes())),
            "whole" => entry.whole = flag_of("whole", value)?,
            "removed" => entry.removed = flag_of("removed", value)?,
            "primary" => entry.primary = flag_of("primary", value)?,
            other => return Err((key.span().start, MapFault::UnknownKey(other.into()))),
        }
    }
    entry.name = name.ok_or((stream.span().start, MapFault::NoName))?;
    Ok(entry)
}

fn text_of<'a>(key: &'static str, value: &'a Spanned<DeValue<'_>>) -> Result<&'a str, (usize, MapFault)> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        other => Err((value.span().start, MapFault::Type { key, wanted: "a string", found: other.type_str() })),
    }
}

fn flag_of(key: &'static str, value: &Spanned<DeValue<'_>>) -> Result<bool, (usize, MapFault)> {
    match value.get_ref() {
        DeValue::Boolean(flag) => Ok(*flag),
        other => Err((value.span().start, MapFault::Type { key, wanted: "true or false", found: other.type_str() })),
    }
}

/// Why a text is no stream map, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub fault: MapFault,
}

/// What is wrong with a stream map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapFault {
    /// Not TOML; the parser's words.
    Toml(Box<str>),
    /// A key beside `stream`.
    UnknownTop(Box<str>),
    /// `stream` is no list of tables.
    NotAList,
    /// A key of an entry that means nothing.
    UnknownKey(Box<str>),
    /// An entry without `name`.
    NoName,
    /// A key with a value of the wrong type.
    Type {
        /// The key.
        key: &'static str,
        /// What it takes.
        wanted: &'static str,
        /// TOML's word for what it got.
        found: &'static str,
    },
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the stream map: ", self.line)?;
        match &self.fault {
            MapFault::Toml(words) => write!(f, "not TOML: {words}; mend the line"),
            MapFault::UnknownTop(key) => {
                write!(f, "unknown key `{}`; a map holds only [[stream]] tables", show(key))
            }
            MapFault::NotAList => write!(f, "`stream` is not a list of tables; write [[stream]] above each entry"),
            MapFault::UnknownKey(key) => {
                let (last, first) = KEYS.split_last().unwrap_or((&"", &[]));
                write!(f, "unknown key `{}`; use {} or {last}", show(key), first.join(", "))
            }
            MapFault::NoName => {
                write!(f, "this [[stream]] has no name; add `name = \"…\"`, the query's name or a pattern with `*`")
            }
            MapFault::Type { key, wanted, found } => {
                write!(f, "`{key}` takes {wanted}, not this {found}")
            }
        }
    }
}

impl std::error::Error for MapError {}

/// The lines that make the assumption `name` → `table` a declaration. They belong above every entry that also fits the
/// name.
///
/// A map is text and gives `*` a meaning, so not every name can be written exactly. Bytes that are not UTF-8 become `*`,
/// and a literal `*` stays one, which fits itself and more; a comment then says so. Where only `*` would remain, or the
/// table is not UTF-8, there is nothing to put into a map, and the comment says that.
///
/// ```
/// use erstwhile_engine::catalogue::suggest;
/// assert_eq!(suggest(b"pack/x/users", b"users"), "[[stream]]\nname = \"pack/x/users\"\ntable = \"users\"\n");
/// ```
pub fn suggest(name: &[u8], table: &[u8]) -> String {
    let pattern = pattern_of(name);
    let shown = toml_string(&String::from_utf8_lossy(name));
    let Ok(table) = std::str::from_utf8(table) else {
        return format!("# {shown} cannot be declared: the table's name is not UTF-8.\n");
    };
    if pattern.starts_with('*') && pattern.bytes().all(|byte| byte == b'*') {
        return format!("# {shown} cannot be declared: a pattern for it would fit every name.\n");
    }
    let entry = format!("[[stream]]\nname = {}\ntable = {}\n", toml_string(&pattern), toml_string(table));
    if pattern.contains('*') {
        return format!("# {shown} cannot be written exactly: this fits every name of the form below.\n{entry}");
    }
    entry
}

/// The name with each run of bytes that are not UTF-8 as one `*`.
fn pattern_of(name: &[u8]) -> String {
    let mut pattern = String::new();
    for chunk in name.utf8_chunks() {
        pattern.push_str(chunk.valid());
        if !chunk.invalid().is_empty() && !pattern.ends_with('*') {
            pattern.push('*');
        }
    }
    pattern
}

/// A basic string of TOML.
fn toml_string(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // TOML refuses all other C0 controls and DEL; C1 controls are allowed but would play with a terminal.
            _ if letter.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}
