//! Medians of several runs, and Markdown.

use std::collections::BTreeMap;

/// Measured rows: a name, and one list of numbers for each run.
#[derive(Default)]
pub struct Rows {
    rows: BTreeMap<String, Vec<Vec<f64>>>,
}

impl Rows {
    /// Adds one run of one row.
    pub fn add(&mut self, name: &str, numbers: Vec<f64>) {
        self.rows.entry(name.to_owned()).or_default().push(numbers);
    }

    /// How many runs a row has.
    pub fn runs(&self, name: &str) -> usize {
        self.rows.get(name).map_or(0, Vec::len)
    }

    /// One column of a row, over its runs.
    pub fn column(&self, name: &str, column: usize) -> Vec<f64> {
        self.rows.get(name).into_iter().flatten().filter_map(|run| run.get(column).copied()).collect()
    }

    /// The median of one column.
    pub fn median(&self, name: &str, column: usize) -> f64 {
        median(&mut self.column(name, column))
    }

    /// The least and the greatest value of one column.
    pub fn range(&self, name: &str, column: usize) -> (f64, f64) {
        let column = self.column(name, column);
        (column.iter().copied().fold(f64::INFINITY, f64::min), column.iter().copied().fold(0.0, f64::max))
    }

    /// The median over the runs of this row's value divided by `other`'s of the same run.
    pub fn ratio(&self, name: &str, other: &str, column: usize) -> f64 {
        let pairs = self.column(name, column).into_iter().zip(self.column(other, column));
        median(&mut pairs.map(|(this, that)| this / that).collect::<Vec<_>>())
    }
}

/// The middle of some numbers; NaN of none.
pub fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match numbers {
        [] => f64::NAN,
        some if some.len() % 2 == 1 => some[some.len() / 2],
        some => (some[some.len() / 2 - 1] + some[some.len() / 2]) / 2.0,
    }
}
