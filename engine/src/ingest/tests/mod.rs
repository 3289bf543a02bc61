//! The rules of reading lines, one test a rule, and what must hold for any bytes at all.

mod double;
mod json;
mod line;
mod parse;
mod producer;
mod real;
mod source;
