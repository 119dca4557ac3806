//! The patient's left and right lung: cut out of a mask of both, and how much of each is infected.
//!
//! Every picture of the pipeline is in the radiologist's view, whatever file it came from: the patient's left is on the right of
//! the picture. So each part of the mask belongs to the side it lies on; lungs that touch (in front of the heart, behind it) are cut
//! where the bridge between them is thinnest.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::plane::Plane;

/// A part of the mask with at least this share of its pixels on either side of the middle is both lungs at once.
const BOTH: f64 = 0.2;

/// A bridge between the lungs is no higher than this share of the lower of the two. Lungs that radiologists drew are joined by
/// bridges of at most 0.12; one lung alone is seldom that narrow inside.
const BRIDGE: f64 = 0.3;

/// Share of the pixels that the network saw that have to be lung before an infected share of it is told.
const LEAST_LUNG: f64 = 0.01;

/// Infected share of the lungs, in percent of their area.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Involvement {
    /// Of both lungs together.
    pub percent: f32,
    /// Of the patient's left lung; `None` where hardly any of it was found, or where the sides are not known.
    pub left_percent: Option<f32>,
    /// Of the patient's right lung; `None` where hardly any of it was found, or where the sides are not known.
    pub right_percent: Option<f32>,
}

impl Involvement {
    /// The same, where nobody knows which side is which.
    pub fn without_sides(self) -> Self {
        Self { left_percent: None, right_percent: None, ..self }
    }
}

/// The infected share of a lung, or of both, in percent: the one definition of involvement. `lung` counts what is marked as lung or
/// as infected, for consolidated lung is easily missed as lung; `seen` are the pixels that the network saw. `None` when hardly any
/// lung was found (under 1 percent of what the network saw).
fn infected_percent(infected: u64, lung: u64, seen: u64) -> Option<f64> {
    (lung > 0 && lung as f64 >= LEAST_LUNG * seen as f64).then(|| 100.0 * infected as f64 / lung as f64)
}

/// Infected share of the lungs in percent, as [`LungArea::involvement`] tells it: what is infected is lung, also where the
/// lung's mask leaves it out. `seen`: pixels of the part of the picture that the net saw.
pub fn involvement_percent(infection: &Plane<u8>, lungs: &Plane<u8>, seen: u64) -> Option<f64> {
    let (mut infected, mut lung) = (0u64, 0u64);
    for (&infection, &of_lung) in infection.data().iter().zip(lungs.data()) {
        infected += u64::from(infection != 0);
        lung += u64::from(infection | of_lung != 0);
    }
    infected_percent(infected, lung, seen)
}

/// Pixels of a picture, or of all slices of a volume: counts add up, shares do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LungArea {
    /// Pixels of the patient's left lung.
    pub left: u64,
    /// Pixels of the patient's right lung.
    pub right: u64,
    /// Infected pixels of the left lung.
    pub infected_left: u64,
    /// Infected pixels of the right lung.
    pub infected_right: u64,
    /// Pixels of the part of the picture that the network saw.
    pub seen: u64,
}

impl LungArea {
    /// Infected pixels of both lungs.
    pub fn infected(&self) -> u64 {
        self.infected_left + self.infected_right
    }

    /// The infected share of the lungs: infected pixels over those of lung, in percent; `None` where hardly any lung was found.
    pub fn involvement(&self) -> Option<Involvement> {
        let percent =
            |infected: u64, lung: u64| infected_percent(infected, lung, self.seen).map(|percent| percent as f32);
        Some(Involvement {
            percent: percent(self.infected(), self.left + self.right)?,
            left_percent: percent(self.infected_left, self.left),
            right_percent: percent(self.infected_right, self.right),
        })
    }
}

impl core::ops::AddAssign for LungArea {
    fn add_assign(&mut self, other: Self) {
        self.left += other.left;
        self.right += other.right;
        self.infected_left += other.infected_left;
        self.infected_right += other.infected_right;
        self.seen += other.seen;
    }
}

/// The patient's left and right lung, 0 or 255, of a mask of both; every marked pixel is in one of them.
pub fn split(lungs: &Plane<u8>) -> [Plane<u8>; 2] {
    let (width, height) = (lungs.width(), lungs.height());
    let empty = lungs.map(|_| 0u8);
    let [mut left, mut right] = [empty.clone(), empty];
    let Some(middle) = middle(lungs) else { return [left, right] };
    let mut seen = alloc::vec![false; width * height];
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
/// the middle one. Where that is no gap and no bridge there is one lung, which lies on a side of the picture's own middle. `None` for
/// an empty mask.
fn middle(lungs: &Plane<u8>) -> Option<usize> {
    let width = lungs.width();
    let mut columns = alloc::vec![0usize; width];
    lungs.data().iter().enumerate().filter(|(_, value)| **value > 0).for_each(|(pixel, _)| columns[pixel % width] += 1);
    let first = columns.iter().position(|&count| count > 0)?;
    let last = columns.iter().rposition(|&count| count > 0)?;
    let quarter = (last - first) / 4;
    let inner = first + quarter..=last - quarter;
    let fewest = inner.clone().map(|column| columns[column]).min()?;
    let thinnest: Vec<usize> = inner.filter(|&column| columns[column] == fewest).collect();
    let middle = thinnest[thinnest.len() / 2];
    let highest = |columns: &[usize]| columns.iter().copied().max().unwrap_or(0);
    let lower = highest(&columns[..middle]).min(highest(&columns[middle..]));
    Some(if fewest as f64 <= BRIDGE * lower as f64 { middle } else { width / 2 })
}

/// The pixels that hang together with `start`, by edges and corners; marks them as seen.
fn component(mask: &Plane<u8>, start: usize, seen: &mut [bool]) -> Vec<usize> {
    let (width, height) = (mask.width(), mask.height());
    seen[start] = true;
    let mut found = alloc::vec![start];
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

    #[test]
    fn a_lung_alone_is_whole_and_on_the_side_of_the_picture_it_lies_on() {
        let alone = plane(&["............", "......####..", ".....######.", ".....######.", ".....######."]);
        assert_eq!(split(&alone), [alone.clone(), alone.map(|_| 0)]);
        let mirrored = Plane::from_fn(12, 5, |x, y| alone.get(11 - x, y));
        assert_eq!(split(&mirrored), [mirrored.map(|_| 0), mirrored.clone()]);
    }

    #[test]
    fn shares_are_of_each_lung_and_of_both() {
        let mut area = LungArea { left: 300, right: 100, infected_left: 30, infected_right: 50, seen: 1000 };
        let told = |area: LungArea| area.involvement().map(|i| (i.percent, i.left_percent, i.right_percent));
        assert_eq!(told(area), Some((20.0, Some(10.0), Some(50.0))));
        // A second slice whose right lung is infected whole: pixels are pooled, shares are not averaged.
        area += LungArea { left: 0, right: 100, infected_left: 0, infected_right: 100, seen: 1000 };
        assert_eq!(told(area), Some((36.0, Some(10.0), Some(75.0))));
        area += LungArea { seen: 29_000, ..LungArea::default() };
        assert_eq!(told(area), Some((36.0, None, None)), "each lung is under 1 % of what was seen, both are not");
        area.seen += 1_000_000;
        assert_eq!(told(area), None);
        assert_eq!(told(LungArea::default()), None);
    }

    #[test]
    fn what_is_infected_is_lung() {
        let row = |bits: &str| Plane::new(bits.len(), 1, bits.bytes().map(|bit| (bit - b'0') * 255).collect()).unwrap();
        let (infection, lungs) = (row("1100000000"), row("0111111100"));
        assert_eq!(involvement_percent(&infection, &lungs, 10), Some(25.0));
        assert_eq!(involvement_percent(&row("0000000000"), &row("0000000000"), 10), None);
        assert_eq!(involvement_percent(&row("0000000000"), &lungs, 10), Some(0.0));
        let mut speck = Plane::filled(20, 10, 0u8);
        speck.data_mut()[0] = 255;
        assert_eq!(involvement_percent(&speck, &speck, 200), None, "half a percent of what was seen is no lung");
        assert_eq!(involvement_percent(&speck, &speck, 100), Some(100.0));
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
