//! A transposed convolution of kernel 2 and stride 2: an input pixel becomes four output pixels, which no other touches. Two of
//! them lie side by side, so it is two convolutions of one pixel, each with twice the output's channels, for the even and
//! the odd rows.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::tile::{Panels, Reads, Store, multiply};
use crate::{
    convolution::{Activation, lanes},
    simd::dispatch,
};

#[derive(Debug)]
pub(super) struct Transposed {
    channels_in: usize,
    channels_out: usize,
    /// Of the even and the odd output rows, `2 C_out` channels each.
    panels: [Panels; 2],
}

impl Transposed {
    pub(super) fn new([channels_in, channels_out]: [usize; 2], weight: &[f32], bias: Option<&[f32]>) -> Self {
        let bias = bias.map(|bias| [bias, bias].concat());
        let panels = [0, 1].map(|row| {
            Panels::new(lanes(), 2 * channels_out, channels_in, bias.as_deref(), |k, channel| {
                weight[(k * channels_out + channel % channels_out) * 4 + row * 2 + channel / channels_out]
            })
        });
        Self { channels_in, channels_out, panels }
    }

    pub(super) fn run(&self, width: usize, x: &[f32], out: &mut [f32]) {
        let rows = x.par_chunks(width * self.channels_in);
        out.par_chunks_mut(4 * width * self.channels_out)
            .zip(rows)
            .for_each(|(out, x)| dispatch(Row { transposed: self, width, x, out }));
    }
}

/// One row of the input, two of the output.
struct Row<'a> {
    transposed: &'a Transposed,
    width: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Transposed { channels_in, channels_out, panels } = self.transposed;
        let step = 2 * channels_out;
        let (even, odd) = self.out.split_at_mut(self.width * step);
        for (panels, out) in panels.iter().zip([even, odd]) {
            for &block in panels.blocks() {
                let reads = Reads { source: self.x, segments: &[0], length: *channels_in, step: *channels_in };
                let mut store = Store {
                    out: &mut *out,
                    step,
                    first: block.channel,
                    width: panels.width(block),
                    bias: panels.bias(block),
                    add: None,
                    activation: Activation::None,
                };
                multiply(simd, reads, self.width, panels, block, 0, &mut store);
            }
        }
    }
}
