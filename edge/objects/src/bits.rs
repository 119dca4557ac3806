//! Masks at one bit a pixel, as binary segmentations have them.
//!
//! Pixel 0 is the lowest bit of the first byte. Nothing is put between rows, nor between frames: where a frame has no multiple of
//! eight pixels, the next one begins inside of a byte (PS3.5, 8.1.1 and D). The whole is padded to an even length.

use thorax_shared::plane::Plane;

/// Frames, put one behind the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    /// Pixels so far.
    pixels: usize,
}

impl Packed {
    /// One frame.
    pub(crate) fn of(mask: &Plane<u8>) -> Self {
        let mut packed = Self::default();
        for chunk in mask.data().chunks(8) {
            packed.bytes.push(chunk.iter().enumerate().fold(0, |byte, (i, &value)| byte | u8::from(value != 0) << i));
        }
        packed.pixels = mask.data().len();
        packed
    }

    /// Whether no pixel is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.iter().all(|&byte| byte == 0)
    }

    /// Whether the two, of one size, have a pixel in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.bytes.iter().zip(&other.bytes).any(|(&a, &b)| a & b != 0)
    }

    /// Appends the pixels of `other`.
    pub(crate) fn append(&mut self, other: &Self) {
        let shift = self.pixels % 8;
        if shift == 0 {
            self.bytes.extend_from_slice(&other.bytes);
        } else {
            for &byte in &other.bytes {
                // The bits behind a frame's last pixel are 0, here and in `other`.
                if let Some(last) = self.bytes.last_mut() {
                    *last |= byte << shift;
                }
                self.bytes.push(byte >> (8 - shift));
            }
        }
        self.pixels += other.pixels;
        self.bytes.truncate(self.pixels.div_ceil(8));
    }

    /// The bytes, of even number.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        if self.bytes.len() % 2 == 1 {
            self.bytes.push(0);
        }
        self.bytes
    }
}

/// The frames, 0 and 255, of `width` by `height` pixels that the pixel data of a binary segmentation has; `None` when there are
/// fewer bytes than that.
pub fn unpack(bytes: &[u8], width: usize, height: usize, frames: usize) -> Option<Vec<Plane<u8>>> {
    let pixels = width.checked_mul(height)?;
    if bytes.len() < pixels.checked_mul(frames)?.div_ceil(8) {
        return None;
    }
    let value = |pixel: usize| if bytes[pixel / 8] >> (pixel % 8) & 1 == 1 { 255 } else { 0 };
    Some((0..frames).map(|frame| Plane::from_fn(width, height, |x, y| value(frame * pixels + y * width + x))).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_second_frame_begins_inside_of_a_byte() {
        // 3 x 1 pixels each: 101, 011, 110 -> bits from the lowest: 1,0,1, 0,1,1, 1,1,0
        let mut packed = Packed::default();
        for row in [[9, 0, 1], [0, 255, 1], [1, 1, 0]] {
            packed.append(&Packed::of(&Plane::new(3, 1, row.to_vec()).unwrap()));
        }
        assert_eq!(packed.into_bytes(), [0b1111_0101, 0b0]);
    }

    #[test]
    fn too_few_bytes_are_no_frames() {
        assert_eq!(unpack(&[0, 0], 5, 3, 2), None);
        assert_eq!(unpack(&[0; 4], 5, 3, 2).map(|frames| frames.len()), Some(2));
        assert_eq!(unpack(&[], usize::MAX, 2, 2), None);
    }
}
