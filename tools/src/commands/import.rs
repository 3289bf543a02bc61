//! `import FILE… | -`.

use super::{Run, read};
use crate::args::{ImportArgs, SyncMode};
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::Format;
use crate::progress::Progress;
use erstwhile_engine::fact::Micros;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A time so much later than now is a mistake, or deserves a word.
const DAY_MICROS: Micros = 86_400_000_000;

/// One input: one pass over it is what deliveries are cut from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file that is there.
    File(PathBuf),
}

/// What is to be imported, and how.
#[derive(Clone, Debug)]
pub struct ImportJob {
    /// The inputs, in the order they were named.
    pub inputs: Vec<Input>,
    /// A stream map.
    pub map: Option<PathBuf>,
    /// The agent version of every host that the lines name.
    pub agent_version: Option<String>,
    /// The recorded time of everything.
    pub recorded_at: Option<Micros>,
    /// osquery's published schema.
    pub catalogue: Option<PathBuf>,
    /// When commits are forced to the disk.
    pub sync: SyncMode,
    /// How long a look that is spread over lines is held back when nothing comes.
    pub hold: Duration,
}

impl Run<'_, '_> {
    pub(super) fn import(self, args: &ImportArgs) -> Result<Exit, Failure> {
        let format = self.cli.format();
        if !matches!(format, Format::Text | Format::Json) {
            return Err(Failure::Usage("import reports what it did as text or json".to_owned()));
        }
        let recorded_at =
            args.recorded_at.as_deref().map(|text| read::micros(&self.reader, "--recorded-at", text)).transpose()?;
        if let Some(version) = &args.agent_version
            && !version.starts_with(|c: char| c.is_ascii_digit())
        {
            return Err(Failure::Usage(format!("--agent-version {version:?}: write a version such as 5.12.1")));
        }
        let store = self.store()?;
        let (inputs, bytes) = inputs(&args.files)?;
        for file in args.map.iter().chain(&args.catalogue) {
            size(file)?;
        }
        let job = ImportJob {
            inputs,
            map: args.map.clone(),
            agent_version: args.agent_version.clone(),
            recorded_at,
            catalogue: args.catalogue.clone(),
            // What is read from a pipe cannot be read again.
            sync: args.sync.unwrap_or(if bytes.is_some() { SyncMode::Sealed } else { SyncMode::Always }),
            hold: Duration::from_secs(args.hold_seconds),
        };
        if let Some(at) = recorded_at.filter(|at| *at > self.around.now.saturating_add(DAY_MICROS)) {
            let at = self.reader.zone.full(at.div_euclid(1_000_000));
            // If nobody hears it there is nobody to tell.
            let _ = writeln!(
                self.around.err,
                "note: --recorded-at {at} lies in the future: until then whatever comes into this store is recorded right \
                 after it"
            );
        }
        let progress = Progress::bytes(bytes, self.around.err_is_terminal);
        let summary = self.engine.import(store, &job, &progress)?;
        drop(progress);
        match format {
            Format::Json => summary.write_json(self.around.out)?,
            _ => summary.write_text(self.around.out)?,
        }
        self.around.out.flush()?;
        for fault in &summary.faults {
            // If nobody hears it there is nobody to tell.
            let _ = writeln!(self.around.err, "erstwhile: {fault}");
        }
        Ok(summary.exit())
    }
}

/// The inputs, all of which are there, and how many bytes they are if that is known.
fn inputs(files: &[PathBuf]) -> Result<(Vec<Input>, Option<u64>), Failure> {
    let mut inputs = Vec::new();
    let mut bytes = Some(0);
    for file in files {
        if file.as_os_str() != "-" {
            let size = size(file)?;
            bytes = bytes.zip(size).map(|(sum, size)| sum + size);
            inputs.push(Input::File(file.clone()));
        } else if inputs.contains(&Input::Stdin) {
            return Err(Failure::Usage("standard input (-) can be read only once".to_owned()));
        } else {
            bytes = None;
            inputs.push(Input::Stdin);
        }
    }
    Ok((inputs, bytes))
}

/// A file's size; `None` for a pipe. Nothing is imported if one of the files is missing.
fn size(file: &Path) -> Result<Option<u64>, Failure> {
    let metadata = fs::metadata(file).map_err(|error| Failure::file(file, &error))?;
    if metadata.is_dir() {
        return Err(Failure::Failed(format!("{}: a directory; name the files in it", file.display())));
    }
    Ok(metadata.is_file().then_some(metadata.len()))
}
