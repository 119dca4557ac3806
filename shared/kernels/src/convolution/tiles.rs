//! Register tiles: how many sums a kernel keeps in registers at a time, for every width of a register.
//!
//! Whoever packs a weight, whoever sizes a buffer and whoever multiplies must mean the same tile. All three take it from
//! the two tables below: a table is a macro, since a tile's sizes have to be known to the compiler where the products are
//! written, and the sizes for the others are that macro's answer too.

/// Evaluates `$body` with `$M` and `$N` as constants: the channels and the registers of positions of the tile of products
/// for registers of `$lanes` values and `$channels` target channels.
///
/// AVX2 has 16 registers of 8 lanes, AVX-512 32 of 16 and NEON 32 of 4: a tile leaves room for a weight and a row's
/// values. The last line is for machines without vector instructions.
macro_rules! with_product_tile {
    (($lanes:expr, $channels:expr), |$M:ident, $N:ident| $body:expr) => {
        $crate::convolution::tiles::arms!(($lanes, $channels), |$M, $N| $body,
            16 => { 1 => 1 x 4, _ => 8 x 3 },
            8 => { 1 => 1 x 8, 2..=4 => 4 x 2, _ => 6 x 2 },
            4 => { 1 => 1 x 8, 2..=4 => 4 x 4, _ => 6 x 4 },
            _ => { 1 => 1 x 4, 2..=4 => 4 x 4, _ => 6 x 4 },
        )
    };
}

/// As [`with_product_tile`] for the gradient to a weight: `$M` output channels and `$N` taps.
macro_rules! with_gradient_tile {
    (($lanes:expr, $channels:expr), |$M:ident, $N:ident| $body:expr) => {
        $crate::convolution::tiles::arms!(($lanes, $channels), |$M, $N| $body,
            8 => { 1 => 1 x 9, _ => 4 x 3 },
            1 => { 1 => 1 x 9, _ => 2 x 3 },
            _ => { 1 => 1 x 9, _ => 6 x 3 },
        )
    };
}

/// A table as a `match`. The lanes are a constant wherever a kernel asks, so of the table one line is compiled.
macro_rules! arms {
    (
        ($lanes:expr, $channels:expr), |$M:ident, $N:ident| $body:expr,
        $($width:pat => { $($count:pat => $m:literal x $n:literal),+ },)+
    ) => {
        match $lanes {
            $($width => match $channels {
                $($count => {
                    const $M: usize = $m;
                    const $N: usize = $n;
                    $body
                })+
            },)+
        }
    };
}

pub(super) use {arms, with_gradient_tile, with_product_tile};

/// Target channels, and registers of positions.
pub(super) fn product(lanes: usize, channels: usize) -> [usize; 2] {
    with_product_tile!((lanes, channels), |M, N| [M, N])
}

/// Output channels, and taps.
pub(super) fn gradient(lanes: usize, channels: usize) -> [usize; 2] {
    with_gradient_tile!((lanes, channels), |M, N| [M, N])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_fits_the_registers_with_a_weight_and_a_value() {
        // (lanes, registers) of NEON, AVX2 and AVX-512.
        for (lanes, registers) in [(4, 32), (8, 16), (16, 32)] {
            for channels in 1..40 {
                for [m, n] in [product(lanes, channels), gradient(lanes, channels)] {
                    assert!(m * n + 2 <= registers, "{lanes} lanes, {channels} channels: {m} x {n}");
                }
            }
        }
    }

    #[test]
    fn one_channel_has_a_tile_of_one_and_no_tile_is_empty() {
        for lanes in [1, 2, 4, 8, 16, 32] {
            assert_eq!((product(lanes, 1)[0], gradient(lanes, 1)[0]), (1, 1));
            for channels in 1..40 {
                let [[m, n], [k, t]] = [product(lanes, channels), gradient(lanes, channels)];
                assert!(m * n * k * t > 0, "{lanes} lanes, {channels} channels");
                // More channels never have a smaller tile.
                assert!(product(lanes, channels + 1)[0] >= m && gradient(lanes, channels + 1)[0] >= k);
            }
        }
    }
}
