//! The fleet at its first second: machines from images, people, sticks in drawers, addresses to lend.

use super::host::{Host, Person};
use super::options::Options;
use super::rng::Rng;
use super::sticks::Stick;
use super::tables::{self, Block, Process, Table, Usb};
use super::text;
use super::truth::Out;
use super::wire::{Decorations, Version, Voice};
use super::world::{Change, World};

/// Fills an empty world.
pub(super) fn populate(world: &mut World, out: &mut Out) {
    let options = world.options.clone();
    let mut rng = Rng::new(options.seed, 1);
    world.leases = (0..options.hosts + options.hosts / 4 + 3).collect();
    for _ in 0..(options.hosts / 2).max(4) {
        let serial = format!("{:012X}{:04}", rng.next() >> 16, rng.below(10_000));
        world.sticks.push(Stick {
            kind: rng.index(text::STICKS.len()),
            serial: if rng.chance(0.2) { String::new() } else { serial },
            label: rng.pick(text::LABELS),
            volume: format!("{:04X}-{:04X}", rng.below(0x10000), rng.below(0x10000)),
            whole: rng.chance(0.15),
            busy: false,
        });
    }
    for index in 0..options.hosts {
        let host = machine(&options, index);
        world.hosts.push(host);
        install(world, index as usize, out);
    }
}

fn machine(options: &Options, index: u32) -> Host {
    let mut rng = Rng::new(options.seed, 1000 + u64::from(index));
    let mut lot = rng.below(text::IMAGES.iter().map(|image| image.tenths).sum());
    let found = text::IMAGES.iter().position(|image| {
        let hit = lot < image.tenths;
        lot = lot.saturating_sub(image.tenths);
        hit
    });
    let image = &text::IMAGES[found.unwrap_or(0)];
    let version = version(options, &mut rng);
    let uuid = uuid(&mut rng);
    let hostname = format!("{}-{:03}.corp.test", image.name, index + 1);
    let host = match rng.below(20) {
        lot if lot == 0 || options.hostnames => hostname.clone(),
        1..5 => uuid.to_uppercase(),
        _ => uuid.clone(),
    };
    let decorations = match rng.below(10) {
        0 => Decorations::TopLevel,
        1 => Decorations::None,
        _ => Decorations::Object,
    };
    let voice = Voice { host, hostname, uuid, numerics: rng.chance(0.15), decorations, slashes: !rng.chance(0.25) };
    Host::new(voice, version, image, rng, options.start)
}

fn version(options: &Options, rng: &mut Rng) -> Version {
    let mut lot = rng.below(options.versions.iter().map(|(_, weight)| u64::from(*weight)).sum());
    for (text, weight) in &options.versions {
        if lot < u64::from(*weight) {
            return Version::parse(text);
        }
        lot -= u64::from(*weight);
    }
    Version(5, 22, 1)
}

fn uuid(rng: &mut Rng) -> String {
    let (a, b) = (rng.next(), rng.next());
    let tail = b & 0xffff_ffff_ffff;
    format!("{:08x}-{:04x}-4{:03x}-{:04x}-{tail:012x}", a >> 32, a >> 16 & 0xffff, a & 0xfff, 0x8000 | b >> 48 & 0x3fff)
}

/// Somebody new behind a uid.
pub(super) fn person(rng: &mut Rng, uid: u64) -> Person {
    let (given, family) = (rng.pick(text::GIVEN), rng.pick(text::FAMILY));
    let ascii = |text: &str| text.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
    let initial = ascii(given).chars().next().unwrap_or('x');
    let name = format!("{initial}{}{}", ascii(family), rng.below(90) + 10);
    let description = format!("{given} {family},,,");
    let row = tables::user(uid, &name, &description, &format!("/home/{name}"), rng.pick(text::SHELLS));
    Person { uid, name, row }
}

/// Gives a machine its first rows.
fn install(world: &mut World, index: usize, out: &mut Out) {
    let options = world.options.clone();
    let at = options.start;
    for slot in 0..options.packages as usize {
        let image = world.hosts[index].image.name.len() as u64 + u64::from(world.hosts[index].image.name.as_bytes()[0]);
        // Images share most packages; each leaves out others.
        if (slot as u64 * 7 + image).is_multiple_of(6) && slot > 3 {
            continue;
        }
        let package = (slot, slot as u64 % 3);
        let row = world.package(package);
        world.hosts[index].packages.push(package);
        world.hosts[index].put(Table::DebPackages, row, at);
    }
    let host = &mut world.hosts[index];
    host.patch = host.rng.below(3);
    host.put(Table::OsVersion, tables::os_version(host.patch), at);
    users(host, at);
    addresses(host, at);
    disks(host, at);
    usb(host, at);
    processes(host, &options, at, out);
    host.start_agent(at, out);
    let getty = tables::session("login", "LOGIN", "tty1", "", host.clock(at) - 60, 640);
    host.put(Table::LoggedInUsers, getty, at);
    world.change(index, Change::Lease, at, out);
}

fn users(host: &mut Host, at: u64) {
    for &(name, uid, home) in text::ACCOUNTS {
        let shell = if uid == 0 { "/bin/bash" } else { "/usr/sbin/nologin" };
        host.put(Table::Users, tables::user(uid, name, name, home, shell), at);
    }
    for uid in 0..host.rng.between(host.image.staff.0, host.image.staff.1) {
        let person = person(&mut host.rng, 1000 + uid);
        host.put(Table::Users, person.row.clone(), at);
        host.staff.push(person);
    }
}

fn addresses(host: &mut Host, at: u64) {
    let mask6 = "ffff:ffff:ffff:ffff::";
    let all6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let interface = host.image.interface;
    let id = format!(
        "{:x}:{:x}ff:fe{:02x}:{:x}",
        host.rng.below(1 << 16),
        host.rng.below(256),
        host.rng.below(256),
        host.rng.below(1 << 16)
    );
    let rows = [
        tables::address("lo", "127.0.0.1", "255.0.0.0", "", "unknown"),
        tables::address("lo", "::1", all6, "", "unknown"),
        tables::address(interface, &format!("fe80::{id}%{interface}"), mask6, "", "auto"),
        tables::address(interface, &format!("2001:db8:4a::{id}"), mask6, "", "auto"),
    ];
    let copies = if host.rng.chance(0.1) { 2 } else { 1 };
    for row in rows {
        for _ in 0..copies {
            host.put(Table::InterfaceAddresses, row.clone(), at);
        }
    }
}

fn disks(host: &mut Host, at: u64) {
    let (disk, partition) = (host.image.disk, host.image.partition);
    let serial = format!("S{:011X}", host.rng.next() >> 20);
    let uuid = uuid(&mut host.rng);
    let blocks = 125_000_000 * host.rng.between(1, 4);
    let whole =
        Block { name: disk, vendor: "ATA", model: "Crucial MX", serial: &serial, size: blocks, ..Block::default() };
    let part = Block {
        name: partition,
        parent: disk,
        size: blocks - 1_050_624,
        uuid: &uuid,
        kind: "ext4",
        ..Block::default()
    };
    host.put(Table::BlockDevices, tables::block_device(whole), at);
    host.put(Table::BlockDevices, tables::block_device(part), at);
    let mounts: [(&str, &[u8], &str, u64, &str); 6] = [
        (partition, b"/", "ext4", blocks / 8, "rw,relatime"),
        ("proc", b"/proc", "proc", 0, "rw,nosuid,nodev,noexec,relatime"),
        ("sysfs", b"/sys", "sysfs", 0, "rw,nosuid,nodev,noexec,relatime"),
        ("tmpfs", b"/run", "tmpfs", 405_000, "rw,nosuid,nodev,size=1620000k"),
        ("tmpfs", b"/tmp", "tmpfs", 405_000, "rw,nosuid,nodev"),
        // Mounted twice over itself, as happens: equal rows.
        ("tmpfs", b"/tmp", "tmpfs", 405_000, "rw,nosuid,nodev"),
    ];
    let twice = host.rng.chance(0.2);
    for (device, path, kind, blocks, flags) in &mounts[..if twice { 6 } else { 5 }] {
        host.put(Table::Mounts, tables::mount(device, path, kind, *blocks, flags), at);
    }
}

fn usb(host: &mut Host, at: u64) {
    if !host.image.seat {
        return; // A virtual machine has no bus at all: an empty table.
    }
    for (i, &(vendor, vendor_id, model, model_id, class)) in text::GADGETS.iter().enumerate() {
        let hub = class == "9";
        let serial = if hub { format!("0000:00:{:02x}.0", 20 - i) } else { String::new() };
        let usb = Usb {
            address: i as u64 + 1,
            port: 1 + i as u64 % 3,
            vendor: (vendor, vendor_id),
            model: (model, model_id),
            serial: &serial,
            class,
            removable: u64::from(!hub),
        };
        host.put(Table::UsbDevices, tables::usb_device(usb), at);
    }
}

fn processes(host: &mut Host, options: &Options, at: u64, out: &mut Out) {
    let kernel = (options.daemons as usize / 2).min(text::KERNEL.len());
    for (i, name) in text::KERNEL.iter().take(kernel).enumerate() {
        let (pid, start) = (2 + i as u64, host.clock(at) - 90_000);
        let process =
            Process { pid, parent: if i == 0 { 0 } else { 2 }, uid: 0, name, path: "", cmdline: b"", cwd: "/", start };
        host.put(Table::Processes, process.row(), at);
    }
    for daemon in 0..(options.daemons as usize - kernel).min(text::DAEMONS.len()) {
        let servers = matches!(text::DAEMONS[daemon].0, "caddy" | "mariadbd");
        if servers != host.image.seat || !servers {
            host.start_daemon(daemon, at, out);
        }
    }
}
