//! The real command: input of every bad sort, questions that can hardly be meant, stores that are in use or damaged, and death at random moments.

mod bad_input;
mod bad_store;
mod doubts;
mod fsck;
mod kill;
mod operators;
mod recover;

use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A directory with a store and inputs.
struct Place {
    directory: TempDir,
}

/// What a command did.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// A file of these bytes.
    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The command on the store, not yet running.
    fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        command(&self.store(), args)
    }

    fn run(&self, args: &[impl AsRef<OsStr>]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    fn import(&self, file: &Path) -> Ran {
        self.run(&[OsStr::new("import"), file.as_os_str()])
    }

    /// The users named in the history of all hosts, each once, by name.
    fn users(&self) -> Vec<String> {
        let ran = self.run(&["history", "users", "--format", "json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let answer: Value = serde_json::from_str(&ran.out).unwrap();
        let name = |row: &Value| row["columns"]["username"].as_str().unwrap_or_default().to_owned();
        let names: BTreeSet<String> = answer["rows"].as_array().unwrap().iter().map(name).collect();
        names.into_iter().collect()
    }
}

impl Ran {
    fn of(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Checks how it ended and what it said on standard error.
    #[track_caller]
    fn ended(&self, code: i32, said: &[&str]) -> &Ran {
        assert_eq!(self.code, Some(code), "{self:?}");
        for said in said {
            assert!(self.err.contains(said), "{said:?} is not in {self:?}");
        }
        self
    }
}

fn command(store: &Path, args: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_erstwhile"));
    command.args(args).arg("--store").arg(store).env_remove("ERSTWHILE_STORE").stdin(Stdio::null());
    command
}

/// The full set of users of a host, a batch line.
fn line(host: &str, second: u32, users: &[&str]) -> String {
    let users: Vec<String> = users.iter().map(|user| format!(r#"{{"username":"{user}"}}"#)).collect();
    format!(
        r#"{{"name":"pack/x/users","hostIdentifier":"{host}","unixTime":{second},"epoch":1,"counter":0,"numerics":false,"diffResults":{{"removed":[],"added":[{}]}}}}"#,
        users.join(",")
    ) + "\n"
}

/// Chance that can be repeated: splitmix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
