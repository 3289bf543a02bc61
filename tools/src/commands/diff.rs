//! `diff TABLE --host H T1 T2`.

use super::doubts::Asked;
use super::{Run, read};
use crate::args::DiffArgs;
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::Answer;
use erstwhile_engine::read::question::DiffQuestion;

impl Run<'_, '_> {
    pub(super) fn diff(self, args: &DiffArgs) -> Result<Exit, Failure> {
        let question = DiffQuestion {
            table: read::table(&args.table)?,
            host: read::name(&args.host),
            stream: read::optional(&args.stream),
            from: read::second(&self.reader, "T1", &args.from)?,
            to: read::second(&self.reader, "T2", &args.to)?,
            known_at: read::known(&self.reader, &args.known)?,
        };
        if question.from > question.to {
            return Err(Failure::Usage("T1 is later than T2; exchange them".to_owned()));
        }
        let asked = Asked { table: Some(&question.table), host: Some(&question.host), ..Asked::default() };
        self.answer(asked, |answers| answers.diff(&question).map(Answer::Diff))
    }
}
