//! The model card (after Mitchell et al., *Model Cards for Model Reporting*, 2019): what a bundle is, what it learnt from, what it is
//! worth, and what it cannot. Everything in it comes from the runs' own records, the manifest, and the figures of this very bundle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use thorax_files::hexadecimal;
use thorax_shared::{bundle, calibration::ProbabilityMap, modality::Modality, verdict::RejectReason};

use crate::{
    backbone::run::BackboneConfig,
    changes::Copies,
    data::{Label, Manifest, Record, Split, Task, recipe::seen_part},
    features::{Extractor, Maker},
    heads::{self, ClassifyConfig, Promise},
    judge::bundle::Evaluation,
    markdown::{self, escaped},
    probe::Probe,
    segmentation::{
        Integers, Members, Origin,
        run::{SegmentConfig, SegmentRun},
    },
    stress::Stress,
};

/// What a bundle was made of.
pub struct Origins<'a> {
    /// The classifier's run.
    pub classifier: &'a heads::ClassifyRun,
    /// Its net, and where the weights before its heads are from.
    pub made: &'a Maker,
    /// The segmenter.
    pub segmenter: &'a Origin,
    /// What all learnt from.
    pub manifest: &'a Manifest,
    /// What the segmenter learnt from, where that is another one.
    pub segmenter_manifest: Option<&'a Manifest>,
    /// What else than the disease tells the classes apart; `None` where nobody asked.
    pub probe: Option<&'a Probe>,
    /// Limits of the data that only their owner knows, as Markdown list items; empty for none.
    pub limits: &'a str,
    /// How often the test split was looked at before, as a Markdown list item.
    pub looks: &'a str,
}

impl Origins<'_> {
    /// Whether the features are a segmenter's that was shown pictures by their class, or perhaps was.
    fn knows_classes(&self) -> bool {
        self.classifier.config.backbone == Extractor::Segmenter && self.segmenter.knows_classes() != Some(false)
    }

    /// How the backbone was trained, where this project trained it.
    fn trained(&self) -> Option<BackboneConfig> {
        self.made.source.as_ref().and_then(BackboneConfig::of)
    }
}

/// What is known of what a verdict survives.
pub enum Survival {
    /// What was found.
    Tried(Box<Stress>),
    /// Nobody tried.
    NotTried,
}

impl Survival {
    /// What has to be said before anything else; nothing of a bundle that survives.
    fn warning(&self) -> String {
        match self {
            Self::NotTried => "**What its verdicts survive was not tried.**\n\n".into(),
            Self::Tried(stress) if stress.not_survived().is_empty() => String::new(),
            Self::Tried(stress) => format!(
                "**Its verdicts do not survive what happens to files.** {} Signed with `--despite-stress`.\n\n",
                stress.judged()
            ),
        }
    }

    fn worst(&self) -> String {
        match self {
            Self::NotTried => "- What files go through on their way was not tried.\n".into(),
            Self::Tried(stress) => [Some(stress.judged()), stress.judged_harmful()]
                .iter()
                .flatten()
                .map(|said| format!("- {said}\n"))
                .collect(),
        }
    }

    fn section(&self) -> String {
        match self {
            Self::NotTried => "\n## What a verdict survives\n\nNot tried (`--stress-pictures 0`).\n".into(),
            Self::Tried(stress) => format!("\n## What a verdict survives\n\n{}", stress.to_markdown()),
        }
    }
}

/// The card, in Markdown.
pub fn card(
    contents: &bundle::Manifest,
    origins: &Origins<'_>,
    survival: &Survival,
    evaluation: &Evaluation,
) -> String {
    let mut out = format!(
        "# Model card: {} {}\n\n\
         **Research use only. Not a medical device. Not clinically validated.** Written by `thorax-train bundle build`; do not edit.\n\n\
         {}## The worst first\n\n{}{}- {}\n\n## What it is\n\n\
         Reads {}: positive, negative or refer for {}, an ensemble's entropy, a class activation map, and the infected part of the lungs.\n\n",
        contents.name,
        contents.version,
        survival.warning(),
        evaluation.worst(),
        survival.worst(),
        origins.looks,
        match contents.modality {
            Modality::Xray => "frontal chest X-rays",
            Modality::Ct => "axial chest CT slices",
        },
        thorax_engine::model::disease(contents).words,
    );
    out += &classifier(contents, origins);
    out += &beside(contents);
    out += &calibration(origins.classifier);
    out += &decision(contents, &origins.classifier.outcome);
    out += &of_segmenter(origins.segmenter);
    out += "## Data\n\nNo picture is contained. Splits are by patient; counts are pictures (patients or groups that belong together).\n\n";
    out += &data(origins.manifest, contents.modality, |_| true);
    out += &own_patients(origins.manifest, contents.modality);
    if let Some(manifest) = origins.segmenter_manifest {
        out += "\nThe segmenter learnt from:\n\n";
        out += &data(manifest, contents.modality, |record| record.task == Task::Segment);
    }
    out += &survival.section();
    out += &confounders(origins.probe, origins.trained().is_some(), origins.knows_classes());
    let _ = write!(out, "\n## Figures\n\n{}", evaluation.to_markdown());
    out += &limits(origins.manifest, contents.modality, &contents.extension.refusals, origins.limits);
    out += &provenance(&contents.provenance, origins.segmenter);
    out
}

/// The card of a bundle that was made of another one, whose card is `before`: `report` tells how, and `judged` how good it is, where that was
/// asked, with how often the test split had been looked at before, in words.
pub fn of_integers(
    contents: &bundle::Manifest,
    survival: &Survival,
    judged: Option<(&Evaluation, &str)>,
    report: &str,
    before: &str,
) -> String {
    let (worst, figures, looks) = judged.map_or_else(Default::default, |(evaluation, looks)| {
        (evaluation.worst(), format!("## Figures\n\n{}\n", evaluation.to_markdown()), format!("- {looks}\n"))
    });
    format!(
        "# Model card: {} {}\n\n\
         **Research use only. Not a medical device. Not clinically validated.** Written by `thorax-train quantize`; do not edit.\n\n\
         {}## The worst first\n\n{worst}{}{looks}\n{report}{}\n{figures}---\n\n\
         The card of the bundle that it was made of, with that one's figures:\n\n{before}",
        contents.name,
        contents.version,
        survival.warning(),
        survival.worst(),
        survival.section(),
    )
}

/// A segmenter and what it learnt from.
pub fn of_segmenter(origin: &Origin) -> String {
    match origin {
        Origin::Runs(members) => segmenter(members),
        Origin::Bundle(shipped) => {
            let once = match shipped.equalises_twice {
                true => "- For it a slice that was equalised before is not equalised again; its own bundle did so.\n",
                false => "",
            };
            once.to_owned() + &of_bundle(&shipped.title, &shipped.sha256, &shipped.told)
        }
    }
}

/// A segmenter of integers, and what its bundle's card says of it.
pub fn of_integer_segmenter(lent: &Integers) -> String {
    of_bundle(&lent.title, &hexadecimal(&lent.sha256), &lent.told)
}

/// What is not known of who pictures are of.
fn own_patients(manifest: &Manifest, modality: Modality) -> String {
    let records = manifest.records.iter().filter(|record| record.modality == modality && record.task != Task::None);
    let mut sources: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for record in records.filter(|record| record.is_its_own_patient()) {
        sources.entry(&record.source).or_default().insert(&record.path);
    }
    let sentence = |(source, pictures): (&str, BTreeSet<&str>)| {
        format!(
            "\n**Of {} pictures of {} nobody says who they are of.** Each was taken for a patient: where that is wrong, a patient was learnt from \
             and tested on, figures flatter, and intervals are too narrow.\n",
            pictures.len(),
            escaped(source)
        )
    };
    sources.into_iter().map(sentence).collect()
}

/// The classifier: its backbone, its heads, its calibration.
fn classifier(contents: &bundle::Manifest, origins: &Origins<'_>) -> String {
    let Origins { classifier, made, .. } = origins;
    let calibration = &contents.calibration;
    let ClassifyConfig { taught, teachers, .. } = &classifier.config;
    let l2 = classifier.outcome.l2;
    let heads = match (taught, teachers.len()) {
        (true, _) => "logistic heads, each taught what one member of its teachers says".to_owned(),
        (false, 0) => {
            format!("logistic heads, each on a bootstrap resample of the training patients; L2 penalty {l2}")
        }
        (false, count) => format!(
            "logistic heads, each fitted to what one member of {} says of the training pictures as they are; L2 penalty {l2}",
            if count == 1 { "its teacher".to_owned() } else { format!("its {count} teachers") }
        ),
    };
    let trained = origins.trained();
    let learnt_from = match classifier.config.backbone {
        Extractor::Segmenter => format!(
            "what the segmenter ({}) sees, frozen; the means of its maps over the lungs and over what it takes for infected (each pixel by \
             its squared probability),",
            escaped(&made.origin)
        ),
        Extractor::Backbone(backbone) => format!(
            "{backbone} with the weights {}, frozen; pooled features of {},",
            escaped(&made.origin),
            seen_part(contents.classifier.graph.preprocess.core)
        ),
    };
    format!(
        "- Classifier: {learnt_from} {} {heads}, temperature {:.3} (ECE {:.3} before, {:.3} after, on {} pictures of {}), validation AUC {:.3}.\n{}",
        contents.classifier.members,
        calibration.temperature,
        calibration.ece_before,
        calibration.ece_after,
        calibration.images,
        selection_set(&classifier.outcome),
        classifier.outcome.validation_auc,
        trained.map(|config| format!("- Its weights: {}.\n", config.describe())).unwrap_or_default(),
    )
}

/// The pictures on which calibration and thresholds were chosen.
fn selection_set(outcome: &heads::ClassifyOutcome) -> &'static str {
    match outcome.out_of_bag_pictures {
        0 => "the validation split",
        _ => {
            "the validation split and training pictures predicted out of bag (by the heads that did not learn from their patient)"
        }
    }
}

/// What moves the logits beside the features, and what gets no verdict.
fn beside(contents: &bundle::Manifest) -> String {
    let mut out = String::new();
    if let Some(lesions) = &contents.extension.lesions {
        let mean = lesions.weights.iter().sum::<f32>() / lesions.weights.len().max(1) as f32;
        let _ = writeln!(
            out,
            "- Beside the features: the infected share of the lungs that the segmenter finds. Each standard deviation of ln(1 + percent) above \
             the mean of the training pictures ({:.2} percent) adds {mean:.2} to a logit, on average over the heads.",
            lesions.mean.exp_m1()
        );
    }
    for refusal in &contents.extension.refusals {
        let _ = writeln!(
            out,
            "- Rejected as *{}* from a probability of {:.3} on, by a head on the same features.",
            refusal.kind, refusal.at
        );
    }
    out
}

/// Which ways to calibrate were judged, and which was taken.
fn calibration(classifier: &heads::ClassifyRun) -> String {
    let outcome = &classifier.outcome;
    if outcome.calibrations.is_empty() {
        return String::new();
    }
    let taken = match &outcome.probability_map {
        None => "the temperature alone",
        Some(ProbabilityMap::Beta { .. }) => "Beta calibration after the temperature",
        Some(ProbabilityMap::Isotonic(_)) => "isotonic regression after the temperature",
    };
    let each = outcome.calibrations.iter().map(|judged| {
        format!("{}: log-loss {:.3}, Brier {:.3}, ECE {:.3}", judged.way, judged.log_loss, judged.brier, judged.ece)
    });
    format!(
        "- Calibration: {taken}. On patients that each way was not fitted to (the temperature was fitted to all): {}.\n",
        each.collect::<Vec<_>>().join("; ")
    )
}

/// From which numbers on it says what.
fn decision(contents: &bundle::Manifest, outcome: &heads::ClassifyOutcome) -> String {
    let rule = &contents.decision;
    let set = selection_set(outcome);
    let mut out = format!(
        "- Decision: positive from {:.3}, negative below {:.3}, between them *refer*; *refer* above an entropy of {:.3} bit and above \
         novelty {:.2}, *rejected* above novelty {:.2}. Thresholds were chosen on {set} for a sensitivity of {:.0} % and a \
         specificity of {:.0} %, the entropy limit for at most {:.0} % wrong answers (or the least risk that answers {:.0} %), the limits of \
         novelty on the validation split.\n",
        rule.positive_at,
        rule.negative_at,
        rule.entropy_limit_bits,
        rule.novelty_refer,
        rule.novelty_reject,
        heads::WANTED_SENSITIVITY * 100.0,
        heads::WANTED_SPECIFICITY * 100.0,
        heads::WANTED_RISK * 100.0,
        heads::LEAST_ANSWERED * 100.0,
    );
    if let Some(Promise { patients, answered, wrong, confidence }) = &outcome.promise {
        let _ = write!(
            out,
            "- Of {patients} patients of {set}, one image each, {answered} got an answer and {wrong} the wrong one. "
        );
        let most = heads::WANTED_RISK * 100.0;
        let _ = match confidence {
            Some(confidence) => writeln!(
                out,
                "With {:.0} % confidence at most {most:.0} % of the answers are wrong on patients like these (an exact binomial test for each \
                 entropy limit, from the strictest on). The calibration and the two thresholds were fitted to the same patients, which \
                 makes this a little too good, and it says nothing of other hospitals.",
                confidence * 100.0
            ),
            None if outcome.out_of_bag_pictures > 0 => writeln!(
                out,
                "Out of bag a part of the heads speaks, another one for each patient, so this tests no bound: **none is promised**.",
            ),
            None => writeln!(
                out,
                "That is too little to promise that at most {most:.0} % of the answers are wrong on others: **no bound holds**.",
            ),
        };
    }
    out
}

/// The segmenter: its net, every stage of its training, its threshold.
fn segmenter(segmenters: &Members) -> String {
    let each = |of: &dyn Fn(&SegmentRun) -> String| segmenters.runs().iter().map(of).collect::<Vec<_>>().join(" / ");
    let config = &segmenters.first().config;
    let several = match segmenters.runs().len() {
        1 => String::new(),
        members => format!("the mean of {members} nets that differ in their seed (figures of each, divided by /): "),
    };
    let encoder = config.encoder.as_ref();
    let encoder = encoder.map_or_else(String::new, |[origin, sha256]| {
        format!(" (its weights: {}, SHA-256 `{sha256}`)", escaped(origin))
    });
    let mut out = format!(
        "- Segmenter: {several}{}{encoder}, input {side} x {side}; {taken} ({}, epoch {}), and a pixel is infected from a probability of {} on (validation Dice {} there, {} at 0.5).\n",
        config.net.describe(),
        each(&|run| format!("{:.3}", run.best_dice)),
        each(&|run| (run.best_epoch + 1).to_string()),
        each(&|run| run.threshold.probability.to_string()),
        each(&|run| format!("{:.3}", run.threshold.dice)),
        each(&|run| format!("{:.3}", run.threshold.dice_at_half)),
        side = config.preprocess.input_side,
        taken = if config.training.keep_last {
            "the last epoch was taken, not that of the best pooled validation Dice of the infection"
        } else {
            "the epoch of the best pooled validation Dice of the infection was taken"
        },
    );
    for (number, run) in segmenters.runs().iter().enumerate() {
        let of = if segmenters.runs().len() > 1 { format!(" of net {}", number + 1) } else { String::new() };
        let _ = writeln!(out, "- Training{of}, as its run recorded it:");
        match &run.earlier {
            Some(earlier) => earlier.iter().for_each(|earlier| out += &stage(earlier)),
            None => {
                let start = run.config.start_sha256.as_deref().unwrap_or_default();
                let _ = writeln!(
                    out,
                    "  - earlier stages: not recorded; it began with weights of SHA-256 `{start}`, and nothing is known of the data \
                     they were trained on"
                );
            }
        }
        out += &stage(&run.config);
    }
    out + "\n"
}

/// A segmenter that an older bundle had, and what that one's card says of it.
fn of_bundle(title: &str, sha256: &str, told: &str) -> String {
    let mut out = format!(
        "- Segmenter: that of {title}, unchanged (its file: SHA-256 `{sha256}`). What it learnt from is told in the card of that bundle; no program \
         compared it with the splits below.\n",
    );
    for line in told.lines() {
        let _ = writeln!(out, "  {line}");
    }
    out + "\n"
}

/// One stage of a training.
fn stage(config: &SegmentConfig) -> String {
    let healthy = match (config.healthy, &config.healthy_sha256) {
        (0, _) => "no picture of class normal was added".to_owned(),
        (count, hash) => format!(
            "{count} pictures of class normal were drawn for each epoch as pictures without infection (SHA-256 `{}`)",
            hash.as_deref().unwrap_or("not recorded")
        ),
    };
    let boxed = config.boxes_sha256.as_ref().map_or_else(String::new, |[table, lungs]| {
        format!(
            " {} pictures with boxes around their lesions were drawn for each epoch, what of the boxes is lung as infected (boxes: SHA-256 \
             `{table}`, lungs of the segmenter `{lungs}`);",
            config.boxed
        )
    });
    let taught = config.taught.as_ref().map_or_else(String::new, |taught| {
        let teachers = taught.teachers.iter().map(|[name, sha256]| format!("{name} (`{sha256}`)")).collect::<Vec<_>>();
        format!(
            " {} pictures of the training split were drawn for each epoch, with the probabilities that {} gave (pictures: SHA-256 `{}`);",
            taught.pictures,
            teachers.join(" and "),
            taught.pictures_sha256
        )
    });
    let copies = config.copies.map_or_else(String::new, |Copies { count, seed }| {
        format!(" {count} changed copies (seed {seed}) of each picture, one of which, or the picture itself, was seen each time;")
    });
    format!(
        "  - {} epochs at {side} x {side}, seed {}, {}, {};{copies}{boxed}{taught} {healthy}; pictures, splits and masks: SHA-256 `{}`\n",
        config.epochs,
        config.seed,
        config.loss.describe(),
        config.augmentation.describe(),
        config.manifest_sha256,
        side = config.preprocess.input_side,
    )
}

/// Which pictures there are.
fn data(manifest: &Manifest, modality: Modality, which: impl Fn(&Record) -> bool) -> String {
    let mut out =
        String::from("| source | licence as stated there | task | train | val | test |\n|---|---|---|---|---|---|\n");
    let mut rows: BTreeMap<(&str, &str, &str), Vec<&Record>> = BTreeMap::new();
    let told = |record: &&Record| record.modality == modality && record.task != Task::None && which(record);
    for record in manifest.records.iter().filter(told) {
        let licence = if record.licence.is_empty() { "none stated" } else { &record.licence };
        rows.entry((&record.source, licence, record.task.as_str())).or_default().push(record);
    }
    for ((source, licence, task), records) in rows {
        let count = |split| {
            let of: Vec<&&Record> = records.iter().filter(|r| r.split == split).collect();
            let groups: BTreeSet<&str> = of.iter().map(|r| r.group.as_str()).collect();
            format!("{} ({})", of.len(), groups.len())
        };
        let counts = [Split::Train, Split::Val, Split::Test].map(count);
        out += &markdown::row([source, licence, task].into_iter().chain(counts.iter().map(String::as_str)));
    }
    out
}

/// What else than the disease may have been learnt.
fn confounders(probe: Option<&Probe>, trained: bool, segmenter_knows_classes: bool) -> String {
    let found = probe.map_or_else(
        || {
            "Not asked: `thorax-train probe` says whether the features know the collection, and `bundle build --probe \
             FILE` tells it here.\n"
                .into()
        },
        Probe::to_markdown,
    );
    let seen = match trained {
        false if segmenter_knows_classes => {
            "The features are a segmenter's. Where it was shown training pictures of class *normal* as pictures without infection, pictures with \
             boxes or what others draw (above, *What it is*), what is told of its features here is told of pictures some of which it knows, those of \
             each source that is called *left out* among them. The figures of the test split below are of others.\n\n"
        }
        true => {
            "**The backbone has learnt from these pictures and their labels, those of each source that is called *left out* among them: what is \
             told of its features here is told of pictures that it knows.** The figures of the test split below are of others.\n\n"
        }
        false => "",
    };
    format!("\n## What else tells the classes apart\n\n{seen}{found}")
}

/// What the figures do not say: what the manifest shows, and what holds of any data.
fn limits(manifest: &Manifest, modality: Modality, refusals: &[bundle::Refusal], of_the_owner: &str) -> String {
    let mut out = String::from("\n## Limits\n\n");
    let mut classes: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    let labelled = manifest.select(modality, Task::Classify, None).filter(|record| record.label != Label::Unlabelled);
    labelled.for_each(|record| {
        classes.entry(&record.source).or_default()[usize::from(record.label == Label::Positive)] += 1;
    });
    let single: Vec<&str> =
        classes.iter().filter(|(_, counts)| counts.contains(&0)).map(|(source, _)| *source).collect();
    if !single.is_empty() {
        let _ = writeln!(
            out,
            "- {} of {} sources have pictures of one class only ({}): a model can score by telling the sources apart. Read the figures per \
             source, and expect worse on pictures of another hospital.",
            single.len(),
            classes.len(),
            escaped(&single.join(", "))
        );
    } else {
        out += "- Read the figures per source, and expect worse on pictures of another hospital.\n";
    }
    let drawn: BTreeSet<&str> = manifest.masked(modality, Split::Test).map(|record| record.group.as_str()).collect();
    let _ = writeln!(
        out,
        "- Labels are as the manifest gives them; \"negative\" is not \"healthy\".\n\
         - The segmentation is judged on {} patients; with one patient a source, an interval says nothing.\n\
         - The probability is calibrated on pictures of the same data, not on the prevalence of any clinic.",
        drawn.len()
    );
    let refuses = |reason| refusals.iter().any(|refusal| refusal.reason == reason);
    if modality == Modality::Xray && !(refuses(RejectReason::NotFrontal) && refuses(RejectReason::Child)) {
        out += "- Whether a film is frontal and a patient adult was not checked: a lateral film or a child may be read as if it were a \
                frontal film of an adult.\n";
    }
    let of_the_owner = of_the_owner.trim();
    if !of_the_owner.is_empty() {
        let _ = writeln!(out, "{of_the_owner}");
    }
    out
}

/// Hashes, revision and seeds.
fn provenance(p: &bundle::Provenance, segmenter: &Origin) -> String {
    let seeds = match segmenter {
        Origin::Runs(members) => {
            members.runs().iter().map(|run| run.config.seed.to_string()).collect::<Vec<_>>().join(" / ")
        }
        Origin::Bundle(shipped) => format!("of {}", shipped.title),
    };
    format!(
        "\n## Provenance\n\n\
         - data and labels: SHA-256 `{}`; splits: `{}`\n\
         - backbone: `{}`\n\
         - sources: revision `{}`, thorax-train {}, seed {} (segmenter: {})\n",
        hexadecimal(&p.data_sha256),
        hexadecimal(&p.split_sha256),
        p.backbone_sha256.map_or_else(|| "none".into(), |hash| hexadecimal(&hash)),
        p.code_revision,
        p.trainer_version,
        p.seed,
        seeds,
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use thorax_nets::segmentation::{NetConfig, unet::UnetConfig};

    use super::*;

    fn record(source: &str, patient: &str, label: Label) -> Record {
        Record {
            path: format!("{source}/{patient}.png"),
            modality: Modality::Ct,
            task: Task::Classify,
            label,
            class: String::new(),
            patient_id: patient.into(),
            group: patient.into(),
            source: source.into(),
            licence: String::new(),
            split: Split::Test,
            mask: String::new(),
            lung_mask: String::new(),
            sha256: String::new(),
            equalised: false,
            masks_sha256: String::new(),
        }
    }

    #[test]
    fn pictures_of_nobody_known_are_told() {
        let named = record("clinic", "a", Label::Positive);
        let own = Record { patient_id: "web/b.png".into(), ..record("web", "b", Label::Negative) };
        let masked = Record { task: Task::Segment, ..own.clone() };
        let told = |records| own_patients(&Manifest::new(".".into(), records), Modality::Ct);
        assert_eq!(told(vec![named.clone()]), "");
        let text = told(vec![named, own, masked]);
        assert!(text.contains("Of 1 pictures of web nobody says who"), "{text}");
    }

    /// Somebody else's manifest is not told the limits of ours.
    #[test]
    fn limits_are_those_of_the_manifest_and_of_its_owner() {
        let of =
            |records: Vec<Record>, owner: &str| limits(&Manifest::new(".".into(), records), Modality::Ct, &[], owner);
        let both = vec![record("clinic", "a", Label::Positive), record("clinic", "b", Label::Negative)];
        let text = of(both.clone(), "");
        assert!(!text.contains("one class only") && !text.contains("2020") && text.contains("on 0 patients"), "{text}");
        let apart = [both, vec![record("ward", "c", Label::Positive)]].concat();
        let text = of(apart, "- Labelled by one reader.\n\n");
        assert!(text.contains("1 of 2 sources have pictures of one class only (ward)"), "{text}");
        assert!(text.ends_with("- Labelled by one reader.\n"), "{text}");
    }

    #[test]
    fn a_stage_tells_its_epochs_its_seed_and_the_hashes_of_its_data() {
        let config = SegmentConfig::example(NetConfig::Unet(UnetConfig::default()), 7);
        let text = stage(&config);
        assert!(text.contains("3 epochs at 64 x 64, seed 7") && text.contains("SHA-256 `00`"), "{text}");
        assert!(text.contains("no picture of class normal"), "{text}");
        let text = stage(&SegmentConfig { healthy: 5, healthy_sha256: Some("ab".into()), ..config });
        assert!(text.contains("5 pictures of class normal") && text.contains("SHA-256 `ab`"), "{text}");
    }
}
