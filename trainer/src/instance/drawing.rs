//! A picture with the lesions that were found: each with its mask, its box and its score in percent, in a colour of its own.

use image::{Rgb, RgbImage};
use thorax_phantom::write_text;
use thorax_shared::{mask::outline, plane::Plane};

use super::{FoundLesions, Lesion};

/// Colours that are told apart by those who see few (Okabe and Ito 2008).
const COLOURS: [[u8; 3]; 6] =
    [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [213, 94, 0], [204, 121, 167]];
/// How much of the picture a mask covers.
const OPACITY: f32 = 0.4;
/// Rows of a digit.
const DIGIT: usize = 7;

/// Draws those with a score of at least `score`, the surest last, so that it lies above the others.
pub fn drawing(found: &FoundLesions, score: f32) -> RgbImage {
    let mut picture = found.picture.map(|grey| [grey; 3]);
    let shown: Vec<&Lesion> = found.lesions.iter().filter(|lesion| lesion.score >= score).collect();
    for (rank, lesion) in shown.iter().enumerate().rev() {
        draw(&mut picture, lesion, COLOURS[rank % COLOURS.len()]);
    }
    RgbImage::from_fn(picture.width() as u32, picture.height() as u32, |x, y| Rgb(picture.get(x as usize, y as usize)))
}

fn draw(picture: &mut Plane<[u8; 3]>, lesion: &Lesion, colour: [u8; 3]) {
    let (width, height) = (picture.width(), picture.height());
    let mask = Plane::from_fn(width, height, |x, y| u8::from(lesion.mask[y * width + x]));
    let edge = outline(&mask);
    let last = |at: f32, size: usize| (at.max(0.0) as usize).min(size - 1);
    let (left, right) = (last(lesion.place.left, width), last(lesion.place.right, width));
    let (top, bottom) = (last(lesion.place.top, height), last(lesion.place.bottom, height));
    *picture = Plane::from_fn(width, height, |x, y| {
        let inside = (left..=right).contains(&x) && (top..=bottom).contains(&y);
        let on_box = inside && (x == left || x == right || y == top || y == bottom);
        let below = picture.get(x, y);
        if on_box || edge.get(x, y) {
            colour
        } else if mask.get(x, y) > 0 {
            std::array::from_fn(|channel| {
                let (below, above) = (f32::from(below[channel]), f32::from(colour[channel]));
                (below + OPACITY * (above - below)).round() as u8
            })
        } else {
            below
        }
    });
    // Above the box, or in it where the picture ends.
    let line = if top > DIGIT { top - DIGIT - 1 } else { top + 2 };
    let percent = format!("{:.0}", 100.0 * lesion.score);
    write_text(picture, &percent, left + 1, line, 1, colour);
}

#[cfg(test)]
mod tests {
    use thorax_nn::detection::BoundingBox;
    use thorax_shared::plane::Rect;

    use super::*;

    #[test]
    fn a_lesion_has_its_mask_its_box_and_its_score() {
        let mask: Vec<bool> =
            (0..64 * 48).map(|at| (20..30).contains(&(at % 64)) && (22..34).contains(&(at / 64))).collect();
        let place = BoundingBox { left: 16.0, top: 20.0, right: 40.0, bottom: 40.0 };
        let lesion = |score| Lesion { score, place, mask: mask.clone() };
        let found = FoundLesions {
            picture: Plane::filled(64, 48, 100),
            lesions: vec![lesion(0.87), lesion(0.2)],
            union: Plane::filled(64, 48, 0),
            seen: Rect::full(64, 48),
        };
        let drawn = drawing(&found, 0.5);
        let colour = Rgb(COLOURS[0]);
        for (x, y) in [(16, 20), (40, 40), (16, 30), (20, 22), (29, 33)] {
            assert_eq!(*drawn.get_pixel(x, y), colour, "box and outline at {x}, {y}");
        }
        assert_eq!(*drawn.get_pixel(25, 28), Rgb([152, 124, 60]), "the mask lets the picture through");
        for (x, y) in [(35, 30), (5, 5)] {
            assert_eq!(*drawn.get_pixel(x, y), Rgb([100; 3]), "nothing at {x}, {y}");
        }
        let above = |of: &RgbImage| {
            (0..20).flat_map(|y| (0..64).map(move |x| (x, y))).filter(|&(x, y)| *of.get_pixel(x, y) == colour).count()
        };
        // An 8 has 17 dots and a 7 has 11.
        assert_eq!(above(&drawn), 28);
        assert_eq!(above(&drawing(&found, 0.9)), 0);
    }
}
