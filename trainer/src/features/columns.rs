//! Columns of a store, which lies row by row: a tree asks for one number of every picture.
//!
//! A column alone would read a page for each of its numbers, so columns are made in blocks: a strip of neighbouring columns
//! is read from every row and turned in the processor's cache, tile by tile. Strips side by side are made at the same time,
//! one band of the file after the other, so that a page is read once even where memory does not hold the file.

use std::ops::Range;

use rayon::prelude::*;

use super::store::FeatureStore;

/// Columns of a strip: of half precision, four lines of the cache from each row.
const STRIP: usize = 128;

/// Rows of a tile: of f32, a line of the cache in each column.
const TILE_ROWS: usize = 16;

/// Bytes of memory that the strips of all threads may take together.
const MEMORY: usize = 256 << 20;

/// Columns of a band: some pages from each row.
const BAND: usize = 4096;

impl FeatureStore {
    /// Calls `work` with the number of each column of `columns` and its numbers, one a row, as f32: from several threads, in
    /// no certain order. Takes a strip of 128 columns a thread (fewer where there are very many rows), and reads each page once.
    ///
    /// # Panics
    /// When there are no such columns.
    pub fn for_columns(&self, columns: Range<usize>, work: impl Fn(usize, &[f32]) + Sync) {
        assert!(columns.end <= self.columns(), "columns {columns:?} of {}", self.columns());
        let rows = self.rows();
        let affordable = MEMORY / (4 * rows * rayon::current_num_threads());
        let strip = affordable.clamp(1, STRIP);
        for first in columns.clone().step_by(BAND) {
            let band = first..(first + BAND).min(columns.end);
            let strips: Vec<usize> = band.clone().step_by(strip).collect();
            strips.into_par_iter().for_each_init(
                || vec![0f32; strip * rows],
                |turned, first| {
                    let range = first..(first + strip).min(band.end);
                    self.turn(range.clone(), turned);
                    range.zip(turned.chunks_exact(rows)).for_each(|(column, values)| work(column, values));
                },
            );
        }
    }

    /// Puts columns into `out`, one after the other.
    fn turn(&self, columns: Range<usize>, out: &mut [f32]) {
        let (rows, width) = (self.rows(), columns.len());
        let mut tile = [[0f32; STRIP]; TILE_ROWS];
        for first in (0..rows).step_by(TILE_ROWS) {
            let height = TILE_ROWS.min(rows - first);
            for (row, line) in (first..first + height).zip(&mut tile) {
                self.row(row).part(columns.clone()).write_f32(&mut line[..width]);
            }
            for (column, values) in out.chunks_exact_mut(rows).take(width).enumerate() {
                let values = &mut values[first..first + height];
                values.iter_mut().zip(&tile).for_each(|(value, line)| *value = line[column]);
            }
        }
    }

    /// Puts column `column` into `out`, one number a row. Reads a page a row: for some columns here and there.
    ///
    /// # Panics
    /// When there is no such column, or `out` is not as long as there are rows.
    pub fn column(&self, column: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.rows(), "one number a row");
        out.iter_mut().enumerate().for_each(|(row, out)| *out = self.row(row).at(column));
    }
}
