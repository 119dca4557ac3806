//! The columns' mean and standard deviation over the training pictures, and blocks of the features in these terms.
//!
//! The store is never copied: whoever needs its numbers asks for a block of columns of some rows, as f32.

use std::ops::Range;

use rayon::prelude::*;

use super::{ClassifierError, problem::Problem};
use crate::features::FeatureStore;

/// Columns of a block: with a thousand rows, 4 MiB of f32.
pub(super) const BLOCK: usize = 1024;

/// How a column becomes one of mean 0 and variance 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Standard {
    /// `[columns]`.
    pub mean: Vec<f32>,
    /// `[columns]`: 1 over the standard deviation, 1 where that is 0.
    pub scale: Vec<f32>,
    /// Variance of all numbers of the training pictures together, after standardising.
    pub variance: f64,
}

/// An opened store, whose numbers are read in the terms of a [`Standard`].
///
/// Opening is cheap, and closing gives the mapped pages back: what was read no longer counts as this process's memory.
pub struct Standardised<'a> {
    problem: &'a Problem,
    standard: &'a Standard,
    store: FeatureStore,
}

impl Standard {
    /// Looks once at every number. Sums are f64.
    ///
    /// # Errors
    /// [`ClassifierError::NotFinite`] for the first picture with a NaN or an infinite feature; a store that cannot be read.
    pub fn of(problem: &Problem, standardise: bool) -> Result<Self, ClassifierError> {
        let store = FeatureStore::open(&problem.store)?;
        let columns = problem.columns();
        let training: Vec<usize> = problem.training().iter().enumerate().filter(|(_, t)| **t).map(|(i, _)| i).collect();
        (0..problem.len()).into_par_iter().try_for_each_init(
            || vec![0f32; columns],
            |numbers, index| {
                store.row(problem.rows[index]).write_f32(numbers);
                numbers.iter().position(|number| !number.is_finite()).map_or(Ok(()), |column| {
                    let picture = problem.pictures[index].path.clone();
                    let (store, value) = (problem.store.clone(), numbers[column]);
                    Err(ClassifierError::NotFinite { store, picture, column, value })
                })
            },
        )?;
        // One task a band of columns, rows in order: the sums do not depend on the number of threads.
        let bands: Vec<Range<usize>> = blocks(columns).collect();
        let moments: Vec<(f64, f64)> = bands
            .into_par_iter()
            .flat_map_iter(|band| {
                let mut moments = vec![(0f64, 0f64); band.len()];
                let mut numbers = vec![0f32; band.len()];
                for &index in &training {
                    store.row(problem.rows[index]).part(band.clone()).write_f32(&mut numbers);
                    for ((sum, squares), &number) in moments.iter_mut().zip(&numbers) {
                        *sum += f64::from(number);
                        *squares += f64::from(number) * f64::from(number);
                    }
                }
                moments
            })
            .collect();
        let count = training.len() as f64;
        let moments: Vec<(f64, f64)> = moments
            .into_iter()
            .map(|(sum, squares)| (sum / count, (squares / count - (sum / count).powi(2)).max(0.0)))
            .collect();
        if standardise {
            // Rounding leaves a constant column a variance of about 1e-16 of its square.
            let constant = |&(mean, variance): &(f64, f64)| variance <= 1e-12 * mean * mean;
            let varying = moments.iter().filter(|m| !constant(m)).count();
            return Ok(Self {
                mean: moments.iter().map(|m| m.0 as f32).collect(),
                scale: moments.iter().map(|m| if constant(m) { 1.0 } else { 1.0 / m.1.sqrt() as f32 }).collect(),
                variance: varying as f64 / columns as f64,
            });
        }
        let share = 1.0 / columns as f64;
        let mean: f64 = moments.iter().map(|m| m.0 * share).sum();
        let variance = moments.iter().map(|&(m, v)| (v + (m - mean).powi(2)) * share).sum();
        Ok(Self { mean: vec![0.0; columns], scale: vec![1.0; columns], variance })
    }

    /// Standardises a picture's numbers of `columns` in place.
    pub fn apply(&self, columns: Range<usize>, numbers: &mut [f32]) {
        let terms = self.mean[columns.clone()].iter().zip(&self.scale[columns]);
        numbers.iter_mut().zip(terms).for_each(|(number, (mean, scale))| *number = (*number - mean) * scale);
    }
}

impl<'a> Standardised<'a> {
    /// Opens the store of `problem`.
    ///
    /// # Errors
    /// When it cannot be read any more.
    pub fn open(problem: &'a Problem, standard: &'a Standard) -> Result<Self, ClassifierError> {
        Ok(Self { problem, standard, store: FeatureStore::open(&problem.store)? })
    }

    /// Puts the numbers of picture `index` in `columns` into `out`.
    pub fn write(&self, index: usize, columns: Range<usize>, out: &mut [f32]) {
        self.store.row(self.problem.rows[index]).part(columns.clone()).write_f32(out);
        self.standard.apply(columns, out);
    }

    /// Puts the numbers of the pictures `rows` in `columns` into `out`, `[rows, columns]`.
    pub fn fill(&self, rows: Range<usize>, columns: Range<usize>, out: &mut [f32]) {
        let width = columns.len();
        rows.zip(out.chunks_exact_mut(width)).for_each(|(index, out)| self.write(index, columns.clone(), out));
    }

    /// As [`Self::fill`], with all threads.
    pub fn par_fill(&self, rows: Range<usize>, columns: Range<usize>, out: &mut [f32]) {
        let first = rows.start;
        let width = columns.len();
        out.par_chunks_exact_mut(width)
            .take(rows.len())
            .enumerate()
            .for_each(|(row, out)| self.write(first + row, columns.clone(), out));
    }
}

/// All columns, block by block.
pub fn blocks(columns: usize) -> impl Iterator<Item = Range<usize>> {
    (0..columns).step_by(BLOCK).map(move |first| first..(first + BLOCK).min(columns))
}
