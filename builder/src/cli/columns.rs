//! Tables for people.

use cluster::text::printable;

/// Titles, and rows with what is noted below each. The last column may be as wide as it likes. Cells may hold what a machine
/// says.
pub(super) fn table<const N: usize>(titles: [&str; N], rows: Vec<([String; N], Vec<String>)>) -> String {
    let mut all = vec![(titles.map(str::to_owned), Vec::new())];
    all.extend(rows.into_iter().map(|(row, notes)| {
        (row.map(|cell| printable(&cell)), notes.iter().map(|note| printable(note)).collect())
    }));
    let mut widths = [0; N];
    for (row, _) in &all {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let indent = widths.first().copied().unwrap_or_default();
    let mut text = String::new();
    for (row, notes) in all {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
        for note in notes {
            text.push_str(&format!("{:indent$}  {note}\n", ""));
        }
    }
    text
}
