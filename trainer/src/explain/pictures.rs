//! The three pictures of an explanation: what the net saw, the heat map, and both.

use image::{Rgb, RgbImage};
use plotters::prelude::{ColorMap, ViridisRGB};
use thorax_shared::plane::Plane;

/// How much of the picture the highest heat covers; no heat covers nothing.
const OPACITY: f32 = 0.6;

/// Grey as it is.
pub(super) fn grey(input: &Plane<u8>) -> RgbImage {
    draw(input.width(), input.height(), |x, y| [f32::from(input.get(x, y)); 3])
}

/// Heat from 0 to 1 in the colours of viridis, dark blue to yellow: brighter is more, also without colour.
pub(super) fn coloured(heat: &Plane<f32>) -> RgbImage {
    draw(heat.width(), heat.height(), |x, y| viridis(heat.get(x, y)))
}

/// The heat over the picture. Its cover grows with it, and is whole from half of the highest heat on.
pub(super) fn overlaid(input: &Plane<u8>, heat: &Plane<f32>) -> RgbImage {
    draw(input.width(), input.height(), |x, y| {
        let (grey, heat) = (f32::from(input.get(x, y)), heat.get(x, y));
        let opacity = OPACITY * (2.0 * heat).min(1.0);
        viridis(heat).map(|channel| grey + opacity * (channel - grey))
    })
}

fn viridis(heat: f32) -> [f32; 3] {
    let colour = ViridisRGB.get_color(heat.clamp(0.0, 1.0));
    [colour.0, colour.1, colour.2].map(f32::from)
}

fn draw(width: usize, height: usize, colour: impl Fn(usize, usize) -> [f32; 3]) -> RgbImage {
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        // The cast rounds down and holds to 0..=255.
        Rgb(colour(x as usize, y as usize).map(|channel| (channel + 0.5) as u8))
    })
}
