//! The disease is data: the same commands make of a set about another disease, as it is downloaded, a bundle that says so.

use std::{path::Path, process::Command};

use image::GrayImage;
use thorax_tests::{edge, film, folder, names, refused, succeed, text, train};

use crate::serve::Appliance;

/// Films in `tuberculosis/images` and `normal/images`, their masks in `infection masks` and `lung masks` beside.
fn films(out: &Path) {
    let phantoms = out.join("phantoms");
    let options = ["--count", "16", "--modality", "xray", "--size", "224", "--seed", "3"];
    succeed(train().arg("phantom").arg(&phantoms).args(options));
    for name in names(&phantoms).iter().filter(|name| name.ends_with(".png")) {
        let class = if name.contains("positive") { "tuberculosis" } else { "normal" };
        let to = |what: &str| {
            let folder = out.join("set").join(class).join(what);
            std::fs::create_dir_all(&folder).unwrap();
            folder.join(name)
        };
        let mask = |what: &str| {
            let stem = name.trim_end_matches(".png");
            image::open(phantoms.join(format!("masks/{stem}_{what}.png"))).unwrap().into_luma8()
        };
        std::fs::rename(phantoms.join(name), to("images")).unwrap();
        mask("infection").save(to("infection masks")).unwrap();
        let (left, right) = (mask("left_lung"), mask("right_lung"));
        let both = |x, y| image::Luma([left.get_pixel(x, y).0[0].max(right.get_pixel(x, y).0[0])]);
        GrayImage::from_fn(left.width(), left.height(), both).save(to("lung masks")).unwrap();
    }
}

#[test]
fn a_bundle_for_tuberculosis_says_so() {
    let Some(backbone) = thorax_wanted::shared("weights/tf_efficientnet_lite0.f32.safetensors") else { return };
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    films(folder.path());
    let manifest = at("manifest.csv");
    let import = |positive: bool| {
        let mut command = train();
        command.args(["data", "import", "--modality", "xray", "--each-picture-is-a-patient"]).arg(at("set"));
        if positive {
            command.args(["--positive", "tuberculosis"]);
        }
        command.arg("--out").arg(&manifest);
        command
    };
    refused(&mut import(false), &["tuberculosis", "--positive"]);
    let imported = succeed(&mut import(true)).stdout;
    assert!(imported.contains("tuberculosis") && imported.contains("32 rows"), "{imported}");

    let (segmenter, classifier, bundle) = (at("segmenter"), at("classifier"), at("own/tuberculosis.thorax"));
    let mut segment = train();
    segment.args(["train", "segment", "--modality", "xray", "--side", "32", "--base-channels", "4", "--batch", "4"]);
    segment.args(["--epochs", "20", "--threads", "1", "--manifest"]).arg(&manifest).arg("--out").arg(&segmenter);
    succeed(&mut segment);
    let mut classify = train();
    classify.args(["train", "classify", "--modality", "xray", "--members", "20", "--weights"]).arg(&backbone);
    succeed(classify.arg("--manifest").arg(&manifest).arg("--out").arg(&classifier));
    let key = succeed(train().args(["bundle", "keygen"]).arg(at("key"))).stdout;
    std::fs::write(at("trusted"), &key).unwrap();
    let mut build = train();
    build.args(["bundle", "build", "--stress-pictures", "2", "--despite-stress", "--weights"]).arg(&backbone);
    build.args(["--disease", "tuberculosis", "--disease-code", "SCT:56717001:Tuberculosis", "--classifier"]);
    build.arg(&classifier).arg("--segmenter").arg(&segmenter).arg("--manifest").arg(&manifest);
    succeed(build.arg("--key").arg(at("key")).arg("--out").arg(&bundle));
    let card = std::fs::read_to_string(at("own/CARD.md")).unwrap();
    assert!(card.contains("positive, negative or refer for tuberculosis") && !card.contains("COVID"), "{card}");

    let film = at("set/tuberculosis/images").join(&names(&at("set/tuberculosis/images"))[0]);
    let mut screen = edge();
    screen.args(["screen", "--json", "--bundle"]).arg(&bundle).arg("--trust").arg(at("trusted")).arg(&film);
    let row = succeed(&mut screen).rows().remove(0);
    assert_eq!(text(&row, "disease"), "tuberculosis", "{row}");
    let code = serde_json::json!({ "scheme": "SCT", "code": "56717001", "meaning": "Tuberculosis" });
    assert_eq!(row["disease_code"], code, "{row}");
    let mut table = edge();
    table.args(["screen", "--bundle"]).arg(&bundle).arg("--trust").arg(at("trusted")).arg(&film);
    let told = succeed(&mut table).stdout;
    assert!(told.contains("positive means tuberculosis, negative without it") && !told.contains("COVID"), "{told}");
    structured_report(&bundle, &at("trusted"));
}

/// The appliance's DICOM SR has the bundle's words and its code, as DCMTK reads it.
fn structured_report(bundle: &Path, trust: &Path) {
    let Some(dsrdump) = thorax_wanted::dcmtk("dsrdump") else { return };
    let device = Appliance::of(bundle, trust);
    std::fs::copy(film(".dcm"), device.path("incoming/film.dcm")).unwrap();
    let report = device.path("sr.dcm");
    std::fs::write(&report, device.result(&device.studies(1)[0], "sr.dcm")).unwrap();
    let told = succeed(Command::new(dsrdump).arg(&report)).stdout;
    assert!(told.contains("=\"tuberculosis\"") && told.contains("=(56717001,SCT,\"Tuberculosis\")"), "{told}");
    assert!(!told.contains("COVID"), "{told}");
}
