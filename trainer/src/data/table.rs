//! Tables as people have them: CSV that a spreadsheet wrote in its country's way.
//!
//! Semicolons and tabs, UTF-16, Latin-1 and byte order marks, Windows' line ends, capitals and blanks in the header, and blank lines
//! have one plain meaning each; they are read, and what was read otherwise than written is told. Everything else (a line of
//! another length, a column that stands twice) is refused with its line.

use std::{fs, path::Path};

use serde::de::DeserializeOwned;

use super::{DataError, manifest::csv_reason};

/// The lines of a table.
pub(super) struct Table {
    header: csv::StringRecord,
    rows: Vec<(u64, csv::StringRecord)>,
}

impl Table {
    /// Reads a file; what had to be understood is added to `told`.
    pub(super) fn read(path: &Path, told: &mut Vec<String>) -> Result<Self, DataError> {
        let text = decoded(path, told)?;
        Self::parse(path, &text, 0, told)
    }

    /// Reads the text of the file `path`, of which `above` lines are no part of the table.
    pub(super) fn parse(path: &Path, text: &str, above: u64, told: &mut Vec<String>) -> Result<Self, DataError> {
        let failed = |line, reason: String| DataError::Table { path: path.to_owned(), line, reason };
        let first = text.lines().find(|line| !line.trim().is_empty());
        let first =
            first.ok_or_else(|| failed(0, "the table is empty; it needs a header and a line a picture".into()))?;
        let separator = separator(first);
        if separator != b',' {
            told.push(format!("{}: columns separated by {:?}", path.display(), char::from(separator)));
        }
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(separator)
            .flexible(true)
            .has_headers(false)
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let mut header: Option<csv::StringRecord> = None;
        let mut rows = vec![];
        // How far lines are counted: up to which byte, and which line is there.
        let (mut counted, mut line) = (0, 1 + above);
        for record in reader.records() {
            let record = record
                .map_err(|error| failed(error.position().map_or(0, csv::Position::line) + above, csv_reason(&error)))?;
            if record.iter().all(str::is_empty) {
                continue;
            }
            // The reader's own lines do not count blank ones, and lag behind.
            let begin = record.position().map_or(0, |position| position.byte() as usize).clamp(counted, text.len());
            let blank = text.as_bytes()[begin..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let passed = &text.as_bytes()[counted..begin + blank];
            line += passed.iter().filter(|&&byte| byte == b'\n').count() as u64;
            counted += passed.len();
            let Some(header) = &header else {
                let plain: csv::StringRecord = record.iter().map(plain_name).collect();
                if let Some(twice) = (1..plain.len()).find(|&i| plain.iter().take(i).any(|name| name == &plain[i])) {
                    return Err(failed(line, format!("the column `{}` stands twice; keep one", &plain[twice])));
                }
                let renamed = record.iter().zip(&plain).filter(|(written, plain)| written != plain);
                let renamed: Vec<String> = renamed.map(|(written, plain)| format!("`{written}` as {plain}")).collect();
                if !renamed.is_empty() {
                    told.push(format!("{}: column {}", path.display(), renamed.join(", ")));
                }
                header = Some(plain);
                continue;
            };
            if record.len() != header.len() {
                let reason = format!(
                    "{} fields, the header has {}; put a field with the separator in it into quotes",
                    record.len(),
                    header.len()
                );
                return Err(failed(line, reason));
            }
            rows.push((line, record));
        }
        Ok(Self { header: header.unwrap_or_default(), rows })
    }

    /// The columns' names, in small letters and with `_` for blanks.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.header.iter()
    }

    /// The place of the first column that is called one of `names`.
    pub(super) fn column(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.columns().position(|column| column == *name))
    }

    /// Every line's cells, with its number.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u64, &csv::StringRecord)> {
        self.rows.iter().map(|(line, cells)| (*line, cells))
    }

    /// Every line as a `T`, with its number.
    pub(super) fn rows<T: DeserializeOwned>(&self, path: &Path) -> Result<Vec<(u64, T)>, DataError> {
        let row = |(line, record): &(u64, csv::StringRecord)| match record.deserialize(Some(&self.header)) {
            Ok(row) => Ok((*line, row)),
            Err(error) => Err(DataError::Table { path: path.to_owned(), line: *line, reason: csv_reason(&error) }),
        };
        self.rows.iter().map(row).collect()
    }
}

/// `Patient ID` as `patient_id`.
fn plain_name(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '-'], "_")
}

/// What separates the columns of a header: what stands in it most often, and a comma where nothing does.
fn separator(header: &str) -> u8 {
    let count = |separator: u8| header.bytes().filter(|byte| *byte == separator).count();
    let most = [b',', b';', b'\t'].into_iter().rev().max_by_key(|&separator| count(separator));
    most.filter(|&separator| count(separator) > 0).unwrap_or(b',')
}

/// A file's text, whatever it is encoded in.
pub(super) fn decoded(path: &Path, told: &mut Vec<String>) -> Result<String, DataError> {
    let bytes = fs::read(path).map_err(|reason| DataError::Read { path: path.to_owned(), reason })?;
    let failed = |reason: &str| DataError::Table { path: path.to_owned(), line: 0, reason: reason.into() };
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks(2).map(|pair| <[u8; 2]>::try_from(pair).map_or(0xD800, unit));
        char::decode_utf16(units)
            .collect::<Result<String, _>>()
            .map_err(|_| failed("damaged UTF-16; save the table as UTF-8"))
    };
    match bytes.as_slice() {
        [0xEF, 0xBB, 0xBF, text @ ..] if std::str::from_utf8(text).is_ok() => {
            Ok(String::from_utf8_lossy(text).into_owned())
        }
        [0xFF, 0xFE, text @ ..] => {
            told.push(format!("{}: read as UTF-16", path.display()));
            utf16(text, u16::from_le_bytes)
        }
        [0xFE, 0xFF, text @ ..] => {
            told.push(format!("{}: read as UTF-16", path.display()));
            utf16(text, u16::from_be_bytes)
        }
        text if text.contains(&0) => Err(failed("no text: it has bytes of value 0; save the table as UTF-8")),
        text => match std::str::from_utf8(text) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => {
                told.push(format!("{}: no UTF-8, read as Latin-1", path.display()));
                Ok(text.iter().map(|&byte| char::from(byte)).collect())
            }
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Row {
        file: String,
        patient_id: String,
    }

    type Lines = Vec<(u64, Row)>;

    fn read(bytes: &[u8]) -> (Result<Lines, String>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        fs::write(&path, bytes).unwrap();
        let mut told = vec![];
        let rows = Table::read(&path, &mut told).and_then(|table| table.rows(&path));
        (rows.map_err(|error| error.to_string()), told)
    }

    #[test]
    fn every_way_of_writing_a_table_reads_alike() {
        let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(bytes).collect()
        };
        let plain = "file,patient_id\na.png,p1\nb.png,Hôpital 2\n";
        let expected = vec![
            (2, Row { file: "a.png".into(), patient_id: "p1".into() }),
            (3, Row { file: "b.png".into(), patient_id: "Hôpital 2".into() }),
        ];
        for (bytes, says) in [
            (plain.as_bytes().to_vec(), ""),
            (format!("\u{FEFF}{plain}").into_bytes(), ""),
            (plain.replace('\n', "\r\n").into_bytes(), ""),
            (plain.replace(',', ";").into_bytes(), "';'"),
            (plain.replace(',', "\t").into_bytes(), "'\\t'"),
            (plain.replace(',', " , ").into_bytes(), ""),
            (
                plain.replace("file,patient_id", " File ,Patient ID").into_bytes(),
                "column `File` as file, `Patient ID` as patient_id",
            ),
            (utf16(plain, u16::to_le_bytes), "UTF-16"),
            (utf16(plain, u16::to_be_bytes), "UTF-16"),
            (plain.chars().map(|c| c as u8).collect(), "Latin-1"),
            (format!("{plain}\n,\n\n").into_bytes(), ""),
        ] {
            let (rows, told) = read(&bytes);
            assert_eq!(rows.unwrap(), expected, "{told:?}");
            assert_eq!(told.is_empty(), says.is_empty(), "{told:?}");
            assert!(told.concat().contains(says), "{told:?}");
        }
        let blank = read(b"file,patient_id\n\n\na.png,p1\n,\nb.png,p2\n").0.unwrap();
        assert_eq!(blank.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4, 6]);
    }

    #[test]
    fn a_long_table_is_read_once() {
        let mut table = String::from("file,patient_id\n");
        let name = "x".repeat(80);
        (0..60_000).for_each(|i| table += &format!("{name}{i}.png,p{i}\n\n"));
        let begun = std::time::Instant::now();
        let rows = read(table.as_bytes()).0.unwrap();
        let took = begun.elapsed();
        assert_eq!(rows.last().map(|(line, _)| *line), Some(120_000), "blank lines count");
        assert!(took.as_secs() < 5, "{took:?}");
    }

    #[test]
    fn what_has_no_plain_meaning_is_refused_with_its_line() {
        for (bytes, words) in [
            (&b""[..], "empty"),
            (b"\n\n", "empty"),
            (b"file,patient_id\na.png,p1\nb.png\n", "line 3: 1 fields, the header has 2"),
            (b"file,File\na,b\n", "`file` stands twice"),
            (b"file,patient\na,b\n", "patient_id"),
            (b"file,patient_id\na\0,b\n", "no text"),
            (b"\xFF\xFEf", "damaged UTF-16"),
        ] {
            let error = read(bytes).0.unwrap_err();
            assert!(error.contains(words) && error.contains("table.csv"), "{error}");
        }
    }
}
