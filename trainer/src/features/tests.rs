//! Stores of a few numbers, whole, half-written and damaged.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

use half::f16;
use proptest::prelude::*;
use thorax_nets::{Backbone, Layout};
use thorax_shared::{preprocess::spec::Normalise, verdict::RejectReason};

use super::*;
use crate::data::{Split, recipe::preprocess_spec};

fn contents(rows: usize, unit: usize, dtype: Dtype) -> Contents {
    let preprocess = preprocess_spec(Modality::Ct, 224, Normalise { mean: vec![0.5; 3], std: vec![0.5; 3] });
    let rows = (0..rows)
        .map(|row| FeatureRow {
            path: format!("slices/{row:04}.png"),
            sha256: format!("{row:02x}").repeat(32),
            patient_id: format!("p{}", row / 2),
            group: format!("p{}", row / 2),
            source: "an example".into(),
            label: [Label::Positive, Label::Negative][row % 2],
            split: Split::ALL[row / 2 % 3],
            equalised: false,
            copy: 0,
        })
        .collect();
    Contents {
        format: FORMAT,
        program: "thorax-train 0.1.0".into(),
        backbone: Backbone::EfficientNetLite(0).into(),
        weights: "random:1".into(),
        weights_sha256: "ab".repeat(32),
        layout: Some(Layout::Timm),
        device: "cpu".into(),
        dtype,
        unit,
        modality: Modality::Ct,
        preprocess_sha256: preprocess_sha256(&preprocess),
        preprocess,
        quality: QualityLimits::default(),
        lungs_sha256: None,
        manifest_sha256: "cd".repeat(32),
        copies: 0,
        copies_seed: None,
        rows,
    }
}

/// Number `column` of row `row`: exact in half precision.
fn value(row: usize, column: usize) -> f32 {
    ((row * 31 + column * 7) % 512) as f32 / 4.0 - 30.0
}

fn state(row: usize) -> State {
    if row % 5 == 2 { State::Refused(RejectReason::Blurred) } else { State::Extracted }
}

/// Writes a unit of the numbers above.
fn write(writer: &StoreWriter, unit: usize, columns: usize) {
    let rows: Vec<(State, Vec<u8>)> = writer
        .unit(unit)
        .map(|row| {
            let values = (0..columns).map(|column| value(row, column));
            let bytes = match writer.contents().dtype {
                Dtype::F16 => values.flat_map(|v| f16::from_f32(v).to_le_bytes()).collect(),
                Dtype::F32 => values.flat_map(f32::to_le_bytes).collect(),
            };
            (state(row), bytes)
        })
        .collect();
    let rows: Vec<WrittenRow> = rows.iter().map(|(state, bytes)| WrittenRow { state: *state, bytes }).collect();
    writer.write(unit, &rows).unwrap();
}

fn unfinished(path: &Path, contents: &Contents, shape: [usize; 3]) -> StoreWriter {
    match StoreWriter::open(path, contents, shape).unwrap() {
        Opened::Unfinished(writer) => writer,
        Opened::Finished(_) => panic!("{} is whole already", path.display()),
    }
}

fn error_of(path: &Path, contents: &Contents, shape: [usize; 3]) -> String {
    StoreWriter::open(path, contents, shape).err().map_or_else(|| panic!("no error"), |error| error.to_string())
}

/// A whole store, its units written in their order.
fn made(path: &Path, contents: &Contents, shape: [usize; 3]) -> FeatureStore {
    let writer = unfinished(path, contents, shape);
    let columns = shape.iter().product();
    writer.pending().to_vec().into_iter().for_each(|unit| write(&writer, unit, columns));
    writer.finish().unwrap()
}

#[test]
fn what_is_written_is_read_in_both_types() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in [Dtype::F16, Dtype::F32] {
        let path = folder.path().join(format!("{dtype}.features"));
        let contents = contents(7, 3, dtype);
        let store = made(&path, &contents, [4, 3, 2]);
        store.verify().unwrap();
        assert_eq!((store.rows(), store.columns(), store.shape()), (7, 24, [4, 3, 2]));
        assert_eq!(store.contents(), &contents);
        for row in 0..7 {
            assert_eq!(store.state(row), state(row));
            let mut values = vec![0.0; 24];
            store.row(row).write_f32(&mut values);
            assert_eq!(values, (0..24).map(|column| value(row, column)).collect::<Vec<_>>());
            let mut pooled = [0.0; 4];
            store.pooled(row, &mut pooled);
            let mean = |channel: usize| values[6 * channel..][..6].iter().sum::<f32>() / 6.0;
            assert!(pooled.iter().enumerate().all(|(channel, &p)| (p - mean(channel)).abs() < 1e-5));
        }
        let table = FeatureTable::pooled(&store, u16::MAX);
        assert_eq!(table.rows.len(), 6, "row 2 was refused");
        assert_eq!(table.rows[2].path, "slices/0003.png");

        // Any reader of safetensors understands it.
        let bytes = std::fs::read(&path).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let features = read.tensor("features").unwrap();
        assert_eq!(features.shape(), [7, 4, 3, 2]);
        assert_eq!(
            features.data().as_ptr() as usize - bytes.as_ptr() as usize,
            4096 * (1 + usize::from(bytes.len() > 8192))
        );
    }
}

#[test]
fn columns_are_those_of_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    // Neither rows nor columns divide by tiles, strips or bands.
    for (rows, shape, dtype) in
        [(37, [9, 31, 17], Dtype::F16), (5, [3, 1, 1], Dtype::F32), (70, [67, 2, 1], Dtype::F32)]
    {
        let columns: usize = shape.iter().product();
        let path = folder.path().join(format!("{rows}.features"));
        let store = made(&path, &contents(rows, 16, dtype), shape);
        for range in [0..columns, columns / 3..columns - columns / 5, 1..2, 2..2] {
            let seen = Mutex::new(BTreeMap::new());
            store.for_columns(range.clone(), |column, values| {
                assert!(seen.lock().unwrap().insert(column, values.to_vec()).is_none(), "column {column} came twice");
            });
            let seen = seen.into_inner().unwrap();
            assert_eq!(seen.keys().copied().collect::<Vec<_>>(), range.collect::<Vec<_>>());
            for (column, values) in seen {
                assert_eq!(values, (0..rows).map(|row| value(row, column)).collect::<Vec<_>>());
                let mut alone = vec![0.0; rows];
                store.column(column, &mut alone);
                assert_eq!(alone, values);
            }
        }
    }
}

#[test]
fn a_run_goes_on_from_wherever_it_was_stopped_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (contents, shape) = (contents(11, 4, Dtype::F16), [5, 2, 2]);
    let at = |name: &str| folder.path().join(name);
    made(&at("whole"), &contents, shape);
    let whole = std::fs::read(at("whole")).unwrap();

    let path = at("stopped");
    let partial = at("stopped.partial");
    let (pending, file) =
        (|| unfinished(&path, &contents, shape).pending().to_vec(), || std::fs::read(&partial).unwrap());
    assert_eq!(pending(), [0, 1, 2]);
    assert_eq!(file().len(), whole.len(), "the file has its size from the start");
    write(&unfinished(&path, &contents, shape), 1, 20);
    assert_eq!(pending(), [0, 2]);
    write(&unfinished(&path, &contents, shape), 2, 20);
    assert_eq!(pending(), [0]);
    let sound = file();

    // A power cut may leave states without all of their checksums or rows.
    let features = whole.len() - 11 * 40;
    let states = features - 4 * 11;
    for (at, what) in
        [(features + 6 * 40 + 3, "a row"), (states - 4 * 11 + 4 * 6, "a checksum"), (states + 4 * 6, "a state")]
    {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x40;
        std::fs::write(&partial, &damaged).unwrap();
        assert_eq!(pending(), [0, 1], "{what} of row 6");
    }
    // The process ended while it began: any part of the header may be there, its length is not.
    for kept in [0, 3, 8, 100, whole.len()] {
        let mut begun = whole[..kept].to_vec();
        begun.iter_mut().take(8).for_each(|byte| *byte = 0);
        std::fs::write(&partial, begun).unwrap();
        assert_eq!(pending(), [0, 1, 2], "{kept} bytes");
    }
    let unfinished_error = unfinished(&path, &contents, shape).finish().err().unwrap().to_string();
    assert!(unfinished_error.contains("11 of 11 rows") && partial.exists(), "{unfinished_error}");

    std::fs::write(&partial, &sound).unwrap();
    let writer = unfinished(&path, &contents, shape);
    write(&writer, 0, 20);
    writer.finish().unwrap();
    assert!(!partial.exists());
    assert!(std::fs::read(&path).unwrap() == whole);
    assert!(matches!(StoreWriter::open(&path, &contents, shape).unwrap(), Opened::Finished(_)));
}

#[test]
fn features_of_two_kinds_are_not_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let shape = [1, 1, 2];
    let wanted = contents(4, 2, Dtype::F16);
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    made(&whole, &wanted, shape);
    write(&unfinished(&stopped, &wanted, shape), 0, 2);
    let before = std::fs::read(folder.path().join("stopped.partial")).unwrap();

    let mut other = Vec::new();
    let mut differ = |words: &'static str, change: &dyn Fn(&mut Contents)| {
        let mut contents = wanted.clone();
        change(&mut contents);
        other.push((words, contents));
    };
    differ("backbone is \"efficientnet-lite0\", not \"resnet50\"", &|c| c.backbone = Backbone::ResNet50.into());
    differ("weights_sha256 is", &|c| c.weights_sha256 = "00".repeat(32));
    differ("layout is", &|c| c.layout = Some(Layout::Keras));
    differ("device is \"cpu\", not \"cuda\"", &|c| c.device = "cuda".into());
    differ("dtype is \"f16\", not \"f32\"", &|c| c.dtype = Dtype::F32);
    differ("modality is \"ct\", not \"xray\"", &|c| c.modality = Modality::Xray);
    differ("preprocess has other values", &|c| c.preprocess.working_side = 256);
    differ("quality has other values", &|c| c.quality.min_side = 7);
    differ("manifest_sha256 is", &|c| c.manifest_sha256 = "00".repeat(32));
    differ("slices/0001.png has other words", &|c| c.rows[1].sha256 = "00".repeat(32));
    differ("it has 4 pictures", &|c| drop(c.rows.pop()));
    for (words, contents) in &other {
        for path in [&whole, &stopped] {
            let error = error_of(path, contents, shape);
            assert!(error.contains(words) && error.contains(path.to_str().unwrap()), "{words}: {error}");
            assert!(error.contains("give another name, or delete it"), "{error}");
        }
    }
    // The bytes of units that are still to come depend on these; those of a whole store do not any more.
    for (words, change) in [
        ("unit is 2, not 3", (|c| c.unit = 3) as fn(&mut Contents)),
        ("program is", |c| c.program = "thorax-train 99".into()),
    ] {
        let mut contents = wanted.clone();
        change(&mut contents);
        let error = error_of(&stopped, &contents, shape);
        assert!(error.contains(words), "{error}");
        assert!(matches!(StoreWriter::open(&whole, &contents, shape).unwrap(), Opened::Finished(_)));
    }
    // Nor does it matter where the same weights came from.
    let moved = Contents { weights: "elsewhere".into(), ..wanted.clone() };
    assert_eq!(unfinished(&stopped, &moved, shape).pending(), [1]);
    assert!(std::fs::read(folder.path().join("stopped.partial")).unwrap() == before, "a refusal changes nothing");
}

#[test]
fn one_process_writes_and_none_reads_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.features");
    let (contents, shape) = (contents(2, 2, Dtype::F32), [1, 1, 1]);
    let writer = unfinished(&path, &contents, shape);
    let error = error_of(&path, &contents, shape);
    assert!(error.contains("another process is writing") && error.contains("a.features.partial"), "{error}");
    let error = FeatureStore::open(writer.partial()).err().unwrap().to_string();
    assert!(error.contains("2 of 2 rows are not extracted"), "{error}");
    drop(writer);
    unfinished(&path, &contents, shape);

    // Something else under the name is left alone.
    for name in [path.clone(), folder.path().join("a.features.partial")] {
        std::fs::write(&name, "notes on patients").unwrap();
        let error = error_of(&path, &contents, shape);
        assert!(error.contains("no feature store") && error.contains(name.to_str().unwrap()), "{error}");
        assert_eq!(std::fs::read(&name).unwrap(), b"notes on patients");
        std::fs::remove_file(name).unwrap();
    }
    let nowhere = Path::new("/dev/null/a.features");
    assert!(error_of(nowhere, &contents, shape).contains("/dev/null"));
    let missing = FeatureStore::open(&folder.path().join("missing")).err().unwrap().to_string();
    assert!(missing.contains("missing"), "{missing}");
}

/// The bytes of a small store.
fn sample() -> &'static [u8] {
    static SAMPLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    SAMPLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample");
        made(&path, &contents(5, 2, Dtype::F16), [3, 2, 2]);
        std::fs::read(&path).unwrap()
    })
}

/// What opening these bytes gives; where it opens, everything can be asked.
fn opened(bytes: &[u8]) -> Result<FeatureStore, FeatureError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let store = FeatureStore::open(file.path())?;
    let mut pooled = vec![0.0; store.shape()[0]];
    for row in 0..store.rows() {
        store.state(row);
        store.pooled(row, &mut pooled);
    }
    store.for_columns(0..store.columns(), |_, values| assert_eq!(values.len(), store.rows()));
    Ok(store)
}

/// The sample with another header, its length told truly, followed by the same data.
fn with_header(change: impl Fn(&str) -> String) -> Vec<u8> {
    let end = 8 + u64::from_le_bytes(sample()[..8].try_into().unwrap()) as usize;
    let before = std::str::from_utf8(&sample()[8..end]).unwrap();
    let text = change(before);
    assert_ne!(text, before);
    [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &sample()[end..]].concat()
}

#[test]
fn a_header_that_lies_is_refused() {
    assert!(opened(sample()).unwrap().verify().is_ok());
    let replaced = |from: &'static str, to: &'static str| with_header(move |text| text.replace(from, to));
    for (lie, words) in [
        (replaced("[5,3,2,2]", "[5,3,2,3]"), "its tensors are not"),
        (replaced("[5,3,2,2]", "[5,18446744073709551615,2,2]"), "its tensors are not"),
        (replaced("[5,3,2,2]", "[5,4294967296,4294967296,4]"), "its tensors are not"),
        (replaced("[5,3,2,2]", "[5,0,2,2]"), "without numbers"),
        (replaced("[5,3,2,2]", "[5,12]"), "not [N, C, H, W]"),
        (replaced("\"data_offsets\":[20,40]", "\"data_offsets\":[0,40]"), "its tensors are not"),
        (replaced("\"data_offsets\":[40,160]", "\"data_offsets\":[40,1000000000160]"), "its tensors are not"),
        (replaced("\"dtype\":\"F16\"", "\"dtype\":\"F32\""), "its tensors are not"),
        (replaced("\\\"dtype\\\":\\\"f16\\\"", "\\\"dtype\\\":\\\"f32\\\""), "its tensors are not"),
        (replaced("\\\"unit\\\":2", "\\\"unit\\\":0"), "no rows"),
        (replaced("\\\"format\\\":1", "\\\"format\\\":2"), "format 2"),
        (replaced("efficientnet-lite0", "efficientnet-lite9"), "efficientnet-lite9"),
        (replaced("\"thorax\"", "\"thorac\""), "no `thorax`"),
        (with_header(|text| format!("{text}        ")), "begins no page"),
    ] {
        let error = opened(&lie).err().unwrap().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    // Lengths of the header that would be allocated if they were believed.
    for length in [0, 1 << 30, u64::MAX, u64::MAX - 7, sample().len() as u64] {
        let lie = [&length.to_le_bytes(), &sample()[8..]].concat();
        let error = opened(&lie).err().unwrap().to_string();
        assert!(error.contains("a header of"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_cut_or_longer_file_is_refused(cut in 0..sample().len(), more in 1usize..5000) {
        prop_assert!(opened(&sample()[..cut]).is_err());
        prop_assert!(opened(&[sample(), &vec![0; more]].concat()).is_err());
    }

    /// Whatever bit turns: the file is refused, or tells that a row is wrong, or only its words have changed.
    #[test]
    fn a_turned_bit_never_panics_and_never_changes_a_number_unseen(byte in 0..sample().len(), bit in 0..8) {
        let mut bytes = sample().to_vec();
        bytes[byte] ^= 1u8 << bit;
        if let Ok(store) = opened(&bytes) {
            let data = sample().len() - 5 * 24 - 8 * 5;
            let (checksums, states) = (data..data + 20, data + 20..data + 40);
            prop_assert_eq!(store.verify().is_err(), checksums.contains(&byte) || byte >= states.end);
            prop_assert!(byte >= 8, "another length of the header");
        }
    }

    #[test]
    fn any_text_for_a_header(text in "\\PC{0,200}", length in any::<u64>()) {
        prop_assert!(opened(text.as_bytes()).is_err());
        let header = [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
        prop_assert!(opened(&header).is_err());
        prop_assert!(opened(&[&length.to_le_bytes(), &sample()[8..100]].concat()).is_err());
    }
}

const BEGIN: &str = "<!-- example: written by src/features/tests.rs -->\n";
const END: &str = "<!-- end of example -->";

/// A store of two pictures with four numbers each, as the specification shows it.
fn example() -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("example.features");
    made(&path, &contents(2, 16, Dtype::F16), [2, 1, 2]);
    let file = std::fs::read(&path).unwrap();
    let header_end = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let json: serde_json::Value = serde_json::from_slice(&file[8..header_end]).unwrap();
    let about: serde_json::Value = serde_json::from_str(json["__metadata__"]["thorax"].as_str().unwrap()).unwrap();
    let text = std::str::from_utf8(&file[8..header_end]).unwrap().trim_end();
    let words = serde_json::to_string(json["__metadata__"]["thorax"].as_str().unwrap()).unwrap();

    let mut out = String::from("```text\n");
    let mut line = |at: usize, bytes: &[u8], meaning: &str| {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "{at:04x}  {:<23}  {meaning}", hex.join(" ")).unwrap();
    };
    line(0, &file[..8], &format!("length of the header: {}", header_end - 8));
    line(8, &file[8..16], &format!("the header: {} bytes of JSON", text.len()));
    line(8 + text.len(), &file[8 + text.len()..][..8], "spaces, up to checksum");
    let checksum = header_end;
    for row in 0..2 {
        line(checksum + 4 * row, &file[checksum + 4 * row..][..4], &format!("checksum of row {row}"));
    }
    let state = checksum + 8;
    for row in 0..2 {
        line(state + 4 * row, &file[state + 4 * row..][..4], &format!("state of row {row}: extracted"));
    }
    let features = state + 8;
    assert_eq!(features, 4096);
    for row in 0..2 {
        let values: Vec<String> = (0..4).map(|column| value(row, column).to_string()).collect();
        line(features + 8 * row, &file[features + 8 * row..][..8], &format!("row {row}: {}", values.join(", ")));
    }
    assert_eq!(file.len(), features + 16);
    writeln!(out, "```\n\nIts header, `...` standing for the contents:\n\n```json").unwrap();
    writeln!(out, "{}\n```\n\nIts contents:\n\n```json", text.replace(&words, "\"...\"")).unwrap();
    writeln!(out, "{}\n```", serde_json::to_string_pretty(&about).unwrap()).unwrap();
    out
}

#[test]
fn the_example_in_the_specification_is_true() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/FEATURES.md"));
    let spec = std::fs::read_to_string(&path).unwrap();
    let begin = spec.find(BEGIN).unwrap() + BEGIN.len();
    let end = spec.find(END).unwrap();
    let example = example();
    if std::env::var_os("THORAX_WRITE_SPEC").is_some() {
        std::fs::write(path, format!("{}{example}{}", &spec[..begin], &spec[end..])).unwrap();
    } else {
        assert_eq!(&spec[begin..end], example, "FEATURES.md is out of date: run with THORAX_WRITE_SPEC=1");
    }
}

#[test]
fn every_state_has_a_number_of_its_own() {
    let states: Vec<State> = (0..12).map(|code| State::from_code(code).unwrap()).collect();
    states.iter().enumerate().for_each(|(code, state)| assert_eq!(state.code() as usize, code));
    assert!(State::from_code(12).is_none() && State::from_code(u32::MAX).is_none());
}
