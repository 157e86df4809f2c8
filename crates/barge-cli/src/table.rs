//! Tables: columns as wide as their widest cell, two spaces between them, nothing at the ends of lines.

use crate::terminal::{Paint, Style, printable};

/// A cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell in a style.
    pub(crate) fn styled(style: Style, text: impl Into<String>) -> Self {
        Self { text: printable(&text.into()), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(Style::Plain, text)
    }
}

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<Cell>),
    Note(String),
}

impl Row {
    fn cells(&self) -> &[Cell] {
        match self {
            Row::Cells(cells) => cells,
            Row::Note(_) => &[],
        }
    }
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let headings = headings.iter().map(|heading| Cell::styled(Style::Dim, *heading)).collect();
        Self { rows: vec![Row::Cells(headings)] }
    }

    /// A table without headings.
    pub(crate) fn bare() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(Row::Cells(cells.into_iter().collect()));
    }

    /// Adds a remark on the row before, as wide as it likes.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.rows.push(Row::Note(printable(&text.into())));
    }

    /// The lines, each beginning with `indent`.
    pub(crate) fn render(&self, paint: Paint, indent: &str) -> String {
        let columns = self.rows.iter().map(|row| row.cells().len()).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells().get(column));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(indent);
            if let Row::Note(note) = row {
                text.push_str(&format!("  {}\n", paint.paint(Style::Dim, note)));
                continue;
            }
            let row = row.cells();
            let last = row.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
            for (column, cell) in row.iter().enumerate().take(last + 1) {
                text.push_str(&paint.paint(cell.style, &cell.text));
                if column < last {
                    // Padding is counted without the colours.
                    text.push_str(&" ".repeat(widths[column] - cell.text.chars().count() + 2));
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_written_stays_in_its_cell() {
        let mut table = Table::bare();
        table.row(["a\x1b[2J\x1b]0;title\x07b".into(), "c\nd".into()]);
        table.note("e\x1b[31m\r\nf");
        assert_eq!(table.render(Paint(false), ""), "a]0;titleb  c d\n  e f\n");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_whatever_its_colour() {
        let mut table = Table::new(&["NAME", "STATE", ""]);
        table.row(["a".into(), Cell::styled(Style::Green, "ready"), "".into()]);
        table.note("a remark that is wider than any column");
        table.row(["longer".into(), "x".into(), "end".into()]);
        insta::assert_snapshot!(table.render(Paint(false), ""), @r"
        NAME    STATE
        a       ready
          a remark that is wider than any column
        longer  x      end
        ");
        assert!(table.render(Paint(true), "").contains("\x1b[32mready\x1b[0m\n"));
    }
}
