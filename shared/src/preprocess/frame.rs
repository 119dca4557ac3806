//! What was put around a picture: the frame of a screenshot, a collimator's edge, the border of a scan.
//!
//! None of it says anything of the patient, and all of it would change what is made of the picture, from its black and white to
//! the tiles in which it is equalised. So a film is looked at inside of its frame only, and what a screen shows outside of it is
//! shown as it came.

use super::{
    Pixels,
    resize::{fitted, resize_u8},
    spec::Window,
    window::{window, window_inside},
};
use crate::plane::{Plane, Rect};

/// How far a pixel of a border may be from the median of its row or column, in grey levels (JPEG ringing, noise).
const BORDER_TOLERANCE: u8 = 6;

/// The share of a row or column, in percent, that has to be within the tolerance: the rest may be letters.
const BORDER_PERCENT: usize = 90;

/// How many lines that are no border (a stripe of letters, a thin frame) may lie between lines that are, as a divisor
/// of the picture's side.
const BORDER_GAP: usize = 24;

/// The darkest line that can be a frame around a slice, in grey levels: what is darker is air beside the patient.
const BRIGHTER_THAN_AIR: u8 = 16;

/// A picture in eight bits, looked at inside of its frame.
pub(super) struct Framed {
    /// All of the picture; black and white are those of what lies inside.
    pub(super) windowed: Plane<u8>,
    /// The part of `windowed` that lies inside of a frame; everything where there is none.
    pub(super) inside: Rect,
    /// That part, shrunk until its longer side is the one that was asked for.
    pub(super) working: Plane<u8>,
}

/// `pixels` in eight bits, the part of them that lies inside of a frame, and that part no larger than `side`, its longer side in pixels.
///
/// A film's borders are a frame whatever their grey, and its black and white are those of what lies inside. A slice without a
/// unit has air around the patient, and only what is brighter than air can be a frame. Hounsfield units were never on a screen.
///
/// The frame is looked for in the picture shrunk to `side`.
pub(super) fn window_without_frame(pixels: &Pixels, spec: &Window, side: usize) -> Framed {
    let windowed = window(pixels, spec);
    let full = Rect::full(windowed.width(), windowed.height());
    let working = shrunk(&windowed, side);
    let darkest = match (spec, pixels) {
        (Window::Quantiles { .. }, _) => 0,
        (Window::Hounsfield { .. }, Pixels::Eight(_) | Pixels::Sixteen(_)) => BRIGHTER_THAN_AIR,
        (Window::Hounsfield { .. }, Pixels::Hounsfield(_)) => return Framed { windowed, inside: full, working },
    };
    let found = inside(&working, darkest);
    let found = match (working.width(), working.height()) {
        size if size == (full.width, full.height) => found,
        size => scaled_in(found, size, (full.width, full.height)),
    };
    if found == full || found.area() == 0 {
        return Framed { windowed, inside: full, working };
    }
    let windowed = window_inside(pixels, spec, found).unwrap_or(windowed);
    let working = shrunk(&windowed.cropped(found), side);
    Framed { windowed, inside: found, working }
}

/// `picture` shrunk until its longer side is `side`; unchanged when it is no longer.
pub(super) fn shrunk(picture: &Plane<u8>, side: usize) -> Plane<u8> {
    let (width, height) = fitted(picture.width(), picture.height(), side);
    resize_u8(picture, width, height)
}

/// What is left of `picture` when uniform rows and columns whose median is `darkest` or brighter are taken off from outside, in
/// turn until none is left; empty where nothing is.
pub(super) fn inside(picture: &Plane<u8>, darkest: u8) -> Rect {
    let (mut left, mut right, mut top, mut bottom) = (0, picture.width(), 0, picture.height());
    let (gap_x, gap_y) = (picture.width() / BORDER_GAP, picture.height() / BORDER_GAP);
    loop {
        let before = (left, right, top, bottom);
        let row = |y: usize| picture.row(y)[left..right].iter().copied();
        top += border(bottom - top, gap_y, |line| is_uniform(row(top + line), darkest));
        bottom -= border(bottom - top, gap_y, |line| is_uniform(row(bottom - 1 - line), darkest));
        let column = |x: usize| (top..bottom).map(move |y| picture.row(y)[x]);
        left += border(right - left, gap_x, |line| is_uniform(column(left + line), darkest));
        right -= border(right - left, gap_x, |line| is_uniform(column(right - 1 - line), darkest));
        if before == (left, right, top, bottom) {
            return Rect { x: left, y: top, width: right - left, height: bottom - top };
        }
    }
}

/// How many of `lines` belong to the border: up to the last uniform one from which no more than `gap` lines in a row
/// that are not uniform separate the edge.
fn border(lines: usize, gap: usize, is_uniform: impl Fn(usize) -> bool) -> usize {
    let mut border = 0;
    for line in 0..lines {
        if is_uniform(line) {
            border = line + 1;
        } else if line - border >= gap {
            break;
        }
    }
    border
}

/// Whether nearly all of a row or column is near its median, and that no darker than `darkest`.
fn is_uniform(line: impl Iterator<Item = u8>, darkest: u8) -> bool {
    let mut counts = [0usize; 256];
    let mut length = 0;
    for value in line {
        counts[usize::from(value)] += 1;
        length += 1;
    }
    let mut seen = 0;
    let median = counts.iter().position(|count| {
        seen += count;
        2 * seen >= length
    });
    let median = median.unwrap_or(0);
    let near = median.saturating_sub(BORDER_TOLERANCE.into())..(median + 1 + usize::from(BORDER_TOLERANCE)).min(256);
    median >= darkest.into() && counts[near].iter().sum::<usize>() * 100 >= length * BORDER_PERCENT
}

/// `rect` of a picture of the size `from` in pixels of the same picture in the size `to`: those that lie in it wholly.
fn scaled_in(rect: Rect, from: (usize, usize), to: (usize, usize)) -> Rect {
    let span = |start: usize, length: usize, from: usize, to: usize| {
        let first = (start * to).div_ceil(from);
        (first, ((start + length) * to / from).saturating_sub(first))
    };
    let (x, width) = span(rect.x, rect.width, from.0, to.0);
    let (y, height) = span(rect.y, rect.height, from.1, to.1);
    Rect { x, y, width, height }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    const FILM: Window = Window::Quantiles { low: 0.005, high: 0.995 };
    const SLICE: Window = Window::Hounsfield { center: -600.0, width: 1500.0 };

    /// Texture that no line of which is uniform, `width` x `height`, in a frame of `frame` with letters in it.
    fn framed(width: usize, height: usize, at: Rect, frame: u8) -> Plane<u8> {
        Plane::from_fn(width, height, |x, y| {
            if at.common(Rect { x, y, width: 1, height: 1 }).area() > 0 {
                (60 + ((x - at.x) * 37 + (y - at.y) * 91) % 120) as u8
            } else if (3..9).contains(&y) && (5..14).contains(&x) && (x + y) % 2 == 0 {
                255 - frame
            } else {
                frame
            }
        })
    }

    #[test]
    fn a_film_in_a_frame_is_the_film_alone() {
        let at = Rect { x: 20, y: 12, width: 150, height: 160 };
        let alone = framed(150, 160, Rect::full(150, 160), 0);
        for frame in [0, 255, 90] {
            for (side, exact) in [(400, true), (100, false)] {
                let Framed { windowed, inside: found, .. } =
                    window_without_frame(&Pixels::Eight(framed(200, 190, at, frame)), &FILM, side);
                if exact {
                    assert_eq!(found, at, "a frame of {frame}");
                    assert_eq!(windowed.cropped(found), window(&Pixels::Eight(alone.clone()), &FILM), "{frame}");
                }
                assert_eq!(found.common(at), found, "a frame of {frame}, found in a smaller picture");
                assert!(found.width + 4 >= at.width && found.height + 4 >= at.height, "{found:?}");
            }
        }
    }

    #[test]
    fn air_around_a_slice_is_no_frame_and_a_white_border_is() {
        let at = Rect { x: 20, y: 12, width: 150, height: 160 };
        for (frame, expected) in [(0, Rect::full(200, 190)), (255, at), (90, at)] {
            let picture = framed(200, 190, at, frame);
            let Framed { windowed, inside: found, .. } =
                window_without_frame(&Pixels::Eight(picture.clone()), &SLICE, 512);
            assert_eq!((windowed, found), (picture.clone(), expected), "{frame}");
            let hounsfield = Pixels::Hounsfield(picture.map(|value| i16::from(value) * 5 - 1000));
            assert_eq!(window_without_frame(&hounsfield, &SLICE, 512).inside, Rect::full(200, 190));
        }
    }

    #[test]
    fn a_picture_of_nothing_has_no_frame() {
        for (width, height) in [(0, 0), (1, 1), (30, 20)] {
            let found = window_without_frame(&Pixels::Eight(Plane::filled(width, height, 128)), &FILM, 10).inside;
            assert_eq!(found, Rect::full(width, height));
        }
    }
}
