//! YOLACT as an ONNX file: the net, and behind it what [`found`](super::found) does on the host.
//!
//! One class of lesions has one score a prior, and Fast NMS is a matrix of overlaps: nothing of it needs a loop. Masks are enlarged by two
//! products with the weights of the rows and the columns, which also stand where no lesion was found.

use candle_core::{DType, Device, Result, Tensor};
use thorax_nn::{
    detection::BoundingBox,
    onnx::{
        Attribute::{Integer, Integers, To},
        Element, Model, Value,
    },
    upsample,
};

use super::{BORDER, MOST, MOST_OF_CLASS, OVERLAP, PROTOTYPES, SCORE, Yolact, YolactConfig, coder};
use crate::architecture::{Architecture, Kind, Weights};

/// What the head tells of each prior.
const PARTS: [&str; 3] = ["boxes", "classes", "masks"];
/// What the body calls its prototypes.
const PROTOTYPE_MAPS: &str = "prototypes";

pub(super) fn written(net: &Yolact, side: usize) -> Result<Vec<u8>> {
    if net.config.classes != 2 {
        candle_core::bail!("YOLACT of {} classes does not leave as ONNX, one of lesions does", net.config.classes - 1);
    }
    let (whole, weights) = whole(net)?;
    let (mut graph, mut outputs) = whole.graph(weights, side)?;
    // The model's outputs are others; the semantic map is only trained.
    graph.outputs.clear();
    outputs.retain(|(name, _)| *name == PROTOTYPE_MAPS || PARTS.contains(name));
    let nodes: Vec<_> = outputs.iter().map(|(_, node)| *node).collect();
    let (mut model, values) = Model::behind(&graph, &nodes)?;
    let of = |name: &str| -> Vec<Value> {
        outputs.iter().zip(&values).filter(|((of, _), _)| *of == name).map(|(_, value)| value.clone()).collect()
    };
    let maps = YolactConfig::maps(side);
    let [boxes, classes, coefficients] =
        PARTS.map(|part| (part, of(part))).map(|(part, levels)| flat(&mut model, &levels, &maps, values_of(part)));
    let priors = net.config.priors(side);
    let mut tail = Tail { model, side: side as f32, candidates: MOST_OF_CLASS.min(priors.len()) };
    let surest = tail.surest(&priors, boxes, classes, coefficients);
    let kept = tail.kept(surest);
    // The prototypes are twice as large as the largest map.
    let masks = tail.masks(&kept, &of(PROTOTYPE_MAPS)[0], [2 * maps[0][0], 2 * maps[0][1]])?;
    let outputs = [
        ("boxes", kept.clipped, Element::Float),
        ("scores", kept.scores, Element::Float),
        ("masks", masks, Element::Byte),
    ];
    Ok(tail.model.finish("yolact", &outputs))
}

/// How many values a prior has of a part.
fn values_of(part: &str) -> usize {
    match part {
        "boxes" => 4,
        "classes" => 2,
        _ => PROTOTYPES,
    }
}

/// The body with the head behind each of its maps.
fn whole(net: &Yolact) -> Result<(Architecture, Weights)> {
    let (mut whole, mut weights) = (net.body.architecture().clone(), net.body.weights()?);
    let maps = whole.outputs().iter().find(|output| output.name == "maps").map_or(vec![], |maps| maps.steps.clone());
    let mut levels: Vec<(&'static str, usize)> = vec![];
    let head: Weights = net.head.weights()?;
    for (level, map) in maps.into_iter().enumerate() {
        let prefix = format!("level{level}.");
        levels.extend(whole.append(map, &prefix, net.head.architecture().clone(), |_| false));
        weights.extend(head.iter().map(|(name, weight)| (format!("{prefix}{name}"), weight.clone())));
    }
    for part in PARTS {
        let steps = levels.iter().filter(|(name, _)| *name == part).map(|(_, step)| *step).collect();
        whole.output(part, Kind::Map, steps);
    }
    Ok((whole, weights))
}

/// Maps `[1, A * values, h, w]` as `[priors, values]`, as [`flat`](crate::instance::parts::flat) has them.
fn flat(model: &mut Model, maps: &[Value], sizes: &[[usize; 2]], values: usize) -> Value {
    let level = |(map, [h, w]): (&Value, &[usize; 2])| {
        let apart = model.integers(&[-1, values as i64, *h as i64, *w as i64]);
        let apart = model.node("Reshape", &[map, &apart], &[]);
        let turned = model.node("Transpose", &[&apart], &[("perm", Integers(&[2, 3, 0, 1]))]);
        let rows = model.integers(&[-1, values as i64]);
        model.node("Reshape", &[&turned, &rows], &[])
    };
    let levels: Vec<Value> = maps.iter().zip(sizes).map(level).collect();
    model.node("Concat", &levels.iter().collect::<Vec<_>>(), &[("axis", Integer(0))])
}

/// Boxes with all that is known of them, the surest first.
struct Lesions {
    /// `[K]`.
    scores: Value,
    /// Left and top, right and bottom, `[K, 2]` each.
    corners: [Value; 2],
    /// What of the boxes lies in the picture, `[K, 4]`.
    clipped: Value,
    /// `[K, 32]`.
    coefficients: Value,
}

/// What is written behind the net.
struct Tail {
    model: Model,
    side: f32,
    /// How many priors are looked at.
    candidates: usize,
}

impl Tail {
    fn node(&mut self, kind: &str, inputs: &[&Value]) -> Value {
        self.model.node(kind, inputs, &[])
    }

    /// `x` and a number.
    fn with(&mut self, kind: &str, x: &Value, number: f32) -> Value {
        let number = self.model.floats(&[], &[number]);
        self.node(kind, &[x, &number])
    }

    fn reduced(&mut self, kind: &str, x: &Value, axis: usize) -> Value {
        self.model.node(kind, &[x], &[("axes", Integers(&[axis])), ("keepdims", Integer(0))])
    }

    fn unsqueezed(&mut self, x: &Value, axis: i64) -> Value {
        let axis = self.model.integers(&[axis]);
        self.node("Unsqueeze", &[x, &axis])
    }

    /// Columns of `[K, C]`.
    fn columns(&mut self, x: &Value, columns: &[i64]) -> Value {
        let columns = self.model.integers(columns);
        self.model.node("Gather", &[x, &columns], &[("axis", Integer(1))])
    }

    /// The priors that are surest, decoded.
    fn surest(&mut self, priors: &[BoundingBox], codes: Value, logits: Value, coefficients: Value) -> Lesions {
        let probabilities = self.model.node("Softmax", &[&logits], &[("axis", Integer(1))]);
        let scores = self.columns(&probabilities, &[1]);
        let all = self.model.integers(&[-1]);
        let scores = self.node("Reshape", &[&scores, &all]);
        let count = self.model.integers(&[self.candidates as i64]);
        let [scores, numbers] = self.model.nodes("TopK", &[&scores, &count], &[("axis", Integer(0))]);
        let [codes, coefficients] = [codes, coefficients].map(|rows| self.node("Gather", &[&rows, &numbers]));
        let coefficients = self.node("Tanh", &[&coefficients]);
        let part = |of: fn(&BoundingBox) -> [f32; 2]| priors.iter().flat_map(of).collect::<Vec<f32>>();
        let middles = part(|place| [place.centre().0, place.centre().1]);
        let sizes = part(|place| [place.width(), place.height()]);
        let [middles, sizes] = [middles, sizes].map(|values| {
            let all = self.model.floats(&[priors.len(), 2], &values);
            self.node("Gather", &[&all, &numbers])
        });
        let coder = coder();
        let [w_x, w_y, w_w, w_h] = coder.weights;
        let [moves, logs] = [(&[0, 1], [w_x, w_y]), (&[2, 3], [w_w, w_h])].map(|(columns, weights)| {
            let (codes, weights) = (self.columns(&codes, columns), self.model.floats(&[2], &weights));
            self.node("Div", &[&codes, &weights])
        });
        let moved = self.node("Mul", &[&moves, &sizes]);
        let middles = self.node("Add", &[&moved, &middles]);
        let logs = self.with("Min", &logs, coder.largest_log);
        let factors = self.node("Exp", &[&logs]);
        let sizes = self.node("Mul", &[&factors, &sizes]);
        let halves = self.with("Mul", &sizes, 0.5);
        let corners = ["Sub", "Add"].map(|kind| self.node(kind, &[&middles, &halves]));
        let clipped = [0, 1].map(|index| {
            let above = self.with("Max", &corners[index], 0.0);
            self.with("Min", &above, self.side)
        });
        let clipped = self.model.node("Concat", &[&clipped[0], &clipped[1]], &[("axis", Integer(1))]);
        Lesions { scores, corners, clipped, coefficients }
    }

    /// Areas of boxes with these corners, 0 where the one does not lie before the other; the last axis has the two coordinates.
    fn area(&mut self, [from, to]: [&Value; 2], axis: usize) -> Value {
        let sizes = self.node("Sub", &[to, from]);
        let sizes = self.with("Max", &sizes, 0.0);
        self.reduced("ReduceProd", &sizes, axis)
    }

    /// Those that are sure enough, that no surer one overlaps too much, and that lie in the picture.
    fn kept(&mut self, all: Lesions) -> Lesions {
        let [from, to] = &all.corners;
        let mut pairs = |corner: &Value, kind: &str| {
            let (down, across) = (self.unsqueezed(corner, 1), self.unsqueezed(corner, 0));
            self.node(kind, &[&down, &across])
        };
        let (shared_from, shared_to) = (pairs(from, "Max"), pairs(to, "Min"));
        let both = self.area([&shared_from, &shared_to], 2);
        let area = self.area([from, to], 1);
        let (down, across) = (self.unsqueezed(&area, 1), self.unsqueezed(&area, 0));
        let union = self.node("Add", &[&down, &across]);
        let union = self.node("Sub", &[&union, &both]);
        let overlaps = self.node("Div", &[&both, &union]);
        // Only those before it are surer.
        let count = self.candidates;
        let surer = (0..count * count).map(|at| f32::from(u8::from(at / count < at % count))).collect::<Vec<_>>();
        let surer = self.model.floats(&[count, count], &surer);
        let overlaps = self.node("Mul", &[&overlaps, &surer]);
        let worst = self.reduced("ReduceMax", &overlaps, 0);
        let (clear, sure) = (self.with("LessOrEqual", &worst, OVERLAP), self.with("Greater", &all.scores, SCORE));
        let stays = self.node("And", &[&clear, &sure]);
        let number = self.model.node("Cast", &[&stays], &[("to", To(Element::Float))]);
        let axis = self.model.integer(0);
        let number = self.node("CumSum", &[&number, &axis]);
        let first = self.with("LessOrEqual", &number, MOST as f32);
        let stays = self.node("And", &[&stays, &first]);
        let [left_top, right_bottom] = [[0, 1], [2, 3]].map(|columns| self.columns(&all.clipped, &columns));
        let inside = self.area([&left_top, &right_bottom], 1);
        let inside = self.with("Greater", &inside, 0.0);
        let stays = self.node("And", &[&stays, &inside]);
        let numbers = self.node("NonZero", &[&stays]);
        let axis = self.model.integers(&[0]);
        let numbers = self.node("Squeeze", &[&numbers, &axis]);
        let mut those = |of: &Value| self.node("Gather", &[of, &numbers]);
        Lesions {
            scores: those(&all.scores),
            corners: [those(from), those(to)],
            clipped: those(&all.clipped),
            coefficients: those(&all.coefficients),
        }
    }

    /// The masks `[K, side, side]`, of 0 and 1.
    fn masks(&mut self, lesions: &Lesions, prototypes: &Value, [rows, columns]: [usize; 2]) -> Result<Value> {
        let flat = self.model.integers(&[PROTOTYPES as i64, (rows * columns) as i64]);
        let flat = self.node("Reshape", &[prototypes, &flat]);
        let logits = self.node("MatMul", &[&lesions.coefficients, &flat]);
        let probabilities = self.node("Sigmoid", &[&logits]);
        let square = self.model.integers(&[-1, rows as i64, columns as i64]);
        let masks = self.node("Reshape", &[&probabilities, &square]);
        let factor = columns as f32 / self.side;
        let across = self.lies(lesions, 0, columns, factor);
        let down = self.lies(lesions, 1, rows, factor);
        let (across, down) = (self.unsqueezed(&across, 1), self.unsqueezed(&down, 2));
        let masks = self.node("Mul", &[&masks, &across]);
        let masks = self.node("Mul", &[&masks, &down]);
        let across = self.enlarging(columns)?;
        let down = self.enlarging(rows)?;
        let down = self.model.node("Transpose", &[&down], &[("perm", Integers(&[1, 0]))]);
        let masks = self.node("MatMul", &[&masks, &across]);
        let masks = self.node("MatMul", &[&down, &masks]);
        let masks = self.with("Greater", &masks, 0.5);
        Ok(self.model.node("Cast", &[&masks], &[("to", To(Element::Byte))]))
    }

    /// Whether each of `size` rows or columns lies in the boxes, 0 or 1, `[K, size]`; as [`inside`](thorax_nn::detection::masks::inside) has it.
    fn lies(&mut self, lesions: &Lesions, axis: i64, size: usize, factor: f32) -> Value {
        let places = self.model.floats(&[1, size], &(0..size).map(|at| at as f32).collect::<Vec<_>>());
        let [from, to] = [(0, -BORDER), (1, BORDER)].map(|(corner, border)| {
            let at = self.columns(&lesions.corners[corner], &[axis]);
            let at = self.with("Mul", &at, factor);
            self.with("Add", &at, border)
        });
        let (after, before) = (self.node("GreaterOrEqual", &[&places, &from]), self.node("Less", &[&places, &to]));
        let lies = self.node("And", &[&after, &before]);
        self.model.node("Cast", &[&lies], &[("to", To(Element::Float))])
    }

    /// The weights with which `size` values become [`Self::side`], `[size, side]`.
    fn enlarging(&mut self, size: usize) -> Result<Value> {
        let side = self.side as usize;
        let one = Tensor::eye(size, DType::F32, &Device::Cpu)?.reshape((size, 1, 1, size))?;
        let weights = upsample::bilinear(&one, 1, side, false)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(self.model.floats(&[size, side], &weights))
    }
}
