//! Texts of hosts, made safe to look at: what a host reports may be made to deceive whoever reads it.

use std::fmt::Write;

/// A text on one line, without control characters: they and bytes that are not UTF-8 are written as escapes, and so
/// are the characters that turn the direction of writing.
pub fn safe(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                    let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
                }
                c if c.is_control() => {
                    let _ = write!(out, "\\x{:02x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::safe;

    /// A process named `\e[2J` must not clear the responder's screen.
    #[test]
    fn nothing_that_moves_the_cursor_is_let_through() {
        assert_eq!(safe(b"\x1b[2Ja\r\nb\tc\x07\x7f"), "\\x1b[2Ja\\r\\nb\\tc\\x07\\x7f");
        assert_eq!(safe("\u{9b}31m\u{202e}exe.txt".as_bytes()), "\\x9b31m\\u{202e}exe.txt");
        assert_eq!(safe(b"caf\xe9 \xc3\xa9"), "caf\\xe9 \u{e9}");
    }
}
