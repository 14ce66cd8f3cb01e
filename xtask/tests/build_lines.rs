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
