//! What a person sees: steps with the time, tables, and the last line.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    time::Instant,
};

use super::{
    lab_process::Calls,
    matrix::{Pair, Verdict},
    scene::Family,
};

/// Writes to standard output with the time since the start.
#[derive(Debug)]
pub struct Report {
    started: Instant,
}

impl Report {
    /// The clock starts.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Whole seconds since the start.
    pub fn seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// One line of progress.
    pub fn step(&self, text: &str) {
        self.print(&format!("[{:5.1} s] {text}", self.started.elapsed().as_secs_f64()));
    }

    /// Text as it is.
    #[expect(clippy::unused_self, reason = "everything that is shown goes through the report")]
    pub fn print(&self, text: &str) {
        // A reader that has gone away is no reason to leave a cluster behind.
        drop(writeln!(io::stdout().lock(), "{text}"));
    }
}

/// Columns as wide as their longest cell.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|r| r.get(column))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(&widths) {
            drop_fmt(write!(line, "{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Writing to a `String` cannot fail.
fn drop_fmt(_outcome: std::fmt::Result) {}

/// The matrix: a line for each row, a column for each family.
pub fn matrix(pairs: &[Pair], verdicts: &[Verdict]) -> String {
    let mut rows = vec![vec!["pair".to_owned(), "IPv4".to_owned(), "IPv6".to_owned()]];
    let cell = |what: &str, family: Family| {
        let found =
            pairs.iter().zip(verdicts).find(|(p, _)| p.row.what == what && p.family == family);
        found.map_or_else(|| "-".to_owned(), |(_, verdict)| shown(verdict))
    };
    for pair in pairs {
        let what = &pair.row.what;
        if rows.iter().all(|r| r.first() != Some(what)) {
            rows.push(vec![what.clone(), cell(what, Family::V4), cell(what, Family::V6)]);
        }
    }
    table(&rows)
}

fn shown(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Answered(micros) => format!("{micros} us"),
        Verdict::Refused => "refused, as it must be".to_owned(),
        Verdict::Hole(_) => "HOLE".to_owned(),
        Verdict::Leak(_) => "LEAK".to_owned(),
    }
}

/// One line for each pair that is not as it must be.
pub fn failures(pairs: &[Pair], verdicts: &[Verdict]) -> Vec<String> {
    pairs
        .iter()
        .zip(verdicts)
        .filter_map(|(pair, verdict)| {
            let (word, cause) = match verdict {
                Verdict::Answered(_) | Verdict::Refused => return None,
                Verdict::Hole(cause) => ("hole", cause),
                Verdict::Leak(cause) => ("leak", cause),
            };
            Some(format!(
                "{word}: {} ({:?}) {:?} -> {}: {cause}",
                pair.row.what,
                pair.family,
                pair.row.from,
                pair.address()
            ))
        })
        .collect()
}

/// Cloud calls by action.
pub fn calls(calls: &Calls) -> String {
    let parts: Vec<String> =
        calls.by_action.iter().map(|(action, n)| format!("{action} {n}")).collect();
    format!("{} cloud calls: {}", calls.total, parts.join(", "))
}
