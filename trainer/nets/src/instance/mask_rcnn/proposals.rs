//! The first stage: where a lesion may be, whatever it is (Ren et al. 2015, "Faster R-CNN", section 3.1).

use candle_core::{Result, Tensor};
use thorax_nn::{
    detection::{BoundingBox, BoxCoder, losses::smooth_l1, suppression::greedy},
    elementwise::binary_cross_entropy,
    seeded,
};

use crate::{
    instance::{
        Losses, anchors,
        matching::{Match, Matcher, Order, Rescue, Sampler},
        parts::{self, codes, flat, four, rows, sizes, within},
        targets::Targets,
    },
    network::{Network, Pass, nothing_of},
};

/// Heights of the anchors over their widths.
const RATIOS: [f32; 3] = [0.5, 1.0, 2.0];
const MATCHER: Matcher = Matcher { lesion_from: 0.7, background_below: 0.3, rescue: Rescue::Best };
const SAMPLER: Sampler = Sampler { most: 256, lesions: 0.5 };
/// Where smooth L1 becomes a line.
const BETA: f64 = 1.0 / 9.0;
/// Of each map before the suppression, and of all after it, in training and inference.
const MOST: [usize; 2] = [2000, 1000];
const OVERLAP: f32 = 0.7;
const SMALLEST: f32 = 1e-3;

fn coder() -> BoxCoder {
    BoxCoder::new([1.0; 4])
}

/// What the proposer says of each anchor of each picture.
pub(super) struct Answers {
    /// Logits `[N, A]`.
    objectness: Tensor,
    /// Codes `[N, A, 4]`.
    boxes: Tensor,
    /// The anchors of each map.
    anchors: Vec<Vec<BoundingBox>>,
}

/// What is said of each anchor; those of the first map have sides of `anchor` pixels, those of each further one twice as many.
pub(super) fn answers(
    net: &Network,
    maps: &[Tensor],
    [height, width]: [usize; 2],
    anchor: usize,
    pass: Pass,
) -> Result<Answers> {
    let (mut objectness, mut boxes) = (vec![], vec![]);
    for map in maps {
        let mut given = parts::answers(net, map, pass)?;
        objectness.extend(given.remove("objectness").into_iter().flatten());
        boxes.extend(given.remove("boxes").into_iter().flatten());
    }
    let sides: Vec<f32> = (0..maps.len()).map(|level| (anchor << level) as f32).collect();
    let anchors = anchors::pyramid(height, width, &sizes(maps)?, &sides, &RATIOS);
    Ok(Answers { objectness: flat(&objectness, 1)?.squeeze(2)?, boxes: flat(&boxes, 4)?, anchors })
}

/// The boxes of each picture that the second stage looks at, the surest first. They have no gradient.
pub(super) fn choose(answers: &Answers, [height, width]: [usize; 2], train: bool) -> Result<Vec<Vec<BoundingBox>>> {
    let most = if train { MOST[0] } else { MOST[1] };
    let scores = answers.objectness.detach().to_vec2::<f32>()?;
    let deltas = answers.boxes.detach().to_vec3::<f32>()?;
    let picture = |(scores, deltas): (&Vec<f32>, &Vec<Vec<f32>>)| {
        let mut chosen: Vec<(f32, BoundingBox)> = vec![];
        let mut first = 0;
        for anchors in &answers.anchors {
            let own = first..first + anchors.len();
            let mut order: Vec<usize> = own.clone().collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            order.truncate(most);
            let decode = |&index: &usize| {
                let place = coder().decode(four(&deltas[index]), &anchors[index - first]);
                let place = within(place, height, width)?;
                let large = place.width() >= SMALLEST && place.height() >= SMALLEST;
                large.then_some((scores[index], place))
            };
            let (scores, boxes): (Vec<f32>, Vec<BoundingBox>) = order.iter().filter_map(decode).unzip();
            let kept = greedy(&boxes, &scores, OVERLAP);
            chosen.extend(kept.into_iter().map(|index| (scores[index], boxes[index])));
            first = own.end;
        }
        // Logits in place of probabilities: the order is the same, and large ones do not become equal.
        chosen.sort_by(|a, b| b.0.total_cmp(&a.0));
        chosen.truncate(most);
        chosen.into_iter().map(|(_, place)| place).collect()
    };
    Ok(scores.iter().zip(&deltas).map(picture).collect())
}

/// Whether an anchor has a lesion, a mean over those that were sampled; and where it is, a sum over those that have one, over the number
/// of all that were sampled.
pub(super) fn losses(answers: &Answers, targets: &[Targets], order: Order) -> Result<Losses> {
    let anchors: Vec<BoundingBox> = answers.anchors.concat();
    let (mut lesions, mut wanted, mut background) = (vec![], vec![], vec![]);
    for (picture, targets) in targets.iter().enumerate() {
        let places: Vec<BoundingBox> = targets.lesions.iter().map(|lesion| lesion.place).collect();
        let matches = MATCHER.matches(&anchors, &places);
        let order = match order {
            Order::Drawn(seed) => Order::Drawn(seeded::derive(seed, &[1, picture as u64])),
            order => order,
        };
        let (own, none) = SAMPLER.sample(&matches, order);
        let code = |index: &usize| match matches[*index] {
            Match::Lesion(number) => Some(coder().encode(&places[number], &anchors[*index])),
            _ => None,
        };
        wanted.extend(own.iter().filter_map(code));
        let of_picture = |index: usize| picture * anchors.len() + index;
        lesions.extend(own.into_iter().map(of_picture));
        background.extend(none.into_iter().map(of_picture));
    }
    let device = answers.boxes.device();
    let sampled = [lesions.as_slice(), &background].concat();
    let truth: Vec<f32> = (0..sampled.len()).map(|index| f32::from(u8::from(index < lesions.len()))).collect();
    let objectness = rows(&answers.objectness.flatten_all()?, &sampled)?;
    let objectness = binary_cross_entropy(&objectness, &Tensor::new(truth, device)?)?.mean_all()?;
    let boxes = if lesions.is_empty() {
        nothing_of(&answers.boxes)?
    } else {
        let found = rows(&answers.boxes.flatten_to(1)?, &lesions)?;
        (smooth_l1(&found, &codes(wanted, device)?, BETA)? / sampled.len() as f64)?
    };
    Ok(vec![("loss_objectness", objectness), ("loss_rpn_box_reg", boxes)])
}
