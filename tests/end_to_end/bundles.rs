//! Bundles that must not be used are not used: the device stops with code 3 and says which file, why, and what to do.

use std::path::Path;

use thorax_tests::{Finished, edge, film, folder, refused, run, shipped, succeed, teacher, train};

use crate::{made::file, trainer::data};

/// Screens a film with one bundle, which must be refused; the message must name the bundle and say all of `words`.
fn assert_refused(bundle: &Path, words: &[&str]) {
    let run = run(edge().args(["screen", "--json", "--bundle"]).arg(bundle).arg(film(".png")));
    assert_failed(&run, bundle, words);
}

fn assert_failed(run: &Finished, path: &Path, words: &[&str]) {
    assert_eq!(run.code, 3, "{run:?}");
    assert_eq!(run.stdout, "", "nothing was screened");
    assert!(run.stderr.contains(&path.display().to_string()), "{} not named: {}", path.display(), run.stderr);
    words.iter().for_each(|word| assert!(run.stderr.contains(word), "`{word}` not said: {}", run.stderr));
}

#[test]
fn shipped_bundles_are_small_and_come_with_a_card() {
    for (modality, most) in [("xray", 6_000_000), ("ct", 3_000_000)] {
        let bytes = std::fs::metadata(shipped(modality)).unwrap().len();
        assert!((1_000_000..=most).contains(&bytes), "{modality}: {bytes} bytes");
        for bundle in [shipped(modality), teacher(modality)] {
            let card = std::fs::read_to_string(bundle.with_file_name("CARD.md")).unwrap();
            for words in ["Research use only", "## Data", "licence", "AUC", "Dice", "95 %", "## Limits"] {
                assert!(card.contains(words), "{modality}: the card says nothing of {words}");
            }
            let shown = succeed(train().args(["bundle", "show", "--card"]).arg(&bundle));
            assert!(shown.stdout.contains(card.trim()), "the card in the bundle is the one beside it");
        }
    }
}

#[test]
fn one_altered_byte_anywhere_is_noticed() {
    let folder = folder();
    let whole = std::fs::read(shipped("xray")).unwrap();
    // The manifest's beginning, a part in the middle, the last byte of the last part, the signature.
    for at in [25, whole.len() / 2, whole.len() - 97, whole.len() - 10] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        assert_refused(&file(folder.path(), "altered.thorax", &bytes), &["altered", "copy"]);
    }
}

#[test]
fn a_bundle_cut_short_or_prolonged_is_refused() {
    let folder = folder();
    let whole = std::fs::read(shipped("xray")).unwrap();
    for length in [50, whole.len() / 2, whole.len() - 1] {
        assert_refused(&file(folder.path(), "cut.thorax", &whole[..length]), &["cut off", "copy it again"]);
    }
    let longer = [whole.as_slice(), b"x"].concat();
    assert_refused(&file(folder.path(), "long.thorax", &longer), &["1 bytes follow the end", "copy it again"]);
}

#[test]
fn a_bundle_of_an_unknown_signer_is_refused() {
    let folder = folder();
    let mut bytes = std::fs::read(shipped("ct")).unwrap();
    // RFC 8032's first test key in the place of the signer's (96 bytes before the end).
    let key = [
        0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1,
        0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
    ];
    let at = bytes.len() - 96;
    bytes[at..at + 32].copy_from_slice(&key);
    let bundle = file(folder.path(), "foreign.thorax", &bytes);
    assert_refused(&bundle, &["unknown key", "trusted keys"]);
    // Trusting the key does not make a signature of it.
    let hexadecimal: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let trust = file(folder.path(), "keys", format!("ed25519:{hexadecimal} RFC 8032\n").as_bytes());
    let run = run(edge().args(["screen", "--bundle"]).arg(&bundle).arg("--trust").arg(trust).arg(film(".png")));
    assert_failed(&run, &bundle, &["signature does not fit"]);
}

#[test]
fn what_is_no_bundle_is_refused() {
    let folder = folder();
    assert_refused(&folder.path().join("nowhere.thorax"), &["check the path"]);
    assert_refused(&film(".png"), &["not a Thorax bundle", "thorax-train"]);
    let mut newer = std::fs::read(shipped("xray")).unwrap();
    newer[6] = 9;
    assert_refused(&file(folder.path(), "newer.thorax", &newer), &["version 9", "update the program"]);
}

#[test]
fn one_bad_bundle_among_several_stops_the_device() {
    let folder = folder();
    std::fs::copy(shipped("xray"), folder.path().join("a.thorax")).unwrap();
    let bad = file(folder.path(), "b.thorax", b"THORAX");
    let run = run(edge().env("THORAX_MODELS", folder.path()).arg("screen").arg(film(".png")));
    assert_failed(&run, &bad, &[]);
}

#[test]
fn without_any_bundle_the_message_tells_where_one_was_looked_for() {
    let folder = folder();
    let run =
        run(edge().env("THORAX_MODELS", folder.path()).current_dir(folder.path()).arg("screen").arg(film(".png")));
    assert_failed(&run, folder.path(), &["no bundle (*.thorax)", "--bundle", "THORAX_MODELS"]);
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let folder = folder();
    let screen = |trust: &Path| run(edge().args(["screen", "--trust"]).arg(trust).arg(film(".png")));
    let missing = folder.path().join("nowhere.keys");
    assert_failed(&screen(&missing), &missing, &["ed25519:"]);
    let words = file(folder.path(), "words.keys", b"# comment\nnot a key\n");
    assert_failed(&screen(&words), &words, &["not a public key"]);
}

#[test]
fn a_bundle_lends_its_segmenter_to_a_new_one() {
    let Some(backbone) = thorax_wanted::shared("weights/tf_efficientnet_lite0.f32.safetensors") else { return };
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let manifest = data(folder.path());
    let mut classify = train();
    classify.args(["train", "classify", "--modality", "xray", "--members", "4", "--weights"]).arg(&backbone);
    classify.arg("--manifest").arg(&manifest).arg("--out").arg(at("classifier"));
    // Nothing learns from integers.
    refused(classify.arg("--lesions").arg(shipped("xray")), &["8-bit integers", "thorax-xray 0.5.0"]);
    let mut classify = train();
    classify.args(["train", "classify", "--modality", "xray", "--members", "4", "--weights"]).arg(&backbone);
    classify.arg("--manifest").arg(&manifest).arg("--out").arg(at("classifier"));
    succeed(classify.arg("--lesions").arg(teacher("xray")));
    succeed(train().args(["bundle", "keygen"]).arg(at("key")));
    let build = |segmenter: &Path| {
        let mut build = train();
        build.args(["bundle", "build", "--stress-pictures", "0", "--despite-stress", "--weights"]).arg(&backbone);
        build.arg("--classifier").arg(at("classifier")).arg("--manifest").arg(&manifest);
        build.arg("--key").arg(at("key")).arg("--out").arg(at("new.thorax")).arg("--segmenter").arg(segmenter);
        build
    };
    refused(&mut build(&teacher("ct")), &["the classifier reads xray pictures, the segmenter ct pictures"]);
    succeed(&mut build(&teacher("xray")));
    let graph = |bundle: &Path| {
        let shown = succeed(train().args(["bundle", "show"]).arg(bundle)).stdout;
        shown.lines().find(|line| line.starts_with("part segmenter.onnx")).unwrap().to_owned()
    };
    assert_eq!(graph(&at("new.thorax")), graph(&teacher("xray")), "to the byte");
    let card = std::fs::read_to_string(at("CARD.md")).unwrap();
    let lender = std::fs::read_to_string(teacher("xray").with_file_name("CARD.md")).unwrap();
    let told = lender.lines().find(|line| line.starts_with("- Segmenter: ")).unwrap();
    assert!(card.contains("- Segmenter: that of thorax-xray ") && card.contains(&format!("\n  {told}\n")), "{card}");
}
