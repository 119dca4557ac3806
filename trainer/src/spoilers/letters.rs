//! Lines of letters that somebody burned into a picture.
//!
//! A letter's stroke is thin, much brighter than what lies on both of its sides, and as bright as the picture's brightest; letters of a
//! line are of about one height and follow each other closely, beside the chest and not on it, where vessels and ribs look so. Three
//! of them are a line: a single L or R says on which side the patient's left is, and stands on most films.

use thorax_shared::plane::Plane;

/// Strokes are brighter than this, and by so much brighter than what lies near them on both sides.
const BRIGHT: u8 = 225;
const CONTRAST: u8 = 90;
/// Pixels on either side of a stroke.
const NEAR: usize = 4;
/// The share of the picture, at each of its sides, in which letters are looked for.
const OUTSIDE: f64 = 0.2;
/// Heights of letters in pixels, of pictures of 512.
const HEIGHTS: std::ops::RangeInclusive<usize> = 6..=32;
/// Letters of a line.
const LINE: usize = 3;

/// A connected region: its box.
#[derive(Clone, Copy, Debug)]
struct Letter {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
    pixels: usize,
}

impl Letter {
    fn height(&self) -> usize {
        self.bottom - self.top + 1
    }

    fn width(&self) -> usize {
        self.right - self.left + 1
    }

    /// Whether it has a letter's size, and strokes with gaps between.
    fn is_letter(&self) -> bool {
        let share = self.pixels as f64 / (self.width() * self.height()) as f64;
        HEIGHTS.contains(&self.height()) && self.width() <= self.height() * 3 / 2 && (0.15..=0.85).contains(&share)
    }

    /// Whether `next`, which lies to the right, stands in one line with it.
    fn followed_by(&self, next: &Self) -> bool {
        let (low, high) = (self.height().min(next.height()), self.height().max(next.height()));
        let level = self.bottom.abs_diff(next.bottom) * 4 <= high;
        level && high * 2 <= low * 3 && next.left > self.right && next.left - self.right <= high
    }
}

/// Whether there is a line of letters in a picture of about 512 x 512.
pub(super) fn any(picture: &Plane<u8>) -> bool {
    let outside = |letter: &Letter| {
        let place = |from: usize, to: usize, of: usize| (from + to) as f64 / 2.0 / of.max(1) as f64;
        let (x, y) =
            (place(letter.left, letter.right, picture.width()), place(letter.top, letter.bottom, picture.height()));
        [x, y].into_iter().any(|place| !(OUTSIDE..=1.0 - OUTSIDE).contains(&place))
    };
    let letters = regions(picture).into_iter();
    let mut letters: Vec<Letter> = letters.filter(|letter| letter.is_letter() && outside(letter)).collect();
    letters.sort_by_key(|letter| letter.left);
    // The most letters that end in each.
    let mut longest = vec![1; letters.len()];
    for i in 0..letters.len() {
        for j in 0..i {
            if letters[j].followed_by(&letters[i]) {
                longest[i] = longest[i].max(longest[j] + 1);
            }
        }
    }
    longest.into_iter().any(|count| count >= LINE)
}

/// Connected regions of strokes.
fn regions(picture: &Plane<u8>) -> Vec<Letter> {
    let (width, height) = (picture.width(), picture.height());
    let stroke = |x: usize, y: usize| {
        let grey = picture.get(x, y);
        grey >= BRIGHT && {
            let darker = |x: usize, y: usize| picture.get(x, y) <= grey - CONTRAST;
            let (left, right) = (x.saturating_sub(NEAR), (x + NEAR).min(width - 1));
            let (top, bottom) = (y.saturating_sub(NEAR), (y + NEAR).min(height - 1));
            let across = (left..x).any(|x| darker(x, y)) && (x + 1..=right).any(|x| darker(x, y));
            across || ((top..y).any(|y| darker(x, y)) && (y + 1..=bottom).any(|y| darker(x, y)))
        }
    };
    let mut waiting = Plane::from_fn(width, height, stroke).into_data();
    let mut regions = vec![];
    let mut stack = vec![];
    for start in 0..waiting.len() {
        if !std::mem::take(&mut waiting[start]) {
            continue;
        }
        let (x, y) = (start % width, start / width);
        let mut region = Letter { left: x, top: y, right: x, bottom: y, pixels: 0 };
        stack.push((x, y));
        while let Some((x, y)) = stack.pop() {
            region.pixels += 1;
            (region.left, region.right) = (region.left.min(x), region.right.max(x));
            (region.top, region.bottom) = (region.top.min(y), region.bottom.max(y));
            for ny in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for nx in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    if std::mem::take(&mut waiting[ny * width + nx]) {
                        stack.push((nx, ny));
                    }
                }
            }
        }
        regions.push(region);
    }
    regions
}

#[cfg(test)]
mod tests {
    use thorax_phantom::Phantom;
    use thorax_shared::modality::Modality;

    use super::*;
    use crate::changes::Change;

    /// A slice with nothing burned in.
    fn slice(seed: u64) -> Plane<u8> {
        let phantom = Phantom::generate(Modality::Ct, seed, 512, seed.is_multiple_of(2));
        let hounsfield = phantom.hounsfield.unwrap_or(phantom.picture);
        hounsfield.map(|hu| ((hu + 1350.0) / 1500.0 * 255.0).clamp(0.0, 255.0) as u8)
    }

    #[test]
    fn letters_are_found_and_bones_are_none() {
        for seed in 0..12 {
            assert!(!any(&slice(seed)), "{seed}");
            assert!(any(&Change::Text.apply(&slice(seed))), "{seed}");
        }
        let film = Phantom::generate(Modality::Xray, 1, 512, true).picture.map(|grey| (grey * 255.0) as u8);
        assert!(any(&Change::Text.apply(&film)));
        assert!(!any(&Plane::filled(0, 0, 0)) && !any(&Plane::filled(3, 1, 255)));
    }
}
