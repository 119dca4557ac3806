//! Values times a factor of their channel, as squeeze and excitation has it (Hu et al. 2018), or of their pixel, as attention gates do
//! (Oktay et al. 2018).

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::expect;
use crate::{KernelError, simd::dispatch};

/// Pixels of a task.
const TASK_PIXELS: usize = 1024;

/// Whose factors they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factors {
    /// `[N, C]`
    Channels,
    /// `[N, H, W]`
    Pixels,
}

/// `x` `[N, H, W, C]` times its factors; `pixels` is `H * W`.
///
/// # Errors
/// Slices of another length.
pub fn scale(
    kind: Factors,
    [pixels, channels]: [usize; 2],
    x: &[f32],
    factors: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    let picture = pixels * channels;
    if picture == 0 || !x.len().is_multiple_of(picture) {
        return Err(KernelError::Shape(format!("channels last: {} values are no pictures of {picture}", x.len())));
    }
    let mine = match kind {
        Factors::Channels => channels,
        Factors::Pixels => pixels,
    };
    expect("the factors", factors.len(), x.len() / picture * mine)?;
    expect("the output", out.len(), x.len())?;
    let pictures = out.par_chunks_mut(picture).zip(x.par_chunks(picture)).zip(factors.par_chunks(mine));
    pictures.for_each(|((out, x), factors)| {
        let task = TASK_PIXELS * channels;
        out.par_chunks_mut(task).zip(x.par_chunks(task)).enumerate().for_each(|(index, (out, x))| {
            let factors = match kind {
                Factors::Channels => factors,
                Factors::Pixels => &factors[index * TASK_PIXELS..],
            };
            dispatch(Task { kind, channels, x, factors, out });
        });
    });
    Ok(())
}

/// Some pixels of a picture.
struct Task<'a> {
    kind: Factors,
    channels: usize,
    x: &'a [f32],
    factors: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { kind, channels, x, factors, out } = self;
        for (pixel, (out, x)) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).enumerate() {
            match kind {
                Factors::Channels => {
                    for ((out, x), factor) in out.iter_mut().zip(x).zip(factors) {
                        *out = x * factor;
                    }
                }
                Factors::Pixels => {
                    let factor = factors[pixel];
                    for (out, x) in out.iter_mut().zip(x) {
                        *out = x * factor;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn every_value_meets_its_factor() {
        for [pictures, pixels, channels] in [[1, 1, 1], [2, 1030, 3], [3, 7, 37], [2, 2500, 16]] {
            let x: Vec<f32> = (0..pictures * pixels * channels).map(|value| value as f32 - 100.0).collect();
            for kind in [Factors::Channels, Factors::Pixels] {
                let mine = if kind == Factors::Channels { channels } else { pixels };
                let factors: Vec<f32> = (0..pictures * mine).map(|value| value as f32 * 0.5 - 3.0).collect();
                let mut out = vec![f32::NAN; x.len()];
                scale(kind, [pixels, channels], &x, &factors, &mut out).unwrap();
                for (index, (got, x)) in out.iter().zip(&x).enumerate() {
                    let (pixel, channel) = (index / channels, index % channels);
                    let factor = match kind {
                        Factors::Channels => factors[pixel / pixels * channels + channel],
                        Factors::Pixels => factors[pixel],
                    };
                    assert_eq!(*got, x * factor, "{kind:?} {index}");
                }
                assert!(scale(kind, [pixels, channels], &x, &factors[1..], &mut out).is_err());
            }
        }
        assert!(scale(Factors::Pixels, [4, 2], &[0.0; 9], &[0.0; 4], &mut [0.0; 9]).is_err());
    }
}
