//! What tells the classes apart without a look at the lungs.
//!
//! How well a fact does so by itself: the balanced accuracy of the best rule that knows it alone, `1/2 sum max(p(v | +), p(v | -))`
//! over its values `v`, from 50 % (nothing) to 100 %. Each patient counts once. A fact of many values does so by chance as well, so
//! the same is told with the classes shuffled among the patients, and only what is clearly more spoils a study.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use thorax_shared::modality::Modality;

use super::facts::{Facts, Value};
use crate::data::{Label, Record};

/// Numbers are put into so many bins of about one size.
const BINS: usize = 8;
/// The classes are shuffled so often.
const SHUFFLES: usize = 20;
/// A fact that tells the classes by so much better than shuffled ones spoils a study.
const SPOILS: f64 = 0.15;
/// Fewer patients of a class tell nothing.
const FEWEST: usize = 5;

/// A class that comes from one source alone, which has nothing of the other.
#[derive(Clone, Debug, PartialEq)]
pub struct OneSource {
    /// Of which pictures.
    pub modality: Modality,
    /// In the source's word.
    pub class: String,
    /// Where all of it comes from.
    pub source: String,
    /// How many pictures.
    pub pictures: usize,
}

/// A fact, and how well it tells the classes apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Confounder {
    /// Of which pictures.
    pub modality: Modality,
    /// Such as `source`.
    pub fact: &'static str,
    /// Balanced accuracy of the best rule that knows it alone, 0.5 to 1.
    pub tells: f64,
    /// The same with the classes shuffled among the patients.
    pub chance: f64,
    /// Each value, and how many pictures with it are positive and negative.
    pub counts: Vec<(String, [usize; 2])>,
}

impl Confounder {
    /// Whether it tells the classes clearly better than chance.
    pub fn spoils(&self) -> bool {
        self.tells - self.chance >= SPOILS
    }

    /// What can be done about it.
    pub fn remedy(&self) -> &'static str {
        match self.fact {
            "source" => {
                "take both classes from the same sources, and judge with one source left out (classify --leave-one-source-out)"
            }
            "longer side" | "width to height" => {
                "take both classes from the same devices; judge on pictures of one size apart"
            }
            "bits" | "format" | "bytes a pixel" => {
                "export both classes the same way, from the originals; train with changed copies (features --copies)"
            }
            "view" => "take films of one view, or as many of each for both classes",
            "age" | "sex" => "match the classes by age and sex",
            "burned-in text" => {
                "take the text out of the pictures or pictures with text out of the set, or crop to the lungs (--lungs)"
            }
            _ => "export both classes the same way; leave blurred pictures out",
        }
    }
}

impl fmt::Display for Confounder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            self.counts.iter().take(4).map(|(value, [positive, negative])| format!("{value} {positive}:{negative}"));
        let more = if self.counts.len() > 4 { ", ..." } else { "" };
        write!(
            f,
            "{}: {} alone tells the classes in {:.0} % (by chance {:.0} %; positive:negative {}{more}); {}",
            self.modality,
            self.fact,
            100.0 * self.tells,
            100.0 * self.chance,
            shown.collect::<Vec<_>>().join(", "),
            self.remedy()
        )
    }
}

impl fmt::Display for OneSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: all {} pictures of class `{}` come from {}, which has none of the other class, so that what is learnt may be the \
             source; add pictures of both classes from one source",
            self.modality, self.pictures, self.class, self.source
        )
    }
}

/// The classes that come from one source alone.
pub(super) fn one_source(labelled: &[(&Record, &Facts)]) -> Vec<OneSource> {
    let mut classes: BTreeMap<(&str, &str), Vec<&Record>> = BTreeMap::new();
    let mut labels: BTreeMap<(&str, &str), BTreeSet<Label>> = BTreeMap::new();
    for (record, _) in labelled {
        classes.entry((record.modality.as_str(), &record.class)).or_default().push(record);
        labels.entry((record.modality.as_str(), &record.source)).or_default().insert(record.label);
    }
    let both = |record: &Record| labels[&(record.modality.as_str(), record.source.as_str())].len() > 1;
    let alone = |records: Vec<&Record>| {
        let sources: BTreeSet<&str> = records.iter().map(|record| record.source.as_str()).collect();
        let first = *records.first()?;
        // Where there is one source for all, no class is told by it.
        (sources.len() == 1 && !both(first)).then(|| OneSource {
            modality: first.modality,
            class: first.class.clone(),
            source: first.source.clone(),
            pictures: records.len(),
        })
    };
    classes.into_values().filter_map(alone).collect()
}

/// Every fact of every modality, the one that tells most first.
pub(super) fn confounders(labelled: &[(&Record, &Facts)]) -> Vec<Confounder> {
    let mut confounders = vec![];
    for modality in Modality::ALL {
        let of: Vec<&(&Record, &Facts)> = labelled.iter().filter(|(record, _)| record.modality == modality).collect();
        let patients = |label| {
            of.iter().filter(|(r, _)| r.label == label).map(|(r, _)| r.group.as_str()).collect::<BTreeSet<_>>().len()
        };
        if patients(Label::Positive) < FEWEST || patients(Label::Negative) < FEWEST {
            continue;
        }
        let names = of.first().map_or(vec![], |(_, facts)| facts.values.iter().map(|(name, _)| *name).collect());
        for (place, fact) in names.into_iter().enumerate() {
            let values: Vec<Option<&Value>> = of.iter().map(|(_, facts)| facts.values[place].1.as_ref()).collect();
            // What hardly any picture tells is no fact of the set.
            if values.iter().flatten().count() * 2 < values.len() {
                continue;
            }
            let words = words(&values);
            if words.iter().collect::<BTreeSet<_>>().len() < 2 {
                continue;
            }
            confounders.push(confounder(modality, fact, &of, &words));
        }
    }
    confounders.sort_by(|a, b| (b.tells - b.chance).total_cmp(&(a.tells - a.chance)));
    confounders
}

/// Values as words: numbers by their bins.
fn words(values: &[Option<&Value>]) -> Vec<String> {
    let mut numbers: Vec<f64> = values
        .iter()
        .filter_map(|value| match value {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        })
        .collect();
    numbers.sort_by(f64::total_cmp);
    let mut borders: Vec<f64> = (1..BINS).filter_map(|i| numbers.get(i * numbers.len() / BINS).copied()).collect();
    borders.dedup();
    let different = numbers.windows(2).filter(|pair| pair[0] < pair[1]).count() < BINS;
    let word = |value: &Option<&Value>| match value {
        None => "not told".to_owned(),
        Some(Value::Word(word)) => word.clone(),
        Some(Value::Number(number)) if different => shown(*number),
        Some(Value::Number(number)) => match borders.iter().rposition(|border| number >= border) {
            None => format!("below {}", borders.first().map_or(String::new(), |border| shown(*border))),
            Some(i) => format!("from {}", shown(borders[i])),
        },
    };
    values.iter().map(word).collect()
}

fn shown(number: f64) -> String {
    if number >= 10.0 { format!("{number:.0}") } else { format!("{number:.2}") }
}

fn confounder(modality: Modality, fact: &'static str, of: &[&(&Record, &Facts)], words: &[String]) -> Confounder {
    // A patient's pictures share one vote.
    let mut patients: BTreeMap<(&str, Label), BTreeMap<&str, f64>> = BTreeMap::new();
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for ((record, _), word) in of.iter().zip(words) {
        *patients.entry((&record.group, record.label)).or_default().entry(word).or_default() += 1.0;
        counts.entry(word).or_default()[usize::from(record.label == Label::Negative)] += 1;
    }
    let patients: Vec<(bool, BTreeMap<&str, f64>)> = patients
        .into_iter()
        .map(|((_, label), mut votes)| {
            let all: f64 = votes.values().sum();
            votes.values_mut().for_each(|votes| *votes /= all);
            (label == Label::Positive, votes)
        })
        .collect();
    let votes: Vec<&BTreeMap<&str, f64>> = patients.iter().map(|(_, votes)| votes).collect();
    let mut labels: Vec<bool> = patients.iter().map(|(positive, _)| *positive).collect();
    let tells = tells(&labels, &votes);
    let mut random = StdRng::seed_from_u64(0);
    let chance: f64 = (0..SHUFFLES)
        .map(|_| {
            labels.shuffle(&mut random);
            self::tells(&labels, &votes)
        })
        .sum();
    let mut counts: Vec<(String, [usize; 2])> =
        counts.into_iter().map(|(value, counts)| (value.to_owned(), counts)).collect();
    counts.sort_by_key(|(_, [positive, negative])| std::cmp::Reverse(positive + negative));
    Confounder { modality, fact, tells, chance: chance / SHUFFLES as f64, counts }
}

/// Balanced accuracy of the rule that says of each value the class in which it is more common.
fn tells(labels: &[bool], votes: &[&BTreeMap<&str, f64>]) -> f64 {
    let mut shares: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
    let all = [true, false].map(|class| labels.iter().filter(|&&label| label == class).count().max(1) as f64);
    for (&positive, votes) in labels.iter().zip(votes) {
        let class = usize::from(!positive);
        votes.iter().for_each(|(value, votes)| shares.entry(value).or_default()[class] += votes / all[class]);
    }
    shares.values().map(|[positive, negative]| positive.max(*negative)).sum::<f64>() / 2.0
}
