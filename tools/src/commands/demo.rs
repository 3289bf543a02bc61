//! `demo`: the three questions on a made-up week, end to end.
//!
//! Invariants:
//! - What is shown as a command is run as that command: the same arguments through the same code.
//! - A directory that holds anything is refused, so that made-up rows never get among real ones.
//! - Apart from times taken and the store's place, what is told is the same every time.
//!
//! Steps: simulate → import → choose from the truth → ask → say what to try next.

use super::{Run, Surroundings, run};
use crate::args::ColorWhen;
use crate::demo::{Choice, Truth, choose, office};
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::Format;
use crate::forms::text::{count, folded, safe};
use crate::simulate;
use crate::when::calendar::second_text;
use erstwhile_engine::io::{Clock, SystemClock};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// No line of the demo's own is longer.
const LINE_MAX: usize = 110;

impl Run<'_, '_> {
    pub(super) fn demo(mut self) -> Result<Exit, Failure> {
        if self.cli.format() != Format::Text {
            return Err(Failure::Usage("demo is told as text; what it says to try next takes any --format".to_owned()));
        }
        if let Some(store) = &self.cli.store {
            check_empty(store)?;
        }
        let office = office();
        let intro = format!(
            "A made-up office of {} machines in the week from {}. It is simulated from a seed, so the truth is known, and \
             stands below each answer. Its osquery logs go the way of real ones.",
            office.hosts,
            self.reader.zone.cell(office.start as i64).chars().take(10).collect::<String>()
        );
        tell(&intro, self.around)?;
        self.around.out.flush()?;
        let mut work = Work::new()?;
        let clock = SystemClock::new();
        let fleet = work.folder.join("fleet");
        let made = simulate::run(&office, &fleet).map_err(|error| Failure::file(&fleet, &error))?;
        writeln!(
            self.around.out,
            "\nsimulated {} in {:.1} s",
            count(made.looks, "look", "looks"),
            clock.monotonic_nanos() as f64 / 1e9
        )?;
        let choice = Truth::read(&fleet.join("truth"))
            .map_err(|error| Failure::file(&fleet, &error))
            .map(|truth| choose(&truth))?
            .ok_or_else(|| Failure::Failed("the simulated week holds nothing to ask for".to_owned()))?;
        let store = self.cli.store.clone().unwrap_or_else(|| work.folder.join("store"));
        let mut teller = Teller { run: &mut self, store: &store, clock, took: 0.0 };
        let log = fleet.join("logs").join("osqueryd.results.log");
        let recorded = second_text(office.end() as i64);
        teller.command(&["import".into(), log.into(), "--recorded-at".into(), recorded.into()])?;
        teller.questions(&choice)?;
        teller.next(&choice)?;
        work.keep_store(self.cli.store.is_none())?;
        self.around.out.flush()?;
        Ok(Exit::Done)
    }
}

/// Who tells it.
struct Teller<'t, 'r, 'a> {
    run: &'t mut Run<'r, 'a>,
    store: &'t Path,
    clock: SystemClock,
    /// How many milliseconds the last command took.
    took: f64,
}

impl Teller<'_, '_, '_> {
    fn questions(&mut self, choice: &Choice) -> Result<(), Failure> {
        let (address, uid, stick) = (&choice.address, &choice.uid, &choice.stick);

        let number = address.before.text("address");
        self.title("1. Which system had this IP address at the time of the alert?")?;
        for (fact, at) in [(&address.before, address.sure_before), (&address.after, address.sure_after)] {
            self.ask(&["who", "ip", number, "--at", &second_text(at)])?;
            self.truth(&format!("{} had it {}", fact.host, self.span(fact.from, fact.to)))?;
        }

        let (number, host) = (uid.before.text("uid"), &uid.before.host);
        self.title("2. Which user had this uid on that host at the time of the event?")?;
        for (fact, at) in [(&uid.before, uid.sure_before), (&uid.after, uid.sure_after)] {
            self.ask(&["who", "uid", number, "--host", host, "--at", &second_text(at)])?;
            self.truth(&format!("it was {}'s {}", fact.text("username"), self.span(fact.from, fact.to)))?;
        }

        let path = format!("{}/report.pdf", stick.mount.text("path"));
        let (host, usb) = (&stick.mount.host, &stick.usb);
        self.title("3. Which hardware device was behind this path when the USB stick came and went?")?;
        self.ask(&["what", "device", &path, "--host", host, "--at", &second_text(stick.sure)])?;
        self.truth(&format!(
            "a {} {} with serial {} was plugged in {}",
            usb.text("vendor"),
            usb.text("model"),
            usb.text("serial"),
            self.span(usb.from, usb.to)
        ))?;

        self.title("And where nobody can know, it says so")?;
        let number = address.before.text("address");
        tell(
            "Between the last look that saw the address on one machine and the first that saw it on the other, either \
             may have had it, or neither. All candidates are listed, none is called definite.",
            self.run.around,
        )?;
        self.ask(&["who", "ip", number, "--at", &second_text(choice.between)])?;
        self.truth(&match address.before.to {
            Some(to) if to <= choice.between && choice.between < address.after.from => "neither had it".to_owned(),
            Some(to) if choice.between < to => format!("{} still had it", address.before.host),
            _ => format!("{} had it already", address.after.host),
        })
    }

    fn next(&mut self, choice: &Choice) -> Result<(), Failure> {
        let (address, uid, stick) = (&choice.address, &choice.uid, &choice.stick);
        let host = stick.mount.host.as_str();
        self.title("Try next")?;
        let program = std::env::args_os().next().map_or("erstwhile".to_owned(), |name| quoted(&name));
        let own = self.run.cli.store.is_none();
        let out = &mut *self.run.around.out;
        writeln!(out, "  export ERSTWHILE_STORE={}", quoted(self.store.as_os_str()))?;
        let where_address = format!("address={}", address.before.text("address"));
        let serial = format!("serial={}", stick.usb.text("serial"));
        let pulled = second_text(stick.gone);
        for args in [
            &["hosts"][..],
            &["coverage", "mounts", "--host", host],
            &["history", "interface_addresses", "--where", &where_address],
            &["history", "usb_devices", "--where", &serial],
            &["what", "device", stick.mount.text("path"), "--host", host, "--at", &pulled],
            &["diff", "users", "--host", &uid.before.host, &second_text(uid.sure_before), &second_text(uid.sure_after)],
            &["state", "processes", "--host", host, "--at", &second_text(stick.sure)],
            &["who", "ip", address.before.text("address"), "--at", &second_text(choice.between), "--format", "json"],
        ] {
            writeln!(out, "  {program} {}", line(args.iter().map(OsString::from)))?;
        }
        writeln!(out, "\nYour own logs, in a store of their own:")?;
        writeln!(out, "  {program} import --store DIR /var/log/osquery/osqueryd.results.log*")?;
        let store = self.store.display();
        match own {
            true => {
                let folder = self.store.parent().unwrap_or(self.store);
                writeln!(
                    out,
                    "\nThe demo's store stays in {store}; `rm -r {}` removes it.",
                    quoted(folder.as_os_str())
                )?;
            }
            false => writeln!(out, "\nThe demo's store stays in {store}.")?,
        }
        Ok(())
    }

    /// A heading.
    fn title(&mut self, text: &str) -> Result<(), Failure> {
        let bold = self.color();
        let (on, off) = if bold { ("\x1b[1;4m", "\x1b[0m") } else { ("", "") };
        writeln!(self.run.around.out, "\n{on}{text}{off}")?;
        if !bold {
            writeln!(self.run.around.out, "{}", "=".repeat(text.len()))?;
        }
        Ok(())
    }

    /// Shows and runs a question.
    fn ask(&mut self, words: &[&str]) -> Result<(), Failure> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        self.command(&words)
    }

    /// Shows and runs a command, and says how long it took.
    fn command(&mut self, words: &[OsString]) -> Result<(), Failure> {
        writeln!(self.run.around.out, "\n$ erstwhile {}", line(words.iter().cloned()))?;
        let mut args: Vec<OsString> = vec!["erstwhile".into(), "--store".into(), self.store.into()];
        args.extend(self.run.cli.tz.iter().flat_map(|zone| ["--tz".into(), zone.into()]));
        let color = match self.run.cli.color {
            ColorWhen::Auto => "auto",
            ColorWhen::Always => "always",
            ColorWhen::Never => "never",
        };
        args.extend(["--color".into(), color.into()]);
        args.extend(words.iter().cloned());
        let begun = self.clock.monotonic_nanos();
        let exit = run(args, self.run.engine, self.run.around);
        if exit != Exit::Done {
            return Err(Failure::Failed("the demo ends here".to_owned()));
        }
        self.took = (self.clock.monotonic_nanos() - begun) as f64 / 1e6;
        Ok(())
    }

    /// What really was, and how long the answer took.
    fn truth(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.run.around.out)?;
        tell(&format!("in truth: {text}"), self.run.around)?;
        tell(&format!("answered in {:.1} ms, opening the store included", self.took), self.run.around)
    }

    fn span(&self, from: i64, to: Option<i64>) -> String {
        let zone = &self.run.reader.zone;
        match to {
            Some(to) => format!("from {} to {}", zone.full(from), zone.near(to, from)),
            None => format!("from {} to the end", zone.full(from)),
        }
    }

    fn color(&self) -> bool {
        match self.run.cli.color {
            ColorWhen::Auto => self.run.around.color,
            ColorWhen::Always => true,
            ColorWhen::Never => false,
        }
    }
}

/// Words of the demo's own, in lines that fit.
fn tell(text: &str, around: &mut Surroundings<'_>) -> Result<(), Failure> {
    let room = around.width.unwrap_or(LINE_MAX).min(LINE_MAX);
    writeln!(around.out, "{}", folded(&safe(text.as_bytes()), Some(room)))?;
    Ok(())
}

/// Refuses a directory that holds anything.
fn check_empty(store: &Path) -> Result<(), Failure> {
    match std::fs::read_dir(store) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failure::Usage(format!(
                "{} is not empty, and the demo's made-up rows must not get among real ones: give --store an empty or new \
                 directory, or leave it out (and unset ERSTWHILE_STORE)",
                store.display()
            ))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::file(store, &error)),
    }
}

/// A directory of its own for what is made; removed at the end, but for a store that stays.
struct Work {
    folder: PathBuf,
    keep: bool,
}

impl Work {
    fn new() -> Result<Work, Failure> {
        let temp = std::env::temp_dir();
        for number in 0..1000 {
            let folder = temp.join(format!("erstwhile-demo-{}-{number}", std::process::id()));
            match std::fs::create_dir(&folder) {
                Ok(()) => return Ok(Work { folder, keep: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::file(&folder, &error)),
            }
        }
        Err(Failure::Failed(format!("{}: no room for a directory of the demo's own", temp.display())))
    }

    /// Removes all but the store, if there is one here.
    fn keep_store(&mut self, here: bool) -> Result<(), Failure> {
        self.keep = here;
        let fleet = self.folder.join("fleet");
        std::fs::remove_dir_all(&fleet).map_err(|error| Failure::file(&fleet, &error))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.keep {
            // It lies among temporary files; whoever cleans these up finds it too.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// A command line as a shell takes it.
fn line(words: impl Iterator<Item = OsString>) -> String {
    words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &std::ffi::OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
