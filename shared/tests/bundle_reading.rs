//! A bundle is read back as it was written, and anything else is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bundle_sample;

use bundle_sample::{PARTS, bundle, extension_fields, fields, frame, frame_of, key, manifest, name, trusted};
use proptest::prelude::*;
use thorax_shared::bundle::{
    Bundle, BundleError, Extension, FORMAT_VERSION, Limits, Manifest, PartKind, PartSource, SecretKey, TrustedKeys,
    inspect_untrusted, write,
};
use thorax_shared::calibration::ProbabilityMap;
use thorax_shared::decision::RuleError;
use thorax_shared::lesions::LesionEvidence;
use thorax_shared::preprocess::PreprocessError;
use thorax_shared::preprocess::spec::{Clahe, Core, Equalisation, Window};

const LUNGS: Core = Core::Lungs { margin: 0.05 };

fn read(bytes: &[u8]) -> Result<Bundle<'_>, BundleError> {
    Bundle::read(bytes, &trusted(), &Limits::default())
}

fn refusal(bytes: &[u8]) -> BundleError {
    match read(bytes) {
        Ok(_) => panic!("was read"),
        Err(error) => error,
    }
}

#[test]
fn what_is_written_is_read() {
    let bytes = bundle();
    let bundle = read(&bytes).unwrap();
    assert_eq!(*bundle.manifest(), manifest());
    assert_eq!(*bundle.signer(), key().public_key());
    assert_eq!(bundle.parts().len(), PARTS.len());
    for ((entry, read), written) in bundle.parts().zip(&PARTS) {
        assert_eq!((entry.name.as_str(), entry.kind, read), (written.name, written.kind, written.bytes));
        assert!(bytes.as_ptr_range().contains(&read.as_ptr()), "a part was copied");
    }
    assert_eq!(bundle.classifier_graph(), b"graph 1");
    assert_eq!(bundle.segmenter_graph(), Some(&b"graph 2"[..]));
    assert_eq!(bundle.card(), Some("# Card\n"));
    assert_eq!(bundle.part("nothing"), None);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let mut bytes = bundle();
    for index in 0..bytes.len() {
        for bit in 0..8 {
            bytes[index] ^= 1 << bit;
            assert!(read(&bytes).is_err(), "bit {bit} of byte {index}");
            // The key is part of what is checked even where nobody has to trust it.
            let inspected = inspect_untrusted(&bytes, &Limits::default());
            assert!(inspected.is_err(), "bit {bit} of byte {index}");
            bytes[index] ^= 1 << bit;
        }
    }
    assert!(read(&bytes).is_ok());
}

#[test]
fn every_truncation_is_noticed_as_one() {
    let bytes = bundle();
    for length in 0..bytes.len() {
        let BundleError::Truncated { expected, found } = refusal(&bytes[..length]) else {
            panic!("{length} bytes: {}", refusal(&bytes[..length]));
        };
        assert!(found == length as u64 && expected > found && expected <= bytes.len() as u64);
    }
}

#[test]
fn appended_bytes_are_noticed() {
    let mut bytes = bundle();
    bytes.push(0);
    assert_eq!(refusal(&bytes), BundleError::TrailingBytes { extra: 1 });
}

#[test]
fn other_files_and_versions_are_named() {
    assert_eq!(refusal(b"PK\x03\x04 and so on"), BundleError::NotABundle);
    let mut bytes = bundle();
    bytes[6..8].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
    let error = refusal(&bytes);
    assert_eq!(error, BundleError::UnsupportedVersion { found: 3, supported: 2 });
    assert!(error.to_string().contains("version 3") && error.to_string().contains("version 2"), "{error}");
    // The version is looked at before anything that a newer version may have moved.
    assert_eq!(refusal(b"THORAX\x03\x00"), error);
}

#[test]
fn a_strangers_bundle_is_refused_but_can_be_inspected() {
    let stranger = SecretKey::from_seed(&mut [9; 32]);
    let bytes = write(manifest(), &PARTS, &stranger).unwrap();
    let fingerprint = stranger.public_key().fingerprint();
    let error = refusal(&bytes);
    assert_eq!(error, BundleError::UnknownKey { fingerprint });
    assert!(error.to_string().contains(&fingerprint.to_string()));
    let inspection = inspect_untrusted(&bytes, &Limits::default()).unwrap();
    assert_eq!((inspection.signer, inspection.manifest), (stranger.public_key(), manifest()));
    assert_eq!(inspection.parts.len(), PARTS.len());
    let both = format!("{} ours\n{} theirs", key().public_key(), stranger.public_key());
    assert!(Bundle::read(&bytes, &TrustedKeys::parse(&both).unwrap(), &Limits::default()).is_ok());
    assert!(Bundle::read(&bytes, &TrustedKeys::default(), &Limits::default()).is_err());
}

#[test]
fn a_strangers_signature_does_not_pass_under_a_trusted_key() {
    let stranger = SecretKey::from_seed(&mut [9; 32]);
    let mut bytes = write(manifest(), &PARTS, &stranger).unwrap();
    let at = bytes.len() - 96;
    bytes[at..at + 32].copy_from_slice(key().public_key().as_bytes());
    assert_eq!(refusal(&bytes), BundleError::BadSignature);
}

#[test]
fn an_altered_part_is_named() {
    let mut bytes = bundle();
    let at = bytes.len() - 96 - 1;
    bytes[at] ^= 1;
    assert_eq!(refusal(&bytes), BundleError::PartAltered { name: name("card.md") });
}

#[test]
fn limits_hold_for_the_file_and_for_what_its_header_says() {
    let bytes = bundle();
    let limited = |bytes, limits| Bundle::read(bytes, &trusted(), &limits).map(|_| ()).unwrap_err();
    let default = Limits::default();
    let size = bytes.len() as u64;
    assert_eq!(
        limited(&bytes, Limits { file_bytes: size - 1, ..default }),
        BundleError::TooLarge { bytes: size, limit: size - 1 }
    );
    assert!(matches!(
        limited(&bytes, Limits { manifest_bytes: 100, ..default }),
        BundleError::ManifestTooLarge { limit: 100, .. }
    ));
    let header = |manifest: u32, parts: u64| {
        [&b"THORAX\x02\x00"[..], &manifest.to_le_bytes(), &parts.to_le_bytes(), &[0; 96]].concat()
    };
    assert!(matches!(refusal(&header(0, u64::MAX)), BundleError::TooLarge { bytes: u64::MAX, .. }));
    assert!(matches!(refusal(&header(u32::MAX, 0)), BundleError::ManifestTooLarge { .. }));
    assert!(matches!(refusal(&header(0, 0)), BundleError::UnknownKey { .. }));
}

/// What cannot be written is signed by hand here, as a faulty or hostile signer would.
fn encoded() -> Vec<u8> {
    fields().into_iter().flat_map(|(_, bytes)| bytes).collect()
}

/// The sample with the encoding of one field exchanged.
fn with_field(meaning: &str, replacement: &[u8]) -> Vec<u8> {
    let mut found = false;
    let manifest: Vec<u8> = fields()
        .into_iter()
        .flat_map(|(field, bytes)| {
            let hit = field.starts_with(meaning);
            found |= hit;
            if hit { replacement.to_vec() } else { bytes }
        })
        .collect();
    assert!(found, "no field {meaning}");
    frame(&manifest, b"graph 1graph 2graph 3# Card\n")
}

#[test]
fn the_second_writer_agrees_with_the_first() {
    assert_eq!(frame(&encoded(), b"graph 1graph 2graph 3# Card\n"), bundle());
}

#[test]
fn signed_nonsense_is_refused_all_the_same() {
    assert_eq!(refusal(&frame(&[], &[])), BundleError::MalformedManifest);
    assert_eq!(refusal(&frame(&[&encoded()[..], &[0]].concat(), &[])), BundleError::MalformedManifest);
    assert_eq!(refusal(&frame(&encoded(), b"graph 1")), BundleError::PartLengths);
    assert_eq!(refusal(&frame(&encoded(), b"graph 1graph 2graph 3# Card\n!")), BundleError::PartLengths);
    assert_eq!(refusal(&with_field("parts[1].length", &[0xff; 10])), BundleError::MalformedManifest);
    let longest = postcard::to_allocvec(&u64::MAX).unwrap();
    assert_eq!(refusal(&with_field("parts[1].length", &longest)), BundleError::PartLengths);
    assert_eq!(refusal(&with_field("parts[0].kind", &[2])), missing("classifier", "classifier.onnx"));
    assert_eq!(refusal(&with_field("parts[0].kind", &[3])), BundleError::MalformedManifest);
    let nan = f32::NAN.to_le_bytes();
    assert!(matches!(refusal(&with_field("decision.novelty_reject", &nan)), BundleError::Decision(_)));
    assert_eq!(invalid(refusal(&with_field("calibration.temperature", &nan))), "calibration.temperature");
    assert_eq!(invalid(refusal(&with_field("quality.min_contrast", &nan))), "quality");
}

fn missing(role: &'static str, part: &str) -> BundleError {
    BundleError::MissingPart { role, name: name(part) }
}

#[track_caller]
fn invalid(error: BundleError) -> &'static str {
    match error {
        BundleError::InvalidManifest { field, .. } | BundleError::Preprocess { role: field, .. } => field,
        other => panic!("{other}"),
    }
}

#[test]
fn parts_have_to_be_there_once_and_be_plain_files() {
    let write = |parts: &[PartSource<'_>]| write(manifest(), parts, &key()).unwrap_err();
    assert_eq!(write(&PARTS[1..]), missing("classifier", "classifier.onnx"));
    assert_eq!(write(&PARTS[..1]), missing("segmenter", "segmenter.onnx"));
    let card = PartSource { kind: PartKind::Card, ..PARTS[0] };
    assert_eq!(write(&[card, PARTS[1]]), missing("classifier", "classifier.onnx"));
    assert_eq!(write(&[PARTS[0], PARTS[1], PARTS[0]]), BundleError::DuplicatePart { name: name("classifier.onnx") });
    let long = "x".repeat(65);
    for name in ["", ".hidden", "../escape", "a/b", "a\\b", "a b", "é", &long] {
        assert_eq!(invalid(write(&[PARTS[0], PARTS[1], PartSource { name, ..PARTS[2] }])), "parts", "{name}");
    }
    let names: Vec<String> = (0..63).map(|i| format!("part-{i}")).collect();
    let many: Vec<PartSource<'_>> =
        PARTS[..2].iter().copied().chain(names.iter().map(|name| PartSource { name, ..PARTS[2] })).collect();
    assert_eq!(invalid(write(&many)), "parts");
}

#[test]
fn manifests_out_of_range_are_neither_written_nor_read() {
    type Change = fn(&mut Manifest);
    let cases: [(&str, Change); 49] = [
        ("name", |m| m.name.clear()),
        ("name", |m| m.name = "\u{1b}[31mred".into()),
        ("version", |m| m.version = "1".repeat(257)),
        ("created_unix_s", |m| m.created_unix_s = u64::MAX),
        ("class_names", |m| m.class_names[0] = m.class_names[1].clone()),
        ("class_names", |m| m.class_names[0].clear()),
        ("classifier.members", |m| m.classifier.members = 0),
        ("classifier", |m| m.classifier.graph.outputs.clear()),
        ("classifier", |m| m.classifier.graph.input.clear()),
        ("classifier", |m| m.classifier.graph.preprocess.input_side = 0),
        ("classifier", |m| m.classifier.graph.preprocess.input_side = 15),
        ("classifier", |m| m.classifier.graph.preprocess.working_side = 15),
        ("classifier", |m| m.classifier.graph.preprocess.working_side = 100_000),
        ("classifier", |m| m.classifier.graph.preprocess.window = Window::Hounsfield { center: 0.0, width: 0.0 }),
        ("classifier", |m| m.classifier.graph.preprocess.window = Window::Quantiles { low: 0.9, high: 0.1 }),
        ("classifier", |m| {
            m.classifier.graph.preprocess.clahe =
                Equalisation::Always(Clahe { clip_limit: 2.0, tiles_x: 0, tiles_y: 8 });
        }),
        ("classifier", |m| {
            m.classifier.graph.preprocess.clahe =
                Equalisation::Always(Clahe { clip_limit: f64::NAN, tiles_x: 8, tiles_y: 8 });
        }),
        ("classifier", |m| {
            let clahe = Clahe { clip_limit: 0.0, tiles_x: 8, tiles_y: 8 };
            m.classifier.graph.preprocess.clahe = Equalisation::Once { clahe, done_from: 0.8 };
        }),
        ("classifier", |m| {
            let clahe = Clahe { clip_limit: 2.0, tiles_x: 8, tiles_y: 8 };
            m.classifier.graph.preprocess.clahe = Equalisation::Once { clahe, done_from: 1.5 };
        }),
        ("classifier", |m| m.classifier.graph.preprocess.normalise.mean.push(0.5)),
        ("classifier", |m| m.classifier.graph.preprocess.normalise.std = vec![0.0]),
        ("segmenter", |m| m.segmenter.as_mut().unwrap().graph.preprocess.normalise.mean = vec![f32::INFINITY]),
        ("segmenter.channels", |m| m.segmenter.as_mut().unwrap().channels.clear()),
        ("segmenter.preprocess.core", |m| m.segmenter.as_mut().unwrap().graph.preprocess.core = LUNGS),
        ("segmenter.preprocess.core", |m| {
            m.segmenter.as_mut().unwrap().graph.preprocess.core = Core::LungsAlone { margin: 0.05, fade: 0.07 }
        }),
        ("classifier.preprocess.core", |m| {
            m.segmenter = None;
            m.classifier.graph.preprocess.core = LUNGS;
        }),
        ("classifier.preprocess.core", |m| {
            m.segmenter.as_mut().unwrap().channels[0] = name("heart");
            m.classifier.graph.preprocess.core = LUNGS;
        }),
        ("classifier.preprocess.core", |m| {
            m.segmenter.as_mut().unwrap().channels.remove(1);
            m.classifier.graph.preprocess.core = LUNGS;
        }),
        ("segmenter.mask_threshold", |m| m.segmenter.as_mut().unwrap().mask_threshold = f32::NAN),
        ("quality", |m| m.quality.min_sharpness = f32::NAN),
        ("quality", |m| m.quality.max_aspect = -1.0),
        ("calibration.temperature", |m| m.calibration.temperature = 0.0),
        ("calibration.ece_after", |m| m.calibration.ece_after = 1.5),
        ("provenance.code_revision", |m| m.provenance.code_revision.clear()),
        ("provenance.inputs", |m| m.provenance.inputs[0].name = "\n".into()),
        ("lesions", |m| lesions(m).mean = f32::NAN),
        ("lesions", |m| lesions(m).weights[1] = f32::INFINITY),
        ("lesions.std", |m| lesions(m).std = 0.0),
        ("lesions.weights", |m| lesions(m).weights.truncate(3)),
        ("lesions", |m| m.segmenter.as_mut().unwrap().channels[0] = name("heart")),
        ("probability_map", |m| m.extension.probability_map = Some(ProbabilityMap::Isotonic(vec![]))),
        ("refusals.kind", |m| m.extension.refusals[0].kind.clear()),
        ("refusals.at", |m| m.extension.refusals[0].at = 1.5),
        ("refusals", |m| m.classifier.graph.outputs.truncate(3)),
        ("precisions", |m| {
            m.segmenter = None;
            m.extension.lesions = None;
        }),
        ("golden.entropy_bits", |m| m.extension.golden[0].entropy_bits = -0.1),
        ("golden.involvement_percent", |m| m.extension.golden[0].involvement_percent = Some(101.0)),
        ("teacher.auc", |m| m.extension.teacher.as_mut().unwrap().auc = f32::NAN),
        ("disease", |m| m.extension.disease.as_mut().unwrap().code.clear()),
    ];
    for (field, change) in cases {
        let mut manifest = manifest();
        change(&mut manifest);
        assert_eq!(invalid(manifest.validate().unwrap_err()), field);
        assert_eq!(invalid(write(manifest.clone(), &PARTS, &key()).unwrap_err()), field);
        // Signed all the same: the list of parts follows the manifest in the encoding.
        let mut encoding = postcard::to_allocvec(&manifest).unwrap();
        encoding.extend(fields().into_iter().skip_while(|(field, _)| field != "parts: count").flat_map(|(_, b)| b));
        assert_eq!(invalid(refusal(&frame(&encoding, b"graph 1graph 2graph 3# Card\n"))), field);
    }
    let mut of_lungs = manifest();
    of_lungs.classifier.graph.preprocess.core = LUNGS;
    let bytes = write(of_lungs.clone(), &PARTS, &key()).unwrap();
    assert_eq!(read(&bytes).unwrap().manifest(), &of_lungs);
    let alone = |fade| Core::LungsAlone { margin: 0.05, fade };
    of_lungs.classifier.graph.preprocess.core = alone(0.07);
    let bytes = write(of_lungs.clone(), &PARTS, &key()).unwrap();
    assert_eq!(read(&bytes).unwrap().manifest(), &of_lungs);
    of_lungs.classifier.graph.preprocess.core = alone(1.25);
    let error = write(of_lungs, &PARTS, &key()).unwrap_err();
    assert!(error.to_string().contains("core.fade is 1.25: take a share from 0 to 1"), "{error}");
    let mut tiled = manifest();
    tiled.segmenter.as_mut().unwrap().graph.preprocess.clahe =
        Equalisation::Always(Clahe { clip_limit: 2.0, tiles_x: 65, tiles_y: 8 });
    let error = write(tiled, &PARTS, &key()).unwrap_err();
    assert_eq!(error, BundleError::Preprocess { role: "segmenter", error: PreprocessError::Tiles { x: 65, y: 8 } });
    assert_eq!(
        error.to_string(),
        "manifest: segmenter: a CLAHE grid of 65 x 8 tiles: take 1 to 64 a side, and write the bundle again"
    );
    let mut crossed = manifest();
    crossed.decision.positive_at = 0.1;
    let error = write(crossed, &PARTS, &key()).unwrap_err();
    assert!(matches!(error, BundleError::Decision(RuleError::Thresholds { .. })));
}

fn lesions(manifest: &mut Manifest) -> &mut LesionEvidence {
    manifest.extension.lesions.as_mut().unwrap()
}

#[test]
fn version_1_is_read_and_says_nothing_of_what_came_later() {
    let first: Vec<u8> = {
        let later = extension_fields();
        let fields = fields();
        let at = fields.iter().position(|field| field.0 == later[0].0).unwrap();
        let rest = &fields[at + later.len()..];
        fields[..at].iter().chain(rest).flat_map(|(_, bytes)| bytes.clone()).collect()
    };
    let bytes = frame_of(1, &first, b"graph 1graph 2graph 3# Card\n");
    let bundle = read(&bytes).unwrap();
    assert_eq!(bundle.manifest(), &Manifest { extension: Extension::default(), ..manifest() });
    assert_eq!(bundle.card(), Some("# Card\n"));
    // What one version says is not what the other says.
    assert_eq!(refusal(&frame_of(2, &first, b"graph 1graph 2graph 3# Card\n")), BundleError::MalformedManifest);
    assert_eq!(refusal(&frame_of(1, &encoded(), b"graph 1graph 2graph 3# Card\n")), BundleError::MalformedManifest);
}

#[test]
fn a_graph_in_another_precision_has_to_be_there() {
    let error = write(manifest(), &[PARTS[0], PARTS[1], PARTS[3]], &key()).unwrap_err();
    assert_eq!(error, missing("segmenter", "segmenter.int8.onnx"));
}

#[test]
fn a_manifest_survives_json() {
    let json = serde_json::to_string(&manifest()).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest());
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn any_signed_manifest_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(read(&frame(&bytes, &[])).is_err());
    }

    /// What a signer changes is either refused or makes sense.
    #[test]
    fn a_signed_mutation_is_refused_or_valid(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut manifest = encoded();
        for (index, byte) in changes {
            let index = index.index(manifest.len());
            manifest[index] = byte;
        }
        if let Ok(bundle) = read(&frame(&manifest, b"graph 1graph 2graph 3# Card\n")) {
            prop_assert!(bundle.manifest().validate().is_ok());
            prop_assert_eq!(bundle.classifier_graph(), b"graph 1");
        }
    }

    #[test]
    fn any_parts_survive(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6), seed in any::<u64>()) {
        let mut manifest = manifest();
        manifest.provenance.seed = seed;
        let names: Vec<String> = (0..contents.len()).map(|i| format!("extra-{i}")).collect();
        let extra = names.iter().zip(&contents).map(|(name, bytes)| PartSource { name, kind: PartKind::Other, bytes });
        let parts: Vec<PartSource<'_>> = PARTS.iter().copied().chain(extra).collect();
        let bytes = write(manifest.clone(), &parts, &key()).unwrap();
        let bundle = read(&bytes).unwrap();
        prop_assert_eq!(bundle.manifest(), &manifest);
        for part in &parts {
            prop_assert_eq!(bundle.part(part.name), Some(part.bytes));
        }
    }
}
