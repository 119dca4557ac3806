//! A frontal chest film, made the way a real one is: X-rays cross a body, scatter, and are counted.
//!
//! The body is a set of simple solids in cm. For every pixel the length of each solid along the ray (parallel, front
//! to back) is computed or, for ribs and vessels, deposited tube by tube; lengths times attenuation coefficients give
//! the attenuation, Beer and Lambert the primary beam, a wide blur the scatter, a random number the quantum noise,
//! and a sigmoid the display curve. Bright is dense (MONOCHROME2). The patient faces the viewer: the heart's tip, the
//! aortic arch and the stomach's bubble are on the right of the picture, the liver and the `R` on its left.

mod lesions;

use rand::{Rng, SeedableRng, rngs::StdRng};
use thorax_shared::plane::Plane;

use self::lesions::{LESION_BORDER, Lesions};
use super::canvas::{
    Field, Point, Tree, Tube, blurred, bump, cloud_noise, gaussian, half_chord, mix, profile, smoothstep, white_noise,
    write_notice, write_text,
};

/// The detector's width and height in cm.
pub(super) const DETECTOR_CM: f32 = 40.0;

// Attenuation coefficients (1/cm) at the mean energy of a 120 kV chest beam, about 60 keV (NIST XCOM: water 0.206;
// lung of density 0.26 0.053; bone is given as its excess over the soft tissue that it replaces).
const SOFT: f32 = 0.205;
const LUNG: f32 = 0.052;
const BONE_EXCESS: f32 = 0.36;

/// A simulated film and its truth.
pub(super) struct Film {
    /// Display values, 0 (black, air) to 1 (white, dense).
    pub(super) picture: Field,
    pub(super) infection: Plane<bool>,
    pub(super) left_lung: Plane<bool>,
    pub(super) right_lung: Plane<bool>,
}

/// One person and one exposure.
struct Patient {
    /// Overall size, 1 = average.
    scale: f32,
    /// Soft tissue around the cage, 1 = average.
    stoutness: f32,
    heart: f32,
    /// The diaphragm's height in cm; negative is a deep breath.
    diaphragm: f32,
    /// How steeply the ribs fall.
    rib_fall: f32,
    breasts: f32,
    tilt: f32,
    shift: [f32; 2],
}

impl Patient {
    fn random(rng: &mut StdRng) -> Self {
        Self {
            scale: rng.random_range(0.93..1.07),
            stoutness: rng.random_range(0.85..1.3),
            heart: rng.random_range(0.88..1.12),
            diaphragm: rng.random_range(-1.6..1.4),
            rib_fall: rng.random_range(0.8..1.15),
            breasts: if rng.random() { rng.random_range(0.4..1.0) } else { 0.0 },
            tilt: rng.random_range(-0.03..0.03),
            shift: [rng.random_range(-0.9..0.9), rng.random_range(-1.0..0.8)],
        }
    }

    /// From the detector (cm from its middle, cm from its top) to the average body's frontal plane.
    fn to_body(&self, x: f32, y: f32) -> [f32; 2] {
        let (sin, cos) = self.tilt.sin_cos();
        let (x, y) = (x - self.shift[0], y - self.shift[1] - 20.0);
        [(cos * x + sin * y) / self.scale, (cos * y - sin * x) / self.scale + 20.0]
    }

    /// The inverse of [`Self::to_body`].
    fn to_detector(&self, x: f32, y: f32) -> [f32; 2] {
        let (sin, cos) = self.tilt.sin_cos();
        let (x, y) = (x * self.scale, (y - 20.0) * self.scale);
        [cos * x - sin * y + self.shift[0], cos * y + sin * x + 20.0 + self.shift[1]]
    }

    /// The chord through trunk, neck and arms, cm.
    fn body(&self, x: f32, y: f32) -> f32 {
        const WIDTH: [(f32, f32); 13] = [
            (0.0, 5.7),
            (2.6, 5.8),
            (4.2, 7.2),
            (5.3, 10.6),
            (6.3, 14.6),
            (7.4, 17.2),
            (9.0, 18.3),
            (12.0, 17.6),
            (18.0, 16.4),
            (24.0, 16.5),
            (32.0, 16.6),
            (38.0, 16.9),
            (46.0, 17.4),
        ];
        const DEPTH: [(f32, f32); 7] =
            [(0.0, 5.6), (4.0, 6.0), (8.0, 7.2), (13.0, 9.4), (20.0, 10.4), (30.0, 10.2), (46.0, 10.6)];
        let fat = self.stoutness.sqrt();
        let (half_width, half_depth) = (profile(&WIDTH, y) * mix(1.0, fat, 0.4), profile(&DEPTH, y) * fat);
        let trunk = 2.0 * half_depth * (1.0 - (x.abs() / half_width).min(1.0).powf(3.2)).sqrt();
        let arm = Tube { from: [17.6, 10.2, 0.0], to: [22.4, 36.0, 0.0], from_radius: 4.1 * fat, to_radius: 3.4 * fat };
        let (distance, radius) = arm.distance([x.abs(), y, 0.0]);
        let arm = 2.0 * half_chord(radius, distance);
        let breast = if self.breasts > 0.0 {
            let (dx, dy) = ((x.abs() - 8.6) / 6.2, (y - 24.5) / 5.2);
            // The lower rim of a hanging breast is sharp, its upper end fades.
            3.4 * self.breasts * (1.0 - dx * dx - dy * dy * if dy > 0.0 { 1.0 } else { 0.55 }).max(0.0).sqrt()
        } else {
            0.0
        };
        (trunk.powi(4) + arm.powi(4)).powf(0.25) + breast * smoothstep(0.0, 3.0, trunk)
    }

    /// Half-width of the thoracic cage's inside at this height.
    fn cage(&self, y: f32) -> f32 {
        const LATERAL: [(f32, f32); 13] = [
            (4.6, 4.3),
            (4.75, 5.6),
            (5.1, 6.6),
            (5.8, 7.7),
            (6.8, 8.6),
            (8.2, 9.7),
            (10.0, 10.7),
            (13.0, 11.9),
            (17.0, 12.9),
            (21.0, 13.5),
            (25.0, 13.8),
            (29.0, 13.9),
            (36.0, 13.4),
        ];
        profile(&LATERAL, y)
    }

    /// Half-depth of the lungs at this height.
    fn lung_depth(&self, y: f32) -> f32 {
        const DEPTH: [(f32, f32); 7] =
            [(4.6, 1.0), (6.0, 2.8), (9.0, 5.4), (13.0, 7.2), (18.0, 8.2), (26.0, 8.6), (34.0, 8.2)];
        profile(&DEPTH, y)
    }

    /// How far across a lung `x` lies: -1 at the mediastinum, 1 at the chest wall.
    fn across(&self, x: f32, y: f32) -> f32 {
        const MEDIAL: [(f32, f32); 6] = [(4.6, 4.1), (5.0, 3.2), (6.2, 2.5), (9.0, 2.0), (13.0, 1.5), (36.0, 1.2)];
        let (medial, lateral) = (profile(&MEDIAL, y), self.cage(y));
        2.0 * (x.abs() - medial) / (lateral - medial) - 1.0
    }

    /// The diaphragm's height (cm from the top) at `x`: the right dome, over the liver, stands higher.
    fn dome(&self, x: f32) -> f32 {
        let (top, centre) = if x < 0.0 { (26.6, 6.6) } else { (27.9, 7.0) };
        let away = x.abs() - centre;
        top + self.diaphragm + if away > 0.0 { 0.05 * away * away + 0.0011 * away.powi(4) } else { 0.075 * away * away }
    }

    /// The chord through lung, before heart and great vessels take their part, cm.
    fn lung(&self, x: f32, y: f32) -> f32 {
        let across = self.across(x, y);
        if !(4.6..36.0).contains(&y) || across.abs() >= 1.0 {
            return 0.0;
        }
        let rounding = if across > 0.0 { across.powf(2.4) } else { across.powi(6) };
        let below = y - self.dome(x);
        // Behind the dome the lung's posterior recess goes on, thin.
        let above_dome = mix(1.0, 0.16 * (1.0 - smoothstep(0.0, 4.5, below)), smoothstep(-0.14, 0.14, below));
        2.0 * self.lung_depth(y) * (1.0 - rounding).sqrt() * above_dome
    }

    /// The chord through heart and great vessels, cm: what lung there is gives way to it.
    fn mediastinum(&self, x: f32, y: f32) -> f32 {
        let ellipse = |cx: f32, cy: f32, a: f32, b: f32, tilt: f32, depth: f32| {
            let (sin, cos) = tilt.sin_cos();
            let (dx, dy) = (x - cx, y - cy);
            let (u, v) = ((cos * dx + sin * dy) / a, (cos * dy - sin * dx) / b);
            2.0 * depth * (1.0 - u * u - v * v).max(0.0).sqrt()
        };
        let h = self.heart;
        let low = self.diaphragm * 0.6;
        let parts = [
            ellipse(3.1, 23.4 + low, 7.4 * h, 4.9 * h, 0.66, 5.6 * h), // left ventricle, tip down and to the left
            ellipse(-0.8, 22.2 + low, 3.7 * h, 5.6 * h, 0.1, 5.0 * h), // right atrium
            ellipse(1.9, 15.9, 2.7, 2.6, 0.4, 2.4),                    // pulmonary trunk
            ellipse(1.9, 11.9, 2.0, 1.9, 0.0, 2.4),                    // aortic arch, on the left
            ellipse(-1.4, 13.5, 1.75, 5.6, 0.03, 1.6),                 // superior vena cava and ascending aorta
            ellipse(2.0, 24.0, 1.3, 13.5, -0.02, 1.2),                 // descending aorta
            ellipse(0.0, 12.0, 2.5, 8.0, 0.0, 3.2),                    // the rest between the lungs
            ellipse(0.1, 29.5, 3.2, 6.0, 0.0, 3.2),
        ];
        parts.iter().map(|chord| chord.powi(3)).sum::<f32>().cbrt()
    }

    /// Attenuation of spine (vertebra by vertebra), in cm of bone.
    fn spine(&self, x: f32, y: f32) -> f32 {
        let (mut top, mut height) = (-2.0_f32, 1.75_f32);
        while top + height < y {
            top += height;
            height *= 1.022;
        }
        let (within, half_width) = ((y - top) / height, 1.35 + 0.012 * y.max(0.0));
        let waist = half_width * (1.0 - 0.10 * bump(within, 0.5, 0.5));
        let inside = smoothstep(0.3, -0.3, x.abs() - waist);
        let body = smoothstep(0.0, 0.07, within) * (1.0 - smoothstep(0.86, 0.94, within));
        let endplate = bump(within, 0.06, 0.07) + bump(within, 0.87, 0.07);
        let wall = bump(x.abs(), waist - 0.12, 0.22);
        let pedicle = {
            let r = ((x.abs() - 0.72 * half_width).powi(2) / 0.10 + (within - 0.32).powi(2) / 0.035).sqrt();
            bump(r, 1.0, 0.45)
        };
        let spinous = bump(((x / 0.28).powi(2) + ((within - 0.72) / 0.22).powi(2)).sqrt(), 0.6, 0.8);
        let transverse =
            bump(within, 0.30, 0.2) * smoothstep(half_width + 1.5, half_width + 0.7, x.abs()) * (1.0 - inside);
        inside * (0.75 * body + 0.35 * endplate * body + 0.45 * wall * body)
            + 0.4 * pedicle
            + 0.55 * spinous
            + 0.28 * transverse
    }

    /// Air in trachea, main bronchi, stomach and gut, cm.
    fn gas(&self, x: f32, y: f32) -> f32 {
        let tube = |from: [f32; 2], to: [f32; 2], radius: f32| {
            let tube =
                Tube { from: [from[0], from[1], 0.0], to: [to[0], to[1], 0.0], from_radius: radius, to_radius: radius };
            let (distance, radius) = tube.distance([x, y, 0.0]);
            2.0 * half_chord(radius, distance)
        };
        let airway = tube([0.1, -3.0], [-0.25, 8.0], 0.85)
            .max(tube([-0.25, 8.0], [-0.3, 14.2], 0.85))
            .max(tube([-0.3, 14.2], [-3.0, 17.0], 0.62))
            .max(tube([-0.3, 14.2], [3.9, 17.2], 0.55));
        // The stomach's bubble lies under the left dome, round above and ragged below.
        let bubble = |cx: f32, below: f32, a: f32, b: f32| {
            let (u, v) = ((x - cx) / a, (y - self.dome(cx) - below) / b);
            // Raggedness only takes away.
            if u * u + v * v > 1.01 {
                return 0.0;
            }
            let ragged = 1.0 + 0.25 * smoothstep(-0.2, 0.8, v) * (1.0 + cloud_noise(11, [x * 1.3, y * 1.3, cx]));
            half_chord(1.0, (u * u + v * v).sqrt() * ragged).powf(1.4)
        };
        airway + 4.6 * bubble(6.3, 2.5, 3.0, 1.5) + 2.6 * bubble(11.0, 6.5, 1.9, 1.8) + 1.6 * bubble(2.5, 9.0, 2.6, 1.2)
    }

    /// The ribs' course: from the spine round the side to the front, falling; `side` is -1 (patient's right) or 1.
    fn rib(&self, index: usize, side: f32, theta: f32) -> Point {
        let start = 4.9 + 2.12 * index as f32 + 0.012 * (index * index) as f32;
        let fall =
            self.rib_fall * profile(&[(0.0, 3.2), (1.0, 5.4), (3.0, 7.6), (6.0, 8.8), (11.0, 9.6)], index as f32);
        let y = start - 0.55 * (2.0 * theta).sin().max(0.0) + fall * (1.0 - theta.cos()) / 2.0;
        let (wide, deep) = (self.cage(y.max(5.4)) + 0.35, self.lung_depth(y.max(6.0)) + 0.5);
        [side * (0.6 + (wide - 0.6) * theta.sin().max(0.0).powf(0.85)), y, -deep * theta.cos()]
    }

    /// Whether this point of the body (x, y, depth) lies in lung.
    fn in_lung(&self, [x, y, z]: Point) -> bool {
        let across = self.across(x, y);
        across.abs() < 0.94
            && y > 5.6
            && y < self.dome(x) - 0.2 + 2.0 * smoothstep(-2.0, -7.0, z)
            && z.abs() < self.lung_depth(y) * (1.0 - across.max(0.0).powi(2)).sqrt() * 0.95
    }
}

/// Where body lengths are added up: a field of cm, with the way from body to pixel.
struct Screen<'a> {
    patient: &'a Patient,
    pixels_per_cm: f32,
    field: Field,
}

impl Screen<'_> {
    /// Adds a round tube's chords: discs of constant `value` strung along a line add up to `value` times a circle's chord.
    fn add_tube(&mut self, tube: &Tube, value: f32) {
        let scale = self.pixels_per_cm * self.patient.scale;
        let length_cm = tube.length();
        let thin = tube.from_radius.min(tube.to_radius);
        let steps = (length_cm / (0.12 * thin).max(0.4 / scale)).ceil().max(1.0) as usize;
        for step in 0..steps {
            let t = (step as f32 + 0.5) / steps as f32;
            let at = [0, 1].map(|i| mix(tube.from[i], tube.to[i], t));
            self.add_disc(at, mix(tube.from_radius, tube.to_radius, t), value * length_cm / steps as f32);
        }
    }

    /// Adds `value` inside a disc at a body point; a disc smaller than a pixel keeps its mass.
    fn add_disc(&mut self, at: [f32; 2], radius_cm: f32, value: f32) {
        let [x, y] = self.patient.to_detector(at[0], at[1]);
        let (x, y) = ((x + DETECTOR_CM / 2.0) * self.pixels_per_cm - 0.5, y * self.pixels_per_cm - 0.5);
        let true_radius = radius_cm * self.pixels_per_cm * self.patient.scale;
        let radius = true_radius.max(0.8);
        let value = value * (true_radius / radius).powi(2);
        let (width, height) = (self.field.width() as isize, self.field.height() as isize);
        let reach = (radius + 1.0).ceil() as isize;
        for row in (y as isize - reach).max(0)..=(y as isize + reach).min(height - 1) {
            for column in (x as isize - reach).max(0)..=(x as isize + reach).min(width - 1) {
                let distance = ((column as f32 - x).powi(2) + (row as f32 - y).powi(2)).sqrt();
                let cover = (radius + 0.5 - distance).clamp(0.0, 1.0);
                self.field.data_mut()[(row * width + column) as usize] += value * cover;
            }
        }
    }

    /// Adds a hollow bone along `points`: a tube less its marrow.
    fn add_bone(&mut self, points: &[Point], radius: f32, cortex: f32, value: f32) {
        for pair in points.windows(2) {
            let tube = |r: f32| Tube { from: pair[0], to: pair[1], from_radius: r, to_radius: r };
            self.add_tube(&tube(radius), value);
            self.add_tube(&tube(radius - cortex), -0.7 * value);
        }
    }
}

/// Simulates the film of `seed`, `size` x `size` pixels.
pub(super) fn simulate(seed: u64, size: usize, positive: bool) -> Film {
    let mut rng = StdRng::seed_from_u64(seed);
    let patient = Patient::random(&mut rng);
    let texture: u32 = rng.random();
    let pixels_per_cm = size as f32 / DETECTOR_CM;
    let body_point = |x: usize, y: usize| {
        patient.to_body((x as f32 + 0.5) / pixels_per_cm - DETECTOR_CM / 2.0, (y as f32 + 0.5) / pixels_per_cm)
    };
    let screen = |field| Screen { patient: &patient, pixels_per_cm, field };

    let mut bones = screen(Plane::filled(size, size, 0.0));
    add_bones(&mut bones, &patient, &mut rng);
    let mut vessels = screen(Plane::filled(size, size, 0.0));
    add_vessels(&mut vessels, &patient, &mut rng);
    let lesions = if positive { Lesions::random(&patient, &mut rng) } else { Lesions::default() };

    let mut infection = Plane::filled(size, size, false);
    let mut left_lung = infection.clone();
    let mut right_lung = infection.clone();
    let mut attenuation = Plane::from_fn(size, size, |column, row| {
        let [x, y] = body_point(column, row);
        let body = patient.body(x, y);
        if body <= 0.0 {
            return 0.0;
        }
        let whole_lung = patient.lung(x, y).min(0.86 * body);
        let mediastinum = patient.mediastinum(x, y);
        let lung = (whole_lung - mediastinum).max(0.14 * whole_lung);
        let aerated = smoothstep(0.5, 6.0, lung);
        let visible = lung > 0.42 * whole_lung && lung > 1.6 && y < patient.dome(x) + 0.1;
        // Lesions and the grain of lung are nowhere else.
        let opacity = if aerated > 0.0 { lesions.attenuation(x, y) * aerated } else { 0.0 };
        let at = row * size + column;
        if visible {
            if x < 0.0 {
                right_lung.data_mut()[at] = true
            } else {
                left_lung.data_mut()[at] = true
            }
            infection.data_mut()[at] = opacity > LESION_BORDER;
        }
        let grain = if aerated > 0.0 {
            cloud_noise(texture, [x * 0.9, y * 0.9, 0.0]) * 0.05
                + cloud_noise(texture ^ 7, [x * 3.5, y * 3.5, 0.0]) * 0.022
        } else {
            0.0
        };
        let tissue = SOFT * (body - lung) * (1.0 + 0.03 * cloud_noise(texture ^ 3, [x * 0.25, y * 0.25, 2.0]));
        let gas = patient.gas(x, y).min(body);
        let spine = patient.spine(x, y) * smoothstep(0.0, 6.0, body) * 0.3;
        let bone = (bones.field.get(column, row) + spine).max(0.0) * BONE_EXCESS;
        tissue + LUNG * lung + aerated * grain + opacity + bone - SOFT * gas
            + (SOFT - LUNG) * vessels.field.get(column, row) * aerated * mix(1.25, 0.6, (opacity * 2.0).min(1.0))
    });
    attenuation.data_mut().iter_mut().for_each(|a| *a = a.max(0.0));

    let mut picture = expose(&attenuation, pixels_per_cm, &mut rng);
    burn_in(&mut picture, &patient, pixels_per_cm);
    Film { picture, infection, left_lung, right_lung }
}

/// From attenuation to display values: primary beam, scatter, quanta, logarithm, edge enhancement, sigmoid.
fn expose(attenuation: &Field, pixels_per_cm: f32, rng: &mut StdRng) -> Field {
    let size = attenuation.width();
    let primary = attenuation.map(|a| (-a).exp());
    let sharp = blurred(&primary, 0.012 * pixels_per_cm);
    let scatter = blurred(&primary.map(|p| p.min(0.25)), 2.6 * pixels_per_cm);
    let scatter_fraction = rng.random_range(0.10..0.26);
    // Quanta per pixel of an open beam: a pixel of 0.4 mm at 2.5 uGy or so; coarser pixels collect more.
    let quanta = rng.random_range(9e3..2.4e4) * (25.6 / pixels_per_cm).powi(2);
    let noise = blurred(&white_noise(size, size, rng), 0.45);
    let signal = Plane::from_fn(size, size, |x, y| {
        let beam = sharp.get(x, y) + scatter_fraction * scatter.get(x, y);
        let counted = beam + (beam / quanta).sqrt() * noise.get(x, y);
        -counted.max(1e-5).ln()
    });
    let enhance = rng.random_range(0.3..0.9);
    let soft = blurred(&signal, 0.25 * pixels_per_cm);
    // The display's window comes from the body's own grey values, as a film processor's does.
    let mut body: Vec<f32> = signal.data().iter().copied().filter(|a| *a > 0.7).collect();
    body.sort_by(f32::total_cmp);
    let at = |part: f32| body.get((part * body.len() as f32) as usize).copied().unwrap_or(1.0);
    let (low, high) = (at(0.02) - rng.random_range(0.05..0.35), at(0.985) + rng.random_range(0.15..0.6));
    let gain = rng.random_range(2.6..3.8);
    let middle = rng.random_range(0.40..0.50);
    let gamma = rng.random_range(0.62..0.82);
    let logistic = |t: f32| 1.0 / (1.0 + (-gain * (t - middle)).exp());
    let (floor, ceiling) = (logistic(0.0), logistic(1.06));
    Plane::from_fn(size, size, |x, y| {
        let value = signal.get(x, y) + enhance * (signal.get(x, y) - soft.get(x, y)).clamp(-0.35, 0.35);
        ((logistic(((value - low) / (high - low)).max(0.0).powf(gamma)) - floor) / (ceiling - floor)).clamp(0.0, 1.0)
    })
}

/// The side marker at the patient's right shoulder and the words that say what this is, both outside the lungs.
fn burn_in(picture: &mut Field, patient: &Patient, pixels_per_cm: f32) {
    let marker = ((1.4 * pixels_per_cm / 7.0).round() as usize).max(1);
    let [x, _] = patient.to_detector(-17.5, 3.0);
    let left = ((x + DETECTOR_CM / 2.0) * pixels_per_cm).max(0.0) as usize;
    write_text(picture, "R", left, (2.2 * pixels_per_cm) as usize, marker, 0.97);
    write_notice(picture);
}

fn add_bones(bones: &mut Screen<'_>, patient: &Patient, rng: &mut StdRng) {
    for (index, side) in (0..11).flat_map(|index| [(index, -1.0_f32), (index, 1.0)]) {
        let wobble = 0.12 * gaussian(rng);
        // The front of a rib ends in cartilage, which a film does not show.
        let end = if index == 0 { 2.5 } else { rng.random_range(2.25..2.5) - 0.05 * (index as f32 - 6.0).max(0.0) };
        let points: Vec<Point> = (0..=90)
            .map(|step| {
                let mut point = patient.rib(index, side, 0.12 + (end - 0.12) * step as f32 / 90.0);
                point[1] += wobble;
                point
            })
            .collect();
        let radius = if index == 0 { 0.72 } else { 0.62 - 0.012 * index as f32 };
        // Ribs are flat: half as thick as they are tall.
        bones.add_bone(&points, radius, 0.18, 0.62);
    }
    for side in [-1.0_f32, 1.0] {
        let lift = 0.35 * gaussian(rng);
        let clavicle = [(1.9, 9.4), (4.2, 9.1), (7.0, 8.0), (10.0, 6.9), (13.0, 6.6), (15.0, 6.9), (16.2, 7.3)];
        bones.add_bone(&smooth_line(&clavicle, side, lift), 0.62, 0.18, 1.0);
        let border = [(16.4, 10.6), (15.9, 13.0), (15.0, 17.0), (14.4, 20.0), (13.7, 22.3)];
        bones.add_bone(&smooth_line(&border, side, 0.0), 0.45, 0.16, 0.9);
        let ridge = [(11.6, 10.2), (14.0, 9.2), (16.0, 8.3), (17.6, 8.0)];
        bones.add_bone(&smooth_line(&ridge, side, 0.0), 0.5, 0.16, 0.8);
        let medial = [(11.6, 9.2), (11.5, 12.0), (12.0, 16.5), (13.5, 22.3)];
        bones.add_bone(&smooth_line(&medial, side, 0.0), 0.24, 0.1, 0.8);
        // Glenoid, humeral head and shaft.
        bones.add_bone(&smooth_line(&[(16.9, 9.4), (17.0, 11.4)], side, 0.0), 0.55, 0.16, 0.5);
        bones.add_disc([side * 18.2, 10.6], 2.25, 0.42);
        bones.add_disc([side * 18.2, 10.6], 2.02, -0.10);
        let shaft = [(18.4, 11.0), (19.4, 15.5), (20.6, 22.0), (22.6, 36.0)];
        bones.add_bone(&smooth_line(&shaft, side, 0.0), 1.15, 0.38, 0.8);
    }
}

/// A smooth line through points given for the patient's left, mirrored for `side` = -1 and moved down by `lift`.
fn smooth_line(points: &[(f32, f32)], side: f32, lift: f32) -> Vec<Point> {
    let knots = |value: fn(&(f32, f32)) -> f32| -> Vec<(f32, f32)> {
        points.iter().enumerate().map(|(i, point)| (i as f32, value(point))).collect()
    };
    let (xs, ys) = (knots(|p| p.0), knots(|p| p.1));
    let steps = 14 * (points.len() - 1);
    (0..=steps)
        .map(|step| {
            let t = step as f32 / 14.0;
            [side * profile(&xs, t), profile(&ys, t) + lift, 0.0]
        })
        .collect()
}

fn add_vessels(vessels: &mut Screen<'_>, patient: &Patient, rng: &mut StdRng) {
    let inside = |point: Point| patient.in_lung(point);
    let tree = Tree { inside: &inside, thinnest: 0.03, pieces: 1500 };
    for side in [-1.0_f32, 1.0] {
        // The left hilum stands a little higher than the right.
        let hilum: Point = [side * 3.5, if side < 0.0 { 17.4 } else { 16.4 }, 0.0];
        let branches: [(Point, f32); 9] = [
            ([0.45, 0.95, 0.1], 0.62),
            ([0.7, 0.7, -0.5], 0.44),
            ([0.35, -1.0, 0.1], 0.40),
            ([0.7, -0.7, 0.4], 0.34),
            ([1.0, 0.1, 0.3], 0.36),
            ([0.9, 0.5, 0.5], 0.36),
            ([0.3, 1.0, -0.6], 0.42),
            ([0.9, -0.3, -0.5], 0.30),
            ([0.9, 0.35, -0.3], 0.33),
        ];
        for (direction, radius) in branches {
            let direction =
                [side * direction[0], direction[1] + 0.1 * gaussian(rng), direction[2] + 0.1 * gaussian(rng)];
            let mut tubes = Vec::new();
            tree.grow(&mut tubes, hilum, direction, radius * rng.random_range(0.85..1.1), rng);
            tubes.iter().for_each(|tube| vessels.add_tube(tube, 1.0));
        }
        for _ in 0..12 {
            vessels.add_disc(
                [hilum[0] + 0.7 * gaussian(rng), hilum[1] + 1.1 * gaussian(rng)],
                rng.random_range(0.4..0.8),
                0.5,
            );
        }
    }
}
