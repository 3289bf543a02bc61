//! Sentences in lines that fit, and colours: green for sure, cyan for likely, yellow for maybe, magenta for what nobody
//! can say.

use super::View;
use comfy_table::Color;
use erstwhile_engine::read::answer::Verdict;

pub(crate) fn of_verdict(verdict: Verdict) -> Color {
    match verdict {
        Verdict::Definite => Color::Green,
        Verdict::Presumed => Color::Cyan,
        Verdict::Possible => Color::Yellow,
        Verdict::Unknown => Color::Magenta,
    }
}

pub(crate) fn bold(view: &View<'_>, text: &str) -> String {
    wrap(view, "1", text)
}

pub(crate) fn dim(view: &View<'_>, text: &str) -> String {
    wrap(view, "2", text)
}

pub(crate) fn warn(view: &View<'_>, text: &str) -> String {
    wrap(view, "33", text)
}

pub(crate) fn plain(view: &View<'_>, text: &str) -> String {
    folded(text, view.width)
}

fn wrap(view: &View<'_>, code: &str, text: &str) -> String {
    let text = folded(text, view.width);
    if view.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
}

/// Breaks a text between words, so that no line is wider than the room unless one word is.
pub fn folded(text: &str, width: Option<usize>) -> String {
    let Some(room) = width else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(text.len());
    let mut column = 0;
    for word in text.split(' ') {
        let width = word.chars().count();
        if !out.is_empty() {
            let fits = column + 1 + width <= room;
            out.push(if fits { ' ' } else { '\n' });
            column = if fits { column + 1 } else { 0 };
        }
        out.push_str(word);
        column += width;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::folded;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(folded("one two three", Some(7)), "one two\nthree");
        assert_eq!(folded("one-and-a-half two", Some(7)), "one-and-a-half\ntwo");
        assert_eq!(folded("one two three", None), "one two three");
    }
}
