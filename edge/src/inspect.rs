//! What the journal is asked from outside, and its answers.
//!
//! One process at a time has a journal open. While the appliance is at work, that is the appliance: so a [`Question`] goes to it through
//! a socket in the folder of its data, which only its user can open, and is answered there by the very code that answers it when no
//! appliance runs. An answer comes in parts, a byte for the kind and four (the lowest first) for the length of each, so that an
//! export of any size needs no memory, and an error after half of it is told as one.

use std::{
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use thorax_files::hexadecimal;
use thorax_journal::{Journal, Kind, Moment, Settings, Study, StudyResult, StudyState};
use thorax_shared::words::Language;

use crate::cli::ExportFormat;

/// The folder of the journal in the folder of data.
pub const JOURNAL: &str = "journal";
/// The socket in the folder of data.
pub const SOCKET: &str = "control.sock";
/// The secret behind the pseudonyms of copies without names, in the folder of data.
const PSEUDONYMS: &str = "pseudonyms.key";

/// A question is a line of JSON with a path in it at most.
const MOST_QUESTION_BYTES: u64 = 64 << 10;
/// No part of an answer is longer.
const MOST_PART_BYTES: usize = 64 << 10;
/// Whoever asks does so at once.
const QUESTION_TIME: Duration = Duration::from_secs(5);
/// And reads on.
const WRITE_TIME: Duration = Duration::from_secs(60);

/// Kinds of parts.
const TEXT: u8 = 0;
const DONE: u8 = 1;
const FAILED: u8 = 2;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// The last studies.
    List {
        /// How many.
        last: usize,
        /// As JSON, one object a line.
        json: bool,
    },
    /// One study.
    Show {
        /// Its number.
        study: u64,
        /// As JSON.
        json: bool,
    },
    /// Whether all is as it should be.
    Verify {
        /// As JSON.
        json: bool,
    },
    /// All of it.
    Export {
        /// As what.
        format: ExportFormat,
    },
    /// What happened to the device itself.
    Events {
        /// How many, the last.
        last: usize,
        /// As JSON, one object a line.
        json: bool,
    },
    /// Studies without names, for somebody else.
    Deidentify {
        /// Their numbers.
        studies: Vec<u64>,
        /// Where to, such as a stick: an absolute path.
        folder: PathBuf,
    },
    /// One study as a page to print.
    Print {
        /// Its number.
        study: u64,
        /// Of its words.
        language: Language,
    },
    /// A copy.
    Backup {
        /// The new folder, an absolute path.
        folder: PathBuf,
    },
}

/// Answers on `out`, and gives the exit code: 1 where the journal is damaged or something was left out of a copy, else 0. `data` is the
/// folder of data, in which the journal lies.
///
/// # Errors
/// What the journal or `out` says.
pub fn answer(journal: &Journal, data: &Path, question: &Question, out: &mut dyn Write) -> anyhow::Result<u8> {
    match question {
        Question::List { last, json } => list(journal, *last, *json, out)?,
        Question::Show { study, json: true } => writeln!(out, "{:#}", journal.study_as_json(*study)?)?,
        Question::Show { study, json: false } => show(journal, *study, out)?,
        Question::Verify { json } => return verify(journal, *json, out),
        Question::Export { format: ExportFormat::Csv } => journal.export_csv(out)?,
        Question::Export { format: ExportFormat::Json } => journal.export_json(out)?,
        Question::Events { last, json } => events(journal, *last, *json, out)?,
        Question::Export { format: ExportFormat::Feedback } => journal.export_feedback_csv(out)?,
        Question::Export { format: ExportFormat::Audit } => journal.export_audit_csv(out)?,
        Question::Deidentify { studies, folder } => return deidentify(journal, data, studies, folder, out),
        Question::Print { study, language } => {
            let page = thorax_page::print(journal, *study, *language).map_err(anyhow::Error::msg)?;
            out.write_all(page.as_bytes())?;
        }
        Question::Backup { folder } => {
            anyhow::ensure!(folder.is_absolute(), "{}: the folder of a backup needs a whole path", folder.display());
            let files = journal.backup(folder)?;
            writeln!(out, "{files} files and the database in {}", folder.display())?;
        }
    }
    Ok(0)
}

fn list(journal: &Journal, last: usize, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let studies = journal.latest_studies(last)?;
    if json {
        for (number, _) in studies {
            writeln!(out, "{}", journal.study_as_json(number)?)?;
        }
        return Ok(());
    }
    writeln!(
        out,
        "{:>8}  {:<20}  {:<9} {:>6}  {:<9} {:>8}  cause",
        "study", "opened", "state", "images", "verdict", "probable"
    )?;
    for (number, study) in studies {
        let result = journal.result(number)?;
        let summary = result.as_ref().map(|result| &result.summary);
        let probability = summary.and_then(|summary| summary.probability);
        let line = format!(
            "{number:>8}  {:<20}  {:<9} {:>6}  {:<9} {:>8}  {}",
            study.opened.utc(),
            study.state.name(),
            study.objects,
            summary.map_or("-", |summary| &summary.verdict),
            probability.map_or("-".into(), |p| format!("{:.0} %", p * 100.0)),
            cause(&study, result.as_ref()).unwrap_or_default(),
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn events(journal: &Journal, last: usize, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    for (number, event) in journal.latest_events(last)? {
        let what = event.what;
        let when = Moment { unix_milliseconds: what.unix_milliseconds, ..event.noted }.utc();
        if json {
            let told = serde_json::json!({
                "event": number,
                "at_utc": when,
                "noted_utc": event.noted.utc(),
                "kind": what.kind,
                "text": what.text,
                "by": what.by,
                "modality": what.modality,
                "bundle_sha256": what.bundle_sha256.map(|sha256| hexadecimal(&sha256)),
            });
            writeln!(out, "{told}")?;
        } else {
            let by = what.by.map(|by| format!(" (by {by})")).unwrap_or_default();
            let modality = what.modality.unwrap_or_default();
            writeln!(out, "{number:>8}  {when:<20}  {:<26} {modality:<5} {}{by}", what.kind, what.text)?;
        }
    }
    Ok(())
}

/// Why it is as it is, where there is something to say.
fn cause(study: &Study, result: Option<&StudyResult>) -> Option<String> {
    match &study.state {
        StudyState::Failed { cause, .. } => Some(cause.clone()),
        StudyState::Finished { .. } => result.and_then(|result| result.summary.cause.clone()),
        _ => study.note.clone(),
    }
}

fn show(journal: &Journal, number: u64, out: &mut dyn Write) -> anyhow::Result<()> {
    let study = journal.study(number)?;
    let result = journal.result(number)?;
    let mut line = |name: &str, value: String| writeln!(out, "{name:<18} {value}");
    line("study", number.to_string())?;
    line("key", study.key.clone())?;
    line("round", study.round.to_string())?;
    line("state", study.state.name().into())?;
    line("opened (UTC)", study.opened.utc())?;
    line("taken", format!("{} times", study.taken))?;
    if let Some(cause) = cause(&study, result.as_ref()) {
        line("cause", cause)?;
    }
    if let Some(StudyResult { summary, files, finished }) = &result {
        let texts = [("remedy", &summary.remedy), ("modality", &summary.modality), ("bundle", &summary.bundle)];
        line("verdict", summary.verdict.clone())?;
        for (name, value) in texts {
            value.iter().try_for_each(|value| line(name, value.clone()))?;
        }
        for (name, value, unit) in [
            ("probability", summary.probability, ""),
            ("entropy", summary.entropy_bits, " bit"),
            ("left involved", summary.left_involvement_percent, " %"),
            ("right involved", summary.right_involvement_percent, " %"),
        ] {
            value.iter().try_for_each(|value| line(name, format!("{value:.3}{unit}")))?;
        }
        if let Some(thresholds) = &summary.thresholds {
            let whose = if thresholds.of_site { "the site's" } else { "the bundle's" };
            let (negative, positive) = (thresholds.negative_at, thresholds.positive_at);
            line("thresholds", format!("negative below {negative:.4}, positive from {positive:.4}, {whose}"))?;
        }
        line("finished (UTC)", finished.utc())?;
        for file in files {
            line(
                "result",
                format!("{} ({} bytes) {}", file.label, file.bytes, journal.path_of(&file.sha256).display()),
            )?;
        }
    }
    for (object, record) in journal.objects_of(number)? {
        let what = match &record.what.kind {
            Kind::Dicom { sop_instance_uid, .. } => sop_instance_uid.as_str(),
            Kind::Picture => "picture",
        };
        line(
            "image",
            format!("{object} {what} ({} bytes) {}", record.bytes, journal.path_of(&record.sha256).display()),
        )?;
    }
    for (delivery, record) in journal.deliveries_of(number)? {
        let error = record.last_error.map(|error| format!(", {error}")).unwrap_or_default();
        let (name, state) = (&record.destination, record.state.name());
        line("delivery", format!("{delivery} to {name}: {state}, tried {} times{error}", record.attempts))?;
    }
    Ok(())
}

/// The secret behind pseudonyms is made with the first copy, and stays with the data.
fn deidentify(
    journal: &Journal,
    data: &Path,
    studies: &[u64],
    folder: &Path,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    anyhow::ensure!(folder.is_absolute(), "{}: the folder of a copy needs a whole path", folder.display());
    // A number that is none is told before anything is written.
    studies.iter().try_for_each(|study| journal.study(*study).map(drop))?;
    let key = thorax_delivery::key_of(&data.join(PSEUDONYMS))?;
    let done = thorax_delivery::export(journal, studies, folder, &key, &mut |_| true)?;
    done.noted.iter().try_for_each(|noted| writeln!(out, "{}: {}", noted.what, noted.warning))?;
    writeln!(
        out,
        "{} files written to {}, {} there already, {} left out. Look at each picture before it is given away: names that are part of \
         the pixels stay",
        done.written,
        folder.display(),
        done.there,
        done.left_out
    )?;
    Ok(u8::from(done.left_out > 0))
}

fn verify(journal: &Journal, json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let found = journal.verify()?;
    if json {
        let told = serde_json::json!({
            "records": found.records,
            "files": found.files,
            "bytes": found.bytes,
            "problems": found.problems,
        });
        writeln!(out, "{told}")?;
    } else {
        found.problems.iter().try_for_each(|problem| writeln!(out, "{problem}"))?;
        let (records, files, bytes) = (found.records, found.files, found.bytes);
        writeln!(out, "{records} records and {files} files of {bytes} bytes read, {} problems", found.problems.len())?;
    }
    Ok(u8::from(!found.problems.is_empty()))
}

/// Asks the appliance at work on `data`, or, where none is, reads its journal. Nobody's journal is made by asking for it.
///
/// # Errors
/// As [`ask`] and [`answer`]; when there is no journal.
pub fn ask_or_read(data: &Path, settings: &Settings, question: &Question, out: &mut dyn Write) -> anyhow::Result<u8> {
    if let Some(code) = ask(data, question, out)? {
        return Ok(code);
    }
    let folder = data.join(JOURNAL);
    anyhow::ensure!(
        Journal::is_at(&folder),
        "{}: no journal; name its folder of data with --data, or the board with --board",
        folder.display()
    );
    answer(&Journal::open(&folder, settings.clone())?, data, question, out)
}

/// Asks the appliance at work on `data`, and gives its exit code; `None` when none is at work there.
///
/// # Errors
/// What the appliance says, or when it goes away meanwhile.
pub fn ask(data: &Path, question: &Question, out: &mut dyn Write) -> anyhow::Result<Option<u8>> {
    let mut connection = match UnixStream::connect(data.join(SOCKET)) {
        Ok(connection) => connection,
        // A socket that somebody who was killed has left answers to nobody.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => {
            let socket = data.join(SOCKET);
            return Err(error).with_context(|| {
                format!("{}: the appliance cannot be asked; do so as the user that it runs as", socket.display())
            });
        }
    };
    let gone = || "the appliance went away before it had answered; look at its log";
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    connection.write_all(&line).with_context(gone)?;
    let mut answer = BufReader::new(connection);
    loop {
        let (kind, part) = read_part(&mut answer).with_context(gone)?;
        match (kind, &part[..]) {
            (TEXT, part) => out.write_all(part)?,
            (DONE, [code]) => {
                out.flush()?;
                return Ok(Some(*code));
            }
            (FAILED, text) => anyhow::bail!("{}", String::from_utf8_lossy(text)),
            _ => anyhow::bail!("the appliance's answer is not understood: run the program of the same version"),
        }
    }
}

fn read_part(answer: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    answer.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let length = u32::from_le_bytes(length) as usize;
    if length > MOST_PART_BYTES {
        return Err(io::Error::other("a part that is too long"));
    }
    let mut part = vec![0; length];
    answer.read_exact(&mut part)?;
    Ok((kind, part))
}

/// The appliance's side of [`ask`]: reads a question from `connection`, and answers it.
///
/// # Errors
/// When whoever asked is too slow, asks for what is none, or went away.
pub fn serve(journal: &Journal, data: &Path, connection: &UnixStream) -> io::Result<()> {
    connection.set_read_timeout(Some(QUESTION_TIME))?;
    connection.set_write_timeout(Some(WRITE_TIME))?;
    let mut line = vec![];
    BufReader::new(connection.take(MOST_QUESTION_BYTES)).read_until(b'\n', &mut line)?;
    let answered = serde_json::from_slice(&line).map_err(anyhow::Error::from).and_then(|question| {
        let mut out = BufWriter::with_capacity(MOST_PART_BYTES, Parts(connection));
        let code = answer(journal, data, &question, &mut out)?;
        out.flush()?;
        Ok(code)
    });
    match answered {
        Ok(code) => write_part(connection, DONE, &[code]),
        Err(error) => {
            let mut text = format!("{error:#}");
            text.truncate(text.floor_char_boundary(MOST_PART_BYTES));
            write_part(connection, FAILED, text.as_bytes())
        }
    }
}

/// What is written becomes parts of text.
struct Parts<'a>(&'a UnixStream);

impl Write for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(MOST_PART_BYTES)];
        write_part(self.0, TEXT, part)?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_part(mut connection: &UnixStream, kind: u8, part: &[u8]) -> io::Result<()> {
    let [a, b, c, d] = (part.len() as u32).to_le_bytes();
    connection.write_all(&[kind, a, b, c, d])?;
    connection.write_all(part)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{os::unix::net::UnixListener, thread};
    use thorax_journal::{ReceivedObject, Settings, Source};

    fn journal(folder: &Path, pictures: u8) -> Journal {
        let settings = Settings { reserve_bytes: 0, quiet_seconds: 0, ..Settings::default() };
        let journal = Journal::open(&folder.join(JOURNAL), settings).unwrap();
        for picture in 0..pictures {
            let mut writer = journal.begin_object().unwrap();
            writer.write(&[picture]).unwrap();
            let source = Source::Folder { folder: "in".into(), file: "DOE^JANE.png".into() };
            writer.commit(ReceivedObject { kind: Kind::Picture, source }).unwrap();
        }
        journal
    }

    /// The answer by way of the socket.
    fn asked(folder: &Path, journal: &Journal, question: &Question) -> (anyhow::Result<Option<u8>>, String) {
        let socket = folder.join(SOCKET);
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let mut out = vec![];
        let code = thread::scope(|scope| {
            scope.spawn(|| serve(journal, folder, &listener.accept().unwrap().0));
            ask(folder, question, &mut out)
        });
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_answer_is_the_same_through_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), 200);
        let number = journal.latest_studies(1).unwrap()[0].0;
        for question in [
            Question::List { last: 7, json: false },
            Question::List { last: 500, json: true },
            Question::Show { study: number, json: false },
            Question::Show { study: number, json: true },
            Question::Verify { json: true },
            Question::Export { format: ExportFormat::Csv },
            // More than one part.
            Question::Export { format: ExportFormat::Json },
        ] {
            let mut expected = vec![];
            let code = answer(&journal, folder.path(), &question, &mut expected).unwrap();
            let (asked, out) = asked(folder.path(), &journal, &question);
            assert_eq!((asked.unwrap(), out.as_bytes()), (Some(code), &expected[..]), "{question:?}");
            assert!(!expected.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_answered_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), 1);
        let unknown = asked(folder.path(), &journal, &Question::Show { study: 99, json: false });
        assert!(unknown.0.unwrap_err().to_string().contains("there is no study 99"));
        let relative = asked(folder.path(), &journal, &Question::Backup { folder: "backup".into() });
        assert!(relative.0.unwrap_err().to_string().contains("whole path"));
    }

    #[test]
    fn a_damaged_journal_is_told_by_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), 2);
        let files = std::fs::read_dir(folder.path().join(JOURNAL).join("files")).unwrap();
        std::fs::write(files.flatten().next().unwrap().path(), b"other").unwrap();
        let mut out = vec![];
        assert_eq!(answer(&journal, folder.path(), &Question::Verify { json: false }, &mut out).unwrap(), 1);
        assert!(String::from_utf8(out).unwrap().contains("1 problems"));
    }

    #[test]
    fn where_nobody_is_at_work_nobody_answers() {
        let folder = tempfile::tempdir().unwrap();
        let question = Question::Verify { json: false };
        assert_eq!(ask(folder.path(), &question, &mut vec![]).unwrap(), None);
        // Left by one who was killed.
        drop(UnixListener::bind(folder.path().join(SOCKET)).unwrap());
        assert_eq!(ask(folder.path(), &question, &mut vec![]).unwrap(), None);
    }

    #[test]
    fn whoever_asks_nonsense_or_goes_away_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), 1);
        for sent in [&b"nonsense\n"[..], b"{\"Show\":{}}\n", b"", &[b'x'; 100_000]] {
            let (mut here, there) = UnixStream::pair().unwrap();
            let told = thread::scope(|scope| {
                let serving = scope.spawn(|| serve(&journal, folder.path(), &there));
                let _ = here.write_all(sent);
                here.shutdown(std::net::Shutdown::Write).unwrap();
                let part = read_part(&mut here);
                let _ = serving.join().unwrap();
                part
            });
            assert_eq!(told.unwrap().0, FAILED);
        }
    }
}
