//! A server as a store: the same questions, over its protocol.

use erstwhile::commands::Answers;
use erstwhile::connection::ToServer;
use erstwhile::fail::Failure;
use erstwhile::operate::Servers;
use erstwhile_client::{Client, Code, Connect, Error, TlsOptions};
use erstwhile_engine::catalogue::{Catalogue, suggest};
use erstwhile_engine::fact::Name;
use erstwhile_engine::read::answer::{Diff, History, HostEntry, State, StreamEntry, TableEntry, What, Who};
use erstwhile_engine::read::question::{
    DiffQuestion, HistoryQuestion, ListQuestion, StateQuestion, WhatQuestion, WhoQuestion,
};
use erstwhile_engine::read::stats::{Stats, StatsQuestion};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// Longer than any merge takes, or any store to be weighed.
const WORK_MAX: Duration = Duration::from_secs(7 * 86_400);

/// How a client connects.
pub(crate) fn connect_to(to: &ToServer) -> Connect {
    let mut connect = Connect::to(&to.address).token(&to.token);
    connect.agent = concat!("erstwhile/", env!("CARGO_PKG_VERSION")).to_owned();
    connect.tls = to.ca.as_ref().map(|ca| TlsOptions {
        ca: ca.clone(),
        server_name: to.server_name.clone(),
        certificate: to.certificate.clone(),
    });
    connect
}

/// An error of a server as a failure of a command.
fn failure(address: &str, error: Error) -> Failure {
    match error.code() {
        Some(Code::Usage) => Failure::Usage(error.to_string()),
        Some(Code::Damage) => Failure::Damage(format!("server {address}: {error}")),
        // These name what they are about.
        None if matches!(error, Error::Silent { .. } | Error::Unusable(_)) => Failure::Failed(error.to_string()),
        _ => Failure::Failed(format!("server {address}: {error}")),
    }
}

/// A server that is asked.
pub(crate) struct Remote {
    address: String,
    client: RefCell<Client>,
}

impl Remote {
    /// Connects.
    pub(crate) fn open(to: &ToServer) -> Result<Remote, Failure> {
        let client = Client::connect(&connect_to(to)).map_err(|error| failure(&to.address, error))?;
        Ok(Remote { address: to.address.clone(), client: RefCell::new(client) })
    }

    fn ask<T>(&self, ask: impl FnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Failure> {
        ask(&mut self.client.borrow_mut()).map_err(|error| failure(&self.address, error))
    }
}

/// What servers do for operators; they say nothing until it is done.
pub(crate) struct Remotes;

/// Connects, waits for as long as it takes, and asks.
fn ask_long<T>(to: &ToServer, ask: impl FnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
    let connect = Connect { timeout: WORK_MAX, ..connect_to(to) };
    ask(&mut Client::connect(&connect)?)
}

impl Servers for Remotes {
    fn compact(&self, to: &ToServer) -> Result<(), Failure> {
        ask_long(to, Client::compact).map_err(|error| failure(&to.address, error))
    }

    fn weigh(&self, to: &ToServer, question: &StatsQuestion) -> Result<Stats, Failure> {
        ask_long(to, |client| client.weigh(question)).map_err(|error| match error.code() {
            Some(Code::Unsupported) => Failure::Failed(format!(
                "server {}: {error}; update it, or give its directory with --store DIR, which may be read beside it",
                to.address
            )),
            _ => failure(&to.address, error),
        })
    }
}

impl Answers for Remote {
    fn state(&self, question: &StateQuestion) -> Result<State, Failure> {
        self.ask(|client| client.state(question))
    }

    fn who(&self, question: &WhoQuestion) -> Result<Who, Failure> {
        self.ask(|client| client.who(question))
    }

    fn what(&self, question: &WhatQuestion) -> Result<What, Failure> {
        self.ask(|client| client.what(question))
    }

    fn history(&self, question: &HistoryQuestion) -> Result<History, Failure> {
        self.ask(|client| client.history(question))
    }

    fn diff(&self, question: &DiffQuestion) -> Result<Diff, Failure> {
        self.ask(|client| client.diff(question))
    }

    fn hosts(&self, question: &ListQuestion) -> Result<Vec<HostEntry>, Failure> {
        self.ask(|client| client.hosts(question))
    }

    fn tables(&self, question: &ListQuestion) -> Result<Vec<TableEntry>, Failure> {
        self.ask(|client| client.tables(question))
    }

    fn coverage(&self, question: &ListQuestion) -> Result<Vec<StreamEntry>, Failure> {
        self.ask(|client| client.coverage(question))
    }

    fn map_lines(&self, stream: &[u8], table: &[u8]) -> String {
        suggest(stream, table)
    }

    fn has_table(&self, table: &Name) -> Result<bool, Failure> {
        Ok(self.tables(&ListQuestion::default())?.iter().any(|entry| entry.table == *table))
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        Catalogue::shipped()
    }
}
