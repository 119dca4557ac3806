//! From pictures whose channels lie one after another to such whose channels lie inside, and back.

use rayon::prelude::*;

use super::expect;
use crate::KernelError;

/// Pixels and channels of a square that is turned at once, so that both of its sides stay in the first cache.
const SIDE: usize = 32;

/// `x` `[N, C, H, W]` to `out` `[N, H, W, C]`; `pixels` is `H * W`.
///
/// # Errors
/// Slices of another length.
pub fn channels_inside([channels, pixels]: [usize; 2], x: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
    transposed([channels, pixels], x, out)
}

/// `x` `[N, H, W, C]` to `out` `[N, C, H, W]`; `pixels` is `H * W`.
///
/// # Errors
/// Slices of another length.
pub fn channels_outside([channels, pixels]: [usize; 2], x: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
    transposed([pixels, channels], x, out)
}

/// Turns each of the matrices `[rows, columns]` that lie one after another in `x`.
fn transposed([rows, columns]: [usize; 2], x: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
    let matrix = rows * columns;
    if matrix == 0 || !x.len().is_multiple_of(matrix) {
        return Err(KernelError::Shape(format!("channels last: {} values are no pictures of {matrix}", x.len())));
    }
    expect("the output", out.len(), x.len())?;
    if rows == 1 || columns == 1 {
        out.copy_from_slice(x);
        return Ok(());
    }
    out.par_chunks_mut(matrix).zip(x.par_chunks(matrix)).for_each(|(out, x)| {
        if rows == COLOURS {
            return interleave(columns, x, out);
        }
        out.par_chunks_mut(SIDE * rows).enumerate().for_each(|(band, out)| {
            for first in (0..rows).step_by(SIDE) {
                for (column, out) in out.chunks_exact_mut(rows).enumerate() {
                    let from = band * SIDE + column;
                    let rows = first..(first + SIDE).min(rows);
                    for (out, row) in out[rows.clone()].iter_mut().zip(rows) {
                        *out = x[row * columns + from];
                    }
                }
            }
        });
    });
    Ok(())
}

/// Channels of a picture in colour, with which nets begin.
const COLOURS: usize = 3;

/// Three planes to pixels of three values.
fn interleave(pixels: usize, x: &[f32], out: &mut [f32]) {
    let (red, rest) = x.split_at(pixels);
    let (green, blue) = rest.split_at(pixels);
    let (out, _) = out.as_chunks_mut::<COLOURS>();
    for (((out, red), green), blue) in out.iter_mut().zip(red).zip(green).zip(blue) {
        *out = [*red, *green, *blue];
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_where_it_was() {
        for [pictures, channels, pixels] in [[2, 3, 70], [1, 65, 33], [3, 1, 5], [2, 40, 1]] {
            let x: Vec<f32> = (0..pictures * channels * pixels).map(|value| value as f32).collect();
            let mut inside = vec![0.0; x.len()];
            channels_inside([channels, pixels], &x, &mut inside).unwrap();
            for (index, value) in x.iter().enumerate() {
                let (picture, channel, pixel) = (index / pixels / channels, index / pixels % channels, index % pixels);
                assert_eq!(inside[(picture * pixels + pixel) * channels + channel], *value);
            }
            let mut back = vec![0.0; x.len()];
            channels_outside([channels, pixels], &inside, &mut back).unwrap();
            assert_eq!(back, x);
        }
        assert!(channels_inside([2, 3], &[0.0; 7], &mut [0.0; 7]).is_err());
        assert!(channels_inside([2, 3], &[0.0; 6], &mut [0.0; 7]).is_err());
    }
}
