//! DuckDB and chdb by their C interfaces, loaded at run time from the libraries that their publishers ship: compiling
//! them takes longer than everything that is measured.
//!
//! All of this crate's unsafe code is here, behind types that cannot be misused from outside:
//! - Function signatures are those of `duckdb.h` (1.x) and `chdb.h` (3.x); both interfaces keep old signatures, and a
//!   library that lacks a symbol is refused when it is loaded.
//! - A library is never unloaded (it is leaked), so no pointer into it can dangle and its threads can run on.
//! - A handle is owned by one value, freed in its `drop` and nowhere else. A statement keeps its connection, so a
//!   connection outlives its statements; results and chunks live no longer than the call that made them.
//! - Everything read from a result is copied or handed to a closure before the result is destroyed.
//! - Nothing here is `Send`: the interfaces are used by the one thread that opened them.
#![expect(unsafe_code, reason = "foreign functions; see the head of this module")]

use crate::answer::{Cells, Touched};
use crate::error::Result;
use crate::fleet::Type;
use crate::sql::Cell;
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{null_mut, slice_from_raw_parts};
use std::rc::Rc;

/// Loads a library for the rest of the process's life.
fn library(path: &Path) -> Result<&'static Library> {
    if !path.exists() {
        return Err(format!("{} is not there; run install.sh", path.display()).into());
    }
    // SAFETY: loading runs the library's initialisers; the user named the file as the publisher's library.
    let library = unsafe { Library::new(path) }.map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        format!("{}: {why}", path.display())
    })?;
    Ok(Box::leak(Box::new(library)))
}

/// The text of a C string that may be null.
///
/// # Safety
/// `text` is null or points to a C string that stays as it is during the call.
unsafe fn text_of(text: *const c_char) -> Option<String> {
    // SAFETY: as the caller promises.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

macro_rules! interface {
    ($name:ident { $($function:ident: fn($($argument:ty),*) $(-> $result:ty)?;)* }) => {
        #[derive(Clone, Copy)]
        struct $name { $($function: unsafe extern "C" fn($($argument),*) $(-> $result)?,)* }

        impl $name {
            fn load(path: &Path) -> Result<$name> {
                let library = library(path)?;
                // SAFETY: the types are those of the interface's header, and the library stays loaded.
                Ok(unsafe { $name { $($function: *library.get(concat!(stringify!($function), "\0").as_bytes())?,)* } })
            }
        }
    };
}

type Handle = *mut c_void;

/// `duckdb_result`: opaque, passed by value and by pointer.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawResult {
    deprecated: [u64; 3],
    pointers: [Handle; 3],
}

/// `duckdb_string_t`: up to 12 bytes in place, more behind a pointer.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawString {
    length: u32,
    prefix_or_bytes: [u8; 4],
    pointer_or_bytes: [u8; 8],
}

const _: () = assert!(size_of::<RawString>() == 16 && size_of::<RawResult>() == 48);

interface! {
    DuckdbCalls {
        duckdb_open: fn(*const c_char, *mut Handle) -> c_int;
        duckdb_close: fn(*mut Handle);
        duckdb_connect: fn(Handle, *mut Handle) -> c_int;
        duckdb_disconnect: fn(*mut Handle);
        duckdb_library_version: fn() -> *const c_char;
        duckdb_query: fn(Handle, *const c_char, *mut RawResult) -> c_int;
        duckdb_result_error: fn(*mut RawResult) -> *const c_char;
        duckdb_destroy_result: fn(*mut RawResult);
        duckdb_prepare: fn(Handle, *const c_char, *mut Handle) -> c_int;
        duckdb_prepare_error: fn(Handle) -> *const c_char;
        duckdb_destroy_prepare: fn(*mut Handle);
        duckdb_bind_int32: fn(Handle, u64, i32) -> c_int;
        duckdb_bind_int64: fn(Handle, u64, i64) -> c_int;
        duckdb_bind_varchar_length: fn(Handle, u64, *const c_char, u64) -> c_int;
        duckdb_execute_prepared: fn(Handle, *mut RawResult) -> c_int;
        duckdb_fetch_chunk: fn(RawResult) -> Handle;
        duckdb_destroy_data_chunk: fn(*mut Handle);
        duckdb_data_chunk_get_size: fn(Handle) -> u64;
        duckdb_data_chunk_get_column_count: fn(Handle) -> u64;
        duckdb_data_chunk_get_vector: fn(Handle, u64) -> Handle;
        duckdb_vector_get_data: fn(Handle) -> Handle;
        duckdb_vector_get_validity: fn(Handle) -> *mut u64;
        duckdb_vector_get_column_type: fn(Handle) -> Handle;
        duckdb_get_type_id: fn(Handle) -> c_int;
        duckdb_destroy_logical_type: fn(*mut Handle);
    }
}

/// `DUCKDB_TYPE_INTEGER`, `_BIGINT`, `_VARCHAR`.
const INTEGER: c_int = 4;
const BIGINT: c_int = 5;
const VARCHAR: c_int = 17;

/// A value of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a [u8]),
}

/// What becomes of the values of an answer.
pub(crate) enum Take<'t> {
    /// Each is handed over with its column's number, row by row.
    Each(&'t mut dyn FnMut(usize, Value<'_>)),
    /// They are touched where they are, column by column.
    Touch(&'t mut Touched),
}

/// A parameter of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parameter<'a> {
    Int4(i32),
    Int8(i64),
    Text(&'a str),
}

/// An open DuckDB database and its one connection.
struct Opened {
    calls: DuckdbCalls,
    database: Handle,
    connection: Handle,
}

/// A connection to DuckDB.
pub(crate) struct DuckdbConnection(Rc<Opened>);

/// A prepared statement.
pub(crate) struct DuckdbStatement {
    opened: Rc<Opened>,
    statement: Handle,
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: both handles are open, nothing that depends on them is left, and they are not used again.
        unsafe {
            (self.calls.duckdb_disconnect)(&mut self.connection);
            (self.calls.duckdb_close)(&mut self.database);
        }
    }
}

impl Drop for DuckdbStatement {
    fn drop(&mut self) {
        // SAFETY: the handle is open, its connection too, and it is not used again.
        unsafe { (self.opened.calls.duckdb_destroy_prepare)(&mut self.statement) }
    }
}

impl DuckdbConnection {
    /// Opens a database file, or one in memory.
    pub(crate) fn open(library: &Path, file: &str) -> Result<DuckdbConnection> {
        let calls = DuckdbCalls::load(library)?;
        let file = CString::new(file)?;
        let (mut database, mut connection) = (null_mut(), null_mut());
        // SAFETY: the pointers are to live variables that receive the handles.
        unsafe {
            if (calls.duckdb_open)(file.as_ptr(), &mut database) != 0 {
                return Err("DuckDB cannot open its file".into());
            }
            if (calls.duckdb_connect)(database, &mut connection) != 0 {
                (calls.duckdb_close)(&mut database);
                return Err("DuckDB gives no connection".into());
            }
        }
        Ok(DuckdbConnection(Rc::new(Opened { calls, database, connection })))
    }

    /// The library's release.
    pub(crate) fn version(&self) -> String {
        // SAFETY: the function returns a static string.
        unsafe { text_of((self.0.calls.duckdb_library_version)()) }.unwrap_or_default()
    }

    /// Runs a statement and hands over its values.
    pub(crate) fn query(&self, sql: &str, take: Take<'_>) -> Result<()> {
        let sql = CString::new(sql)?;
        let mut result = RawResult { deprecated: [0; 3], pointers: [null_mut(); 3] };
        // SAFETY: the connection is open; the result is initialised by the call, whether or not it succeeds.
        let state = unsafe { (self.0.calls.duckdb_query)(self.0.connection, sql.as_ptr(), &mut result) };
        // SAFETY: that result, once.
        unsafe { finish(&self.0.calls, state, &mut result, take) }
    }

    /// Prepares a statement.
    pub(crate) fn prepare(&self, sql: &str) -> Result<DuckdbStatement> {
        let text = CString::new(sql)?;
        let mut statement = null_mut();
        // SAFETY: the connection is open; the statement is set even on failure, to carry the error.
        let state = unsafe { (self.0.calls.duckdb_prepare)(self.0.connection, text.as_ptr(), &mut statement) };
        let statement = DuckdbStatement { opened: self.0.clone(), statement };
        if state != 0 {
            // SAFETY: the handle was set by the call above.
            let error = unsafe { text_of((self.0.calls.duckdb_prepare_error)(statement.statement)) };
            return Err(format!("{}: {sql}", error.unwrap_or_default()).into());
        }
        Ok(statement)
    }
}

impl DuckdbStatement {
    /// Binds, runs, and hands over values.
    pub(crate) fn run(&mut self, parameters: &[Parameter<'_>], take: Take<'_>) -> Result<()> {
        let calls = &self.opened.calls;
        for (place, parameter) in (1..).zip(parameters) {
            // SAFETY: the statement is open; texts are copied by the call.
            let state = unsafe {
                match *parameter {
                    Parameter::Int4(value) => (calls.duckdb_bind_int32)(self.statement, place, value),
                    Parameter::Int8(value) => (calls.duckdb_bind_int64)(self.statement, place, value),
                    Parameter::Text(value) => (calls.duckdb_bind_varchar_length)(
                        self.statement,
                        place,
                        value.as_ptr().cast(),
                        value.len() as u64,
                    ),
                }
            };
            if state != 0 {
                return Err("DuckDB refuses a parameter".into());
            }
        }
        let mut result = RawResult { deprecated: [0; 3], pointers: [null_mut(); 3] };
        // SAFETY: as for a query.
        let state = unsafe { (calls.duckdb_execute_prepared)(self.statement, &mut result) };
        // SAFETY: that result, once.
        unsafe { finish(calls, state, &mut result, take) }
    }
}

/// Hands over the values of a result, column numbers with them, and destroys it.
///
/// # Safety
/// `result` was initialised by a call that returned `state`, and is not used afterwards.
unsafe fn finish(calls: &DuckdbCalls, state: c_int, result: &mut RawResult, mut take: Take<'_>) -> Result<()> {
    let mut done = Ok(());
    if state != 0 {
        // SAFETY: an initialised result; the text is copied before the result is destroyed.
        let error = unsafe { text_of((calls.duckdb_result_error)(result)) };
        done = Err(error.unwrap_or_else(|| "DuckDB failed".to_owned()).into());
    } else {
        loop {
            // SAFETY: an initialised result.
            let mut chunk = unsafe { (calls.duckdb_fetch_chunk)(*result) };
            if chunk.is_null() {
                break;
            }
            // SAFETY: a live chunk, destroyed once.
            done = unsafe { hand_over(calls, chunk, &mut take) };
            unsafe { (calls.duckdb_destroy_data_chunk)(&mut chunk) };
            if done.is_err() {
                break;
            }
        }
    }
    // SAFETY: as the caller promises.
    unsafe { (calls.duckdb_destroy_result)(result) };
    done
}

/// A column of a chunk.
struct Vector {
    kind: c_int,
    data: Handle,
    validity: *mut u64,
}

impl Vector {
    fn is_valid(&self, row: usize) -> bool {
        // SAFETY: rows are below the chunk's size, and a validity mask is null or has a bit a row.
        self.validity.is_null() || unsafe { *self.validity.add(row / 64) >> (row % 64) & 1 == 1 }
    }
}

/// The text at a place of a column of texts.
///
/// # Safety
/// `data` is such a column of a live chunk that has the row; the text lives as long as the chunk.
#[inline]
unsafe fn text_at<'a>(data: Handle, row: usize) -> &'a [u8] {
    // SAFETY: as the caller promises.
    unsafe {
        let text = data.cast::<RawString>().add(row);
        let length = (*text).length as usize;
        let bytes = match length {
            // The bytes in place begin right after the length.
            0..=12 => text.cast::<u8>().add(4).cast_const(),
            _ => usize::from_ne_bytes((*text).pointer_or_bytes) as *const u8,
        };
        &*slice_from_raw_parts(bytes, length)
    }
}

/// Hands over a chunk.
///
/// # Safety
/// `chunk` is a live data chunk of a result.
unsafe fn hand_over(calls: &DuckdbCalls, chunk: Handle, take: &mut Take<'_>) -> Result<()> {
    // SAFETY: as the caller promises; vectors live as long as their chunk.
    let (rows, vectors) = unsafe {
        let columns = (calls.duckdb_data_chunk_get_column_count)(chunk);
        let vector = |column| {
            let vector = (calls.duckdb_data_chunk_get_vector)(chunk, column);
            let mut logical = (calls.duckdb_vector_get_column_type)(vector);
            let kind = (calls.duckdb_get_type_id)(logical);
            (calls.duckdb_destroy_logical_type)(&mut logical);
            let (data, validity) = ((calls.duckdb_vector_get_data)(vector), (calls.duckdb_vector_get_validity)(vector));
            Vector { kind, data, validity }
        };
        let vectors: Vec<Vector> = (0..columns).map(vector).collect();
        ((calls.duckdb_data_chunk_get_size)(chunk) as usize, vectors)
    };
    if let Some(other) =
        vectors.iter().map(|vector| vector.kind).find(|kind| ![INTEGER, BIGINT, VARCHAR].contains(kind))
    {
        return Err(format!("an answer of DuckDB has the type {other}").into());
    }
    match take {
        Take::Each(each) => {
            for row in 0..rows {
                for (column, vector) in vectors.iter().enumerate() {
                    let data = vector.data;
                    // SAFETY: `row` is below the chunk's size, so every array has it.
                    let value = unsafe {
                        match vector.kind {
                            _ if !vector.is_valid(row) => Value::Null,
                            INTEGER => Value::Int(i64::from(*data.cast::<i32>().add(row))),
                            BIGINT => Value::Int(*data.cast::<i64>().add(row)),
                            _ => Value::Text(text_at(data, row)),
                        }
                    };
                    each(column, value);
                }
            }
        }
        Take::Touch(touched) => {
            let mut cells = Touched::default();
            for vector in &vectors {
                let data = vector.data;
                // SAFETY: `row` is below the chunk's size, so every array has it; a number without a value may be any.
                unsafe {
                    match vector.kind {
                        INTEGER => (0..rows).for_each(|row| cells.int(i64::from(*data.cast::<i32>().add(row)))),
                        BIGINT => (0..rows).for_each(|row| cells.int(*data.cast::<i64>().add(row))),
                        _ if vector.validity.is_null() => (0..rows).for_each(|row| cells.text(text_at(data, row))),
                        _ => {
                            let valid = (0..rows).filter(|row| vector.is_valid(*row));
                            valid.for_each(|row| cells.text(text_at(data, row)));
                        }
                    }
                }
            }
            (0..rows).for_each(|_| cells.end());
            touched.append(cells);
        }
    }
    Ok(())
}

interface! {
    ChdbCalls {
        chdb_connect: fn(c_int, *mut *mut c_char) -> *mut Handle;
        chdb_close_conn: fn(*mut Handle);
        chdb_query_n: fn(Handle, *const c_char, usize, *const c_char, usize) -> Handle;
        chdb_result_buffer: fn(Handle) -> *const u8;
        chdb_result_length: fn(Handle) -> usize;
        chdb_result_error: fn(Handle) -> *const c_char;
        chdb_destroy_query_result: fn(Handle);
    }
}

/// An embedded ClickHouse.
pub(crate) struct Chdb {
    calls: ChdbCalls,
    connection: *mut Handle,
}

impl Drop for Chdb {
    fn drop(&mut self) {
        // SAFETY: the connection is open and not used again.
        unsafe { (self.calls.chdb_close_conn)(self.connection) }
    }
}

impl Chdb {
    /// Opens a data directory; the process may have one.
    pub(crate) fn open(library: &Path, arguments: &[String]) -> Result<Chdb> {
        let calls = ChdbCalls::load(library)?;
        let arguments =
            arguments.iter().map(|text| CString::new(&**text)).collect::<std::result::Result<Vec<_>, _>>()?;
        let mut pointers: Vec<*mut c_char> = arguments.iter().map(|text| text.as_ptr().cast_mut()).collect();
        // SAFETY: the pointers are to C strings that outlive the call; chdb copies them and does not write to them.
        let connection = unsafe { (calls.chdb_connect)(pointers.len() as c_int, pointers.as_mut_ptr()) };
        if connection.is_null() {
            return Err("chdb gives no connection".into());
        }
        Ok(Chdb { calls, connection })
    }

    /// Runs a statement; its answer's bytes in that format are handed to `take`.
    pub(crate) fn query<T>(&self, sql: &str, format: &str, take: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        let calls = &self.calls;
        // SAFETY: the connection is open; texts are given with their lengths; the result is destroyed once, below, after
        // all that was read from it was copied or handed over.
        unsafe {
            let result = (calls.chdb_query_n)(
                *self.connection,
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
            );
            if result.is_null() {
                return Err("chdb gives no result".into());
            }
            let taken = match text_of((calls.chdb_result_error)(result)) {
                Some(error) => {
                    let sql: String = sql.chars().take(500).collect();
                    Err(format!("{error}: {sql}").into())
                }
                None => {
                    let (buffer, length) = ((calls.chdb_result_buffer)(result), (calls.chdb_result_length)(result));
                    take(if length == 0 { &[] } else { &*slice_from_raw_parts(buffer, length) })
                }
            };
            (calls.chdb_destroy_query_result)(result);
            taken
        }
    }
}

/// Hands over values in ClickHouse's `RowBinary` form, as many as `cells` a row.
pub(crate) fn row_binary(mut bytes: &[u8], cells: &[Cell], each: &mut dyn FnMut(usize, Value<'_>)) -> Result<()> {
    fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
        let (head, rest) = bytes.split_at_checked(length).ok_or("ClickHouse's answer ends early")?;
        *bytes = rest;
        Ok(head)
    }
    while !bytes.is_empty() {
        for (column, cell) in cells.iter().enumerate() {
            let (kind, nullable) = match *cell {
                Cell::Host | Cell::To => (Type::Int4, false),
                Cell::Value(kind, nullable) => (kind, nullable),
            };
            if nullable && take(&mut bytes, 1)? == [1] {
                each(column, Value::Null);
                continue;
            }
            match kind {
                Type::Int4 => {
                    let value = take(&mut bytes, 4)?.try_into().map(i32::from_le_bytes)?;
                    each(column, Value::Int(i64::from(value)));
                }
                Type::Int8 => each(column, Value::Int(take(&mut bytes, 8)?.try_into().map(i64::from_le_bytes)?)),
                Type::Text => {
                    let (mut length, mut shift) = (0usize, 0);
                    loop {
                        let byte = take(&mut bytes, 1)?[0];
                        length |= usize::from(byte & 0x7f) << shift;
                        shift += 7;
                        if byte < 0x80 {
                            break;
                        }
                        if shift > 56 {
                            return Err("ClickHouse's answer has a length that is none".into());
                        }
                    }
                    each(column, Value::Text(take(&mut bytes, length)?));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELLS: [Cell; 3] = [Cell::Host, Cell::Value(Type::Text, true), Cell::Value(Type::Int8, false)];

    fn read(bytes: &[u8]) -> Result<Vec<String>> {
        let mut values = Vec::new();
        row_binary(bytes, &CELLS, &mut |column, value| values.push(format!("{column} {value:?}")))?;
        Ok(values)
    }

    #[test]
    fn row_binary_reads_numbers_texts_and_nothing() {
        let mut bytes = [&[5, 0, 0, 0][..], &[0, 2], b"ab", &(-1i64).to_le_bytes()].concat();
        bytes.extend([&[6, 0, 0, 0][..], &[1], &7i64.to_le_bytes()].concat());
        let expected =
            ["0 Int(5)", "1 Text([97, 98])", "2 Int(-1)", "0 Int(6)", "1 Null", "2 Int(7)"].map(str::to_owned);
        assert_eq!(read(&bytes).unwrap(), expected);
    }

    #[test]
    fn row_binary_that_ends_early_is_an_error() {
        let bytes = [&[5, 0, 0, 0][..], &[0, 2], b"ab", &(-1i64).to_le_bytes()].concat();
        for cut in 1..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
