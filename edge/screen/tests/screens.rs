//! Whole screens: every state in every size and language, and what holds for every screen.
//!
//! `tests/screens.sha256` has a line for each picture: its name and the hash of its pixels. `docs/screens` has them side by side, a sheet
//! for each language, and for each size of panel. After a wanted change, `THORAX_UPDATE_SCREENS=1 cargo test -p thorax-screen
//! --test screens` makes both anew, and leaves each picture in `target/screens`; look at them before they are committed. The
//! radiographs on them are made by formula, from nobody.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use embedded_graphics::{pixelcolor::Rgb565, prelude::*, primitives::Rectangle};
use image::{RgbImage, codecs::png};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use thorax_files::hexadecimal;
use thorax_screen::{
    Framebuffer, HeatScreen, Keys, MessageScreen, ResultScreen, SUPPORTED, Tone,
    input::{Hold, Input, Key},
    operator::{Action, Facts, Operator, ResultLine, Slot, Thresholds, Trouble},
    study_name,
};
use thorax_shared::{
    lungs::{Involvement, LungArea},
    modality::Modality,
    plane::Plane,
    reason::Reason,
    verdict::{ReferReason, RejectReason, Verdict},
    words::{Language, Word},
};

/// 1 well inside an ellipse, 0 well outside, soft between; centre and half axes in shares of the picture.
fn ellipse(x: f32, y: f32, centre: (f32, f32), half_axes: (f32, f32), softness: f32) -> f32 {
    let (across, down) = ((x - centre.0) / half_axes.0, (y - centre.1) / half_axes.1);
    ((1.0 - (across * across + down * down).sqrt()) / softness + 0.5).clamp(0.0, 1.0)
}

/// A wave of period 1 from -1 to 1, of parabolas: unlike `sin`, it is the same to the bit on every machine.
fn wave(turns: f32) -> f32 {
    let phase = turns - turns.floor() - 0.5;
    16.0 * phase * (phase.abs() - 0.5)
}

/// Hash of a pixel's place, -1 to 1: the film's grain.
fn grain(x: usize, y: usize) -> f32 {
    let mut hash = (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d);
    (hash >> 16) as f32 / 32_768.0 - 1.0
}

/// Something like a chest radiograph with all that is laid over one.
struct Phantom {
    picture: Plane<u8>,
    heat: Plane<f32>,
    infection: Plane<u8>,
    /// The patient's left and right lung.
    lungs: [Plane<u8>; 2],
    /// What of the lungs is marked.
    involvement: Option<Involvement>,
}

impl Phantom {
    /// `pixel` gives grey, heat, infection and lung, 0 to 1, at a place in shares of the picture.
    fn of(width: usize, height: usize, pixel: impl Fn(f32, f32) -> [f32; 4]) -> Self {
        let at = |x: usize, y: usize| pixel((x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32);
        let mask = |channel: usize| Plane::from_fn(width, height, |x, y| if at(x, y)[channel] > 0.5 { 255 } else { 0 });
        let (infection, both) = (mask(2), mask(3));
        let lungs = [true, false].map(|left| {
            Plane::from_fn(width, height, |x, y| if (2 * x >= width) == left { both.get(x, y) } else { 0 })
        });
        let count = |mask: &Plane<u8>, infected: bool| {
            let pixels = mask.data().iter().zip(infection.data());
            pixels.filter(|(lung, marked)| **lung > 0 && (!infected || **marked > 0)).count() as u64
        };
        let [left, right] = &lungs;
        let area = LungArea {
            left: count(left, false),
            right: count(right, false),
            infected_left: count(left, true),
            infected_right: count(right, true),
            seen: (width * height) as u64,
        };
        Self {
            picture: Plane::from_fn(width, height, |x, y| (255.0 * at(x, y)[0] + 1.2 * grain(x, y)) as u8),
            heat: Plane::from_fn(width, height, |x, y| at(x, y)[1]),
            involvement: area.involvement(),
            infection,
            lungs,
        }
    }

    /// A projection from the front: ribs, heart, diaphragm, and in both lungs shadows of a strength between 0 and 1.
    fn xray(shadows: f32) -> Self {
        Self::of(520, 440, |x, y| {
            let side = (x - 0.5).abs();
            let body =
                ellipse(x, y, (0.5, 0.66), (0.50, 0.66), 0.10).max(ellipse(x, y, (0.5, 0.02), (0.11, 0.22), 0.3));
            let dome = |y: f32| (y * 22.0).clamp(0.0, 1.0);
            let left = ellipse(x, y, (0.295, 0.50), (0.165, 0.385), 0.12) * dome(0.84 - y + 0.16 * (x - 0.3));
            let right = ellipse(x, y, (0.705, 0.50), (0.165, 0.385), 0.12) * dome(0.87 - y - 0.16 * (x - 0.7));
            let heart =
                ellipse(x, y, (0.56, 0.68), (0.165, 0.20), 0.22).max(ellipse(x, y, (0.52, 0.40), (0.055, 0.26), 0.5));
            let lung = left.max(right) * (1.0 - heart);
            let spine = ellipse(x, y, (0.5, 0.5), (0.045, 0.9), 0.5) * (0.8 + 0.2 * wave(y * 12.0));
            let rib = (wave(y * 8.3 - side * side * 15.0 + side * 2.9) - 0.35).max(0.0);
            let along_clavicle = (y - 0.145 + 0.18 * (side - 0.2)) / 0.018;
            let clavicle =
                if (0.04..0.40).contains(&side) { (1.0 - along_clavicle * along_clavicle).max(0.0) } else { 0.0 };
            let hilum = ellipse(x, y, (0.40, 0.50), (0.05, 0.12), 1.2) + ellipse(x, y, (0.60, 0.46), (0.05, 0.11), 1.2);
            let opacity = ellipse(x, y, (0.245, 0.69), (0.085, 0.11), 1.0)
                .max(0.9 * ellipse(x, y, (0.785, 0.62), (0.06, 0.13), 1.0))
                .max(0.7 * ellipse(x, y, (0.22, 0.44), (0.04, 0.06), 1.0));
            let opacity = shadows * opacity;
            let tissue = body * (0.50 + 0.14 * heart + 0.16 * spine + 0.085 * rib + 0.08 * clavicle);
            let grey = 0.03 + tissue + lung * (0.10 * hilum + 0.26 * opacity - 0.40);
            let heat = ellipse(x, y, (0.25, 0.68), (0.17, 0.22), 1.6)
                .max(0.75 * ellipse(x, y, (0.78, 0.60), (0.13, 0.19), 1.6));
            [grey.clamp(0.02, 0.96), heat, (opacity - 0.02) * 1.3 * lung, lung]
        })
    }

    /// A slice across the chest: two lungs, ribs, a vertebra, and shadows far back.
    fn ct() -> Self {
        Self::of(512, 512, |x, y| {
            let body = ellipse(x, y, (0.5, 0.52), (0.47, 0.36), 0.03);
            let left = ellipse(x, y, (0.29, 0.50), (0.155, 0.25), 0.05);
            let right = ellipse(x, y, (0.71, 0.50), (0.155, 0.25), 0.05);
            let heart = ellipse(x, y, (0.56, 0.44), (0.15, 0.13), 0.08);
            let lung = left.max(right) * (1.0 - heart);
            let vertebra = ellipse(x, y, (0.5, 0.70), (0.06, 0.055), 0.15);
            let shell =
                ellipse(x, y, (0.5, 0.52), (0.40, 0.305), 0.04) - ellipse(x, y, (0.5, 0.52), (0.375, 0.28), 0.04);
            let rib = shell * wave(x * 6.0 + y * 5.0).max(0.0);
            let vessel = (wave(x * 9.7) * wave(y * 8.4 + x * 2.7) - 0.72).max(0.0) * lung;
            let opacity =
                ellipse(x, y, (0.235, 0.63), (0.085, 0.075), 0.8).max(ellipse(x, y, (0.77, 0.65), (0.05, 0.045), 0.8));
            let grey = 0.50 * body - 0.42 * lung
                + 0.12 * heart
                + 0.34 * vertebra
                + 0.38 * rib
                + 0.9 * vessel
                + 0.30 * opacity * lung;
            let heat = ellipse(x, y, (0.24, 0.63), (0.15, 0.14), 1.6);
            [grey.clamp(0.02, 0.96), heat, opacity * lung, lung]
        })
    }

    fn result<'a>(&'a self, verdict: Verdict, modality: Modality, name: &'a str) -> ResultScreen<'a> {
        ResultScreen {
            language: Language::English,
            picture: &self.picture,
            infection: Some(&self.infection),
            lungs: Some(self.lungs.each_ref()),
            verdict,
            modality: Some(modality),
            disease: "COVID-19",
            probability: Some(0.93),
            entropy_bits: Some(entropy_bits(0.93)),
            involvement: self.involvement,
            name,
            bundle: match modality {
                Modality::Xray => "thorax-xray 0.4.0",
                Modality::Ct => "thorax-ct 0.3.0",
            },
            thresholds: Some([0.2, 0.8]),
            thresholds_set: false,
            keys: KEYS,
        }
    }
}

/// Of both lungs, the patient's left and right one, in percent.
fn involvement(percent: f32, left: f32, right: f32) -> Option<Involvement> {
    Some(Involvement { percent, left_percent: Some(left), right_percent: Some(right) })
}

/// Of a yes or no with this probability.
fn entropy_bits(probability: f32) -> f32 {
    [probability, 1.0 - probability].iter().map(|share| -share * share.log2()).sum()
}

fn drawn(screen: &impl Drawable<Color = Rgb565>, size: Size) -> Framebuffer {
    let mut framebuffer = Framebuffer::new(size);
    let Ok(_) = screen.draw(&mut framebuffer);
    framebuffer
}

const KEYS: Keys = Keys { arrows: Some(Word::OthersKey), select: Some(Word::MoreKey), back: true };
const UP: Input = Input::Press(Key::Up, Hold::Short);
const DOWN: Input = Input::Press(Key::Down, Hold::Short);
const SELECT: Input = Input::Press(Key::Select, Hold::Short);

/// The results that are shown: study, verdict, kind of image, when it came.
const RESULTS: [(u64, Option<Verdict>, Modality, &str); 8] = [
    (41, Some(Verdict::Positive), Modality::Xray, "08:31"),
    (40, Some(Verdict::Negative), Modality::Xray, "08:30"),
    (39, Some(Verdict::Refer(ReferReason::AbstainZone)), Modality::Xray, "08:29"),
    (38, Some(Verdict::Rejected(RejectReason::Overexposed)), Modality::Xray, "08:28"),
    (37, None, Modality::Xray, "08:27"),
    (36, Some(Verdict::Negative), Modality::Xray, "08:26"),
    (35, Some(Verdict::Positive), Modality::Ct, "08:25"),
    (12, Some(Verdict::Refer(ReferReason::HighEntropy)), Modality::Xray, "11-28 17:05"),
];

/// A patient's number for a study.
fn patient_id(study: u64) -> String {
    format!("HN-26-{:04}", 672 + study)
}

fn facts() -> Facts {
    let line = |&(study, verdict, modality, received): &(u64, Option<Verdict>, Modality, &str)| ResultLine {
        study,
        verdict,
        modality: verdict.map(|_| modality),
        patient_id: if verdict.is_some() { patient_id(study) } else { String::new() },
        received: received.into(),
        has_heat: true,
        is_old: false,
    };
    let slot = |modality, active: &str, trial, former: Option<&str>, now| Slot {
        modality,
        active: Some(active.into()),
        trial,
        former: former.map(Into::into),
        thresholds: Some(Thresholds { now, own: [0.2, 0.8], most: [0.05, 0.95] }),
    };
    Facts {
        site: "District hospital North".into(),
        read: 7,
        disk: Some((118 << 30, 1 << 30)),
        clock: "2026-11-29 08:31".into(),
        celsius: Some((54.3, false)),
        network: Some("192.0.2.7".into()),
        bundles: vec!["thorax-xray 0.4.0".into(), "thorax-ct 0.3.0".into()],
        reads: Modality::ALL.into(),
        slots: vec![
            slot(Modality::Xray, "thorax-xray 0.4.0", Some((3, 50)), Some("thorax-xray 0.3.0"), [0.2, 0.8]),
            slot(Modality::Ct, "thorax-ct 0.3.0", None, None, [0.15, 0.85]),
        ],
        offered: vec![(Modality::Xray, "thorax-xray 0.5.0".into())],
        results: RESULTS.iter().map(line).collect(),
        brightness: Some(80),
        can_switch_off: true,
        ..Facts::default()
    }
}

/// The page that the operator comes to by these keys.
fn page(language: Language, size: Size, facts: &Facts, path: &[Input]) -> Framebuffer {
    let mut operator = Operator::new(language, true);
    for input in path {
        operator.input(*input, facts, size, Duration::ZERO);
    }
    let mut picture = Framebuffer::new(size);
    operator.draw(facts, &mut picture);
    picture
}

/// Every state of the panel in this language and size, by name.
fn states(language: Language, size: Size, [xray, clear, faint, ct]: &[Phantom; 4]) -> Vec<(&'static str, Framebuffer)> {
    let word = |word| language.word(word);
    let message = |tone, title, text, remedy| MessageScreen {
        language,
        tone,
        title,
        name: "District hospital North",
        text,
        remedy,
        detail: "",
        keys: Keys::NONE,
    };
    let names = RESULTS.map(|(study, verdict, _, received)| {
        let patient_id = if verdict.is_some() { patient_id(study) } else { String::new() };
        study_name(language, study, &patient_id, received)
    });
    // Of the study at this place of the list, with this probability.
    let of = |place: usize| {
        let (_, verdict, modality, _) = RESULTS[place];
        (verdict.unwrap(), modality, &*names[place])
    };
    let result = |phantom, (verdict, modality, name), probability| ResultScreen {
        language,
        probability: Some(probability),
        entropy_bits: Some(entropy_bits(probability)),
        ..Phantom::result(phantom, verdict, modality, name)
    };
    let positive = result(xray, of(0), 0.93);
    let negative = result(clear, of(1), 0.04);
    let refer = result(faint, of(2), 0.58);
    let slice = result(ct, of(6), 0.997);
    let slice = ResultScreen { thresholds: Some([0.15, 0.85]), thresholds_set: true, ..slice };
    let washed_out = xray.picture.map(|grey| 205 + grey / 8);
    let no_heat = Keys { select: None, ..KEYS };
    let rejected = ResultScreen { picture: &washed_out, keys: no_heat, ..result(xray, of(3), 0.5) };
    let heat = HeatScreen {
        result: ResultScreen { keys: Keys { select: Some(Word::ResultKey), ..KEYS }, ..positive },
        heat: &xray.heat,
    };
    let nothing = Plane::filled(0, 0, 0);
    // Of before the start, of a device that keeps no picture.
    let old = result(faint, of(7), 0.44);
    let old = ResultScreen { picture: &nothing, infection: None, lungs: None, keys: no_heat, ..old };
    let facts = facts();
    let trouble = |trouble| Facts { trouble: Some(trouble), ..facts.clone() };
    let at = |path: &[Input]| page(language, size, &facts, path);
    let settings = [SELECT, DOWN, DOWN, SELECT];
    let then = |more: &[Input]| at(&[&settings[..], more].concat());
    let carried = |ended| {
        let mut operator = Operator::new(language, true);
        operator.carried_out(Action::Install(0), ended, Duration::ZERO);
        let mut picture = Framebuffer::new(size);
        operator.draw(&facts, &mut picture);
        picture
    };
    let full = Facts { disk: Some((1 << 29, 1 << 30)), network: None, ..trouble(Trouble::DiskFull) };
    let hot = Facts { celsius: Some((91.0, true)), ..trouble(Trouble::TooHot) };
    vec![
        ("starting", drawn(&message(Tone::Busy, Word::Starting, word(Word::SelfTest), None), size)),
        ("ready", at(&[])),
        (
            "reading",
            page(language, size, &Facts { reading: 1, images_read: (5, 16), waiting: 3, ..facts.clone() }, &[]),
        ),
        ("positive", drawn(&positive, size)),
        ("negative", drawn(&negative, size)),
        ("refer", drawn(&refer, size)),
        ("rejected", drawn(&rejected, size)),
        ("heat", drawn(&heat, size)),
        ("slice", drawn(&slice, size)),
        ("old", drawn(&old, size)),
        (
            "unreadable",
            drawn(
                &MessageScreen {
                    name: &names[4],
                    keys: no_heat,
                    detail: "The DICOM file is damaged (it ends in the pixel data): copy or export it again",
                    ..message(Tone::Rejected, Word::Rejected, word(Word::FileUnusable), Some(word(Word::DoSendAgain)))
                },
                size,
            ),
        ),
        ("full", page(language, size, &full, &[])),
        ("hot", page(language, size, &hot, &[])),
        ("menu", at(&[SELECT])),
        ("results", at(&[SELECT, SELECT, DOWN])),
        ("status", at(&[SELECT, DOWN, SELECT])),
        ("settings", at(&settings)),
        ("language", then(&[SELECT])),
        ("brightness", then(&[DOWN, SELECT])),
        ("thresholds", then(&[DOWN, DOWN, SELECT])),
        ("bundles", at(&[SELECT, DOWN, DOWN, DOWN, SELECT])),
        ("install", at(&[SELECT, DOWN, DOWN, DOWN, SELECT, UP, SELECT])),
        ("go-back", at(&[SELECT, DOWN, DOWN, DOWN, SELECT, DOWN, DOWN, SELECT])),
        ("change-thresholds", then(&[DOWN, DOWN, SELECT, DOWN, SELECT])),
        ("switch-off", at(&[SELECT, UP, SELECT])),
        ("working", at(&[SELECT, UP, SELECT, DOWN, SELECT])),
        ("done", carried(Ok(()))),
        ("not-done", carried(Err(Reason::new("the reading software is not there any more", "put the stick in again")))),
        (
            "not-possible",
            carried(Err(Reason::new("3 golden answers are not given", "send the bundle back to its maker"))),
        ),
        ("stopping", drawn(&message(Tone::Busy, Word::Stopping, word(Word::FinishesWork), None), size)),
        ("off", drawn(&message(Tone::Off, Word::Off, word(Word::MayBeSwitchedOff), None), size)),
    ]
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Pictures of one size beside and under each other.
fn sheet(pictures: &[&Framebuffer], columns: u32) -> RgbImage {
    let Size { width, height } = pictures[0].size();
    let (gap, rows) = (8, (pictures.len() as u32).div_ceil(columns));
    let mut sheet =
        RgbImage::from_pixel(columns * (width + gap) + gap, rows * (height + gap) + gap, image::Rgb([255; 3]));
    for (place, picture) in (0..).zip(pictures) {
        let at = |place: u32, side: u32| i64::from(gap + place * (side + gap));
        image::imageops::replace(
            &mut sheet,
            &picture.to_image(),
            at(place % columns, width),
            at(place / columns, height),
        );
    }
    sheet
}

#[test]
fn every_state_size_and_language_is_drawn_as_it_was_looked_at() {
    let phantoms = [Phantom::xray(1.0), Phantom::xray(0.0), Phantom::xray(0.62), Phantom::ct()];
    let update = std::env::var_os("THORAX_UPDATE_SCREENS").is_some_and(|value| value == "1");
    let (hashes, docs) = (folder("tests/screens.sha256"), folder("../../docs/screens"));
    let left = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screens");
    std::fs::create_dir_all(&left).unwrap();
    let mut found = BTreeMap::new();
    let mut told = vec![];
    for (size, language) in SUPPORTED.into_iter().flat_map(|size| Language::ALL.map(|language| (size, language))) {
        let states = states(language, size, &phantoms);
        for (name, picture) in &states {
            let name = format!("{}x{}-{}-{name}", size.width, size.height, language.code());
            let bytes: Vec<u8> = picture.to_image().into_raw();
            found.insert(name, hexadecimal(&Sha256::digest(&bytes)));
        }
        // A sheet for each language, and for each size.
        if size == Size::new(320, 240) || language == Language::English {
            let name = format!("{}x{}-{}.png", size.width, size.height, language.code());
            let columns = if size.width >= 800 { 3 } else { 5 };
            let sheet = sheet(&states.iter().map(|(_, picture)| picture).collect::<Vec<_>>(), columns);
            let path = docs.join(&name);
            if update {
                let file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
                let (best, adaptive) = (png::CompressionType::Best, png::FilterType::Adaptive);
                let encoder = png::PngEncoder::new_with_quality(file, best, adaptive);
                sheet.write_with_encoder(encoder).unwrap();
            } else if image::open(&path).map(|kept| kept.into_rgb8()).ok().as_ref() != Some(&sheet) {
                told.push(name);
            }
        }
        if update {
            for (name, picture) in &states {
                let file = format!("{}x{}-{}-{name}.png", size.width, size.height, language.code());
                picture.write_png(&left.join(file)).unwrap();
            }
        }
    }
    let lines: String = found.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect();
    if update {
        std::fs::write(&hashes, lines).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&hashes).unwrap_or_default();
    let new: Vec<&str> = lines.lines().filter(|line| !kept.contains(line)).collect();
    told.extend(new.iter().map(|line| line.split_whitespace().last().unwrap_or("").to_owned()));
    assert!(
        told.is_empty() && kept.lines().count() == found.len(),
        "{} pictures differ from those that were looked at: {}. If the change is wanted, set THORAX_UPDATE_SCREENS=1, run this test \
         again, and look at the sheets in docs/screens and the pictures in {}",
        told.len(),
        told.join(", "),
        left.display()
    );
}

fn every_verdict() -> impl Iterator<Item = Verdict> {
    [Verdict::Positive, Verdict::Negative]
        .into_iter()
        .chain(ReferReason::ALL.map(Verdict::Refer))
        .chain(RejectReason::ALL.map(Verdict::Rejected))
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    proptest::sample::select(every_verdict().collect::<Vec<_>>())
}

/// A result of one grey pixel with all numbers.
fn plain(picture: &Plane<u8>, verdict: Verdict) -> ResultScreen<'_> {
    ResultScreen {
        language: Language::English,
        picture,
        infection: None,
        lungs: None,
        verdict,
        modality: Some(Modality::Xray),
        disease: "COVID-19",
        probability: Some(0.5),
        entropy_bits: Some(0.5),
        involvement: involvement(50.0, 75.0, 25.0),
        name: "phantom.dcm",
        bundle: "thorax-xray 0.4.0",
        thresholds: None,
        thresholds_set: false,
        keys: KEYS,
    }
}

/// Rows at the bottom that are the same on every screen: the notice.
fn footer(screen: &Framebuffer) -> &[Rgb565] {
    let width = screen.size().width as usize;
    &screen.pixels()[screen.pixels().len() - 14 * width..]
}

#[test]
fn every_screen_says_that_it_is_for_research_only() {
    let phantoms = [Phantom::xray(1.0), Phantom::xray(0.0), Phantom::xray(0.62), Phantom::ct()];
    for (size, language) in SUPPORTED.into_iter().flat_map(|size| Language::ALL.map(|language| (size, language))) {
        let states = states(language, size, &phantoms);
        let notice = footer(&states[0].1);
        assert!(notice.windows(2).any(|pair| pair[0] != pair[1]), "something is written there");
        for (name, picture) in &states {
            assert!(footer(picture) == notice, "{name} at {size}, {language:?}");
        }
    }
}

/// Whether there is room for them, a test beside the code looks; here, that they are drawn.
#[test]
fn keys_legend_and_bundle_are_on_every_page_of_a_result() {
    let phantom = Phantom::xray(1.0);
    for (size, language) in SUPPORTED.into_iter().flat_map(|size| Language::ALL.map(|language| (size, language))) {
        for verdict in every_verdict() {
            let name = study_name(language, 41, "HN-26-0713", "08:31");
            let result = ResultScreen { language, ..phantom.result(verdict, Modality::Xray, &name) };
            let heat = |result| drawn(&HeatScreen { result, heat: &phantom.heat }, size);
            let is_rejected = matches!(verdict, Verdict::Rejected(_));
            let with = drawn(&result, size);
            let bare = ResultScreen { bundle: "", ..result };
            assert!(with != drawn(&bare, size), "bundle, {verdict:?} at {size}, {language:?}");
            assert!(is_rejected || heat(result) != heat(bare), "bundle, heat map, {verdict:?} at {size}, {language:?}");
            // The strip of keys is the last one above the notice.
            let strip = |screen: &Framebuffer| {
                let (width, notice) = (size.width as usize, footer(screen).len() / size.width as usize);
                let rows = screen.pixels().len() / width - 6 * notice..screen.pixels().len() / width - notice;
                screen.pixels()[rows.start * width..rows.end * width].to_vec()
            };
            let pressed = ResultScreen { keys: Keys { arrows: None, ..KEYS }, ..result };
            assert!(strip(&with) != strip(&drawn(&pressed, size)), "keys, {verdict:?} at {size}, {language:?}");
            let lungs = ResultScreen { infection: None, ..result };
            assert!(
                is_rejected || strip(&with) != strip(&drawn(&lungs, size)),
                "legend, {verdict:?} at {size}, {language:?}"
            );
        }
    }
}

#[test]
fn a_rejected_image_has_no_numbers_and_no_overlay() {
    let phantom = Phantom::xray(1.0);
    let verdict = Verdict::Rejected(RejectReason::Blurred);
    let with = phantom.result(verdict, Modality::Xray, "phantom.dcm");
    let without =
        ResultScreen { infection: None, lungs: None, probability: None, entropy_bits: None, involvement: None, ..with };
    let size = Size::new(320, 240);
    assert_eq!(drawn(&with, size), drawn(&without, size));
    let referred = Verdict::Refer(ReferReason::HighEntropy);
    assert_ne!(
        drawn(&ResultScreen { verdict: referred, ..with }, size),
        drawn(&ResultScreen { verdict: referred, ..without }, size)
    );
}

#[test]
fn left_and_right_are_as_in_the_picture() {
    let picture = Plane::from_fn(200, 200, |x, y| if x < 60 && y < 60 { 255 } else { 0 });
    let heat = Plane::from_fn(200, 200, |x, y| if x > 140 && y < 60 { 1.0 } else { 0.0 });
    let infection = Plane::from_fn(200, 200, |x, y| if x < 60 && y > 140 { 255 } else { 0 });
    let no_infection = Plane::filled(200, 200, 0);
    let size = Size::new(320, 240);
    let bare = ResultScreen { infection: Some(&no_infection), ..plain(&picture, Verdict::Positive) };
    let marked = ResultScreen { infection: Some(&infection), ..bare };
    let middle = |a: &Framebuffer, b: &Framebuffer| {
        let places = (0..a.pixels().len()).filter(|at| a.pixels()[*at] != b.pixels()[*at]).collect::<Vec<_>>();
        let mean = |value: fn(usize) -> usize| places.iter().map(|at| value(*at)).sum::<usize>() / places.len();
        (mean(|at| at % 320), mean(|at| at / 320))
    };
    let infected = middle(&drawn(&bare, size), &drawn(&marked, size));
    assert!(infected.0 < 60 && infected.1 > 130, "infection is on the lower left: {infected:?}");
    let cold = Plane::filled(200, 200, 0.0);
    let heated = |heat| drawn(&HeatScreen { result: bare, heat }, size);
    let hot = middle(&heated(&cold), &heated(&heat));
    assert!(hot.0 > 90 && hot.1 < 120, "heat is on the upper right: {hot:?}");
}

/// A panel that remembers whether anything was drawn outside it, and fails when told to.
struct Strict {
    bounds: Rectangle,
    outside: usize,
    pixels_until_failure: usize,
}

impl Dimensions for Strict {
    fn bounding_box(&self) -> Rectangle {
        self.bounds
    }
}

/// What a broken panel says.
#[derive(Debug, PartialEq)]
struct Unplugged;

impl DrawTarget for Strict {
    type Color = Rgb565;
    type Error = Unplugged;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb565>>>(&mut self, pixels: I) -> Result<(), Unplugged> {
        for Pixel(point, _) in pixels {
            self.outside += usize::from(!self.bounds.contains(point));
            self.pixels_until_failure = self.pixels_until_failure.checked_sub(1).ok_or(Unplugged)?;
        }
        Ok(())
    }
}

#[test]
fn an_error_of_the_panel_is_handed_on() {
    let picture = Plane::filled(3, 3, 128);
    let bounds = Rectangle::new(Point::zero(), Size::new(320, 240));
    for pixels_until_failure in [0, 10, 40_000, 70_000, 90_000] {
        let mut panel = Strict { bounds, outside: 0, pixels_until_failure };
        assert_eq!(plain(&picture, Verdict::Positive).draw(&mut panel), Err(Unplugged), "{pixels_until_failure}");
    }
}

fn numbers() -> impl Strategy<Value = Option<f32>> {
    prop_oneof![
        Just(None),
        any::<f32>().prop_map(Some),
        proptest::sample::select(vec![f32::NAN, f32::INFINITY, -0.0, 1.0, 100.0]).prop_map(Some),
        (0.0f32..1.0).prop_map(Some),
    ]
}

fn lengths() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![
        (0usize..40, 0usize..40),
        proptest::sample::select(vec![(1, 1), (1, 5000), (5000, 1), (0, 5000), (5000, 0), (700, 500)]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_result_is_drawn_inside_any_panel(
        (width, height) in lengths(),
        overlay in lengths(),
        heat: f32,
        mask: u8,
        verdict in any_verdict(),
        modality in proptest::sample::select(vec![None, Some(Modality::Xray), Some(Modality::Ct)]),
        probability in numbers(),
        entropy_bits in numbers(),
        involvement in (any::<bool>(), any::<f32>(), numbers(), numbers()),
        name: String,
        bundle: String,
        panel in prop_oneof![(0u32..500, 0u32..500), (240u32..=800, 240u32..=480)],
        corner in (-20i32..20, -20i32..20),
        language in proptest::sample::select(&Language::ALL[..]),
    ) {
        let picture = Plane::from_fn(width, height, |x, y| (x ^ y) as u8);
        let heat = Plane::filled(overlay.0, overlay.1, heat);
        let mask = Plane::filled(overlay.1, overlay.0, mask);
        let (known, percent, left_percent, right_percent) = involvement;
        let involvement = known.then_some(Involvement { percent, left_percent, right_percent });
        let result = ResultScreen {
            language,
            picture: &picture,
            infection: Some(&mask),
            lungs: Some([&mask, &mask]),
            verdict,
            modality,
            disease: &name,
            probability,
            entropy_bits,
            involvement,
            name: &name,
            bundle: &bundle,
            thresholds: probability.zip(entropy_bits).map(|(a, b)| [a, b]),
            thresholds_set: known,
            keys: KEYS,
        };
        let bounds = Rectangle::new(Point::from(corner), Size::from(panel));
        let mut strict = Strict { bounds, outside: 0, pixels_until_failure: usize::MAX };
        prop_assert_eq!(result.draw(&mut strict), Ok(()));
        prop_assert_eq!(HeatScreen { result, heat: &heat }.draw(&mut strict), Ok(()));
        prop_assert_eq!(strict.outside, 0);
    }

    #[test]
    fn any_message_is_drawn_inside_any_panel(
        title in proptest::sample::select(Word::ALL),
        language in proptest::sample::select(&Language::ALL[..]),
        name: String,
        text in any::<String>().prop_map(|text| text.repeat(50)),
        remedy: Option<String>,
        tone in proptest::sample::select(vec![Tone::Ready, Tone::Busy, Tone::Problem, Tone::Rejected, Tone::Done, Tone::Off]),
        panel in (240u32..=800, 240u32..=480),
        small in (0u32..240, 0u32..240),
    ) {
        let message = MessageScreen { language, tone, title, name: &name, text: &text, remedy: remedy.as_deref(), detail: &name, keys: KEYS };
        for size in [Size::from(panel), Size::from(small)] {
            let bounds = Rectangle::new(Point::new(-3, 5), size);
            let mut strict = Strict { bounds, outside: 0, pixels_until_failure: usize::MAX };
            prop_assert_eq!(message.draw(&mut strict), Ok(()));
            prop_assert_eq!(strict.outside, 0);
        }
    }
}
