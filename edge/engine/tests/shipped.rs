//! The shipped bundles on phantoms: what a screening is as a value, and how often graphs run for it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::path::{Path, PathBuf};

use thorax_decode::{Frame, Limits, Study, decode};
use thorax_engine::{
    graph::{Graph, Kernels},
    model::Model,
    screening::{Screener, Screening, Slices, read},
    trust::trusted_keys,
};
use thorax_phantom::{Format, ModalityChoice, PhantomArgs, generate_files};
use thorax_shared::bundle::{self, Bundle};

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

fn screener(modalities: &[&str]) -> Screener {
    let paths: Vec<PathBuf> = modalities.iter().map(|m| models().join(format!("{m}/thorax-{m}.thorax"))).collect();
    Screener::open(&paths, &trusted_keys(None).unwrap()).unwrap()
}

/// A phantom of each kind: a film and a slice as PNG, which say nothing of their modality, and the slice's volume.
fn phantoms(folder: &Path) -> [Study; 3] {
    let args = PhantomArgs {
        out: folder.to_owned(),
        count: 1,
        seed: 7,
        modality: ModalityChoice::Both,
        size: Some(256),
        formats: vec![Format::Png, Format::Nifti],
    };
    generate_files(&args).unwrap();
    ["xray_0000_positive.png", "ct_0000_positive.png", "ct_0000_positive.nii.gz"]
        .map(|name| decode(&folder.join(format!("phantom_{name}")), &Limits::default()).unwrap())
}

fn frame(study: &Study) -> &Frame {
    match study {
        Study::Image(frame) => frame,
        Study::Volume(_) => panic!("a volume"),
    }
}

fn runs(screener: &Screener) -> u64 {
    screener.models().iter().map(Model::runs).sum()
}

#[test]
fn recognising_a_picture_is_part_of_reading_it() {
    let folder = tempfile::tempdir().unwrap();
    let [film, slice, _] = phantoms(folder.path());
    let both = screener(&["xray", "ct"]);
    for study in [film, slice] {
        let frame = frame(&study);
        assert_eq!(frame.modality, None, "a PNG does not say what it is");
        let start = runs(&both);
        let (screening, _) = both.screen(&study, None, 0, |_, _| ()).unwrap();
        let recognised = runs(&both) - start;

        // The same bundle told, and only it.
        let model = both.model(screening.bundle.modality).unwrap();
        let start = model.runs();
        let (reading, _) = read(model, frame).unwrap();
        let told = model.runs() - start;
        assert_eq!(screening.shown, reading, "the same to the bit");
        // The other bundle only had to classify, having found the lungs or lesions first where it needs them.
        let other = both.models().iter().find(|other| other.identity != model.identity).unwrap();
        let manifest = &other.manifest;
        let segments =
            manifest.classifier.graph.preprocess.core.follows_lungs() || manifest.extension.lesions.is_some();
        assert_eq!(recognised, told + 1 + u64::from(segments), "{} runs", screening.bundle.title());
    }
}

#[test]
fn a_bundle_alone_is_not_asked_whether_it_is_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let [film, ..] = phantoms(folder.path());
    let alone = screener(&["xray"]);
    alone.screen(&film, None, 0, |_, _| ()).unwrap();
    let once = runs(&alone);
    read(&alone.models()[0], frame(&film)).unwrap();
    assert_eq!(runs(&alone), 2 * once);
}

#[test]
fn a_screening_is_the_same_after_it_was_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let both = screener(&["xray", "ct"]);
    let mut whole = 0;
    for study in phantoms(folder.path()) {
        let (screening, _) = both.screen(&study, None, 3, |_, _| ()).unwrap();
        assert_eq!(matches!(study, Study::Volume(_)), matches!(screening.slices, Some(Slices { read: 3, .. })));
        // A phantom may be unlike the training pictures, and then has neither.
        whole += usize::from(screening.shown.heat.is_some() && screening.shown.masks.is_some());
        let bytes = postcard::to_stdvec(&screening).unwrap();
        assert_eq!(postcard::from_bytes::<Screening>(&bytes).unwrap(), screening);
        let text = serde_json::to_string(&screening).unwrap();
        assert_eq!(serde_json::from_str::<Screening>(&text).unwrap(), screening);
    }
    assert!(whole > 0, "none has heat and masks");
}

/// What the bundle at `path`, in the folder of the models, says of its two graphs, and their files.
fn graphs(path: &str) -> [(bundle::Graph, Vec<u8>); 2] {
    let bytes = std::fs::read(models().join(path)).unwrap();
    let bundle = Bundle::read(&bytes, &trusted_keys(None).unwrap(), &bundle::Limits::default()).unwrap();
    let manifest = bundle.manifest();
    let segmenter = manifest.segmenter.clone().unwrap().graph;
    [
        (manifest.classifier.graph.clone(), bundle.classifier_graph().to_vec()),
        (segmenter, bundle.segmenter_graph().unwrap().to_vec()),
    ]
}

/// The convolutions of a graph that our kernels do not carry out.
fn left_to_tract(graph: &Graph) -> Option<(String, usize)> {
    graph.operators().into_iter().find(|(name, _)| name.contains("Conv") && !name.starts_with("Thorax"))
}

/// What is shipped calculates in integers, and our kernels do it.
#[test]
fn no_convolution_of_a_shipped_bundle_is_left_to_tract() {
    for name in ["xray", "ct"] {
        let mut integers = 0;
        for (graph, bytes) in graphs(&format!("{name}/thorax-{name}.thorax")) {
            let own = Graph::read(&bytes, &graph.outputs, Kernels::Own).unwrap();
            assert_eq!(left_to_tract(&own), None, "{name}");
            let of_integers = own.operators().into_iter().find(|(name, _)| name == "ThoraxByteConvolution");
            integers += of_integers.map_or(0, |(_, count)| count);
        }
        assert!(integers > 15, "{name}: {integers} convolutions of integers");
    }
}

/// Our kernels in tract's graph against tract's own, on phantoms.
#[test]
fn our_kernels_give_what_tracts_give() {
    for name in ["xray", "ct"] {
        for (graph, bytes) in graphs(&format!("teachers/{name}/thorax-{name}.thorax")) {
            let read = |kernels| Graph::read(&bytes, &graph.outputs, kernels).unwrap();
            let (own, tract) = (read(Kernels::Own), read(Kernels::Tract));
            assert_eq!(left_to_tract(&own), None, "{name}");
            let (channels, side) = (graph.preprocess.normalise.mean.len(), graph.preprocess.input_side as usize);
            let shape = [1, channels, side, side];
            let x: Vec<f32> = (0..channels * side * side).map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 300.0).collect();
            let (got, expected) = (own.run(&shape, &x).unwrap(), tract.run(&shape, &x).unwrap());
            for (((got_shape, got), (shape, expected)), output) in got.iter().zip(&expected).zip(&graph.outputs) {
                assert_eq!(got_shape, shape, "{name} {output:?}");
                let scale = expected.iter().fold(1f32, |largest, value| largest.max(value.abs()));
                let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                // Means over hardly any lesion, as noise has, make rounding larger where they are what a classifier reads.
                let most = if &**output == "novelty" && graph.part == "net.onnx" { 3e-5 } else { 1e-5 };
                assert!(worst <= most * scale, "{name} {output:?}: {worst} of {scale}");
            }
        }
    }
}
