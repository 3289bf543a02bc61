//! `fsck`.

use super::Run;
use crate::args::FsckArgs;
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::Format;
use crate::forms::checked::Checked;
use crate::progress::Progress;
use erstwhile_engine::check::fsck::{Level, Options, Report, Severity};

impl Run<'_, '_> {
    pub(super) fn fsck(self, args: &FsckArgs) -> Result<Exit, Failure> {
        let format = self.cli.format();
        if format == Format::Csv {
            return Err(Failure::Usage("fsck writes text, json or ndjson, not csv".to_owned()));
        }
        let options = Options {
            level: match (args.quick, args.deep) {
                (true, _) => Level::Quick,
                (_, true) => Level::Deep,
                _ => Level::Checksums,
            },
            share: args.sample.as_deref().map(share).transpose()?,
            // Another share each time, unless it is to be the same.
            seed: args.seed.unwrap_or(self.around.now as u64 % 1_000_000_000),
            budget_nanos: args.budget.as_deref().map(nanos).transpose()?,
            ..Options::default()
        };
        let store = self.store()?;
        let progress = Progress::bytes(Some(0), self.around.err_is_terminal);
        let report = self.engine.fsck(store, &options, &progress)?;
        drop(progress);
        Checked { store, options: &options, report: &report }.write(format, self.around.out)?;
        self.around.out.flush()?;
        Ok(exit(&report))
    }
}

/// Damage comes before what could not be looked at.
fn exit(report: &Report) -> Exit {
    if report.count(Severity::Damage) > 0 {
        Exit::Damage
    } else if report.unchecked() > 0 {
        Exit::Failed
    } else {
        Exit::Done
    }
}

/// A share such as `10%`.
fn share(text: &str) -> Result<f64, Failure> {
    let percent = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
    match percent.filter(|percent| *percent > 0.0 && *percent <= 100.0) {
        Some(percent) => Ok(percent / 100.0),
        None => Err(Failure::Usage(format!("--sample {text:?}: write a share such as 10%"))),
    }
}

/// A length of time such as `30s`, `10m` or `2h`.
fn nanos(text: &str) -> Result<u64, Failure> {
    let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)];
    let found = units.into_iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        Some(number * seconds)
    });
    match found.filter(|seconds| *seconds >= 0.0 && *seconds < 1e9) {
        Some(seconds) => Ok((seconds * 1e9) as u64),
        None => Err(Failure::Usage(format!("--budget {text:?}: write a time such as 30s, 10m or 2h"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{nanos, share};

    #[test]
    fn shares_and_times_are_read() {
        assert_eq!(share("10%"), Ok(0.1));
        assert_eq!(share("100"), Ok(1.0));
        for wrong in ["", "0%", "101%", "x", "nan", "-1"] {
            share(wrong).unwrap_err();
        }
        assert_eq!(nanos("30s"), Ok(30_000_000_000));
        assert_eq!(nanos("1.5m"), Ok(90_000_000_000));
        assert_eq!(nanos("200ms"), Ok(200_000_000));
        assert_eq!(nanos("7"), Ok(7_000_000_000));
        for wrong in ["", "s", "-1s", "soon", "inf"] {
            nanos(wrong).unwrap_err();
        }
    }
}
