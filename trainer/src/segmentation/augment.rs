//! One random change of a picture and its masks: where pixels come from, and what their grey becomes.

use rand::{Rng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use thorax_nn::seeded;
use thorax_shared::{
    mask::{LEFT_LUNG, RIGHT_LUNG},
    modality::Modality,
};

use super::sample::{SegmentationSample, Values};

/// Which mirror images there are, each for every second picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Flips {
    /// None.
    None,
    /// Left and right exchanged. The lung on the right of the picture is then called the patient's left, as in every picture:
    /// the picture's view, not the heart, tells the sides.
    Horizontal,
    /// Top and bottom exchanged: slices of some collections have the spine above.
    Vertical,
    /// Either, both, or neither.
    Both,
}

/// How much pictures are changed. All at 0 and no flips: not at all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AugmentationConfig {
    /// Largest rotation, in degrees.
    pub rotation_degrees: f32,
    /// Largest enlargement, as a share: 0.2 is between 1 / 1.2 and 1.2 times.
    pub scale: f32,
    /// Largest shift, in sides.
    pub shift: f32,
    /// Standard deviation of the elastic displacement at the points of a 4 x 4 grid, in sides (after Ronneberger et al. 2015:
    /// 10 of 512 pixels at 3 x 3 points).
    pub elastic: f32,
    /// Largest change of contrast (share), brightness (of the whole scale) and, as a logarithm, of the grey values' exponent.
    pub intensity: [f32; 3],
    /// Largest change of sharpness: at 1 each pixel becomes the mean of its 3 x 3 neighbours, at -1 it is moved as far from it.
    /// Scanners reconstruct with soft and with sharp kernels. Earlier runs had none.
    #[serde(default)]
    pub sharpness: f32,
    /// Largest standard deviation of the noise on each pixel, of the whole scale. Earlier runs had none.
    #[serde(default)]
    pub noise: f32,
    /// Mirror images.
    pub flips: Flips,
}

impl AugmentationConfig {
    /// What suits films or slices.
    pub fn of(modality: Modality) -> Self {
        Self {
            rotation_degrees: 15.0,
            scale: 0.25,
            shift: 0.06,
            elastic: 0.02,
            intensity: [0.3, 0.12, 0.5],
            sharpness: 0.8,
            noise: 0.05,
            flips: if modality == Modality::Ct { Flips::Both } else { Flips::Horizontal },
        }
    }

    /// In words, for a model card.
    pub fn describe(&self) -> String {
        if *self == Self::none() {
            return "no augmentation".into();
        }
        let Self {
            rotation_degrees,
            scale,
            shift,
            elastic,
            intensity: [contrast, brightness, gamma],
            sharpness,
            noise,
            flips,
        } = *self;
        let flips = match flips {
            Flips::None => "none",
            Flips::Horizontal => "left-right",
            Flips::Vertical => "top-bottom",
            Flips::Both => "left-right and top-bottom",
        };
        format!(
            "augmentation (rotation {rotation_degrees} degrees, scale {scale}, shift {shift}, elastic {elastic}, contrast {contrast}, \
             brightness {brightness}, gamma {gamma}, sharpness {sharpness}, noise {noise}, mirror images: {flips})"
        )
    }

    /// Pictures as they are.
    pub fn none() -> Self {
        Self {
            rotation_degrees: 0.0,
            scale: 0.0,
            shift: 0.0,
            elastic: 0.0,
            intensity: [0.0; 3],
            sharpness: 0.0,
            noise: 0.0,
            flips: Flips::None,
        }
    }
}

/// On the command line: `standard` or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AugmentationName {
    /// Rotation, scale, shift, elastic, grey values and flips, as suits the modality
    Standard,
    /// Pictures as they are
    None,
}

/// Points of the elastic grid along a side.
const GRID: usize = 4;

/// One random change.
#[derive(Clone, Copy, Debug)]
pub struct Augmentation {
    /// Columns of the matrix from a target to a source offset, both measured from the centre in sides.
    matrix: [f32; 4],
    /// Shift of the source, in sides.
    shift: [f32; 2],
    /// Displacement of the source at the points of the grid, across and down, in sides.
    elastic: [[f32; 2]; GRID * GRID],
    /// Whether left and right are exchanged.
    mirrored: bool,
    /// Exponent of the grey values.
    gamma: f32,
    /// Factor on the contrast around the mean grey, and what is added.
    contrast: f32,
    brightness: f32,
    /// Share by which a pixel becomes the mean of its neighbours; negative: by which it moves away from it.
    blur: f32,
    /// Standard deviation of the noise, of the whole scale, and its seed.
    noise: f32,
    noise_seed: u64,
}

impl Augmentation {
    /// Draws a change.
    pub fn draw(config: &AugmentationConfig, random: &mut StdRng) -> Self {
        // Every number is drawn, whatever its range: a change of one does not move the others.
        let mut within = |most: f32| most * random.random_range(-1f32..=1.0);
        let angle = within(config.rotation_degrees).to_radians();
        let scale = within((1.0 + config.scale).ln()).exp();
        let shift = [within(config.shift), within(config.shift)];
        let [contrast, brightness, gamma] = config.intensity.map(&mut within);
        let blur = within(config.sharpness);
        let noise = within(config.noise).abs();
        let elastic = std::array::from_fn(|_| [normal(config.elastic, random), normal(config.elastic, random)]);
        let noise_seed = random.random();
        let [horizontal, vertical] = [random.random_bool(0.5), random.random_bool(0.5)];
        let mirrored = horizontal && matches!(config.flips, Flips::Horizontal | Flips::Both);
        let flip_x = if mirrored { -1.0 } else { 1.0 };
        let flip_y = if vertical && matches!(config.flips, Flips::Vertical | Flips::Both) { -1.0 } else { 1.0 };
        let (sin, cos) = angle.sin_cos();
        Self {
            matrix: [cos * flip_x / scale, -sin * flip_y / scale, sin * flip_x / scale, cos * flip_y / scale],
            shift,
            elastic,
            mirrored,
            gamma: gamma.exp(),
            contrast: 1.0 + contrast,
            brightness,
            blur,
            noise,
            noise_seed,
        }
    }

    /// The source position, in pixels, of target pixel `(x, y)`.
    fn source(&self, x: usize, y: usize, side: usize) -> (f32, f32) {
        let half = side as f32 / 2.0;
        let (u, v) = ((x as f32 + 0.5 - half) / side as f32, (y as f32 + 0.5 - half) / side as f32);
        let [dx, dy] = self.displacement(u + 0.5, v + 0.5);
        let [a, b, c, d] = self.matrix;
        let (u, v) = (a * u + b * v + self.shift[0] + dx, c * u + d * v + self.shift[1] + dy);
        (u * side as f32 + half - 0.5, v * side as f32 + half - 0.5)
    }

    /// The elastic displacement at a place, 0 to 1 across and down: between the points of the grid it goes along a smooth step, so
    /// that it has no edges.
    fn displacement(&self, u: f32, v: f32) -> [f32; 2] {
        let place = |t: f32| {
            let t = t.clamp(0.0, 1.0) * (GRID - 1) as f32;
            let cell = (t as usize).min(GRID - 2);
            let t = t - cell as f32;
            (cell, t * t * (3.0 - 2.0 * t))
        };
        let ((column, across), (row, down)) = (place(u), place(v));
        let at = |row: usize, column: usize, axis: usize| self.elastic[row * GRID + column][axis];
        std::array::from_fn(|axis| {
            let above = at(row, column, axis) * (1.0 - across) + at(row, column + 1, axis) * across;
            let below = at(row + 1, column, axis) * (1.0 - across) + at(row + 1, column + 1, axis) * across;
            above * (1.0 - down) + below * down
        })
    }

    /// The changed picture and its masks.
    pub(crate) fn apply(&self, sample: &SegmentationSample) -> Values {
        let (side, area) = (sample.side, sample.side * sample.side);
        let mut grey = vec![0f32; area];
        let mut masks = vec![0f32; sample.masks.len() * area];
        let mut known = vec![0f32; sample.masks.len()];
        for (pixel, grey) in grey.iter_mut().enumerate() {
            let (u, v) = self.source(pixel % side, pixel / side, side);
            *grey = bilinear(&sample.picture, side, u, v) / 255.0;
            for (channel, mask) in sample.masks.iter().enumerate() {
                if let Some(mask) = mask {
                    masks[self.target(channel) * area + pixel] = sample.kind.target(bilinear(mask, side, u, v));
                }
            }
        }
        self.change_greys(&mut grey, side);
        for (channel, _) in sample.masks.iter().enumerate().filter(|(_, mask)| mask.is_some()) {
            known[self.target(channel)] = 1.0;
        }
        Values { side, picture: sample.normalised(&grey), masks, known, distance: None }
    }

    /// Changes sharpness, gamma, contrast and brightness of values 0 to 1, adds noise, and makes them 0 to 255.
    fn change_greys(&self, grey: &mut [f32], side: usize) {
        if self.blur != 0.0 {
            let sharp = grey.to_vec();
            for (pixel, grey) in grey.iter_mut().enumerate() {
                let (x, y) = (pixel % side, pixel / side);
                let (rows, columns) = (y.saturating_sub(1)..(y + 2).min(side), x.saturating_sub(1)..(x + 2).min(side));
                let count = (rows.len() * columns.len()) as f32;
                let sum: f32 = rows.flat_map(|row| &sharp[row * side..][columns.clone()]).sum();
                *grey += self.blur * (sum / count - *grey);
            }
        }
        let mut random = seeded::generator(self.noise_seed, 0);
        for grey in grey {
            let value = grey.clamp(0.0, 1.0).powf(self.gamma);
            let noise = if self.noise > 0.0 { normal(self.noise, &mut random) } else { 0.0 };
            *grey = ((value - 0.5) * self.contrast + 0.5 + self.brightness + noise).clamp(0.0, 1.0) * 255.0;
        }
    }

    /// The mask that mask `channel` becomes: in a mirror image the left lung is where the right one is in every picture.
    fn target(&self, channel: usize) -> usize {
        match channel {
            LEFT_LUNG if self.mirrored => RIGHT_LUNG,
            RIGHT_LUNG if self.mirrored => LEFT_LUNG,
            _ => channel,
        }
    }
}

/// A number of the standard deviation `std`: the sum of three uniform ones is normal enough, and bounded.
fn normal(std: f32, random: &mut StdRng) -> f32 {
    (0..3).map(|_| std * random.random_range(-1f32..=1.0)).sum()
}

/// Bilinear value at `(x, y)`; 0 outside.
fn bilinear(plane: &[u8], side: usize, x: f32, y: f32) -> f32 {
    let (x0, y0) = (x.floor(), y.floor());
    let (fx, fy) = (x - x0, y - y0);
    let at = |x: f32, y: f32| {
        if x >= 0.0 && y >= 0.0 && x < side as f32 && y < side as f32 {
            f32::from(plane[y as usize * side + x as usize])
        } else {
            0.0
        }
    };
    (at(x0, y0) * (1.0 - fx) + at(x0 + 1.0, y0) * fx) * (1.0 - fy)
        + (at(x0, y0 + 1.0) * (1.0 - fx) + at(x0 + 1.0, y0 + 1.0) * fx) * fy
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SIDE: usize = 32;

    /// A picture that is its own mask.
    fn sample(inside: impl Fn(usize, usize) -> bool) -> SegmentationSample {
        let picture: Vec<u8> = (0..SIDE * SIDE).map(|i| if inside(i % SIDE, i / SIDE) { 255 } else { 0 }).collect();
        SegmentationSample::new("made".into(), SIDE, picture.clone(), vec![Some(picture), None, None], &[0.0], &[1.0])
    }

    #[test]
    fn no_augmentation_moves_picture_and_mask_apart() {
        let sample = sample(|x, y| (10..20).contains(&x) && (6..14).contains(&y));
        let mut random = seeded::generator(1, 0);
        let config = AugmentationConfig {
            intensity: [0.0; 3],
            sharpness: 0.0,
            noise: 0.0,
            ..AugmentationConfig::of(Modality::Ct)
        };
        for _ in 0..20 {
            let Values { picture, masks, known, .. } = Augmentation::draw(&config, &mut random).apply(&sample);
            assert_eq!(known, [1.0, 0.0, 0.0]);
            assert!(masks[..SIDE * SIDE].iter().sum::<f32>() > 30.0, "the mask is still in the picture");
            for (x, y) in picture.iter().zip(&masks[..SIDE * SIDE]) {
                assert!((*x > 0.5) == (*y > 0.5) || (x - 0.5).abs() < 0.01, "{x} {y}");
            }
        }
    }

    #[test]
    fn no_change_is_none_and_the_elastic_displacement_is_one() {
        let sample = sample(|x, y| x > 20 && y < 9);
        let mut random = seeded::generator(1, 0);
        let plain = Augmentation::draw(&AugmentationConfig::none(), &mut random).apply(&sample);
        let as_it_is = Values::of(&sample);
        assert_eq!(plain.masks, as_it_is.masks);
        let pairs = plain.picture.iter().zip(&as_it_is.picture);
        assert!(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) < 1e-5);
        assert_eq!(AugmentationConfig::none().describe(), "no augmentation");
        let standard = AugmentationConfig::of(Modality::Ct).describe();
        assert!(standard.contains("rotation 15 degrees") && standard.contains("top-bottom"), "{standard}");
        let elastic = AugmentationConfig { elastic: 0.05, ..AugmentationConfig::none() };
        assert_ne!(Augmentation::draw(&elastic, &mut random).apply(&sample).masks, as_it_is.masks);
    }

    #[test]
    fn sharpness_and_noise_change_greys_and_no_masks() {
        let sample = sample(|x, _| x % 8 < 4);
        let change = |blur: f32, noise: f32| {
            let plain = Augmentation::draw(&AugmentationConfig::none(), &mut seeded::generator(1, 0));
            Augmentation { blur, noise, ..plain }.apply(&sample)
        };
        let plain = change(0.0, 0.0);
        let spread = |values: &Values| {
            let mean = values.picture.iter().sum::<f32>() / values.picture.len() as f32;
            values.picture.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.picture.len() as f32
        };
        let [soft, noisy, again] = [(1.0, 0.0), (0.0, 0.1), (0.0, 0.1)].map(|(blur, noise)| change(blur, noise));
        assert!(spread(&soft) < 0.9 * spread(&plain), "{} {}", spread(&soft), spread(&plain));
        // A third of the columns beside an edge of stripes is of the other grey.
        assert!((soft.picture[5 * SIDE + 3] - 2.0 / 3.0).abs() < 1e-5, "{}", soft.picture[5 * SIDE + 3]);
        assert_ne!(noisy.picture, plain.picture);
        assert_eq!(noisy.picture, again.picture, "the noise has a seed");
        for values in [&soft, &noisy] {
            assert_eq!(values.masks, plain.masks);
        }
        // Sharpening goes the other way: greys beside an edge move apart.
        let stripes = |blur: f32| {
            let mut grey: Vec<f32> = (0..SIDE * SIDE).map(|i| if i % 8 < 4 { 0.6 } else { 0.4 }).collect();
            let plain = Augmentation::draw(&AugmentationConfig::none(), &mut seeded::generator(1, 0));
            Augmentation { blur, ..plain }.change_greys(&mut grey, SIDE);
            [grey[5 * SIDE + 3], grey[5 * SIDE + 4], grey[5 * SIDE + 1]].map(|grey| grey / 255.0)
        };
        let [bright, dark, inside] = stripes(-0.9);
        assert!(
            (bright - 0.66).abs() < 1e-4 && (dark - 0.34).abs() < 1e-4 && (inside - 0.6).abs() < 1e-4,
            "{bright} {dark} {inside}"
        );
    }

    /// In a mirror image as in any other, the patient's left lung is on the right of the picture.
    #[test]
    fn a_mirror_image_keeps_left_and_right_true() {
        let half = |is_left: bool| {
            (0..SIDE * SIDE).map(|i| if (i % SIDE >= SIDE / 2) == is_left { 255 } else { 0 }).collect::<Vec<u8>>()
        };
        let marked = (0..SIDE * SIDE).map(|i| if i % SIDE < 4 { 255 } else { 0 }).collect::<Vec<u8>>();
        let masks = vec![Some(marked.clone()), Some(half(true)), Some(half(false))];
        let sample = SegmentationSample::new("made".into(), SIDE, marked, masks, &[0.0], &[1.0]);
        let config = AugmentationConfig { flips: Flips::Both, ..AugmentationConfig::none() };
        let mut random = seeded::generator(3, 0);
        let mut mirrored = 0;
        for _ in 0..20 {
            let values = Augmentation::draw(&config, &mut random).apply(&sample);
            let as_it_is = Values::of(&sample);
            let area = SIDE * SIDE;
            assert_eq!(values.masks[area..], as_it_is.masks[area..], "lungs stay on their sides");
            assert_eq!(values.picture, values.masks[..area], "the infection moves with the picture");
            mirrored += usize::from(values.masks[..area] != as_it_is.masks[..area]);
        }
        assert!((5..=15).contains(&mirrored), "{mirrored} of 20 are mirrored");
        let one = Augmentation { mirrored: true, ..Augmentation::draw(&AugmentationConfig::none(), &mut random) };
        let only_left = vec![None, Some(half(true)), None];
        let only_left = SegmentationSample::new("made".into(), SIDE, sample.picture, only_left, &[0.0], &[1.0]);
        assert_eq!(one.apply(&only_left).known, [0.0, 0.0, 1.0]);
    }
}
