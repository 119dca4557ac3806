//! Weights in the order in which the kernels read them, and what each output channel's sum begins and ends with.

use super::{
    instructions::{InstructionSet, Instructions, Work},
    memory::AlignedBytes,
};

/// Some registers of output channels that a tile sums at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// First output channel.
    pub(super) channel: usize,
    /// Output channels; the registers may have room for more.
    pub(super) channels: usize,
    /// Registers.
    pub(super) registers: usize,
    /// Where its weights begin.
    start: usize,
}

/// Weights of a convolution, `[block][four places][register][lane][4]`, without gaps; zeros fill the last registers.
#[derive(Clone, Debug)]
pub(super) struct Panels {
    blocks: Vec<Block>,
    weights: AlignedBytes,
    /// What a sum starts with, `[register][lane]`.
    start: Vec<i32>,
    /// What a sum is multiplied with, `[register][lane]`.
    multipliers: Vec<f32>,
}

/// What [`Panels`] are made of.
pub(super) struct Unpacked<'a, F: Fn(usize, usize) -> i8> {
    pub(super) channels: usize,
    /// Fours of places that a sum has.
    pub(super) fours: usize,
    /// Registers of output channels to a block, at most.
    pub(super) registers: usize,
    /// The weight of an output channel at one of `4 * fours` places.
    pub(super) weight: F,
    /// `[C_out]`.
    pub(super) bias: &'a [i32],
    /// `[C_out]`.
    pub(super) multipliers: &'a [f32],
    /// Of the values.
    pub(super) zero_point: u8,
}

impl<F: Fn(usize, usize) -> i8> Unpacked<'_, F> {
    pub(super) fn pack(self, instructions: InstructionSet) -> Panels {
        instructions.run(self)
    }
}

impl<F: Fn(usize, usize) -> i8> Work for Unpacked<'_, F> {
    type Output = Panels;

    #[inline(always)]
    unsafe fn run<I: Instructions>(self) -> Panels {
        let registers = self.channels.div_ceil(I::LANES);
        let most = I::TILES.iter().filter(|tile| **tile > 0).count().min(self.registers);
        let count = registers.div_ceil(most);
        let mut blocks = Vec::with_capacity(count);
        let mut weights = AlignedBytes::zeros(registers * self.fours * I::WEIGHT_BYTES);
        let mut packed = weights.chunks_exact_mut(I::WEIGHT_BYTES);
        let (mut first, mut start) = (0, 0);
        for block in 0..count {
            // As even as can be.
            let mine = (registers - first).div_ceil(count - block);
            let channel = first * I::LANES;
            let channels = (mine * I::LANES).min(self.channels - channel);
            blocks.push(Block { channel, channels, registers: mine, start });
            for four in 0..self.fours {
                for register in first..first + mine {
                    let mut plain = vec![[0i8; 4]; I::LANES];
                    for (lane, plain) in plain.iter_mut().enumerate() {
                        let channel = register * I::LANES + lane;
                        if channel < self.channels {
                            *plain = std::array::from_fn(|i| (self.weight)(channel, 4 * four + i));
                        }
                    }
                    if let Some(packed) = packed.next() {
                        I::pack(&plain, packed);
                    }
                }
            }
            first += mine;
            start += mine * self.fours * I::WEIGHT_BYTES;
        }
        // The products are of `value - LOWERED`, wanted are those of `value - zero_point`.
        let raise = I::LOWERED - i32::from(self.zero_point);
        let mut sums = vec![0i32; registers * I::LANES];
        for (channel, sum) in sums.iter_mut().enumerate().take(self.channels) {
            let weights = (0..4 * self.fours).map(|place| i32::from((self.weight)(channel, place)));
            let weights = weights.fold(0i32, i32::wrapping_add);
            *sum = self.bias[channel].wrapping_add(weights.wrapping_mul(raise));
        }
        let mut multipliers = vec![0f32; registers * I::LANES];
        multipliers[..self.channels].copy_from_slice(self.multipliers);
        Panels { blocks, weights, start: sums, multipliers }
    }
}

impl Panels {
    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The weights of a block, what its sums begin with and what they are multiplied with.
    ///
    /// # Panics
    /// If they were packed for other instructions, or another number of fours.
    #[inline(always)]
    pub(super) fn of<I: Instructions>(&self, block: Block, fours: usize) -> (&[u8], &[i32], &[f32]) {
        let lanes = block.registers * I::LANES;
        (
            &self.weights[block.start..][..block.registers * fours * I::WEIGHT_BYTES],
            &self.start[block.channel..][..lanes],
            &self.multipliers[block.channel..][..lanes],
        )
    }
}
