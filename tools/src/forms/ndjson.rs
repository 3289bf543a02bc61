//! JSON, a line per row: each row as in `json`, then one line with the rest of the answer.
//!
//! The last line is the answer's object without its rows: it says that nothing was cut off. Of `what`, each row begins
//! with its `"table"`, and the links of the last line have `table` and `missing`. Of `hosts`, `tables` and `coverage`
//! nothing is left for the last line: it is `{}`.

use super::Answer;
use super::json::{Json, items, object};
use std::io::{self, Write};

/// Writes an answer as lines.
pub fn write(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    let mut json = Json::new(out);
    for item in items(answer) {
        item.write(&mut json)?;
        json.line()?;
    }
    object(&mut json, answer, false)?;
    json.line()?;
    json.flush()
}
