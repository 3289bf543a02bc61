//! Texts of arguments as names, times, conditions.

use crate::args::{KnownArgs, WhereArgs};
use crate::fail::Failure;
use crate::when::Reader;
use erstwhile_engine::fact::{Micros, Name, Second};
use erstwhile_engine::read::matching::Network;
use erstwhile_engine::read::question::{Wanted, Where};
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

/// The conditions on columns.
pub(crate) fn wheres(args: &WhereArgs) -> Result<Vec<Where>, Failure> {
    let mut wheres = Vec::new();
    for text in &args.is {
        let Some((column, value)) = halves(text) else {
            return Err(Failure::Usage(format!("--where {}: write COL=VALUE, such as name=sshd", text.display())));
        };
        wheres.push(Where { column, text: Wanted::Is(value) });
    }
    for text in &args.begins {
        let Some((column, value)) = halves(text) else {
            let words = "write COL=TEXT, such as path=/home/";
            return Err(Failure::Usage(format!("--where-begins {}: {words}", text.display())));
        };
        wheres.push(Where { column, text: Wanted::Begins(value) });
    }
    for text in &args.within {
        let network = halves(text).and_then(|(column, value)| Some((column, Network::parse(&value)?)));
        let Some((column, network)) = network else {
            let words = "write COL=NETWORK, such as address=10.0.0.0/8 or address=2001:db8::/32";
            return Err(Failure::Usage(format!("--where-in {}: {words}", text.display())));
        };
        wheres.push(Where { column, text: Wanted::In(network) });
    }
    Ok(wheres)
}

/// The column and the value, which may hold more `=`, or be empty.
fn halves(text: &OsString) -> Option<(Name, Name)> {
    let bytes = text.as_encoded_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    Some((Name::from(&bytes[..at]), Name::from(&bytes[at + 1..])))
}
