//! Tables in the manner of kubectl: a title, columns, no frames, so that they can be cut and searched.

use std::io::{self, Write};

use comfy_table::{Table, presets};

/// Writes a table under a title; nothing when there are no rows.
pub(crate) fn write<const N: usize>(
    out: &mut dyn Write,
    title: &str,
    head: [&str; N],
    rows: Vec<[String; N]>,
) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head);
    for row in rows {
        table.add_row(row.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }));
    }
    writeln!(out, "\n{title}")?;
    for line in table.to_string().lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A span of time for people: `4.2s`, `3m10s`, `5h`.
pub(crate) fn span(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    match whole.as_secs() {
        0..60 => format!("{seconds:.1}s"),
        total @ 60..3600 => format!("{}m{}s", total / 60, total % 60),
        total => format!("{}h{}m", total / 3600, total % 3600 / 60),
    }
}
