//! Where commands print: tables for people, JSON for programs, and how long things took.
//!
//! With JSON there is one value on standard output and nothing else: what was asked for, or the
//! error. What people would see go by is on standard error then.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::termios::tcgetwinsize;
use serde::Serialize;

use crate::failure::{Shown, ShownError};

/// What `-o` chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON value.
    Json,
}

/// Of a terminal that does not tell.
const WIDTH: usize = 80;

/// Whether this process has printed its one value.
static HAS_VALUE: AtomicBool = AtomicBool::new(false);

/// Standard output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    format: Format,
    terminal: bool,
}

impl Out {
    /// Standard output as it is.
    pub(crate) fn new(format: Format) -> Self {
        Self { format, terminal: format == Format::Table && io::stdout().is_terminal() }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// One line for people. A reader that went away (`| head`) ends the program quietly, as it does
    /// for cat.
    pub(crate) fn line(&self, text: impl Display) -> Result<()> {
        if self.format == Format::Json {
            return Ok(writeln!(io::stderr().lock(), "{text}")?);
        }
        self.print(text)
    }

    fn print(&self, text: impl Display) -> Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}{text}", self.over_status())?;
        stdout.flush()?;
        Ok(())
    }

    /// What is under way, on a terminal only: the next line takes its place.
    pub(crate) fn status(&self, text: &str) -> Result<()> {
        if !self.terminal {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let width = self.width().unwrap_or(WIDTH);
        let shown: String = text.chars().take(width.saturating_sub(1)).collect();
        write!(stdout, "{}{shown}", self.over_status())?;
        stdout.flush()?;
        Ok(())
    }

    /// How many letters fit in a line of the terminal; no number where nobody counts them.
    pub(crate) fn width(&self) -> Option<usize> {
        let columns = || tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        self.terminal.then(|| Some(columns()).filter(|columns| *columns > 0).unwrap_or(WIDTH))
    }

    /// Takes a status off the terminal (ECMA-48: carriage return, erase in line).
    fn over_status(&self) -> &'static str {
        if self.terminal { "\r\x1b[2K" } else { "" }
    }

    /// One value, as pretty JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<()> {
        HAS_VALUE.store(true, Ordering::Relaxed);
        self.print(serde_json::to_string_pretty(value)?)
    }

    /// One of many values, as JSON on a line of its own.
    pub(crate) fn value_line(&self, value: &impl Serialize) -> Result<()> {
        self.print(serde_json::to_string(value)?)
    }

    /// What came out, as one value or in one line.
    pub(crate) fn result(&self, value: &impl Serialize, text: impl Display) -> Result<()> {
        if self.format == Format::Json { self.json(value) } else { self.line(text) }
    }

    /// The error, for programs, unless they have been given a value already.
    pub(crate) fn failed(&self, error: Shown) {
        if self.format == Format::Json && !HAS_VALUE.load(Ordering::Relaxed) {
            // The exit code tells it too; and nobody may be left to read this.
            let _printed = self.json(&ShownError::from(error));
        }
    }

    /// Rows: a table for people, the values themselves as JSON.
    pub(crate) fn rows<T: Serialize>(
        &self,
        header: &[&str],
        values: &[T],
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result<()> {
        if self.format == Format::Json {
            return self.json(&values);
        }
        let header: Vec<String> = header.iter().map(|h| h.to_uppercase()).collect();
        let lines = columns(std::iter::once(header).chain(values.iter().map(row)).collect());
        self.line(lines.join("\n"))
    }

    /// One thing's properties, in order.
    pub(crate) fn properties<T: Serialize>(
        &self,
        value: &T,
        properties: &[(&str, String)],
    ) -> Result<()> {
        if self.format == Format::Json {
            return self.json(value);
        }
        property_lines(properties).iter().try_for_each(|line| self.line(line))
    }

    /// Runs one step of a longer command and says what it is and how long it took. On a terminal
    /// the line shows while the step runs; in a pipe it appears when the step is done.
    pub(crate) fn step<T>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<(T, String)>,
    ) -> Result<T> {
        let started = Instant::now();
        self.status(&format!("  …     {name}"))?;
        let (line, result) = done(name, started, work());
        self.line(line)?;
        result
    }
}

/// How a step came out, as one line: `  ok    name: detail (0.4 s)`.
pub(crate) fn done<T>(
    name: &str,
    started: Instant,
    result: Result<(T, String)>,
) -> (String, Result<T>) {
    let took = seconds(started.elapsed());
    match result {
        Ok((value, detail)) => {
            let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
            (format!("  ok    {name}{detail} ({took})"), Ok(value))
        }
        Err(error) => (format!("  FAIL  {name} ({took})"), Err(error)),
    }
}

/// Properties as lines: names, and what they are, in a column.
pub(crate) fn property_lines(properties: &[(&str, String)]) -> Vec<String> {
    let width = properties.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    properties.iter().map(|(name, text)| format!("{name:width$}  {text}")).collect()
}

/// Rows as aligned columns, two spaces between them, nothing after the last.
fn columns(rows: Vec<Vec<String>>) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let cell_width = |row: &Vec<String>, i: usize| row.get(i).map_or(0, |c| c.chars().count());
    let widths: Vec<usize> =
        (0..count).map(|i| rows.iter().map(|r| cell_width(r, i)).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// `text` as one line, of at most `width` letters; and whether something is left out of it.
pub(crate) fn one_line(text: &str, width: Option<usize>) -> (String, bool) {
    let is_gap = |c: char| c.is_whitespace() || c.is_control();
    let words: Vec<&str> = text.split(is_gap).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match width {
        Some(width) if line.chars().count() > width => {
            let begin: String = line.chars().take(width.saturating_sub(1)).collect();
            (format!("{}…", begin.trim_end()), true)
        }
        _ => (line, false),
    }
}

/// A path as a shell reads it: to be typed as it is printed.
pub(crate) fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if text.chars().all(is_plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A duration as people read it: `0.4 s`, `12 s`, `3 min 05 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        0..=9 => format!("{:.1} s", duration.as_secs_f64()),
        10..=99 => format!("{whole} s"),
        _ => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

/// A size as people read it.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| count >= *unit) {
        Some((name, unit)) => {
            let tenths = u128::from(count) * 10 / u128::from(*unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        assert_eq!(columns(vec![row("A", "B"), row("longer", "")]), ["A       B", "longer"]);
    }

    #[test]
    fn a_long_text_is_one_line_that_fits() {
        let text = "web-0: the step failed:\n  Traceback\x1b[2J of zwölf lines";
        let whole = "web-0: the step failed: Traceback [2J of zwölf lines";
        assert_eq!(one_line(text, None), (whole.to_owned(), false));
        assert_eq!(one_line(text, Some(whole.chars().count())), (whole.to_owned(), false));
        assert_eq!(one_line(text, Some(20)), ("web-0: the step fai…".to_owned(), true));
        assert_eq!(one_line("a bc", Some(3)), ("a…".to_owned(), true), "no blank before it");
        assert_eq!(one_line("ab", Some(0)).0.chars().count(), 1);
    }

    #[test]
    fn what_is_printed_to_be_typed_is_one_word() {
        let word = |text: &str| shell_word(Path::new(text));
        assert_eq!(word("/var/lib/undercloud/stackrc"), "/var/lib/undercloud/stackrc");
        assert_eq!(word("/srv/uc:1/zwölf, a/x"), "'/srv/uc:1/zwölf, a/x'");
        assert_eq!(word("/srv/$HOME's"), r"'/srv/$HOME'\''s'");
    }

    #[test]
    fn durations_and_sizes_read_well() {
        assert_eq!(seconds(Duration::from_millis(420)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(42)), "42 s");
        assert_eq!(seconds(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
    }
}
