//! The pictures of `references/synthetic.py`, made again: only results need to be stored.

use thorax_shared::plane::Plane;

/// A picture in the lowest `bits` (8 or 16) of each value. `kind`: `noise` (every level alike), `film` (slopes and
/// some noise), `dark` (a few levels), `flat` (one level).
pub(crate) fn picture(kind: &str, seed: u32, width: usize, height: usize, bits: u32) -> Plane<u16> {
    Plane::from_fn(width, height, |x, y| {
        let noise = mixed(seed.wrapping_add((y * width + x) as u32));
        let value = match kind {
            "noise" => noise & 0xffff,
            "film" => ((x * 90 / width + y * y / height * 100 / height) << 8) as u32 + (noise & 0x3fff),
            "dark" => noise & noise >> 7 & 0x1fff,
            "flat" => mixed(seed) & 0xffff,
            _ => unreachable!("no kind {kind}"),
        };
        (value >> (16 - bits)) as u16
    })
}

/// `lowbias32` of Wellons' hash prospector.
fn mixed(mut value: u32) -> u32 {
    value = (value ^ value >> 16).wrapping_mul(0x7feb_352d);
    value = (value ^ value >> 15).wrapping_mul(0x846c_a68b);
    value ^ value >> 16
}
