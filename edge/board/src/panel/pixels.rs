//! A pixel in the forms of kernel and monitors.

use embedded_graphics::{
    pixelcolor::{Rgb565, Rgb888},
    prelude::*,
};

use crate::config::ColourOrder;

/// How a pixel lies in memory, the lowest address first, with red in the highest bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Two bytes, little endian: `RG16` of DRM.
    Rgb565,
    /// Blue, green, red: `RG24`.
    Rgb888,
    /// Blue, green, red and a byte that nobody reads: `XR24`.
    Xrgb8888,
}

impl Format {
    /// The format of as many bits a pixel.
    pub(crate) fn of_bits(bits: u32) -> Option<Self> {
        match bits {
            16 => Some(Self::Rgb565),
            24 => Some(Self::Rgb888),
            32 => Some(Self::Xrgb8888),
            _ => None,
        }
    }

    /// Bytes of a pixel.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Rgb565 => 2,
            Self::Rgb888 => 3,
            Self::Xrgb8888 => 4,
        }
    }

    /// Appends a pixel.
    pub(crate) fn push(self, pixel: Rgb565, order: ColourOrder, out: &mut Vec<u8>) {
        let pixel = match order {
            ColourOrder::Rgb => pixel,
            // Five bits change places; green keeps its six.
            ColourOrder::Bgr => Rgb565::new(pixel.b(), pixel.g(), pixel.r()),
        };
        match self {
            Self::Rgb565 => out.extend(pixel.into_storage().to_le_bytes()),
            Self::Rgb888 | Self::Xrgb8888 => {
                let colour = Rgb888::from(pixel);
                out.extend([colour.b(), colour.g(), colour.r()]);
                if self == Self::Xrgb8888 {
                    out.push(0xFF);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(format: Format, order: ColourOrder, pixel: Rgb565) -> Vec<u8> {
        let mut out = vec![];
        format.push(pixel, order, &mut out);
        assert_eq!(out.len(), format.bytes());
        out
    }

    #[test]
    fn pixels_lie_as_the_kernel_s_drm_fourcc_h_has_it() {
        let (red, green, blue) = (Rgb565::RED, Rgb565::GREEN, Rgb565::BLUE);
        for (format, expected) in [
            (Format::Rgb565, [vec![0x00, 0xF8], vec![0xE0, 0x07], vec![0x1F, 0x00]]),
            (Format::Rgb888, [vec![0, 0, 255], vec![0, 255, 0], vec![255, 0, 0]]),
            (Format::Xrgb8888, [vec![0, 0, 255, 255], vec![0, 255, 0, 255], vec![255, 0, 0, 255]]),
        ] {
            let [r, g, b] = expected;
            assert_eq!(
                [red, green, blue].map(|pixel| bytes(format, ColourOrder::Rgb, pixel)),
                [r.clone(), g.clone(), b.clone()]
            );
            assert_eq!([red, green, blue].map(|pixel| bytes(format, ColourOrder::Bgr, pixel)), [b, g, r]);
        }
        // Five and six bits become eight so that the darkest is 0 and the brightest 255.
        assert_eq!(bytes(Format::Rgb888, ColourOrder::Rgb, Rgb565::new(16, 32, 1)), [8, 130, 132]);
    }

    #[test]
    fn bits_a_pixel_have_their_format_or_none() {
        assert_eq!([16, 24, 32].map(Format::of_bits), [Format::Rgb565, Format::Rgb888, Format::Xrgb8888].map(Some));
        assert!([0, 1, 8, 15, 30].into_iter().all(|bits| Format::of_bits(bits).is_none()));
    }
}
