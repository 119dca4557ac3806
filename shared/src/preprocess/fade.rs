//! Everything but the lungs, faded into one grey.
//!
//! What lies around the lungs (arms, tubes, letters, the way a hospital collimates) tells where a film comes from, not what the patient
//! has. A hard edge would show the outline that a segmenter drew, which is a mark of its own, and would cut off what it missed at the
//! rim; so the picture fades with the distance from the lungs.

use crate::plane::Plane;
use alloc::vec::Vec;

/// A step to a pixel's side, and to its corner, in the chamfer distance (Borgefors, Distance transformations in digital images, 1986):
/// at most 8 % off the straight line, in integers, by two passes.
const STEPS: [u32; 2] = [3, 4];

/// How much is shown of each pixel, 255 for all of it: all of the `lungs` (not 0), and around them less with the distance, down to
/// nothing at `reach` pixels.
pub(super) fn shown(lungs: &Plane<u8>, reach: f32) -> Plane<u8> {
    let limit = (reach * STEPS[0] as f32) as u32;
    let share = |distance: u32| match distance {
        0 => 255,
        distance if distance >= limit => 0,
        distance => (255 * (limit - distance) / limit) as u8,
    };
    let width = lungs.width();
    let shares: Vec<u8> = distances(lungs).into_iter().map(share).collect();
    Plane::from_fn(width, lungs.height(), |x, y| shares[y * width + x])
}

/// `picture` with each pixel drawn towards the mean grey of those that are shown wholly; unchanged where none is.
pub(super) fn faded(picture: &Plane<u8>, shown: &Plane<u8>) -> Plane<u8> {
    let pairs = || picture.data().iter().zip(shown.data()).map(|(&grey, &share)| (u64::from(grey), share));
    let (sum, count) =
        pairs().filter(|&(_, share)| share == 255).fold((0, 0), |(sum, count), (grey, _)| (sum + grey, count + 1));
    if count == 0 {
        return picture.clone();
    }
    let mean = (sum + count / 2) / count;
    let width = picture.width();
    Plane::from_fn(width, picture.height(), |x, y| {
        let at = y * width + x;
        let (grey, share) = (u64::from(picture.data()[at]), u64::from(shown.data()[at]));
        ((grey * share + mean * (255 - share) + 127) / 255) as u8
    })
}

/// Distance of each pixel from the nearest that is not 0, in thirds of a pixel; the largest number where there is none.
fn distances(mask: &Plane<u8>) -> Vec<u32> {
    let (width, height) = (mask.width(), mask.height());
    let mut distances: Vec<u32> = mask.data().iter().map(|&value| if value > 0 { 0 } else { u32::MAX }).collect();
    let [side, corner] = STEPS;
    // From the left and above, then from the right and below: of each pixel the four neighbours that the pass has been to.
    for back in [false, true] {
        for step in 0..width * height {
            let at = if back { width * height - 1 - step } else { step };
            let (x, y) = (at % width, at / width);
            let behind = if back { x + 1 < width } else { x > 0 };
            let ahead = if back { x > 0 } else { x + 1 < width };
            let passed = if back { y + 1 < height } else { y > 0 };
            let towards = |distance: usize| if back { at + distance } else { at.wrapping_sub(distance) };
            let neighbours = [
                (behind, towards(1), side),
                (passed, towards(width), side),
                (behind && passed, towards(width + 1), corner),
                (ahead && passed, towards(width - 1), corner),
            ];
            for (_, neighbour, step) in neighbours.into_iter().filter(|&(there, ..)| there) {
                distances[at] = distances[at].min(distances[neighbour].saturating_add(step));
            }
        }
    }
    distances
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_a_straight_line_but_for_8_percent() {
        let lung = |x: usize, y: usize| (x, y) == (7, 11) || (x, y) == (30, 4);
        let found = distances(&Plane::from_fn(41, 29, |x, y| u8::from(lung(x, y))));
        for (at, &distance) in found.iter().enumerate() {
            let (x, y) = ((at % 41) as f64, (at / 41) as f64);
            let straight = [(7.0, 11.0), (30.0, 4.0)].map(|(a, b)| f64::hypot(x - a, y - b));
            let straight = straight[0].min(straight[1]);
            let error = (f64::from(distance) / 3.0 - straight).abs();
            assert!(error <= 0.081 * straight, "({x}, {y}): {distance} thirds, {straight}");
        }
    }

    #[test]
    fn lungs_are_shown_wholly_and_what_is_far_off_not_at_all() {
        let mask = Plane::from_fn(60, 20, |x, y| u8::from((20..30).contains(&x) && (5..15).contains(&y)));
        let shown = shown(&mask, 10.0);
        let row: Vec<u8> = [25, 30, 34, 38, 39, 50].map(|x| shown.row(10)[x]).into();
        assert_eq!(row, [255, 229, 127, 25, 0, 0]);

        let picture = Plane::from_fn(60, 20, |x, _| if x < 30 { 100 } else { 220 });
        let faded = faded(&picture, &shown);
        let row: Vec<u8> = [0, 25, 30, 34, 38, 39, 50].map(|x| faded.row(10)[x]).into();
        assert_eq!(row, [100, 100, 208, 160, 112, 100, 100]);
    }

    #[test]
    fn without_a_reach_the_edge_is_hard_and_without_lungs_nothing_is_faded() {
        let mask = Plane::from_fn(9, 1, |x, _| u8::from(x == 4));
        assert_eq!(shown(&mask, 0.0).data(), [0, 0, 0, 0, 255, 0, 0, 0, 0]);
        let picture = Plane::from_fn(9, 1, |x, _| x as u8);
        let nothing = shown(&mask.map(|_| 0), 3.0);
        assert_eq!(nothing.data(), [0; 9]);
        assert_eq!(faded(&picture, &nothing), picture);
    }
}
