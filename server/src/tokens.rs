//! Who may do what: tokens with roles, kept as hashes.
//!
//! Invariants:
//! - A token is shown once, when it is made; the file has only its SHA-256. Tokens are random, so no slower hash is needed.
//! - All hashes are compared, each in constant time, whether one fits or not.
//! - An address that gives wrong tokens again and again is refused for a while without being looked at.

use crate::time::now;
use erstwhile_wire::hello::Roles;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// Wrong tokens of an address within [`WINDOW`] after which it is refused.
const WRONG_MAX: u32 = 10;
/// How long wrong tokens count, and an address is refused.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered at once.
const ADDRESSES_MAX: usize = 10_000;

/// A token as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// What it is for, for people and the log.
    pub name: String,
    /// `ingest`, `read`, `admin`.
    pub roles: Vec<String>,
    /// SHA-256 of the token in hexadecimal digits.
    pub sha256: String,
}

/// The file of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenFile {
    /// All of them.
    #[serde(default, rename = "token")]
    pub tokens: Vec<Token>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// The role of a word.
pub fn role(word: &str) -> Option<Roles> {
    match word {
        "ingest" => Some(Roles::INGEST),
        "read" => Some(Roles::READ),
        "admin" => Some(Roles::ADMIN),
        _ => None,
    }
}

/// Makes a token: what its bearer keeps, and what the file has of it.
pub fn make(name: &str, roles: &[&str]) -> io::Result<(String, Token)> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let text = hex(&bytes);
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    Ok((text.clone(), Token { name: name.to_owned(), roles, sha256: hex(&hash(text.as_bytes())) }))
}

/// Tokens that are known.
#[derive(Debug, Default)]
pub struct Tokens {
    known: Vec<(String, Roles, [u8; 32])>,
    wrong: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl Tokens {
    /// Those of a file.
    pub fn new(file: &TokenFile) -> Result<Tokens, String> {
        let mut known = Vec::new();
        for token in &file.tokens {
            let mut roles = Roles::default();
            for word in &token.roles {
                let role = role(word).ok_or_else(|| {
                    format!("the token {:?} has the role {word:?}; roles are ingest, read, admin", token.name)
                })?;
                roles = roles.and(role);
            }
            let hash = unhex(&token.sha256)
                .ok_or_else(|| format!("the token {:?}: sha256 is not 64 hexadecimal digits", token.name))?;
            known.push((token.name.clone(), roles, hash));
        }
        Ok(Tokens { known, wrong: Mutex::default() })
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Tokens, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let file: TokenFile = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Tokens::new(&file).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The name and the roles of a token.
    pub fn roles_of(&self, token: &[u8]) -> Option<(&str, Roles)> {
        let hash = hash(token);
        let mut found = None;
        for (name, roles, known) in &self.known {
            if bool::from(known.ct_eq(&hash)) {
                found = Some((&**name, *roles));
            }
        }
        found
    }

    /// How long an address must wait after too many wrong tokens.
    pub fn must_wait(&self, address: IpAddr) -> Option<Duration> {
        let wrong = self.wrong.lock();
        let (times, last) = wrong.get(&address)?;
        let left = WINDOW.checked_sub(last.elapsed())?;
        (*times >= WRONG_MAX).then_some(left)
    }

    /// Notes that an address gave a wrong token.
    pub fn note_wrong(&self, address: IpAddr) {
        let mut wrong = self.wrong.lock();
        wrong.retain(|_, (_, last)| last.elapsed() < WINDOW);
        if wrong.len() < ADDRESSES_MAX || wrong.contains_key(&address) {
            let (times, last) = wrong.entry(address).or_insert((0, now()));
            (*times, *last) = (times.saturating_add(1), now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash_alone() {
        let (secret, token) = make("ops", &["read", "admin"]).unwrap();
        let (other, _) = make("ops", &["read"]).unwrap();
        assert_ne!(secret, other);
        assert!(!format!("{token:?}").contains(&secret));
        let text = toml::to_string(&TokenFile { tokens: vec![token] }).unwrap();
        let tokens = Tokens::new(&toml::from_str(&text).unwrap()).unwrap();
        assert_eq!(tokens.roles_of(secret.as_bytes()), Some(("ops", Roles::READ.and(Roles::ADMIN))));
        assert_eq!(tokens.roles_of(other.as_bytes()), None);
        assert_eq!(tokens.roles_of(b""), None);
    }

    #[test]
    fn files_that_make_no_sense_are_refused_with_the_reason() {
        let file =
            |roles: &str, sha: &str| format!("[[token]]\nname = \"x\"\nroles = [\"{roles}\"]\nsha256 = \"{sha}\"\n");
        let parse = |text: &str| Tokens::new(&toml::from_str(text).unwrap()).unwrap_err();
        assert!(parse(&file("write", &"0".repeat(64))).contains("\"write\""));
        assert!(parse(&file("read", "0")).contains("64"));
        assert!(toml::from_str::<TokenFile>("[[token]]\nsecret = \"x\"\n").is_err());
    }

    #[test]
    fn many_wrong_tokens_make_an_address_wait() {
        let (tokens, address) = (Tokens::default(), IpAddr::from([10, 0, 0, 7]));
        for _ in 0..WRONG_MAX {
            assert_eq!(tokens.must_wait(address), None);
            tokens.note_wrong(address);
        }
        assert!(tokens.must_wait(address).is_some_and(|left| left <= WINDOW));
        assert_eq!(tokens.must_wait(IpAddr::from([10, 0, 0, 8])), None);
    }
}
