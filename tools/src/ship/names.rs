//! Names: which file belongs to which log, and which rotated file is older.
//!
//! Invariants:
//! - A rotated file is never a source of its own: `x.log.1` stands for `x.log`, also if only it was named.
//! - A log that was packed by hand, `x.log.gz`, stands for itself while there is no `x.log`. Beside one it is nothing that
//!   can be told apart from a copy of it, so it is left out, and told if it was named.
//! - The order of names is only a first guess for files that nobody has seen before; known ones are told by what they hold.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What a rotated file's name says beside the log's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// `.1`: the greater the older.
    Number(u64),
    /// `-20240131`: the smaller the older.
    Date(Vec<u8>),
}

/// Endings of packed files.
const PACKED: [&[u8]; 4] = [b".gz", b".zst", b".zstd", b".z"];

/// Endings of logs: what stands before a turn and ends so is a log, even if there is no such file.
const LOGS: [&[u8]; 5] = [b".log", b".json", b".ndjson", b".jsonl", b".txt"];

/// A number of so many digits is a date.
const DATE_DIGITS: usize = 8;

impl Turn {
    /// Older first, if both are of one kind.
    pub(super) fn compare(&self, other: &Turn) -> Option<Ordering> {
        match (self, other) {
            (Turn::Number(one), Turn::Number(other)) => Some(other.cmp(one)),
            (Turn::Date(one), Turn::Date(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }

    /// `1`, `old`, `20240131`, `2024-01-31-1706659200`.
    fn parse(text: &[u8]) -> Option<Turn> {
        let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
        if text == b"old" || text == b"bak" {
            return Some(Turn::Number(1));
        }
        if digits == 0 || !text.iter().all(|byte| byte.is_ascii_digit() || b"-_.:T".contains(byte)) {
            return None;
        }
        if digits >= DATE_DIGITS {
            return Some(Turn::Date(text.to_vec()));
        }
        (digits == text.len()).then(|| std::str::from_utf8(text).ok()?.parse().ok().map(Turn::Number))?
    }
}

/// A name without the ending of a packed file.
fn unpacked(name: &[u8]) -> &[u8] {
    PACKED.iter().find_map(|ending| name.strip_suffix(*ending)).unwrap_or(name)
}

/// The turn of a file called `name` if it is one of the log called `log`: `log.1`, `log.1.gz`, `log-20240131`, and
/// `x-20240131.log` of `x.log`.
pub(super) fn turn_of(log: &[u8], name: &[u8]) -> Option<Turn> {
    let name = unpacked(name);
    if let Some(rest) = name.strip_prefix(log) {
        return match rest {
            [b'.' | b'-' | b'_', rest @ ..] => Turn::parse(rest),
            // `log.gz`, made by hand.
            _ => None,
        };
    }
    // The turn before the ending; only dates, since `web-1.log` is more likely the log of `web-1`.
    let dot = log.iter().rposition(|&byte| byte == b'.')?;
    let between = name.strip_prefix(&log[..dot])?.strip_suffix(&log[dot..])?;
    match between {
        [b'.' | b'-' | b'_', rest @ ..] => Turn::parse(rest).filter(|turn| matches!(turn, Turn::Date(_))),
        _ => None,
    }
}

/// The names of logs of which a file called `name` may be a rotated one, the likeliest first, and whether that is so
/// plain that the log need not be there.
fn logs_of(name: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let bare = unpacked(name);
    let mut logs = vec![];
    for (at, byte) in bare.iter().enumerate().skip(1) {
        if !b".-_".contains(byte) {
            continue;
        }
        let (log, rest) = (&bare[..at], &bare[at + 1..]);
        if Turn::parse(rest).is_some() {
            logs.push((log.to_vec(), LOGS.iter().any(|ending| log.ends_with(ending))));
        }
        if let Some(dot) = rest.iter().rposition(|&byte| byte == b'.')
            && matches!(Turn::parse(&rest[..dot]), Some(Turn::Date(_)))
        {
            logs.push(([log, &rest[dot..]].concat(), false));
        }
    }
    if bare.len() < name.len() {
        // Packed by hand.
        logs.push((bare.to_vec(), false));
    }
    logs
}

/// The log that a named file stands for: itself, unless it is a rotated one of a log that is there or surely was.
fn log_for(path: &Path, known: &BTreeSet<PathBuf>) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_bytes();
    for (log, sure) in logs_of(name) {
        let whole = path.with_file_name(OsStr::from_bytes(&log));
        if turn_of(&log, name).is_none() && known.contains(path) {
            // It was followed for itself before there was a log of that name.
            continue;
        }
        if sure || known.contains(&whole) || whole.is_file() {
            return whole;
        }
    }
    path.to_owned()
}

/// Paths and patterns that say what to follow.
#[derive(Clone, Debug)]
pub(super) struct Names {
    plain: Vec<PathBuf>,
    patterns: Vec<(String, glob::Pattern)>,
}

/// What was found of what was named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The logs to follow.
    pub(super) logs: BTreeSet<PathBuf>,
    /// Those of them that were named by their paths.
    pub(super) named: BTreeSet<PathBuf>,
    /// Patterns without a match.
    pub(super) unmatched: BTreeSet<String>,
    /// Files that were named by their paths and of which nothing is sent, each with the log that it lies beside.
    pub(super) left_out: BTreeSet<(PathBuf, PathBuf)>,
}

impl Names {
    /// Takes what was named; a name with `*`, `?` or `[` is a pattern unless a file is called so.
    pub(super) fn new(named: &[OsString]) -> Result<Names, String> {
        let mut names = Names { plain: vec![], patterns: vec![] };
        for name in named {
            let path = whole(Path::new(name));
            let wild = name.as_bytes().iter().any(|byte| b"*?[".contains(byte));
            if !wild || path.exists() {
                names.plain.push(path);
                continue;
            }
            let Some(text) = path.to_str() else {
                return Err(format!("{}: a pattern must be UTF-8", path.display()));
            };
            let pattern = glob::Pattern::new(text).map_err(|error| format!("{}: {error}", path.display()))?;
            names.patterns.push((text.to_owned(), pattern));
        }
        Ok(names)
    }

    /// The logs to follow that are there now, or were named, or known before and fit.
    pub(super) fn find(&self, known: &BTreeSet<PathBuf>) -> Found {
        let mut found = Found::default();
        for path in &self.plain {
            let log = log_for(path, known);
            if is_left_out(path, &log) {
                found.left_out.insert((path.clone(), log.clone()));
            }
            found.named.insert(log);
        }
        found.logs.clone_from(&found.named);
        for (text, pattern) in &self.patterns {
            let files = glob::glob_with(text, LIKE_A_SHELL).into_iter().flatten().flatten();
            let mut logs: Vec<PathBuf> =
                files.filter(|path| path.is_file()).map(|path| log_for(&path, known)).collect();
            logs.extend(known.iter().filter(|path| pattern.matches_path_with(path, LIKE_A_SHELL)).cloned());
            if logs.is_empty() {
                found.unmatched.insert(text.clone());
            }
            found.logs.extend(logs);
        }
        found
    }
}

/// Whether a file that was named stands for a log of whose files it is none.
fn is_left_out(path: &Path, log: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().as_bytes().to_vec();
    path != log && turn_of(&name(log), &name(path)).is_none() && path.is_file()
}

const LIKE_A_SHELL: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The path from the root, through no links of directories, so that a log has one name.
fn whole(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (path.parent().map(fs::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path,
    }
}

/// A path as bytes.
pub(super) fn bytes_of(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// Bytes as a path.
pub(super) fn path_of(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(log: &str, name: &str) -> Option<Turn> {
        turn_of(log.as_bytes(), name.as_bytes())
    }

    #[test]
    fn rotated_files_are_told_by_their_names() {
        let number = |n| Some(Turn::Number(n));
        let date = |text: &str| Some(Turn::Date(text.into()));
        assert_eq!(turn("x.log", "x.log.1"), number(1));
        assert_eq!(turn("x.log", "x.log.12.gz"), number(12));
        assert_eq!(turn("x.log", "x.log.2.zst"), number(2));
        assert_eq!(turn("x.log", "x.log.old"), number(1));
        assert_eq!(turn("x.log", "x.log-20240131"), date("20240131"));
        assert_eq!(turn("x.log", "x.log-2024-01-31.gz"), date("2024-01-31"));
        assert_eq!(turn("x.log", "x-20240131.log.gz"), date("20240131"));
        for other in ["x.log", "x.log.gz.tmp", "x.logs", "x.log.new", "y.log.1", "x-1.log", "x.1.log", "x.log."] {
            assert_eq!(turn("x.log", other), None, "{other}");
        }
    }

    #[test]
    fn older_comes_first() {
        let order = |one: &str, other: &str| turn("x.log", one).unwrap().compare(&turn("x.log", other).unwrap());
        assert_eq!(order("x.log.10.gz", "x.log.9.gz"), Some(Ordering::Less));
        assert_eq!(order("x.log-20240131", "x.log-20240201"), Some(Ordering::Less));
        assert_eq!(order("x.log.1", "x.log-20240201"), None);
    }

    /// A shell that was given `osqueryd.results.log*` names the rotated files as well.
    #[test]
    fn a_rotated_file_stands_for_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        for name in ["a.log", "a.log.1", "a.log.2.gz", "b.log.1", "web", "web.1", "10.0.0.1", "c-20240131.log"] {
            fs::write(dir.join(name), "x").unwrap();
        }
        let found = |named: &[&str]| {
            let named: Vec<OsString> = named.iter().map(|name| dir.join(name).into()).collect();
            let found = Names::new(&named).unwrap().find(&BTreeSet::new());
            found.logs.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found(&["a.log*"]), ["a.log"]);
        assert_eq!(found(&["a.log.2.gz", "a.log.1"]), ["a.log"]);
        assert_eq!(found(&["b.log.1"]), ["b.log"], "between the renaming and the new file");
        assert_eq!(found(&["web.1"]), ["web"]);
        assert_eq!(found(&["10.0.0.*"]), ["10.0.0.1"], "an address is no rotated 10.0.0");
        assert_eq!(found(&["absent.log", "w?b"]), ["absent.log", "web"]);
        assert_eq!(found(&["c-*.log"]), ["c-20240131.log"], "a log may have the date in its name");
        fs::write(dir.join("c.log"), "x").unwrap();
        assert_eq!(found(&["c*.log"]), ["c.log"], "unless there is one without");
    }

    #[test]
    fn what_was_named_and_is_not_followed_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        for name in ["a.log.gz", "b.log", "b.log.gz", "b.log.1.gz"] {
            fs::write(dir.join(name), "x").unwrap();
        }
        let named: Vec<OsString> =
            ["a.log.gz", "b.log.gz", "b.log.1.gz", "c?.log", "*.log"].map(|name| dir.join(name).into()).to_vec();
        let names = Names::new(&named).unwrap();
        let paths = |names: &[&str]| names.iter().map(|name| dir.join(name)).collect::<BTreeSet<PathBuf>>();
        let found = names.find(&BTreeSet::new());
        assert_eq!(found.logs, paths(&["a.log.gz", "b.log"]), "a log that was packed by hand, and no log any more");
        assert_eq!(found.named, found.logs);
        assert_eq!(found.left_out, BTreeSet::from([(dir.join("b.log.gz"), dir.join("b.log"))]));
        assert_eq!(found.unmatched, BTreeSet::from([dir.join("c?.log").to_str().unwrap().to_owned()]));
        // The log comes back: what is followed stays what it is.
        fs::write(dir.join("a.log"), "x").unwrap();
        assert_eq!(names.find(&found.logs).named, paths(&["a.log.gz", "b.log"]));
        let known = paths(&["a.log", "b.log"]);
        assert_eq!(names.find(&known).named, known);
    }
}
