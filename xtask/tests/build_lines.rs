//! What `./up` says while it compiles where there is no terminal, with a cargo that does what it is
//! told: the script is ours, not the compiler.

#![expect(clippy::expect_used, reason = "what a test cannot do fails it")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Builds as `./up` does, with `cargo` in place of the real one.
fn build(folder: &Path, cargo: &str) -> Child {
    let program = folder.join("cargo");
    fs::write(&program, format!("#!/bin/sh\n{cargo}")).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").expect("a path"));
    let script = ". scripts/toolchain.sh; BUILD_LINE_S=0.1; build_undercloud";
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir("..")
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("GO", folder.join("go"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash runs")
}

#[test]
fn the_first_line_comes_at_once_and_others_say_how_far_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    // The compiler is at its third crate until it is let go.
    let bar = r"printf '   Compiling serde v1\n    Building [==>      ] 3/12: serde, tokio\r' >&2";
    let cargo = format!("mkfifo \"$GO\"\n{bar}\nread word < \"$GO\"\n");
    let mut child = build(folder.path(), &cargo);
    let mut lines =
        BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);

    let first = lines.next().expect("a first line");
    assert!(
        first.starts_with("build: compiles undercloud from this checkout, once: up to "),
        "{first}"
    );
    assert!(first.contains(" crates, about ") && first.contains(" minutes on "), "{first}");
    let at = lines.find(|line| !line.contains("fetches crates")).expect("how far it is");
    assert!(at.starts_with("build: 3 of 12: serde, tokio, ") && at.ends_with(" s"), "{at}");
    fs::write(folder.path().join("go"), "go\n").expect("the compiler goes on");
    let last = lines.last().expect("a last line");
    assert!(last.starts_with("build: done, "), "{last}");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn what_does_not_compile_is_shown_with_where_all_of_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let cargo = r"printf '   Compiling a v1\n    Building [=> ] 1/2: a\rerror[E0425]: no such name\n' >&2
exit 101
";
    let mut child = build(folder.path(), cargo);
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(7), "{said}");
    assert!(said.contains("error[E0425]: no such name\n"), "{said}");
    assert!(!said.contains("Compiling") && !said.contains("Building"), "{said}");
    let log = said.lines().last().and_then(|line| line.rsplit(' ').next()).expect("a last line");
    assert!(fs::read_to_string(log).expect("the log").contains("Compiling a v1"), "{log}");
}

#[test]
fn who_builds_at_the_same_time_leaves_the_first_one_s_log_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("target/x86_64-unknown-linux-gnu/build.log");
    let cargo = "[ -e \"$GO\" ] || mkfifo \"$GO\"\necho first one\nread word < \"$GO\"\n";
    let mut first = build(folder.path(), cargo);
    let mut lines =
        BufReader::new(first.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    // A line on how far it is: cargo runs, and its log is begun.
    assert!(lines.any(|line| line.contains("fetches crates")));

    let second = build(folder.path(), "echo second one\n").wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&second.stdout);
    assert!(second.status.success() && said.contains("somebody else builds here"), "{said}");
    let own =
        said.lines().find_map(|line| line.split_once("the log of this one: ")).expect("a log");
    assert_eq!(fs::read_to_string(own.1).expect("its log"), "second one\n");
    let of_first = || fs::read_to_string(&log).expect("the first one's log");
    assert_eq!(of_first(), "first one\n");
    fs::write(folder.path().join("go"), "go\n").expect("the compiler goes on");
    assert!(lines.last().expect("a last line").starts_with("build: done, "));
    assert!(first.wait().expect("it ends").success());

    // One after the other: the log before is kept beside.
    let third = build(folder.path(), "echo third one\n").wait_with_output().expect("it ends");
    assert!(third.status.success());
    assert_eq!(of_first(), "third one\n");
    let before = log.with_extension("log.1");
    assert_eq!(fs::read_to_string(before).expect("the log before"), "first one\n");
}

#[test]
fn a_flag_that_there_is_not_is_refused_before_anything_is_compiled() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("cargo");
    let marks = format!("#!/bin/sh\n: > {}\nexit 1\n", folder.path().join("ran").display());
    fs::write(&program, marks).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").expect("a path"));
    for words in [&["--bogus"][..], &["--timeout", "3", "--bogus=4"], &["--down", "--lab"]] {
        let mut up = Command::new("../up");
        let output = up.args(words).env("PATH", &path).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        let flag = words.last().and_then(|word| word.split('=').next()).expect("a flag");
        assert!(said.starts_with(&format!("error: ./up knows no {flag}\nhint: ")), "{said}");
        assert!(!folder.path().join("ran").exists(), "{words:?}: cargo was called");
    }
}

#[test]
fn every_flag_of_the_program_is_one_of_up_s() {
    let script = fs::read_to_string("../up").expect("the script");
    let known = |case: &str| {
        let line = script.lines().find(|line| line.trim().starts_with(case)).expect("a case");
        line.split_whitespace()
            .filter(|w| w.starts_with("--"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for (snapshot, case) in [("up", "*) known="), ("down", "--down) known=")] {
        let path = format!(
            "../crates/undercloud/src/cli/snapshots/undercloud__cli__tests__help_{snapshot}.snap"
        );
        let help = fs::read_to_string(&path).expect("the command's help");
        for flag in help
            .split([' ', ',', '\n'])
            .filter(|word| word.starts_with("--") && !word.starts_with("---"))
        {
            let flag = flag.trim_end_matches(|c: char| !c.is_ascii_lowercase());
            let is_of_up = known(case).iter().any(|known| known == flag);
            assert!(is_of_up || ["--help", "--version"].contains(&flag), "{snapshot}: {flag}");
        }
    }
}
