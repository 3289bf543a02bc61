//! Words of the invented company: people, machines, programs, packages, sticks. Nobody here is real.

/// Given names, some of which need more than ASCII.
pub(super) const GIVEN: &[&str] = &[
    "Maren",
    "Tobias",
    "Ingrid",
    "Zoë",
    "Łukasz",
    "Amara",
    "Désirée",
    "Henrik",
    "Noor",
    "Pavel",
    "Søren",
    "Chiara",
    "Minh",
    "Fatima",
    "Jürgen",
    "Olena",
    "Rafael",
    "Sinéad",
    "Kofi",
    "Yuki",
    "Bram",
    "Leonie",
    "Emre",
    "Priya",
];

/// Family names.
pub(super) const FAMILY: &[&str] = &[
    "Aalto",
    "Brandt",
    "Ceylan",
    "Dvořák",
    "Ekholm",
    "Fontaine",
    "Grünwald",
    "Haddad",
    "Ivanova",
    "Jansen",
    "Kowalski",
    "Lindqvist",
    "Mbeki",
    "Nakamura",
    "Oduya",
    "Petrov",
    "Quispe",
    "Rossi",
    "Sandoval",
    "Tanaka",
    "Urban",
    "Vos",
    "Weiss",
    "Zielinski",
];

/// Login shells.
pub(super) const SHELLS: &[&str] = &["/bin/bash", "/usr/bin/zsh", "/bin/bash", "/usr/bin/fish"];

/// System accounts: name, uid, home.
pub(super) const ACCOUNTS: &[(&str, u64, &str)] = &[
    ("root", 0, "/root"),
    ("daemon", 1, "/usr/sbin"),
    ("mail", 8, "/var/mail"),
    ("www-data", 33, "/var/www"),
    ("systemd-network", 998, "/"),
    ("messagebus", 103, "/nonexistent"),
    ("sshd", 106, "/run/sshd"),
    ("chrony", 111, "/var/lib/chrony"),
    ("colord", 118, "/var/lib/colord"),
    ("nobody", 65534, "/nonexistent"),
];

/// A kind of machine, all of whose hosts were installed from one image.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) name: &'static str,
    /// How many of ten hosts are of it.
    pub(super) tenths: u64,
    /// Sleeps at night.
    pub(super) portable: bool,
    /// Has plugs and people.
    pub(super) seat: bool,
    pub(super) disk: &'static str,
    pub(super) partition: &'static str,
    pub(super) interface: &'static str,
    pub(super) staff: (u64, u64),
}

/// All images.
pub(super) const IMAGES: &[Image] = &[
    Image {
        name: "desk",
        tenths: 4,
        portable: false,
        seat: true,
        disk: "/dev/sda",
        partition: "/dev/sda2",
        interface: "enp3s0",
        staff: (1, 3),
    },
    Image {
        name: "lap",
        tenths: 3,
        portable: true,
        seat: true,
        disk: "/dev/nvme0n1",
        partition: "/dev/nvme0n1p3",
        interface: "wlp2s0",
        staff: (1, 2),
    },
    Image {
        name: "lab",
        tenths: 1,
        portable: false,
        seat: true,
        disk: "/dev/sda",
        partition: "/dev/sda1",
        interface: "eno1",
        staff: (4, 8),
    },
    Image {
        name: "web",
        tenths: 1,
        portable: false,
        seat: false,
        disk: "/dev/vda",
        partition: "/dev/vda1",
        interface: "ens3",
        staff: (1, 3),
    },
    Image {
        name: "db",
        tenths: 1,
        portable: false,
        seat: false,
        disk: "/dev/vda",
        partition: "/dev/vda1",
        interface: "ens3",
        staff: (1, 3),
    },
];

/// Daemons: name, path, command line, uid, ports (protocol, port, address, copies).
pub(super) type Daemon = (&'static str, &'static str, &'static str, u64, &'static [(u64, u64, &'static str, u64)]);

/// Daemons in the order in which hosts have them.
pub(super) const DAEMONS: &[Daemon] = &[
    ("systemd", "/usr/lib/systemd/systemd", "/sbin/init splash", 0, &[]),
    ("sshd", "/usr/sbin/sshd", "sshd: /usr/sbin/sshd -D [listener]", 0, &[(6, 22, "0.0.0.0", 1), (6, 22, "::", 1)]),
    ("osqueryd", "/opt/osquery/bin/osqueryd", "/opt/osquery/bin/osqueryd --flagfile /etc/osquery/flags", 0, &[]),
    ("unbound", "/usr/sbin/unbound", "/usr/sbin/unbound -d -p", 998, &[(17, 53, "127.0.0.1", 4)]),
    ("cupsd", "/usr/sbin/cupsd", "/usr/sbin/cupsd -l", 0, &[(6, 631, "127.0.0.1", 1), (6, 631, "::1", 1)]),
    ("systemd-journald", "/usr/lib/systemd/systemd-journald", "/usr/lib/systemd/systemd-journald", 0, &[]),
    ("systemd-udevd", "/usr/bin/udevadm", "/usr/lib/systemd/systemd-udevd", 0, &[]),
    ("systemd-logind", "/usr/lib/systemd/systemd-logind", "/usr/lib/systemd/systemd-logind", 0, &[]),
    ("dbus-daemon", "/usr/bin/dbus-daemon", "@dbus-daemon --system --nofork --systemd-activation", 103, &[]),
    ("chronyd", "/usr/sbin/chronyd", "/usr/sbin/chronyd -F 1", 111, &[(17, 323, "127.0.0.1", 1), (17, 323, "::1", 1)]),
    ("crond", "/usr/sbin/cron", "/usr/sbin/cron -f", 0, &[]),
    ("rsyslogd", "/usr/sbin/rsyslogd", "/usr/sbin/rsyslogd -n -iNONE", 0, &[]),
    ("NetworkManager", "/usr/sbin/NetworkManager", "/usr/sbin/NetworkManager --no-daemon", 0, &[]),
    ("wpa_supplicant", "/usr/sbin/wpa_supplicant", "/usr/sbin/wpa_supplicant -u -s -O /run/wpa", 0, &[]),
    ("avahi-daemon", "/usr/sbin/avahi-daemon", "avahi-daemon: running", 118, &[(17, 5353, "0.0.0.0", 2)]),
    ("udisksd", "/usr/libexec/udisks2/udisksd", "/usr/libexec/udisks2/udisksd", 0, &[]),
    ("polkitd", "/usr/lib/polkit-1/polkitd", "/usr/lib/polkit-1/polkitd --no-debug", 998, &[]),
    ("colord", "/usr/libexec/colord", "/usr/libexec/colord", 118, &[]),
    ("gdm3", "/usr/sbin/gdm3", "/usr/sbin/gdm3", 0, &[]),
    ("upowerd", "/usr/libexec/upowerd", "/usr/libexec/upowerd", 0, &[]),
    ("thermald", "/usr/sbin/thermald", "/usr/sbin/thermald --systemd --adaptive", 0, &[]),
    ("fwupd", "/usr/libexec/fwupd/fwupd", "/usr/libexec/fwupd/fwupd", 0, &[]),
    (
        "caddy",
        "/usr/bin/caddy",
        "/usr/bin/caddy run --config /etc/caddy/Caddyfile",
        33,
        &[(6, 443, "::", 2), (6, 80, "::", 2)],
    ),
    ("mariadbd", "/usr/sbin/mariadbd", "/usr/sbin/mariadbd --basedir=/usr", 8, &[(6, 3306, "127.0.0.1", 1)]),
];

/// Kernel threads.
pub(super) const KERNEL: &[&str] = &[
    "kthreadd",
    "rcu_preempt",
    "migration/0",
    "ksoftirqd/0",
    "cpuhp/0",
    "migration/1",
    "ksoftirqd/1",
    "cpuhp/1",
    "kdevtmpfs",
    "kauditd",
    "khungtaskd",
    "oom_reaper",
    "kcompactd0",
    "ksmd",
    "kswapd0",
    "scsi_eh_0",
    "scsi_tmf_0",
    "jbd2/main-8",
    "irq/27-mei_me",
    "psimon",
    "zswap-shrink",
    "kworker/R-tpm_d",
    "kworker/R-ata_s",
    "hwrng",
];

/// Programs people and timers start: name, path, command line. `{n}` is a number, `{w}` a word, `{p}` a project,
/// `{o}` something that is not plain ASCII, `{h}` the home of the person.
pub(super) const PROGRAMS: &[(&str, &str, &str)] = &[
    ("soffice.bin", "/usr/lib/libreoffice/program/soffice.bin", "soffice --calc {h}/Documents/{o}"),
    ("evince", "/usr/bin/evince", "evince {h}/Downloads/{w}-{n}.pdf"),
    ("thunderbird", "/usr/lib/thunderbird/thunderbird", "thunderbird -contentproc -childID {n} {w}"),
    ("firefox", "/usr/lib/firefox/firefox", "/usr/lib/firefox/firefox -contentproc -prefsLen {n} -isForBrowser tab"),
    ("cargo", "/usr/bin/cargo", "cargo build -p {w} --target-dir {h}/{p}/target"),
    ("rustc", "/usr/bin/rustc", "rustc --crate-name {w} --edition=2024 src/lib.rs -C metadata={n}"),
    ("make", "/usr/bin/make", "make -j4 -C {h}/{p} {w}"),
    ("cc", "/usr/bin/x86_64-linux-gnu-gcc-14", "cc -O2 -Iinclude -c {w}.c -o build/{w}-{n}.o"),
    ("git", "/usr/bin/git", "git -C {h}/{p} fetch origin {w}"),
    ("ssh", "/usr/bin/ssh", "ssh -p 22 {w}-{n}.corp.test"),
    ("rsync", "/usr/bin/rsync", "rsync -a --delete {h}/{p}/ backup.corp.test:/pool/{w}/"),
    ("python3", "/usr/bin/python3.13", "python3 -m {w}.report --week {n} --out \"{h}/{o}\""),
    ("bash", "/usr/bin/bash", "bash -lc 'find {h}/{p} -name \"*.{w}\" | wc -l'"),
    ("sh", "/usr/bin/dash", "/bin/sh -c test -x /usr/sbin/anacron || run-parts /etc/cron.hourly"),
    ("logrotate", "/usr/sbin/logrotate", "/usr/sbin/logrotate /etc/logrotate.conf"),
    ("sleep", "/usr/bin/sleep", "sleep {n}"),
    ("tar", "/usr/bin/tar", "tar -czf /var/backups/{w}-{n}.tgz -C {h} {p}"),
    ("ffmpeg", "/usr/bin/ffmpeg", "ffmpeg -i {h}/Videos/{o} -crf 23 /tmp/{w}{n}.mp4"),
    ("curl", "/usr/bin/curl", "curl -fsS https://intra.corp.test/api/{w}?page={n}&size=50"),
    ("dpkg-query", "/usr/bin/dpkg-query", "dpkg-query -W -f=${Version}\\n {w}"),
];

/// Words for arguments.
pub(super) const WORDS: &[&str] = &[
    "ledger", "harbor", "tulip", "quarry", "ember", "lantern", "meadow", "copper", "orbit", "pepper", "saddle",
    "timber", "violet", "willow", "anchor", "basalt", "cobalt", "dahlia", "falcon", "garnet", "hazel", "indigo",
    "juniper", "kestrel",
];

/// Project folders.
pub(super) const PROJECTS: &[&str] =
    &["src/atlas", "src/payroll", "work/site", "work/maps", "thesis", "src/kernel-notes"];

/// Text that agents escape differently: other scripts, Latin-1 bytes that are no UTF-8, control bytes.
pub(super) const ODD: &[&[u8]] = &[
    "Übersicht 2026.ods".as_bytes(),
    "смета.xlsx".as_bytes(),
    "議事録.odt".as_bytes(),
    b"caf\xe9 menu.txt",
    b"two\tcolumns\x1b[0m.csv",
    "naïve — \"draft\".docx".as_bytes(),
    b"r\xc3\xa9sum\xe9.pdf",
];

/// Base names of packages.
pub(super) const PACKAGES: &[&str] = &[
    "acl",
    "adduser",
    "alsa-utils",
    "apparmor",
    "apt",
    "at-spi2-core",
    "bash",
    "bind9",
    "binutils",
    "bluez",
    "busybox",
    "caddy",
    "cairo",
    "chrony",
    "clang-19",
    "coreutils",
    "cups",
    "curl",
    "dbus",
    "dconf",
    "dpkg",
    "e2fsprogs",
    "evince",
    "exfatprogs",
    "ffmpeg",
    "file",
    "firefox-esr",
    "fontconfig",
    "freetype",
    "fwupd",
    "gawk",
    "gcc-14",
    "gdm3",
    "git",
    "glib2.0",
    "gnupg2",
    "gtk4",
    "harfbuzz",
    "hunspell",
    "icu",
    "krb5",
    "libreoffice",
    "linux-image-amd64",
    "mariadb",
    "mesa",
    "nano",
    "network-manager",
    "nss",
    "openldap",
    "openssh",
    "openssl",
    "pango",
    "perl",
    "pipewire",
    "python3.13",
    "rsync",
    "sqlite3",
    "sudo",
    "systemd",
    "tar",
    "thunderbird",
    "tzdata",
    "util-linux",
    "vim",
    "wayland",
    "xz-utils",
    "zlib",
];

/// Endings of package names.
pub(super) const PARTS: &[&str] = &["", "-common", "-dev", "-doc", "-data", "-bin", "-utils", "-dbg", "-l10n"];

/// Kinds of sticks: vendor, vendor id, model, model id, blocks of 512 bytes.
pub(super) const STICKS: &[(&str, &str, &str, &str, u64)] = &[
    ("Corsair", "1b1c", "Voyager 3.0", "1a0e", 62_533_296),
    ("Verbatim", "18a5", "STORE N GO", "0302", 15_646_720),
    ("PNY", "154b", "USB 3.2.1 FD", "00ee", 121_307_136),
    ("Lexar", "21c4", "JumpDrive", "0cd1", 31_293_440),
    ("Intenso", "058f", "Rainbow Line", "6387", 7_864_320),
    ("Toshiba", "0930", "TransMemory", "6545", 30_299_520),
];

/// Labels of sticks; one is no UTF-8.
pub(super) const LABELS: &[&[u8]] =
    &[b"BACKUP", b"FOTOS", b"TRANSFER", b"KINGS CROSS", "Größe".as_bytes(), b"caf\xe9", b"INSTALL"];

/// What is plugged in for good: vendor, vendor id, model, model id, class.
pub(super) const GADGETS: &[(&str, &str, &str, &str, &str)] = &[
    ("Linux Foundation", "1d6b", "2.0 root hub", "0002", "9"),
    ("Linux Foundation", "1d6b", "3.0 root hub", "0003", "9"),
    ("Cherry GmbH", "046a", "Wired Keyboard", "00b7", "0"),
    ("PixArt Imaging", "093a", "Optical Mouse", "2510", "0"),
    ("Alcor Micro", "058f", "Laptop Camera", "3841", "239"),
];

/// Messages of status lines: severity, file, line, message.
pub(super) const STATUS: &[(u64, &str, u64, &str)] = &[
    (0, "scheduler.cpp", 114, "Executing scheduled query pack/fleet/mounts: SELECT * FROM mounts"),
    (1, "watcher.cpp", 708, "osqueryd worker respawning too quickly: 1 times"),
    (0, "eventfactory.cpp", 390, "Event publisher not enabled: syslog: Publisher disabled via configuration"),
    (2, "virtual_table.cpp", 991, "The chrome_extensions table returns data based on the current user by default"),
    (0, "query.cpp", 82, "Storing initial results for new scheduled query: pack/fleet/users"),
];
