//! The pictures that a backbone learns from, and what is to be said of each.
//!
//! Each time a picture is drawn it is read anew and changed anew, as files are changed on their way, so the memory does not grow with the
//! pictures, and hardly any input is ever seen twice.

use anyhow::Context;
use candle_core::{Device, Tensor};
use rand::{Rng, rngs::StdRng};
use thorax_nn::training::{Dataset, TaskError};
use thorax_shared::preprocess::spec::PreprocessSpec;

use super::lesions::{Lesions, shares};
use crate::{
    changes::{self, Copies},
    data::{Manifest, Record, picture::Picture},
    heads,
    segmentation::{LungFinder, lungs},
};

/// How a record becomes a net's input.
#[derive(Clone, Copy)]
pub struct Preparation<'a> {
    /// Where the pictures are.
    pub manifest: &'a Manifest,
    /// The recipe.
    pub spec: &'a PreprocessSpec,
    /// What finds the lungs, where the recipe crops to them.
    pub lungs: Option<&'a LungFinder>,
    /// The changed copies that there are of a picture, and the seed of their changes.
    pub copies: Copies,
    /// Where lesions lie, and how many cells of a side it is told for, where that is learnt too.
    pub lesions: Option<(&'a Lesions, usize)>,
}

/// A copy of a picture as the net sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// `[C, S, S]`.
    pub input: Vec<f32>,
    /// Share of each cell that is covered by lesions, `[g, g]`; `None` where that is not known or not learnt.
    pub lesions: Option<Vec<f32>>,
}

impl Preparation<'_> {
    /// A record's copy of that number; copy 0 is the picture itself.
    ///
    /// # Errors
    /// A picture that cannot be read, or does not fit its mask; a segmenter that fails.
    pub fn view(&self, record: &Record, copy: u16) -> anyhow::Result<View> {
        let changes = changes::history(&record.sha256, copy, self.copies.seed);
        let of_picture = || -> anyhow::Result<View> {
            let picture = Picture::of(self.manifest, record)?;
            let mask = match self.lesions {
                Some((lesions, cells)) => lesions.of(self.manifest, record, &picture)?.map(|mask| (mask, cells)),
                None => None,
            };
            let picture = changes::changed(picture, &changes, &self.spec.window);
            let equalised = picture.equalise(self.spec)?;
            let crop = lungs::crop(&picture, &equalised, self.spec, self.lungs)?;
            let lesions = mask.map(|(mask, cells)| shares(mask, &changes, crop.rect, cells));
            Ok(View { input: equalised.input(&crop, self.spec).1, lesions })
        };
        of_picture().with_context(|| record.path.clone())
    }

    /// The inputs of several, `[N, C, S, S]`, and their lesions.
    ///
    /// # Errors
    /// As [`Self::view`].
    pub fn batch(&self, records: &[(&Record, u16)]) -> anyhow::Result<(Tensor, Vec<Option<Vec<f32>>>)> {
        let views = records.iter().map(|&(record, copy)| self.view(record, copy));
        let views = views.collect::<anyhow::Result<Vec<_>>>()?.into_iter();
        let (inputs, lesions) = views.map(|view| (view.input, view.lesions)).unzip();
        Ok((self.stack(inputs)?, lesions))
    }

    /// Inputs one behind the other, `[N, C, S, S]`.
    fn stack(&self, inputs: Vec<Vec<f32>>) -> candle_core::Result<Tensor> {
        let (count, side) = (inputs.len(), self.spec.input_side as usize);
        Tensor::from_vec(inputs.concat(), (count, self.spec.normalise.mean.len(), side, side), &Device::Cpu)
    }
}

/// What the heads are to say of pictures.
pub struct Targets {
    /// Heads.
    pub members: usize,
    /// The probability that each head is to tell of each picture, `[pictures, members]`.
    pub probabilities: Vec<f32>,
    /// How much each of them counts, `[pictures, members]`.
    pub weights: Vec<f32>,
    /// How many of the pictures, the last ones, the heads are told nothing of.
    unasked: usize,
}

impl Targets {
    /// These probabilities, `[pictures, members]`, of which each counts alike.
    pub fn new(members: usize, probabilities: Vec<f32>) -> Self {
        let weights = vec![1.0; probabilities.len()];
        Self { members, probabilities, weights, unasked: 0 }
    }

    /// The labels, the same for each of `members` heads.
    pub fn of_labels(records: &[&Record], members: usize) -> Self {
        let label = |record: &&Record| if record.is_positive() { 1.0 } else { 0.0 };
        Self::new(members, records.iter().flat_map(|record| std::iter::repeat_n(label(record), members)).collect())
    }

    /// The same with each head on its own resample of the patients of `records`, drawn from `seed`; a single head sees all of them.
    #[must_use]
    pub fn resampled(mut self, records: &[&Record], seed: u64) -> Self {
        if self.members > 1 {
            let groups: Vec<&str> = records.iter().map(|record| record.group.as_str()).collect();
            let resamples = heads::bootstrap(&groups, self.members, seed);
            let of = |index: usize| resamples.iter().map(move |counts| counts[index]);
            self.weights = (0..records.len()).flat_map(of).collect();
        }
        self
    }

    /// With so many pictures behind them of which the heads are told nothing.
    #[must_use]
    pub fn unasked(mut self, pictures: usize) -> Self {
        let entries = self.probabilities.len() + pictures * self.members;
        self.probabilities.resize(entries, 0.5);
        self.weights.resize(entries, 0.0);
        self.unasked += pictures;
        self
    }

    /// All weights times `factor`.
    fn times(mut self, factor: f32) -> Self {
        self.weights.iter_mut().for_each(|weight| *weight *= factor);
        self
    }

    /// How many of the pictures, the first ones, the heads are told something of.
    pub fn asked(&self) -> usize {
        self.probabilities.len() / self.members - self.unasked
    }

    /// What is to be said of picture `index`, and how much that counts.
    fn of(&self, index: usize) -> [&[f32]; 2] {
        [&self.probabilities, &self.weights].map(|all| &all[index * self.members..][..self.members])
    }
}

/// The training pictures.
pub struct Pictures<'a> {
    /// How they are prepared.
    preparation: Preparation<'a>,
    records: Vec<&'a Record>,
    targets: Targets,
    /// Up to which sum of what pictures count each picture goes; empty where each is drawn once an epoch.
    drawn: Vec<f64>,
    /// Changed copies of a picture that are seen side by side.
    views: usize,
    /// How much the lesions of a picture count where they are known, so that in all they count as if they were known of all.
    lesion_weight: f32,
}

impl<'a> Pictures<'a> {
    /// `views` copies of a picture are seen side by side. With `balance` above 0 an epoch draws pictures as [`heads::balanced`] weighs
    /// them, in place of each once.
    pub fn new(
        preparation: Preparation<'a>,
        records: Vec<&'a Record>,
        targets: Targets,
        balance: f32,
        views: usize,
    ) -> Self {
        let kinds: Vec<_> = records.iter().map(|record| (record.source.as_str(), record.label)).collect();
        let weights = heads::balanced(&kinds, balance);
        let share = |of: &dyn Fn(usize) -> bool| {
            let some = weights.iter().enumerate().filter(|(at, _)| of(*at)).map(|(_, &weight)| f64::from(weight));
            (some.sum::<f64>() / weights.iter().map(|&weight| f64::from(weight)).sum::<f64>()) as f32
        };
        let asked = targets.asked();
        let targets = match asked < records.len() {
            true => targets.times(1.0 / share(&|at| at < asked)),
            false => targets,
        };
        let lesion_weight =
            preparation.lesions.map_or(1.0, |(lesions, _)| share(&|at| lesions.known(records[at])).recip());
        let sum = |sum: &mut f64, weight: f32| {
            *sum += f64::from(weight);
            Some(*sum)
        };
        let drawn = if balance > 0.0 { weights.into_iter().scan(0.0, sum).collect() } else { vec![] };
        Self { preparation, records, targets, drawn, views, lesion_weight }
    }
}

/// The views of a picture, what is to be said of it, and how much that counts.
pub struct Views {
    views: Vec<View>,
    probabilities: Vec<f32>,
    weights: Vec<f32>,
}

impl Dataset for Pictures<'_> {
    type Sample = Views;

    fn len(&self) -> usize {
        self.records.len()
    }

    fn name(&self, index: usize) -> String {
        match self.drawn.is_empty() {
            true => self.records[index].path.clone(),
            false => "a picture that was drawn by its source and class".into(),
        }
    }

    fn load(&self, index: usize, random: &mut StdRng) -> Result<Views, TaskError> {
        let index = match self.drawn.last() {
            None => index,
            Some(&all) => {
                let at = random.random_range(0.0..all);
                self.drawn.partition_point(|&sum| sum <= at).min(self.records.len() - 1)
            }
        };
        let view =
            |_| self.preparation.view(self.records[index], random.random_range(0..=self.preparation.copies.count));
        let views = (0..self.views).map(view).collect::<anyhow::Result<_>>()?;
        let [probabilities, weights] = self.targets.of(index).map(<[f32]>::to_vec);
        Ok(Views { views, probabilities, weights })
    }

    /// Pictures `[V N, C, S, S]`, the views of all one after the other; what is to be said of them and how much that counts, both
    /// `[N, members, 1, 1]`. Where lesions are learnt, also the shares that they cover `[V N, 1, g, g]`, and how much these count
    /// `[V N, 1, 1, 1]`, 0 where they are not known.
    fn collate(&self, samples: Vec<Views>) -> Result<Vec<Tensor>, TaskError> {
        let shape = (samples.len(), self.targets.members, 1, 1);
        let all = |part: fn(&Views) -> &[f32]| {
            Tensor::from_vec(samples.iter().flat_map(part).copied().collect::<Vec<_>>(), shape, &Device::Cpu)
        };
        let (probabilities, weights) = (all(|views| &views.probabilities)?, all(|views| &views.weights)?);
        let mut views: Vec<Vec<View>> = (0..self.views).map(|_| vec![]).collect();
        for sample in samples {
            views.iter_mut().zip(sample.views).for_each(|(of_view, view)| of_view.push(view));
        }
        let (inputs, lesions): (Vec<_>, Vec<_>) =
            views.into_iter().flatten().map(|view| (view.input, view.lesions)).unzip();
        let mut batch = vec![self.preparation.stack(inputs)?, probabilities, weights];
        if let Some((_, cells)) = self.preparation.lesions {
            let weight = |shares: &Option<Vec<f32>>| if shares.is_some() { self.lesion_weight } else { 0.0 };
            let weights = lesions.iter().map(weight).collect::<Vec<_>>();
            batch.push(stack_shares(lesions, cells)?);
            batch.push(Tensor::from_vec(weights, (batch[0].dim(0)?, 1, 1, 1), &Device::Cpu)?);
        }
        Ok(batch)
    }
}

/// Shares `[N, 1, cells, cells]` of pictures, 0 where they are not known.
fn stack_shares(shares: Vec<Option<Vec<f32>>>, cells: usize) -> candle_core::Result<Tensor> {
    let count = shares.len();
    let of = |shares: Option<Vec<f32>>| shares.unwrap_or_else(|| vec![0.0; cells * cells]);
    Tensor::from_vec(shares.into_iter().flat_map(of).collect(), (count, 1, cells, cells), &Device::Cpu)
}
