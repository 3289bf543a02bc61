//! Which device was behind a path: from the path to its mount, from there to block devices, from there to USB.
//!
//! Must stay true: the whole is never surer than its weakest link, and the first link that is missing is named.

use serde_json::{Value, json};

use super::answer::{Found, Scope, micros, rows_value, second};
use super::line::Row;
use super::verdict::{Class, Verdict};
use super::{Model, View};

/// The links that were found, and what can be said of all of them.
struct Chain<'a> {
    view: &'a View<'a>,
    host: &'a [u8],
    at: i64,
    links: Vec<Value>,
    weakest: Verdict,
    is_over: bool,
}

impl Chain<'_> {
    fn all(&self, table: &str) -> Vec<Found> {
        let scope = Scope { table: table.as_bytes(), host: Some(self.host), stream: None };
        self.view.rows_at(scope, self.at, true, &|_| true)
    }

    /// Adds a link; one without rows ends the chain and says why it is missing.
    fn link(&mut self, table: &str, rows: &[Found]) {
        let mut missing = None;
        if rows.is_empty() {
            let scope = Scope { table: table.as_bytes(), host: Some(self.host), stream: None };
            let reason = match self.view.class(scope, self.at) {
                None => "never collected",
                Some((Class::Unknown, _)) => "unknown at T",
                Some(_) => "no such row",
            };
            if reason != "no such row" || self.links.is_empty() {
                self.weakest = Verdict::Unknown;
            }
            missing = Some(reason);
            self.is_over = true;
        }
        for found in rows {
            self.weakest = self.weakest.max(found.verdict);
        }
        self.links.push(json!({"table": table, "rows": rows_value(rows), "missing": missing}));
    }
}

impl Model {
    /// Which device was behind a path of a host at an instant.
    ///
    /// # Errors
    /// None today; the form is that of the other questions.
    pub fn what_device(&self, path: &str, host: &[u8], at: i64, known_at: Option<i64>) -> Result<Value, String> {
        let view = self.view(known_at);
        let mut chain = Chain { view: &view, host, at, links: Vec::new(), weakest: Verdict::Definite, is_over: false };

        let windows = is_windows(path.as_bytes());
        let (first_table, device_column) = if windows { ("logical_drives", "device_id") } else { ("mounts", "device") };
        let mut holders = chain.all(first_table);
        if windows {
            holders.retain(|found| {
                field(&found.row, "device_id").is_some_and(|id| path.as_bytes()[..2].eq_ignore_ascii_case(id))
            });
        } else {
            holders.retain(|found| containing(&found.row, path.as_bytes()).is_some());
            let longest = holders.iter().filter_map(|found| containing(&found.row, path.as_bytes())).max();
            holders.retain(|found| containing(&found.row, path.as_bytes()) == longest);
        }
        chain.link(first_table, &holders);

        let mut blocks: Vec<Found> = Vec::new();
        if !chain.is_over {
            let all = chain.all("block_devices");
            let mut names: Vec<Vec<u8>> = Vec::new();
            let mut wanted: Vec<Vec<u8>> =
                holders.iter().filter_map(|found| field(&found.row, device_column)).map(<[u8]>::to_vec).collect();
            while let Some(name) = wanted.pop() {
                if names.contains(&name) {
                    continue;
                }
                for found in all.iter().filter(|found| field(&found.row, "name") == Some(&name)) {
                    wanted.extend(field(&found.row, "parent").map(<[u8]>::to_vec));
                }
                names.push(name);
            }
            blocks = all;
            blocks.retain(|found| field(&found.row, "name").is_some_and(|name| names.iter().any(|n| n == name)));
            chain.link("block_devices", &blocks);
        }
        if !chain.is_over {
            let mut usb = chain.all("usb_devices");
            usb.retain_mut(|found| match blocks.iter().filter_map(|b| same_device(&b.row, &found.row)).min() {
                Some(how_sure) => {
                    found.verdict = found.verdict.max(how_sure);
                    true
                }
                None => false,
            });
            // Copies that now share a verdict are one row again.
            usb.dedup_by(|next, first| {
                let is_same = next.verdict == first.verdict && next.is_of_same_version(first);
                first.count += if is_same { next.count } else { 0 };
                is_same
            });
            chain.link("usb_devices", &usb);
        }

        let scope = Scope { table: first_table.as_bytes(), host: Some(host), stream: None };
        Ok(json!({"question": format!("what device {path}"), "at": second(Some(at)), "known_at": micros(view.shown),
            "verdict": chain.weakest.word(), "links": chain.links, "coverage": view.coverage_counts(scope, at),
            "cost": {}}))
    }
}

/// A column that is there and not empty.
fn field<'a>(row: &'a Row, column: &str) -> Option<&'a [u8]> {
    row.get(column.as_bytes()).map(Vec::as_slice).filter(|text| !text.is_empty())
}

/// A drive letter and a colon.
fn is_windows(path: &[u8]) -> bool {
    matches!(path, [letter, b':', ..] if letter.is_ascii_alphabetic())
}

fn components(path: &[u8]) -> Option<Vec<&[u8]>> {
    let inside = path.strip_prefix(b"/")?;
    Some(inside.split(|&b| b == b'/').filter(|part| !part.is_empty()).collect())
}

/// How many components of the mount's path contain the path, if they do.
fn containing(mount: &Row, path: &[u8]) -> Option<usize> {
    let mount = components(field(mount, "path")?)?;
    components(path)?.starts_with(&mount).then_some(mount.len())
}

/// Are a block device and a USB device one, and how sure is that at best?
fn same_device(block: &Row, usb: &Row) -> Option<Verdict> {
    match (field(block, "serial"), field(usb, "serial")) {
        (Some(block), Some(usb)) => (block == usb).then_some(Verdict::Definite),
        _ => {
            let same = |column: &str| field(block, column).is_some() && field(block, column) == field(usb, column);
            (same("vendor") && same("model")).then_some(Verdict::Possible)
        }
    }
}
