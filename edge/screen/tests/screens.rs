//! Whole screens: the pictures in `docs/screens`, and what holds for every screen.
//!
//! After a wanted change, `THORAX_UPDATE_SCREENS=1 cargo test -p thorax-screen --test screens` draws the pictures anew;
//! look at them before they are committed. The radiographs on them are made by formula, from nobody.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use embedded_graphics::{
    mono_font::{
        MonoFont, MonoTextStyle,
        iso_8859_1::{FONT_5X8, FONT_6X10, FONT_7X13, FONT_7X13_BOLD, FONT_8X13_BOLD, FONT_9X15},
    },
    pixelcolor::{Rgb565, Rgb888},
    prelude::*,
    primitives::Rectangle,
    text::{Baseline, Text},
};
use proptest::prelude::*;
use thorax_screen::{DISCLAIMER, Framebuffer, MessageScreen, ResultScreen, Tone, render_png};
use thorax_shared::{
    lungs::Involvement,
    modality::Modality,
    plane::Plane,
    verdict::{ReferReason, RejectReason, Verdict},
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
}

impl Phantom {
    /// `pixel` gives grey, heat, infection and lung, 0 to 1, at a place in shares of the picture.
    fn of(width: usize, height: usize, pixel: impl Fn(f32, f32) -> [f32; 4]) -> Self {
        let at = |x: usize, y: usize| pixel((x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32);
        let mask = |channel: usize| Plane::from_fn(width, height, |x, y| if at(x, y)[channel] > 0.5 { 255 } else { 0 });
        Self {
            picture: Plane::from_fn(width, height, |x, y| (255.0 * at(x, y)[0] + 4.0 * grain(x, y)) as u8),
            heat: Plane::from_fn(width, height, |x, y| at(x, y)[1]),
            infection: mask(2),
            lungs: [true, false].map(|left| {
                let both = mask(3);
                Plane::from_fn(width, height, |x, y| if (2 * x >= width) == left { both.get(x, y) } else { 0 })
            }),
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
            picture: &self.picture,
            heat: Some(&self.heat),
            infection: Some(&self.infection),
            lungs: Some(self.lungs.each_ref()),
            verdict,
            modality: Some(modality),
            disease: None,
            probability: Some(0.93),
            entropy_bits: Some(0.08),
            involvement: involvement(14.6, 8.9, 19.7),
            name,
            bundle: "student-1.0",
        }
    }
}

/// Of both lungs, the patient's left and right one, in percent.
fn involvement(percent: f32, left: f32, right: f32) -> Option<Involvement> {
    Some(Involvement { percent, left_percent: Some(left), right_percent: Some(right) })
}

/// Compares a screen with its picture in `docs/screens`, or draws the picture anew where that is asked for.
fn check(name: &str, size: (u32, u32), screen: &impl Drawable<Color = Rgb565>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/screens").join(format!("{name}.png"));
    let size = Size::new(size.0, size.1);
    if std::env::var_os("THORAX_UPDATE_SCREENS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        render_png(screen, size, &path).unwrap();
        return;
    }
    let hint = "if the change is wanted, set THORAX_UPDATE_SCREENS=1, run this test again and look at the picture";
    let committed =
        image::open(&path).unwrap_or_else(|error| panic!("{}: {error}; {hint}", path.display())).into_rgb8();
    assert_eq!((committed.width(), committed.height()), (size.width, size.height), "{name}: {hint}");
    let differing = drawn(screen, size).to_image().pixels().zip(committed.pixels()).filter(|(a, b)| a != b).count();
    assert_eq!(differing, 0, "{name}: pixels that differ from the committed picture; {hint}");
}

fn drawn(screen: &impl Drawable<Color = Rgb565>, size: Size) -> Framebuffer {
    let mut framebuffer = Framebuffer::new(size);
    let Ok(_) = screen.draw(&mut framebuffer);
    framebuffer
}

const READY: MessageScreen<'_> = MessageScreen {
    tone: Tone::Ready,
    title: "READY",
    name: "",
    text: "Put in a USB stick with chest X-rays or CT slices, or send them by DICOM.",
    remedy: None,
};
const BUSY: MessageScreen<'_> = MessageScreen {
    tone: Tone::Busy,
    title: "READING...",
    name: "phantom-0007.dcm",
    text: "The image is being checked and read. This takes a few seconds.",
    remedy: None,
};
const PROBLEM: MessageScreen<'_> = MessageScreen {
    tone: Tone::Problem,
    title: "CANNOT READ",
    name: "phantom-0007.dcm",
    text: "The file ends after 31 of 412 KiB.",
    remedy: Some("Copy it to the stick again, and take the stick out only when its light is off."),
};

#[test]
fn the_pictures_in_the_docs_are_what_is_drawn() {
    let (xray, clear, ct) = (Phantom::xray(1.0), Phantom::xray(0.0), Phantom::ct());
    let positive = xray.result(Verdict::Positive, Modality::Xray, "phantom-0007-frontal-standing.dcm");
    let negative = ResultScreen {
        heat: None,
        probability: Some(0.04),
        entropy_bits: Some(0.11),
        involvement: involvement(0.0, 0.0, 0.0),
        ..clear.result(Verdict::Negative, Modality::Xray, "phantom-0012.png")
    };
    let refer = ResultScreen {
        probability: Some(0.58),
        entropy_bits: Some(0.71),
        involvement: involvement(6.3, 3.1, 9.2),
        ..xray.result(Verdict::Refer(ReferReason::Unfamiliar), Modality::Xray, "phantom-0031.dcm")
    };
    let slice = ResultScreen {
        probability: Some(0.997),
        ..ct.result(Verdict::Positive, Modality::Ct, "phantom-ct.nii slice 17")
    };
    let washed_out = xray.picture.map(|grey| 205 + grey / 8);
    let rejected = ResultScreen {
        picture: &washed_out,
        ..xray.result(Verdict::Rejected(RejectReason::Overexposed), Modality::Xray, "phantom-0044.jpg")
    };
    check("positive", (320, 240), &positive);
    check("negative", (320, 240), &negative);
    check("refer", (320, 240), &refer);
    check("rejected", (320, 240), &rejected);
    check("slice", (320, 240), &slice);
    check("ready", (320, 240), &READY);
    check("busy", (320, 240), &BUSY);
    check("problem", (320, 240), &PROBLEM);
    check("positive-240x240", (240, 240), &positive);
    check("rejected-240x240", (240, 240), &rejected);
    check("refer-240x320", (240, 320), &refer);
    check("refer-480x320", (480, 320), &refer);
}

fn every_verdict() -> impl Iterator<Item = Verdict> {
    [Verdict::Positive, Verdict::Negative]
        .into_iter()
        .chain(ReferReason::ALL.map(Verdict::Refer))
        .chain(RejectReason::ALL.map(Verdict::Rejected))
}

fn supported_sizes() -> impl Iterator<Item = Size> {
    [(320, 240), (240, 240), (240, 320), (299, 219), (300, 240), (320, 480), (419, 300), (420, 300), (480, 320)]
        .into_iter()
        .map(Size::from)
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    proptest::sample::select(every_verdict().collect::<Vec<_>>())
}

/// A result of one grey pixel with all numbers.
fn plain(picture: &Plane<u8>, verdict: Verdict) -> ResultScreen<'_> {
    ResultScreen {
        picture,
        heat: None,
        infection: None,
        lungs: None,
        verdict,
        modality: Some(Modality::Xray),
        disease: None,
        probability: Some(0.5),
        entropy_bits: Some(0.5),
        involvement: involvement(50.0, 75.0, 25.0),
        name: "phantom.dcm",
        bundle: "student-1.0",
    }
}

/// Finds text drawn in one colour on one other; its first column, and the two colours, foreground first.
fn find_text(screen: &Framebuffer, text: &str, font: &MonoFont<'_>) -> Option<(u32, [Rgb565; 2])> {
    let width = font.character_size.width * text.len() as u32;
    let mut stencil = Framebuffer::new(Size::new(width, font.character_size.height));
    let style = MonoTextStyle::new(font, Rgb565::WHITE);
    let Ok(_) = Text::with_baseline(text, Point::zero(), style, Baseline::Top).draw(&mut stencil);
    let inked = stencil.pixels().iter().position(|&colour| colour == Rgb565::WHITE)?;
    let at = |left: u32, top: u32, index: usize| {
        let (x, y) = (left as usize + index % width as usize, top as usize + index / width as usize);
        screen.pixels()[y * screen.size().width as usize + x]
    };
    let room = screen.size().saturating_sub(stencil.size());
    (0..=room.height).flat_map(|top| (0..=room.width).map(move |left| (left, top))).find_map(|(left, top)| {
        // The top left pixel of every capital letter's box is paper.
        let colours = [at(left, top, inked), at(left, top, 0)];
        let expected = |&stencilled: &Rgb565| colours[usize::from(stencilled != Rgb565::WHITE)];
        let same = || stencil.pixels().iter().enumerate().all(|(index, pixel)| at(left, top, index) == expected(pixel));
        (colours[0] != colours[1] && same()).then_some((left, colours))
    })
}

/// Contrast ratio of two colours, 1 to 21 (WCAG 2.2, "contrast ratio" and "relative luminance").
fn contrast([a, b]: [Rgb565; 2]) -> f64 {
    let luminance = |colour: Rgb565| {
        let colour = Rgb888::from(colour);
        let [red, green, blue] = [colour.r(), colour.g(), colour.b()].map(|channel| {
            let share = f64::from(channel) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn assert_disclaimed(screen: &Framebuffer) {
    let fonts = [&FONT_5X8, &FONT_7X13_BOLD, &FONT_8X13_BOLD];
    let colours = fonts.iter().find_map(|font| find_text(screen, "RESEARCH USE ONLY - NOT A MEDICAL DEVICE", font));
    let (_, colours) = colours.unwrap_or_else(|| panic!("no disclaimer at {:?}", screen.size()));
    assert!(contrast(colours) >= 4.5, "{colours:?} at {:?}", screen.size());
}

#[test]
fn every_screen_says_that_it_is_for_research_only() {
    assert_eq!(DISCLAIMER, "RESEARCH USE ONLY - NOT A MEDICAL DEVICE");
    let picture = Plane::filled(1, 1, 128);
    for size in supported_sizes() {
        for verdict in every_verdict() {
            assert_disclaimed(&drawn(&plain(&picture, verdict), size));
        }
        for message in [READY, BUSY, PROBLEM] {
            assert_disclaimed(&drawn(&message, size));
        }
    }
}

#[test]
fn each_lung_s_share_is_whole_on_every_panel_the_patient_s_right_on_the_left() {
    let picture = Plane::filled(1, 1, 128);
    for size in supported_sizes() {
        for verdict in [Verdict::Positive].into_iter().chain(ReferReason::ALL.map(Verdict::Refer)) {
            for (percent, shown) in [(0.04, "<0.1 %"), (7.25, "7.2 %"), (100.0, "100 %")] {
                let result =
                    ResultScreen { involvement: involvement(50.0, percent, percent), ..plain(&picture, verdict) };
                let screen = drawn(&result, size);
                let column = |side: &str| {
                    let text = format!("{side} {shown}");
                    let found = [&FONT_6X10, &FONT_7X13, &FONT_9X15].iter().find_map(|f| find_text(&screen, &text, f));
                    let (column, colours) = found.unwrap_or_else(|| panic!("no {text} at {size}, {verdict:?}"));
                    assert!(contrast(colours) >= 4.5, "{colours:?} at {size}");
                    column
                };
                assert!(column("R") < column("L"), "{size}");
            }
        }
    }
    let unknown = Involvement { percent: 50.0, left_percent: Some(75.0), right_percent: None };
    let result = ResultScreen { involvement: Some(unknown), ..plain(&picture, Verdict::Positive) };
    let screen = drawn(&result, Size::new(320, 240));
    assert!(find_text(&screen, "L 75 %", &FONT_7X13).is_some());
    assert!(find_text(&screen, "R ", &FONT_7X13).is_none(), "nothing is said of a lung that was not found");
}

#[test]
fn every_verdict_has_its_own_colour_with_contrast() {
    let picture = Plane::filled(1, 1, 128);
    let mut grounds = Vec::new();
    for verdict in [
        Verdict::Positive,
        Verdict::Negative,
        Verdict::Refer(ReferReason::AbstainZone),
        Verdict::Rejected(RejectReason::Blurred),
    ] {
        let screen = drawn(&plain(&picture, verdict), Size::new(320, 240));
        let word = verdict.as_str().to_uppercase();
        // The word is bold: drawn twice, one pixel apart. Ground and ink are the banner's two colours.
        let banner: Vec<_> = (20..54).flat_map(|y| screen.pixels()[y * 320..(y + 1) * 320].to_vec()).collect();
        let ground = banner[0];
        let ink = *banner.iter().find(|&&colour| colour != ground).unwrap();
        assert!(banner.iter().all(|colour| [ground, ink].contains(colour)), "{word}");
        assert!(contrast([ground, ink]) >= 4.0, "{word}: {}", contrast([ground, ink]));
        assert!(!grounds.contains(&ground), "{word}");
        grounds.push(ground);
    }
}

#[test]
fn a_rejected_image_has_no_numbers_and_no_overlay() {
    let phantom = Phantom::xray(1.0);
    let verdict = Verdict::Rejected(RejectReason::Blurred);
    let with = phantom.result(verdict, Modality::Xray, "phantom.dcm");
    let without = ResultScreen {
        heat: None,
        infection: None,
        lungs: None,
        probability: None,
        entropy_bits: None,
        involvement: None,
        ..with
    };
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
    let result = ResultScreen {
        heat: Some(&heat),
        infection: Some(&infection),
        ..plain(&picture, Verdict::Refer(ReferReason::AbstainZone))
    };
    let screen = drawn(&result, Size::new(320, 240));
    let bare = drawn(&plain(&picture, Verdict::Refer(ReferReason::AbstainZone)), Size::new(320, 240));
    // The picture's own columns and rows, from its white corner and what heat and infection changed above the legend.
    let changed = |wanted: fn(Rgb888) -> bool| {
        let places = (60..200u32).flat_map(|y| (0..170u32).map(move |x| (x, y)));
        let places: Vec<_> = places
            .filter(|(x, y)| {
                let index = (y * 320 + x) as usize;
                screen.pixels()[index] != bare.pixels()[index] && wanted(Rgb888::from(screen.pixels()[index]))
            })
            .collect();
        let mean = |value: fn(&(u32, u32)) -> u32| places.iter().map(value).sum::<u32>() / places.len() as u32;
        (mean(|place| place.0), mean(|place| place.1))
    };
    let hot = changed(|colour| colour.r() > colour.b() && colour.g() > colour.b());
    let infected = changed(|colour| colour.b() > colour.g());
    assert!(hot.0 > 110 && hot.1 < 100, "heat is on the upper right: {hot:?}");
    assert!(infected.0 < 60 && infected.1 > 140, "infection is on the lower left: {infected:?}");
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
    for pixels_until_failure in [0, 10, 80_000, 90_000, 110_000] {
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
    #![proptest_config(ProptestConfig::with_cases(400))]

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
        panel in prop_oneof![(0u32..500, 0u32..500), (240u32..=480, 240u32..=320)],
        corner in (-20i32..20, -20i32..20),
    ) {
        let picture = Plane::from_fn(width, height, |x, y| (x ^ y) as u8);
        let heat = Plane::filled(overlay.0, overlay.1, heat);
        let mask = Plane::filled(overlay.1, overlay.0, mask);
        let (known, percent, left_percent, right_percent) = involvement;
        let involvement = known.then_some(Involvement { percent, left_percent, right_percent });
        let result = ResultScreen {
            picture: &picture,
            heat: Some(&heat),
            infection: Some(&mask),
            lungs: Some([&mask, &mask]),
            verdict,
            modality,
            disease: Some(&name),
            probability,
            entropy_bits,
            involvement,
            name: &name,
            bundle: &bundle,
        };
        let bounds = Rectangle::new(Point::from(corner), Size::from(panel));
        let mut strict = Strict { bounds, outside: 0, pixels_until_failure: usize::MAX };
        prop_assert_eq!(result.draw(&mut strict), Ok(()));
        prop_assert_eq!(strict.outside, 0);
    }

    #[test]
    fn any_message_is_drawn_inside_any_panel_and_keeps_its_disclaimer(
        title: String,
        name: String,
        text in any::<String>().prop_map(|text| text.repeat(50)),
        remedy: Option<String>,
        tone in proptest::sample::select(vec![Tone::Ready, Tone::Busy, Tone::Problem]),
        panel in (240u32..=480, 240u32..=320),
        small in (0u32..240, 0u32..240),
    ) {
        let message = MessageScreen { tone, title: &title, name: &name, text: &text, remedy: remedy.as_deref() };
        for size in [Size::from(panel), Size::from(small)] {
            let bounds = Rectangle::new(Point::new(-3, 5), size);
            let mut strict = Strict { bounds, outside: 0, pixels_until_failure: usize::MAX };
            prop_assert_eq!(message.draw(&mut strict), Ok(()));
            prop_assert_eq!(strict.outside, 0);
        }
        assert_disclaimed(&drawn(&message, Size::from(panel)));
    }
}
