//! `thorax-edge threshold`: the site's own thresholds, and what each would do with its own patients.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Write},
    ops::RangeInclusive,
    path::Path,
};

use serde_json::Value;
use thorax_bundles::{
    BundleHash, Bundles, SiteThresholds, allowed,
    table::{Case, Costs, Named, Row, Share, Truth, read_truth},
};
use thorax_shared::{modality::Modality, verdict::ReferReason};

use super::serve::place;
use crate::{
    cli::{ALL_SCREENED, ExportFormat, ThresholdArgs, ThresholdCommand},
    inspect::{Question, ask_or_read},
    profile::Profile,
    serve::{bundles as served, own_folder},
};

/// Does it, and says what was done.
///
/// # Errors
/// What is wrong with the thresholds, the profile or the folder of data; nothing was changed then.
pub fn run(args: ThresholdArgs) -> anyhow::Result<u8> {
    let (profile, data) = place(&args.place)?;
    let mut out = std::io::stdout().lock();
    match args.action {
        ThresholdCommand::Show { modality } => show(&profile, &data, modality, &mut out)?,
        ThresholdCommand::Set { modality, negative_at, positive_at, by, why } => {
            let model = served::current(&profile, &data, modality)?;
            let rule = &model.manifest.decision;
            let set = SiteThresholds {
                bundle: BundleHash(model.identity.sha256),
                negative_at: negative_at.unwrap_or(rule.negative_at),
                positive_at: positive_at.unwrap_or(rule.positive_at),
                by,
                why,
                unix_milliseconds: served::now(),
            };
            own_folder(&data)?;
            let mut bundles = Bundles::open(&data)?;
            bundles.set_thresholds(modality, set, rule)?;
            served::tell_journal(&mut bundles, &profile, &data);
            show(&profile, &data, modality, &mut out)?;
            writeln!(out, "the appliance uses them from now on")?;
        }
        ThresholdCommand::Table { modality, truth, cost_test, cost_screen, csv } => {
            let costs = cost_screen.zip(cost_test).map(|(screen, test)| Costs { screen, test });
            table(&profile, &data, modality, &TableArgs { truth: &truth, costs, csv }, &mut out)?;
        }
        ThresholdCommand::Clear { modality, by, why } => {
            own_folder(&data)?;
            let mut bundles = Bundles::open(&data)?;
            let cleared = bundles.clear_thresholds(modality, Some(&by), &why, served::now())?;
            served::tell_journal(&mut bundles, &profile, &data);
            match cleared {
                true => writeln!(out, "the appliance uses the bundle's own thresholds from now on")?,
                false => writeln!(out, "the site had set none for {modality}")?,
            }
        }
    }
    Ok(ALL_SCREENED)
}

fn show(profile: &Profile, data: &Path, modality: Modality, out: &mut dyn Write) -> anyhow::Result<()> {
    let model = served::current(profile, data, modality)?;
    let rule = &model.manifest.decision;
    let [negative, positive] = allowed(rule);
    writeln!(out, "{} ({})", model.title(), BundleHash(model.identity.sha256).short())?;
    let mut line =
        |what: &str, negative: String, positive: String| writeln!(out, "{what:<22} {negative:<18} {positive}");
    line("", "negative below".into(), "positive from".into())?;
    line("the bundle's", rule.negative_at.to_string(), rule.positive_at.to_string())?;
    line(
        "bounds for the site",
        format!("{:.4} to {:.4}", negative.start(), negative.end()),
        format!("{:.4} to {:.4}", positive.start(), positive.end()),
    )?;
    let state = Bundles::look(data)?;
    let set = state.slot(modality).thresholds.as_ref().filter(|set| set.bundle.0 == model.identity.sha256);
    if let Some(set) = set {
        line("the site's", set.negative_at.to_string(), set.positive_at.to_string())?;
        writeln!(out, "set by {}: {}", set.by, set.why)?;
    }
    Ok(())
}

/// What the journal knows of a study, as far as it matters for the table.
#[derive(Default)]
struct Read {
    probability: Option<f64>,
    verdict: String,
    cause: String,
    bundle: Option<String>,
}

/// Takes the journal's export, a study a line, and keeps what the truth is known of.
struct Collector<'a> {
    truth: &'a Truth,
    line: Vec<u8>,
    /// By study: the truth, and what was read.
    found: BTreeMap<u64, (bool, Read)>,
    named: BTreeSet<Named>,
}

impl Collector<'_> {
    fn study(&mut self, study: &Value) -> io::Result<()> {
        let number = study["study"].as_u64().unwrap_or_default();
        let instances =
            study["objects"].as_array().into_iter().flatten().filter_map(|object| object["sop_instance_uid"].as_str());
        let names = instances.map(|uid| Named::SopInstance(uid.to_owned())).chain([Named::Record(number)]);
        for name in names {
            let Some(positive) = self.truth.get(&name).copied() else { continue };
            self.named.insert(name);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let result = &study["result"];
            let read = Read {
                probability: result["probability"].as_f64(),
                verdict: text(&result["verdict"]),
                cause: text(&result["cause"]),
                bundle: result["bundle_sha256"].as_str().map(str::to_owned),
            };
            if self.found.insert(number, (positive, read)).is_some_and(|(before, _)| before != positive) {
                return Err(io::Error::other(format!("the truth of study {number} is told twice, and differently")));
            }
        }
        Ok(())
    }

    fn end_of_line(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let text = line.trim_ascii();
        // An array with an object a line.
        let text = text.strip_suffix(b",").unwrap_or(text);
        if !text.starts_with(b"{") {
            return Ok(());
        }
        self.study(&serde_json::from_slice(text)?)
    }
}

impl Write for Collector<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.end_of_line()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Patients that are in no row.
#[derive(Default)]
struct LeftOut {
    unknown: usize,
    unread: usize,
    other_bundle: usize,
}

/// Those of `found` that were read by the bundle `sha256`.
fn cases(found: BTreeMap<u64, (bool, Read)>, sha256: &BundleHash) -> (Vec<Case>, LeftOut) {
    let mut left_out = LeftOut::default();
    let mut cases = vec![];
    // Only this refer comes from a threshold; any other is sent on whatever the threshold.
    let by_threshold = ReferReason::AbstainZone.reason().cause;
    for (positive, read) in found.into_values() {
        let Read { probability: Some(probability), bundle: Some(bundle), verdict, cause } = read else {
            left_out.unread += 1;
            continue;
        };
        if bundle != sha256.to_string() {
            left_out.other_bundle += 1;
        } else if verdict == "rejected" {
            left_out.unread += 1;
        } else {
            let always_sent = verdict == "refer" && !cause.starts_with(&*by_threshold);
            cases.push(Case { probability, positive, always_sent });
        }
    }
    (cases, left_out)
}

/// Options of the table.
struct TableArgs<'a> {
    truth: &'a Path,
    costs: Option<Costs>,
    csv: bool,
}

fn table(
    profile: &Profile,
    data: &Path,
    modality: Modality,
    args: &TableArgs<'_>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let file = args.truth.display();
    for cost in args.costs.iter().flat_map(|costs| [costs.screen, costs.test]) {
        anyhow::ensure!(cost.is_finite() && cost >= 0.0, "a cost of {cost}: give what it costs, in any money");
    }
    let truth = File::open(args.truth).map_err(|error| anyhow::anyhow!("{file}: {error}"))?;
    let truth = read_truth(truth).map_err(|reason| anyhow::anyhow!("{file}: {reason}"))?;
    let model = served::current(profile, data, modality)?;
    let sha256 = BundleHash(model.identity.sha256);
    let mut collector = Collector { truth: &truth, line: vec![], found: BTreeMap::new(), named: BTreeSet::new() };
    ask_or_read(data, &profile.journal, &Question::Export { format: ExportFormat::Json }, &mut collector)?;
    let unknown = truth.len() - collector.named.len();
    let (cases, left_out) = cases(collector.found, &sha256);
    let left_out = LeftOut { unknown, ..left_out };
    anyhow::ensure!(
        !cases.is_empty(),
        "{file}: of {} lines {} are of no study here, {} of studies that were not read, and {} of studies that another bundle than {} read",
        truth.len(),
        left_out.unknown,
        left_out.unread,
        left_out.other_bundle,
        model.title()
    );
    let state = Bundles::look(data)?;
    let set = state.slot(modality).thresholds.clone().filter(|set| set.bundle == sha256);
    let rule = &model.manifest.decision;
    let [negative, positive] = allowed(rule);
    let mut marks: Vec<(f64, &str)> = vec![
        (rule.negative_at.into(), "the bundle's negative_at"),
        (rule.positive_at.into(), "the bundle's positive_at"),
    ];
    if let Some(set) = &set {
        marks.extend([
            (set.negative_at.into(), "the site's negative_at"),
            (set.positive_at.into(), "the site's positive_at"),
        ]);
    }
    let mut thresholds: Vec<f64> =
        (1..20).map(|step| f64::from(step) / 20.0).chain(marks.iter().map(|mark| mark.0)).collect();
    thresholds.sort_by(f64::total_cmp);
    thresholds.dedup();
    let rows: Vec<Row> = thresholds.into_iter().map(|threshold| Row::new(&cases, threshold)).collect();
    let note = |threshold: f64| {
        let within =
            |bounds: &RangeInclusive<f32>| (f64::from(*bounds.start())..=f64::from(*bounds.end())).contains(&threshold);
        let may = [(within(&negative), "may be negative_at"), (within(&positive), "may be positive_at")];
        let marks = marks.iter().filter(|mark| mark.0 == threshold).map(|mark| mark.1);
        let notes: Vec<&str> = marks.chain(may.into_iter().filter(|may| may.0).map(|may| may.1)).collect();
        notes.join("; ")
    };
    if args.csv {
        write_csv(&rows, args.costs, note, out)
    } else {
        let always = cases.iter().filter(|case| case.always_sent).count();
        let positives = cases.iter().filter(|case| case.positive).count();
        writeln!(
            out,
            "{}: {} patients, {positives} of them positive; {always} are sent on whatever the threshold (referred for another reason)",
            model.title(),
            cases.len()
        )?;
        writeln!(
            out,
            "left out: {} of no study here, {} not read, {} read by another bundle",
            left_out.unknown, left_out.unread, left_out.other_bundle
        )?;
        write_lines(&rows, args.costs, note, out)?;
        writeln!(
            out,
            "Whoever is at or above the threshold is sent to the confirming test. Brackets: 95 % (Wilson). The figures hold for patients \
             such as these: all who were screened in some weeks, not only those whose film was called positive."
        )?;
        Ok(())
    }
}

fn write_lines(
    rows: &[Row],
    costs: Option<Costs>,
    note: impl Fn(f64) -> String,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let percent = |share: Option<Share>| match share {
        Some(Share { share, low, high }) => format!("{:.1} [{:.1}, {:.1}]", 100.0 * share, 100.0 * low, 100.0 * high),
        None => "-".into(),
    };
    let figure = |figure: Option<f64>| figure.map_or("-".into(), |figure| format!("{figure:.1}"));
    let cost = if costs.is_some() { format!(" {:>10}", "cost/case") } else { String::new() };
    writeln!(
        out,
        "{:>9} {:>5} {:>5} {:>5} {:>5}  {:<20} {:<20} {:>7} {:>10} {:>10}{cost}",
        "threshold", "TP", "FP", "FN", "TN", "sensitivity %", "specificity %", "sent %", "found/1000", "screened/1"
    )?;
    for row in rows {
        let cost = costs.map(|costs| format!(" {:>10}", figure(row.cost_per_case(costs)))).unwrap_or_default();
        let line = format!(
            "{:>9.4} {:>5} {:>5} {:>5} {:>5}  {:<20} {:<20} {:>7.1} {:>10.1} {:>10}{cost}  {}",
            row.threshold,
            row.true_positives,
            row.false_positives,
            row.false_negatives,
            row.true_negatives,
            percent(row.sensitivity()),
            percent(row.specificity()),
            100.0 * row.sent_share(),
            row.found_per_thousand(),
            figure(row.screened_per_case()),
            note(row.threshold)
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn write_csv(
    rows: &[Row],
    costs: Option<Costs>,
    note: impl Fn(f64) -> String,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    writeln!(
        out,
        "threshold,true_positives,false_positives,false_negatives,true_negatives,sensitivity,sensitivity_low,sensitivity_high,\
         specificity,specificity_low,specificity_high,sent_share,found_per_thousand,screened_per_case,cost_per_case,note"
    )?;
    let figure = |figure: Option<f64>| figure.map(|figure| figure.to_string()).unwrap_or_default();
    let share = |share: Option<Share>| match share {
        Some(Share { share, low, high }) => format!("{share},{low},{high}"),
        None => ",,".into(),
    };
    for row in rows {
        writeln!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{},{}",
            row.threshold,
            row.true_positives,
            row.false_positives,
            row.false_negatives,
            row.true_negatives,
            share(row.sensitivity()),
            share(row.specificity()),
            row.sent_share(),
            row.found_per_thousand(),
            figure(row.screened_per_case()),
            figure(costs.and_then(|costs| row.cost_per_case(costs))),
            note(row.threshold)
        )?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn study(number: u64, uid: &str, verdict: &str, cause: Option<&str>, bundle: &BundleHash) -> Value {
        let probability = (verdict != "rejected").then_some(0.25);
        json!({
            "study": number,
            "objects": [{ "sop_instance_uid": uid }, { "sop_instance_uid": "1.9" }],
            "result": { "probability": probability, "verdict": verdict, "cause": cause, "bundle_sha256": bundle },
        })
    }

    #[test]
    fn a_study_is_found_by_its_number_or_an_image_and_only_a_threshold_s_refer_depends_on_it() {
        let truth = "record,sop_instance_uid,truth\n1,,positive\n,1.2,negative\n3,,negative\n4,,positive\n5,,positive\n6,,positive\n";
        let truth = read_truth(truth.as_bytes()).unwrap();
        let (ours, other) = (BundleHash([1; 32]), BundleHash([2; 32]));
        let zone = format!("{}; 1 of 2 images not read", ReferReason::AbstainZone.reason().cause);
        let mut collector = Collector { truth: &truth, line: vec![], found: BTreeMap::new(), named: BTreeSet::new() };
        let studies = [
            study(1, "1.1", "refer", Some(&zone), &ours),
            study(2, "1.2", "refer", Some(&ReferReason::HighEntropy.reason().cause), &ours),
            study(3, "1.3", "rejected", Some("too dark"), &ours),
            study(4, "1.4", "positive", None, &other),
            json!({ "study": 5, "objects": [], "result": null }),
        ];
        let lines: Vec<String> = studies.iter().map(Value::to_string).collect();
        let export = format!("[\n{}\n]\n", lines.join(",\n"));
        // In pieces, as it comes through the socket.
        export.as_bytes().chunks(7).for_each(|piece| collector.write_all(piece).unwrap());
        assert_eq!(truth.len() - collector.named.len(), 1, "there is no study 6");
        let (cases, left_out) = cases(collector.found, &ours);
        assert_eq!((left_out.unread, left_out.other_bundle), (2, 1));
        let case = |positive, always_sent| Case { probability: 0.25, positive, always_sent };
        assert_eq!(cases, [case(true, false), case(false, true)]);
    }

    #[test]
    fn a_study_whose_truth_is_told_both_ways_is_refused() {
        let truth = read_truth("record,sop_instance_uid,truth\n1,,positive\n,1.9,negative\n".as_bytes()).unwrap();
        let mut collector = Collector { truth: &truth, line: vec![], found: BTreeMap::new(), named: BTreeSet::new() };
        let told = writeln!(collector, "{}", study(1, "1.1", "positive", None, &BundleHash([1; 32]))).unwrap_err();
        assert!(told.to_string().contains("study 1 is told twice"), "{told}");
    }
}
