//! `undercloud completion` and `undercloud man`: what a shell and `man` know of the grammar.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use serde_json::json;

use super::Context;
use crate::cli::Cli;

/// The program's name, as it is typed.
const NAME: &str = "undercloud";

pub(super) fn completion(context: &Context, shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    let script = String::from_utf8(script).context("the completions are no text")?;
    let value = json!({ "shell": shell.to_string(), "script": script });
    context.out.result(&value, script.trim_end())
}

pub(super) fn pages(context: &Context, directory: &Path) -> Result<()> {
    let wrong = || format!("cannot write man pages to {}", directory.display());
    fs::create_dir_all(directory).with_context(wrong)?;
    // A page is the same wherever it is made.
    let grammar = Cli::command().mut_args(|arg| arg.hide_env_values(true));
    clap_mangen::generate_to(grammar, directory).with_context(wrong)?;
    let pages = fs::read_dir(directory).with_context(wrong)?.count();
    let directory = directory.display();
    let value = json!({ "directory": directory.to_string(), "pages": pages });
    context.out.result(&value, format_args!("{pages} pages in {directory}"))
}
