//! Colours: green for sure, cyan for likely, yellow for maybe, magenta for what nobody can say.

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

fn wrap(view: &View<'_>, code: &str, text: &str) -> String {
    if view.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
