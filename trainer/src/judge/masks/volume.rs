//! Masks of whole volumes: their voxels together, and how far apart their surfaces lie in three dimensions.
//!
//! A lesion that was drawn a slice too high is far off in every slice by itself, and near in the volume. So where a manifest has every
//! slice of a volume from the first to the last that it names, the 95th percentile of the Hausdorff distance is that of the surfaces in
//! space, in millimetres, by the definition of `surface_distance`: a voxel is on the surface if one of its six
//! neighbours is outside. Of slices that were picked out (`data import --every`) there is no such surface, and no such distance.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use thorax_nn::distance_transform::{DistanceError, squared_distance_of_volume};
use thorax_shared::{metrics::Confusion, plane::Plane};

use super::{
    score::{MaskFigures, PictureScore},
    surface_distance::percentile,
};

/// What the masks of a volume came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeScore {
    /// Its file, as the manifest has it.
    pub file: String,
    /// Its patient.
    pub group: String,
    /// Its collection.
    pub source: String,
    /// Slices that were judged.
    pub slices: usize,
    /// In the order of a picture's masks; `None` where the truth of a slice is not known.
    pub masks: Vec<Option<VolumeMask>>,
}

/// One mask of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeMask {
    /// Voxels by what they are and what was found.
    pub voxels: Confusion,
    /// Distance of the surfaces in three dimensions; `None` where one mask is empty, the file says no sizes, or slices are missing.
    pub hd95_mm: Option<f64>,
}

impl VolumeMask {
    /// All figures; in pixels there is no distance, since a voxel has two sizes.
    pub fn figures(&self) -> MaskFigures<Option<f64>> {
        MaskFigures::of(&self.voxels, [None, self.hd95_mm])
    }
}

/// Two masks of one slice, a bit a pixel: those of all slices of a volume are kept until it is judged.
pub(in crate::judge) struct SlicePair {
    width: usize,
    found: Vec<u64>,
    truth: Vec<u64>,
}

impl SlicePair {
    /// Of two masks of one size, 0 outside.
    pub(in crate::judge) fn new(found: &Plane<u8>, truth: &Plane<u8>) -> Self {
        Self { width: found.width(), found: packed(found), truth: packed(truth) }
    }
}

fn packed(mask: &Plane<u8>) -> Vec<u64> {
    let word = |pixels: &[u8]| pixels.iter().enumerate().fold(0, |word, (bit, &v)| word | (u64::from(v != 0) << bit));
    mask.data().chunks(64).map(word).collect()
}

fn is_set(words: &[u64], pixel: usize) -> bool {
    words[pixel / 64] >> (pixel % 64) & 1 == 1
}

/// A slice of a volume that was judged: its place there, its score, and its masks in the same order.
pub(super) type JudgedSlice<'a> = (usize, &'a PictureScore, &'a [Option<SlicePair>]);

/// What the slices of `file` come to together. `spacing_mm` is that from slice to slice, from row to row and from column to column.
///
/// # Errors
/// A spacing that is none.
pub(super) fn judge_volume(
    file: &str,
    slices: &[JudgedSlice<'_>],
    spacing_mm: Option<[f64; 3]>,
) -> Result<Option<VolumeScore>, DistanceError> {
    let Some((_, first, _)) = slices.first() else { return Ok(None) };
    let of_mask = |mask: usize| {
        let Some(scores) = slices.iter().map(|(_, score, _)| score.masks[mask]).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let voxels = scores.iter().map(|score| score.pixels).sum();
        let pairs: Vec<PlacedPair<'_>> =
            slices.iter().map(|(place, _, pairs)| (*place, pairs[mask].as_ref())).collect();
        Ok(Some(VolumeMask { voxels, hd95_mm: hd95_of_volume(pairs, spacing_mm)? }))
    };
    Ok(Some(VolumeScore {
        file: file.to_owned(),
        group: first.group.clone(),
        source: first.source.clone(),
        slices: slices.len(),
        masks: (0..first.masks.len()).map(of_mask).collect::<Result<_, _>>()?,
    }))
}

/// A slice's place in its volume, and one mask of it; `None` where that is not known.
pub(in crate::judge) type PlacedPair<'a> = (usize, Option<&'a SlicePair>);

/// The distance of the surfaces of one mask, as [`hd95`] has it; `None` too where the volume says no sizes, or where slices between the
/// first and the last are missing or have no mask.
///
/// # Errors
/// A spacing that is none.
pub(in crate::judge) fn hd95_of_volume(
    mut slices: Vec<PlacedPair<'_>>,
    spacing_mm: Option<[f64; 3]>,
) -> Result<Option<f64>, DistanceError> {
    slices.sort_by_key(|(place, _)| *place);
    let whole = slices.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1);
    let pairs: Option<Vec<&SlicePair>> = slices.into_iter().map(|(_, pair)| pair).collect();
    match (pairs.filter(|_| whole), spacing_mm) {
        (Some(pairs), Some(spacing_mm)) => hd95(&pairs, spacing_mm),
        _ => Ok(None),
    }
}

/// The part of a volume in which anything is marked, and what lies there.
struct Box3 {
    /// Depth, height and width.
    size: [usize; 3],
    found: Vec<bool>,
    truth: Vec<bool>,
}

/// The 95th percentile of the distances between the surfaces of the found and of the true mask of `slices`, from one end of a volume to
/// the other, in millimetres; `spacing_mm` is that from slice to slice, from row to row and from column to column. `None` where one
/// of the masks is empty.
///
/// # Errors
/// A spacing that is none.
pub(super) fn hd95(slices: &[&SlicePair], spacing_mm: [f64; 3]) -> Result<Option<f64>, DistanceError> {
    let Some(Box3 { size, found, truth }) = marked(slices) else { return Ok(None) };
    let surfaces = [surface(&found, size), surface(&truth, size)];
    let [_, height, width] = size;
    let mut distances: Vec<f64> = vec![];
    for (from, to) in [(&surfaces[0], &surfaces[1]), (&surfaces[1], &surfaces[0])] {
        if !to.contains(&true) {
            return Ok(None);
        }
        let outside: Vec<bool> = to.iter().map(|surface| !surface).collect();
        let squared = squared_distance_of_volume(&outside, [height, width], spacing_mm)?;
        distances.extend(squared.iter().zip(from).filter(|(_, surface)| **surface).map(|(squared, _)| squared.sqrt()));
    }
    Ok(percentile(&mut distances, 0.95))
}

/// What is marked in either mask, without the empty space around it, which holds no surface; `None` where nothing is.
fn marked(slices: &[&SlicePair]) -> Option<Box3> {
    let [mut z, mut y, mut x] = [const { Range { start: usize::MAX, end: 0 } }; 3];
    let grow = |range: &mut Range<usize>, at: usize| *range = range.start.min(at)..range.end.max(at + 1);
    for (index, slice) in slices.iter().enumerate() {
        for (place, (found, truth)) in slice.found.iter().zip(&slice.truth).enumerate() {
            let mut word = found | truth;
            while word != 0 {
                let pixel = 64 * place + word.trailing_zeros() as usize;
                grow(&mut z, index);
                grow(&mut y, pixel / slice.width);
                grow(&mut x, pixel % slice.width);
                word &= word - 1;
            }
        }
    }
    if z.is_empty() {
        return None;
    }
    let cut = |of: fn(&SlicePair) -> &[u64]| {
        let voxels = slices[z.clone()].iter().flat_map(|slice| {
            let (y, x) = (y.clone(), x.clone());
            y.flat_map(move |row| x.clone().map(move |column| is_set(of(slice), row * slice.width + column)))
        });
        voxels.collect::<Vec<bool>>()
    };
    let (found, truth) = (cut(|slice| &slice.found), cut(|slice| &slice.truth));
    Some(Box3 { size: [z.len(), y.len(), x.len()], found, truth })
}

/// The voxels of a mask `[D, H, W]` that have one of their six neighbours outside of it. Beyond the volume is outside.
fn surface(mask: &[bool], [depth, height, width]: [usize; 3]) -> Vec<bool> {
    let inner = |place: usize, length: usize| place > 0 && place + 1 < length;
    let enclosed = |index: usize| {
        let [z, y, x] = [index / (height * width), index / width % height, index % width];
        inner(z, depth)
            && inner(y, height)
            && inner(x, width)
            && [1, width, height * width].iter().all(|step| mask[index - step] && mask[index + step])
    };
    (0..mask.len()).map(|index| mask[index] && !enclosed(index)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A pair of masks, and what MedPy says of it (`trainer/references/volume_masks.py`).
    #[derive(serde::Deserialize)]
    struct Case {
        size: [usize; 3],
        found: String,
        truth: String,
        spacing: [f64; 3],
        hd95_mm: Option<f64>,
    }

    #[derive(serde::Deserialize)]
    struct File {
        pairs: Vec<Case>,
    }

    fn slices(found: &[bool], truth: &[bool], [_, height, width]: [usize; 3]) -> Vec<SlicePair> {
        let plane = |voxels: &[bool]| {
            Plane::new(width, height, voxels.iter().map(|&voxel| u8::from(voxel) * 255).collect::<Vec<u8>>()).unwrap()
        };
        let pairs = found.chunks(height * width).zip(truth.chunks(height * width));
        pairs.map(|(found, truth)| SlicePair::new(&plane(found), &plane(truth))).collect()
    }

    fn distance(found: &[bool], truth: &[bool], size: [usize; 3], spacing: [f64; 3]) -> Option<f64> {
        let slices = slices(found, truth, size);
        hd95(&slices.iter().collect::<Vec<_>>(), spacing).unwrap()
    }

    #[test]
    fn the_distance_is_medpy_s() {
        let File { pairs } = serde_json::from_str(include_str!("../../../tests/references/volume_masks.json")).unwrap();
        assert!(pairs.iter().filter(|pair| pair.hd95_mm.is_some_and(|distance| distance > 1.0)).count() >= 9);
        assert!(pairs.iter().any(|pair| pair.hd95_mm.is_none()));
        for Case { size, found, truth, spacing, hd95_mm } in pairs {
            let [found, truth] = [found, truth].map(|digits| digits.bytes().map(|d| d == b'1').collect::<Vec<bool>>());
            let told = distance(&found, &truth, size, spacing);
            assert_eq!(told.is_some(), hd95_mm.is_some());
            assert!(told.zip(hd95_mm).is_none_or(|(a, b)| (a - b).abs() < 1e-9), "{told:?} {hd95_mm:?}");
        }
    }

    /// Masks of which one is empty, or has the whole volume, are among them.
    fn masks() -> impl Strategy<Value = ([usize; 3], Vec<bool>, Vec<bool>)> {
        (1usize..6, 1usize..8, 1usize..8, 0.0f64..=1.0).prop_flat_map(|(depth, height, width, share)| {
            let mask = move || prop::collection::vec(prop::bool::weighted(share), depth * height * width);
            (Just([depth, height, width]), mask(), mask())
        })
    }

    proptest! {
        /// Every distance by itself, from the definition, with a surface that is looked for without a box.
        #[test]
        fn the_distance_is_its_definition(
            (size, found, truth) in masks(), slice in 0.2f64..6.0, row in 0.2f64..3.0, column in 0.2f64..3.0,
        ) {
            let [depth, height, width] = size;
            let points = |mask: &[bool]| -> Vec<[f64; 3]> {
                let at = |z: isize, y: isize, x: isize| {
                    let inside = (0..depth as isize).contains(&z) && (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
                    inside && mask[((z as usize) * height + y as usize) * width + x as usize]
                };
                let all = (0..depth as isize).flat_map(|z| (0..height as isize).flat_map(move |y| (0..width as isize).map(move |x| [z, y, x])));
                all.filter(|&[z, y, x]| {
                    let neighbours = [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]];
                    at(z, y, x) && neighbours.iter().any(|[dz, dy, dx]| !at(z + dz, y + dy, x + dx))
                })
                .map(|[z, y, x]| [z as f64 * slice, y as f64 * row, x as f64 * column])
                .collect()
            };
            let [a, b] = [points(&found), points(&truth)];
            let nearest = |from: &[f64; 3], to: &[[f64; 3]]| {
                let apart = |to: &[f64; 3]| from.iter().zip(to).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
                to.iter().map(apart).fold(f64::INFINITY, f64::min)
            };
            let mut all: Vec<f64> = a.iter().map(|p| nearest(p, &b)).chain(b.iter().map(|p| nearest(p, &a))).collect();
            let expected = if a.is_empty() || b.is_empty() { None } else { percentile(&mut all, 0.95) };
            let spacing = [slice, row, column];
            let told = distance(&found, &truth, size, spacing);
            prop_assert_eq!(told.is_some(), expected.is_some());
            prop_assert!(told.zip(expected).is_none_or(|(a, b)| (a - b).abs() < 1e-9), "{:?} {:?}", told, expected);
            prop_assert_eq!(told, distance(&truth, &found, size, spacing));
        }
    }
}
