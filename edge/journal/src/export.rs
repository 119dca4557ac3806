//! The journal as tables for people, and as JSON for programs.

use std::io::{self, Write};

use serde_json::{Value, json};
use thorax_files::hexadecimal;

use crate::{
    entries::{
        Audit, AuditEvent, Delivery, DeliveryState, Feedback, Kind, Object, Source, Study, StudyResult, StudyState,
        Thresholds,
    },
    error::{JournalError, Result},
    journal::Journal,
    tables::{Kept, Snapshot},
};

/// The columns of the table.
const COLUMNS: [&str; 21] = [
    "study",
    "key",
    "round",
    "state",
    "opened_utc",
    "opened_device_milliseconds",
    "objects",
    "modality",
    "verdict",
    "cause",
    "probability",
    "entropy_bits",
    "left_involvement_percent",
    "right_involvement_percent",
    "bundle",
    "bundle_sha256",
    "negative_at",
    "positive_at",
    "thresholds_of",
    "finished_utc",
    "deliveries",
];

impl Journal {
    /// Writes a line for each study, in the order in which they were opened.
    ///
    /// # Errors
    /// What the database or `out` says.
    pub fn export_csv(&self, out: &mut dyn Write) -> Result<()> {
        let snapshot = self.snapshot()?;
        let failed = |error: csv::Error| JournalError::io("write the table", io::Error::other(error));
        let mut table = csv::Writer::from_writer(out);
        table.write_record(COLUMNS).map_err(failed)?;
        for (number, study) in snapshot.all::<Study>()? {
            table.write_record(row(&snapshot, number, &study?)?).map_err(failed)?;
        }
        table.flush().map_err(|reason| JournalError::io("write the table", reason))
    }

    /// Writes a line for each word of a reader, also of studies that are not kept any more.
    ///
    /// # Errors
    /// What the database or `out` says.
    pub fn export_feedback_csv(&self, out: &mut dyn Write) -> Result<()> {
        let columns = ["number", "at_utc", "study", "reader", "opinion", "verdict", "bundle", "bundle_sha256", "note"];
        let row = |number: u64, said: Feedback| {
            vec![
                number.to_string(),
                said.at.utc(),
                said.study.to_string(),
                cell(&said.reader),
                said.opinion.name().into(),
                cell(&said.verdict),
                cell(said.bundle.as_deref().unwrap_or_default()),
                said.bundle_sha256.map(|hash| hexadecimal(&hash)).unwrap_or_default(),
                cell(&said.note),
            ]
        };
        write_table(&self.snapshot()?, &columns, row, out)
    }

    /// Writes the audit, a line for each thing that was done on the page.
    ///
    /// # Errors
    /// What the database or `out` says.
    pub fn export_audit_csv(&self, out: &mut dyn Write) -> Result<()> {
        let columns = ["number", "at_utc", "at_device_milliseconds", "account", "address", "event", "study", "file"];
        let row = |number: u64, line: Audit| {
            let file = match &line.event {
                AuditEvent::Download { label } => cell(label),
                _ => String::new(),
            };
            vec![
                number.to_string(),
                line.at.utc(),
                line.at.device_milliseconds.to_string(),
                cell(line.account.as_deref().unwrap_or_default()),
                cell(&line.address),
                line.event.name().into(),
                line.study.map(|study| study.to_string()).unwrap_or_default(),
                file,
            ]
        };
        write_table(&self.snapshot()?, &columns, row, out)
    }

    /// One study with its objects, result and deliveries, as [`Self::export_json`] has it.
    ///
    /// # Errors
    /// [`JournalError::Unknown`], or what the database says.
    pub fn study_as_json(&self, number: u64) -> Result<Value> {
        let snapshot = self.snapshot()?;
        study_json(&snapshot, number, &snapshot.need(number)?)
    }

    /// Writes one JSON array with an object for each study, and in it its objects, result, deliveries and what readers said.
    ///
    /// # Errors
    /// What the database or `out` says.
    pub fn export_json(&self, out: &mut dyn Write) -> Result<()> {
        let snapshot = self.snapshot()?;
        let failed = |reason: io::Error| JournalError::io("write the export", reason);
        let mut before = "[\n";
        for (number, study) in snapshot.all::<Study>()? {
            let study = study_json(&snapshot, number, &study?)?;
            write!(out, "{before}{study}").map_err(failed)?;
            before = ",\n";
        }
        let end = if before == "[\n" { "[]\n" } else { "\n]\n" };
        out.write_all(end.as_bytes()).and_then(|()| out.flush()).map_err(failed)
    }
}

/// Writes the records of one kind, a line each.
fn write_table<R: Kept>(
    snapshot: &Snapshot,
    columns: &[&str],
    row: impl Fn(u64, R) -> Vec<String>,
    out: &mut dyn Write,
) -> Result<()> {
    let failed = |error: csv::Error| JournalError::io("write the table", io::Error::other(error));
    let mut table = csv::Writer::from_writer(out);
    table.write_record(columns).map_err(failed)?;
    for (number, record) in snapshot.all::<R>()? {
        table.write_record(row(number, record?)).map_err(failed)?;
    }
    table.flush().map_err(|reason| JournalError::io("write the table", reason))
}

/// A cell that a spreadsheet shows and does not calculate: what a peer sent may begin like a formula.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if formula { format!("'{text}") } else { text.to_owned() }
}

fn row(snapshot: &Snapshot, number: u64, study: &Study) -> Result<Vec<String>> {
    let result: Option<StudyResult> = snapshot.get(number)?;
    let summary = result.as_ref().map(|result| &result.summary);
    let thresholds = summary.and_then(|summary| summary.thresholds.as_ref());
    let text = |text: Option<&String>| text.map(|text| cell(text)).unwrap_or_default();
    let figure = |figure: Option<f64>| figure.map(|figure| figure.to_string()).unwrap_or_default();
    let failed = match &study.state {
        StudyState::Failed { cause, .. } => Some(cause),
        _ => None,
    };
    let mut deliveries = vec![];
    for number in snapshot.deliveries_of(number)? {
        let delivery: Delivery = snapshot.need(number)?;
        deliveries.push(format!("{}: {}", delivery.destination, delivery.state.name()));
    }
    Ok(vec![
        number.to_string(),
        cell(&study.key),
        study.round.to_string(),
        study.state.name().into(),
        study.opened.utc(),
        study.opened.device_milliseconds.to_string(),
        study.objects.to_string(),
        text(summary.and_then(|s| s.modality.as_ref())),
        text(summary.map(|s| &s.verdict)),
        text(summary.and_then(|s| s.cause.as_ref()).or(failed)),
        figure(summary.and_then(|s| s.probability)),
        figure(summary.and_then(|s| s.entropy_bits)),
        figure(summary.and_then(|s| s.left_involvement_percent)),
        figure(summary.and_then(|s| s.right_involvement_percent)),
        text(summary.and_then(|s| s.bundle.as_ref())),
        summary.and_then(|s| s.bundle_sha256).map(|hash| hexadecimal(&hash)).unwrap_or_default(),
        figure(thresholds.map(|thresholds| thresholds.negative_at)),
        figure(thresholds.map(|thresholds| thresholds.positive_at)),
        thresholds.map(|thresholds| whose(thresholds).to_owned()).unwrap_or_default(),
        result.as_ref().map(|result| result.finished.utc()).unwrap_or_default(),
        cell(&deliveries.join("; ")),
    ])
}

fn study_json(snapshot: &Snapshot, number: u64, study: &Study) -> Result<Value> {
    let objects = snapshot.objects_of(number)?.into_iter().map(|n| Ok(object_json(n, &snapshot.need(n)?)));
    let deliveries = snapshot.deliveries_of(number)?.into_iter().map(|n| Ok(delivery_json(n, &snapshot.need(n)?)));
    let feedback = snapshot.feedback_of(number)?.into_iter().map(|n| Ok(feedback_json(n, &snapshot.need(n)?)));
    let cause = match &study.state {
        StudyState::Failed { cause, .. } => Some(cause),
        _ => None,
    };
    Ok(json!({
        "study": number,
        "key": study.key,
        "round": study.round,
        "earlier": study.earlier,
        "state": study.state.name(),
        "cause": cause,
        "opened_utc": study.opened.utc(),
        "opened_device_milliseconds": study.opened.device_milliseconds,
        "taken": study.taken,
        "note": study.note,
        "objects": objects.collect::<Result<Vec<Value>>>()?,
        "result": snapshot.get::<StudyResult>(number)?.as_ref().map(result_json),
        "deliveries": deliveries.collect::<Result<Vec<Value>>>()?,
        "feedback": feedback.collect::<Result<Vec<Value>>>()?,
    }))
}

fn object_json(number: u64, object: &Object) -> Value {
    let mut fields = json!({
        "object": number,
        "sha256": hexadecimal(&object.sha256),
        "bytes": object.bytes,
        "received_utc": object.received.utc(),
    });
    match &object.what.kind {
        Kind::Dicom {
            sop_class_uid,
            sop_instance_uid,
            study_instance_uid,
            series_instance_uid,
            transfer_syntax_uid,
        } => {
            fields["sop_class_uid"] = json!(sop_class_uid);
            fields["sop_instance_uid"] = json!(sop_instance_uid);
            fields["study_instance_uid"] = json!(study_instance_uid);
            fields["series_instance_uid"] = json!(series_instance_uid);
            fields["transfer_syntax_uid"] = json!(transfer_syntax_uid);
        }
        Kind::Picture => {}
    }
    match &object.what.source {
        Source::Association { calling_ae_title, called_ae_title, address } => {
            fields["calling_ae_title"] = json!(calling_ae_title);
            fields["called_ae_title"] = json!(called_ae_title);
            fields["address"] = json!(address);
        }
        Source::Folder { folder, file } => {
            fields["folder"] = json!(folder);
            fields["file"] = json!(file);
        }
    }
    fields
}

/// Whose thresholds they are.
fn whose(thresholds: &Thresholds) -> &'static str {
    if thresholds.of_site { "site" } else { "bundle" }
}

fn result_json(result: &StudyResult) -> Value {
    let summary = &result.summary;
    let files = result
        .files
        .iter()
        .map(|file| json!({ "label": file.label, "sha256": hexadecimal(&file.sha256), "bytes": file.bytes }));
    json!({
        "modality": summary.modality,
        "verdict": summary.verdict,
        "cause": summary.cause,
        "remedy": summary.remedy,
        "probability": summary.probability,
        "entropy_bits": summary.entropy_bits,
        "left_involvement_percent": summary.left_involvement_percent,
        "right_involvement_percent": summary.right_involvement_percent,
        "bundle": summary.bundle,
        "bundle_sha256": summary.bundle_sha256.map(|hash| hexadecimal(&hash)),
        "thresholds": summary.thresholds.as_ref().map(|thresholds| json!({
            "negative_at": thresholds.negative_at,
            "positive_at": thresholds.positive_at,
            "of": whose(thresholds),
        })),
        "finished_utc": result.finished.utc(),
        "finished_device_milliseconds": result.finished.device_milliseconds,
        "files": files.collect::<Vec<Value>>(),
    })
}

fn delivery_json(number: u64, delivery: &Delivery) -> Value {
    let cause = match &delivery.state {
        DeliveryState::GivenUp { cause, .. } => Some(cause),
        _ => None,
    };
    json!({
        "delivery": number,
        "destination": delivery.destination,
        "state": delivery.state.name(),
        "cause": cause,
        "attempts": delivery.attempts,
        "interrupted": delivery.interrupted,
        "last_error": delivery.last_error,
    })
}

fn feedback_json(number: u64, said: &Feedback) -> Value {
    json!({
        "feedback": number,
        "reader": said.reader,
        "at_utc": said.at.utc(),
        "opinion": said.opinion.name(),
        "note": said.note,
        "verdict": said.verdict,
        "bundle": said.bundle,
        "bundle_sha256": said.bundle_sha256.map(|hash| hexadecimal(&hash)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        assert_eq!(cell("=HYPERLINK(1)"), "'=HYPERLINK(1)");
        assert_eq!(cell("1.2.840"), "1.2.840");
    }
}
