//! What the device feeds a graph for the pictures of a manifest, and for changed copies of them.

use anyhow::Context;
use half::{f16, slice::HalfFloatSliceExt};
use thorax_engine::screening;
use thorax_shared::bundle::Role;

use crate::{
    changes::{self, Copies},
    data::{Manifest, Record, Split, picture::Picture},
    judge::bundle::JudgedModel,
    progress::in_parallel,
    stress::Sample,
};

/// Inputs of a graph, `[C, S, S]` each.
pub struct Inputs {
    /// The picture's path, and its input followed by those of its changed copies.
    pictures: Vec<(String, Vec<Vec<f16>>)>,
}

/// Up to `count` pictures of a split, of every class and source alike; of a segmenter half of them have masks.
pub(super) fn records<'a>(
    manifest: &'a Manifest,
    model: &JudgedModel,
    role: Role,
    split: Split,
    count: usize,
    seed: u64,
) -> Vec<&'a Record> {
    let drawn = if role == Role::Segmenter { count.div_ceil(2) } else { count };
    let Sample { labelled, masked } = Sample::draw(manifest, model.manifest().modality, split, Some(drawn), seed);
    match role {
        Role::Classifier => labelled,
        Role::Segmenter => labelled.into_iter().chain(masked).collect(),
    }
}

/// What a graph of `model` is fed for a picture of `record` after a history of changes, which is that of its `copy`.
///
/// # Errors
/// A picture that cannot be read.
pub(super) fn input(
    manifest: &Manifest,
    model: &JudgedModel,
    role: Role,
    record: &Record,
    copy: u16,
    copies: Copies,
) -> anyhow::Result<Vec<f32>> {
    let spec = match (role, &model.manifest().segmenter) {
        (Role::Segmenter, Some(segmenter)) => &segmenter.graph.preprocess,
        _ => &model.manifest().classifier.graph.preprocess,
    };
    let changes = changes::history(&record.sha256, copy, copies.seed);
    let picture = changes::changed(Picture::of(manifest, record)?, &changes, &spec.window);
    match role {
        Role::Segmenter => Ok(picture.prepare(spec)?.tensor),
        Role::Classifier => Ok(screening::classifier_input(model.of(&picture), &picture.frame)?),
    }
}

impl Inputs {
    /// Those of `records`, each with `copies`.
    ///
    /// # Errors
    /// The first picture that cannot be read.
    pub fn load(
        manifest: &Manifest,
        model: &JudgedModel,
        role: Role,
        records: &[&Record],
        copies: Copies,
    ) -> anyhow::Result<Self> {
        let load = |record: &&Record| -> anyhow::Result<(String, Vec<Vec<f16>>)> {
            let one = |copy| {
                let input = input(manifest, model, role, record, copy, copies)?;
                let mut stored = vec![f16::ZERO; input.len()];
                stored.convert_from_f32_slice(&input);
                Ok(stored)
            };
            let copies = (0..=copies.count).map(one).collect::<anyhow::Result<_>>();
            Ok((record.path.clone(), copies.with_context(|| record.path.clone())?))
        };
        let pictures =
            in_parallel("pictures and their copies", records, load).into_iter().collect::<anyhow::Result<_>>()?;
        Ok(Self { pictures })
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.pictures.len()
    }

    /// The path of a picture.
    pub fn name(&self, picture: usize) -> &str {
        &self.pictures[picture].0
    }

    /// How many inputs a picture has: its own, and its copies'.
    pub fn variants(&self, picture: usize) -> usize {
        self.pictures[picture].1.len()
    }

    /// An input of a picture; number 0 is its own.
    pub fn get(&self, picture: usize, variant: usize) -> Vec<f32> {
        let stored = &self.pictures[picture].1[variant];
        let mut values = vec![0.0; stored.len()];
        stored.convert_to_f32_slice(&mut values);
        values
    }
}
