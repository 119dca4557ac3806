//! RoIAlign (He et al. 2017, "Mask R-CNN", section 3): what lies in a box, as a map of a fixed size.
//!
//! The box is divided into bins, each value is the mean of samples at fixed places of its bin, and each sample is mixed of its four
//! pixels; nothing is rounded. The gradient goes to the map, not to the box. The kernel is the CPU's, on all cores; there is none
//! for a GPU yet, and what is on one is copied to the host and back.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::boxes::BoundingBox;
use crate::{computed, contiguous};

/// How a box is divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiAlignConfig {
    /// Rows of the result.
    pub height: usize,
    /// Columns of the result.
    pub width: usize,
    /// Pixels of the map to a pixel of the boxes, such as 1/16.
    pub scale: f32,
    /// Samples of a bin, down and across; 0 for as many as it has pixels.
    pub samples: usize,
    /// Whether the middle of a pixel lies at 0.5, and small boxes stay small. torchvision's Mask R-CNN has it false.
    pub aligned: bool,
}

/// A box, and the number of its picture in the batch.
pub type Region = (usize, BoundingBox);

/// What of `x` `[N, C, H, W]` lies in each region, `[R, C, height, width]`. Differentiable in `x`.
///
/// # Errors
/// No regions; one of a picture that is not there, or without area where `aligned`; other types than f32.
pub fn roi_align(x: &Tensor, regions: &[Region], config: RoiAlignConfig) -> Result<Tensor> {
    let (n, _, height, width) = x.dims4()?;
    if regions.is_empty() {
        candle_core::bail!("RoIAlign: there are no regions, and a tensor cannot be empty; leave the head out");
    }
    for (picture, region) in regions {
        if *picture >= n || !(region.area().is_finite() && region.width() >= 0.0 && region.height() >= 0.0) {
            candle_core::bail!("RoIAlign: {region:?} of picture {picture} of {n} is no region of the batch");
        }
    }
    let taps = regions.par_iter().map(|(picture, region)| (*picture, taps(region, config, height, width))).collect();
    x.contiguous()?.apply_op1(Forward { taps: Arc::new(taps), config, shape: x.shape().clone() })
}

/// A pixel of the map and its share in a value of the result.
type Tap = (u32, f32);

/// For each value of a region its pixels.
type Taps = Vec<Vec<Tap>>;

/// The pixels of all bins, row after row.
fn taps(region: &BoundingBox, config: RoiAlignConfig, height: usize, width: usize) -> Taps {
    let offset = if config.aligned { 0.5 } else { 0.0 };
    let least = if config.aligned { 0.0 } else { 1.0 };
    let (left, top) = (region.left * config.scale - offset, region.top * config.scale - offset);
    let size = |from: f32, to: f32| ((to * config.scale - offset) - (from * config.scale - offset)).max(least);
    let bin_height = size(region.top, region.bottom) / config.height as f32;
    let bin_width = size(region.left, region.right) / config.width as f32;
    let samples = |bin: f32| if config.samples > 0 { config.samples } else { bin.ceil() as usize };
    let (down, across) = (samples(bin_height), samples(bin_width));
    let share = 1.0 / (down * across).max(1) as f32;
    let mut bins = Vec::with_capacity(config.height * config.width);
    for row in 0..config.height {
        for column in 0..config.width {
            let mut pixels = Vec::with_capacity(4 * down * across);
            for y in 0..down {
                let y = top + row as f32 * bin_height + (y as f32 + 0.5) * bin_height / down as f32;
                let Some((rows, shares)) = neighbours(y, height) else { continue };
                for x in 0..across {
                    let x = left + column as f32 * bin_width + (x as f32 + 0.5) * bin_width / across as f32;
                    let Some((columns, across)) = neighbours(x, width) else { continue };
                    for (row, down) in rows.iter().zip(shares) {
                        for (column, across) in columns.iter().zip(across) {
                            pixels.push(((row * width + column) as u32, share * down * across));
                        }
                    }
                }
            }
            bins.push(pixels);
        }
    }
    bins
}

/// The two rows (or columns) beside a place, and their shares; none where it is more than one pixel outside.
fn neighbours(place: f32, size: usize) -> Option<([usize; 2], [f32; 2])> {
    if !(-1.0..=size as f32).contains(&place) {
        return None;
    }
    let place = place.max(0.0);
    let low = place as usize;
    if low + 1 >= size {
        return Some(([size - 1; 2], [1.0, 0.0]));
    }
    let far = place - low as f32;
    Some(([low, low + 1], [1.0 - far, far]))
}

struct Forward {
    taps: Arc<Vec<(usize, Taps)>>,
    config: RoiAlignConfig,
    /// Of the map.
    shape: Shape,
}

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "RoIAlign"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, channels, height, width) = xl.shape().dims4()?;
        let (plane, bins) = (height * width, self.config.height * self.config.width);
        let x = contiguous(x, xl, self.name())?;
        computed((self.taps.len(), channels, self.config.height, self.config.width).into(), |out| {
            out.par_chunks_mut(channels * bins).zip(self.taps.par_iter()).for_each(|(out, (picture, taps))| {
                for (channel, out) in out.chunks_mut(bins).enumerate() {
                    let map = &x[(picture * channels + channel) * plane..][..plane];
                    for (value, taps) in out.iter_mut().zip(taps) {
                        *value = taps.iter().map(|&(pixel, share)| share * map[pixel as usize]).sum();
                    }
                }
            });
            Ok(())
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &candle_core::CudaStorage, xl: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        use candle_core::backend::{BackendDevice, BackendStorage};
        let (out, shape) = self.cpu_fwd(&x.to_cpu_storage()?, xl)?;
        Ok((x.device().storage_from_cpu_storage_owned(out)?, shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let operator = Gradient { taps: self.taps.clone(), shape: self.shape.clone() };
        gradient.contiguous()?.apply_op1_no_bwd(&operator).map(Some)
    }
}

struct Gradient {
    taps: Arc<Vec<(usize, Taps)>>,
    shape: Shape,
}

impl CustomOp1 for Gradient {
    fn name(&self) -> &'static str {
        "RoIAlign gradient"
    }

    fn cpu_fwd(&self, d: &CpuStorage, dl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, channels, height, width) = self.shape.dims4()?;
        let (_, _, rows, columns) = dl.shape().dims4()?;
        let (plane, bins) = (height * width, rows * columns);
        let d = contiguous(d, dl, self.name())?;
        computed(self.shape.clone(), |out| {
            // A thread for each plane: none writes where another does, and the order of the sum is always the same.
            out.par_chunks_mut(plane).enumerate().for_each(|(index, out)| {
                let (picture, channel) = (index / channels, index % channels);
                let own = self.taps.iter().enumerate().filter(|(_, (of, _))| *of == picture);
                for (region, (_, taps)) in own {
                    let d = &d[(region * channels + channel) * bins..][..bins];
                    for (d, taps) in d.iter().zip(taps) {
                        taps.iter().for_each(|&(pixel, share)| out[pixel as usize] += share * d);
                    }
                }
            });
            Ok(())
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, d: &candle_core::CudaStorage, dl: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        use candle_core::backend::{BackendDevice, BackendStorage};
        let (out, shape) = self.cpu_fwd(&d.to_cpu_storage()?, dl)?;
        Ok((d.device().storage_from_cpu_storage_owned(out)?, shape))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::seeded;

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let config = RoiAlignConfig { height: 3, width: 2, scale: 0.5, samples: 2, aligned: false };
        let region = |left, top, right, bottom| BoundingBox { left, top, right, bottom };
        let regions =
            [(0, region(1.0, 2.0, 9.0, 7.5)), (1, region(-3.0, 0.0, 30.0, 4.0)), (0, region(5.0, 5.0, 5.5, 5.2))];
        let start = seeded::normal((2, 2, 6, 7), 1.0, 1, &Device::Cpu).unwrap();
        let pull = seeded::normal((3, 2, 3, 2), 1.0, 2, &Device::Cpu).unwrap();
        let value = |x: &Tensor| (roi_align(x, &regions, config).unwrap() * &pull).unwrap().sum_all().unwrap();
        let x = Var::from_tensor(&start).unwrap();
        let gradient = value(&x).backward().unwrap().get(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let flat = start.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for place in (0..flat.len()).step_by(5) {
            // It is linear in the map, so that a large step is as good as a small one.
            let moved = |step: f32| {
                let mut values = flat.clone();
                values[place] += step;
                let x = Tensor::from_vec(values, (2, 2, 6, 7), &Device::Cpu).unwrap();
                value(&x).to_scalar::<f32>().unwrap()
            };
            let expected = (moved(1.0) - moved(-1.0)) / 2.0;
            assert!((gradient[place] - expected).abs() < 1e-4, "{place}: {} {expected}", gradient[place]);
        }
    }

    #[test]
    fn a_map_that_rises_evenly_gives_the_middles_of_the_bins() {
        let ramp: Vec<f32> = (0..64).map(|at| (at % 8) as f32).collect();
        let x = Tensor::from_vec(ramp, (1, 1, 8, 8), &Device::Cpu).unwrap();
        let config = RoiAlignConfig { height: 1, width: 3, scale: 1.0, samples: 0, aligned: true };
        let whole = [(0, BoundingBox { left: 1.5, top: 2.0, right: 7.5, bottom: 4.0 })];
        let got = roi_align(&x, &whole, config).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(got, [2.0, 4.0, 6.0]);
    }

    #[test]
    fn what_is_no_region_is_refused() {
        let x = Tensor::zeros((1, 1, 4, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
        let config = RoiAlignConfig { height: 1, width: 1, scale: 1.0, samples: 2, aligned: false };
        let whole = BoundingBox { left: 0.0, top: 0.0, right: 4.0, bottom: 4.0 };
        for regions in [vec![], vec![(1, whole)], vec![(0, BoundingBox { left: f32::NAN, ..whole })]] {
            let error = roi_align(&x, &regions, config).unwrap_err().to_string();
            assert!(error.contains("region"), "{error}");
        }
        // A box of no width counts as one pixel wide.
        assert!(roi_align(&x, &[(0, BoundingBox { right: 0.0, ..whole })], config).is_ok());
    }
}
