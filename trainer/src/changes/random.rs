//! What a training picture might have been.

use rand::{Rng as _, rngs::StdRng};

use super::Change;

/// A random history of a picture: the changes to make, one after the other, in the order in which they happen to films. None of
/// them is harmful, and none makes a picture that a person would not read.
///
/// Left and right may be exchanged, which changes what a picture shows of the heart but not of pneumonia.
pub fn random(random: &mut StdRng) -> Vec<Change> {
    let mut changes = vec![];
    let mut often = |share: f64, make: &mut dyn FnMut(&mut StdRng) -> Change| {
        // Drawn whether it is kept or not: a change of one share does not move the others.
        let (kept, change) = (random.random_bool(share), make(random));
        if kept {
            changes.push(change);
        }
    };
    let within = |random: &mut StdRng, low: f64, high: f64| low + (high - low) * random.random::<f64>();
    // A factor as often below 1 as above.
    let factor = move |random: &mut StdRng, most: f64| (most.ln() * within(random, -1.0, 1.0)).exp();
    let grey = |random: &mut StdRng, low: u8, high: u8| random.random_range(low..=high);

    // How the patient stood, and what the collimator left.
    often(0.5, &mut |_| Change::Mirrored);
    often(0.4, &mut |random| Change::Tilted(within(random, -5.0, 5.0)));
    often(0.4, &mut |random| Change::Cropped { share: within(random, 0.0, 0.06) });
    often(0.15, &mut |random| Change::Collimated { share: within(random, 0.0, 0.08) });
    often(0.3, &mut |random| Change::Squeezed(factor(random, 1.2)));
    // What the vendor's program made of it.
    often(0.6, &mut |random| Change::Gamma(factor(random, 1.9)));
    often(0.25, &mut |random| Change::Equalised { clip_limit: within(random, 1.0, 3.0) });
    often(0.25, &mut |random| Change::Sharpened { sigma: within(random, 1.0, 3.0), amount: within(random, 0.3, 1.5) });
    often(0.25, &mut |random| Change::Window { low: grey(random, 0, 30), high: grey(random, 225, 255) });
    often(0.2, &mut |random| Change::Marker.only_if(random.random_bool(0.5), Change::Text));
    // How it was stored and sent on.
    often(0.35, &mut |random| Change::Softened(within(random, 0.4, 1.0)));
    often(0.25, &mut |random| Change::Blur(within(random, 0.4, 1.4)));
    often(0.35, &mut |random| Change::Noise { sigma: within(random, 1.0, 8.0), seed: random.random() });
    often(0.3, &mut |random| Change::Range { black: grey(random, 0, 60), white: grey(random, 170, 255) });
    often(0.2, &mut |random| {
        let (share, white) = (within(random, 0.02, 0.12), random.random_bool(0.3));
        Change::Border { share, grey: if white { 255 } else { grey(random, 0, 40) } }
    });
    often(0.5, &mut |random| Change::Jpeg(grey(random, 30, 95)));
    changes
}

impl Change {
    /// This, or `otherwise`.
    fn only_if(self, condition: bool, otherwise: Self) -> Self {
        if condition { self } else { otherwise }
    }
}
