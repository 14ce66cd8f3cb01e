//! The edit of a `clouds.yaml`: text to text, proven by reading the result back.

use serde_json::{Map, Value, json};

use super::{CloudEntry, EditError};

/// What a file of our own making begins with.
const HEADER: &str = "# Made by undercloud. Add clouds of your own below.\nclouds:\n";

const BYTES_MAX: usize = 1 << 20;

/// The text with our entries as given, and nothing of an earlier edit with this tag. No entries:
/// ours are removed. Nothing is left of a file that only we wrote.
pub(super) fn edit(
    text: &str,
    tag: &str,
    entries: &[(&CloudEntry, String)],
) -> Result<Option<String>, EditError> {
    if text.len() > BYTES_MAX {
        return Err(EditError::Long(BYTES_MAX));
    }
    let theirs = without_block(text, tag)?;
    let before = parse(&theirs)?;
    let taken = |(entry, _): &&(&CloudEntry, String)| before.clouds.contains_key(&entry.name);
    if let Some((entry, _)) = entries.iter().find(taken) {
        return Err(EditError::Conflict(entry.name.clone()));
    }
    if entries.is_empty() {
        // A key without a value is no mapping, and the client wants one.
        let empty = |line: &str| line.trim_end() == "clouds:";
        if theirs == HEADER || theirs.trim().is_empty() {
            return Ok(None);
        }
        let theirs: String = match before.clouds.is_empty() {
            true => theirs
                .split_inclusive('\n')
                .map(|line| if empty(line) { "clouds: {}\n" } else { line })
                .collect(),
            false => theirs,
        };
        return same(&before, &Map::new(), &theirs).map(|()| Some(theirs));
    }
    let text = with_block(&theirs, tag, entries)?;
    let mine = entries.iter().map(|(e, ca)| (e.name.clone(), value(e, ca))).collect();
    same(&before, &mine, &text)?;
    Ok(Some(text))
}

struct Parsed {
    clouds: Map<String, Value>,
    rest: Map<String, Value>,
}

fn parse(text: &str) -> Result<Parsed, EditError> {
    let line = |e: serde_saphyr::Error| e.location().map_or(0, |l| l.line());
    // The error's text would quote the file, which holds passwords.
    let file: Option<Map<String, Value>> =
        if text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
            None
        } else {
            serde_saphyr::from_str(text).map_err(|e| EditError::NotYaml { line: line(e) })?
        };
    let mut rest = file.unwrap_or_default();
    match rest.remove("clouds") {
        None | Some(Value::Null) => Ok(Parsed { clouds: Map::new(), rest }),
        Some(Value::Object(clouds)) => Ok(Parsed { clouds, rest }),
        Some(_) => Err(EditError::NotClouds),
    }
}

/// Whether `text` says what was said before, and `mine`, and nothing else.
fn same(before: &Parsed, mine: &Map<String, Value>, text: &str) -> Result<(), EditError> {
    let mut after = parse(text).map_err(|_| EditError::Form)?;
    for (name, value) in mine {
        if after.clouds.remove(name).as_ref() != Some(value) {
            return Err(EditError::Form);
        }
    }
    if after.clouds == before.clouds && after.rest == before.rest {
        return Ok(());
    }
    Err(EditError::Form)
}

fn marks(tag: &str) -> (String, String) {
    let begin = format!("# BEGIN undercloud {tag}: written and removed by undercloud");
    (begin, format!("# END undercloud {tag}"))
}

fn without_block(text: &str, tag: &str) -> Result<String, EditError> {
    let (begin, end) = marks(tag);
    let mut kept = String::with_capacity(text.len());
    let mut inside = false;
    for line in text.split_inclusive('\n') {
        let mark = line.trim();
        if mark == begin || mark == end {
            if inside == (mark == begin) {
                return Err(EditError::Marks(mark.to_owned()));
            }
            inside = !inside;
        } else if !inside {
            kept.push_str(line);
        }
    }
    if inside { Err(EditError::Marks(begin)) } else { Ok(kept) }
}

fn with_block(
    theirs: &str,
    tag: &str,
    entries: &[(&CloudEntry, String)],
) -> Result<String, EditError> {
    let lines: Vec<&str> = theirs.split_inclusive('\n').collect();
    let key = |line: &&str| {
        ["clouds:", "\"clouds\":", "'clouds':"].iter().any(|key| line.starts_with(key))
    };
    let Some(place) = lines.iter().position(key) else {
        let mut text = theirs.to_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(if text.is_empty() { HEADER } else { "clouds:\n" });
        return Ok(text + &block(tag, entries, 2));
    };
    let after_key = lines[place].split_once(':').map_or("", |(_, rest)| rest).trim();
    let key = match after_key {
        "{}" | "null" | "~" => "clouds:\n".to_owned(),
        rest if rest.is_empty() || rest.starts_with('#') => {
            format!("{}\n", lines[place].trim_end_matches(['\r', '\n']))
        }
        _ => return Err(EditError::Form),
    };
    let below = lines[place + 1..].iter();
    let first = below.map(|l| (l.len() - l.trim_start().len(), l.trim_start()));
    let child = first.into_iter().find(|(_, l)| !l.is_empty() && !l.starts_with('#'));
    let indent = child.map_or(2, |(indent, _)| if indent == 0 { 2 } else { indent });
    let (head, tail) = (lines[..place].concat(), lines[place + 1..].concat());
    Ok(head + &key + &block(tag, entries, indent) + &tail)
}

fn block(tag: &str, entries: &[(&CloudEntry, String)], indent: usize) -> String {
    let (begin, end) = marks(tag);
    let mut lines = vec![begin];
    for (entry, ca_path) in entries {
        lines.push(format!("{}:", entry.name));
        if let Value::Object(map) = value(entry, ca_path) {
            push(&mut lines, &map, 2);
        }
    }
    lines.push(end);
    let pad = " ".repeat(indent);
    lines.iter().map(|line| format!("{pad}{line}\n")).collect()
}

fn push(lines: &mut Vec<String>, map: &Map<String, Value>, indent: usize) {
    let pad = " ".repeat(indent);
    for (key, value) in map {
        match value {
            Value::Object(below) => {
                lines.push(format!("{pad}{key}:"));
                push(lines, below, indent + 2);
            }
            plain => {
                let text = plain.as_str().unwrap_or_default();
                lines.push(format!("{pad}{key}: {}", quoted(text)));
            }
        }
    }
}

/// A double-quoted scalar (YAML 1.2, section 5.7).
fn quoted(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        ' '..='~' => c.to_string(),
        _ => format!("\\U{:08X}", u32::from(c)),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

fn value(entry: &CloudEntry, ca_path: &str) -> Value {
    json!({
        "auth_type": "password",
        "auth": {
            "auth_url": entry.auth_url,
            "username": entry.username,
            "password": entry.password.expose(),
            "project_name": entry.project,
            "user_domain_name": entry.domain,
            "project_domain_name": entry.domain,
        },
        "region_name": entry.region,
        "interface": "public",
        "identity_api_version": "3",
        "cacert": ca_path,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use undercloud_model::Secret;

    use super::*;

    const TAG: &str = "/var/lib/undercloud";

    fn entry(name: &str, password: &str) -> CloudEntry {
        CloudEntry {
            name: name.into(),
            auth_url: "https://127.0.0.1:5000/identity/v3".into(),
            username: "admin".into(),
            password: Secret::new(password),
            project: "admin".into(),
            domain: "Default".into(),
            region: "RegionOne".into(),
            ca_pem: String::new(),
        }
    }

    fn merge(text: &str) -> Result<String, EditError> {
        let entry = entry("undercloud", "p: \"#'\\ö\u{7f}");
        edit(text, TAG, &[(&entry, "/home/u/ca.pem".into())]).map(Option::unwrap)
    }

    #[test]
    fn a_new_file_is_ours_and_goes_as_it_came() {
        let text =
            edit("", TAG, &[(&entry("undercloud", "p"), "/ca.pem".into())]).unwrap().unwrap();
        insta::assert_snapshot!(text);
        assert_eq!(edit(&text, TAG, &[]).unwrap(), None);
    }

    #[test]
    fn theirs_stays_to_the_byte() {
        for theirs in [
            "# mine\nclouds:   # all\n\n    # first\n    a:  # x\n        auth: {password: 'p'}\n\n    b: &b\n        region_name: r\n    c: *b\n",
            "cache:\n  auth: true\nclouds:\n  a: {}\nansible:\n  x: [1, 2]\n",
            "clouds:\n  a:\n    auth:\n      password: |\n        clouds:\n        x",
            "---\nclouds:\n  a: {}\n",
            "\"clouds\":\r\n  a: {}\r\n",
        ] {
            let merged = merge(theirs).unwrap();
            assert_eq!(merge(&merged).unwrap(), merged, "again changes nothing");
            let removed = edit(&merged, TAG, &[]).unwrap().unwrap();
            assert_eq!(removed.replace('\r', ""), theirs.replace('\r', ""));
        }
    }

    #[test]
    fn files_without_clouds_get_some() {
        for (theirs, left) in [
            ("clouds: {}\n", "clouds: {}\n"),
            ("clouds:", "clouds: {}\n"),
            ("cache:\n  auth: true", "cache:\n  auth: true\nclouds: {}\n"),
        ] {
            let merged = merge(theirs).unwrap();
            assert_eq!(edit(&merged, TAG, &[]).unwrap().unwrap(), left);
        }
        assert_eq!(edit("# nothing\n", TAG, &[]).unwrap().as_deref(), Some("# nothing\n"));
    }

    #[test]
    fn two_states_keep_out_of_each_others_way() {
        let one = merge("").unwrap();
        let other = entry("second", "q");
        let both = edit(&one, "/srv/second", &[(&other, "/ca".into())]).unwrap().unwrap();
        assert_eq!(edit(&both, "/srv/second", &[]).unwrap().unwrap(), one);
        let taken = entry("undercloud", "q");
        let error = edit(&one, "/srv/second", &[(&taken, "/ca".into())]).unwrap_err();
        assert_eq!(error, EditError::Conflict("undercloud".into()));
    }

    #[test]
    fn what_cannot_be_edited_is_left_alone() {
        let (begin, end) = marks(TAG);
        for (theirs, expected) in [
            ("clouds: {a: {}}\n".to_owned(), EditError::Form),
            ("{clouds: {}}\n".to_owned(), EditError::Form),
            ("clouds: [1]\n".to_owned(), EditError::NotClouds),
            ("clouds:\n  undercloud: {}\n".to_owned(), EditError::Conflict("undercloud".into())),
            ("clouds:\n  a: {\n".to_owned(), EditError::NotYaml { line: 2 }),
            ("- a\n".to_owned(), EditError::NotYaml { line: 1 }),
            (format!("clouds:\n  {begin}\n  a: {{}}\n"), EditError::Marks(begin.clone())),
            (format!("clouds:\n  {end}\n"), EditError::Marks(end.clone())),
            ("x".repeat(BYTES_MAX + 1), EditError::Long(BYTES_MAX)),
        ] {
            let shown: String = theirs.chars().take(60).collect();
            assert_eq!(merge(&theirs), Err(expected), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_there_is_kept_or_refused(text in "([ a-c:{}#'\"\\n|&*-]|clouds:){0,40}") {
            if let Ok(merged) = merge(&text) {
                let (before, after) = (parse(&text).unwrap(), parse(&merged).unwrap());
                prop_assert_eq!(&before.rest, &after.rest);
                prop_assert_eq!(before.clouds.len() + 1, after.clouds.len());
                prop_assert!(edit(&merged, TAG, &[]).is_ok());
            }
        }
    }
}
