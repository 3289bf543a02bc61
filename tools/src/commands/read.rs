//! Texts of arguments as names, times, conditions.

use crate::args::KnownArgs;
use crate::fail::Failure;
use crate::when::Reader;
use erstwhile_engine::fact::{Micros, Name, Second};
use erstwhile_engine::read::question::Where;
use std::ffi::{OsStr, OsString};

/// An argument's bytes, which need not be UTF-8.
pub(crate) fn name(text: &OsStr) -> Name {
    Name::from(text.as_encoded_bytes())
}

/// An optional argument's bytes.
pub(crate) fn optional(text: &Option<OsString>) -> Option<Name> {
    text.as_deref().map(name)
}

/// A table's name, which is not empty.
pub(crate) fn table(text: &OsStr) -> Result<Name, Failure> {
    if text.is_empty() {
        return Err(Failure::Usage("the table's name is empty; `erstwhile tables` lists what is stored".to_owned()));
    }
    Ok(name(text))
}

/// The observed second of an option.
pub(crate) fn second(reader: &Reader, option: &str, text: &str) -> Result<Second, Failure> {
    reader.second(text).map_err(|error| Failure::Usage(format!("{option}: {error}")))
}

/// The recorded time of an option.
pub(crate) fn micros(reader: &Reader, option: &str, text: &str) -> Result<Micros, Failure> {
    reader.micros(text).map_err(|error| Failure::Usage(format!("{option}: {error}")))
}

/// `--known-at`.
pub(crate) fn known(reader: &Reader, args: &KnownArgs) -> Result<Option<Micros>, Failure> {
    args.known_at.as_deref().map(|text| micros(reader, "--known-at", text)).transpose()
}

/// `--where COL=VALUE`; the value may hold more `=`, or be empty.
pub(crate) fn wheres(texts: &[OsString]) -> Result<Vec<Where>, Failure> {
    texts
        .iter()
        .map(|text| {
            let bytes = text.as_encoded_bytes();
            match bytes.iter().position(|byte| *byte == b'=') {
                Some(at) if at > 0 => {
                    Ok(Where { column: Name::from(&bytes[..at]), text: Name::from(&bytes[at + 1..]) })
                }
                _ => Err(Failure::Usage(format!("--where {}: write COL=VALUE, such as name=sshd", text.display()))),
            }
        })
        .collect()
}
