//! The lesions of a film's phantom.

use rand::{Rng, rngs::StdRng};

use super::Patient;
use crate::canvas::{cloud_noise, difference, gaussian, length};

/// Opacities add at least this to the attenuation where the mask says infection.
pub(super) const LESION_BORDER: f32 = 0.16;

/// Patchy opacities of a viral pneumonia: soft ellipsoids of exudate in the periphery, mostly below.
#[derive(Default)]
pub(super) struct Lesions {
    blobs: Vec<Blob>,
    texture: u32,
}

struct Blob {
    centre: [f32; 2],
    radii: [f32; 2],
    tilt: f32,
    /// Attenuation through the middle.
    peak: f32,
}

impl Lesions {
    pub(super) fn random(patient: &Patient, rng: &mut StdRng) -> Self {
        let mut blobs = Vec::new();
        // Both lungs have some: at least two foci each, each a cluster.
        for focus in 0..rng.random_range(4..9) {
            let side = if focus % 2 == 0 { -1.0 } else { 1.0 };
            let y = rng.random_range(13.0..25.5_f32).max(rng.random_range(11.0..25.5));
            let x = patient.cage(y) * rng.random_range(0.60..0.90);
            let peak = rng.random_range(0.35..0.95);
            for _ in 0..rng.random_range(2..5) {
                blobs.push(Blob {
                    centre: [side * (x + 1.1 * gaussian(rng)), y + 1.3 * gaussian(rng)],
                    radii: [rng.random_range(1.1..2.6), rng.random_range(1.0..2.4)],
                    tilt: rng.random_range(-1.0..1.0),
                    peak: peak * rng.random_range(0.6..1.1),
                });
            }
        }
        Self { blobs, texture: rng.random() }
    }

    pub(super) fn attenuation(&self, x: f32, y: f32) -> f32 {
        if self.blobs.is_empty() {
            return 0.0;
        }
        // A ragged border: the place that is looked up is pushed about by noise.
        let push = |seed: u32, scale: f32| cloud_noise(self.texture ^ seed, [x * scale, y * scale, 0.0]);
        let (wx, wy) = (x + 0.9 * push(1, 0.55), y + 0.9 * push(2, 0.55));
        let thick: f32 = self
            .blobs
            .iter()
            .map(|blob| {
                let (sin, cos) = blob.tilt.sin_cos();
                let offset = difference([wx, wy, 0.0], [blob.centre[0], blob.centre[1], 0.0]);
                let (u, v) = (
                    (cos * offset[0] + sin * offset[1]) / blob.radii[0],
                    (cos * offset[1] - sin * offset[0]) / blob.radii[1],
                );
                blob.peak * (1.0 - length([u, v, 0.0]) * 0.72).max(0.0).powf(1.2)
            })
            .sum();
        if thick == 0.0 {
            return 0.0;
        }
        let saturated = 1.15 * (1.0 - (-thick).exp());
        saturated * (1.0 + 0.35 * push(3, 1.4) + 0.22 * push(4, 4.0)).max(0.0)
    }
}
