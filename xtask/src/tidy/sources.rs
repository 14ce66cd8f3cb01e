//! Sizes, module docs and banned words in our Rust sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::findings::{self, FINDINGS};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Functions that are longer, each with its reason. This list may only shrink.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

pub(super) fn faults() -> Result<Vec<String>> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        rust_files(Path::new(folder), &mut files)?;
    }
    files.sort();
    let (mut faults, mut texts) = (Vec::new(), Vec::new());
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let name = file.display().to_string();
        faults.extend(file_faults(&name, &text));
        texts.push(text);
    }
    let found = fs::read_to_string(FINDINGS).context(FINDINGS)?;
    faults.extend(findings::faults(&found, &texts));
    Ok(faults)
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn file_faults(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!("{name}: must begin with `//!` and what it is for"));
    }
    let lines: Vec<&str> = text.lines().collect();
    let is_test_file = name.contains("/tests/") || name.ends_with("/tests.rs");
    let code = lines.iter().position(|l| *l == "#[cfg(test)]").unwrap_or(lines.len());
    if code > FILE_LINES_MAX && !is_test_file {
        faults.push(format!("{name}: {code} lines without tests; at most {FILE_LINES_MAX}"));
    }
    for (function, length) in functions(&lines[..code]) {
        let excepted = LONG_FUNCTIONS.contains(&(name, function.as_str()));
        if length > FUNCTION_LINES_MAX && !excepted && !is_test_file {
            faults.push(format!(
                "{name}: fn {function} has {length} lines; at most {FUNCTION_LINES_MAX}"
            ));
        }
    }
    // In two parts, so that this line does not find itself.
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimpl", "emented!(")];
    for (number, line) in lines.iter().enumerate() {
        if let Some(word) = unfinished.iter().find(|word| line.contains(**word)) {
            faults.push(format!("{name}:{}: `{word}`: finish it or drop it", number + 1));
        }
    }
    faults
}

/// Each function's name and length in lines, by rustfmt's indentation: it ends at the first `}` in
/// the column of its first line.
fn functions(lines: &[&str]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[start..].iter().position(|l| *l == end);
        let has_body = lines[start..].iter().find(|l| l.ends_with(['{', ';', '}']));
        if let (Some(length), Some(first)) = (length, has_body)
            && !first.ends_with([';', '}'])
        {
            found.push((name, length + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let code = line.trim_start();
    let (before, after) = code.split_once("fn ")?;
    let qualifier = |word: &str| {
        matches!(word, "pub" | "const" | "async" | "extern") || word.starts_with("pub(")
    };
    let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (before.split_whitespace().all(qualifier) && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured() {
        let text = "impl A {\n    pub(crate) async fn b(\n        c: u8,\n    ) -> u8 {\n        c\n    }\n}\ntrait T {\n    fn d();\n    fn e() {}\n}\n";
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(functions(&lines), [("b".to_owned(), 5)]);
    }

    #[test]
    fn a_long_function_is_a_fault() {
        let text = format!("//! Doc.\nfn long() {{\n{}}}\n", "    x();\n".repeat(70));
        assert_eq!(file_faults("a.rs", &text), ["a.rs: fn long has 72 lines; at most 70"]);
    }
}
