//! `what device PATH --host H --at T`.

use super::doubts::Asked;
use super::{Run, read};
use crate::args::WhatSubject;
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::Answer;
use erstwhile_engine::read::question::WhatQuestion;

impl Run<'_, '_> {
    pub(super) fn what(self, subject: &WhatSubject) -> Result<Exit, Failure> {
        let WhatSubject::Device(args) = subject;
        if args.path.is_empty() {
            return Err(Failure::Usage("the path is empty".to_owned()));
        }
        let question = WhatQuestion {
            path: read::name(&args.path),
            host: read::name(&args.host),
            at: read::second(&self.reader, "--at", &args.at.at)?,
            known_at: read::known(&self.reader, &args.known)?,
        };
        let asked = Asked { host: Some(&question.host), ..Asked::default() };
        self.answer(asked, |answers| answers.what(&question).map(Answer::What))
    }
}
