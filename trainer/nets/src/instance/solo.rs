//! SOLO with a ResNet50 and a feature pyramid, the first version (Wang et al. 2020): the picture is divided into cells, and the cell in
//! which a lesion's middle lies tells its class and, in a channel of its own, its mask. There are no boxes.
//!
//! 36,301,232 parameters with 80 classes, 36,119,137 with one. What is not in the paper is as mmdetection 3.3 has it.

use candle_core::{DType, Device, Result, Tensor};
use thorax_nn::{
    detection::{
        losses::{focal, squared_dice},
        suppression,
    },
    elementwise::{concatenate, sigmoid},
    pool::{PoolConfig, max_pool},
    upsample::bilinear,
};

use super::{
    Detector, Found, Instance, Losses,
    matching::Order,
    parts::{self, Beginnings, biased, enlarged, flat, output, pyramid, resnet, rows, torch_resnet},
    targets::{Target, Targets, around},
};
use crate::{
    architecture::{Activation, Architecture, Convolution, GroupNorm, Kind, Layer, Resizing},
    network::{Network, Pass, nothing_of},
};

const CHANNELS: usize = 256;
const GROUPS: usize = 32;
const CONVOLUTIONS: usize = 7;
/// Cells of each map, down and across.
const GRIDS: [usize; 5] = [40, 36, 24, 16, 12];
/// Pixels of the picture to one of the map that a mask is read from.
const STRIDES: [usize; 5] = [8, 8, 16, 32, 32];
/// Roots of the area of the boxes that each map learns, in pixels of a picture of [`SIDE`].
const RANGES: [(f32, f32); 5] = [(1.0, 96.0), (48.0, 192.0), (96.0, 384.0), (192.0, 768.0), (384.0, 2048.0)];
/// The shorter side of the published net's pictures, to which the ranges belong.
pub const SIDE: usize = 800;
/// Cells around a lesion's middle that learn it: this share of its box.
const CENTRE: f32 = 0.2;
const DICE_WEIGHT: f64 = 3.0;
const DICE_EPSILON: f64 = 1e-3;
const FOCAL: (f64, f64) = (0.25, 2.0);
/// From which score on a cell is looked at, the probability of a mask's pixel, how many cells, and how sharply scores fall.
const SCORE: f32 = 0.1;
const MASK: f32 = 0.5;
const MOST_BEFORE: usize = 500;
const SIGMA: f32 = 2.0;
/// From which score on a lesion is told after the suppression, and how many there may be.
const SCORE_AFTER: f32 = 0.05;
const MOST: usize = 100;

/// Standard deviation 0.01; classes begin at a probability of 0.01.
const BEGINNINGS: Beginnings = Beginnings(&[
    ("conv_cls.weight", 0.01),
    ("conv_cls.bias", -4.595),
    ("conv_mask_list", 0.01),
    ("mask_convs", 0.01),
    ("cls_convs", 0.01),
    ("fpn_convs", 0.0208),
    ("lateral_convs.0", 0.0625),
    ("lateral_convs.1", 0.0442),
    ("lateral_convs.2", 0.0313),
    ("lateral_convs.3", 0.0221),
]);

/// The shape of the net.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoloConfig {
    /// Classes, the background not counted.
    pub classes: usize,
    /// Stem and first stage of the backbone, and all its batch norms, stay what they are. (mmdetection trains the norms' scales.)
    pub frozen: bool,
}

impl Default for SoloConfig {
    fn default() -> Self {
        Self { classes: 1, frozen: true }
    }
}

impl SoloConfig {
    /// Body; the branch of the classes; that of the masks, and the last layer of each map's.
    pub(super) fn architectures(self) -> Vec<Architecture> {
        let mut all = vec![self.body(), self.class_branch(), mask_branch()];
        all.extend((0..GRIDS.len()).map(mask_layer));
        all
    }

    /// Five maps, strides 4 to 64.
    fn body(self) -> Architecture {
        let mut net = parts::begin(3);
        let maps = resnet(&mut net, "backbone.", torch_resnet(), self.frozen);
        let name = |which: &str, level: usize| match which {
            "lateral" => format!("neck.lateral_convs.{level}.conv"),
            _ => format!("neck.fpn_convs.{level}.conv"),
        };
        let mut maps = pyramid(&mut net, &maps, CHANNELS, Resizing::Nearest, Activation::None, name);
        let every_second = PoolConfig { kernel: 1, stride: 2, padding: 0, ceil_mode: false };
        maps.extend(maps.last().copied().map(|last| net.push(Layer::MaxPool(every_second), &[last])));
        net.output("maps", Kind::Map, maps);
        net
    }

    fn class_branch(self) -> Architecture {
        let mut net = branch("cls_convs", CHANNELS);
        let last = net.steps().len() - 1;
        let classes = biased(&mut net, "mask_head.conv_cls", last, self.classes, [3, 1], Activation::None);
        net.name_map("classes", classes);
        net
    }

    pub(super) fn init(self, seed: u64, device: &Device) -> Result<Solo> {
        let network = |net: Architecture| {
            let weights = BEGINNINGS.draw(&net, seed, device)?;
            Network::new(net, weights)
        };
        Ok(Solo {
            body: network(self.body())?,
            classes: network(self.class_branch())?,
            masks: network(mask_branch())?,
            layers: (0..GRIDS.len()).map(|level| network(mask_layer(level))).collect::<Result<_>>()?,
            config: self,
        })
    }
}

/// Seven 3x3 convolutions, each with a group norm and ReLU.
fn branch(name: &str, channels: usize) -> Architecture {
    let mut net = parts::begin(channels);
    (0..CONVOLUTIONS).fold(0, |step, index| {
        let from = net.channels(step);
        let name = format!("mask_head.{name}.{index}");
        let convolved = net.convolution(step, Convolution::new(format!("{name}.conv"), from, CHANNELS, [3, 3]));
        let norm = GroupNorm {
            name: format!("{name}.gn"),
            groups: GROUPS,
            epsilon: parts::EPSILON,
            activation: Activation::Relu,
        };
        net.push(Layer::GroupNorm(norm), &[convolved])
    });
    net
}

/// The first convolution also sees where each pixel lies (Liu et al. 2018, "CoordConv").
fn mask_branch() -> Architecture {
    let mut net = branch("mask_convs", CHANNELS + 2);
    let last = net.steps().len() - 1;
    let doubled = net.push(Layer::Double, &[last]);
    net.name_map("map", doubled);
    net
}

/// A channel for each cell of a map.
fn mask_layer(level: usize) -> Architecture {
    let mut net = parts::begin(CHANNELS);
    let name = format!("mask_head.conv_mask_list.{level}");
    let masks = biased(&mut net, name, 0, GRIDS[level] * GRIDS[level], [1, 1], Activation::None);
    net.name_map("masks", masks);
    net
}

/// SOLO with its weights.
pub(super) struct Solo {
    config: SoloConfig,
    body: Network,
    classes: Network,
    masks: Network,
    layers: Vec<Network>,
}

/// What the net says of a batch, of each map.
struct Answers {
    /// Logits `[N, classes, S, S]`.
    classes: Vec<Tensor>,
    /// Logits `[N, S^2, h, w]`.
    masks: Vec<Tensor>,
}

impl Solo {
    fn answers(&self, x: &Tensor, pass: Pass) -> Result<Answers> {
        let maps = output(&self.body, x, "maps", pass)?;
        let mut maps = maps.iter().map(|map| map.to_dtype(DType::F32)).collect::<Result<Vec<_>>>()?;
        // The first map at half its size, the last at that of the one before it.
        let (_, _, h, w) = maps[0].dims4()?;
        maps[0] = bilinear(&maps[0], h / 2, w / 2, false)?;
        let (_, _, h, w) = maps[3].dims4()?;
        maps[4] = bilinear(&maps[4], h, w, false)?;
        let mut answers = Answers { classes: vec![], masks: vec![] };
        for ((map, grid), layer) in maps.iter().zip(GRIDS).zip(&self.layers) {
            let cells = bilinear(map, grid, grid, false)?;
            answers.classes.push(output(&self.classes, &cells, "classes", pass)?.remove(0));
            let place = concatenate(map, &coordinates(map)?)?;
            let drawn = output(&self.masks, &place, "map", pass)?.remove(0);
            answers.masks.push(output(layer, &drawn, "masks", pass)?.remove(0));
        }
        Ok(answers)
    }
}

/// Column and row of each pixel, -1 to 1, `[N, 2, H, W]`.
fn coordinates(map: &Tensor) -> Result<Tensor> {
    let (n, _, h, w) = map.dims4()?;
    let place = |at: usize, size: usize| -1.0 + 2.0 * at as f32 / (size - 1).max(1) as f32;
    let columns = (0..h * w).map(|at| place(at % w, w));
    let rows = (0..h * w).map(|at| place(at / w, h));
    let both = Tensor::from_vec(columns.chain(rows).collect(), (1, 2, h, w), map.device())?;
    both.broadcast_as((n, 2, h, w))?.contiguous()
}

/// A cell that learns a lesion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    /// Its map.
    level: usize,
    /// Its number in the map.
    number: usize,
    /// The lesion's number.
    lesion: usize,
}

/// The cells that learn, of pictures whose largest masks have `[height, width]`.
fn cells(targets: &Targets, [height, width]: [usize; 2]) -> Vec<Cell> {
    let mut cells: Vec<Cell> = vec![];
    let factor = SIDE as f32 / targets.height as f32;
    for (level, ((low, high), grid)) in RANGES.into_iter().zip(GRIDS).enumerate() {
        for (number, lesion) in targets.lesions.iter().enumerate() {
            let size = lesion.place.area().sqrt() * factor;
            if !(low..=high).contains(&size) {
                continue;
            }
            let (x, y) = middle(lesion, targets.width);
            let cell = |at: f32, size: usize| (at / size as f32 / (1.0 / grid as f32)).floor() as i64;
            let range = |at: f32, length: f32, size: usize| {
                let (reach, own) = (0.5 * length * CENTRE, cell(at, size));
                let first = cell(at - reach, size).max(0).max(own - 1);
                let last = cell(at + reach, size).min(grid as i64 - 1).min(own + 1);
                first..last + 1
            };
            for row in range(y, lesion.place.height(), height) {
                for column in range(x, lesion.place.width(), width) {
                    let number_of_cell = row as usize * grid + column as usize;
                    // The last lesion has the cell, as mmdetection has it.
                    cells.retain(|cell| (cell.level, cell.number) != (level, number_of_cell));
                    cells.push(Cell { level, number: number_of_cell, lesion: number });
                }
            }
        }
    }
    cells
}

/// The middle of a lesion's mask, across and down.
fn middle(lesion: &Target, width: usize) -> (f32, f32) {
    let marked = lesion.mask.iter().enumerate().filter(|(_, inside)| **inside);
    let (x, y, count) = marked.fold((0f64, 0f64, 0f64), |(x, y, count), (at, _)| {
        (x + (at % width) as f64, y + (at / width) as f64, count + 1.0)
    });
    ((x / count) as f32, (y / count) as f32)
}

/// A mask on every `factor`th row and column: of the two middle rows and columns of each `factor` (an even number), marked where two or
/// more of the four pixels are. That is what OpenCV's bilinear resizing of bytes gives, which mmdetection uses.
fn shrunk(mask: &[bool], height: usize, width: usize, factor: usize) -> Vec<bool> {
    let (rows, columns) = (height / factor, width / factor);
    let first = factor / 2 - 1;
    (0..rows * columns)
        .map(|at| {
            let (y, x) = (at / columns * factor + first, at % columns * factor + first);
            let four = [y * width + x, y * width + x + 1, (y + 1) * width + x, (y + 1) * width + x + 1];
            four.into_iter().filter(|at| mask[*at]).count() >= 2
        })
        .collect()
}

impl Detector for Solo {
    fn networks(&self) -> Vec<&Network> {
        let mut all = vec![&self.body, &self.classes, &self.masks];
        all.extend(&self.layers);
        all
    }

    fn losses(&self, x: &Tensor, targets: &[Targets], _: Order) -> Result<Losses> {
        let (_, _, height, width) = x.dims4()?;
        let answers = self.answers(x, Pass::Train { seed: 0 })?;
        let cells: Vec<Vec<Cell>> = targets.iter().map(|targets| cells(targets, [height, width])).collect();
        let count: usize = cells.iter().map(Vec::len).sum();
        let mut dice = Tensor::zeros((), DType::F32, x.device())?;
        for (level, masks) in answers.masks.iter().enumerate() {
            dice = (dice + mask_loss(masks, level, &cells, targets)?)?;
        }
        let dice = (dice * (DICE_WEIGHT / count.max(1) as f64))?;
        let classes = class_loss(&answers.classes, self.config.classes, &cells, targets)?;
        Ok(vec![("loss_cls", (classes / (count + 1) as f64)?), ("loss_mask", dice)])
    }

    fn detect(&self, x: &Tensor) -> Result<Vec<Found>> {
        let (n, _, height, width) = x.dims4()?;
        let answers = self.answers(x, Pass::Infer)?;
        (0..n).map(|picture| found(&answers, picture, [height, width])).collect()
    }
}

/// The sum of Dice over the cells of a map that learn.
fn mask_loss(masks: &Tensor, level: usize, cells: &[Vec<Cell>], targets: &[Targets]) -> Result<Tensor> {
    let (_, all, h, w) = masks.dims4()?;
    let (mut learnt, mut wanted) = (vec![], vec![]);
    for (picture, (cells, targets)) in cells.iter().zip(targets).enumerate() {
        for cell in cells.iter().filter(|cell| cell.level == level) {
            let mask = &targets.lesions[cell.lesion].mask;
            let small = shrunk(mask, targets.height, targets.width, STRIDES[level] / 2);
            // Where the map is larger than the picture divided by its stride, what is over has no mask.
            let columns = targets.width / (STRIDES[level] / 2);
            let value = |at: usize| small.get(at / w * columns + at % w).copied().unwrap_or(false) && at % w < columns;
            wanted.extend((0..h * w).map(|at| f32::from(u8::from(value(at)))));
            learnt.push(picture * all + cell.number);
        }
    }
    if learnt.is_empty() {
        return nothing_of(masks);
    }
    let found = sigmoid(&rows(&masks.flatten_from(2)?.flatten_to(1)?, &learnt)?)?;
    let wanted = Tensor::from_vec(wanted, (learnt.len(), h * w), masks.device())?;
    squared_dice(&found, &wanted, DICE_EPSILON)?.sum_all()
}

/// The sum of the focal loss over all cells of all maps.
fn class_loss(classes: &[Tensor], count: usize, cells: &[Vec<Cell>], targets: &[Targets]) -> Result<Tensor> {
    let logits = flat(classes, count)?;
    let (n, of_picture, _) = logits.dims3()?;
    let firsts: Vec<usize> =
        GRIDS.iter().scan(0, |sum, grid| Some(std::mem::replace(sum, *sum + grid * grid))).collect();
    let mut truth = vec![0f32; n * of_picture * count];
    for (picture, (cells, targets)) in cells.iter().zip(targets).enumerate() {
        for cell in cells {
            let place = picture * of_picture + firsts[cell.level] + cell.number;
            truth[place * count + targets.lesions[cell.lesion].class - 1] = 1.0;
        }
    }
    let truth = Tensor::from_vec(truth, logits.shape(), logits.device())?;
    focal(&logits.contiguous()?, &truth, FOCAL.0, FOCAL.1)?.sum_all()
}

/// A cell that found something.
struct Candidate {
    class: usize,
    score: f32,
    /// Probabilities of its mask.
    mask: Vec<f32>,
}

/// What is in one picture.
fn found(answers: &Answers, picture: usize, [height, width]: [usize; 2]) -> Result<Found> {
    // All masks at the size of the largest map.
    let (_, _, h, w) = answers.masks[0].dims4()?;
    let mut candidates: Vec<Candidate> = vec![];
    for (level, (classes, masks)) in answers.classes.iter().zip(&answers.masks).enumerate() {
        let scores = peaks(&sigmoid(&classes.narrow(0, picture, 1)?.detach().contiguous()?)?)?;
        let sure: Vec<(usize, usize, f32)> = scores
            .iter()
            .enumerate()
            .flat_map(|(class, scores)| scores.iter().enumerate().map(move |(cell, &score)| (class + 1, cell, score)))
            .filter(|(_, _, score)| *score > SCORE)
            .collect();
        if sure.is_empty() {
            continue;
        }
        let own = rows(&masks.get(picture)?, &sure.iter().map(|of| of.1).collect::<Vec<_>>())?;
        let own = enlarged(&sigmoid(&own.unsqueeze(0)?.detach())?, h, w)?;
        candidates.extend(sure.into_iter().zip(own).filter_map(|((class, _, score), mask)| {
            let inside: Vec<f32> = mask.iter().copied().filter(|value| *value > MASK).collect();
            let large = inside.len() > STRIDES[level];
            let certainty = inside.iter().sum::<f32>() / inside.len().max(1) as f32;
            large.then_some(Candidate { class, score: score * certainty, mask })
        }));
    }
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(MOST_BEFORE);
    let masks: Vec<Vec<bool>> =
        candidates.iter().map(|of| of.mask.iter().map(|value| *value > MASK).collect()).collect();
    let classes: Vec<usize> = candidates.iter().map(|of| of.class).collect();
    for (candidate, factor) in candidates.iter_mut().zip(suppression::matrix(&masks, &classes, SIGMA)) {
        candidate.score *= factor;
    }
    candidates.retain(|candidate| candidate.score >= SCORE_AFTER);
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(MOST);
    let mut instances = vec![];
    for Candidate { class, score, mask } in candidates {
        let large = enlarged(&Tensor::from_vec(mask, (1, 1, h, w), &Device::Cpu)?, height, width)?.remove(0);
        let mask: Vec<bool> = large.iter().map(|value| *value > MASK).collect();
        instances.extend(around(&mask, width).map(|place| Instance { class, score, place, mask }));
    }
    Ok(Found { instances, map: None })
}

/// The scores `[1, C, S, S]` of cells that are the largest of themselves and the three before them, by class; 0 elsewhere.
fn peaks(scores: &Tensor) -> Result<Vec<Vec<f32>>> {
    let (_, _, grid, _) = scores.dims4()?;
    let pool = PoolConfig { kernel: 2, stride: 1, padding: 1, ceil_mode: false };
    let highest = max_pool(scores, pool)?.narrow(2, 0, grid)?.narrow(3, 0, grid)?;
    let own = scores.flatten_from(2)?.squeeze(0)?.to_vec2::<f32>()?;
    let highest = highest.contiguous()?.flatten_from(2)?.squeeze(0)?.to_vec2::<f32>()?;
    let kept = |(own, highest): (&Vec<f32>, &Vec<f32>)| {
        own.iter().zip(highest).map(|(own, highest)| if own == highest { *own } else { 0.0 }).collect()
    };
    Ok(own.iter().zip(&highest).map(kept).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::targets::LESION;

    #[test]
    fn the_cells_around_a_lesions_middle_learn_it() {
        let (height, width) = (800, 800);
        let mask: Vec<bool> = (0..height * width)
            .map(|at| (380..420).contains(&(at % width)) && (200..260).contains(&(at / width)))
            .collect();
        let lesions = around(&mask, width).map(|place| Target { class: LESION, place, mask }).into_iter().collect();
        let targets = Targets { height, width, lesions };
        let found = cells(&targets, [height, width]);
        // The root of its area is 49: the first two maps. Its middle is at (399.5, 229.5), a fifth of its box 8 x 12 pixels.
        let of =
            |level: usize| found.iter().filter(|cell| cell.level == level).map(|cell| cell.number).collect::<Vec<_>>();
        assert_eq!(of(0), [11 * 40 + 19, 11 * 40 + 20]);
        assert_eq!(of(1), [10 * 36 + 17, 10 * 36 + 18]);
        assert!(of(2).is_empty());
    }

    #[test]
    fn a_mask_is_shrunk_by_its_middle_pixels() {
        let mask: Vec<bool> = (0..64).map(|at| at % 8 < 2).collect();
        assert_eq!(shrunk(&mask, 8, 8, 4), [true, false, true, false]);
        let thin: Vec<bool> = (0..64).map(|at| at == 9).collect();
        assert_eq!(shrunk(&thin, 8, 8, 4), [false; 4]);
    }
}
