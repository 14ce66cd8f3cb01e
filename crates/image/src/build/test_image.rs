//! The test server's ramdisk: busybox, an ssh server and `images/test-server/init`. Its kernel is
//! that of overcloud-full, and it has no disk, so that it boots in seconds under emulation too.

use std::fs;

use camino::Utf8Path;

use super::{
    BuildError, at, ramdisk,
    recipe::{TEST_SERVER_FILES, TestServer},
    root::System,
};
use crate::cpio::Archive;

/// Its file in the cache's entry.
pub(super) const RAMDISK: &str = "test-server";

/// Directories, each after the one it is in.
const DIRS: [(&str, u32); 8] = [
    ("etc/dropbear", 0o700),
    ("root/.ssh", 0o700),
    ("srv", 0o755),
    ("usr", 0o755),
    ("usr/lib", 0o755),
    ("usr/lib/x86_64-linux-gnu", 0o755),
    ("usr/lib64", 0o755),
    ("usr/sbin", 0o755),
];

/// Makes `new/test-server`.
pub(super) fn ramdisk(
    new: &Utf8Path,
    recipe: &TestServer,
    system: &System,
    builder: &Utf8Path,
) -> Result<(), BuildError> {
    let (modules, mut rest) = ramdisk::base(&recipe.modules, &recipe.busybox, system, builder)?;
    own(&mut rest)?;
    for program in &recipe.programs {
        let path = builder.join("root").join(program);
        let content = fs::read(&path).map_err(at("read", &path))?;
        rest.file(program, 0o755, &content)?;
    }
    ramdisk::write(&new.join(RAMDISK), &ramdisk::joined(modules, rest)?)
}

/// What comes from this tree.
fn own(archive: &mut Archive) -> Result<(), BuildError> {
    for (dir, mode) in DIRS {
        archive.dir(dir, mode)?;
    }
    // Where programs say that their loader is.
    archive.symlink("lib64", "usr/lib64")?;
    for (path, mode, text) in TEST_SERVER_FILES {
        archive.file(path, *mode, text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{super::recipe::Recipe, *};

    #[test]
    fn every_file_has_its_directory() {
        let programs = Recipe::read().unwrap().test_server.programs;
        let files = TEST_SERVER_FILES.iter().map(|(path, ..)| *path);
        for file in programs.iter().map(String::as_str).chain(files) {
            let Some((parent, _)) = file.rsplit_once('/') else { continue };
            let known = DIRS.iter().any(|(dir, _)| *dir == parent) || parent == "etc";
            assert!(known, "{file}");
        }
        own(&mut Archive::new()).unwrap();
    }

    #[test]
    fn a_shell_reads_the_scripts() {
        for (path, _, text) in TEST_SERVER_FILES.iter().filter(|f| f.2.starts_with("#!/bin/sh")) {
            let checked = Command::new("sh").args(["-n", "-c", text]).status().unwrap();
            assert!(checked.success(), "{path}");
        }
    }

    #[test]
    fn the_scripts_use_what_is_there() {
        let applets = Recipe::read().unwrap().test_server.busybox;
        for word in ["udhcpc", "modprobe", "wget", "nc", "touch", "timeout", "httpd", "init"] {
            assert!(applets.iter().any(|applet| applet == word), "{word}");
        }
    }
}
