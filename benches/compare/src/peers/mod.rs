//! The stores that are compared, one file each. Each file's head says how an expert in it would set it up for these
//! questions, and what was tried and not taken.

pub(crate) mod clickhouse;
pub(crate) mod duckdb;
pub(crate) mod erstwhile;
pub(crate) mod postgres;
pub(crate) mod sqlite;
