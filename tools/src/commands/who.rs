//! `who ip ADDR --at T`, `who uid UID --at T`.

use super::doubts::Asked;
use super::{Run, read};
use crate::args::WhoSubject;
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::Answer;
use erstwhile_engine::read::question::{Subject, WhoQuestion};
use std::ffi::OsStr;

impl Run<'_, '_> {
    pub(super) fn who(self, subject: &WhoSubject) -> Result<Exit, Failure> {
        let (subject, common) = match subject {
            WhoSubject::Ip(args) if args.address.is_empty() => {
                return Err(Failure::Usage("the address is empty".to_owned()));
            }
            WhoSubject::Ip(args) => (Subject::Ip(read::name(&args.address)), &args.common),
            WhoSubject::Uid(args) => {
                check_uid(&args.uid)?;
                (Subject::Uid(read::name(&args.uid)), &args.common)
            }
        };
        let question = WhoQuestion {
            subject,
            at: read::second(&self.reader, "--at", &common.at.at)?,
            host: read::optional(&common.host),
            known_at: read::known(&self.reader, &common.known)?,
        };
        let address = match &question.subject {
            Subject::Ip(address) => Some(address),
            Subject::Uid(_) => None,
        };
        let asked = Asked { address, host: question.host.as_ref(), ..Asked::default() };
        self.answer(asked, |answers| answers.who(&question).map(Answer::Who))
    }
}

fn check_uid(uid: &OsStr) -> Result<(), Failure> {
    let bytes = uid.as_encoded_bytes();
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{:?} is no uid, which is a number; a user by name: erstwhile state users --at T --where username={}",
        uid,
        uid.display()
    )))
}
