//! The linear Gram matrix: the inner products of all pictures' features.
//!
//! Distances and both kernels follow from it, so it holds all that kNN, the support vector machines and the first layer of the
//! perceptron need of a hundred thousand columns. It is computed once, kept in the run's folder, and every run looks up the rows
//! that it drew.

use std::path::Path;

use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};
use thorax_files::{hexadecimal, write_atomically};
use thorax_nn::matmul::{View, multiply};

use super::{
    ClassifierError,
    problem::Problem,
    standard::{BLOCK, Standard, Standardised, blocks},
};

/// Rows of a tile, at most: with two blocks of f32, a product and its f64 sums, 20 MiB a thread.
const TILE: usize = 1024;

/// Inner products of the standardised features, with the standard they are in.
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    /// N.
    pub len: usize,
    /// `[N, N]`, symmetric.
    pub values: Vec<f32>,
    /// The terms of the columns.
    pub standard: Standard,
}

impl Gram {
    /// From the file `path` when it is that of this problem; else computed, and written there.
    ///
    /// # Errors
    /// [`ClassifierError::NotFinite`]; a store that cannot be read; a file that cannot be written.
    pub fn open(path: &Path, problem: &Problem, standardise: bool) -> Result<Self, ClassifierError> {
        let key = key(problem, standardise);
        if let Some(gram) = Self::read(path, &key, problem) {
            return Ok(gram);
        }
        let gram = Self::compute(problem, standardise)?;
        gram.write(path, &key)?;
        Ok(gram)
    }

    /// Computes it.
    ///
    /// Products of a block of columns are f32, the sums over the blocks f64. Only tiles on and below the diagonal are computed.
    ///
    /// # Errors
    /// [`ClassifierError::NotFinite`]; a store that cannot be read.
    pub fn compute(problem: &Problem, standardise: bool) -> Result<Self, ClassifierError> {
        let standard = Standard::of(problem, standardise)?;
        let (len, columns) = (problem.len(), problem.columns());
        let mut values = vec![0f32; len * len];
        {
            let features = Standardised::open(problem, &standard)?;
            // Some tiles for each thread, as they are not equally large.
            let tile = len.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(16).min(TILE);
            let tiles: Vec<(usize, usize)> = (0..len)
                .step_by(tile)
                .flat_map(|row| (0..=row).step_by(tile).map(move |column| (row, column)))
                .collect();
            let bar = crate::progress::progress(tiles.len(), "Gram matrix");
            let products: Vec<((usize, usize), Vec<f32>)> = tiles
                .into_par_iter()
                .map(|(row, column)| {
                    let (rows, others) = (row..(row + tile).min(len), column..(column + tile).min(len));
                    let product = inner_products(&features, rows, others, columns);
                    bar.inc(1);
                    ((row, column), product)
                })
                .collect();
            bar.finish_and_clear();
            for ((row, column), product) in products {
                let width = tile.min(len - column);
                for (r, line) in product.chunks_exact(width).enumerate() {
                    values[(row + r) * len + column..][..width].copy_from_slice(line);
                    line.iter().enumerate().for_each(|(c, &value)| values[(column + c) * len + row + r] = value);
                }
            }
        }
        Ok(Self { len, values, standard })
    }

    /// Row `index`: the inner products of a picture with all.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.len..][..self.len]
    }

    /// The squared lengths of all pictures.
    pub fn diagonal(&self) -> Vec<f32> {
        (0..self.len).map(|index| self.values[index * self.len + index]).collect()
    }

    fn write(&self, path: &Path, key: &str) -> Result<(), ClassifierError> {
        let bytes = |numbers: &[f32]| bytemuck::cast_slice::<f32, u8>(numbers).to_vec();
        let (gram, mean, scale) = (&self.values, bytes(&self.standard.mean), bytes(&self.standard.scale));
        let variance = self.standard.variance.to_le_bytes();
        let malformed = |error| malformed(path, error);
        let columns = self.standard.mean.len();
        let tensors = [
            ("gram", TensorView::new(Dtype::F32, vec![self.len; 2], bytemuck::cast_slice(gram)).map_err(malformed)?),
            ("mean", TensorView::new(Dtype::F32, vec![columns], &mean).map_err(malformed)?),
            ("scale", TensorView::new(Dtype::F32, vec![columns], &scale).map_err(malformed)?),
            ("variance", TensorView::new(Dtype::F64, vec![1], &variance).map_err(malformed)?),
        ];
        let metadata = [("key".to_owned(), key.to_owned())].into();
        let file = safetensors::serialize(tensors, Some(metadata)).map_err(malformed)?;
        Ok(write_atomically(path, |out| out.write_all(&file))?)
    }

    /// What is in the file, if it is whole and of this problem; else it is computed anew.
    fn read(path: &Path, key: &str, problem: &Problem) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let (_, header) = SafeTensors::read_metadata(&bytes).ok()?;
        if header.metadata().as_ref()?.get("key")? != key {
            return None;
        }
        let tensors = SafeTensors::deserialize(&bytes).ok()?;
        let numbers = |name: &str, length: usize| -> Option<Vec<f32>> {
            let tensor = tensors.tensor(name).ok().filter(|tensor| tensor.dtype() == Dtype::F32)?;
            let numbers: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
            (numbers.len() == length && numbers.iter().all(|number| number.is_finite())).then_some(numbers)
        };
        let (len, columns) = (problem.len(), problem.columns());
        let variance = f64::from_le_bytes(tensors.tensor("variance").ok()?.data().try_into().ok()?);
        let standard = Standard { mean: numbers("mean", columns)?, scale: numbers("scale", columns)?, variance };
        Some(Self { len, values: numbers("gram", len * len)?, standard })
    }
}

/// `[rows, others]` inner products.
fn inner_products(
    features: &Standardised<'_>,
    rows: std::ops::Range<usize>,
    others: std::ops::Range<usize>,
    columns: usize,
) -> Vec<f32> {
    let (height, width) = (rows.len(), others.len());
    let mut left = vec![0f32; height * BLOCK];
    let mut right = vec![0f32; width * BLOCK];
    let mut product = vec![0f32; height * width];
    let mut sums = vec![0f64; height * width];
    for block in blocks(columns) {
        let depth = block.len();
        features.fill(rows.clone(), block.clone(), &mut left[..height * depth]);
        features.fill(others.clone(), block, &mut right[..width * depth]);
        multiply(
            (&mut product, View::row_major(height, width)),
            false,
            (&left[..height * depth], View::row_major(height, depth)),
            (&right[..width * depth], View::row_major(width, depth).transposed()),
            false,
        );
        sums.iter_mut().zip(&product).for_each(|(sum, &part)| *sum += f64::from(part));
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// What the matrix depends on: the features, which of them, and the terms they are in.
fn key(problem: &Problem, standardise: bool) -> String {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(&problem.contents).unwrap_or_default());
    for (row, training) in problem.rows.iter().zip(problem.training()) {
        hash.update((*row as u64).to_le_bytes());
        hash.update([u8::from(training)]);
    }
    hash.update([u8::from(standardise)]);
    hexadecimal(&hash.finalize())
}

fn malformed(path: &Path, error: impl std::fmt::Display) -> ClassifierError {
    ClassifierError::Malformed { path: path.to_owned(), reason: error.to_string() }
}
