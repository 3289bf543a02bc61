//! `hosts`, `tables`, `coverage`.

use super::doubts::Asked;
use super::{Run, read};
use crate::args::{CoverageArgs, ListArgs};
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::Answer;
use erstwhile_engine::read::question::ListQuestion;

impl Run<'_, '_> {
    pub(super) fn hosts(self, args: &ListArgs) -> Result<Exit, Failure> {
        let question = self.everything(args)?;
        self.answer(Asked::default(), |answers| answers.hosts(&question).map(Answer::Hosts))
    }

    pub(super) fn tables(self, args: &ListArgs) -> Result<Exit, Failure> {
        let question = self.everything(args)?;
        self.answer(Asked::default(), |answers| answers.tables(&question).map(Answer::Tables))
    }

    pub(super) fn coverage(self, args: &CoverageArgs) -> Result<Exit, Failure> {
        let question = ListQuestion {
            table: args.table.as_deref().map(read::table).transpose()?,
            host: read::optional(&args.host),
            known_at: read::known(&self.reader, &args.known)?,
        };
        let asked = Asked { table: question.table.as_ref(), host: question.host.as_ref(), ..Asked::default() };
        self.answer(asked, |answers| answers.coverage(&question).map(Answer::Coverage))
    }

    fn everything(&self, args: &ListArgs) -> Result<ListQuestion, Failure> {
        Ok(ListQuestion { known_at: read::known(&self.reader, &args.known)?, ..ListQuestion::default() })
    }
}
