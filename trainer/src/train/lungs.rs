//! The left and the right lung out of a mask that has both.
//!
//! Every picture of the pipeline is in the radiologist's view, whatever file it came from: the patient's left is on the right of the
//! picture. So each part of the mask belongs to the side it lies on; lungs that touch (in front of the heart, behind it) are cut
//! where the bridge between them is thinnest.

use thorax_shared::plane::Plane;

/// A part of the mask with at least this share of its pixels on either side of the middle is both lungs at once.
const BOTH: f64 = 0.2;

/// The patient's left and right lung, 0 or 255, of a mask of both.
pub(super) fn split(lungs: &Plane<u8>) -> [Plane<u8>; 2] {
    let (width, height) = (lungs.width(), lungs.height());
    let empty = lungs.map(|_| 0u8);
    let [mut left, mut right] = [empty.clone(), empty];
    let Some(middle) = middle(lungs) else { return [left, right] };
    let mut seen = vec![false; width * height];
    for start in 0..width * height {
        if seen[start] || lungs.data()[start] == 0 {
            continue;
        }
        let part = component(lungs, start, &mut seen);
        let on_left = part.iter().filter(|&&pixel| pixel % width >= middle).count();
        let share = on_left as f64 / part.len() as f64;
        for pixel in part {
            let is_left = if share.min(1.0 - share) >= BOTH { pixel % width >= middle } else { share > 0.5 };
            let side = if is_left { &mut left } else { &mut right };
            side.data_mut()[pixel] = 255;
        }
    }
    [left, right]
}

/// The column between the lungs: of the middle half of the columns that have lung, the one with the fewest pixels of it; of several,
/// the middle one. `None` for an empty mask.
fn middle(lungs: &Plane<u8>) -> Option<usize> {
    let width = lungs.width();
    let mut columns = vec![0usize; width];
    lungs.data().iter().enumerate().filter(|(_, value)| **value > 0).for_each(|(pixel, _)| columns[pixel % width] += 1);
    let first = columns.iter().position(|&count| count > 0)?;
    let last = columns.iter().rposition(|&count| count > 0)?;
    let quarter = (last - first) / 4;
    let inner = first + quarter..=last - quarter;
    let fewest = inner.clone().map(|column| columns[column]).min()?;
    let thinnest: Vec<usize> = inner.filter(|&column| columns[column] == fewest).collect();
    Some(thinnest[thinnest.len() / 2])
}

/// The pixels that hang together with `start`, by edges and corners; marks them as seen.
fn component(mask: &Plane<u8>, start: usize, seen: &mut [bool]) -> Vec<usize> {
    let (width, height) = (mask.width(), mask.height());
    seen[start] = true;
    let mut found = vec![start];
    let mut next = 0;
    while let Some(&pixel) = found.get(next) {
        next += 1;
        let (x, y) = (pixel % width, pixel / width);
        for v in y.saturating_sub(1)..(y + 2).min(height) {
            for u in x.saturating_sub(1)..(x + 2).min(width) {
                let neighbour = v * width + u;
                if !seen[neighbour] && mask.data()[neighbour] > 0 {
                    seen[neighbour] = true;
                    found.push(neighbour);
                }
            }
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plane(rows: &[&str]) -> Plane<u8> {
        let values = rows.iter().flat_map(|row| row.bytes().map(|b| if b == b'.' { 0 } else { 255 })).collect();
        Plane::new(rows[0].len(), rows.len(), values).unwrap()
    }

    #[test]
    fn the_patients_left_is_on_the_right_of_the_picture() {
        let both = plane(&["##......###", "##.....####", "###....####"]);
        let [left, right] = split(&both);
        assert_eq!(right, plane(&["##.........", "##.........", "###........"]));
        assert_eq!(left, plane(&["........###", ".......####", ".......####"]));
    }

    #[test]
    fn a_lung_that_crosses_the_middle_stays_whole_and_touching_lungs_are_cut() {
        let crossing = plane(&["###.......", "####...###", "######.###", "###....###"]);
        assert_eq!(split(&crossing)[1], plane(&["###.......", "####......", "######....", "###......."]));
        let touching = plane(&["###...###", "#########", "###...###"]);
        assert_eq!(split(&touching)[0], plane(&["......###", "....#####", "......###"]));
    }

    proptest! {
        #[test]
        fn every_pixel_goes_to_one_side(values in prop::collection::vec(prop::bool::weighted(0.4), 12 * 9)) {
            let both = Plane::new(12, 9, values.iter().map(|&v| if v { 255 } else { 0 }).collect()).unwrap();
            let [left, right] = split(&both);
            for ((l, r), b) in left.data().iter().zip(right.data()).zip(both.data()) {
                prop_assert!(l & r == 0 && l | r == *b);
            }
        }
    }
}
