//! SQL that all peers share: each is given the same layout under its own types, so their statements differ only in how
//! a parameter is written and in what each needs to be fast.
//!
//! A state table is `_host, _from, _to[, _copies], columns…`, an event table `_host, _seen, columns…`. Hosts are
//! numbers; the client knows their names, so that nobody pays for a join that a program would not ask for.

use crate::fleet::{OPEN_END, Table, Type};
use crate::question::Ask;

/// A column of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// A host's number, told by name.
    Host,
    /// An end of a version.
    To,
    /// A value, and whether it may be missing.
    Value(Type, bool),
}

/// A name as an identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The table's own columns, each with something before it.
pub(crate) fn columns(table: &Table, before: &str) -> String {
    let names = table.columns.iter().map(|column| format!("{before}{}", quoted(&column.name)));
    names.collect::<Vec<_>>().join(", ")
}

/// All columns of the stored table.
pub(crate) fn all_columns(table: &Table) -> String {
    let leading = table.leading().iter().map(|name| quoted(name));
    leading.chain(Some(columns(table, ""))).collect::<Vec<_>>().join(", ")
}

/// The stored table's definition, with a peer's own words for types.
pub(crate) fn definition(table: &Table, word: impl Fn(Type, bool, bool) -> String) -> String {
    let leading = table.leading().iter().map(|name| format!("{} {}", quoted(name), word(Type::Int4, false, false)));
    let columns = table.columns.iter();
    let columns =
        columns.map(|column| format!("{} {}", quoted(&column.name), word(column.kind, column.nullable, column.few)));
    leading.chain(columns).collect::<Vec<_>>().join(", ")
}

/// How a peer writes what its statements need.
pub(crate) struct Dialect {
    /// The n-th parameter, from 1.
    pub(crate) parameter: fn(usize) -> String,
    /// The from and the to of a table's versions, given a prefix such as `u.`.
    pub(crate) from: fn(&str) -> String,
    pub(crate) to: fn(&str) -> String,
    /// Whether a version holds at an instant.
    pub(crate) holds: fn(&str, &str) -> String,
}

impl Dialect {
    /// Two columns for the interval.
    pub(crate) const fn columns(parameter: fn(usize) -> String) -> Dialect {
        Dialect {
            parameter,
            from: |before| format!("{before}_from"),
            to: |before| format!("{before}_to"),
            holds: |before, at| format!("{before}_from <= {at} AND {before}_to > {at}"),
        }
    }
}

/// A question as a statement; its parameters are its fields in their order.
pub(crate) fn statement(ask: Ask, dialect: &Dialect, table: &Table, users: &Table) -> String {
    let Dialect { parameter: p, from, to, holds } = dialect;
    let (from_, to_) = (from(""), to(""));
    let copies = if table.copies { ", _copies" } else { "" };
    let all = columns(table, "");
    match ask {
        Ask::Ip => {
            let holds = holds("", &p(2));
            format!(
                "SELECT _host, {from_}, {to_}{copies} FROM interface_addresses WHERE address = {} AND {holds}",
                p(1)
            )
        }
        Ask::Uid => {
            let (host, uid, holds) = (p(1), p(2), holds("", &p(3)));
            format!(
                "SELECT username, {from_}, {to_}{copies} FROM users WHERE _host = {host} AND uid = {uid} AND {holds}"
            )
        }
        Ask::Processes => {
            let (host, holds) = (p(1), holds("", &p(2)));
            format!("SELECT {all}, {from_}, {to_}{copies} FROM processes WHERE _host = {host} AND {holds}")
        }
        Ask::Users => {
            format!("SELECT _host, {all}, {from_}, {to_}{copies} FROM users WHERE {}", holds("", &p(1)))
        }
        Ask::Diff => {
            let (host, begin, end) = (p(1), p(2), p(3));
            let (before, after) = (holds("", &begin), holds("", &end));
            format!(
                "SELECT 0, {all} FROM processes WHERE _host = {host} AND {before} AND {to_} <= {end} UNION ALL \
                 SELECT 1, {all} FROM processes WHERE _host = {host} AND {after} AND {from_} > {begin}"
            )
        }
        Ask::Events => {
            let (host, begin, end) = (p(1), p(2), p(3));
            let (from_u, to_u, holds) = (from("u."), to("u."), holds("u.", "e.\"time\""));
            let copies = if users.copies { ", u._copies" } else { "" };
            format!(
                "SELECT e.\"time\", e.pid, e.cmdline, e.uid, u.username, {from_u}, {to_u}{copies} \
                 FROM process_events e LEFT JOIN users u ON u._host = e._host AND u.uid = e.uid AND {holds} \
                 WHERE e._host = {host} AND e.\"time\" >= {begin} AND e.\"time\" < {end}"
            )
        }
    }
}

/// The columns of a question's answer.
pub(crate) fn cells(ask: Ask, table: &Table, users: &Table) -> Vec<Cell> {
    let value = |table: &Table, name: &str, nullable: bool| {
        let column = table.column(name).expect("questions are asked where their columns are");
        Cell::Value(column.kind, nullable || column.nullable)
    };
    let all = table.columns.iter().map(|column| Cell::Value(column.kind, column.nullable));
    let int = Cell::Value(Type::Int4, false);
    let mut cells = Vec::new();
    match ask {
        Ask::Ip => cells.push(Cell::Host),
        Ask::Uid => cells.push(value(table, "username", false)),
        Ask::Processes => cells.extend(all),
        Ask::Users => cells.extend(std::iter::once(Cell::Host).chain(all)),
        Ask::Diff => {
            cells.push(int);
            cells.extend(all);
            return cells;
        }
        Ask::Events => {
            cells.extend(["time", "pid", "cmdline", "uid"].map(|name| value(table, name, false)));
            cells.push(value(users, "username", true));
            cells.extend([Cell::Value(Type::Int4, true), Cell::To]);
            if users.copies {
                cells.push(Cell::Value(Type::Int4, true));
            }
            return cells;
        }
    }
    cells.extend([int, Cell::To]);
    if table.copies {
        cells.push(int);
    }
    cells
}

/// The table that a question is about first.
pub(crate) fn table_of(ask: Ask) -> &'static str {
    match ask {
        Ask::Ip => "interface_addresses",
        Ask::Uid | Ask::Users => "users",
        Ask::Processes | Ask::Diff => "processes",
        Ask::Events => "process_events",
    }
}

/// How rows of JSON become versions, of a relation `raw` with the columns `_host` (a number), `_at`, `_added` (1 or 0)
/// and the table's own; `key` is equal for equal rows, and `next` is the peer's word for the next `_at`.
///
/// Where no row occurs in copies, a version begins where its row is added and ends where it is next removed. Else the
/// copies are counted: what changes at a second is added up, and a version lasts as long as its sum. Both are right for
/// logs in which every stream has one full set, its first. Whoever loads so compares what came out with what the
/// intervals are.
pub(crate) fn paired(table: &Table, raw: &str, key: &str, next: &str) -> String {
    let all = columns(table, "");
    if table.event {
        return format!("SELECT _host, _at AS _seen, {all} FROM {raw}");
    }
    if table.copies {
        let over = format!("OVER (PARTITION BY _host, {all} ORDER BY _at)");
        return format!(
            "SELECT _host, _at AS _from, _to, _copies, {all} FROM (\
             SELECT _host, _at, {all}, CAST(sum(_change) {over} AS INTEGER) AS _copies, \
             coalesce({next} {over}, {OPEN_END}) AS _to FROM (\
             SELECT _host, _at, {all}, sum(2 * _added - 1) AS _change FROM {raw} GROUP BY _host, _at, {all}\
             ) AS changes WHERE _change <> 0) AS paired WHERE _copies > 0"
        );
    }
    format!(
        "SELECT _host, _at AS _from, _to, {all} FROM (SELECT *, coalesce({next} OVER (PARTITION BY _host, {key} \
         ORDER BY _at, _added), {OPEN_END}) AS _to FROM {raw}) AS paired WHERE _added = 1 AND _to > _at"
    )
}
