//! The second stage: what each proposal shows, where it is exactly, and its mask (He et al. 2017, section 3).

use candle_core::{Result, Tensor};
use thorax_nn::{
    detection::{
        BoundingBox, BoxCoder,
        losses::{smooth_l1, softmax_cross_entropy},
        masks::paste,
        roi_align::{Region, RoiAlignConfig, roi_align},
        suppression::class_wise,
    },
    elementwise::{binary_cross_entropy, sigmoid},
    seeded,
};

use super::{BOX_SIDE, MASK_SIDE, MaskRcnn, Seen};
use crate::{
    instance::{
        Found, Instance, Losses,
        matching::{Match, Matcher, Order, Rescue, Sampler},
        parts::{answers, codes, four, output, probabilities, rows, within},
        targets::Targets,
    },
    network::Pass,
};

const MATCHER: Matcher = Matcher { lesion_from: 0.5, background_below: 0.5, rescue: Rescue::None };
/// The share of lesions among the regions.
const LESIONS: f32 = 0.25;
/// Where smooth L1 becomes a line.
const BETA: f64 = 1.0 / 9.0;
/// From which score on a lesion is told, how much two of a class may overlap, how many there may be, and how small.
const SCORE: f32 = 0.05;
const OVERLAP: f32 = 0.5;
const MOST: usize = 100;
const SMALLEST: f32 = 1e-2;
/// The probability from which on a pixel belongs to a lesion.
const MASK: f32 = 0.5;
/// A box as large as this square is cut from the fourth map (Lin et al. 2017, equation 1).
const CANONICAL_SIDE: f32 = 224.0;

fn coder() -> BoxCoder {
    BoxCoder::new([10.0, 10.0, 5.0, 5.0])
}

/// What lies in each region, `[R, C, side, side]`, from the map that fits its size: of the maps of strides 4, 8, 16 and 32.
fn cut(seen: &Seen, regions: &[Region], side: usize) -> Result<Tensor> {
    let level = |place: &BoundingBox| {
        let level = (4.0 + (place.area().sqrt() / CANONICAL_SIDE).log2() + 1e-6).floor();
        level.clamp(2.0, 5.0) as usize - 2
    };
    let levels: Vec<usize> = regions.iter().map(|(_, place)| level(place)).collect();
    let (mut cuts, mut numbers) = (vec![], vec![]);
    for (number, map) in seen.maps.iter().take(4).enumerate() {
        let own: Vec<usize> = (0..regions.len()).filter(|&index| levels[index] == number).collect();
        if own.is_empty() {
            continue;
        }
        let scale = (map.dim(2)? as f32 / seen.size[0] as f32).log2().round().exp2();
        let config = RoiAlignConfig { height: side, width: side, scale, samples: 2, aligned: false };
        cuts.push(roi_align(map, &own.iter().map(|&index| regions[index]).collect::<Vec<_>>(), config)?);
        numbers.extend(own);
    }
    let mut places = vec![0; regions.len()];
    numbers.iter().enumerate().for_each(|(place, &index)| places[index] = place);
    rows(&Tensor::cat(&cuts, 0)?, &places)
}

/// The regions of a step.
struct Sampled {
    regions: Vec<Region>,
    /// Of each region its class, 0 for the background.
    classes: Vec<u32>,
    /// Of each region with a lesion: its place among the regions, and the lesion's number in its picture.
    lesions: Vec<(usize, usize)>,
}

fn sample(net: &MaskRcnn, proposals: Vec<Vec<BoundingBox>>, targets: &[Targets], order: Order) -> Sampled {
    let sampler = Sampler { most: net.config.regions, lesions: LESIONS };
    let mut sampled = Sampled { regions: vec![], classes: vec![], lesions: vec![] };
    for (picture, (mut proposals, targets)) in proposals.into_iter().zip(targets).enumerate() {
        let places: Vec<BoundingBox> = targets.lesions.iter().map(|lesion| lesion.place).collect();
        // So that each lesion has a region, however little has been learnt.
        proposals.extend(&places);
        let matches = MATCHER.matches(&proposals, &places);
        let order = match order {
            Order::Drawn(seed) => Order::Drawn(seeded::derive(seed, &[2, picture as u64])),
            order => order,
        };
        let (lesions, background) = sampler.sample(&matches, order);
        let mut chosen = [lesions, background].concat();
        chosen.sort_unstable();
        for index in chosen {
            let class = match matches[index] {
                Match::Lesion(number) => {
                    sampled.lesions.push((sampled.regions.len(), number));
                    targets.lesions[number].class as u32
                }
                _ => 0,
            };
            sampled.regions.push((picture, proposals[index]));
            sampled.classes.push(class);
        }
    }
    sampled
}

/// The class of each region, a mean over the regions; the boxes of those with a lesion, a sum over the number of all regions; the masks
/// of those with a lesion, each of its own class, a mean over their pixels.
pub(super) fn losses(
    net: &MaskRcnn,
    seen: &Seen,
    proposals: Vec<Vec<BoundingBox>>,
    targets: &[Targets],
    order: Order,
) -> Result<Losses> {
    let Sampled { regions, classes, lesions } = sample(net, proposals, targets, order);
    let pass = Pass::Train { seed: 0 };
    if regions.is_empty() {
        return Ok(vec![("loss_classifier", net.boxes.nothing()?), ("loss_mask", net.masks.nothing()?)]);
    }
    let device = net.body.device();
    let (logits, boxes) = box_answers(net, &cut(seen, &regions, BOX_SIDE)?, pass)?;
    let classifier = softmax_cross_entropy(&logits, &classes)?.mean_all()?;
    if lesions.is_empty() {
        let none = net.boxes.nothing()?;
        return Ok(vec![("loss_classifier", classifier), ("loss_box_reg", none), ("loss_mask", net.masks.nothing()?)]);
    }
    let own: Vec<usize> = lesions.iter().map(|(region, _)| *region).collect();
    let lesion = |&(region, number): &(usize, usize)| &targets[regions[region].0].lesions[number];
    let of_class = |region: usize| region * net.config.classes + classes[region] as usize;
    let found = rows(&boxes, &own.iter().map(|&region| of_class(region)).collect::<Vec<_>>())?;
    let code = |of: &(usize, usize)| coder().encode(&lesion(of).place, &regions[of.0].1);
    let wanted = codes(lesions.iter().map(code).collect(), device)?;
    let box_reg = (smooth_l1(&found, &wanted, BETA)? / regions.len() as f64)?;

    let with_lesion: Vec<Region> = own.iter().map(|&region| regions[region]).collect();
    let own_classes: Vec<usize> = own.iter().map(|&region| classes[region] as usize).collect();
    let logits = mask_answers(net, &cut(seen, &with_lesion, MASK_SIDE)?, &own_classes, pass)?;
    let wanted = mask_targets(&lesions, &regions, targets, 2 * MASK_SIDE)?.to_device(device)?;
    let mask = binary_cross_entropy(&logits, &wanted)?.mean_all()?;
    Ok(vec![("loss_classifier", classifier), ("loss_box_reg", box_reg), ("loss_mask", mask)])
}

/// Logits of the classes `[R, classes]` and codes of the boxes `[R * classes, 4]`.
fn box_answers(net: &MaskRcnn, cut: &Tensor, pass: Pass) -> Result<(Tensor, Tensor)> {
    let mut given = answers(&net.boxes, cut, pass)?;
    let mut take = |name: &str| given.remove(name).and_then(|mut maps| maps.pop());
    let (Some(classes), Some(boxes)) = (take("classes"), take("boxes")) else {
        candle_core::bail!("the box head gives no classes or no boxes");
    };
    let (regions, classes) = (cut.dim(0)?, classes.flatten_from(1)?);
    Ok((classes, boxes.reshape((regions * net.config.classes, 4))?))
}

/// The logits of each region's mask of its class, `[R, side^2]`.
fn mask_answers(net: &MaskRcnn, cut: &Tensor, classes: &[usize], pass: Pass) -> Result<Tensor> {
    let masks = output(&net.masks, cut, "masks", pass)?.remove(0);
    let (regions, all, height, width) = masks.dims4()?;
    let own: Vec<usize> = classes.iter().enumerate().map(|(region, class)| region * all + class).collect();
    rows(&masks.reshape((regions * all, height * width))?, &own)
}

/// What of each lesion lies in its region, `[R, side^2]`, 0 to 1.
fn mask_targets(lesions: &[(usize, usize)], regions: &[Region], targets: &[Targets], side: usize) -> Result<Tensor> {
    let mut firsts = vec![0];
    let mut masks = vec![];
    for targets in targets {
        masks.extend(targets.masks()?);
        firsts.push(firsts[firsts.len() - 1] + targets.lesions.len());
    }
    let region = |&(region, number): &(usize, usize)| {
        let (picture, place) = regions[region];
        (firsts[picture] + number, place)
    };
    let regions: Vec<Region> = lesions.iter().map(region).collect();
    let config = RoiAlignConfig { height: side, width: side, scale: 1.0, samples: 0, aligned: false };
    roi_align(&Tensor::cat(&masks, 0)?, &regions, config)?.flatten_from(1)
}

/// The lesions of each picture.
pub(super) fn detect(net: &MaskRcnn, seen: &Seen, proposals: &[Vec<BoundingBox>]) -> Result<Vec<Found>> {
    let [height, width] = seen.size;
    let mut found = vec![];
    for (picture, proposals) in proposals.iter().enumerate() {
        let mut instances = vec![];
        if !proposals.is_empty() {
            let regions: Vec<Region> = proposals.iter().map(|place| (picture, *place)).collect();
            let (classes, scores, boxes) = chosen(net, seen, &regions)?;
            if !boxes.is_empty() {
                let regions: Vec<Region> = boxes.iter().map(|place| (picture, *place)).collect();
                let masks = mask_answers(net, &cut(seen, &regions, MASK_SIDE)?, &classes, Pass::Infer)?;
                let masks = sigmoid(&masks.detach())?.to_vec2::<f32>()?;
                for (index, mask) in masks.iter().enumerate() {
                    let pasted = paste(mask, 2 * MASK_SIDE, &boxes[index], height, width);
                    instances.push(Instance {
                        class: classes[index],
                        score: scores[index],
                        place: boxes[index],
                        mask: pasted.iter().map(|value| *value >= MASK).collect(),
                    });
                }
            }
        }
        found.push(Found { instances, map: None });
    }
    Ok(found)
}

/// Class, score and box of what is told of a picture's regions, the surest first.
fn chosen(net: &MaskRcnn, seen: &Seen, regions: &[Region]) -> Result<(Vec<usize>, Vec<f32>, Vec<BoundingBox>)> {
    let [height, width] = seen.size;
    let (logits, deltas) = box_answers(net, &cut(seen, regions, BOX_SIDE)?, Pass::Infer)?;
    let deltas = deltas.detach().to_vec2::<f32>()?;
    let (mut classes, mut scores, mut boxes) = (vec![], vec![], vec![]);
    for (region, probabilities) in probabilities(&logits)?.iter().enumerate() {
        for (class, &score) in probabilities.iter().enumerate().skip(1).filter(|(_, score)| **score > SCORE) {
            let place = coder().decode(four(&deltas[region * net.config.classes + class]), &regions[region].1);
            let Some(place) = within(place, height, width) else { continue };
            if place.width() >= SMALLEST && place.height() >= SMALLEST {
                classes.push(class);
                scores.push(score);
                boxes.push(place);
            }
        }
    }
    let mut kept = class_wise(&boxes, &scores, &classes, OVERLAP);
    kept.truncate(MOST);
    Ok((
        kept.iter().map(|&index| classes[index]).collect(),
        kept.iter().map(|&index| scores[index]).collect(),
        kept.iter().map(|&index| boxes[index]).collect(),
    ))
}
