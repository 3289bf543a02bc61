//! The tables of the simulated schedule, their queries and the rows they hold, with osquery's column names.
//!
//! Invariants:
//! - A query selects the same columns everywhere (until a fault changes its text).
//! - Volatile columns (free blocks, resident sizes) are not selected.

use super::row::{Cell, Row};

/// A table of the schedule; also the index of its query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Users,
    InterfaceAddresses,
    Mounts,
    BlockDevices,
    UsbDevices,
    Processes,
    ListeningPorts,
    DebPackages,
    OsVersion,
    OsqueryInfo,
    LoggedInUsers,
    ProcessEvents,
}

/// All tables, in the order of the schedule.
pub(super) const TABLES: [Table; 12] = [
    Table::Users,
    Table::InterfaceAddresses,
    Table::Mounts,
    Table::BlockDevices,
    Table::UsbDevices,
    Table::Processes,
    Table::ListeningPorts,
    Table::DebPackages,
    Table::OsVersion,
    Table::OsqueryInfo,
    Table::LoggedInUsers,
    Table::ProcessEvents,
];

impl Table {
    /// osquery's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Users => "users",
            Table::InterfaceAddresses => "interface_addresses",
            Table::Mounts => "mounts",
            Table::BlockDevices => "block_devices",
            Table::UsbDevices => "usb_devices",
            Table::Processes => "processes",
            Table::ListeningPorts => "listening_ports",
            Table::DebPackages => "deb_packages",
            Table::OsVersion => "os_version",
            Table::OsqueryInfo => "osquery_info",
            Table::LoggedInUsers => "logged_in_users",
            Table::ProcessEvents => "process_events",
        }
    }

    /// How many polls pass between two runs, where the slowest take `slow`.
    pub(super) fn polls(self, slow: u32) -> u32 {
        match self {
            Table::DebPackages | Table::OsVersion => slow,
            Table::Users | Table::OsqueryInfo => slow.min(6),
            _ => 1,
        }
    }
}

/// One account.
pub(super) fn user(uid: u64, name: &str, description: &str, home: &str, shell: &str) -> Row {
    Row::new(vec![
        ("uid", uid.into()),
        ("gid", uid.into()),
        ("uid_signed", uid.into()),
        ("gid_signed", uid.into()),
        ("username", name.into()),
        ("description", description.into()),
        ("directory", home.into()),
        ("shell", shell.into()),
        ("uuid", "".into()),
    ])
}

/// One address.
pub(super) fn address(interface: &str, address: &str, mask: &str, broadcast: &str, kind: &str) -> Row {
    Row::new(vec![
        ("interface", interface.into()),
        ("address", address.into()),
        ("mask", mask.into()),
        ("broadcast", broadcast.into()),
        ("point_to_point", "".into()),
        ("type", kind.into()),
    ])
}

/// One mount.
pub(super) fn mount(device: &str, path: &[u8], kind: &str, blocks: u64, flags: &str) -> Row {
    Row::new(vec![
        ("device", device.into()),
        ("device_alias", device.into()),
        ("path", path.into()),
        ("type", kind.into()),
        ("blocks_size", 4096.into()),
        ("blocks", blocks.into()),
        ("flags", flags.into()),
    ])
}

/// What a block device is.
#[derive(Clone, Copy, Default)]
pub(super) struct Block<'a> {
    pub(super) name: &'a str,
    pub(super) parent: &'a str,
    pub(super) vendor: &'a str,
    pub(super) model: &'a str,
    pub(super) serial: &'a str,
    pub(super) size: u64,
    pub(super) uuid: &'a str,
    pub(super) kind: &'a str,
    pub(super) label: &'a [u8],
}

/// One block device.
pub(super) fn block_device(block: Block<'_>) -> Row {
    Row::new(vec![
        ("name", block.name.into()),
        ("parent", block.parent.into()),
        ("vendor", block.vendor.into()),
        ("model", block.model.into()),
        ("serial", block.serial.into()),
        ("size", block.size.into()),
        ("block_size", 512.into()),
        ("uuid", block.uuid.into()),
        ("type", block.kind.into()),
        ("label", block.label.into()),
    ])
}

/// What a USB device is.
#[derive(Clone, Copy)]
pub(super) struct Usb<'a> {
    pub(super) address: u64,
    pub(super) port: u64,
    pub(super) vendor: (&'a str, &'a str),
    pub(super) model: (&'a str, &'a str),
    pub(super) serial: &'a str,
    pub(super) class: &'a str,
    pub(super) removable: u64,
}

/// One USB device.
pub(super) fn usb_device(usb: Usb<'_>) -> Row {
    Row::new(vec![
        ("usb_address", usb.address.into()),
        ("usb_port", usb.port.into()),
        ("vendor", usb.vendor.0.into()),
        ("vendor_id", usb.vendor.1.into()),
        ("version", "0210".into()),
        ("model", usb.model.0.into()),
        ("model_id", usb.model.1.into()),
        ("serial", usb.serial.into()),
        ("class", usb.class.into()),
        ("subclass", "0".into()),
        ("protocol", "0".into()),
        ("removable", usb.removable.into()),
    ])
}

/// What a process is.
pub(super) struct Process<'a> {
    pub(super) pid: u64,
    pub(super) parent: u64,
    pub(super) uid: u64,
    pub(super) name: &'a str,
    pub(super) path: &'a str,
    pub(super) cmdline: &'a [u8],
    pub(super) cwd: &'a str,
    pub(super) start: u64,
}

impl Process<'_> {
    /// The row while it runs.
    pub(super) fn row(&self) -> Row {
        Row::new(vec![
            ("pid", self.pid.into()),
            ("name", self.name.into()),
            ("path", self.path.into()),
            ("cmdline", self.cmdline.into()),
            ("cwd", self.cwd.into()),
            ("uid", self.uid.into()),
            ("gid", self.uid.into()),
            ("parent", self.parent.into()),
            ("start_time", self.start.into()),
        ])
    }

    /// The event of its start.
    pub(super) fn event(&self) -> Row {
        let auid = if self.uid < 1000 { u64::from(u32::MAX) } else { self.uid };
        Row::new(vec![
            ("pid", self.pid.into()),
            ("path", self.path.into()),
            ("mode", "0100755".into()),
            ("cmdline", self.cmdline.into()),
            ("cwd", self.cwd.into()),
            ("auid", auid.into()),
            ("uid", self.uid.into()),
            ("euid", self.uid.into()),
            ("gid", self.uid.into()),
            ("egid", self.uid.into()),
            ("parent", self.parent.into()),
            ("syscall", "execve".into()),
            ("time", self.start.into()),
        ])
    }
}

/// One socket that listens. Sockets that share a port are equal rows.
pub(super) fn port(pid: u64, protocol: u64, port: u64, address: &str) -> Row {
    Row::new(vec![
        ("pid", pid.into()),
        ("port", port.into()),
        ("protocol", protocol.into()),
        ("family", if address.contains(':') { 10 } else { 2 }.into()),
        ("address", address.into()),
        ("path", "".into()),
    ])
}

/// One package at its `generation`th version.
pub(super) fn package(index: usize, generation: u64) -> Row {
    use super::text::{PACKAGES, PARTS};
    let base = PACKAGES[index % PACKAGES.len()];
    let part = PARTS[index / PACKAGES.len() % PARTS.len()];
    let seed = (index % PACKAGES.len()) as u64;
    let version = format!("{}.{}.{}-{}", 1 + seed % 9, seed * 7 % 31, generation / 3, 1 + generation % 3);
    let text = |text: String| Cell::from(text);
    Row::new(vec![
        ("name", text(format!("{base}{part}"))),
        ("version", text(version)),
        ("source", if part.is_empty() { "".into() } else { base.into() }),
        ("size", (17 + (index as u64 * 2_654_435_761 + generation * 97) % 90_000).into()),
        ("arch", if part == "-doc" || part == "-l10n" { "all" } else { "amd64" }.into()),
        ("revision", text((1 + generation % 3).to_string())),
        ("status", "install ok installed".into()),
    ])
}

/// The operating system at a patch level.
pub(super) fn os_version(patch: u64) -> Row {
    Row::new(vec![
        ("name", "Debian GNU/Linux".into()),
        ("version", format!("13.{patch} (trixie)").into()),
        ("major", 13.into()),
        ("minor", patch.into()),
        ("patch", 0.into()),
        ("build", "".into()),
        ("platform", "debian".into()),
        ("platform_like", "".into()),
        ("codename", "trixie".into()),
        ("arch", "x86_64".into()),
    ])
}

/// The agent about itself.
pub(super) fn osquery_info(pid: u64, uuid: &str, version: &str, start: u64) -> Row {
    let instance = format!("8c{}", uuid.get(2..).unwrap_or_default());
    Row::new(vec![
        ("pid", pid.into()),
        ("uuid", uuid.into()),
        ("instance_id", instance.into()),
        ("version", version.into()),
        ("config_hash", "5f0d1c2ab7".into()),
        ("config_valid", 1.into()),
        ("extensions", "active".into()),
        ("build_platform", "linux".into()),
        ("build_distro", "centos7".into()),
        ("start_time", start.into()),
        ("watcher", (pid - 1).into()),
        ("platform_mask", 9.into()),
    ])
}

/// One session.
pub(super) fn session(kind: &str, user: &str, tty: &str, host: &str, time: u64, pid: u64) -> Row {
    Row::new(vec![
        ("type", kind.into()),
        ("user", user.into()),
        ("tty", tty.into()),
        ("host", host.into()),
        ("time", time.into()),
        ("pid", pid.into()),
    ])
}
