//! How the stored rows and columns become the picture that a radiologist hangs.
//!
//! For both kinds of picture the patient's right is on the left. Films stand head up, axial slices lie anterior up, seen
//! from the feet.

use dicom_dictionary_std::tags;
use thorax_shared::plane::Orientation;

use super::{damaged, dataset::DataSet};
use crate::DecodeError;

/// A slice counts as axial up to a gantry tilt of 36 degrees (its cosine); scanners tilt by 30 at most.
const AXIAL: f64 = 0.8;

/// Orientation of a CT slice by Image Orientation (Patient) (PS3.3, C.7.6.2.1.1); as stored where it is absent.
pub(super) fn of_slice(data: &DataSet) -> Result<Orientation, DecodeError> {
    match data.numbers(tags::IMAGE_ORIENTATION_PATIENT)?[..] {
        [] => Ok(Orientation::default()),
        [a, b, c, d, e, f] => axial([a, b, c], [d, e, f]),
        _ => Err(damaged("Image Orientation (Patient) has not six values".into())),
    }
}

/// Orientation of a slice whose column index grows along `row` and whose row index grows along `column`; coordinates
/// grow to the patient's left, to posterior and to the head.
fn axial(row: [f64; 3], column: [f64; 3]) -> Result<Orientation, DecodeError> {
    let dot = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let unit = |v: [f64; 3]| (dot(v, v).sqrt() - 1.0).abs() < 0.05;
    if !unit(row) || !unit(column) || dot(row, column).abs() > 0.05 {
        return Err(damaged("Image Orientation (Patient) is no pair of perpendicular directions".into()));
    }
    let normal = [
        row[1] * column[2] - row[2] * column[1],
        row[2] * column[0] - row[0] * column[2],
        row[0] * column[1] - row[1] * column[0],
    ]
    .map(f64::abs);
    let plane = match normal {
        [_, _, z] if z >= AXIAL => None,
        [x, _, _] if x >= AXIAL => Some("sagittal"),
        [_, y, _] if y >= AXIAL => Some("coronal"),
        _ => Some("oblique"),
    };
    if let Some(plane) = plane {
        return Err(DecodeError::NotAxial { plane });
    }
    // Left-right runs along the stored rows, or else along the stored columns, which are then transposed.
    Ok(if row[0].abs() >= row[1].abs() {
        Orientation { transpose: false, flip_horizontal: row[0] < 0.0, flip_vertical: column[1] < 0.0 }
    } else {
        Orientation { transpose: true, flip_horizontal: column[0] < 0.0, flip_vertical: row[1] < 0.0 }
    })
}

/// Orientation of a film by Patient Orientation (PS3.3, C.7.6.1.1.1), whose first letters name where rows and columns
/// run to; as stored where it is absent, or says nothing known.
pub(super) fn of_film(data: &DataSet) -> Result<Orientation, DecodeError> {
    if let Some(view) = data.text(tags::VIEW_POSITION)
        && matches!(view.to_uppercase().as_str(), "LL" | "RL" | "LAT" | "LATERAL")
    {
        return Err(DecodeError::NotFrontal { evidence: format!("View Position {view}") });
    }
    let directions = data.texts(tags::PATIENT_ORIENTATION);
    let first = |index: usize| directions.get(index).and_then(|direction| direction.chars().next());
    let orientation =
        |transpose, flip_horizontal, flip_vertical| Ok(Orientation { transpose, flip_horizontal, flip_vertical });
    match (first(0), first(1)) {
        (Some(row @ ('L' | 'R')), Some(column @ ('F' | 'H'))) => orientation(false, row == 'R', column == 'H'),
        (Some(row @ ('F' | 'H')), Some(column @ ('L' | 'R'))) => orientation(true, column == 'R', row == 'H'),
        (Some('A' | 'P'), Some('F' | 'H')) | (Some('F' | 'H'), Some('A' | 'P')) => {
            Err(DecodeError::NotFrontal { evidence: format!("Patient Orientation {}", directions.join("\\")) })
        }
        _ => Ok(Orientation::default()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use thorax_shared::plane::Plane;

    use super::*;

    /// Draws on a stored slice, at the place that `row` and `column` say, the letters of the patient's directions, and
    /// looks where they are in the oriented picture.
    #[test]
    fn every_axial_orientation_ends_right_on_the_left_and_anterior_up() {
        let axes = [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]];
        let mut seen = 0;
        for row in axes {
            for column in axes.into_iter().filter(|column: &[f64; 3]| row[0] * column[0] + row[1] * column[1] == 0.0) {
                let stored = Plane::from_fn(3, 3, |x, y| {
                    let at = |axis: usize| (x as f64 - 1.0) * row[axis] + (y as f64 - 1.0) * column[axis];
                    match (at(0), at(1)) {
                        (-1.0, 0.0) => 'R',
                        (1.0, 0.0) => 'L',
                        (0.0, -1.0) => 'A',
                        (0.0, 1.0) => 'P',
                        _ => '.',
                    }
                });
                let picture = stored.oriented(axial(row, column).unwrap());
                assert_eq!(picture.data().iter().collect::<String>(), ".A.R.L.P.", "{row:?} {column:?}");
                seen += 1;
            }
        }
        assert_eq!(seen, 8);
    }

    #[test]
    fn tilted_is_axial_but_reformatted_is_not() {
        let tilt = 30f64.to_radians();
        assert_eq!(axial([1.0, 0.0, 0.0], [0.0, tilt.cos(), -tilt.sin()]).unwrap(), Orientation::default());
        for (row, column, expected) in [
            ([1.0, 0.0, 0.0], [0.0, 0.0, -1.0], "coronal"),
            ([0.0, 1.0, 0.0], [0.0, 0.0, -1.0], "sagittal"),
            ([1.0, 0.0, 0.0], [0.0, 0.5f64.sqrt(), -(0.5f64.sqrt())], "oblique"),
        ] {
            assert!(matches!(axial(row, column), Err(DecodeError::NotAxial { plane }) if plane == expected));
        }
        assert!(matches!(axial([0.0; 3], [0.0, 1.0, 0.0]), Err(DecodeError::Damaged { .. })));
        assert!(matches!(axial([1.0, 0.0, 0.0], [1.0, 0.0, 0.0]), Err(DecodeError::Damaged { .. })));
    }
}
