//! What a check found, for people or as JSON.
//!
//! Invariants:
//! - The same report gives the same bytes.
//! - What was not looked at is told beside what was.
//! - What files hold is not trusted: control characters never reach the terminal.

use super::Format;
use super::json::Json;
use super::text::{count, grouped, safe};
use crate::when::calendar::{micros_text, second_text};
use erstwhile_engine::check::fsck::{Effect, Finding, Level, Next, Options, Report, Severity};
use erstwhile_engine::check::loss::{Loss, What};
use erstwhile_engine::fact::Micros;
use std::io::{self, Write};
use std::path::Path;

/// In text, so many losses are listed of each finding.
const LOSSES_SHOWN: usize = 5;

/// A report, and of what.
pub(crate) struct Checked<'c> {
    pub(crate) store: &'c Path,
    pub(crate) options: &'c Options,
    pub(crate) report: &'c Report,
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !path.is_empty() && !path.starts_with('-') && path.chars().all(is_plain) {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

impl Checked<'_> {
    /// Writes it; the form is not [`Format::Csv`].
    pub(crate) fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Text | Format::Csv => self.text(out),
            Format::Json => {
                let mut json = Json::new(out);
                json.open(b'{');
                json.key("findings");
                json.open(b'[');
                self.report.findings.iter().for_each(|finding| self.json_finding(&mut json, finding));
                json.close(b']');
                self.json_rest(&mut json);
                json.close(b'}');
                json.line()?;
                json.flush()
            }
            Format::Ndjson => {
                let mut json = Json::new(out);
                for finding in &self.report.findings {
                    self.json_finding(&mut json, finding);
                    json.line()?;
                }
                json.open(b'{');
                self.json_rest(&mut json);
                json.close(b'}');
                json.line()?;
                json.flush()
            }
        }
    }

    /// The command that comes next after a finding.
    fn command(&self, finding: &Finding) -> Option<String> {
        let store = self.store.to_string_lossy();
        // A name that begins with a hyphen is no option.
        let store = if store.starts_with('-') { format!("./{store}") } else { store.into_owned() };
        let store = store.trim_end_matches('/');
        let store = if store.is_empty() { "/" } else { store };
        let dir = quoted(store);
        match finding.next {
            Next::Nothing | Next::Newer => None,
            Next::Recover => {
                Some(format!("erstwhile recover --store {dir} --to {}", quoted(&format!("{store}.recovered"))))
            }
            Next::Inspect => {
                let file = quoted(&format!("{store}/{}", finding.file));
                Some(format!("erstwhile inspect --store {dir} {file}"))
            }
            Next::Again => Some(format!("erstwhile fsck --store {dir}")),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for finding in &self.report.findings {
            let file = if finding.file.is_empty() { self.store.to_string_lossy() } else { (&*finding.file).into() };
            write!(out, "{}: {}", finding.severity.word(), safe(file.as_bytes()))?;
            if let Some(offset) = finding.offset {
                write!(out, " at byte {offset}")?;
            }
            writeln!(out, ": {}: {}", finding.structure.word(), safe(finding.wrong.to_string().as_bytes()))?;
            if finding.severity == Severity::Damage {
                writeln!(out, "  answers: {}", effect_text(finding.effect))?;
                if finding.losses.is_empty() {
                    writeln!(out, "  lost: no fact")?;
                }
            }
            for loss in finding.losses.iter().take(LOSSES_SHOWN) {
                writeln!(out, "  lost: {}", loss_text(loss))?;
            }
            if let Some(more) = finding.losses.len().checked_sub(LOSSES_SHOWN).filter(|more| *more > 0) {
                writeln!(out, "  lost: and {} more; --format json lists all", grouped(more as u64))?;
            }
            if let Some(command) = self.command(finding) {
                writeln!(out, "  next: {}", safe(command.as_bytes()))?;
            }
        }
        self.totals(out)
    }

    fn totals(&self, out: &mut dyn Write) -> io::Result<()> {
        let Report { totals, meaning, left_out, .. } = self.report;
        for (kind, total) in Report::KINDS.iter().zip(totals) {
            writeln!(
                out,
                "{}: {}, {} bytes; {} bytes verified in {}",
                kind,
                count(total.files, "file", "files"),
                grouped(total.bytes),
                grouped(total.bytes_verified),
                count(total.frames, "frame", "frames"),
            )?;
        }
        if self.options.level == Level::Deep {
            writeln!(
                out,
                "meaning: {}, {}, {}, {}, {}, {}",
                count(meaning.streams, "stream", "streams"),
                count(meaning.looks, "look", "looks"),
                count(meaning.changes, "row change", "row changes"),
                count(meaning.keyframes, "keyframe", "keyframes"),
                count(meaning.postings, "posting", "postings"),
                count(meaning.commits, "commit in logs", "commits in logs"),
            )?;
        }
        let parts: Vec<String> = self
            .left_out()
            .into_iter()
            .filter(|(_, number)| *number > 0)
            .map(|(what, number)| count(number, one_of(what), &what.replace('_', " ")))
            .collect();
        if *left_out != Default::default() {
            writeln!(out, "not looked at: {}", parts.join(", "))?;
        }
        let seconds = self.report.nanos as f64 / 1e9;
        write!(out, "level {}", self.options.level.word())?;
        if let Some(share) = self.options.share {
            write!(out, ", share {}%, seed {}", share * 100.0, self.options.seed)?;
        }
        write!(out, "; {seconds:.3} s, {:.0} MB/s", self.bytes_per_second() / 1e6)?;
        if self.options.level == Level::Deep && self.report.nanos > 0 {
            write!(out, ", {:.2} million row changes/s", meaning.changes as f64 / seconds / 1e6)?;
        }
        writeln!(out, "{}", if self.report.is_live { "; a writer was at work" } else { "" })?;
        let [damage, warning, info] = [Severity::Damage, Severity::Warning, Severity::Info]
            .map(|severity| format!("{} {}", severity.word(), self.report.count(severity)));
        writeln!(out, "findings: {damage}, {warning}, {info}; not checked {}", self.report.unchecked())
    }

    fn bytes_per_second(&self) -> f64 {
        let bytes: u64 = self.report.totals.iter().map(|total| total.bytes_verified).sum();
        if self.report.nanos == 0 { 0.0 } else { bytes as f64 * 1e9 / self.report.nanos as f64 }
    }

    fn left_out(&self) -> [(&'static str, u64); 8] {
        let left_out = &self.report.left_out;
        [
            ("files", left_out.files),
            ("frames", left_out.frames),
            ("bytes", left_out.bytes),
            ("streams", left_out.streams),
            ("row_blocks", left_out.row_blocks),
            ("indexes", left_out.indexes),
            ("behind_damage", left_out.behind_damage),
            ("findings", left_out.findings),
        ]
    }

    fn json_finding(&self, json: &mut Json<'_>, finding: &Finding) {
        json.entry();
        json.text("severity", finding.severity.word().as_bytes());
        json.text("file", finding.file.as_bytes());
        match finding.offset {
            Some(offset) => json.number("offset", offset),
            None => json.null("offset"),
        }
        json.text("structure", finding.structure.word().as_bytes());
        json.text("text", finding.wrong.to_string().as_bytes());
        json.bool("unchecked", finding.is_unchecked());
        json.text("answers", finding.effect.word().as_bytes());
        json.key("losses");
        json.open(b'[');
        finding.losses.iter().for_each(|loss| json_loss(json, loss));
        json.close(b']');
        match self.command(finding) {
            Some(command) => json.text("next", command.as_bytes()),
            None => json.null("next"),
        }
        json.close_entry();
    }

    fn json_rest(&self, json: &mut Json<'_>) {
        let Checked { options, report, .. } = self;
        for severity in [Severity::Damage, Severity::Warning, Severity::Info] {
            json.number(severity.word(), report.count(severity) as u64);
        }
        json.number("unchecked", report.unchecked() as u64);
        json.text("level", options.level.word().as_bytes());
        match options.share {
            Some(share) => {
                json.key("share");
                json.value(format_args!("{share}"));
            }
            None => json.null("share"),
        }
        json.number("seed", options.seed);
        json.bool("live", report.is_live);
        json.key("totals");
        json.open(b'{');
        for (kind, total) in Report::KINDS.iter().zip(&report.totals) {
            json.key(kind);
            json.open(b'{');
            json.number("files", total.files);
            json.number("bytes", total.bytes);
            json.number("frames", total.frames);
            json.number("bytes_verified", total.bytes_verified);
            json.close(b'}');
        }
        json.close(b'}');
        json.key("meaning");
        json.open(b'{');
        let meaning = &report.meaning;
        for (key, number) in [
            ("streams", meaning.streams),
            ("looks", meaning.looks),
            ("row_changes", meaning.changes),
            ("keyframes", meaning.keyframes),
            ("rows", meaning.rows),
            ("postings", meaning.postings),
            ("commits", meaning.commits),
        ] {
            json.number(key, number);
        }
        json.close(b'}');
        json.key("not_looked_at");
        json.open(b'{');
        self.left_out().into_iter().for_each(|(key, number)| json.number(key, number));
        json.close(b'}');
        json.key("seconds");
        json.value(format_args!("{:.6}", report.nanos as f64 / 1e9));
        json.key("bytes_per_second");
        json.value(format_args!("{:.0}", self.bytes_per_second()));
    }
}

fn effect_text(effect: Effect) -> &'static str {
    match effect {
        Effect::Nothing => "all are right",
        Effect::Questions => "questions that meet it are refused, all others are right",
        Effect::Store => "the store does not open",
        Effect::Answers => "those that meet it may be wrong",
    }
}

/// The words for one loss.
fn loss_text(loss: &Loss) -> String {
    let text = |name: &Option<erstwhile_engine::fact::Name>| name.as_ref().map(|name| safe(name));
    let of = match (text(&loss.streams.table), text(&loss.streams.host), text(&loss.streams.name)) {
        (None, None, None) => "streams that nothing tells".to_owned(),
        (table, host, name) => {
            let mut of = table.unwrap_or_else(|| "all tables".to_owned());
            of.push_str(&host.map_or_else(|| " of all hosts".to_owned(), |host| format!(" of {host}")));
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                of.push_str(&format!(" ({name})"));
            }
            of
        }
    };
    let mut said = match loss.what {
        What::Nothing => "nothing".to_owned(),
        What::Recorded => format!("when looks were recorded: {of}"),
        What::Rows => format!("what rows said: {of}"),
        What::Looks => format!("looks: {of}, and what was from them on until the next full set"),
        What::Stream => format!("all that the file held: {of}"),
        What::Notes => format!("notes: {of}"),
    };
    if let Some((first, last)) = loss.seconds {
        said.push_str(&format!("; looks from {} to {}", second_text(first), second_text(last)));
    }
    match loss.recorded.map(bounds) {
        None | Some((None, None)) => {}
        Some((Some(from), Some(to))) => {
            said.push_str(&format!("; recorded from {} to {}", micros_text(from), micros_text(to)));
        }
        Some((Some(from), None)) => said.push_str(&format!("; recorded from {} on", micros_text(from))),
        Some((None, Some(to))) => said.push_str(&format!("; recorded up to {}", micros_text(to))),
    }
    said
}

/// The ends of a range of recorded times that are known.
fn bounds((from, to): (Micros, Micros)) -> (Option<Micros>, Option<Micros>) {
    (Some(from).filter(|from| *from != Micros::MIN), Some(to).filter(|to| *to != Micros::MAX))
}

fn json_loss(json: &mut Json<'_>, loss: &Loss) {
    json.open(b'{');
    json.text("what", loss.what.word().as_bytes());
    for (key, name) in [("table", &loss.streams.table), ("host", &loss.streams.host), ("stream", &loss.streams.name)] {
        match name {
            Some(name) => json.text(key, name),
            None => json.null(key),
        }
    }
    match loss.streams.kind {
        Some(kind) => json.text("kind", kind.word().as_bytes()),
        None => json.null("kind"),
    }
    json.second("first", loss.seconds.map(|seconds| seconds.0));
    json.second("last", loss.seconds.map(|seconds| seconds.1));
    let (from, to) = loss.recorded.map_or((None, None), bounds);
    json.micros("recorded_from", from);
    json.micros("recorded_to", to);
    json.close(b'}');
}

/// One of what was left out, by the word for many.
fn one_of(what: &str) -> &str {
    match what {
        "files" => "file",
        "frames" => "frame",
        "bytes" => "byte",
        "streams" => "stream",
        "row_blocks" => "row block",
        "indexes" => "index",
        "behind_damage" => "behind damage",
        "findings" => "finding",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_takes_a_path_as_it_is() {
        assert_eq!(quoted("/srv/er-st.1"), "/srv/er-st.1");
        assert_eq!(quoted("my store"), "'my store'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted("-x"), "'-x'");
        assert_eq!(quoted(""), "''");
    }
}
