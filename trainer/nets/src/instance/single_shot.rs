//! What YOLACT and BlitzNet have in common: priors that each tell a class and a box, in one pass (Liu et al. 2016, "SSD").

use candle_core::{Result, Tensor};
use thorax_nn::detection::{
    BoundingBox, BoxCoder,
    losses::{smooth_l1, softmax_cross_entropy},
};

use super::{
    matching::{Match, Matcher},
    parts::{codes, rows},
    targets::Targets,
};
use crate::network::nothing_of;

/// So many priors of the background learn for each that has a lesion: those that are least sure of it.
const BACKGROUND: usize = 3;

/// SSD's variances 0.1 and 0.2.
pub(super) fn coder() -> BoxCoder {
    BoxCoder::new([10.0, 10.0, 5.0, 5.0])
}

/// What each prior of each picture learns.
pub(super) struct Matched {
    /// Of each picture.
    pub(super) matches: Vec<Vec<Match>>,
    /// Picture, prior and lesion of those with a lesion.
    pub(super) lesions: Vec<(usize, usize, usize)>,
}

pub(super) fn matched(matcher: Matcher, priors: &[BoundingBox], targets: &[Targets]) -> Matched {
    let (mut matches, mut lesions) = (vec![], vec![]);
    for (picture, targets) in targets.iter().enumerate() {
        let places: Vec<BoundingBox> = targets.lesions.iter().map(|lesion| lesion.place).collect();
        let own = matcher.matches(priors, &places);
        let with = own.iter().enumerate().filter_map(|(prior, of)| of.lesion().map(|lesion| (picture, prior, lesion)));
        lesions.extend(with);
        matches.push(own);
    }
    Matched { matches, lesions }
}

/// Where hard background is sought.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hard {
    /// In each picture, three for each of its own lesions (Bolya et al. 2019).
    OfPicture,
    /// In the batch, three for each of all lesions (Dvornik et al. 2017).
    OfBatch,
}

/// The sums of smooth L1 over the boxes of priors with lesions, and of the cross entropy over these and the hardest background; of
/// `boxes` `[N, P, 4]` and `classes` `[N, P, classes]`.
pub(super) fn sums(
    boxes: &Tensor,
    classes: &Tensor,
    priors: &[BoundingBox],
    matched: &Matched,
    targets: &[Targets],
    hard: Hard,
) -> Result<(Tensor, Tensor)> {
    let place = |&(picture, prior, _): &(usize, usize, usize)| picture * priors.len() + prior;
    let own: Vec<usize> = matched.lesions.iter().map(place).collect();
    let boxes_sum = if own.is_empty() {
        nothing_of(boxes)?
    } else {
        let code = |&(picture, prior, lesion): &(usize, usize, usize)| {
            coder().encode(&targets[picture].lesions[lesion].place, &priors[prior])
        };
        let wanted = codes(matched.lesions.iter().map(code).collect(), boxes.device())?;
        smooth_l1(&rows(&boxes.flatten_to(1)?, &own)?, &wanted, 1.0)?
    };
    let class = |&(picture, _, lesion): &(usize, usize, usize)| targets[picture].lesions[lesion].class as u32;
    let mut wanted: Vec<u32> = matched.lesions.iter().map(class).collect();
    let mut learnt = own;
    learnt.extend(background(classes, priors.len(), matched, hard)?);
    wanted.resize(learnt.len(), 0);
    if learnt.is_empty() {
        return Ok((boxes_sum, nothing_of(classes)?));
    }
    let logits = rows(&classes.flatten_to(1)?, &learnt)?;
    Ok((boxes_sum, softmax_cross_entropy(&logits, &wanted)?.sum_all()?))
}

/// The priors of the background that learn: those whose loss is largest. A picture (or batch) without a lesion has none.
fn background(classes: &Tensor, priors: usize, matched: &Matched, hard: Hard) -> Result<Vec<usize>> {
    let logits = classes.detach().to_vec3::<f32>()?;
    let loss = |logits: &Vec<f32>| {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        highest + logits.iter().map(|z| (z - highest).exp()).sum::<f32>().ln() - logits[0]
    };
    let mut found = vec![];
    let mut all: Vec<(f32, usize)> = vec![];
    for (picture, (matches, logits)) in matched.matches.iter().zip(&logits).enumerate() {
        let none = (0..priors).filter(|&prior| matches[prior] == Match::Background);
        let mut own: Vec<(f32, usize)> = none.map(|prior| (loss(&logits[prior]), picture * priors + prior)).collect();
        if hard == Hard::OfPicture {
            let lesions = matched.lesions.iter().filter(|(of, ..)| *of == picture).count();
            found.extend(hardest(&mut own, BACKGROUND * lesions));
        } else {
            all.append(&mut own);
        }
    }
    found.extend(hardest(&mut all, BACKGROUND * matched.lesions.len()));
    Ok(found)
}

fn hardest(losses: &mut Vec<(f32, usize)>, most: usize) -> Vec<usize> {
    losses.sort_by(|a, b| b.0.total_cmp(&a.0));
    losses.truncate(most);
    losses.iter().map(|(_, index)| *index).collect()
}
