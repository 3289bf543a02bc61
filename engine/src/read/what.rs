//! `what device`: from a path to the device behind it, link by link, each with its own evidence.
//!
//! mounts (on Windows logical_drives) → block_devices with all parents → usb_devices. The first link without a row ends
//! the chain and says why.

use super::answer::{Cost, Held, Link, Missing, Verdict, Version, What};
use super::ask::those;
use super::at::{Ask, read_at, sort_held, weakest};
use super::classes::Classes;
use super::question::WhatQuestion;
use super::told::Settings;
use super::view::View;
use crate::error::Error;
use crate::fact::{Micros, Name};
use crate::row::Row;
use crate::timeline::verdict::Class;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A path's drive if it is a Windows path: a letter and a colon.
fn is_windows(path: &[u8]) -> bool {
    matches!(path, [letter, b':', ..] if letter.is_ascii_alphabetic())
}

/// The components of an absolute path; `None` for a path that is not absolute.
fn components(path: &[u8], windows: bool) -> Option<Vec<Vec<u8>>> {
    if !windows && !path.starts_with(b"/") {
        return None;
    }
    let separator = |byte: &u8| *byte == b'/' || (windows && *byte == b'\\');
    let parts = path.split(separator).filter(|part| !part.is_empty());
    Some(parts.map(|part| if windows { part.to_ascii_lowercase() } else { part.to_vec() }).collect())
}

fn text<'r>(row: &'r Row, column: &str) -> &'r [u8] {
    row.get(column.as_bytes()).unwrap_or_default()
}

/// The mounts that contain the path and are the longest that do.
fn longest(mounts: Vec<Held>, column: &str, path: &[u8], windows: bool) -> Vec<Held> {
    let Some(path) = components(path, windows) else { return Vec::new() };
    let depth = |held: &Held| {
        let mount = held.version.row.get(column.as_bytes())?;
        let mount = components(mount, windows)?;
        path.starts_with(&mount).then_some(mount.len())
    };
    let deepest = mounts.iter().filter_map(depth).max();
    mounts.into_iter().filter(|held| depth(held).is_some() && depth(held) == deepest).collect()
}

/// The block devices with one of these names, and all their parents.
fn with_parents(devices: &[Held], names: &BTreeSet<Vec<u8>>) -> Vec<Held> {
    let mut wanted = names.clone();
    loop {
        let parents = devices.iter().filter(|held| wanted.contains(text(&held.version.row, "name")));
        let parents = parents.map(|held| text(&held.version.row, "parent")).filter(|parent| !parent.is_empty());
        let more: BTreeSet<Vec<u8>> = parents.map(<[u8]>::to_vec).filter(|parent| !wanted.contains(parent)).collect();
        if more.is_empty() {
            break;
        }
        wanted.extend(more);
    }
    those(devices, |row| row.get(b"name").is_some_and(|name| wanted.contains(name)))
}

/// The USB devices with the serial of one of the block devices; where either serial is missing, those with the same
/// vendor and model, as possible.
fn usb_devices(devices: &[Held], blocks: &[Held]) -> Vec<Held> {
    let mut found: Vec<Held> = Vec::new();
    for device in devices {
        let row = &device.version.row;
        let serial = text(row, "serial");
        if !serial.is_empty() && blocks.iter().any(|block| text(&block.version.row, "serial") == serial) {
            found.push(device.clone());
            continue;
        }
        let (vendor, model) = (text(row, "vendor"), text(row, "model"));
        let alike = |block: &Held| {
            let block = &block.version.row;
            (serial.is_empty() || text(block, "serial").is_empty())
                && (text(block, "vendor"), text(block, "model")) == (vendor, model)
        };
        if vendor.is_empty() || model.is_empty() || !blocks.iter().any(alike) {
            continue;
        }
        let weak = Held { verdict: weaker(device.verdict, Verdict::Possible), ..device.clone() };
        // Copies that were told apart by their verdict alone are one now.
        let same = |other: &&mut Held| {
            let counted = Version { count: weak.version.count, ..(*other.version).clone() };
            other.verdict == weak.verdict && counted == *weak.version
        };
        match found.iter_mut().find(same) {
            Some(other) => Arc::make_mut(&mut other.version).count += weak.version.count,
            None => found.push(weak),
        }
    }
    found
}

/// The weaker of two verdicts.
fn weaker(a: Verdict, b: Verdict) -> Verdict {
    a.max(b)
}

/// A link of these rows; where there is none it says why.
fn link(table: &[u8], mut rows: Vec<Held>, class: Option<Class>) -> Link {
    sort_held(&mut rows, false);
    let missing = rows.is_empty().then_some(match class {
        None => Missing::NeverCollected,
        Some(Class::Unknown(_)) => Missing::UnknownAtT,
        Some(_) => Missing::NoSuchRow,
    });
    Link { table: Name::from(table), rows, missing }
}

impl View {
    /// All candidates of a table for one host at T.
    fn candidates(
        &self,
        table: &[u8],
        q: &WhatQuestion,
        known_at: Micros,
        settings: &Arc<Settings>,
        cost: &mut Cost,
    ) -> Result<(Vec<Held>, Classes), Error> {
        let ask = Ask { table, at: q.at, host: Some(&q.host), stream: None, known_at, with_after: true, is_all: true };
        let found = read_at(self, &ask, settings, cost, |_| true)?;
        Ok((found.rows.into_held(), found.classes))
    }

    /// Which device was behind a path at T.
    pub fn what(&self, q: &WhatQuestion) -> Result<What, Error> {
        let mut cost = Cost::default();
        let bound = self.bound(q.known_at);
        let settings = self.settings(bound, &mut cost)?;
        let windows = is_windows(&q.path);
        let (table, path, device) = if windows {
            (&b"logical_drives"[..], "device_id", "device_id")
        } else {
            (&b"mounts"[..], "path", "device")
        };

        let (mounts, classes) = self.candidates(table, q, bound, &settings, &mut cost)?;
        let class = classes.of(&q.host);
        let coverage = classes.coverage(self.count_hosts(Some(&q.host), bound, &mut cost)?);
        let mut links = vec![link(table, longest(mounts, path, &q.path, windows), class)];

        if links[0].missing.is_none() {
            let names = links[0].rows.iter().map(|held| text(&held.version.row, device).to_vec()).collect();
            let (blocks, classes) = self.candidates(b"block_devices", q, bound, &settings, &mut cost)?;
            links.push(link(b"block_devices", with_parents(&blocks, &names), classes.of(&q.host)));
        }
        if links.len() == 2 && links[1].missing.is_none() {
            let (devices, classes) = self.candidates(b"usb_devices", q, bound, &settings, &mut cost)?;
            links.push(link(b"usb_devices", usb_devices(&devices, &links[1].rows), classes.of(&q.host)));
        }
        let broken = |(i, link): (usize, &Link)| link.missing.is_some_and(|why| i == 0 || why != Missing::NoSuchRow);
        let verdict = if links.iter().enumerate().any(broken) {
            Verdict::Unknown
        } else {
            links.iter().filter_map(|link| weakest(&link.rows)).fold(Verdict::Definite, weaker)
        };
        let question = format!("what device {}", String::from_utf8_lossy(&q.path));
        let known_at = q.known_at.or(self.last_recorded());
        Ok(What { question, at: q.at, known_at, verdict, links, coverage, cost })
    }
}
