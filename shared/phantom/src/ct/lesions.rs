//! The lesions of a CT phantom.

use rand::{Rng, rngs::StdRng};

use super::Patient;
use crate::canvas::{Point, cloud_noise, gaussian, length, smoothstep};

pub(super) struct Lesion {
    centre: Point,
    radii: Point,
    hounsfield: f32,
}

impl Patient {
    /// Foci of ground glass and consolidation under the pleura, in both lungs, behind rather than in front.
    pub(super) fn place_lesions(&mut self, rng: &mut StdRng) {
        let foci = rng.random_range(4..10);
        for focus in 0..foci {
            let side = if focus % 2 == 0 { -1.0 } else { 1.0 };
            // The first two cross the key slice, so that a positive slice always shows something.
            let spread = if focus < 4 { 0.5 } else { 2.2 };
            let z = self.key_height + spread * gaussian(rng);
            let angle =
                if rng.random::<f32>() < 0.7 { rng.random_range(0.45..1.5) } else { rng.random_range(1.5..2.5) };
            let [wide, deep] = self.cage(z);
            let under_pleura = rng.random_range(0.70..0.92);
            let base: Point = [side * wide * f32::sin(angle) * under_pleura, deep * f32::cos(angle) * under_pleura, z];
            let hounsfield = if rng.random::<f32>() < 0.3 {
                rng.random_range(-220.0..0.0)
            } else {
                rng.random_range(-640.0..-400.0)
            };
            for _ in 0..rng.random_range(2..6) {
                let radius = rng.random_range(0.8..2.1);
                self.lesions.push(Lesion {
                    centre: [
                        base[0] + 1.1 * gaussian(rng),
                        base[1] + 1.1 * gaussian(rng),
                        base[2] + 0.7 * gaussian(rng),
                    ],
                    radii: [radius * rng.random_range(0.7..1.4), radius * rng.random_range(0.7..1.4), radius * 1.2],
                    hounsfield: hounsfield + 60.0 * gaussian(rng),
                });
            }
        }
    }

    /// How strongly a point is infected (0 to 1), and with what density.
    pub(super) fn lesion(&self, [x, y, z]: Point) -> (f32, f32) {
        if self.lesions.is_empty() {
            return (0.0, 0.0);
        }
        let push = |seed: u32, scale: f32| cloud_noise(self.texture ^ seed, [x * scale, y * scale, z * scale]);
        let mut ragged = None;
        let mut strength = 0.0_f32;
        let (mut density, mut weights) = (0.0, 1e-6);
        for lesion in &self.lesions {
            let offset = [0, 1, 2].map(|i| ([x, y, z][i] - lesion.centre[i]) / lesion.radii[i]);
            let from_centre = length(offset);
            if from_centre < 2.0 {
                let ragged = *ragged.get_or_insert_with(|| 0.45 * push(21, 0.8) + 0.3 * push(22, 2.2));
                let weight = smoothstep(1.25, 0.55, from_centre + ragged);
                strength = strength.max(weight);
                density += weight * lesion.hounsfield;
                weights += weight;
            }
        }
        if strength == 0.0 {
            return (0.0, 0.0);
        }
        // Crazy paving: a net of thickened septa in the glass.
        let net = 1.0 - (push(23, 1.9).abs() * 5.0).min(1.0);
        (strength, density / weights + 170.0 * net + 130.0 * push(24, 3.2))
    }
}
