//! How far apart the outlines of two masks lie: the 95th percentile of the Hausdorff distance.
//!
//! Dice says how much of two areas is shared, and forgives a far-off speck; the distance of outlines does not. The largest one
//! (Hausdorff's) hangs on a single pixel, so its 95th percentile is reported, as in most of the field. The definition is that of
//! MedPy's `hd95` (`medpy.metric.binary`).

use thorax_nn::distance_transform::{DistanceError, squared_distance};
use thorax_shared::{mask::outline, metrics::quantile, plane::Plane};

/// The 95th percentile, interpolated linearly, of the distances from each pixel of one mask's surface to the nearest of the
/// other's, both directions together. `spacing` is the height and width of a pixel, in millimetres, or
/// [`PIXELS`](thorax_nn::distance_transform::PIXELS); the result has its unit. `None` where one of the masks is empty: there is no
/// distance to nothing.
///
/// # Errors
/// Masks of two sizes; a spacing that is none.
pub(super) fn hd95(found: &Plane<u8>, truth: &Plane<u8>, spacing: [f64; 2]) -> Result<Option<f64>, DistanceError> {
    let surfaces = [outline(found), outline(truth)];
    let mut distances: Vec<f64> = vec![];
    for (from, to) in [(&surfaces[0], &surfaces[1]), (&surfaces[1], &surfaces[0])] {
        if !to.data().contains(&true) {
            return Ok(None);
        }
        let outside: Vec<bool> = to.data().iter().map(|surface| !surface).collect();
        let squared = squared_distance(&outside, from.width(), spacing)?;
        let on_surface = squared.iter().zip(from.data()).filter(|(_, surface)| **surface);
        distances.extend(on_surface.map(|(squared, _)| squared.sqrt()));
    }
    Ok(percentile(&mut distances, 0.95))
}

/// The `q` quantile, interpolated linearly as NumPy does; `None` for no values.
pub(super) fn percentile(values: &mut [f64], q: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    quantile(values, q)
}

/// Reading `trainer/tests/references/masks.json`, which `trainer/references/masks.py` wrote.
#[cfg(test)]
pub(super) mod references {
    #![allow(clippy::unwrap_used)]
    use thorax_shared::plane::Plane;

    /// A pair of masks and what MedPy makes of it.
    #[derive(serde::Deserialize)]
    pub(crate) struct Case {
        pub(crate) width: usize,
        found: Vec<String>,
        truth: Vec<String>,
        pub(crate) spacing_mm: [f64; 2],
        pub(crate) hd95_pixels: Option<f64>,
        pub(crate) hd95_mm: Option<f64>,
        pub(crate) dice: Option<f64>,
        pub(crate) iou: Option<f64>,
        pub(crate) sensitivity: Option<f64>,
        pub(crate) specificity: Option<f64>,
        pub(crate) pixel_accuracy: f64,
    }

    impl Case {
        pub(crate) fn masks(&self) -> [Plane<u8>; 2] {
            [&self.found, &self.truth].map(|rows| {
                let pixels = rows.concat().bytes().map(|digit| if digit == b'1' { 255 } else { 0 }).collect();
                Plane::new(self.width, rows.len(), pixels).unwrap()
            })
        }
    }

    pub(crate) fn cases() -> Vec<Case> {
        serde_json::from_str(include_str!("../../../tests/references/masks.json")).unwrap()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use thorax_nn::distance_transform::PIXELS;

    use super::*;

    fn assert_close(got: Option<f64>, expected: Option<f64>) {
        assert_eq!(got.is_some(), expected.is_some(), "{got:?} {expected:?}");
        assert!(got.zip(expected).is_none_or(|(a, b)| (a - b).abs() < 1e-9), "{got:?} {expected:?}");
    }

    #[test]
    fn the_distance_is_medpy_s() {
        let cases = references::cases();
        assert!(cases.iter().filter(|case| case.hd95_pixels.is_some_and(|hd95| hd95 > 1.0)).count() > 8);
        for case in cases {
            let [found, truth] = case.masks();
            assert_close(hd95(&found, &truth, PIXELS).unwrap(), case.hd95_pixels);
            assert_close(hd95(&found, &truth, case.spacing_mm).unwrap(), case.hd95_mm);
        }
    }

    #[test]
    fn a_hole_has_a_surface_and_the_picture_ends_one() {
        let ring = Plane::from_fn(5, 5, |x, y| u8::from((x, y) != (2, 2)));
        let corners = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 1), (1, 2)];
        assert!(corners.iter().all(|&(x, y)| outline(&ring).get(x, y)));
        assert!(!outline(&ring).get(1, 1) && !outline(&ring).get(2, 2));
    }

    /// Every distance by itself, from the definition.
    fn by_hand(found: &Plane<u8>, truth: &Plane<u8>, [row, column]: [f64; 2]) -> Option<f64> {
        let points = |mask: &Plane<u8>| -> Vec<(f64, f64)> {
            let surface = outline(mask);
            let at = |i: usize| (column * (i % mask.width()) as f64, row * (i / mask.width()) as f64);
            (0..surface.data().len()).filter(|&i| surface.data()[i]).map(at).collect()
        };
        let [a, b] = [points(found), points(truth)];
        let nearest = |from: &(f64, f64), to: &[(f64, f64)]| {
            to.iter().map(|to| (from.0 - to.0).hypot(from.1 - to.1)).fold(f64::INFINITY, f64::min)
        };
        if a.is_empty() || b.is_empty() {
            return None;
        }
        let mut all: Vec<f64> = a.iter().map(|p| nearest(p, &b)).chain(b.iter().map(|p| nearest(p, &a))).collect();
        percentile(&mut all, 0.95)
    }

    fn mask(width: usize, height: usize) -> impl Strategy<Value = Plane<u8>> {
        prop::collection::vec(prop::sample::select(vec![0u8, 0, 255]), width * height)
            .prop_map(move |pixels| Plane::new(width, height, pixels).unwrap())
    }

    proptest! {
        #[test]
        fn the_distance_is_its_definition_both_ways(
            (found, truth) in (1usize..12, 1usize..12).prop_flat_map(|(w, h)| (mask(w, h), mask(w, h))),
            spacing in [0.2f64..3.0, 0.2f64..3.0],
        ) {
            let got = hd95(&found, &truth, spacing).unwrap();
            let expected = by_hand(&found, &truth, spacing);
            prop_assert_eq!(got.is_some(), expected.is_some());
            prop_assert!(got.zip(expected).is_none_or(|(a, b)| (a - b).abs() < 1e-9), "{:?} {:?}", got, expected);
            prop_assert_eq!(got, hd95(&truth, &found, spacing).unwrap());
            let own = hd95(&found, &found, spacing).unwrap();
            prop_assert!(own.is_none_or(|distance| distance == 0.0));
        }
    }
}
