//! Drawing with numbers: blur, noise, smooth curves, tubes and tiny letters, on pictures of `f32`.

use std::collections::VecDeque;

use rand::Rng;
use thorax_shared::plane::Plane;

/// A picture of physical quantities (path lengths in cm, attenuations, or Hounsfield units).
pub(super) type Field = Plane<f32>;

/// A point or direction in the body, in cm.
pub(super) type Point = [f32; 3];

/// `a + t (b - a)`.
#[inline]
pub(super) fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + t * (b - a)
}

/// 0 below `low`, 1 above `high`, and a smooth step (3 t^2 - 2 t^3) between.
#[inline]
pub(super) fn smoothstep(low: f32, high: f32, value: f32) -> f32 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// 1 at `centre`, falling to 0 at `centre +- width`.
#[inline]
pub(super) fn bump(value: f32, centre: f32, width: f32) -> f32 {
    1.0 - smoothstep(0.0, 1.0, (value - centre).abs() / width)
}

/// The smaller of two distances, with the corner between them rounded over about `radius` (Quilez' polynomial form).
#[inline]
pub(super) fn smooth_min(a: f32, b: f32, radius: f32) -> f32 {
    let h = (radius - (a - b).abs()).max(0.0) / radius;
    a.min(b) - h * h * radius / 4.0
}

/// Half the way that a ray travels through a circle of this radius at this distance from its centre.
pub(super) fn half_chord(radius: f32, distance: f32) -> f32 {
    (radius * radius - distance * distance).max(0.0).sqrt()
}

/// A smooth curve through `knots` (x ascending), flat beyond its ends: cubic Hermite with Catmull-Rom slopes.
pub(super) fn profile(knots: &[(f32, f32)], x: f32) -> f32 {
    let next = knots.partition_point(|knot| knot.0 <= x);
    if next == 0 {
        return knots[0].1;
    }
    if next == knots.len() {
        return knots[next - 1].1;
    }
    let slope = |i: usize| {
        let (before, after) = (knots[i.saturating_sub(1)], knots[(i + 1).min(knots.len() - 1)]);
        (after.1 - before.1) / (after.0 - before.0)
    };
    let ((x0, y0), (x1, y1)) = (knots[next - 1], knots[next]);
    let (width, t) = (x1 - x0, (x - x0) / (x1 - x0));
    let (m0, m1) = (slope(next - 1) * width, slope(next) * width);
    let (t2, t3) = (t * t, t * t * t);
    (2.0 * t3 - 3.0 * t2 + 1.0) * y0 + (t3 - 2.0 * t2 + t) * m0 + (3.0 * t2 - 2.0 * t3) * y1 + (t3 - t2) * m1
}

/// A standard normal number (Box and Muller 1958).
pub(super) fn gaussian(rng: &mut impl Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    radius * (core::f32::consts::TAU * rng.random::<f32>()).cos()
}

/// White Gaussian noise of standard deviation 1.
pub(super) fn white_noise(width: usize, height: usize, rng: &mut impl Rng) -> Field {
    Plane::from_fn(width, height, |_, _| gaussian(rng))
}

/// Smooth noise in -1 ..= 1 with features of size 1: random values at the corners of a unit lattice, interpolated.
pub(super) fn value_noise(seed: u32, [x, y, z]: Point) -> f32 {
    let ((x, fx), (y, fy), (z, fz)) = (below(x), below(y), below(z));
    // What each coordinate of a corner and of the next gives to its hash.
    let part = |at: i32, factor: u32| [0, 1].map(|step| (at + step) as u32).map(|at| at.wrapping_mul(factor));
    let (xs, ys, zs) = (part(x, 0x8DA6_B343), part(y, 0xD816_3841), part(z, 0xCB1A_B31F));
    let layer = |z: u32| {
        let [a, b, c, d] = [xs[0] ^ ys[0], xs[1] ^ ys[0], xs[0] ^ ys[1], xs[1] ^ ys[1]].map(|at| random(seed ^ at ^ z));
        mix(mix(a, b, fx), mix(c, d, fx), fy)
    };
    // A film asks on one layer of the lattice, where the next has no part.
    if fz == 0.0 { layer(zs[0]) } else { mix(layer(zs[0]), layer(zs[1]), fz) }
}

/// The whole number below `x`, and how far along [`smoothstep`] the way from there to the next is. A body is a few hundred lattice cells
/// wide, so that the number fits; `f32::floor` is a call into the C library where the processor need not have the instruction.
#[inline]
fn below(x: f32) -> (i32, f32) {
    let toward_zero = x as i32;
    let corner = toward_zero - i32::from(toward_zero as f32 > x);
    (corner, smoothstep(0.0, 1.0, x - corner as f32))
}

/// Three octaves of [`value_noise`], in about -1 ..= 1.
pub(super) fn cloud_noise(seed: u32, [x, y, z]: Point) -> f32 {
    let octave = |octave: u32| {
        let scale = (1 << octave) as f32;
        value_noise(seed.wrapping_add(octave), [x * scale, y * scale, z * scale]) / scale
    };
    (octave(0) + octave(1) + octave(2)) / 1.75
}

/// The random value, -1 to 1, of a corner of the lattice: an integer hash (Wang 2007).
#[inline]
fn random(corner: u32) -> f32 {
    let mut h = (corner ^ 61) ^ (corner >> 16);
    h = h.wrapping_mul(9);
    h ^= h >> 4;
    h = h.wrapping_mul(0x27D4_EB2D);
    h ^= h >> 15;
    h as f32 / (u32::MAX as f32 / 2.0) - 1.0
}

/// Blurred with a Gaussian of this standard deviation in pixels; the picture goes on beyond its border as it ends.
///
/// Wide blurs are three passes of a running mean (the central limit theorem's Gaussian), in constant time a pixel,
/// with sigma as near as means over whole pixels can be.
pub(super) fn blurred(field: &Field, sigma: f32) -> Field {
    if sigma < 0.05 {
        return field.clone();
    }
    let kernel: Vec<f32> = if sigma < 4.0 {
        let radius = (3.0 * sigma).ceil() as i32;
        (-radius..=radius).map(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp()).collect()
    } else {
        Vec::new()
    };
    let total: f32 = kernel.iter().sum();
    // A mean over n values has variance (n^2 - 1) / 12; three of them have sigma^2 together.
    let half = (((4.0 * sigma * sigma + 1.0).sqrt() - 1.0) / 2.0).round() as usize;
    let line = |values: &[f32]| -> Vec<f32> {
        if kernel.is_empty() {
            return running_mean(&running_mean(&running_mean(values, half), half), half);
        }
        let longer = with_ends_repeated(values, kernel.len() / 2);
        // Weight by weight, so that many pixels are summed at a time, each in the order of the weights.
        let mut sums = vec![0.0; values.len()];
        for (weight, from) in kernel.iter().zip(longer.windows(values.len())) {
            sums.iter_mut().zip(from).for_each(|(sum, value)| *sum += weight * value);
        }
        sums.iter_mut().for_each(|sum| *sum /= total);
        sums
    };
    transposed_after(&transposed_after(field, line), line)
}

/// Applies `line` to each row and transposes the result.
fn transposed_after(field: &Field, line: impl Fn(&[f32]) -> Vec<f32>) -> Field {
    // A cache line of the result at a time.
    const TOGETHER: usize = 16;
    let (width, height) = (field.width(), field.height());
    let mut turned = Plane::filled(height, width, 0.0);
    for top in (0..height).step_by(TOGETHER) {
        let rows: Vec<Vec<f32>> = (top..height.min(top + TOGETHER)).map(|y| line(field.row(y))).collect();
        for x in 0..width {
            let to = &mut turned.data_mut()[x * height + top..][..rows.len()];
            to.iter_mut().zip(&rows).for_each(|(to, row)| *to = row[x]);
        }
    }
    turned
}

/// `values` with its first one `count` times before it and its last one as often behind it.
fn with_ends_repeated(values: &[f32], count: usize) -> Vec<f32> {
    let end = |value: Option<&f32>| std::iter::repeat_n(value.copied().unwrap_or(0.0), count);
    end(values.first()).chain(values.iter().copied()).chain(end(values.last())).collect()
}

/// The mean of the `2 * half + 1` values around each, ends repeated.
fn running_mean(values: &[f32], half: usize) -> Vec<f32> {
    let count = 2 * half + 1;
    // One more at the end, since the last sum is followed by another.
    let longer = with_ends_repeated(values, half + 1);
    let longer = &longer[1..];
    let mut sum: f64 = longer[..count].iter().copied().map(f64::from).sum();
    longer
        .windows(count + 1)
        .map(|window| {
            let mean = sum / count as f64;
            sum += f64::from(window[count]) - f64::from(window[0]);
            mean as f32
        })
        .collect()
}

/// A piece of a round tube, from one point to another, in cm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tube {
    pub(super) from: Point,
    pub(super) to: Point,
    pub(super) from_radius: f32,
    pub(super) to_radius: f32,
}

impl Tube {
    /// How far `point` lies from the axis, and the tube's radius there.
    pub(super) fn distance(&self, point: Point) -> (f32, f32) {
        let axis = difference(self.to, self.from);
        let t = (dot(difference(point, self.from), axis) / dot(axis, axis).max(1e-9)).clamp(0.0, 1.0);
        let along = |axis: usize| mix(self.from[axis], self.to[axis], t);
        (length(difference(point, [along(0), along(1), along(2)])), mix(self.from_radius, self.to_radius, t))
    }

    /// The tube's length.
    pub(super) fn length(&self) -> f32 {
        length(difference(self.to, self.from))
    }
}

/// `a - b`.
#[inline]
pub(super) fn difference(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

#[inline]
fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The Euclidean length.
#[inline]
pub(super) fn length(a: Point) -> f32 {
    dot(a, a).sqrt()
}

/// What a branching vessel tree needs to know of its lung.
pub(super) struct Tree<'a> {
    /// Whether a vessel may run here.
    pub(super) inside: &'a dyn Fn(Point) -> bool,
    /// Branches thinner than this (cm) are left out.
    pub(super) thinnest: f32,
    /// At most so many pieces.
    pub(super) pieces: usize,
}

impl Tree<'_> {
    /// Grows a vessel from `from` along `direction`, dividing as it goes, into `tubes`.
    ///
    /// Where it divides, radii follow Murray's law (r^3 = r1^3 + r2^3); pieces are two or three radii long and bend a
    /// little.
    pub(super) fn grow(&self, tubes: &mut Vec<Tube>, from: Point, direction: Point, radius: f32, rng: &mut impl Rng) {
        let mut open = VecDeque::from([(from, direction, radius)]);
        let end = tubes.len() + self.pieces;
        while let Some((from, direction, radius)) = open.pop_front() {
            if tubes.len() >= end {
                return;
            }
            let step = (rng.random_range(1.8..3.0) * radius).max(0.22);
            // A vessel that would leave the lung turns; one that cannot ends.
            let Some((bent, to)) = (1..=6).find_map(|attempt| {
                let bent = normalised(direction.map(|d| d + 0.13 * attempt as f32 * gaussian(rng)));
                let to = [0, 1, 2].map(|i| from[i] + step * bent[i]);
                (self.inside)(to).then_some((bent, to))
            }) else {
                continue;
            };
            let to_radius = radius * 0.97;
            tubes.push(Tube { from, to, from_radius: radius, to_radius });
            if to_radius < self.thinnest {
                continue;
            }
            if rng.random::<f32>() < 0.55 {
                // The larger child goes on, the smaller turns aside (the flow is shared unevenly).
                let share = rng.random_range(0.04_f32..0.45);
                let aside = perpendicular(bent, rng);
                let turned = |angle: f32| normalised([0, 1, 2].map(|i| bent[i] * angle.cos() + aside[i] * angle.sin()));
                open.push_back((to, turned(rng.random_range(0.55..1.1)), to_radius * share.cbrt()));
                open.push_back((to, turned(-rng.random_range(0.05..0.3)), to_radius * (1.0 - share).cbrt()));
            } else {
                open.push_back((to, bent, to_radius));
            }
        }
    }
}

fn normalised(a: Point) -> Point {
    let length = length(a).max(1e-6);
    a.map(|x| x / length)
}

/// A random unit vector at right angles to `axis`.
fn perpendicular(axis: Point, rng: &mut impl Rng) -> Point {
    let random: Point = [gaussian(rng), gaussian(rng), gaussian(rng)];
    let along = dot(random, axis);
    normalised([0, 1, 2].map(|i| random[i] - along * axis[i]))
}

/// Letters of 5 x 7 dots, a byte a row, the five low bits from left to right.
const LETTERS: [(char, [u8; 7]); 27] = [
    ('A', [14, 17, 17, 31, 17, 17, 17]),
    ('B', [30, 17, 17, 30, 17, 17, 30]),
    ('C', [14, 17, 16, 16, 16, 17, 14]),
    ('E', [31, 16, 16, 30, 16, 16, 31]),
    ('H', [17, 17, 17, 31, 17, 17, 17]),
    ('I', [14, 4, 4, 4, 4, 4, 14]),
    ('L', [16, 16, 16, 16, 16, 16, 31]),
    ('M', [17, 27, 21, 21, 17, 17, 17]),
    ('N', [17, 25, 21, 19, 17, 17, 17]),
    ('O', [14, 17, 17, 17, 17, 17, 14]),
    ('P', [30, 17, 17, 30, 16, 16, 16]),
    ('R', [30, 17, 17, 30, 20, 18, 17]),
    ('S', [15, 16, 16, 14, 1, 1, 30]),
    ('T', [31, 4, 4, 4, 4, 4, 4]),
    ('Y', [17, 17, 10, 4, 4, 4, 4]),
    ('0', [14, 17, 19, 21, 25, 17, 14]),
    ('1', [4, 12, 4, 4, 4, 4, 14]),
    ('2', [14, 17, 1, 2, 4, 8, 31]),
    ('3', [31, 2, 4, 2, 1, 17, 14]),
    ('4', [2, 6, 10, 18, 31, 2, 2]),
    ('5', [31, 16, 30, 1, 1, 17, 14]),
    ('6', [6, 8, 16, 30, 17, 17, 14]),
    ('7', [31, 1, 2, 4, 8, 8, 8]),
    ('8', [14, 17, 17, 14, 17, 17, 14]),
    ('9', [14, 17, 17, 15, 1, 2, 12]),
    (':', [0, 12, 12, 0, 12, 12, 0]),
    (' ', [0; 7]),
];

/// Writes `text` with its top left corner at (`left`, `top`), dots of `dot` pixels, by setting pixels to `value`. Of letters there
/// are those that films have in notices and markers, and the digits; others are left blank, and so is what lies beyond the picture.
pub fn write_text<T: Copy>(field: &mut Plane<T>, text: &str, left: usize, top: usize, dot: usize, value: T) {
    let (width, height) = (field.width(), field.height());
    for (n, letter) in text.chars().enumerate() {
        let Some((_, rows)) = LETTERS.iter().find(|(name, _)| *name == letter) else { continue };
        for (y, x) in (0..7 * dot).flat_map(|y| (0..5 * dot).map(move |x| (y, x))) {
            let (column, row) = (left + 6 * dot * n + x, top + y);
            if rows[y / dot] >> (4 - x / dot) & 1 == 1 && column < width && row < height {
                field.data_mut()[row * width + column] = value;
            }
        }
    }
}

/// Says in the upper right corner, outside the body, what the picture is.
pub(super) fn write_notice(picture: &mut Field) {
    let size = picture.width();
    let dot = (size / 512).max(1);
    let left = size.saturating_sub(text_width(super::NOTICE, dot) + 6 * dot);
    write_text(picture, super::NOTICE, left, 5 * dot, dot, 0.85);
}

/// How wide [`write_text`] makes `text`, in pixels.
fn text_width(text: &str, dot: usize) -> usize {
    (6 * text.chars().count()).saturating_sub(1) * dot
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn both_kinds_of_blur_spread_a_point_by_their_sigma() {
        for sigma in [1.5_f32, 6.0] {
            let mut field = Plane::filled(101, 101, 0.0);
            field.data_mut()[50 * 101 + 50] = 1.0;
            let field = blurred(&field, sigma);
            let mass: f32 = field.data().iter().sum();
            let spread: f32 =
                (0..101).map(|x| (x as f32 - 50.0).powi(2) * (0..101).map(|y| field.get(x, y)).sum::<f32>()).sum();
            assert!((mass - 1.0).abs() < 1e-4, "sigma {sigma}: mass {mass}");
            assert!((spread.sqrt() - sigma).abs() < 0.09 * sigma, "sigma {sigma}: {}", spread.sqrt());
        }
    }

    #[test]
    fn a_profile_goes_through_its_knots_and_is_flat_beyond_them() {
        let knots = [(0.0, 1.0), (2.0, 5.0), (3.0, 4.0)];
        for (x, y) in knots {
            assert!((profile(&knots, x) - y).abs() < 1e-6);
        }
        assert_eq!((profile(&knots, -7.0), profile(&knots, 9.0)), (1.0, 4.0));
    }

    #[test]
    fn noise_has_mean_zero_and_the_stated_range() {
        let mut rng = StdRng::seed_from_u64(3);
        let white = white_noise(200, 200, &mut rng);
        let mean = white.data().iter().sum::<f32>() / 40_000.0;
        let variance = white.data().iter().map(|x| x * x).sum::<f32>() / 40_000.0;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        let values: Vec<f32> = (0..20_000).map(|i| cloud_noise(9, [i as f32 * 0.37, i as f32 * 0.11, 0.5])).collect();
        assert!(values.iter().all(|v| v.abs() <= 1.0));
        assert!((values.iter().sum::<f32>() / 20_000.0).abs() < 0.05);
    }

    #[test]
    fn vessels_stay_inside_and_only_get_thinner() {
        let mut tubes = Vec::new();
        let tree = Tree { inside: &|p| length(p) < 8.0, thinnest: 0.05, pieces: 2000 };
        tree.grow(&mut tubes, [0.0; 3], [1.0, 0.0, 0.0], 0.6, &mut StdRng::seed_from_u64(1));
        assert!(tubes.len() > 100, "{}", tubes.len());
        assert!(tubes.iter().all(|tube| length(tube.to) < 8.0 && tube.to_radius < tube.from_radius));
    }
}
