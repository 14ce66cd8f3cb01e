//! Embeds every file of `services/`, `roles/` and `features/`, and the names of the images of `containers/`:
//! a service is added by adding files, not by changing a list here.

//!
//! Paths are relative to this package, so that two checkouts which build into one directory do not
//! get each other's files: this program may have been compiled for the other.

use std::{env, fmt::Write as _, fs, io, path::Path};

/// From this package, which is where cargo runs this program.
const ROOT: &str = "../..";

fn main() -> io::Result<()> {
    let root = Path::new(ROOT);
    let mut files = Vec::new();
    for folder in ["services", "roles", "features"] {
        collect(root, Path::new(folder), &mut files)?;
    }
    files.sort();
    let mut code = String::from("pub(super) const FILES: &[(&str, &str)] = &[\n");
    for file in &files {
        let path = format!("/{ROOT}/{file}");
        let here = r#"env!("CARGO_MANIFEST_DIR")"#;
        let _ = writeln!(code, "    ({file:?}, include_str!(concat!({here}, {path:?}))),");
    }
    code.push_str("];\npub(super) const IMAGES: &[&str] = &[\n");
    for image in images(&root.join("containers"))? {
        let _ = writeln!(code, "    {image:?},");
    }
    code.push_str("];\n");
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&out).join("shipped.rs"), code)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", root.join(folder).display());
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = folder.join(&name);
        if entry.file_type()?.is_dir() {
            collect(root, &path, files)?;
        } else if !name.starts_with('.') && !name.ends_with('~') && !name.ends_with(".md") {
            files.push(path.display().to_string());
        }
    }
    Ok(())
}

fn images(folder: &Path) -> io::Result<Vec<String>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().join("Containerfile").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
