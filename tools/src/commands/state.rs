//! `state TABLE --at T`.

use super::doubts::Asked;
use super::{Run, read};
use crate::args::StateArgs;
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::Answer;
use erstwhile_engine::read::question::StateQuestion;

impl Run<'_, '_> {
    pub(super) fn state(self, args: &StateArgs) -> Result<Exit, Failure> {
        let question = StateQuestion {
            table: read::table(&args.table)?,
            at: read::second(&self.reader, "--at", &args.at.at)?,
            host: read::optional(&args.host),
            stream: read::optional(&args.stream),
            wheres: read::wheres(&args.wheres)?,
            known_at: read::known(&self.reader, &args.known)?,
        };
        let asked = Asked {
            table: Some(&question.table),
            host: question.host.as_ref(),
            wheres: &question.wheres,
            ..Asked::default()
        };
        self.answer(asked, |answers| answers.state(&question).map(Answer::State))
    }
}
