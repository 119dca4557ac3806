//! A trained net on whole pictures: prepared as the device prepares them, lesions brought back to the picture's size.

use std::path::Path;

use anyhow::ensure;
use candle_core::{Device, Tensor};
use thorax_nn::detection::BoundingBox;
use thorax_shared::{
    mask::{INFECTION, NAMES},
    modality::Modality,
    plane::{Plane, Rect},
    preprocess::{self, Prepared},
};

use super::run::{self, InstanceRun};
use crate::{
    data::picture::Picture,
    segmentation::{DrawMasks, Drawn},
};

/// A pixel of at least this belongs to a lesion, after it was brought to the picture's size.
const HALF: f32 = 0.5;

/// A net that finds lesions on pictures of any size.
pub struct LesionFinder {
    run: InstanceRun,
    names: Vec<String>,
}

/// A lesion that was found, at the picture's size.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesion {
    /// How sure the net is, 0 to 1.
    pub score: f32,
    /// Its box, in pixels of the picture.
    pub place: BoundingBox,
    /// Whether each pixel belongs to it.
    pub mask: Vec<bool>,
}

/// A picture and what was found on it, all of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundLesions {
    /// The picture as a reader expects it, windowed.
    pub picture: Plane<u8>,
    /// The lesions, the surest first.
    pub lesions: Vec<Lesion>,
    /// 0 or 255: what is infected.
    pub union: Plane<u8>,
    /// The part of the picture that the net saw.
    pub seen: Rect,
}

impl FoundLesions {
    /// Their union, as any mask.
    pub fn into_drawn(self) -> Drawn {
        let Self { picture, union, seen, .. } = self;
        Drawn { picture, masks: vec![union], seen: seen.area() as u64 }
    }
}

impl LesionFinder {
    /// The run in a folder.
    ///
    /// # Errors
    /// A folder without a finished run.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self { run: run::load(folder, &Device::Cpu)?, names: vec![NAMES[INFECTION].to_owned()] })
    }

    /// How it was trained.
    pub fn run(&self) -> &InstanceRun {
        &self.run
    }

    /// Finds the lesions of a picture.
    ///
    /// # Errors
    /// A picture without pixels or of another modality; a net that fails or gives what is no number.
    pub fn find(&self, picture: &Picture) -> anyhow::Result<FoundLesions> {
        let config = &self.run.config;
        if let Some(modality) = picture.frame.modality {
            ensure!(
                modality == config.modality,
                "the picture is {modality}, and the run finds lesions on {} pictures; give a run of {modality}",
                config.modality
            );
        }
        let prepared = picture.prepare(&config.preprocess)?;
        let side = config.preprocess.input_side as usize;
        let channels = config.preprocess.normalise.mean.len();
        let x = Tensor::from_vec(prepared.tensor.clone(), (1, channels, side, side), &Device::Cpu)?;
        let found = self.run.net.detect(&x)?.swap_remove(0);
        let union = placed(&found.union(side * side, self.run.threshold.score), side, &prepared)?;
        let lesion = |instance: &thorax_nets::instance::Instance| {
            let mask = placed(&instance.mask, side, &prepared)?.data().iter().map(|value| *value > 0).collect();
            Ok(Lesion { score: instance.score, place: in_picture(&instance.place, side, prepared.core), mask })
        };
        Ok(FoundLesions {
            lesions: found.instances.iter().map(lesion).collect::<anyhow::Result<_>>()?,
            union,
            seen: prepared.core,
            picture: prepared.windowed,
        })
    }
}

/// A box of the net's picture, whose side is `side`, in the picture of which the net saw `core`.
fn in_picture(place: &BoundingBox, side: usize, core: Rect) -> BoundingBox {
    let across = |x: f32| core.x as f32 + x * core.width as f32 / side as f32;
    let down = |y: f32| core.y as f32 + y * core.height as f32 / side as f32;
    let BoundingBox { left, top, right, bottom } = *place;
    BoundingBox { left: across(left), top: down(top), right: across(right), bottom: down(bottom) }
}

/// A mask of the net's size at the picture's.
fn placed(mask: &[bool], side: usize, prepared: &Prepared) -> anyhow::Result<Plane<u8>> {
    let size = (prepared.windowed.width(), prepared.windowed.height());
    let map = mask.iter().map(|inside| f32::from(u8::from(*inside))).collect();
    let map = preprocess::map_to_source(&Plane::new(side, side, map)?, prepared.core, size);
    Ok(map.map(|value| if value >= HALF { 255 } else { 0 }))
}

impl DrawMasks for LesionFinder {
    fn modality(&self) -> Modality {
        self.run.config.modality
    }

    fn names(&self) -> &[String] {
        &self.names
    }

    fn draw(&self, picture: &Picture) -> anyhow::Result<Drawn> {
        Ok(self.find(picture)?.into_drawn())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_lies_in_the_part_that_the_net_saw() {
        let place = BoundingBox { left: 0.0, top: 32.0, right: 64.0, bottom: 64.0 };
        let core = Rect { x: 10, y: 20, width: 128, height: 256 };
        let expected = BoundingBox { left: 10.0, top: 148.0, right: 138.0, bottom: 276.0 };
        assert_eq!(in_picture(&place, 64, core), expected);
    }
}
