//! The engine behind the commands.

use erstwhile::args::{LogFormat, SimulateArgs};
use erstwhile::commands::{Answers, Engine, ImportJob};
use erstwhile::fail::Failure;
use erstwhile::forms::Format;
use erstwhile::progress::Progress;
use erstwhile::summary::ImportSummary;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The engine of this build.
pub(crate) struct Wired;

fn absent<T>() -> Result<T, Failure> {
    Err(Failure::Failed("this build has no engine".to_owned()))
}

impl Engine for Wired {
    fn open(&self, _store: &Path) -> Result<Box<dyn Answers + '_>, Failure> {
        absent()
    }

    fn import(
        &self,
        _store: &Path,
        _job: &ImportJob,
        _progress: &Progress,
    ) -> Result<ImportSummary, Failure> {
        absent()
    }

    fn inspect(
        &self,
        _store: Option<&Path>,
        _files: &[PathBuf],
        _format: Format,
        _out: &mut dyn Write,
    ) -> Result<(), Failure> {
        absent()
    }

    fn simulate(
        &self,
        _args: &SimulateArgs,
        _format: LogFormat,
        _out: &mut dyn Write,
    ) -> Result<(), Failure> {
        absent()
    }

    fn demo(&self, _store: Option<&Path>, _out: &mut dyn Write) -> Result<(), Failure> {
        absent()
    }
}
