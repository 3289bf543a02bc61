//! `completions`, `man`: what the arguments' own definitions say, for shells and for `man`.

use super::Run;
use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::text::count;
use clap::{Command, CommandFactory};

const PROGRAM: &str = "erstwhile";

impl Run<'_, '_> {
    pub(super) fn completions(self, args: &CompletionsArgs) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(args.shell, &mut Cli::command(), PROGRAM, &mut script);
        self.around.out.write_all(&script)?;
        self.around.out.flush()?;
        Ok(Exit::Done)
    }

    pub(super) fn man(self, args: &ManArgs) -> Result<Exit, Failure> {
        let to = &args.to;
        std::fs::create_dir_all(to).map_err(|error| Failure::file(to, &error))?;
        let pages = pages();
        for (name, page) in &pages {
            let path = to.join(name);
            std::fs::write(&path, page).map_err(|error| Failure::file(&path, &error))?;
        }
        writeln!(self.around.out, "{} in {}", count(pages.len() as u64, "page", "pages"), to.display())?;
        self.around.out.flush()?;
        Ok(Exit::Done)
    }
}

/// The page of the program and of each command, by file name.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    page(PROGRAM, &program, &mut pages);
    pages
}

fn page(name: &str, command: &Command, pages: &mut Vec<(String, Vec<u8>)>) {
    let mut bytes = Vec::new();
    // A vector takes every byte.
    let _ = clap_mangen::Man::new(command.clone()).title(name).section("1").render(&mut bytes);
    pages.push((format!("{name}.1"), bytes));
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        page(&format!("{name}-{}", command.get_name()), command, pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap_complete::Shell;

    fn commands(command: &Command, name: &str, names: &mut Vec<(String, bool)>) {
        names.push((name.to_owned(), command.get_subcommands().next().is_some()));
        for sub in command.get_subcommands() {
            commands(sub, &format!("{name}-{}", sub.get_name()), names);
        }
    }

    /// Whoever adds a command adds what shows how it is used.
    #[test]
    fn each_command_has_a_page_with_examples() {
        let mut names = Vec::new();
        commands(&Cli::command(), PROGRAM, &mut names);
        assert!(names.len() > 20, "{names:?}");
        let pages = pages();
        for (name, has_more) in names {
            let page = pages.iter().find(|(page, _)| *page == format!("{name}.1")).map(|(_, page)| page);
            let page = String::from_utf8(page.unwrap_or_else(|| panic!("{name} has no page")).clone()).unwrap();
            assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}:\n{page}");
            // Whose commands are asked for has its examples on their pages.
            assert!((has_more && name != PROGRAM) || page.contains("Example"), "{name} lacks examples:\n{page}");
        }
    }

    #[test]
    fn every_shell_completes_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell} lacks {}", command.get_name());
            }
            assert!(script.contains("io-bytes-per-second-max"), "{shell}");
        }
    }
}
