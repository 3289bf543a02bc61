//! USB sticks: in a drawer or in one machine, where a mount, block devices and a USB device belong together.
//!
//! Invariants:
//! - A stick is in at most one machine.
//! - The mount's device is a block device, whose topmost parent has the serial (maybe none), vendor and model of the
//!   USB device.

use super::row::Row;
use super::tables::{self, Block, Table, Usb};
use super::text;
use super::truth::Out;
use super::world::{Change, World};

/// A stick, wherever it is.
#[derive(Clone, Debug)]
pub(super) struct Stick {
    pub(super) kind: usize,
    /// Empty for some.
    pub(super) serial: String,
    pub(super) label: &'static [u8],
    pub(super) volume: String,
    /// Formatted without a partition table.
    pub(super) whole: bool,
    pub(super) busy: bool,
}

/// What a stick added to a host.
#[derive(Clone, Debug)]
pub(super) struct Plugged {
    pub(super) stick: u32,
    letter: u8,
    rows: Vec<(Table, Row)>,
}

impl World {
    /// Plugs in a stick that nobody has, at most two in one machine; rarely into a server, by passing it through.
    pub(super) fn plug(&mut self, index: usize, at: u64) -> Option<(u64, Change)> {
        let host = &mut self.hosts[index];
        if host.plugged.len() >= 2 || (!host.image.seat && host.rng.chance(0.9)) {
            return None;
        }
        let chosen = host.rng.index(self.sticks.len());
        let stick = self.sticks.get_mut(chosen).filter(|stick| !stick.busy)?;
        stick.busy = true;
        let first = if host.image.disk == "/dev/sda" { b'b' } else { b'a' };
        let letter = (first..).find(|letter| host.plugged.iter().all(|other| other.letter != *letter))?;
        let &(vendor, vendor_id, model, model_id, blocks) = &text::STICKS[stick.kind];
        let disk = format!("/dev/sd{}", letter as char);
        let part = if stick.whole { disk.clone() } else { format!("{disk}1") };
        let user = host.person().map_or("root".to_owned(), |person| person.name);
        let path = [b"/media/", user.as_bytes(), b"/", stick.label].concat();
        let port = (host.rng.between(5, 60), host.rng.between(1, 4));
        let usb = Usb {
            address: port.0,
            port: port.1,
            vendor: (vendor, vendor_id),
            model: (model, model_id),
            serial: &stick.serial,
            class: "0",
            removable: 1,
        };
        let volume = Block { uuid: &stick.volume, kind: "vfat", label: stick.label, size: blocks, ..Block::default() };
        let whole = Block { name: &disk, vendor, model, serial: &stick.serial, size: blocks, ..Block::default() };
        let mut rows = vec![(Table::UsbDevices, tables::usb_device(usb))];
        if stick.whole {
            let whole = Block { uuid: volume.uuid, kind: volume.kind, label: volume.label, ..whole };
            rows.push((Table::BlockDevices, tables::block_device(whole)));
        } else {
            rows.push((Table::BlockDevices, tables::block_device(whole)));
            let part = Block { name: &part, parent: &disk, size: blocks - 2048, ..volume };
            rows.push((Table::BlockDevices, tables::block_device(part)));
        }
        let flags = "rw,nosuid,nodev,relatime,uid=1000,utf8";
        rows.push((Table::Mounts, tables::mount(&part, &path, "vfat", blocks / 8, flags)));
        for (table, row) in &rows {
            host.put(*table, row.clone(), at);
        }
        host.plugged.push(Plugged { stick: chosen as u32, letter, rows });
        Some((at + host.rng.between(90, 9000), Change::Pull(chosen as u32)))
    }

    /// Pulls a stick out, wherever it is mounted.
    pub(super) fn pull(&mut self, index: usize, stick: u32, at: u64, out: &mut Out) {
        let host = &mut self.hosts[index];
        let Some(found) = host.plugged.iter().position(|plugged| plugged.stick == stick) else {
            return;
        };
        let plugged = host.plugged.remove(found);
        for (table, row) in plugged.rows.iter().rev() {
            host.take(*table, row, at, out);
        }
        self.sticks[stick as usize].busy = false;
    }
}
