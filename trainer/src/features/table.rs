//! Pooled features of the pictures that passed the quality check: what linear heads are fitted to.

use super::{format::FeatureRow, format::State, store::FeatureStore};
use crate::data::{Label, Split};

/// Pictures with their features.
pub struct FeatureTable {
    /// The pictures, without those that failed the quality check.
    pub rows: Vec<FeatureRow>,
    /// Length of each row of `values`.
    pub columns: usize,
    /// Features, row by row.
    pub values: Vec<f32>,
}

impl FeatureTable {
    /// The mean of every channel of every picture of `store` that passed the quality check, and of its first `copies` changed copies.
    pub fn pooled(store: &FeatureStore, copies: u16) -> Self {
        let [columns, ..] = store.shape();
        let mut table = Self { rows: vec![], columns, values: vec![] };
        let wanted = |row: usize| store.contents().rows[row].copy <= copies;
        let passed = (0..store.rows()).filter(|&row| wanted(row) && store.state(row) == State::Extracted);
        let mut values = vec![0f32; columns];
        for row in passed {
            store.pooled(row, &mut values);
            table.values.extend(&values);
            table.rows.push(store.contents().rows[row].clone());
        }
        table
    }

    /// The rows of one split and their numbers.
    pub fn split(&self, split: Split) -> impl Iterator<Item = (usize, &FeatureRow)> {
        self.rows.iter().enumerate().filter(move |(_, row)| row.split == split)
    }

    /// FeatureRow `index`.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.columns..][..self.columns]
    }
}

impl FeatureRow {
    /// Whether it shows the disease.
    pub fn positive(&self) -> bool {
        self.label == Label::Positive
    }
}
