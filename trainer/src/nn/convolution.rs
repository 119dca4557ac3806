//! Two-dimensional convolution on the CPU, forward and backward.
//!
//! candle's CPU convolution has slow gradients and walks grouped convolutions one group at a time. Here a dense
//! convolution is a matrix product over patches (im2col, a few output rows at a time so that the patches stay in the
//! cache), its two gradients are the two transposed products, and a depthwise convolution is a direct loop.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    contiguous,
    matmul::{View, multiply},
    with_values,
};

/// Rows of zeros around the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Above.
    pub top: usize,
    /// On the left.
    pub left: usize,
    /// Below.
    pub bottom: usize,
    /// On the right.
    pub right: usize,
}

impl Padding {
    /// The same on all four sides.
    pub const fn all(size: usize) -> Self {
        Self { top: size, left: size, bottom: size, right: size }
    }

    /// TensorFlow's `SAME`: the output has `ceil(size / stride)` pixels, the odd row of zeros goes below and right.
    pub fn same(size: usize, kernel: usize, stride: usize) -> Self {
        let total = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
        Self { top: total / 2, left: total / 2, bottom: total.div_ceil(2), right: total.div_ceil(2) }
    }
}

/// How the kernel moves over the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionConfig {
    /// Step, down and across.
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: Padding,
    /// 1 (dense), or the number of channels (depthwise).
    pub groups: usize,
}

impl ConvolutionConfig {
    /// Dense, stride 1, output as large as the input for an odd `kernel`.
    pub const fn dense(kernel: usize) -> Self {
        Self { stride: 1, padding: Padding::all(kernel / 2), groups: 1 }
    }
}

/// `x` `[N, C_in, H, W]` convolved with `weight` `[C_out, C_in / groups, K_h, K_w]`, giving `[N, C_out, H', W']`.
///
/// Differentiable in both. On the CPU groups is 1 or `C_in` = `C_out` (depthwise).
///
/// # Errors
/// Shapes that do not fit; a kernel larger than the padded picture; on the CPU, other groupings and other types than f32.
pub fn convolution(x: &Tensor, weight: &Tensor, config: ConvolutionConfig) -> Result<Tensor> {
    if x.device().is_cpu() {
        return x.contiguous()?.apply_op2(&weight.contiguous()?, Convolution(config));
    }
    let p = config.padding;
    x.pad_with_zeros(2, p.top, p.bottom)?.pad_with_zeros(3, p.left, p.right)?.conv2d(
        weight,
        0,
        config.stride,
        1,
        config.groups,
    )
}

struct Convolution(ConvolutionConfig);

/// All sizes of one call.
#[derive(Clone, Copy)]
struct Geometry {
    batch: usize,
    channels_in: usize,
    channels_out: usize,
    height: usize,
    width: usize,
    kernel_height: usize,
    kernel_width: usize,
    height_out: usize,
    width_out: usize,
    stride: usize,
    padding: Padding,
    depthwise: bool,
}

impl Geometry {
    fn new(x: &Shape, weight: &Shape, config: ConvolutionConfig) -> Result<Self> {
        let (batch, channels_in, height, width) = x.dims4()?;
        let (channels_out, channels_per_group, kernel_height, kernel_width) = weight.dims4()?;
        let ConvolutionConfig { stride, padding, groups } = config;
        let depthwise = groups > 1;
        if groups == 0 || stride == 0 || channels_per_group * groups != channels_in {
            candle_core::bail!("convolution: input {x:?} does not fit weight {weight:?} with {config:?}");
        }
        if depthwise && (groups != channels_in || channels_out != channels_in) {
            candle_core::bail!(
                "convolution: {groups} groups of {channels_in} channels: only dense and depthwise are done"
            );
        }
        let padded_height = height + padding.top + padding.bottom;
        let padded_width = width + padding.left + padding.right;
        if padded_height < kernel_height || padded_width < kernel_width || kernel_height * kernel_width == 0 {
            candle_core::bail!("convolution: input {x:?} is smaller than weight {weight:?} with {config:?}");
        }
        Ok(Self {
            batch,
            channels_in,
            channels_out,
            height,
            width,
            kernel_height,
            kernel_width,
            height_out: (padded_height - kernel_height) / stride + 1,
            width_out: (padded_width - kernel_width) / stride + 1,
            stride,
            padding,
            depthwise,
        })
    }

    fn pixels_in(&self) -> usize {
        self.height * self.width
    }

    fn pixels_out(&self) -> usize {
        self.height_out * self.width_out
    }

    fn taps(&self) -> usize {
        self.kernel_height * self.kernel_width
    }

    /// Rows of the patch matrix of a dense convolution.
    fn patch(&self) -> usize {
        self.channels_in * self.taps()
    }

    /// The patches of a 1x1 convolution are the picture itself.
    fn is_pointwise(&self) -> bool {
        self.taps() == 1 && self.stride == 1 && self.padding == Padding::all(0)
    }

    /// Output rows a tile, so that a tile of patches is about half of a usual 1 MiB second-level cache.
    fn tile_rows(&self) -> usize {
        (131_072 / (self.patch() * self.width_out).max(1)).clamp(1, self.height_out)
    }

    /// The input row under output row `y` and kernel row `ky`, if it is not padding.
    fn source_row(&self, y: usize, ky: usize) -> Option<usize> {
        (y * self.stride + ky).checked_sub(self.padding.top).filter(|&row| row < self.height)
    }

    /// The output columns whose input column under kernel column `kx` is not padding, and the first such input column.
    fn source_columns(&self, kx: usize) -> (std::ops::Range<usize>, usize) {
        let first = self.padding.left.saturating_sub(kx).div_ceil(self.stride).min(self.width_out);
        let reach = self.width + self.padding.left;
        let end = if reach > kx { (reach - kx).div_ceil(self.stride).min(self.width_out) } else { 0 };
        let end = end.max(first);
        (first..end, (first * self.stride + kx).saturating_sub(self.padding.left))
    }

    /// Writes the patches under output rows `rows`: `[C_in * K_h * K_w, rows * W']`.
    fn gather(&self, picture: &[f32], rows: std::ops::Range<usize>, patches: &mut [f32]) {
        let tile = rows.len() * self.width_out;
        for (index, patch_row) in patches.chunks_exact_mut(tile).enumerate() {
            let (channel, ky, kx) =
                (index / self.taps(), index % self.taps() / self.kernel_width, index % self.kernel_width);
            let plane = &picture[channel * self.pixels_in()..][..self.pixels_in()];
            let (columns, x0) = self.source_columns(kx);
            for (y, line) in rows.clone().zip(patch_row.chunks_exact_mut(self.width_out)) {
                let Some(row) = self.source_row(y, ky) else {
                    line.fill(0.0);
                    continue;
                };
                let source = &plane[row * self.width..][..self.width];
                line[..columns.start].fill(0.0);
                line[columns.end..].fill(0.0);
                let line = &mut line[columns.clone()];
                if self.stride == 1 {
                    line.copy_from_slice(&source[x0..x0 + line.len()]);
                } else {
                    for (value, source) in line.iter_mut().zip(source[x0.min(self.width)..].iter().step_by(self.stride))
                    {
                        *value = *source;
                    }
                }
            }
        }
    }

    /// The reverse of [`Self::gather`]: adds each patch value to the pixel it came from.
    fn scatter(&self, patches: &[f32], rows: std::ops::Range<usize>, picture: &mut [f32]) {
        let tile = rows.len() * self.width_out;
        for (index, patch_row) in patches.chunks_exact(tile).enumerate() {
            let (channel, ky, kx) =
                (index / self.taps(), index % self.taps() / self.kernel_width, index % self.kernel_width);
            let plane = &mut picture[channel * self.height * self.width..][..self.height * self.width];
            let (columns, x0) = self.source_columns(kx);
            for (y, line) in rows.clone().zip(patch_row.chunks_exact(self.width_out)) {
                let Some(row) = self.source_row(y, ky) else { continue };
                let target = &mut plane[row * self.width..][..self.width];
                add_strided(&mut target[x0.min(self.width)..], self.stride, &line[columns.clone()]);
            }
        }
    }

    fn tiles(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let (step, end) = (self.tile_rows(), self.height_out);
        (0..end).step_by(step).map(move |start| start..(start + step).min(end))
    }

    fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut output = vec![0f32; self.batch * self.channels_out * self.pixels_out()];
        if self.depthwise {
            output.par_chunks_mut(self.pixels_out()).enumerate().for_each(|(index, out)| {
                let picture = &x[index * self.pixels_in()..][..self.pixels_in()];
                let kernel = &weight[index % self.channels_in * self.taps()..][..self.taps()];
                self.depthwise_forward(picture, kernel, out);
            });
            return output;
        }
        // One image a thread where there are enough of them; otherwise the threads share each product.
        let share = self.batch < rayon::current_num_threads();
        let image = |(index, out): (usize, &mut [f32])| {
            let picture = &x[index * self.channels_in * self.pixels_in()..][..self.channels_in * self.pixels_in()];
            let lhs = (weight, View::row_major(self.channels_out, self.patch()));
            if self.is_pointwise() {
                let d = View::row_major(self.channels_out, self.pixels_out());
                let r = View::row_major(self.patch(), self.pixels_out());
                return multiply((out, d), false, lhs, (picture, r), share);
            }
            let mut patches = vec![0f32; self.patch() * self.tile_rows() * self.width_out];
            for rows in self.tiles() {
                let tile = rows.len() * self.width_out;
                let patches = &mut patches[..self.patch() * tile];
                self.gather(picture, rows.clone(), patches);
                let d =
                    View { rows: self.channels_out, columns: tile, row_stride: self.pixels_out(), column_stride: 1 };
                let out = &mut out[rows.start * self.width_out..];
                multiply((out, d), false, lhs, (patches, View::row_major(self.patch(), tile)), share);
            }
        };
        let chunk = self.channels_out * self.pixels_out();
        if share {
            output.chunks_mut(chunk).enumerate().for_each(image);
        } else {
            output.par_chunks_mut(chunk).enumerate().for_each(image);
        }
        output
    }

    /// Gradients to the input (if `wanted`) and to the weight.
    fn backward(&self, x: &[f32], weight: &[f32], gradient: &[f32], wanted: bool) -> (Option<Vec<f32>>, Vec<f32>) {
        if self.depthwise {
            return self.depthwise_backward(x, weight, gradient, wanted);
        }
        let (image_in, image_out) = (self.channels_in * self.pixels_in(), self.channels_out * self.pixels_out());
        let per_image: Vec<(Vec<f32>, Vec<f32>)> = (0..self.batch)
            .into_par_iter()
            .map(|index| {
                let picture = &x[index * image_in..][..image_in];
                let gradient = &gradient[index * image_out..][..image_out];
                let mut to_weight = vec![0f32; weight.len()];
                let mut to_input = vec![0f32; if wanted { image_in } else { 0 }];
                let w = View::row_major(self.channels_out, self.patch());
                let mut patches = vec![0f32; self.patch() * self.tile_rows() * self.width_out];
                for rows in self.tiles() {
                    let tile = rows.len() * self.width_out;
                    let patches = &mut patches[..self.patch() * tile];
                    let p = View::row_major(self.patch(), tile);
                    let g = View {
                        rows: self.channels_out,
                        columns: tile,
                        row_stride: self.pixels_out(),
                        column_stride: 1,
                    };
                    let gradient = &gradient[rows.start * self.width_out..];
                    self.gather(picture, rows.clone(), patches);
                    multiply((&mut to_weight, w), true, (gradient, g), (patches, p.transposed()), false);
                    if wanted {
                        multiply((patches, p), false, (weight, w.transposed()), (gradient, g), false);
                        self.scatter(patches, rows, &mut to_input);
                    }
                }
                (to_input, to_weight)
            })
            .collect();
        // Summed in the order of the batch, so that the result does not depend on the threads.
        let mut to_weight = vec![0f32; weight.len()];
        let mut to_input = Vec::with_capacity(if wanted { self.batch * image_in } else { 0 });
        for (input, weight) in per_image {
            to_input.extend(input);
            to_weight.iter_mut().zip(weight).for_each(|(sum, value)| *sum += value);
        }
        (wanted.then_some(to_input), to_weight)
    }

    fn depthwise_forward(&self, picture: &[f32], kernel: &[f32], out: &mut [f32]) {
        for (tap, &k) in kernel.iter().enumerate() {
            let (ky, kx) = (tap / self.kernel_width, tap % self.kernel_width);
            let (columns, x0) = self.source_columns(kx);
            for (y, line) in out.chunks_exact_mut(self.width_out).enumerate() {
                let Some(row) = self.source_row(y, ky) else { continue };
                let source = &picture[row * self.width..][..self.width][x0.min(self.width)..];
                let line = &mut line[columns.clone()];
                if self.stride == 1 {
                    line.iter_mut().zip(source).for_each(|(out, x)| *out += k * x);
                } else {
                    line.iter_mut().zip(source.iter().step_by(self.stride)).for_each(|(out, x)| *out += k * x);
                }
            }
        }
    }

    fn depthwise_backward(
        &self,
        x: &[f32],
        weight: &[f32],
        gradient: &[f32],
        wanted: bool,
    ) -> (Option<Vec<f32>>, Vec<f32>) {
        let planes: Vec<(Vec<f32>, Vec<f32>)> = (0..self.batch * self.channels_in)
            .into_par_iter()
            .map(|index| {
                let picture = &x[index * self.pixels_in()..][..self.pixels_in()];
                let gradient = &gradient[index * self.pixels_out()..][..self.pixels_out()];
                let kernel = &weight[index % self.channels_in * self.taps()..][..self.taps()];
                let mut to_kernel = vec![0f32; self.taps()];
                let mut to_picture = vec![0f32; if wanted { self.pixels_in() } else { 0 }];
                for (tap, (&k, sum)) in kernel.iter().zip(&mut to_kernel).enumerate() {
                    let (ky, kx) = (tap / self.kernel_width, tap % self.kernel_width);
                    let (columns, x0) = self.source_columns(kx);
                    for (y, line) in gradient.chunks_exact(self.width_out).enumerate() {
                        let Some(row) = self.source_row(y, ky) else { continue };
                        let line = &line[columns.clone()];
                        let start = row * self.width + x0.min(self.width);
                        let end = (row + 1) * self.width;
                        *sum += line
                            .iter()
                            .zip(picture[start..end].iter().step_by(self.stride))
                            .map(|(g, x)| g * x)
                            .sum::<f32>();
                        if wanted {
                            let scaled = to_picture[start..end].iter_mut().step_by(self.stride).zip(line);
                            scaled.for_each(|(target, g)| *target += k * g);
                        }
                    }
                }
                (to_picture, to_kernel)
            })
            .collect();
        let mut to_weight = vec![0f32; weight.len()];
        let mut to_input = Vec::with_capacity(if wanted { x.len() } else { 0 });
        for (index, (picture, kernel)) in planes.into_iter().enumerate() {
            to_input.extend(picture);
            let sums = &mut to_weight[index % self.channels_in * self.taps()..][..self.taps()];
            sums.iter_mut().zip(kernel).for_each(|(sum, value)| *sum += value);
        }
        (wanted.then_some(to_input), to_weight)
    }
}

fn add_strided(target: &mut [f32], stride: usize, values: &[f32]) {
    if stride == 1 {
        target.iter_mut().zip(values).for_each(|(target, value)| *target += value);
    } else {
        target.iter_mut().step_by(stride).zip(values).for_each(|(target, value)| *target += value);
    }
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let geometry = Geometry::new(x_layout.shape(), w_layout.shape(), self.0)?;
        let output = geometry.forward(contiguous(x, x_layout, self.name())?, contiguous(w, w_layout, self.name())?);
        let shape = (geometry.batch, geometry.channels_out, geometry.height_out, geometry.width_out);
        Ok((CpuStorage::F32(output), shape.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let geometry = Geometry::new(x.shape(), weight.shape(), self.0)?;
        let gradient = gradient.contiguous()?;
        let (to_input, to_weight) = with_values(x, self.name(), |x_values| {
            with_values(weight, self.name(), |w| {
                with_values(&gradient, self.name(), |g| geometry.backward(x_values, w, g, x.track_op()))
            })
        })???;
        let to_input = to_input.map(|values| Tensor::from_vec(values, x.shape(), x.device())).transpose()?;
        Ok((to_input, Some(Tensor::from_vec(to_weight, weight.shape(), weight.device())?)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::seeded;
    use super::*;
    use candle_core::{Device, Var};

    const CASES: [(usize, usize, usize, usize, usize, ConvolutionConfig); 7] = {
        const fn c(stride: usize, padding: Padding, groups: usize) -> ConvolutionConfig {
            ConvolutionConfig { stride, padding, groups }
        }
        const ODD: Padding = Padding { top: 0, left: 1, bottom: 2, right: 1 };
        [
            (3, 5, 9, 11, 3, c(1, Padding::all(1), 1)),
            (4, 6, 8, 7, 1, c(1, Padding::all(0), 1)),
            (3, 2, 13, 10, 3, c(2, ODD, 1)),
            (2, 3, 7, 9, 5, c(3, Padding::all(2), 1)),
            (6, 6, 9, 10, 3, c(1, Padding::all(1), 6)),
            (5, 5, 12, 11, 5, c(2, ODD, 5)),
            (2, 2, 3, 3, 3, c(1, Padding::all(3), 1)),
        ]
    };

    fn stock(x: &Tensor, w: &Tensor, c: ConvolutionConfig) -> Tensor {
        let p = c.padding;
        let x = x.pad_with_zeros(2, p.top, p.bottom).unwrap().pad_with_zeros(3, p.left, p.right).unwrap();
        x.conv2d(w, 0, c.stride, 1, c.groups).unwrap()
    }

    fn worst(a: &Tensor, b: &Tensor) -> f32 {
        assert_eq!(a.dims(), b.dims());
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    fn total(x: &Tensor) -> f64 {
        x.to_dtype(candle_core::DType::F64).unwrap().sum_all().unwrap().to_scalar().unwrap()
    }

    /// A convolution is linear in its input and in its weight, so the slope along any direction is the value there: an
    /// exact check of both gradients (candle's own fail for strides that leave different remainders down and across).
    #[test]
    fn value_equals_candles_own_and_gradients_the_exact_slopes() {
        for (index, (cin, cout, h, w, k, config)) in CASES.into_iter().enumerate() {
            let device = Device::Cpu;
            let draw = |shape: &[usize], stream: usize| {
                seeded::normal(shape, 1.0, (100 * stream + index) as u64, &device).unwrap()
            };
            let weight_shape = [cout, cin / config.groups, k, k];
            let x = Var::from_tensor(&draw(&[2, cin, h, w], 1)).unwrap();
            let weight = Var::from_tensor(&draw(&weight_shape, 2)).unwrap();
            let ours = convolution(&x, &weight, config).unwrap();
            assert!(worst(&ours, &stock(&x, &weight, config)) < 1e-4, "case {index}: value");
            // A weighted sum, so that no two output pixels pull alike.
            let pull = draw(ours.dims(), 3);
            let gradients = (&ours * &pull).unwrap().sum_all().unwrap().backward().unwrap();
            let slope = |x: &Tensor, weight: &Tensor| total(&(stock(x, weight, config) * &pull).unwrap());
            for stream in 4..8 {
                let (dx, dw) = (draw(&[2, cin, h, w], stream), draw(&weight_shape, 10 + stream));
                for (name, var, direction, expected) in
                    [("input", &x, &dx, slope(&dx, &weight)), ("weight", &weight, &dw, slope(&x, &dw))]
                {
                    let got = total(&(gradients.get(var).unwrap() * direction).unwrap());
                    assert!(
                        (got - expected).abs() < 1e-3 * expected.abs().max(10.0),
                        "case {index}, {name}: {got} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn padding_same_is_tensorflows() {
        assert_eq!(Padding::same(224, 3, 2), Padding { top: 0, left: 0, bottom: 1, right: 1 });
        assert_eq!(Padding::same(7, 5, 1), Padding::all(2));
        assert_eq!(Padding::same(56, 5, 2), Padding { top: 1, left: 1, bottom: 2, right: 2 });
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let x = Tensor::zeros((1, 4, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        for shape in [(1, 3, 3, 3), (1, 4, 9, 9)] {
            let w = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
            assert!(convolution(&x, &w, ConvolutionConfig::dense(3)).is_err());
        }
    }
}
