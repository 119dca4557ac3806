//! Which pictures are tried: all of a split, or as many as were asked for, of every class and collection.

use std::collections::BTreeMap;

use rand::seq::SliceRandom as _;
use thorax_nn::seeded;
use thorax_shared::modality::Modality;

use crate::data::{Label, Manifest, Record, Split, Task};

/// The pictures that every change is made to.
#[derive(Debug)]
pub(crate) struct Sample<'a> {
    /// With a label.
    pub(crate) labelled: Vec<&'a Record>,
    /// With a mask of the infection.
    pub(crate) masked: Vec<&'a Record>,
}

impl<'a> Sample<'a> {
    /// All pictures of the split, or up to `count` with a label and up to `count` with a mask, drawn from the seed.
    ///
    /// Both classes have as many of them as there are, and in each class all sources have.
    pub(crate) fn draw(
        manifest: &'a Manifest,
        modality: Modality,
        split: Split,
        count: Option<usize>,
        seed: u64,
    ) -> Self {
        let labelled = manifest.select(modality, Task::Classify, Some(split));
        let labelled: Vec<&Record> = labelled.filter(|record| record.label != Label::Unlabelled).collect();
        let masked: Vec<&Record> = manifest.masked(modality, split).filter(|record| !record.mask.is_empty()).collect();
        let Some(count) = count else { return Self { labelled, masked } };
        let of = |label: Label| labelled.iter().copied().filter(move |record| record.label == label);
        let classes = [Label::Positive, Label::Negative].map(|label| by_source(of(label), seed));
        Self {
            labelled: first(in_turn(classes.into()), count),
            masked: first(by_source(masked.into_iter(), seed), count),
        }
    }
}

/// A picture of each source in turn, as long as it has some, in an order drawn from the seed.
fn by_source<'a>(records: impl Iterator<Item = &'a Record>, seed: u64) -> Vec<&'a Record> {
    let mut sources: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    records.for_each(|record| sources.entry(&record.source).or_default().push(record));
    let mut random = seeded::generator(seed, 0);
    let shuffled = sources.into_values().map(|mut records| {
        records.shuffle(&mut random);
        records
    });
    in_turn(shuffled.collect())
}

/// The first of each list, the second of each, and so on.
fn in_turn<T>(lists: Vec<Vec<T>>) -> Vec<T> {
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    let longest = lists.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
    (0..longest).flat_map(|_| lists.iter_mut().filter_map(Iterator::next).collect::<Vec<T>>()).collect()
}

/// The first `count`, in the manifest's order.
fn first(mut records: Vec<&Record>, count: usize) -> Vec<&Record> {
    records.truncate(count);
    records.sort_by_key(|record| &record.path);
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::tests::record;

    #[test]
    fn a_sample_has_both_classes_and_every_source() {
        let mut records = vec![];
        for (source, label, count) in
            [("large", Label::Negative, 100), ("small", Label::Negative, 3), ("large", Label::Positive, 20)]
        {
            let number = records.len();
            records.extend((0..count).map(|i| record(source, &format!("{}", number + i), label, Task::Classify)));
        }
        let manifest = Manifest::new(".".into(), records);
        let draw = |count, seed| {
            let sample = Sample::draw(&manifest, Modality::Xray, Split::Val, count, seed);
            assert!(sample.masked.is_empty() && sample.labelled.is_sorted_by_key(|record| &record.path));
            sample.labelled
        };
        let counted = |sample: &[&Record], source: &str, label: Label| {
            sample.iter().filter(|record| record.source == source && record.label == label).count()
        };
        let twelve = draw(Some(12), 1);
        assert_eq!(counted(&twelve, "large", Label::Positive), 6);
        assert_eq!([counted(&twelve, "large", Label::Negative), counted(&twelve, "small", Label::Negative)], [3, 3]);
        // What one class or source lacks, the others give.
        let sixty = draw(Some(60), 1);
        assert_eq!([sixty.len(), counted(&sixty, "large", Label::Positive)], [60, 20]);
        assert_eq!(counted(&sixty, "small", Label::Negative), 3);
        assert_eq!([draw(None, 1).len(), draw(Some(1000), 1).len()], [123, 123]);
        assert_eq!(draw(Some(12), 1), twelve);
        assert_ne!(draw(Some(12), 2), twelve);
    }
}
