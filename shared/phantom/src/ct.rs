//! Axial CT slices of a chest: Hounsfield units, point by point through a body, with a scanner's noise.
//!
//! Coordinates are the patient's, in cm: x to the patient's left (right of the picture), y to the back (down), z up,
//! 0 at the tracheal carina. The wall of the chest is layered around the thoracic cage by distance and angle (ribs,
//! muscle, fat, skin); mediastinum, vessels, bronchi and lesions are solids in three dimensions, so that the slices of
//! a volume fit together. Heart, aorta and stomach lie left, the liver right, spine and table at the bottom.

mod lesions;

use rand::{Rng, SeedableRng, rngs::StdRng};
use rayon::prelude::*;
use thorax_shared::plane::Plane;

use self::lesions::Lesion;
use super::canvas::{
    Field, Point, Tree, Tube, blurred, bump, cloud_noise, gaussian, mix, profile, smooth_min, smoothstep, value_noise,
    white_noise,
};

/// Hounsfield units outside the reconstruction circle, and the least that is stored.
pub(super) const AIR_HU: f32 = -1024.0;

/// One axial slice and its truth.
pub(super) struct Slice {
    /// Hounsfield units.
    pub(super) hounsfield: Field,
    pub(super) infection: Plane<bool>,
    pub(super) left_lung: Plane<bool>,
    pub(super) right_lung: Plane<bool>,
}

/// One person on one scanner.
pub(super) struct Patient {
    /// The width of the picture in cm.
    pub(super) field_of_view: f32,
    /// The height of the key slice, cm above the carina.
    pub(super) key_height: f32,
    scale: f32,
    /// Thickness of the subcutaneous fat in cm.
    fat: f32,
    muscle: f32,
    heart: f32,
    breasts: f32,
    /// Cage depth over width, 1 = average.
    depth: f32,
    shift: [f32; 2],
    turn: f32,
    round_field: bool,
    noise: f32,
    texture: u32,
    vessels: Vec<Tube>,
    /// Airways with their wall's thickness beyond the lumen.
    airways: Vec<Tube>,
    lesions: Vec<Lesion>,
    seed: u64,
}

/// What of a person depends on the height alone: a slice asks a million points of one.
struct Level {
    /// Half-width, and half-depth of the cage's inside, cm.
    cage: [f32; 2],
    /// The heart, against that of an average person where it is largest.
    heart: f32,
    /// Half-width of the great vessels, and of what lies behind them, cm.
    great: f32,
    middle: f32,
}

/// What lies at a point.
struct Tissue {
    hounsfield: f32,
    /// -1: right lung, 1: left lung, 0: no lung.
    lung: i8,
    infected: bool,
}

impl Patient {
    /// The person that `seed` stands for.
    pub(super) fn random(seed: u64, positive: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let scale = rng.random_range(0.93..1.05);
        let mut patient = Self {
            field_of_view: rng.random_range(35.5..40.0),
            key_height: rng.random_range(-9.0..1.5),
            scale,
            fat: rng.random_range(0.8..2.6),
            muscle: rng.random_range(0.85..1.25),
            heart: rng.random_range(0.9..1.08),
            breasts: if rng.random() { rng.random_range(0.5..1.3) } else { 0.0 },
            depth: rng.random_range(0.93..1.1),
            shift: [rng.random_range(-0.8..0.8), rng.random_range(-1.6..-0.2)],
            turn: rng.random_range(-0.05..0.05),
            round_field: rng.random(),
            noise: rng.random_range(14.0..34.0),
            texture: rng.random(),
            vessels: Vec::new(),
            airways: Vec::new(),
            lesions: Vec::new(),
            seed,
        };
        patient.grow_vessels(&mut rng);
        if positive {
            patient.place_lesions(&mut rng);
        }
        patient
    }

    /// Half-width, front and back half-depth of the cage's inside, cm.
    fn cage(&self, z: f32) -> [f32; 2] {
        const WIDTH: [(f32, f32); 6] =
            [(-15.0, 13.6), (-9.0, 13.9), (-4.0, 13.4), (0.0, 12.5), (4.0, 11.0), (8.0, 8.0)];
        const DEPTH: [(f32, f32); 6] = [(-15.0, 10.1), (-9.0, 9.8), (-4.0, 9.1), (0.0, 8.3), (4.0, 7.0), (8.0, 5.0)];
        [profile(&WIDTH, z), profile(&DEPTH, z) * self.depth]
    }

    fn level(&self, z: f32) -> Level {
        const HEART: [(f32, f32); 6] = [(-15.0, 0.9), (-11.0, 1.0), (-7.0, 1.0), (-4.0, 0.85), (-2.0, 0.6), (0.0, 0.3)];
        Level {
            cage: self.cage(z),
            heart: profile(&HEART, z) * self.heart,
            great: profile(&[(-4.0, 3.0), (0.0, 3.5), (4.0, 3.3), (8.0, 3.0)], z),
            middle: profile(&[(-12.0, 1.7), (-4.0, 2.1), (0.0, 2.5), (6.0, 2.6)], z),
        }
    }

    /// Distance outward from the cage's inner surface (negative inside).
    fn outside(&self, level: &Level, [x, y, _]: Point) -> f32 {
        let [wide, deep] = level.cage;
        // The front is flatter than the back, and the back is drawn in at the spine.
        let power = if y < 0.0 { 2.3 } else { 2.5 };
        beyond_superellipse(x / wide, y / deep, power, (x * x + y * y).sqrt())
    }

    /// Distance outward from the skin, negative inside the body.
    fn skin(&self, level: &Level, [x, y, z]: Point) -> f32 {
        let [wide, deep] = level.cage;
        let shoulders = 2.2 * smoothstep(-2.0, 6.0, z);
        let half_width = wide + 1.1 + 1.5 * self.muscle + self.fat + shoulders;
        // The back is flatter than the front.
        let (half_depth, power) = if y < 0.0 {
            let breast = self.breasts * 2.6 * bump(x.abs(), 0.62 * wide, 6.5) * bump(z, -6.5, 7.5);
            (deep + 0.75 + 0.9 * self.muscle + 0.8 * self.fat + breast - 0.35 * bump(x, 0.0, 2.5), 2.25)
        } else {
            (deep + 0.75 + 2.1 * self.muscle + 0.8 * self.fat - 0.55 * bump(x, 0.0, 2.6), 2.7)
        };
        beyond_superellipse(x / half_width, y / half_depth, power, (x * x + y * y).sqrt())
    }

    /// Distance to the mediastinum's surface, negative inside.
    fn mediastinum(&self, level: &Level, [x, y, z]: Point) -> f32 {
        let ellipse = |cx: f32, cy: f32, a: f32, b: f32, tilt: f32| {
            let (sin, cos) = tilt.sin_cos();
            let (dx, dy) = (x - cx, y - cy);
            let (u, v) = ((cos * dx + sin * dy) / a, (cos * dy - sin * dx) / b);
            let f = (u * u + v * v).sqrt().max(1e-3);
            (dx * dx + dy * dy).sqrt() * (1.0 - 1.0 / f)
        };
        let (deep, size) = (level.cage[1], level.heart);
        let heart = ellipse(1.9, -0.33 * deep, 6.3 * size, 4.5 * size, -0.42).max((z - 0.5) * 2.0);
        let right_atrium = ellipse(-2.0, -0.22 * deep, 3.4 * size, 3.6 * size, 0.2).max((z - 0.5) * 2.0);
        let great = ellipse(0.1, -0.34 * deep, level.great, 3.1, 0.0);
        let middle = ellipse(0.3, 0.12 * deep, level.middle, 3.2, 0.0);
        let stalk = ellipse(0.3, -0.86 * deep, 1.5, 1.9, 0.0);
        let aorta = ellipse(2.2, 0.44 * deep, 1.35, 1.35, 0.0);
        let arch = ellipse(1.7, 0.02 * deep, 2.2, 4.0, 0.35).max((z - 2.8).abs() * 1.5 - 1.4);
        let spine = spine_bulge(level, [x, y, z]);
        [heart, right_atrium, great, middle, stalk, aorta, arch, spine]
            .into_iter()
            .fold(9.0, |a, b| smooth_min(a, b, 0.9))
    }

    /// The heights of the two diaphragm domes, seen from above: positive inside abdomen.
    fn below_diaphragm(&self, [x, y, z]: Point) -> f32 {
        let top = if x < 0.0 { -10.6 } else { -11.9 };
        let centre = if x < 0.0 { -6.5 } else { 6.8 };
        let away = ((x - centre) / 6.5).powi(2) + ((y + 0.5) / 6.5).powi(2);
        top - 3.2 * away - z
    }

    /// Which lung this is (-1 right, 1 left), and how deep under its surface, cm.
    fn lung(&self, point: Point) -> (i8, f32) {
        let level = self.level(point[2]);
        self.lung_inside(&level, point, self.outside(&level, point))
    }

    /// The same of a point that lies `outside` cm out of the cage's inner surface.
    fn lung_inside(&self, level: &Level, point: Point, outside: f32) -> (i8, f32) {
        let wall = -outside - 0.25;
        let between = smooth_min(self.mediastinum(level, point), -self.below_diaphragm(point), 0.5);
        let depth = smooth_min(wall, between, 0.7);
        (
            if depth <= 0.0 {
                0
            } else if point[0] < 0.0 {
                -1
            } else {
                1
            },
            depth,
        )
    }

    fn grow_vessels(&mut self, rng: &mut StdRng) {
        let inside = |point: Point| self.lung(point).1 > 0.12;
        let tree = Tree { inside: &inside, thinnest: 0.03, pieces: 1800 };
        let mut vessels = Vec::new();
        let mut airways = vec![
            tube([0.0, 0.6, 9.0], [0.0, 0.9, 0.0], 0.95, 0.95),
            tube([0.0, 0.9, 0.2], [-2.9, 1.2, -1.9], 0.75, 0.66),
            tube([0.0, 0.9, 0.2], [4.0, 1.5, -2.6], 0.66, 0.56),
            tube([-2.9, 1.2, -1.9], [-3.6, 1.3, -5.0], 0.52, 0.42),
            tube([-2.9, 1.2, -1.9], [-5.6, 0.4, 0.4], 0.42, 0.26),
            tube([4.0, 1.5, -2.6], [4.8, 2.3, -5.6], 0.42, 0.34),
            tube([4.0, 1.5, -2.6], [6.2, -0.6, -1.2], 0.40, 0.24),
        ];
        for side in [-1.0_f32, 1.0] {
            let starts: [(Point, Point, f32); 13] = [
                ([3.6, 0.8, -1.2], [0.5, -0.7, 0.8], 0.50),
                ([3.8, 1.2, -1.4], [0.8, 0.5, 0.7], 0.44),
                ([4.0, 0.2, -2.4], [0.8, -0.8, -0.1], 0.44),
                ([4.0, 1.6, -2.4], [0.8, 0.7, -0.3], 0.46),
                ([4.4, 0.9, -2.4], [1.0, -0.1, 0.2], 0.42),
                ([4.3, 0.4, -3.4], [0.8, -0.6, -0.6], 0.44),
                ([4.0, 1.8, -3.4], [0.3, 0.7, -0.9], 0.52),
                ([4.4, 1.8, -4.0], [0.8, 0.4, -0.8], 0.50),
                ([4.6, 1.2, -4.4], [1.0, -0.2, -0.6], 0.44),
                ([4.6, 2.0, -5.0], [0.5, 0.5, -1.0], 0.46),
                ([4.9, 1.5, -6.0], [0.8, 0.1, -0.9], 0.42),
                ([4.6, 2.6, -6.2], [0.4, 0.8, -0.6], 0.42),
                ([5.4, 1.0, -6.6], [0.5, -0.6, -0.8], 0.38),
            ];
            for (start, direction, radius) in starts {
                let place = [
                    side * start[0] + 0.4 * gaussian(rng),
                    start[1] + 0.4 * gaussian(rng),
                    start[2] + 0.5 * gaussian(rng),
                ];
                let heading = [side * direction[0], direction[1], direction[2]].map(|d| d + 0.15 * gaussian(rng));
                let before = vessels.len();
                let radius = radius * rng.random_range(0.8..1.1);
                let start = self.pushed_into_lung(place, side);
                vessels.push(tube(
                    [start[0] - side * 1.2, start[1] - 0.5, start[2] + 1.3],
                    start,
                    radius * 1.1,
                    radius,
                ));
                tree.grow(&mut vessels, start, heading, radius, rng);
                // A bronchus runs beside each artery for its first pieces.
                for artery in vessels[before..].iter().take(7) {
                    let beside = |p: Point| [p[0] - 0.45 * side, p[1] + 0.25, p[2]];
                    let bronchus =
                        tube(beside(artery.from), beside(artery.to), artery.from_radius * 0.62, artery.to_radius * 0.6);
                    if bronchus.to_radius > 0.07 && self.lung(bronchus.from).1 > 0.0 {
                        airways.push(bronchus);
                    }
                }
            }
        }
        self.vessels = vessels;
        self.airways = airways;
    }

    /// The first point from `point` sideways that lies in lung.
    fn pushed_into_lung(&self, mut point: Point, side: f32) -> Point {
        for _ in 0..60 {
            if self.lung(point).1 > 0.2 {
                break;
            }
            point[0] += side * 0.15;
        }
        point
    }

    /// The tissue at a point of this level, without vessels and airways.
    fn tissue(&self, level: &Level, point: Point) -> Tissue {
        let [x, y, z] = point;
        let outer = |hounsfield: f32| Tissue { hounsfield, lung: 0, infected: false };
        let outside = self.outside(level, point);
        if outside > -0.25 {
            return outer(self.wall(level, point, outside));
        }
        let (side, depth) = self.lung_inside(level, point, outside);
        if side != 0 {
            let (strength, density) = self.lesion(point);
            // Lung at the back is denser: gravity. Its grain is lobules and vessels too small to draw.
            let healthy = -872.0
                + 42.0 * (y / 8.0)
                + 30.0 * cloud_noise(self.texture, [x * 1.6, y * 1.6, z * 1.6])
                + 14.0 * value_noise(self.texture ^ 5, [x * 6.0, y * 6.0, z * 6.0]);
            let edge = smoothstep(0.0, 0.10, depth);
            let inside = mix(healthy, density.max(healthy), strength);
            let infected = strength > 0.42;
            return Tissue { hounsfield: mix(-300.0, inside, edge), lung: side, infected };
        }
        if let Some(bone) = self.vertebra(level, point) {
            return outer(bone);
        }
        let below = self.below_diaphragm(point);
        if below > 0.0 && self.mediastinum(level, point) > 0.0 {
            return outer(self.abdomen(point, below));
        }
        outer(self.between_lungs(level, point))
    }

    fn abdomen(&self, [x, y, z]: Point, below: f32) -> f32 {
        let grain = 8.0 * cloud_noise(self.texture ^ 31, [x, y, z]);
        if x < 0.0 {
            return 60.0 + grain; // liver
        }
        // Stomach with its bubble in front (the patient lies on the back), spleen behind.
        let stomach = ((x - 6.5) / 4.5).powi(2) + ((y + 3.0) / 3.6).powi(2);
        if below > 0.5 && stomach < 1.0 {
            if y < -2.6 { -980.0 } else { 25.0 + grain }
        } else if y > 1.5 && below > 0.4 {
            52.0 + grain
        } else {
            -95.0 + grain
        }
    }

    fn between_lungs(&self, level: &Level, [x, y, z]: Point) -> f32 {
        let (deep, size) = (level.cage[1], level.heart);
        let grain = 9.0 * cloud_noise(self.texture ^ 32, [x * 1.2, y * 1.2, z * 1.2]);
        let circle = |cx: f32, cy: f32, radius: f32| radius - ((x - cx).powi(2) + (y - cy).powi(2)).sqrt();
        let heart = {
            let (sin, cos) = (-0.42_f32).sin_cos();
            let (dx, dy) = (x - 1.9, y + 0.33 * deep);
            let (u, v) = ((cos * dx + sin * dy) / (5.75 * size), (cos * dy - sin * dx) / (4.0 * size));
            let left = if z < 0.0 { 1.0 - (u * u + v * v).sqrt() } else { -1.0 };
            let right = if z < 0.0 { (circle(-1.9, -0.22 * deep, 3.0 * size)) / 3.0 } else { -1.0 };
            left.max(right)
        };
        let vessel = circle(2.2, 0.44 * deep, 1.2) // descending aorta
            .max(if z > -4.0 && z < 2.2 { circle(-0.6, -0.42 * deep, 1.55) } else { -1.0 }) // ascending aorta
            .max(if z > -3.0 && z < 0.5 { circle(2.1, -0.40 * deep, 1.4) } else { -1.0 }) // pulmonary trunk
            .max(if z > -3.0 { circle(-2.3, -0.22 * deep, 0.85) } else { -1.0 }) // superior vena cava
            .max(if z > 3.5 { circle(1.7, -0.35 * deep, 0.5).max(circle(-0.6, -0.40 * deep, 0.6)) } else { -1.0 })
            .max(if (z - 2.8).abs() < 1.2 {
                1.25 - tube([-0.6, -0.45 * deep, z], [2.2, 0.40 * deep, z], 1.0, 1.0).distance([x, y, z]).0
            } else {
                -1.0
            });
        let oesophagus = circle(0.9, 0.33 * deep, 0.65);
        if vessel > 0.0 || heart > 0.0 {
            let chambers = 10.0 * cloud_noise(self.texture ^ 33, [x * 0.3, y * 0.3, z * 0.3]);
            44.0 + chambers + grain
        } else if oesophagus > 0.0 {
            if oesophagus > 0.5 { -200.0 } else { 32.0 + grain }
        } else if spine_bulge(level, [x, y, z]) < 0.0 || self.below_diaphragm([x, y, z]) > 0.0 {
            48.0 + grain
        } else {
            mix(-95.0, 25.0, smoothstep(0.15, 0.55, cloud_noise(self.texture ^ 34, [x * 0.9, y * 0.9, z * 0.9])))
                + grain
        }
    }

    /// The vertebra with canal and processes, where there is one.
    fn vertebra(&self, level: &Level, [x, y, z]: Point) -> Option<f32> {
        let y = y - vertebra_centre(level);
        // Up and down a vertebra: bodies of 2 cm, discs of 0.45 cm.
        let within = (z / 2.45).rem_euclid(1.0);
        let disc = within > 0.82;
        // No part of a vertebra reaches farther.
        if x.abs() > 3.6 || !(-2.0..5.9).contains(&y) {
            return None;
        }
        let capsule = |from: [f32; 2], to: [f32; 2], radius: f32| {
            tube([from[0], from[1], 0.0], [to[0], to[1], 0.0], radius, radius).distance([x.abs(), y, 0.0]).0 - radius
        };
        // The body is flattened where it meets the canal.
        let body =
            smooth_min(((x / 1.85).powi(2) + ((y + 0.1) / 1.5).powi(2)).sqrt() - 1.0, 5.0, 0.1).max(y - 1.2) * 1.6;
        let canal = ((x / 1.0).powi(2) + ((y - 2.1) / 0.85).powi(2)).sqrt() - 1.0;
        if canal < 0.0 {
            return Some(if (x * x + (y - 2.1).powi(2)).sqrt() < 0.55 { 38.0 } else { 5.0 });
        }
        let arch = capsule([1.15, 1.0], [1.2, 2.3], 0.36)
            .min(capsule([1.2, 2.3], [0.0, 3.35], 0.33))
            .min(if within < 0.7 { capsule([1.2, 2.1], [3.0, 3.2], 0.36) } else { 9.0 })
            .min(capsule([0.0, 3.3], [0.05, if within < 0.6 { 5.3 } else { 4.3 }], 0.27));
        let grain = || 70.0 * cloud_noise(self.texture ^ 41, [x * 4.0, y * 4.0, z * 4.0]);
        let bone =
            |distance: f32, marrow: f32, cortex: f32| mix(cortex, marrow, smoothstep(-0.08, -0.32, distance)) + grain();
        if body < 0.0 {
            Some(if disc { 85.0 + 0.2 * grain() } else { bone(body, 190.0, 520.0) })
        } else if arch < 0.0 {
            Some(bone(arch, 330.0, 760.0))
        } else {
            None
        }
    }

    /// The chest wall: what lies `outside` cm out of the cage's inner surface.
    fn wall(&self, level: &Level, [x, y, z]: Point, outside: f32) -> f32 {
        use core::f32::consts::PI;
        // From the spine (0) round to the sternum (pi).
        let angle = || (x.abs() / level.cage[0]).atan2(y / level.cage[1]);
        if let Some(bone) = self.vertebra(level, [x, y, z]).or_else(|| self.rib([x, y, z], outside, angle)) {
            return bone;
        }
        let grain = |seed: u32, scale: f32| cloud_noise(self.texture ^ seed, [x * scale, y * scale, z * scale]);
        let under_skin = -self.skin(level, [x, y, z]);
        if under_skin < 0.0 {
            return self.table([x, y, z]);
        } else if under_skin < 0.18 {
            return 10.0;
        } else if outside < 0.1 {
            return 45.0 + 10.0 * grain(52, 1.0);
        }
        let angle = angle();
        let fat = (self.fat * (0.9 + 0.25 * bump(angle, 0.5 * PI, 1.0)) + 0.35 * grain(51, 0.12)).max(0.3);
        let breast = self.breasts * 2.4 * bump(angle, 0.72 * PI, 0.72) * bump(z, -6.5, 7.5);
        if under_skin < fat + breast {
            let strand = smoothstep(0.10, 0.0, grain(56, 0.55).abs()) * if breast > 0.8 { 90.0 } else { 18.0 };
            -104.0 + strand + 7.0 * grain(57, 1.3)
        } else {
            // Layers of muscle with fat between them, here and there.
            let layer = ((outside - 0.95) * 0.75 + 0.9 * grain(53, 0.16)).rem_euclid(1.0);
            let upper = smoothstep(-8.0, 1.0, z);
            let gap =
                bump(layer, 0.5, 0.17) * smoothstep(0.95, 1.2, outside) * smoothstep(-0.25, 0.25, grain(58, 0.22));
            let between_ribs = bump(outside, 0.42, 0.55) * smoothstep(0.1, 0.4, grain(59, 0.8));
            let plate = if z > -7.0 { self.scapula(outside, angle, upper) } else { None };
            let fatty = gap.max(0.8 * between_ribs).max(smoothstep(0.42, 0.62, grain(54, 0.5)));
            plate.unwrap_or(mix(56.0, -75.0, fatty) + 8.0 * grain(55, 1.5))
        }
    }

    fn scapula(&self, outside: f32, angle: f32, upper: f32) -> Option<f32> {
        let lie = 1.75 + 0.5 * (angle - 0.9);
        let reach = bump(angle, 0.98, 0.50 * (0.35 + 0.65 * upper));
        let thick = 0.30 * reach.sqrt();
        let distance = (outside - lie).abs();
        (distance < thick).then(|| mix(420.0, 760.0, smoothstep(0.4, 1.0, distance / thick)))
    }

    /// Ribs fall from the spine to the front, so that a slice cuts each of them obliquely.
    fn rib(&self, [x, _, z]: Point, outside: f32, angle: impl Fn() -> f32) -> Option<f32> {
        use core::f32::consts::PI;
        let lie = outside - 0.42;
        if lie.abs() > 0.5 {
            return None;
        }
        let angle = angle();
        if angle > 0.955 * PI || (angle > 0.8 * PI && x.abs() < 2.1) {
            // Sternum.
            let distance = ((x / 1.9).powi(2) + (lie / 0.42).powi(2)).sqrt();
            return (z > -9.0 && distance < 1.0).then(|| mix(170.0, 480.0, smoothstep(0.55, 0.95, distance)));
        }
        let fall = 9.5 * (1.0 - angle.cos()) / 2.0;
        let nearest = ((z + fall - 0.35 * x.signum()) / 2.35).round();
        let off_axis = z + fall - 0.35 * x.signum() - 2.35 * nearest;
        let distance = ((off_axis / 0.66).powi(2) + (lie / 0.40).powi(2)).sqrt();
        if distance >= 1.0 {
            return None;
        }
        // The front ends are cartilage.
        let cartilage = smoothstep(0.80 * PI, 0.86 * PI, angle);
        Some(mix(mix(230.0, 820.0, smoothstep(0.5, 0.85, distance)), 110.0, cartilage))
    }

    /// Air, or the table that the patient lies on.
    fn table(&self, [x, y, _]: Point) -> f32 {
        let [_, deep] = self.cage(-6.0);
        let top = deep + 0.8 + 2.1 * self.muscle + 0.8 * self.fat + 0.35 - 0.006 * x * x;
        let depth = y - top;
        let half_width = 21.0;
        if x.abs() > half_width {
            return -1000.0;
        }
        let bottom = 3.4 + 0.001 * x * x;
        match depth {
            d if d < 0.0 => -1000.0,
            d if d < 0.22 => -140.0,
            d if d < bottom => -955.0,
            d if d < bottom + 0.25 => -90.0,
            _ => -1000.0,
        }
    }

    /// The slice at `height` cm above the carina, `size` x `size` pixels.
    pub(super) fn slice(&self, height: f32, size: usize) -> Slice {
        let pixel_cm = self.field_of_view / size as f32;
        let (sin, cos) = self.turn.sin_cos();
        let to_body = |column: f32, row: f32| -> Point {
            let (x, y) = (
                (column + 0.5) * pixel_cm - self.field_of_view / 2.0,
                (row + 0.5) * pixel_cm - self.field_of_view / 2.0,
            );
            let (x, y) = (x - self.shift[0], y - self.shift[1]);
            [(cos * x + sin * y) / self.scale, (cos * y - sin * x) / self.scale, height]
        };
        let to_pixel = |point: Point| {
            let (x, y) = (point[0] * self.scale, point[1] * self.scale);
            let (x, y) = (cos * x - sin * y + self.shift[0], cos * y + sin * x + self.shift[1]);
            [(x + self.field_of_view / 2.0) / pixel_cm - 0.5, (y + self.field_of_view / 2.0) / pixel_cm - 0.5]
        };
        let level = self.level(height);
        // Two by two points a pixel: what a detector sees of an edge is its mean.
        let samples: Vec<(f32, i8, bool)> = (0..size * size)
            .into_par_iter()
            .map(|at| {
                let (column, row) = ((at % size) as f32, (at / size) as f32);
                let centre = self.tissue(&level, to_body(column, row));
                let other = self.tissue(&level, to_body(column + 0.35, row + 0.35)).hounsfield;
                let third = self.tissue(&level, to_body(column - 0.35, row - 0.2)).hounsfield;
                ((centre.hounsfield + other + third) / 3.0, centre.lung, centre.infected)
            })
            .collect();
        let mut hounsfield = Plane::from_fn(size, size, |x, y| samples[y * size + x].0);
        let lung = Plane::from_fn(size, size, |x, y| samples[y * size + x].1);
        let infection = Plane::from_fn(size, size, |x, y| samples[y * size + x].2);
        let in_chest = |x: usize, y: usize| lung.get(x, y) != 0 || hounsfield_is_soft(samples[y * size + x].0);

        for vessel in &self.vessels {
            for_pixels_of(vessel, 0.0, height, pixel_cm, size, to_pixel, to_body, |x, y, cover| {
                if in_chest(x, y) {
                    let value = &mut hounsfield.data_mut()[y * size + x];
                    *value = value.max(mix(*value, 42.0, cover));
                }
            });
        }
        for airway in &self.airways {
            let wall = (0.22 * airway.from_radius).clamp(0.06, 0.14);
            for_pixels_of(airway, wall, height, pixel_cm, size, to_pixel, to_body, |x, y, cover| {
                let value = &mut hounsfield.data_mut()[y * size + x];
                *value = value.max(mix(*value, 0.0, cover * 0.8));
            });
        }
        for airway in &self.airways {
            for_pixels_of(airway, 0.0, height, pixel_cm, size, to_pixel, to_body, |x, y, cover| {
                let value = &mut hounsfield.data_mut()[y * size + x];
                *value = mix(*value, -985.0, cover);
            });
        }

        let mut hounsfield = self.scanned(&hounsfield, height, pixel_cm);
        if self.round_field {
            let radius = size as f32 / 2.0;
            for (at, value) in hounsfield.data_mut().iter_mut().enumerate() {
                let (x, y) = ((at % size) as f32 + 0.5 - radius, (at / size) as f32 + 0.5 - radius);
                if x * x + y * y > radius * radius {
                    *value = AIR_HU;
                }
            }
        }
        Slice { hounsfield, infection, left_lung: lung.map(|side| side == 1), right_lung: lung.map(|side| side == -1) }
    }

    /// What a scanner makes of the truth: its point spread, and noise with the grain of filtered back projection.
    fn scanned(&self, truth: &Field, height: f32, pixel_cm: f32) -> Field {
        let size = truth.width();
        let mut rng = StdRng::seed_from_u64(self.seed ^ u64::from(height.to_bits()).rotate_left(17));
        let sharp = blurred(truth, 0.035 / pixel_cm);
        // A sharpening kernel overshoots at edges.
        let soft = blurred(&sharp, 0.11 / pixel_cm);
        // A ramp filter takes the low frequencies out of the noise: a narrow blur less a wide one.
        let white = white_noise(size, size, &mut rng);
        let (narrow, wide) = (blurred(&white, 0.75), blurred(&white, 2.1));
        let mut grain = Plane::from_fn(size, size, |x, y| narrow.get(x, y) - 0.9 * wide.get(x, y));
        let deviation = (grain.data().iter().map(|g| g * g).sum::<f32>() / (size * size) as f32).sqrt();
        grain.data_mut().iter_mut().for_each(|g| *g /= deviation);
        // Photons starve along the widest path, left to right, at the height of shoulders and spine.
        let streaks = {
            let rows: Vec<f32> = (0..size).map(|_| gaussian(&mut rng)).collect();
            let phase: f32 = rng.random_range(0.0..9.0);
            Plane::from_fn(size, size, |x, y| {
                rows[y] * (0.6 + 0.4 * value_noise(7, [x as f32 * 0.02 + phase, y as f32 * 0.3, 0.0]))
            })
        };
        let streaks = blurred(&streaks, 0.8);
        Plane::from_fn(size, size, |x, y| {
            let (u, v) = (x as f32 / size as f32 - 0.5, y as f32 / size as f32 - 0.5);
            let middle = 1.0 - 1.6 * (u * u + v * v);
            let inside = smoothstep(0.25, 0.15, v.abs()) * smoothstep(0.48, 0.40, u.abs());
            let value = sharp.get(x, y) + 0.55 * (sharp.get(x, y) - soft.get(x, y));
            let noise = self.noise * (middle.max(0.3) * grain.get(x, y) + 0.25 * inside * streaks.get(x, y));
            (value + noise).clamp(AIR_HU, 3071.0)
        })
    }
}

/// The middle of a vertebra, from front to back.
fn vertebra_centre(level: &Level) -> f32 {
    0.55 * level.cage[1]
}

/// Distance to the column of soft tissue around the spine, widening to the back.
fn spine_bulge(level: &Level, [x, y, _]: Point) -> f32 {
    let centre = vertebra_centre(level);
    let body = (x * x + (y - centre).powi(2)).sqrt() - 2.35;
    let behind = x.abs() - 2.2 - 0.32 * (y - centre).max(0.0);
    smooth_min(body, behind.max(centre - y), 0.6)
}

/// Vessels show through soft tissue of lesions and mediastinum, never through bone.
fn hounsfield_is_soft(hounsfield: f32) -> bool {
    (-200.0..90.0).contains(&hounsfield)
}

/// How far a point at `radius` lies beyond the superellipse |u|^p + |v|^p = 1, along its ray from the centre.
fn beyond_superellipse(u: f32, v: f32, power: f32, radius: f32) -> f32 {
    let f = (u.abs().powf(power) + v.abs().powf(power)).powf(1.0 / power).max(1e-3);
    radius * (1.0 - 1.0 / f)
}

fn tube(from: Point, to: Point, from_radius: f32, to_radius: f32) -> Tube {
    Tube { from, to, from_radius, to_radius }
}

/// Calls `paint(column, row, cover)` for the pixels of the slice at `height` that a tube, `wider` by so many cm, covers.
#[allow(clippy::too_many_arguments, reason = "the slice's geometry, spelled out for two callers in one function")]
fn for_pixels_of(
    tube: &Tube,
    wider: f32,
    height: f32,
    pixel_cm: f32,
    size: usize,
    to_pixel: impl Fn(Point) -> [f32; 2],
    to_body: impl Fn(f32, f32) -> Point,
    mut paint: impl FnMut(usize, usize, f32),
) {
    // A slice is 1.5 mm thick; three heights stand for it.
    const HEIGHTS: [f32; 3] = [-0.05, 0.0, 0.05];
    let radius = tube.from_radius.max(tube.to_radius) + wider;
    let (low, high) = (tube.from[2].min(tube.to[2]) - radius - 0.1, tube.from[2].max(tube.to[2]) + radius + 0.1);
    if height < low || height > high {
        return;
    }
    let (a, b) = (to_pixel(tube.from), to_pixel(tube.to));
    let reach = radius / pixel_cm + 2.0;
    let span = |i: usize| {
        let low = (a[i].min(b[i]) - reach).max(0.0) as usize;
        let high = (a[i].max(b[i]) + reach).clamp(0.0, (size - 1) as f32) as usize;
        low..=high
    };
    for row in span(1) {
        for column in span(0) {
            let [x, y, z] = to_body(column as f32, row as f32);
            let cover = HEIGHTS
                .iter()
                .map(|offset| {
                    let (distance, radius) = tube.distance([x, y, z + offset]);
                    // The edge is a pixel wide; a thinner vessel fills part of one.
                    ((radius + wider - distance) / pixel_cm + 0.5)
                        .clamp(0.0, 1.0)
                        .min(2.0 * (radius + wider) / pixel_cm)
                })
                .sum::<f32>()
                / HEIGHTS.len() as f32;
            if cover > 0.0 {
                paint(column, row, cover);
            }
        }
    }
}
