//! What the arguments' own definitions are written as: completions and manual pages.

use clap::Args;
use std::path::PathBuf;

/// `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  erstwhile completions bash > /etc/bash_completion.d/erstwhile
  erstwhile completions zsh > ~/.zfunc/_erstwhile
  erstwhile completions fish > ~/.config/fish/completions/erstwhile.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `man`.
#[derive(Debug, Args)]
#[command(after_help = "\
There is a page for the program and one for each command: `man erstwhile-backup`.

Example:
  erstwhile man --to ~/.local/share/man/man1")]
pub struct ManArgs {
    /// The directory to write to, made if it is missing
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}
