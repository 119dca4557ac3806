//! Whole screens: the pictures in `docs/screens`, and what holds for every screen.
//!
//! After a wanted change, `THORAX_UPDATE_SCREENS=1 cargo test -p thorax-edge --test draw_screens` draws the pictures anew;
//! look at them before they are committed. The radiographs on them are made by formula, from nobody.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{convert::Infallible, path::Path};

use embedded_graphics::{
    mono_font::{
        MonoFont, MonoTextStyle,
        iso_8859_1::{FONT_5X8, FONT_7X13_BOLD, FONT_8X13_BOLD},
    },
    pixelcolor::{Rgb565, Rgb888},
    prelude::*,
    primitives::Rectangle,
    text::{Baseline, Text},
};
use proptest::prelude::*;
use thorax_edge::draw::{DISCLAIMER, Framebuffer, MessageScreen, ResultScreen, Tone, render_png};
use thorax_shared::{
    label::{Modality, ReferReason, RejectReason, Verdict},
    plane::Plane,
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
    lung: Plane<u8>,
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
            lung: mask(3),
        }
    }

    /// A projection from the front: ribs, heart, diaphragm, and shadows low in both lungs.
    fn xray() -> Self {
        Self::of(520, 440, |x, y| {
            let side = (x - 0.5).abs();
            let body = ellipse(x, y, (0.5, 0.66), (0.50, 0.66), 0.10).max(ellipse(x, y, (0.5, 0.02), (0.11, 0.22), 0.3));
            let dome = |y: f32| (y * 22.0).clamp(0.0, 1.0);
            let left = ellipse(x, y, (0.295, 0.50), (0.165, 0.385), 0.12) * dome(0.84 - y + 0.16 * (x - 0.3));
            let right = ellipse(x, y, (0.705, 0.50), (0.165, 0.385), 0.12) * dome(0.87 - y - 0.16 * (x - 0.7));
            let heart =
                ellipse(x, y, (0.56, 0.68), (0.165, 0.20), 0.22).max(ellipse(x, y, (0.52, 0.40), (0.055, 0.26), 0.5));
            let lung = left.max(right) * (1.0 - heart);
            let spine = ellipse(x, y, (0.5, 0.5), (0.045, 0.9), 0.5) * (0.8 + 0.2 * wave(y * 12.0));
            let rib = (wave(y * 8.3 - side * side * 15.0 + side * 2.9) - 0.35).max(0.0);
            let along_clavicle = (y - 0.145 + 0.18 * (side - 0.2)) / 0.018;
            let clavicle = if (0.04..0.40).contains(&side) { (1.0 - along_clavicle * along_clavicle).max(0.0) } else { 0.0 };
            let hilum = ellipse(x, y, (0.40, 0.50), (0.05, 0.12), 1.2) + ellipse(x, y, (0.60, 0.46), (0.05, 0.11), 1.2);
            let opacity = ellipse(x, y, (0.245, 0.69), (0.085, 0.11), 1.0)
                .max(0.9 * ellipse(x, y, (0.785, 0.62), (0.06, 0.13), 1.0))
                .max(0.7 * ellipse(x, y, (0.22, 0.44), (0.04, 0.06), 1.0));
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
            let shell = ellipse(x, y, (0.5, 0.52), (0.40, 0.305), 0.04) - ellipse(x, y, (0.5, 0.52), (0.375, 0.28), 0.04);
            let rib = shell * wave(x * 6.0 + y * 5.0).max(0.0);
            let vessel = (wave(x * 9.7) * wave(y * 8.4 + x * 2.7) - 0.72).max(0.0) * lung;
            let opacity = ellipse(x, y, (0.235, 0.63), (0.085, 0.075), 0.8)
                .max(ellipse(x, y, (0.77, 0.65), (0.05, 0.045), 0.8));
            let grey = 0.50 * body - 0.42 * lung + 0.12 * heart + 0.34 * vertebra + 0.38 * rib + 0.9 * vessel
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
            lung: Some(&self.lung),
            verdict,
            modality: Some(modality),
            probability: Some(0.93),
            entropy_bits: Some(0.08),
            involvement_percent: Some(14.6),
            name,
            bundle: "student-1.0",
        }
    }
}

/// Compares a screen with its picture in `docs/screens`, or draws the picture anew where that is asked for.
fn check(name: &str, size: (u32, u32), screen: &impl Drawable<Color = Rgb565>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/screens").join(format!("{name}.png"));
    let size = Size::new(size.0, size.1);
    if std::env::var_os("THORAX_UPDATE_SCREENS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        render_png(screen, size, &path).unwrap();
        return;
    }
    let hint = "if the change is wanted, set THORAX_UPDATE_SCREENS=1, run this test again and look at the picture";
    let committed = image::open(&path).unwrap_or_else(|error| panic!("{}: {error}; {hint}", path.display())).into_rgb8();
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
    let (xray, ct) = (Phantom::xray(), Phantom::ct());
    let positive = xray.result(Verdict::Positive, Modality::Xray, "phantom-0007-frontal-standing.dcm");
    let negative = ResultScreen {
        heat: None,
        infection: None,
        probability: Some(0.04),
        entropy_bits: Some(0.11),
        involvement_percent: Some(0.0),
        ..xray.result(Verdict::Negative, Modality::Xray, "phantom-0012.png")
    };
    let refer = ResultScreen {
        probability: Some(0.58),
        entropy_bits: Some(0.71),
        involvement_percent: Some(6.3),
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
