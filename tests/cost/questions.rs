//! The questions about one host or one value, each with its cost once everything is warm.

use crate::fleet::{self, CHANGING_UID, KEPT};
use erstwhile_engine::error::Error;
use erstwhile_engine::fact::{Name, Second};
use erstwhile_engine::read::answer::Cost;
use erstwhile_engine::read::question::{
    DiffQuestion, HistoryQuestion, StateQuestion, Subject, Wanted, Where, WhoQuestion,
};
use erstwhile_engine::read::view::View;

/// Looks between the two times of a difference, and in the span of a history.
pub(crate) const SPAN: u64 = 40;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Question {
    WhoIp,
    WhoIpOfHost,
    WhoUid,
    WhoChangingUid,
    Processes,
    Users,
    Addresses,
    ProcessesOfName,
    ProcessesOfNameOfHost,
    UsersOfName,
    Diff,
    ProcessHistory,
    Events,
}

pub(crate) const ALL: [Question; 13] = [
    Question::WhoIp,
    Question::WhoIpOfHost,
    Question::WhoUid,
    Question::WhoChangingUid,
    Question::Processes,
    Question::Users,
    Question::Addresses,
    Question::ProcessesOfName,
    Question::ProcessesOfNameOfHost,
    Question::UsersOfName,
    Question::Diff,
    Question::ProcessHistory,
    Question::Events,
];

fn name(text: &str) -> Name {
    Name::from(text.as_bytes())
}

pub(crate) fn state(table: &str, at: Second, host: Option<Name>, wheres: Option<(&str, &str)>) -> StateQuestion {
    let wheres = wheres.map(|(column, text)| Where { column: name(column), text: Wanted::Is(name(text)) });
    StateQuestion { table: name(table), at, host, stream: None, wheres: wheres.into_iter().collect(), known_at: None }
}

impl Question {
    /// The index that it is answered from.
    pub(crate) fn index(self) -> Option<(&'static str, &'static str)> {
        match self {
            Question::WhoIp | Question::WhoIpOfHost => Some(("interface_addresses", "address")),
            Question::WhoUid | Question::WhoChangingUid => Some(("users", "uid")),
            Question::UsersOfName => Some(("users", "username")),
            Question::ProcessesOfName | Question::ProcessesOfNameOfHost => Some(("processes", "name")),
            _ => None,
        }
    }

    /// Asks it of a host at a look; tells how many rows the answer has and what it cost.
    fn ask_once(self, view: &View, host: u64, look: u64) -> Result<(usize, Cost), Error> {
        let (at, of) = (fleet::second(look), fleet::host(host));
        let who = |subject: Subject, host: Option<Name>| {
            view.who(&WhoQuestion { subject, at, host, known_at: None }).map(|answer| (answer.rows.len(), answer.cost))
        };
        let held = |table: &str, host: Option<Name>, wheres: Option<(&str, &str)>| {
            view.state(&state(table, at, host, wheres)).map(|answer| (answer.rows.len(), answer.cost))
        };
        let history = |table: &str| {
            let question = HistoryQuestion {
                table: name(table),
                host: Some(of.clone()),
                stream: None,
                wheres: Vec::new(),
                from: Some(at),
                to: Some(fleet::second(look + SPAN)),
                known_at: None,
            };
            view.history(&question).map(|answer| (answer.rows.len(), answer.cost))
        };
        let address = || Subject::Ip(name(&fleet::address(host, look)));
        // Who came last, at this look or at the one before.
        let came = look - look % 2;
        match self {
            Question::WhoIp => who(address(), None),
            Question::WhoIpOfHost => who(address(), Some(of)),
            Question::WhoUid => who(Subject::Uid(name(&fleet::uid(came))), Some(of)),
            Question::WhoChangingUid => who(Subject::Uid(name(CHANGING_UID)), Some(of)),
            Question::Processes => held("processes", Some(of), None),
            Question::Users => held("users", Some(of), None),
            Question::Addresses => held("interface_addresses", Some(of), None),
            Question::ProcessesOfName => held("processes", None, Some(("name", KEPT))),
            Question::ProcessesOfNameOfHost => held("processes", Some(of), Some(("name", KEPT))),
            Question::UsersOfName => held("users", None, Some(("username", &fleet::username(host, came)))),
            Question::Diff => {
                let question = DiffQuestion {
                    table: name("processes"),
                    host: of,
                    stream: None,
                    from: at,
                    to: fleet::second(look + SPAN),
                    known_at: None,
                };
                view.diff(&question).map(|answer| (answer.rows.len(), answer.cost))
            }
            Question::ProcessHistory => history("processes"),
            Question::Events => history("process_events"),
        }
    }

    /// The same, once everything that it needs was read before.
    pub(crate) fn ask(self, view: &View, host: u64, look: u64) -> (usize, Cost) {
        let ask = || self.ask_once(view, host, look).unwrap_or_else(|error| panic!("{self:?}: {error}"));
        ask();
        ask()
    }
}
