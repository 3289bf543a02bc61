//! How far long work has come, on standard error, when a person is looking.

use erstwhile_engine::check::fsck::Watch;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A bar of bytes; shows nothing if nobody looks. Cheap to advance from any thread.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar that shows nothing.
    pub fn hidden() -> Progress {
        Progress { bar: ProgressBar::hidden() }
    }

    /// A bar over `total` bytes, or without an end; hidden unless `visible`.
    pub fn bytes(total: Option<u64>, visible: bool) -> Progress {
        if !visible {
            return Progress::hidden();
        }
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()),
                "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left {msg}",
            ),
            None => (
                ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
                "{spinner} {bytes}, {bytes_per_sec} {msg}",
            ),
        };
        let progress = Progress { bar };
        progress.style(template);
        progress.bar.enable_steady_tick(Duration::from_millis(200));
        progress
    }

    /// A bar of work that is told in shares; hidden unless `visible`. Say how much there is by [`Progress::lengthen`].
    pub fn share(visible: bool) -> Progress {
        let progress = Progress::bytes(Some(0), visible);
        progress.style("{bar:30} {percent} %, {eta} left {msg}");
        progress
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }

    /// More bytes are done.
    pub fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// How many bytes there are, where that shows only on the way.
    pub fn lengthen(&self, total: u64) {
        self.bar.set_length(total);
    }

    /// Whether as much is done as there is.
    pub fn is_at_end(&self) -> bool {
        self.bar.length().is_some_and(|total| self.bar.position() >= total)
    }

    /// All that can be counted is done, and this remains.
    pub fn end_with(&self, what: &str) {
        self.style("{spinner} {msg}");
        self.say(what);
    }

    /// What is being worked on.
    pub fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }
}

/// A check says how much there is once it knows.
impl Watch for Progress {
    fn begin(&self, bytes: u64) {
        self.bar.set_length(bytes);
    }

    fn advance(&self, bytes: u64) {
        Progress::advance(self, bytes);
    }
}

/// The bar leaves no trace: what was done is told by the summary.
impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
