//! A server of its own process, for tests of the program as a user has it.

#![allow(dead_code, reason = "each test program uses some of it")]
#![allow(clippy::disallowed_methods, reason = "a server of its own process lives by the real time")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_erstwhile");

/// A command without the surroundings of whoever runs the tests.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    for name in ["ERSTWHILE_STORE", "ERSTWHILE_SERVER", "ERSTWHILE_TOKEN", "ERSTWHILE_TOKEN_FILE", "ERSTWHILE_CA"] {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent").args(args);
    command
}

/// What a command says.
pub(crate) fn output(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// A server.
pub(crate) struct Served {
    /// Its process.
    pub(crate) child: Child,
    /// Where it listens.
    pub(crate) address: String,
    /// Its store.
    pub(crate) store: PathBuf,
    /// Reads what it says once it listens.
    rest: Option<JoinHandle<Vec<String>>>,
}

impl Served {
    /// Starts a server of a store, with more arguments.
    pub(crate) fn start(store: &Path, more: &[&str]) -> Served {
        let listens = more.contains(&"--listen");
        let mut args = vec!["serve", "--store", store.to_str().unwrap()];
        if !listens {
            args.extend(["--listen", "127.0.0.1:0"]);
        }
        args.extend(more);
        Served::by(command(&args), store)
    }

    /// A server that a command starts.
    pub(crate) fn by(mut command: Command, store: &Path) -> Served {
        let began = Instant::now();
        loop {
            match Served::once(&mut command, store) {
                Ok(served) => return served,
                // A server that comes back to its address may find that another test has it for a while.
                Err(said) if said.iter().any(|line| line.contains("Address already in use")) => {
                    assert!(began.elapsed() < Duration::from_secs(60), "{said:#?}");
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(said) => panic!("the server ended: {said:#?}"),
            }
        }
    }

    /// The same; what it said if it ended before it listened.
    fn once(command: &mut Command, store: &Path) -> Result<Served, Vec<String>> {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                let _ = child.wait();
                return Err(said);
            };
            if let Some(address) = line.strip_prefix("listening on ") {
                break address.split(' ').next().unwrap().to_owned();
            }
            said.push(line);
        };
        // Whoever does not read what a process says stops it.
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect());
        Ok(Served { child, address, store: store.to_owned(), rest: Some(rest) })
    }

    /// The file of the token with this name.
    pub(crate) fn token_file(&self, name: &str) -> String {
        self.store.join("server").join(format!("{name}.token")).to_str().unwrap().to_owned()
    }

    /// Arguments by which a command asks it.
    pub(crate) fn args(&self, token: &str) -> Vec<String> {
        ["--server", &self.address, "--token-file", &self.token_file(token)].map(str::to_owned).to_vec()
    }

    /// Ends it as a power cut does.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it said since it listened, once it has ended.
    pub(crate) fn said(&mut self) -> Vec<String> {
        self.rest.take().map(|rest| rest.join().unwrap()).unwrap_or_default()
    }

    /// Ends it as an operator does; tells whether it ended well.
    pub(crate) fn terminate(&mut self) -> bool {
        self.exit_code() == Some(0)
    }

    /// Ends it as an operator does; tells with what it ended.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < Duration::from_secs(60), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Output without what an answer cost, which depends on what was asked before.
pub(crate) fn without_cost(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let Some((before, rest)) = text.split_once("\"cost\":{") else { return text.into_owned() };
    let (_, after) = rest.split_once('}').expect("an object ends");
    format!("{before}\"cost\":{{{after}")
}
