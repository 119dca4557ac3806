//! Where slices lie, and in which order they make a volume.
//!
//! Positions and orientations alone decide (PS3.3, C.7.6.2.1.1), never names or instance numbers, which follow the scan, the
//! export or nothing at all.

use dicom_dictionary_std::tags;

use super::{dataset::DataSet, pixels::Layout, view};
use crate::{Affine, DecodeError};

/// Slices count as evenly spaced up to this share of their distance.
const EVEN: f64 = 0.1;

/// Directions are the same up to this sine: a tenth of a degree and more are rounding of decimal strings.
const SAME_DIRECTION: f64 = 0.01;

/// A tilt of the gantry from this many degrees on is told.
const TILT: f64 = 1.0;

/// Where a slice lies in the patient; coordinates in millimetres grow to the left, to posterior and to the head.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// Of the first pixel.
    position: [f64; 3],
    /// Where the columns' number grows to.
    row: [f64; 3],
    /// Where the rows' number grows to.
    column: [f64; 3],
    /// Height and width of a pixel.
    spacing: [f64; 2],
    /// Rows and columns.
    size: [u16; 2],
    /// What it is, where it is no axial slice.
    pub(crate) not_axial: Option<&'static str>,
}

/// The order of slices from the feet to the head, and what is to be told of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stack {
    /// Numbers of the slices as they were given.
    pub(crate) order: Vec<usize>,
    /// Where the voxels lie: columns, rows, slices.
    pub(crate) affine: Affine,
    /// In words.
    pub(crate) notes: Vec<String>,
}

/// Slices that are at one place, as they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SamePlace(pub(crate) usize, pub(crate) usize);

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn length(v: [f64; 3]) -> f64 {
    dot(v, v).sqrt()
}

impl Place {
    /// Of the frame of `data` that is chosen; `None` where the file does not say.
    pub(super) fn read(data: &DataSet<'_>, layout: &Layout) -> Result<Option<Self>, DecodeError> {
        let position = data.numbers(tags::IMAGE_POSITION_PATIENT)?;
        let orientation = data.numbers(tags::IMAGE_ORIENTATION_PATIENT)?;
        let (Ok(position), &[a, b, c, d, e, f]) = (position.try_into(), &orientation[..]) else { return Ok(None) };
        let (row, column) = ([a, b, c], [d, e, f]);
        if length(cross(row, column)) < 0.5 {
            return Ok(None);
        }
        let spacing = match data.numbers(tags::PIXEL_SPACING)?[..] {
            [down, across, ..] if down > 0.0 && across > 0.0 => [down, across],
            _ => [1.0; 2],
        };
        let not_axial = match view::of_slice(data) {
            Err(DecodeError::NotAxial { plane }) => Some(plane),
            _ => None,
        };
        Ok(Some(Self { position, row, column, spacing, size: [layout.rows, layout.columns], not_axial }))
    }

    /// Across the slice, towards the head.
    fn normal(&self) -> [f64; 3] {
        let normal = cross(self.row, self.column);
        let size = length(normal) * if normal[2] < 0.0 { -1.0 } else { 1.0 };
        normal.map(|v| v / size)
    }

    /// Whether slices at both places can be in one volume.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        let near = |a, b| length(cross(a, b)) < SAME_DIRECTION && dot(a, b) > 0.0;
        let same = |a: f64, b: f64| (a - b).abs() < 0.01 * a.max(b);
        self.size == other.size
            && near(self.row, other.row)
            && near(self.column, other.column)
            && same(self.spacing[0], other.spacing[0])
            && same(self.spacing[1], other.spacing[1])
    }
}

/// Puts slices that fit each other in order; `names` is what to call them.
///
/// # Errors
/// The first two that are at one place.
pub(crate) fn stack(places: &[Place], names: impl Fn(usize) -> String) -> Result<Stack, SamePlace> {
    let Some(first) = places.first() else {
        return Ok(Stack { order: vec![], affine: [[0.0; 4]; 3], notes: vec![] });
    };
    let normal = first.normal();
    let height = |index: usize| dot(places[index].position, normal);
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| height(a).total_cmp(&height(b)));

    let mut gaps: Vec<f64> = order.windows(2).map(|pair| height(pair[1]) - height(pair[0])).collect();
    if let Some(at) = gaps.iter().position(|&gap| gap < 1e-3) {
        return Err(SamePlace(order[at].min(order[at + 1]), order[at].max(order[at + 1])));
    }
    let mut notes = vec![];
    let uneven: Vec<(usize, f64)> = gaps.iter().copied().enumerate().collect();
    gaps.sort_by(f64::total_cmp);
    let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(1.0);
    for (at, gap) in uneven.into_iter().filter(|(_, gap)| (gap - usual).abs() > EVEN * usual) {
        let (below, above) = (names(order[at]), names(order[at + 1]));
        let missing = (gap / usual).round() - 1.0;
        notes.push(match missing >= 1.0 {
            true => format!(
                "{missing} slice{} missing between {below} and {above} ({gap:.2} mm apart, the others {usual:.2} mm)",
                if missing > 1.0 { "s are" } else { " is" }
            ),
            false => format!("{below} and {above} are {gap:.2} mm apart, the others {usual:.2} mm"),
        });
    }
    // A volume has one step from slice to slice, so that of a tilted gantry leans, too.
    let (lowest, highest) = (places[order[0]].position, places[order[order.len() - 1]].position);
    let steps = (order.len() - 1).max(1) as f64;
    let step: [f64; 3] = match order.len() {
        1 => normal,
        _ => std::array::from_fn(|axis| (highest[axis] - lowest[axis]) / steps),
    };
    let tilt = (dot(step, normal) / length(step)).clamp(-1.0, 1.0).acos().to_degrees();
    if tilt >= TILT {
        notes.push(format!("the gantry was tilted by {tilt:.0} degrees"));
    }
    // NIfTI's coordinates grow to the right and to the front.
    let affine = [-1.0, -1.0, 1.0].into_iter().enumerate().map(|(axis, sign)| {
        let Place { row, column, spacing, .. } = first;
        [row[axis] * spacing[1], column[axis] * spacing[0], step[axis], lowest[axis]].map(|value| sign * value)
    });
    let mut rows = [[0.0; 4]; 3];
    rows.iter_mut().zip(affine).for_each(|(row, values)| *row = values);
    Ok(Stack { order, affine: rows, notes })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    fn place(position: [f64; 3]) -> Place {
        Place {
            position,
            row: [1.0, 0.0, 0.0],
            column: [0.0, 1.0, 0.0],
            spacing: [0.7, 0.6],
            size: [4, 5],
            not_axial: None,
        }
    }

    fn stacked(places: &[Place]) -> Stack {
        stack(places, |index| format!("{index}")).unwrap()
    }

    #[test]
    fn slices_are_ordered_from_the_feet_whatever_their_numbers() {
        let found = stacked(&[5.0, -10.0, 0.0, -5.0].map(|z| place([-100.0, -90.0, z])));
        assert_eq!(found.order, [1, 3, 2, 0]);
        assert_eq!(found.affine, [[-0.6, 0.0, 0.0, 100.0], [0.0, -0.7, 0.0, 90.0], [0.0, 0.0, 5.0, -10.0]]);
        assert_eq!(found.notes, [] as [&str; 0]);
    }

    #[test]
    fn a_prone_patient_is_ordered_from_the_feet_too() {
        // The normal of the stored slice points to the feet.
        let prone = |z| Place { row: [-1.0, 0.0, 0.0], ..place([0.0, 0.0, z]) };
        assert_eq!(stacked(&[prone(3.0), prone(1.0), prone(2.0)]).order, [1, 2, 0]);
    }

    #[test]
    fn gaps_and_tilt_are_told_and_two_at_one_place_are_found() {
        let found = stacked(&[0.0, 1.0, 2.0, 5.0, 6.0].map(|z| place([0.0, 0.0, z])));
        assert_eq!(found.notes, ["2 slices are missing between 2 and 3 (3.00 mm apart, the others 1.00 mm)"]);
        let found = stacked(&[0.0, 1.0, 2.0, 2.6, 3.6].map(|z| place([0.0, 0.0, z])));
        assert_eq!(found.notes, ["2 and 3 are 0.60 mm apart, the others 1.00 mm"]);

        let (sine, cosine) = 15f64.to_radians().sin_cos();
        let tilted = |z| Place { column: [0.0, cosine, -sine], ..place([0.0, 0.0, z]) };
        let found = stacked(&[0.0, 2.0, 4.0].map(tilted));
        assert_eq!(found.notes, ["the gantry was tilted by 15 degrees"]);
        assert_eq!(found.affine[2], [0.0, -sine * 0.7, 2.0, 0.0]);

        let same = stack(&[1.0, 2.0, 1.0].map(|z| place([0.0, 0.0, z])), |index| format!("{index}"));
        assert_eq!(same, Err(SamePlace(0, 2)));
    }

    #[test]
    fn other_sizes_spacings_and_directions_do_not_fit() {
        let one = place([0.0; 3]);
        assert!(one.fits(&place([3.0, 4.0, 5.0])));
        assert!(!one.fits(&Place { size: [5, 4], ..one.clone() }));
        assert!(!one.fits(&Place { spacing: [0.7, 0.7], ..one.clone() }));
        assert!(!one.fits(&Place { column: [0.0, 0.0, -1.0], ..one.clone() }));
        assert!(!one.fits(&Place { row: [-1.0, 0.0, 0.0], ..one.clone() }));
    }
}
