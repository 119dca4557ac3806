//! `thorax-edge worklist`: who is next at the cart.

use std::io::Write;

use anyhow::Context;
use serde_json::json;
use thorax_dimse::{
    association::{Ask, Limits, Proposal, Requestor},
    talk::Deadline,
    tls::Connector,
    uids,
    worklist::{Answers, Entry, FindError, Query, find},
};

use crate::{
    cli::{ALL_SCREENED, WorklistArgs},
    profile::{Profile, Worklist},
    serve::bundles::now,
};

/// Asks, and prints what is answered.
///
/// # Errors
/// When the profile has no worklist, or that gives no answer.
pub fn run(args: &WorklistArgs) -> anyhow::Result<u8> {
    let profile = Profile::read(&args.board)?;
    let worklist = profile.worklist.context("the profile has no worklist: see [worklist] in boards/README.md")?;
    let date = match args.date.as_deref() {
        Some("any") => None,
        Some(day) => {
            anyhow::ensure!(
                day.len() == 8 && day.bytes().all(|b| b.is_ascii_digit()),
                "{day:?} is no day such as 20261128"
            );
            Some(day.to_owned())
        }
        None => around(now()),
    };
    let answers = ask(&worklist, date.as_deref())?;
    let mut out = std::io::stdout().lock();
    if args.json {
        answers.entries.iter().try_for_each(|entry| writeln!(out, "{}", row(entry)))?;
    } else {
        table(&answers.entries, &mut out)?;
    }
    if answers.is_cut {
        eprintln!("thorax-edge: there are more; worklist.most_answers is {}", worklist.most_answers);
    }
    if answers.damaged > 0 {
        eprintln!("thorax-edge: {} answers could not be understood", answers.damaged);
    }
    Ok(ALL_SCREENED)
}

/// The day before, that day, and the day after, as DICOM has a range of dates (PS3.5, 6.2.5).
fn around(unix_milliseconds: i64) -> Option<String> {
    const DAY: i64 = 24 * 3600 * 1000;
    let day = |milliseconds| Some(chrono::DateTime::from_timestamp_millis(milliseconds)?.format("%Y%m%d").to_string());
    Some(format!("{}-{}", day(unix_milliseconds - DAY)?, day(unix_milliseconds + DAY)?))
}

fn ask(worklist: &Worklist, date: Option<&str>) -> anyhow::Result<Answers> {
    let Worklist { address, ae_title, seconds, .. } = worklist;
    let failed = || format!("worklist {ae_title} at {address}");
    let limits = Limits { connect_seconds: *seconds, message_seconds: *seconds, ..Limits::default() };
    let tls = worklist.tls.as_ref().map(Connector::new).transpose().with_context(failed)?;
    let wire =
        limits.reach(address).and_then(|wire| limits.secure(wire, address, tls.as_ref())).with_context(failed)?;
    let proposals = [Proposal::of(uids::MODALITY_WORKLIST, uids::IMPLICIT_LITTLE_ENDIAN)];
    let titles = Ask { calling_ae_title: &worklist.calling_ae_title, called_ae_title: ae_title, proposals: &proposals };
    let mut association = Requestor::ask(wire, &titles, limits).with_context(failed)?;
    let context = association.context(&proposals[0]).context("it has no modality worklist").with_context(failed)?;
    // All of it within one time, however many modalities are asked for.
    let deadline = Deadline::within(*seconds, "the answers of the worklist");
    let any = [None];
    let each: Vec<Option<&String>> = worklist.modalities.iter().map(Some).collect();
    let mut answers = Answers::default();
    for modality in if each.is_empty() { &any[..] } else { &each } {
        let query = Query {
            station_ae_title: worklist.station_ae_title.clone(),
            modality: modality.cloned(),
            date: date.map(str::to_owned),
        };
        let left = worklist.most_answers.saturating_sub(answers.entries.len());
        match find(&mut association, context, &query, left, deadline) {
            Ok(found) => {
                answers.entries.extend(found.entries);
                answers.damaged += found.damaged;
                answers.is_cut |= found.is_cut;
            }
            Err(FindError::End(end)) => {
                association.abort(&end);
                return Err(end).with_context(failed);
            }
            Err(refused) => {
                association.release();
                return Err(refused).with_context(failed);
            }
        }
    }
    association.release();
    answers.entries.sort_by(|a, b| (&a.start_date, &a.start_time).cmp(&(&b.start_date, &b.start_time)));
    Ok(answers)
}

fn row(entry: &Entry) -> serde_json::Value {
    json!({
        "start_date": entry.start_date,
        "start_time": entry.start_time,
        "modality": entry.modality,
        "station_ae_title": entry.station_ae_title,
        "patient_name": entry.patient_name,
        "patient_id": entry.patient_id,
        "patient_birth_date": entry.patient_birth_date,
        "patient_sex": entry.patient_sex,
        "accession_number": entry.accession_number,
        "study_instance_uid": entry.study_instance_uid,
        "requested_procedure_id": entry.requested_procedure_id,
        "requested_procedure_description": entry.requested_procedure_description,
        "step_id": entry.step_id,
        "step_description": entry.step_description,
    })
}

fn table(entries: &[Entry], out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "{:<16} {:<4} {:<16} {:<30} {:<16} {:<9} {:<3} what",
        "when", "", "cart", "patient", "number", "born", "sex"
    )?;
    for entry in entries {
        // Hours and minutes.
        let time = entry.start_time.get(..4).unwrap_or(&entry.start_time);
        let what = match entry.step_description.as_str() {
            "" => &entry.requested_procedure_description,
            step => step,
        };
        let line = format!(
            "{:<16} {:<4} {:<16} {:<30} {:<16} {:<9} {:<3} {what}",
            format!("{} {time}", entry.start_date),
            entry.modality,
            entry.station_ae_title,
            entry.patient_name,
            entry.patient_id,
            entry.patient_birth_date,
            entry.patient_sex,
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_days_around_a_moment_are_a_range_of_dates() {
        assert_eq!(around(1_795_861_406_999).unwrap(), "20261127-20261129");
        assert_eq!(around(0).unwrap(), "19691231-19700102");
    }
}
