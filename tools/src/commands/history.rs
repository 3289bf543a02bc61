//! `history TABLE`.

use super::doubts::Asked;
use super::{Run, read};
use crate::args::HistoryArgs;
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::Answer;
use erstwhile_engine::read::question::HistoryQuestion;

impl Run<'_, '_> {
    pub(super) fn history(self, args: &HistoryArgs) -> Result<Exit, Failure> {
        let time = |option: &str, text: &Option<String>| {
            text.as_deref().map(|text| read::second(&self.reader, option, text)).transpose()
        };
        let question = HistoryQuestion {
            table: read::table(&args.table)?,
            host: read::optional(&args.host),
            stream: read::optional(&args.stream),
            wheres: read::wheres(&args.wheres)?,
            from: time("--from", &args.from)?,
            to: time("--to", &args.to)?,
            known_at: read::known(&self.reader, &args.known)?,
        };
        if let (Some(from), Some(to)) = (question.from, question.to)
            && from > to
        {
            return Err(Failure::Usage("--from is later than --to; exchange them".to_owned()));
        }
        let asked = Asked {
            table: Some(&question.table),
            host: question.host.as_ref(),
            wheres: &question.wheres,
            ..Asked::default()
        };
        self.answer(asked, |answers| answers.history(&question).map(Answer::History))
    }
}
