//! `backup`, `restore`, `recover`, `compact`, `stats`: what can be refused without a store is refused here.

use super::{Run, read};
use crate::args::{BackupArgs, CompactArgs, RecoverArgs, RestoreArgs, StatsArgs};
use crate::connection::Source;
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::Format;
use crate::operate::{Compaction, Operation, StatsJob, Surface};

impl Run<'_, '_> {
    pub(super) fn backup(self, args: &BackupArgs) -> Result<Exit, Failure> {
        let operation = match (args.list, args.verify) {
            (true, _) => Operation::ListBackup(&args.to),
            (_, true) => Operation::VerifyBackup(&args.to),
            _ => Operation::Backup { store: self.store()?, to: &args.to, keep: args.keep },
        };
        self.text_or_json("backup")?;
        self.operate(&operation)
    }

    pub(super) fn restore(self, args: &RestoreArgs) -> Result<Exit, Failure> {
        let until = args.until.as_deref().map(|text| read::micros(&self.reader, "--until", text)).transpose()?;
        self.text_or_json("restore")?;
        self.operate(&Operation::Restore { from: &args.from, generation: args.generation, until, to: &args.to })
    }

    pub(super) fn recover(self, args: &RecoverArgs) -> Result<Exit, Failure> {
        let operation = Operation::Recover { store: self.store()?, to: &args.to, report: args.report.as_deref() };
        self.text_or_json("recover")?;
        self.operate(&operation)
    }

    pub(super) fn compact(self, args: &CompactArgs) -> Result<Exit, Failure> {
        self.text_or_json("compact")?;
        let how = Compaction {
            dry_run: args.dry_run,
            unpacked_only: args.unpacked_only,
            io_bytes_per_second_max: args.io_bytes_per_second_max,
            seconds_max: args.seconds_max,
        };
        match Source::find(self.cli)? {
            Source::Store(store) => self.operate(&Operation::Compact { store: &store, how }),
            Source::Server(server) if (Compaction { dry_run: false, ..how }) == Compaction::default() => {
                self.operate(&Operation::CompactServer { server: &server, dry_run: how.dry_run })
            }
            Source::Server(_) => Err(Failure::Usage(
                "a server merges everything at the pace of its own configuration: give compact --server with no other \
                 option than --dry-run, or stop the server and name its store"
                    .to_owned(),
            )),
        }
    }

    pub(super) fn stats(self, args: &StatsArgs) -> Result<Exit, Failure> {
        let job = StatsJob {
            table: args.table.as_deref().map(read::table).transpose()?,
            watch_seconds: args.watch,
            silent_after_seconds: args.silent_after,
            keyframes: args.keyframes,
            columns: args.columns,
            reads: args.reads,
            holes: args.holes,
        };
        let source = Source::find(self.cli)?;
        self.operate(&Operation::Stats { source: &source, job: &job })
    }

    fn text_or_json(&self, command: &str) -> Result<(), Failure> {
        match self.cli.format() {
            Format::Text | Format::Json => Ok(()),
            _ => Err(Failure::Usage(format!("{command} reports what it did as text or json"))),
        }
    }

    fn operate(self, operation: &Operation<'_>) -> Result<Exit, Failure> {
        let mut surface = Surface {
            format: self.cli.format(),
            color: self.color(),
            width: self.around.width,
            zone: self.reader.zone,
            now: self.around.now,
            out: self.around.out,
            err: self.around.err,
            err_is_terminal: self.around.err_is_terminal,
        };
        let done = self.engine.operate(operation, &mut surface);
        // What was found comes before what is said of it.
        surface.out.flush()?;
        done
    }
}
