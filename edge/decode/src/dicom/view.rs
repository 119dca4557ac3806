//! How the stored rows and columns become the picture that a radiologist hangs.
//!
//! For both kinds of picture the patient's right is on the left. Films stand head up, axial slices lie anterior up, seen
//! from the feet. A file that does not say how its picture hangs is shown as stored, and the sides are not told.

use dicom_dictionary_std::tags;
use thorax_shared::{plane::Orientation, verdict::ReferReason};

use super::{damaged, dataset::DataSet};
use crate::DecodeError;

/// A slice counts as axial up to a gantry tilt of 36 degrees (its cosine); scanners tilt by 30 at most.
const AXIAL: f64 = 0.8;

/// How a picture hangs, as far as the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// As stored, where the file does not say.
    pub(super) orientation: Orientation,
    /// Whether it says.
    pub(super) sides_known: bool,
    /// Why a person has to look.
    pub(super) refer: Option<ReferReason>,
}

/// Orientation of a CT slice by Image Orientation (Patient) (PS3.3, C.7.6.2.1.1), or else by Patient Orientation. A slice that has
/// neither may be that of a patient who lay prone or feet first.
pub(super) fn of_slice(data: &DataSet<'_>) -> Result<View, DecodeError> {
    let orientation = match data.numbers(tags::IMAGE_ORIENTATION_PATIENT)?[..] {
        [] => directions(data).map(|[row, column]| axial(row, column)).transpose()?,
        [a, b, c, d, e, f] => Some(axial([a, b, c], [d, e, f])?),
        _ => return Err(damaged("Image Orientation (Patient) has not six values".into())),
    };
    Ok(match orientation {
        Some(orientation) => View { orientation, sides_known: true, refer: None },
        None => View { refer: Some(ReferReason::OrientationUnknown), ..View::default() },
    })
}

/// Where rows and columns run to by the first letters of Patient Orientation (PS3.3, C.7.6.1.1.1).
fn directions(data: &DataSet<'_>) -> Option<[[f64; 3]; 2]> {
    let texts = data.texts(tags::PATIENT_ORIENTATION);
    let direction = |index: usize| {
        Some(match texts.get(index)?.chars().next()?.to_ascii_uppercase() {
            'L' => [1.0, 0.0, 0.0],
            'R' => [-1.0, 0.0, 0.0],
            'P' => [0.0, 1.0, 0.0],
            'A' => [0.0, -1.0, 0.0],
            'H' => [0.0, 0.0, 1.0],
            'F' => [0.0, 0.0, -1.0],
            _ => return None,
        })
    };
    let [row, column] = [direction(0)?, direction(1)?];
    // Two letters of one axis are no orientation.
    (row.iter().zip(column).all(|(row, column)| row * column == 0.0)).then_some([row, column])
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

/// What a film is a view of, and its orientation by Patient Orientation.
///
/// # Errors
/// [`DecodeError::NotFrontal`].
pub(super) fn of_film(data: &DataSet<'_>) -> Result<View, DecodeError> {
    let refer = projection(data)?;
    let orientation =
        |transpose, flip_horizontal, flip_vertical| Orientation { transpose, flip_horizontal, flip_vertical };
    let known = |orientation| Ok(View { orientation, sides_known: true, refer });
    match directions(data) {
        None => Ok(View { refer, ..View::default() }),
        Some([[x, 0.0, 0.0], [0.0, 0.0, z]]) => known(orientation(false, x < 0.0, z > 0.0)),
        Some([[0.0, 0.0, z], [x, 0.0, 0.0]]) => known(orientation(true, x < 0.0, z > 0.0)),
        Some(_) => {
            let told = data.texts(tags::PATIENT_ORIENTATION).join("\\");
            Err(DecodeError::NotFrontal { evidence: format!("Patient Orientation {told}") })
        }
    }
}

/// Looks at View Position and View Code Sequence. A film that names no view is taken for a frontal one; one whose view nobody here
/// knows is a person's to look at.
fn projection(data: &DataSet<'_>) -> Result<Option<ReferReason>, DecodeError> {
    let position = data.text(tags::VIEW_POSITION);
    let code = data.item(tags::VIEW_CODE_SEQUENCE, tags::CODE_VALUE).map(|value| value.texts().concat());
    let meaning = data.item(tags::VIEW_CODE_SEQUENCE, tags::CODE_MEANING).map(|value| value.texts().concat());
    let views = [
        position.as_deref().map(|text| ("View Position", text, view_of(text))),
        code.as_deref().map(|code| ("View Code", code, view_of_code(code))),
        meaning.as_deref().map(|text| ("View Code", text, view_of(text))),
    ];
    let mut told = views.into_iter().flatten().filter(|(_, text, _)| !text.is_empty()).peekable();
    if told.peek().is_none() {
        return Ok(None);
    }
    let mut frontal = false;
    for (name, text, view) in told {
        match view {
            Some(Projection::Frontal) => frontal = true,
            Some(Projection::Other) => return Err(DecodeError::NotFrontal { evidence: format!("{name} {text}") }),
            None => {}
        }
    }
    Ok((!frontal).then_some(ReferReason::ViewUnknown))
}

/// What a view is, where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Projection {
    /// From behind or from in front, upright or lying on the back.
    Frontal,
    /// From the side, oblique, of a patient lying on the side, from below ...
    Other,
}

/// A view in the words of those who type them in: defined terms (PS3.3, C.8.1.1 and C.8.11.5), and what stands in their place.
fn view_of(text: &str) -> Option<Projection> {
    const OTHER: [&str; 26] = [
        "LL",
        "RL",
        "LAO",
        "RAO",
        "LPO",
        "RPO",
        "LLO",
        "RLO",
        "LLD",
        "RLD",
        "LLAT",
        "RLAT",
        "OBL",
        "XTABLE",
        "CROSSTABLE",
        "SWIMMER",
        "AXIAL",
        "SAGITTAL",
        "DECUB",
        "LORDO",
        "TANGENT",
        "APICAL",
        "LAT",
        "PROFIL",
        "OBLIQ",
        "LATERO",
    ];
    // Stems of words that are written in full, in more than one language.
    const OTHER_STEMS: [&str; 11] = [
        "LATERAL",
        "OBLIQ",
        "SWIMMER",
        "DECUB",
        "LORDO",
        "TANGENT",
        "PROFIL",
        "SEITL",
        "SEITEN",
        "CROSSTABLE",
        "SCHRAG",
    ];
    let upper = text.to_uppercase();
    let words: Vec<&str> = upper.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let stem = |stems: &[&str]| words.iter().any(|word| stems.iter().any(|stem| word.starts_with(stem)));
    let word = |list: &[&str]| words.iter().any(|word| list.contains(word));
    if word(&OTHER) || stem(&OTHER_STEMS) {
        return Some(Projection::Other);
    }
    let frontal = word(&["AP", "PA", "DV", "VD", "FACE"])
        || stem(&["FRONTAL", "ANTEROPOST", "POSTEROANT", "POSTEROANT", "POSTERIORANT", "ANTERIORPOST"])
        || (stem(&["ANTER"]) && stem(&["POSTER"]));
    frontal.then_some(Projection::Frontal)
}

/// A view by its code in SNOMED CT or, before, SNOMED RT (PS3.16, CID 4010).
fn view_of_code(code: &str) -> Option<Projection> {
    const FRONTAL: [&str; 7] = ["399033003", "R-10202", "272479007", "R-10214", "R-40888", "399348003", "R-10206"];
    const OTHER: [&str; 48] = [
        "399038007",
        "399225005",
        "399059000",
        "399061009",
        "30730003",
        "399110001",
        "399162004",
        "399099002",
        "399135007",
        "260427002",
        "399236003",
        "399368009",
        "399198007",
        "399196006",
        "399173006",
        "399356000",
        "399312000",
        "399352003",
        "399184004",
        "399182000",
        "260426006",
        "399132005",
        "399325008",
        "399260004",
        "399160007",
        "399004004",
        "399067008",
        "399006002",
        "R-10210",
        "R-10250",
        "R-10216",
        "R-10241",
        "R-102C2",
        "R-10242",
        "R-10230",
        "R-10220",
        "R-40783",
        "R-10234",
        "R-10226",
        "R-10232",
        "R-10236",
        "R-40985",
        "R-10208",
        "R-10238",
        "R-102C1",
        "R-102CD",
        "R-10212",
        "R-10204",
    ];
    match code {
        code if FRONTAL.contains(&code) => Some(Projection::Frontal),
        code if OTHER.contains(&code) => Some(Projection::Other),
        _ => None,
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
    fn views_are_known_in_every_spelling() {
        for text in
            ["PA", "AP", "ap", "PA ", "AP SUPINE", "Postero-Anterior", "antero-posterior", "CHEST PA", "ERECT AP"]
        {
            assert_eq!(view_of(text), Some(Projection::Frontal), "{text}");
        }
        let other = [
            "LL",
            "RL",
            "LATERAL",
            "XTABLE LATERAL",
            "LEFT LATERAL",
            "L LAT",
            "SWIMMERS",
            "LAO",
            "LPO",
            "LLD",
            "PA LLD",
            "Lat.",
            "AP AXIAL",
            "left anterior oblique",
            "AP LORDOTIC",
            "X-TABLE LAT",
            "lateral projection",
            "LAT/ERECT",
        ];
        for text in other {
            assert_eq!(view_of(text), Some(Projection::Other), "{text}");
        }
        for text in ["ERECT", "VIEW 1", "??"] {
            assert_eq!(view_of(text), None, "{text}");
        }
        assert_eq!(view_of_code("399067008"), Some(Projection::Other));
        assert_eq!(view_of_code("R-10214"), Some(Projection::Frontal));
        assert_eq!(view_of_code("1"), None);
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
