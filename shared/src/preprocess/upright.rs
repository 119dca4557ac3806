//! Whether a picture that says nothing of it stands upright, and is no negative.
//!
//! A film that lies on its side and a negative have the contrast, the sharpness and often the novelty of any other film, and what
//! networks say of them means nothing. So the picture is compared, in 16 x 16 greys, with a template of a chest in all eight turns: what
//! looks more like a turned chest, or like the negative of one, is not read. Mirrored films cannot be told apart by this, nor slices
//! upside down.
//!
//! The templates are ridge regressions on the training pictures of the shared collection (2,922 films and 1,597 slices, listed in
//! `models/README.md`; research use only), made by `references/upright.py`. On 1,262 films of the other splits, looked at once, 0.8 % of
//! those upright are called wrong and 0.1 % of those turned or negative are missed (worst source of more than a hundred films: 2.7 % and
//! 0.4 %); on 525 slices 1.0 % and 0.3 %. Of films cut by up to 15 % at each side 2.4 % are called wrong (373 of the validation split).

use super::{core_crop::find_core, resize::resize_u8, spec::Core};
use crate::{
    modality::Modality,
    plane::{Orientation, Plane},
};

/// Columns and rows that are compared.
const SIDE: usize = 16;

/// How a picture looks to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// As it should.
    Upright,
    /// On its side; of a film also upside down. As a positive or as a negative.
    Turned,
    /// Upright, with air bright and bone dark.
    Negative,
}

/// How `picture`, windowed, looks to stand. A picture without contrast looks upright.
pub fn looks(picture: &Plane<u8>, modality: Modality) -> Looks {
    let (core, template) = match modality {
        Modality::Xray => (Core::Film { margin: 0.0 }, &FILM),
        Modality::Ct => (Core::Whole, &SLICE),
    };
    let small = resize_u8(&picture.cropped(find_core(picture, core)), SIDE, SIDE);
    let (mut upright, mut negative, mut turned) = (i64::MIN, i64::MIN, i64::MIN);
    for turn in 0..8 {
        let orientation =
            Orientation { transpose: turn & 1 != 0, flip_horizontal: turn & 2 != 0, flip_vertical: turn & 4 != 0 };
        let likeness = likeness(&small.oriented(orientation), template);
        let stands = !orientation.transpose && (!orientation.flip_vertical || modality == Modality::Ct);
        if stands {
            (upright, negative) = (upright.max(likeness), negative.max(-likeness));
        } else {
            turned = turned.max(likeness.abs());
        }
    }
    match () {
        () if upright >= negative.max(turned) => Looks::Upright,
        () if negative > turned => Looks::Negative,
        () => Looks::Turned,
    }
}

/// The product of picture and template, both without their mean (times the number of pixels, so that it is whole).
fn likeness(small: &Plane<u8>, template: &[i16; SIDE * SIDE]) -> i64 {
    let (mut product, mut greys, mut weights) = (0i64, 0i64, 0i64);
    for (&grey, &weight) in small.data().iter().zip(template) {
        let (grey, weight) = (i64::from(grey), i64::from(weight));
        product += grey * weight;
        greys += grey;
        weights += weight;
    }
    (SIDE * SIDE) as i64 * product - greys * weights
}

/// Of frontal chest films.
#[rustfmt::skip]
const FILM: [i16; SIDE * SIDE] = [
    -81, -56, -96, -127, -112, -46, 35, 89, 89, 35, -46, -112, -127, -96, -56, -81,
    -34, 0, -26, -56, -60, -31, 26, 67, 67, 26, -31, -60, -56, -26, 0, -34,
    -27, 10, 3, -11, -39, -51, -21, 8, 8, -21, -51, -39, -11, 3, 10, -27,
    12, 47, 40, 18, -34, -72, -56, -17, -17, -56, -72, -34, 18, 40, 47, 12,
    41, 57, 42, 11, -37, -76, -40, 22, 22, -40, -76, -37, 11, 42, 57, 41,
    33, 45, 24, 2, -39, -67, -4, 73, 73, -4, -67, -39, 2, 24, 45, 33,
    7, 30, 14, -8, -47, -54, 12, 92, 92, 12, -54, -47, -8, 14, 30, 7,
    -26, 8, -8, -36, -80, -70, 5, 85, 85, 5, -70, -80, -36, -8, 8, -26,
    -52, -23, -35, -60, -97, -69, 9, 81, 81, 9, -69, -97, -60, -35, -23, -52,
    -60, -40, -35, -43, -57, -27, 38, 87, 87, 38, -27, -57, -43, -35, -40, -60,
    -51, -37, -27, -17, -13, 15, 62, 97, 97, 62, 15, -13, -17, -27, -37, -51,
    -39, -36, -21, 0, 11, 37, 83, 111, 111, 83, 37, 11, 0, -21, -36, -39,
    -45, -38, -14, 9, 24, 48, 86, 109, 109, 86, 48, 24, 9, -14, -38, -45,
    -68, -38, -8, 24, 37, 53, 76, 92, 92, 76, 53, 37, 24, -8, -38, -68,
    -83, -29, 1, 35, 50, 58, 70, 81, 81, 70, 58, 50, 35, 1, -29, -83,
    -96, -1, 41, 80, 89, 84, 78, 86, 86, 78, 84, 89, 80, 41, -1, -96,
];

/// Of axial CT slices of the chest.
#[rustfmt::skip]
const SLICE: [i16; SIDE * SIDE] = [
    -49, -14, 2, -2, -7, 8, 16, 14, 14, 16, 8, -7, -2, 2, -14, -49,
    -21, -5, -8, -34, -32, -11, 4, 4, 4, 4, -11, -32, -34, -8, -5, -21,
    -12, -8, -28, -38, -33, -25, 22, 43, 43, 22, -25, -33, -38, -28, -8, -12,
    -3, 13, -9, -20, -24, -35, 15, 81, 81, 15, -35, -24, -20, -9, 13, -3,
    4, 17, -6, -15, -32, -52, -5, 127, 127, -5, -52, -32, -15, -6, 17, 4,
    1, 16, 14, 2, -27, -32, -8, 105, 105, -8, -32, -27, 2, 14, 16, 1,
    3, 29, 18, -6, -26, -12, 13, 70, 70, 13, -12, -26, -6, 18, 29, 3,
    12, 43, 17, -45, -80, -32, 19, 63, 63, 19, -32, -80, -45, 17, 43, 12,
    12, 43, 17, -45, -80, -32, 19, 63, 63, 19, -32, -80, -45, 17, 43, 12,
    3, 29, 18, -6, -26, -12, 13, 70, 70, 13, -12, -26, -6, 18, 29, 3,
    1, 16, 14, 2, -27, -32, -8, 105, 105, -8, -32, -27, 2, 14, 16, 1,
    4, 17, -6, -15, -32, -52, -5, 127, 127, -5, -52, -32, -15, -6, 17, 4,
    -3, 13, -9, -20, -24, -35, 15, 81, 81, 15, -35, -24, -20, -9, 13, -3,
    -12, -8, -28, -38, -33, -25, 22, 43, 43, 22, -25, -33, -38, -28, -8, -12,
    -21, -5, -8, -34, -32, -11, 4, 4, 4, 4, -11, -32, -34, -8, -5, -21,
    -49, -14, 2, -2, -7, 8, 16, 14, 14, 16, 8, -7, -2, 2, -14, -49,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Two dark lungs, a bright middle that widens below, and a bright belly.
    fn film() -> Plane<u8> {
        Plane::from_fn(120, 120, |x, y| {
            let (across, down) = ((x as f32 - 59.5) / 60.0, y as f32 / 120.0);
            let lung = (across.abs() - 0.5).hypot((down - 0.45) * 0.9) < 0.33;
            let heart = (across - 0.12).hypot((down - 0.62) * 1.4) < 0.3;
            match () {
                () if heart => 200,
                () if lung && down < 0.75 => 60,
                () if across.abs() > 0.93 - 0.3 * (0.15 - down).max(0.0) => 20,
                () if down < 0.08 && across.abs() > 0.35 => 20,
                () => 170,
            }
        })
    }

    #[test]
    fn a_chest_is_told_from_a_turned_and_a_negative_one() {
        let film = film();
        for turn in 0..8 {
            let orientation =
                Orientation { transpose: turn & 1 != 0, flip_horizontal: turn & 2 != 0, flip_vertical: turn & 4 != 0 };
            let turned = film.oriented(orientation);
            let expected =
                if orientation.transpose || orientation.flip_vertical { Looks::Turned } else { Looks::Upright };
            assert_eq!(looks(&turned, Modality::Xray), expected, "{orientation:?}");
        }
        assert_eq!(looks(&film.map(|grey| 255 - grey), Modality::Xray), Looks::Negative);
    }

    #[test]
    fn a_picture_of_nothing_looks_upright() {
        for modality in Modality::ALL {
            assert_eq!(looks(&Plane::filled(50, 40, 128), modality), Looks::Upright);
            assert_eq!(looks(&Plane::filled(0, 0, 0), modality), Looks::Upright);
        }
    }
}
