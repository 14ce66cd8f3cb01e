//! What can be typed, word by word; and that whatever a text of ours tells people to type can be.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{CommandFactory as _, error::ErrorKind};

use super::*;

#[test]
fn the_grammar_is_consistent() {
    Cli::command().debug_assert();
}

/// The grammar as every host shows it.
fn grammar() -> clap::Command {
    fn same_everywhere(command: clap::Command) -> clap::Command {
        command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(same_everywhere)
    }
    let mut grammar = same_everywhere(Cli::command().term_width(100));
    grammar.build();
    grammar
}

fn keep(name: &str, text: &str) {
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, text) });
}

#[test]
fn help_of_every_command() {
    fn show(command: &clap::Command, path: &str, text: &mut String) {
        let help = command.clone().render_long_help();
        *text += &format!("$ {path} --help\n{help}\n");
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            show(inner, &format!("{path} {}", inner.get_name()), text);
        }
    }
    let grammar = grammar();
    for command in grammar.get_subcommands().filter(|inner| inner.get_name() != "help") {
        let mut text = String::new();
        show(command, &format!("undercloud {}", command.get_name()), &mut text);
        keep(&format!("help_{}", command.get_name()), &text);
    }
    let mut grammar = grammar;
    keep("help", &grammar.render_long_help().to_string());
}

/// The commands that `text` names, as words.
fn commands_in(text: &str, grammar: &clap::Command) -> Vec<Vec<String>> {
    let is_command = |word: &str| grammar.get_subcommands().any(|known| known.get_name() == word);
    let begins = text.match_indices("undercloud ").map(|(at, found)| &text[at + found.len()..]);
    let words = begins.map(|rest| {
        let end =
            rest.find(['`', '"', '\'', ';', ',', '.', ':', ')', '\n', '\\', '…', '|', '$', '[']);
        let line = &rest[..end.unwrap_or(rest.len())];
        // What is put in behind a word, as in `install{approve}`, is another word.
        let parts = line.split(' ').flat_map(|word| word.split_inclusive('}')).flat_map(|word| {
            let at = word.find('{').filter(|at| *at > 0).unwrap_or(word.len());
            [&word[..at], &word[at..]]
        });
        parts.filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    });
    words.filter(|words| words.first().is_some_and(|word| is_command(word))).collect()
}

/// Whether `words` can be typed; values that a text leaves open may be missing, and prose may follow.
fn can_be_typed(words: &[String], grammar: &clap::Command) -> Result<(), String> {
    for end in (1..=words.len()).rev() {
        let typed = ["undercloud".to_owned()].into_iter().chain(words[..end].iter().cloned());
        let Err(error) = grammar.clone().try_get_matches_from(typed) else { return Ok(()) };
        match error.kind() {
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelp
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return Ok(()),
            // A word that is no option may belong to the sentence and not to the command.
            ErrorKind::UnknownArgument if !words[end - 1].starts_with('-') => {}
            // What stands for a value of ours, as a digest, is none; for one of a few words it must not.
            ErrorKind::ValueValidation => return Ok(()),
            ErrorKind::InvalidValue if error.to_string().contains("a value is required") => {
                return Ok(());
            }
            ErrorKind::InvalidSubcommand
                if words.get(1).is_some_and(|word| word.starts_with('{')) =>
            {
                return Ok(());
            }
            _ => return Err(error.to_string()),
        }
    }
    Err("no such command".to_owned())
}

#[test]
fn what_texts_tell_people_to_type_can_be_typed() {
    let grammar = grammar();
    let (mut checked, mut wrong) = (0, Vec::new());
    for file in texts() {
        let text = fs::read_to_string(&file).unwrap();
        for words in commands_in(&text, &grammar) {
            checked += 1;
            if let Err(error) = can_be_typed(&words, &grammar) {
                let why = error.lines().next().unwrap_or_default().to_owned();
                wrong.push(format!("{}: undercloud {}: {why}", file.display(), words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 100, "only {checked} commands were found");
}

/// The program's sources, whose texts people read, and the documents.
fn texts() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_text = path.extension().is_some_and(|e| e == "rs" || e == "md" || e == "txt");
            if path.is_dir() {
                walk(&path, found);
            } else if is_text && path.file_name().is_some_and(|name| name != "tests.rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for krate in fs::read_dir(root.join("crates")).unwrap() {
        let krate = krate.unwrap();
        // It knows no command of ours.
        if krate.file_name() != "bmc" {
            walk(&krate.path().join("src"), &mut found);
        }
    }
    walk(&root.join("docs"), &mut found);
    found
}

#[test]
fn wrong_advice_is_found() {
    let grammar = grammar();
    let check = |text: &str| {
        let commands = commands_in(text, &grammar);
        assert_eq!(commands.len(), 1, "{text}");
        can_be_typed(&commands[0], &grammar).is_ok()
    };
    for text in [
        "type `undercloud node list` to see them",
        "undercloud node import FILE for machines that you have",
        "undercloud node power off {name}",
        "undercloud cloud install --approve {}",
        "undercloud status shows it",
        "undercloud bmc --help",
    ] {
        assert!(check(text), "{text}");
    }
    for text in [
        "`undercloud node power NODE off`",
        "undercloud node unset x",
        "undercloud image build --fresh",
        "undercloud bmc remove web",
    ] {
        assert!(!check(text), "{text}");
    }
}
