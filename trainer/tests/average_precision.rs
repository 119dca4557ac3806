//! COCO's average precision and recall of 200 drawn cases against pycocotools (trainer/references/average_precision.py), to the last digits
//! of an f64.
#![allow(clippy::unwrap_used)]

mod references;

use std::path::Path;

use candle_core::Device;
use references::places;
use thorax_trainer::instance::average_precision::{Matches, Summary};

const SIDE: usize = 24;
/// Fewer pixels are too few for a lesion, where those are ignored.
const SMALLEST: usize = 25;

/// The numbers that the script draws, one after the other.
struct Words(std::vec::IntoIter<u32>);

impl Words {
    fn below(&mut self, count: usize) -> usize {
        self.0.next().unwrap() as usize % count
    }
}

fn rectangle([left, top, width, height]: [usize; 4]) -> Vec<bool> {
    let lies = |at: usize, from: usize, size: usize| (from..from + size).contains(&at);
    (0..SIDE * SIDE).map(|at| lies(at % SIDE, left, width) && lies(at / SIDE, top, height)).collect()
}

/// The pictures of a case; true rectangles of fewer pixels than `smallest` are ignored.
fn case(number: usize, smallest: usize) -> Vec<Matches> {
    // Below 2^32 - 1, so that all but one word of 2^32 is itself.
    let mut words = Words(places(&format!("case {number}"), 4000, u32::MAX as usize).into_iter());
    let pictures = 1 + words.below(4);
    let picture = |words: &mut Words| {
        let true_ones: Vec<[usize; 4]> = (0..words.below(5))
            .map(|_| [words.below(SIDE - 3), words.below(SIDE - 3), 2 + words.below(9), 2 + words.below(9)])
            .collect();
        let found: Vec<(f64, Vec<bool>)> = (0..words.below(13))
            .map(|_| {
                let score = (1 + words.below(20)) as f64 / 20.0;
                let place = if !true_ones.is_empty() && words.below(3) > 0 {
                    let [left, top, width, height] = true_ones[words.below(true_ones.len())];
                    let (left, top) = (left + words.below(2), top + words.below(2));
                    let mut grown = |size: usize| (size + words.below(3)).saturating_sub(1).max(1);
                    [left, top, grown(width), grown(height)]
                } else {
                    [words.below(SIDE - 3), words.below(SIDE - 3), 1 + words.below(9), 1 + words.below(9)]
                };
                (score, rectangle(place))
            })
            .collect();
        let found: Vec<(f64, &[bool])> = found.iter().map(|(score, mask)| (*score, mask.as_slice())).collect();
        let true_ones: Vec<Vec<bool>> = true_ones.into_iter().map(rectangle).collect();
        let (truths, ignored): (Vec<&[bool]>, Vec<&[bool]>) = true_ones
            .iter()
            .map(Vec::as_slice)
            .partition(|mask| mask.iter().filter(|inside| **inside).count() >= smallest);
        Matches::of(&found, &truths, &ignored, 0)
    };
    (0..pictures).map(|_| picture(&mut words)).collect()
}

/// Compares the cases with the figures of that name; at most so many may have none.
fn compare(name: &str, smallest: usize, most_without: usize) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/references/average_precision.safetensors");
    let expected = candle_core::safetensors::load(file, &Device::Cpu).unwrap()[name].to_vec2::<f64>().unwrap();
    assert_eq!(expected.len(), 200);
    let mut without = 0;
    for (number, expected) in expected.iter().enumerate() {
        let pictures = case(number, smallest);
        let got = Summary::of(&pictures.iter().collect::<Vec<_>>());
        let Some(got) = got else {
            assert!(expected.iter().all(|figure| *figure == -1.0), "case {number}: {expected:?}");
            without += 1;
            continue;
        };
        for ((figure, got), expected) in Summary::NAMES.iter().zip(got.into_array()).zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{name}, case {number}, {figure}: {got} {expected}");
        }
    }
    assert!(without <= most_without, "{without} cases compare nothing");
}

#[test]
fn two_hundred_cases_equal_pycocotools() {
    compare("figures", 0, 10);
}

#[test]
fn with_ignored_truths_they_equal_pycocotools_too() {
    compare("ignored", SMALLEST, 26);
}
