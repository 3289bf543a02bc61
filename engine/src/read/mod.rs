//! The as-of read: a question becomes an answer.

pub mod answer;
pub mod question;
