//! What a net that finds single lesions is to find: each lesion with its class, its box and its mask.
//!
//! A mask of infection has no lesions marked, only pixels; a lesion is a connected component of it ([`components`]). A batch keeps
//! them as a picture of numbers, 0 for what is none ([`Targets::of_numbers`]), so that it is a tensor like any other.

use std::collections::VecDeque;

use candle_core::{Result, Tensor};
use thorax_nn::detection::BoundingBox;

/// One lesion.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its class, from 1 on; 0 is the background.
    pub class: usize,
    /// The smallest box around its mask.
    pub place: BoundingBox,
    /// Whether each pixel of the picture belongs to it.
    pub mask: Vec<bool>,
}

/// The lesions of a picture, possibly none.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    /// Rows of the picture.
    pub height: usize,
    /// Columns of the picture.
    pub width: usize,
    /// The lesions.
    pub lesions: Vec<Target>,
}

/// The class of a lesion, where there is one class.
pub const LESION: usize = 1;

impl Targets {
    /// Of a picture of numbers `[height * width]`: the pixels of each number above 0 are a lesion.
    ///
    /// # Errors
    /// Another number of pixels; what is no whole number of at least 0.
    pub fn of_numbers(numbers: &[f32], height: usize, width: usize) -> Result<Self> {
        if numbers.len() != height * width {
            candle_core::bail!("lesions: {} numbers for {height} x {width} pixels", numbers.len());
        }
        if let Some(number) = numbers.iter().find(|number| !(number.fract() == 0.0 && **number >= 0.0)) {
            candle_core::bail!("lesions: {number} is no number of a lesion; give 0 for none, and 1, 2, ...");
        }
        let most = numbers.iter().fold(0f32, |most, number| most.max(*number)) as usize;
        let lesions = (1..=most).filter_map(|number| {
            let mask: Vec<bool> = numbers.iter().map(|value| *value as usize == number).collect();
            Some(Target { class: LESION, place: around(&mask, width)?, mask })
        });
        Ok(Self { height, width, lesions: lesions.collect() })
    }

    /// Of each picture of a batch of numbers `[N, height, width]`.
    ///
    /// # Errors
    /// As [`Self::of_numbers`].
    pub fn of_batch(numbers: &Tensor) -> Result<Vec<Self>> {
        let (_, height, width) = numbers.dims3()?;
        let pictures = numbers.to_device(&candle_core::Device::Cpu)?.flatten_from(1)?.to_vec2::<f32>()?;
        pictures.iter().map(|numbers| Self::of_numbers(numbers, height, width)).collect()
    }

    /// Sees that each lesion can be learnt.
    ///
    /// # Errors
    /// A box without area, or that reaches out of the picture; a mask of another size or without a pixel; class 0 or one of more than
    /// `classes` (the background counted).
    pub fn check(&self, classes: usize) -> Result<()> {
        for Target { class, place, mask } in &self.lesions {
            if !place.has_area() {
                candle_core::bail!("a lesion's box {place:?} has no area; leave the lesion out");
            }
            if place.left < 0.0
                || place.top < 0.0
                || place.right > self.width as f32
                || place.bottom > self.height as f32
            {
                candle_core::bail!(
                    "a lesion's box {place:?} reaches out of its picture of {} x {}; cut it",
                    self.width,
                    self.height
                );
            }
            if mask.len() != self.height * self.width || !mask.contains(&true) {
                candle_core::bail!(
                    "a lesion's mask has {} pixels, {} of them marked, in a picture of {} x {}; leave the lesion out",
                    mask.len(),
                    mask.iter().filter(|inside| **inside).count(),
                    self.width,
                    self.height
                );
            }
            if !(1..classes).contains(class) {
                candle_core::bail!("a lesion is of class {class}; the net has the classes 1 to {}", classes - 1);
            }
        }
        Ok(())
    }

    /// Whether each pixel belongs to any lesion.
    pub fn union(&self) -> Vec<bool> {
        let mut union = vec![false; self.height * self.width];
        for lesion in &self.lesions {
            union.iter_mut().zip(&lesion.mask).for_each(|(all, inside)| *all |= inside);
        }
        union
    }

    /// The masks as numbers, `[lesions, 1, height, width]`; none without lesions.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn masks(&self) -> Result<Option<Tensor>> {
        if self.lesions.is_empty() {
            return Ok(None);
        }
        let values =
            self.lesions.iter().flat_map(|lesion| lesion.mask.iter().map(|inside| f32::from(u8::from(*inside))));
        let shape = (self.lesions.len(), 1, self.height, self.width);
        Tensor::from_vec(values.collect(), shape, &candle_core::Device::Cpu).map(Some)
    }
}

/// The smallest box around the marked pixels; none if there are none.
pub fn around(mask: &[bool], width: usize) -> Option<BoundingBox> {
    let mut edges: Option<[usize; 4]> = None;
    for at in mask.iter().enumerate().filter(|(_, inside)| **inside).map(|(at, _)| at) {
        let (x, y) = (at % width, at / width);
        let [left, top, right, bottom] = edges.unwrap_or([x, y, x + 1, y + 1]);
        edges = Some([left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1)]);
    }
    edges.map(|edges| {
        let [left, top, right, bottom] = edges.map(|edge| edge as f32);
        BoundingBox { left, top, right, bottom }
    })
}

/// The connected components of a mask, pixels that touch at a corner included, numbered from 1 in the order of their first pixels;
/// those of fewer than `smallest` pixels are left out.
pub fn components(mask: &[bool], width: usize, smallest: usize) -> Vec<u32> {
    let height = mask.len() / width.max(1);
    let mut numbers = vec![0u32; mask.len()];
    let mut seen = vec![false; mask.len()];
    let mut count = 0;
    for start in 0..mask.len() {
        if !mask[start] || seen[start] {
            continue;
        }
        let (mut queue, mut pixels) = (VecDeque::from([start]), vec![]);
        seen[start] = true;
        while let Some(at) = queue.pop_front() {
            pixels.push(at);
            let (x, y) = (at % width, at / width);
            for row in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for column in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    let next = row * width + column;
                    if mask[next] && !seen[next] {
                        seen[next] = true;
                        queue.push_back(next);
                    }
                }
            }
        }
        if pixels.len() >= smallest {
            count += 1;
            pixels.into_iter().for_each(|at| numbers[at] = count);
        }
    }
    numbers
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lesions_are_the_connected_parts_of_a_mask() {
        let picture = ["##....#", "#...##.", ".......", "..#...#"].concat();
        let mask: Vec<bool> = picture.chars().map(|c| c == '#').collect();
        let numbers: String = components(&mask, 7, 1).iter().map(|n| char::from_digit(*n, 10).unwrap()).collect();
        assert_eq!(numbers, ["1100002", "1000220", "0000000", "0030004"].concat());
        let large: Vec<u32> = components(&mask, 7, 3);
        assert_eq!(large.iter().max(), Some(&2));
        let numbers: Vec<f32> = large.iter().map(|number| *number as f32).collect();
        let targets = Targets::of_numbers(&numbers, 4, 7).unwrap();
        let places: Vec<_> = targets.lesions.iter().map(|lesion| lesion.place).collect();
        let place = |left, top, right, bottom| BoundingBox { left, top, right, bottom };
        assert_eq!(places, [place(0.0, 0.0, 2.0, 2.0), place(4.0, 0.0, 7.0, 2.0)]);
        targets.check(2).unwrap();
    }

    #[test]
    fn a_lesion_of_one_pixel_has_a_box_of_one_pixel_and_a_mask_without_any_has_none() {
        let mut numbers = vec![0f32; 12];
        numbers[5] = 3.0;
        let targets = Targets::of_numbers(&numbers, 3, 4).unwrap();
        assert_eq!(targets.lesions[0].place.area(), 1.0);
        targets.check(2).unwrap();
        let none = Targets::of_numbers(&[0.0; 12], 3, 4).unwrap();
        assert!(none.lesions.is_empty() && none.masks().unwrap().is_none() && none.check(2).is_ok());
        assert_eq!(around(&[false; 12], 4), None);
    }

    #[test]
    fn what_cannot_be_learnt_is_refused_with_a_remedy() {
        let mut numbers = vec![0f32; 16];
        numbers[5] = 1.0;
        let targets = Targets::of_numbers(&numbers, 4, 4).unwrap();
        let with = |change: &dyn Fn(&mut Target)| {
            let mut targets = targets.clone();
            change(&mut targets.lesions[0]);
            targets.check(2).unwrap_err().to_string()
        };
        for (told, error) in [
            ("no area", with(&|lesion| lesion.place.right = lesion.place.left)),
            ("no area", with(&|lesion| lesion.place.right = f32::NAN)),
            ("cut it", with(&|lesion| lesion.place.right = 9.0)),
            ("leave the lesion out", with(&|lesion| lesion.mask = vec![false; 16])),
            ("the classes 1 to 1", with(&|lesion| lesion.class = 2)),
        ] {
            assert!(error.contains(told), "{error}");
        }
        assert!(Targets::of_numbers(&[0.5], 1, 1).is_err() && Targets::of_numbers(&[f32::NAN], 1, 1).is_err());
        assert!(Targets::of_numbers(&[0.0], 1, 2).is_err());
    }

    proptest! {
        #[test]
        fn components_part_the_mask(mask in proptest::collection::vec(any::<bool>(), 48)) {
            let numbers = components(&mask, 8, 1);
            prop_assert!(mask.iter().zip(&numbers).all(|(inside, number)| *inside == (*number > 0)));
            let floats: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
            prop_assert_eq!(Targets::of_numbers(&floats, 6, 8).unwrap().union(), mask);
        }
    }
}
