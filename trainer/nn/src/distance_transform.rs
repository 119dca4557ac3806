//! How far each pixel of a mask is from the mask's edge.
//!
//! The transform is exact and Euclidean (Felzenszwalb and Huttenlocher 2012, "Distance transforms of sampled functions"): it
//! goes once over the columns and once over the rows, in a time that grows with the number of pixels only. Each pixel of a row
//! that knows the squared distance within its column stands for a parabola over the row, and the lowest of these parabolas
//! is the squared distance in both directions. The boundary loss needs the signed form, the Hausdorff distance the squared
//! one, there in millimetres.

use rayon::prelude::*;

/// Why there is no distance.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum DistanceError {
    /// The mask is no rectangle.
    #[error("a mask of {pixels} pixels has no whole rows of {width}; give every pixel of every row")]
    Size {
        /// Pixels of the mask.
        pixels: usize,
        /// Pixels of a row.
        width: usize,
    },
    /// The spacing is no length.
    #[error("pixels that are {row} high and {column} wide have no size; give a spacing above 0")]
    Spacing {
        /// From row to row.
        row: f64,
        /// From column to column.
        column: f64,
    },
    /// The slices are no length apart.
    #[error("slices that are {slice} apart make no volume; give a distance above 0")]
    SliceSpacing {
        /// From slice to slice.
        slice: f64,
    },
}

/// The spacing that counts pixels.
pub const PIXELS: [f64; 2] = [1.0, 1.0];

/// The square of each pixel's distance to the nearest pixel that is false: the square of SciPy's `distance_transform_edt`.
///
/// `mask` `[H, W]` goes row by row, and so does the result `[H, W]`. `spacing` is the distance from row to row and from
/// column to column, in millimetres, or [`PIXELS`]; the result has its unit, squared. Where no pixel is false, all are
/// infinitely far from one.
///
/// # Errors
/// [`DistanceError`].
pub fn squared_distance(mask: &[bool], width: usize, spacing: [f64; 2]) -> Result<Vec<f64>, DistanceError> {
    if width == 0 || !mask.len().is_multiple_of(width) {
        return Err(DistanceError::Size { pixels: mask.len(), width });
    }
    let [row_spacing, column_spacing] = spacing;
    if !spacing.iter().all(|length| length.is_finite() && *length > 0.0) {
        return Err(DistanceError::Spacing { row: row_spacing, column: column_spacing });
    }
    // Rows to the nearest false pixel of the column, first only upwards, then both ways.
    let mut distance = vec![f64::INFINITY; mask.len()];
    for pixel in 0..mask.len() {
        if !mask[pixel] {
            distance[pixel] = 0.0;
        } else if pixel >= width {
            distance[pixel] = distance[pixel - width] + 1.0;
        }
    }
    for pixel in (0..mask.len().saturating_sub(width)).rev() {
        distance[pixel] = distance[pixel].min(distance[pixel + width] + 1.0);
    }
    let mut envelope = Vec::with_capacity(width);
    for row in distance.chunks_exact_mut(width) {
        for value in row.iter_mut() {
            *value = (*value * row_spacing).powi(2);
        }
        lower_envelope(row, column_spacing, &mut envelope);
    }
    Ok(distance)
}

/// [`squared_distance`] in three dimensions.
///
/// `mask` `[D, H, W]` goes slice by slice, and each slice row by row, as the result `[D, H, W]` does; `size` is `[H, W]`. `spacing` is the
/// distance from slice to slice, from row to row and from column to column. The distances within the slices stand for parabolas along
/// each pixel's line through the slices, as those within the columns do for the rows.
///
/// # Errors
/// [`DistanceError`].
pub fn squared_distance_of_volume(
    mask: &[bool],
    [height, width]: [usize; 2],
    [slice, row, column]: [f64; 3],
) -> Result<Vec<f64>, DistanceError> {
    let pixels = height * width;
    if pixels == 0 || !mask.len().is_multiple_of(pixels) {
        return Err(DistanceError::Size { pixels: mask.len(), width });
    }
    if mask.is_empty() {
        return Ok(vec![]);
    }
    if !(slice.is_finite() && slice > 0.0) {
        return Err(DistanceError::SliceSpacing { slice });
    }
    let mut distance = vec![0.0; mask.len()];
    mask.par_chunks_exact(pixels).zip(distance.par_chunks_exact_mut(pixels)).try_for_each(|(mask, distance)| {
        distance.copy_from_slice(&squared_distance(mask, width, [row, column])?);
        Ok(())
    })?;
    // The lines through the slices, those of one row of pixels at a time.
    let depth = mask.len() / pixels;
    let mut lines = vec![0.0; width * depth];
    for first in (0..pixels).step_by(width) {
        lines.par_chunks_exact_mut(depth).enumerate().for_each_init(Vec::new, |envelope, (column, line)| {
            line.iter_mut().enumerate().for_each(|(z, value)| *value = distance[z * pixels + first + column]);
            lower_envelope(line, slice, envelope);
        });
        for (column, line) in lines.chunks_exact(depth).enumerate() {
            line.iter().enumerate().for_each(|(z, value)| distance[z * pixels + first + column] = *value);
        }
    }
    Ok(distance)
}

/// The signed distance to the edge of a mask `[H, W]`, row by row, in pixels, as the boundary loss of Kervadec et al. (2019) has
/// it (`one_hot2dist` of their published code).
///
/// Outside it is the distance to the mask, from 1 upwards. Inside it is negative, the distance to what is outside less 1, so
/// that it is 0 on the mask's outermost pixels. A mask without an edge, empty or full, gives 0 everywhere.
///
/// # Errors
/// [`DistanceError::Size`].
pub fn signed_distance(mask: &[bool], width: usize) -> Result<Vec<f32>, DistanceError> {
    let outside: Vec<bool> = mask.iter().map(|inside| !inside).collect();
    let to_outside = squared_distance(mask, width, PIXELS)?;
    let to_mask = squared_distance(&outside, width, PIXELS)?;
    let signed = to_outside.into_iter().zip(to_mask).map(|(to_outside, to_mask)| {
        let distance = if to_outside > 0.0 { 1.0 - to_outside.sqrt() } else { to_mask.sqrt() };
        if distance.is_finite() { distance as f32 } else { 0.0 }
    });
    Ok(signed.collect())
}

/// A parabola `height + (x - apex)²`.
struct Parabola {
    apex: f64,
    height: f64,
    /// The place from which on it is the lowest.
    from: f64,
}

impl Parabola {
    /// Where this parabola falls below `other`, whose apex lies before its own.
    fn crossing(&self, other: &Self) -> f64 {
        let start = |parabola: &Self| parabola.height + parabola.apex.powi(2);
        (start(self) - start(other)) / (2.0 * (self.apex - other.apex))
    }
}

/// Replaces each height of `row` by the lowest of the parabolas that rise from them. `envelope` is memory to work in.
fn lower_envelope(row: &mut [f64], spacing: f64, envelope: &mut Vec<Parabola>) {
    envelope.clear();
    for (column, &height) in row.iter().enumerate() {
        // A column without a false pixel has no parabola.
        if height == f64::INFINITY {
            continue;
        }
        let mut next = Parabola { apex: column as f64 * spacing, height, from: f64::NEG_INFINITY };
        // Whoever is undercut before it becomes the lowest never is.
        while envelope.pop_if(|last| next.crossing(last) <= last.from).is_some() {}
        if let Some(last) = envelope.last() {
            next.from = next.crossing(last);
        }
        envelope.push(next);
    }
    let mut lowest = envelope.iter().peekable();
    let Some(mut parabola) = lowest.next() else { return };
    for (column, value) in row.iter_mut().enumerate() {
        let x = column as f64 * spacing;
        while let Some(next) = lowest.next_if(|next| next.from < x) {
            parabola = next;
        }
        *value = parabola.height + (x - parabola.apex).powi(2);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        rows: Vec<String>,
        spacing: [f64; 2],
        squared: Vec<f64>,
        signed: Vec<f64>,
    }

    /// Values of `trainer/references/distance_transform.py`.
    #[test]
    fn distances_equal_scipys_and_kervadecs() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/references/distance_transform.json")).unwrap();
        assert_eq!(cases.len(), 10);
        for (index, Case { rows, spacing, squared, signed }) in cases.into_iter().enumerate() {
            let mask: Vec<bool> = rows.iter().flat_map(|row| row.bytes()).map(|pixel| pixel == b'#').collect();
            let found = squared_distance(&mask, rows[0].len(), spacing).unwrap();
            let worst = |found: &mut dyn Iterator<Item = f64>, expected: &[f64]| -> f64 {
                let differences: Vec<f64> = found.zip(expected).map(|(a, b)| (a - b).abs()).collect();
                assert_eq!(differences.len(), expected.len());
                differences.into_iter().fold(0.0, |worst, d| if d.is_nan() { d } else { d.max(worst) })
            };
            let difference = worst(&mut found.into_iter(), &squared);
            assert!(difference < 1e-5, "squared distances of case {index} differ by {difference}");
            let found = signed_distance(&mask, rows[0].len()).unwrap();
            let difference = worst(&mut found.into_iter().map(f64::from), &signed);
            assert!(difference < 1e-5, "signed distances of case {index} differ by {difference}");
        }
    }

    #[test]
    fn a_mask_without_an_edge_has_no_signed_distance() {
        assert_eq!(squared_distance(&[true; 6], 3, PIXELS).unwrap(), [f64::INFINITY; 6]);
        assert_eq!(signed_distance(&[true; 6], 3).unwrap(), [0.0; 6]);
        assert_eq!(signed_distance(&[false; 6], 3).unwrap(), [0.0; 6]);
        assert!(signed_distance(&[], 3).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert_eq!(signed_distance(&[true; 7], 3), Err(DistanceError::Size { pixels: 7, width: 3 }));
        assert_eq!(signed_distance(&[], 0), Err(DistanceError::Size { pixels: 0, width: 0 }));
        for column in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let refused = squared_distance(&[true; 6], 3, [1.0, column]);
            assert!(matches!(refused, Err(DistanceError::Spacing { row: 1.0, .. })), "{refused:?}");
        }
    }

    /// Values of `trainer/references/volume_masks.py`.
    #[test]
    fn distances_in_three_dimensions_equal_scipys() {
        #[derive(serde::Deserialize)]
        struct Case {
            size: [usize; 3],
            voxels: String,
            spacing: [f64; 3],
            squared: Vec<f64>,
        }
        #[derive(serde::Deserialize)]
        struct File {
            distances: Vec<Case>,
        }
        let file: File = serde_json::from_str(include_str!("../../tests/references/volume_masks.json")).unwrap();
        assert_eq!(file.distances.len(), 5);
        for Case { size: [depth, height, width], voxels, spacing, squared } in file.distances {
            let mask: Vec<bool> = voxels.bytes().map(|voxel| voxel == b'1').collect();
            assert_eq!(mask.len(), depth * height * width);
            let found = squared_distance_of_volume(&mask, [height, width], spacing).unwrap();
            assert_eq!(found.len(), squared.len());
            for (found, expected) in found.into_iter().zip(squared) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
        let flat = [true, true, false, true, true, true];
        let volume = squared_distance_of_volume(&flat, [2, 3], [5.0, 1.0, 1.0]).unwrap();
        assert_eq!(volume, squared_distance(&flat, 3, PIXELS).unwrap(), "a single slice is a picture");
        assert_eq!(squared_distance_of_volume(&[true; 6], [1, 3], [1.0; 3]).unwrap(), [f64::INFINITY; 6]);
        assert_eq!(squared_distance_of_volume(&[], [1, 3], [1.0; 3]), Ok(vec![]));
        let refused = squared_distance_of_volume(&[true; 7], [2, 3], [1.0; 3]);
        assert_eq!(refused, Err(DistanceError::Size { pixels: 7, width: 3 }));
        for slice in [0.0, f64::INFINITY, -2.0] {
            let refused = squared_distance_of_volume(&[true; 6], [2, 3], [slice, 1.0, 1.0]);
            assert_eq!(refused, Err(DistanceError::SliceSpacing { slice }));
        }
    }

    fn masks() -> impl Strategy<Value = (Vec<bool>, usize)> {
        (1usize..14, 1usize..14, 0.0f64..=1.0).prop_flat_map(|(height, width, share)| {
            (prop::collection::vec(prop::bool::weighted(share), height * width), Just(width))
        })
    }

    proptest! {
        #[test]
        fn distances_equal_a_search_among_all_pixels((mask, width) in masks(), row in 0.1f64..8.0, column in 0.1f64..8.0) {
            for spacing in [PIXELS, [row, column]] {
                let found = squared_distance(&mask, width, spacing).unwrap();
                for (pixel, found) in found.into_iter().enumerate() {
                    let squared = |other: usize| {
                        let rows = (pixel / width) as f64 - (other / width) as f64;
                        let columns = (pixel % width) as f64 - (other % width) as f64;
                        (rows * spacing[0]).powi(2) + (columns * spacing[1]).powi(2)
                    };
                    let all = (0..mask.len()).filter(|other| !mask[*other]).map(squared);
                    let expected = all.fold(f64::INFINITY, f64::min);
                    prop_assert!(found == expected || (found - expected).abs() <= 1e-9 * expected, "{} {}", found, expected);
                }
            }
        }
    }
}
