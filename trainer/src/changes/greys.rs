//! Changes of the greys that leave every pixel where it is.

use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use rand::Rng as _;
use thorax_nn::seeded;
use thorax_phantom::write_text;
use thorax_shared::plane::{Plane, Rect};

/// Each grey becomes what `value` says, rounded half to even and held to 0 to 255.
pub(super) fn by_table(picture: &Plane<u8>, value: impl Fn(u8) -> f64) -> Plane<u8> {
    let table: [u8; 256] = std::array::from_fn(|grey| value(grey as u8).round_ties_even().clamp(0.0, 255.0) as u8);
    picture.map(|grey| table[usize::from(grey)])
}

/// What is left of a picture that was stored as JPEG; itself where JPEG cannot store it (a side above 65,535 pixels).
pub(super) fn jpeg(picture: &Plane<u8>, quality: u8) -> Plane<u8> {
    let stored = || -> Option<Plane<u8>> {
        let mut bytes = vec![];
        let (width, height) = (u32::try_from(picture.width()).ok()?, u32::try_from(picture.height()).ok()?);
        JpegEncoder::new_with_quality(&mut bytes, quality)
            .encode(picture.data(), width, height, ExtendedColorType::L8)
            .ok()?;
        let read = image::load_from_memory(&bytes).ok()?.into_luma8();
        Plane::new(picture.width(), picture.height(), read.into_raw()).ok()
    };
    stored().unwrap_or_else(|| picture.clone())
}

/// A Gaussian of the size that OpenCV takes for 8 bits (3 sigma each way); beyond its border the picture is mirrored, without
/// its outermost pixels (`BORDER_REFLECT_101`).
fn smooth(picture: &Plane<u8>, sigma: f64) -> Plane<f32> {
    let reach = (((6.0 * sigma + 1.0).round() as usize) | 1) / 2;
    let weights: Vec<f32> =
        (-(reach as isize)..=reach as isize).map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp() as f32).collect();
    let total: f32 = weights.iter().sum();
    let reflected = |at: isize, length: usize| -> usize {
        let period = 2 * (length as isize - 1).max(1);
        let at = at.rem_euclid(period);
        (at.min(period - at) as usize).min(length - 1)
    };
    let (width, height) = (picture.width(), picture.height());
    let columns: Vec<usize> = (-(reach as isize)..(width + reach) as isize).map(|x| reflected(x, width)).collect();
    let along_x =
        Plane::new(width, height, {
            let mut values = Vec::with_capacity(width * height);
            for y in 0..height {
                let row = picture.row(y);
                let padded: Vec<f32> = columns.iter().map(|&x| f32::from(row[x])).collect();
                values.extend(padded.windows(weights.len()).map(|window| {
                    window.iter().zip(&weights).map(|(value, weight)| value * weight).sum::<f32>() / total
                }));
            }
            values
        })
        .unwrap_or_else(|_| picture.map(f32::from));
    let mut smooth = Plane::filled(width, height, 0f32);
    for (y, out) in smooth.data_mut().chunks_exact_mut(width).enumerate() {
        for (i, &weight) in weights.iter().enumerate() {
            let row = along_x.row(reflected((y + i) as isize - reach as isize, height));
            out.iter_mut().zip(row).for_each(|(sum, value)| *sum += value * weight / total);
        }
    }
    smooth
}

/// OpenCV's `GaussianBlur`.
pub(super) fn blurred(picture: &Plane<u8>, sigma: f64) -> Plane<u8> {
    if sigma <= 0.0 {
        return picture.clone();
    }
    smooth(picture, sigma).map(|value| (value + 0.5) as u8)
}

/// Unsharp masking.
pub(super) fn sharpened(picture: &Plane<u8>, sigma: f64, amount: f64) -> Plane<u8> {
    if sigma <= 0.0 {
        return picture.clone();
    }
    let smooth = smooth(picture, sigma);
    let mut smooth = smooth.data().iter();
    picture.map(|grey| {
        let (grey, smooth) = (f32::from(grey), smooth.next().copied().unwrap_or(0.0));
        (grey + amount as f32 * (grey - smooth) + 0.5) as u8
    })
}

/// Gaussian noise, held to 0 to 255.
pub(super) fn noisy(picture: &Plane<u8>, sigma: f64, seed: u64) -> Plane<u8> {
    let mut random = seeded::generator(seed, 0);
    // Box and Muller's method gives two values at a time.
    let mut second: Option<f64> = None;
    picture.map(|grey| {
        let normal = second.take().unwrap_or_else(|| {
            let (u, v) = (1.0 - random.random::<f64>(), random.random::<f64>());
            let (radius, angle) = ((-2.0 * u.ln()).sqrt(), std::f64::consts::TAU * v);
            second = Some(radius * angle.sin());
            radius * angle.cos()
        });
        (f64::from(grey) + sigma * normal + 0.5) as u8
    })
}

/// A line of letters as a portable unit burns them in, and a large L; of a size that does not depend on the picture's.
pub(super) fn with_text(picture: &Plane<u8>) -> Plane<u8> {
    let mut changed = picture.clone();
    write_text(&mut changed, "PORTABLE AP 12:30", 8, 8, 2, 255);
    write_text(&mut changed, "L", picture.width().saturating_sub(40), 30, 4, 255);
    changed
}

/// A white box of a twelfth of the picture's width with the letter R in the picture's grey, at the left edge.
pub(super) fn with_marker(picture: &Plane<u8>) -> Plane<u8> {
    let (width, height) = (picture.width(), picture.height());
    let dot = (width / 96).max(1);
    let (x, y) = (width / 40, height / 12);
    let mut changed = picture.clone();
    let inside = Rect { x, y, width: 7 * dot, height: 9 * dot }.within(width, height);
    for row in inside.y..inside.y + inside.height {
        changed.data_mut()[row * width + inside.x..][..inside.width].fill(250);
    }
    write_text(&mut changed, "R", x + dot, y + dot, dot, 60);
    changed
}
