//! What the panel shows.
//!
//! A screen is a value that says what is known ([`ResultScreen`], [`MessageScreen`]) and draws itself onto any
//! [`DrawTarget`] of [`Rgb565`]: an SPI panel of 320 x 240 pixels, a Linux framebuffer, or the [`Framebuffer`] from which
//! a PNG is made. Everything is laid out from the target's own size; 240 x 240 to 480 x 320 are supported, and other
//! sizes are drawn as far as there is room.
//!
//! A screen is read at arm's length, in a hurry, by people who may not tell red from green. The verdict therefore has a
//! word, a shape and a colour of its own; numbers come with a bar or gauge; what is not known is left out, and what is no
//! number is shown as `--`. An image that was rejected has no numbers and no overlay, whatever else was computed. And
//! every screen says that it comes from no medical device.
//!
//! `tests/screens.rs` draws them all.

mod framebuffer;
mod gauge;
pub mod input;
mod layers;
mod layout;
#[cfg(test)]
mod mock;
mod palette;
mod parts;
mod picture;
mod text;

use embedded_graphics::{pixelcolor::Rgb565, prelude::*, primitives::Rectangle, text::Alignment};
use thorax_shared::{lungs::Involvement, modality::Modality, plane::Plane, verdict::Verdict};

pub use self::{
    framebuffer::{Framebuffer, PngError, render_png},
    picture::Overlaid,
};
use self::{
    gauge::{Meter, Metric},
    layout::{Frame, ResultBody, Scale, inset},
    palette::panel,
    parts::{Banner, Key, Sign, Swatch, Words},
};

/// Stands on every screen.
pub const DISCLAIMER: &str = "RESEARCH USE ONLY - NOT A MEDICAL DEVICE";

/// The size of the device's panel in pixels.
pub const PANEL: Size = Size::new(320, 240);

/// What was found in one image.
#[derive(Clone, Copy, Debug)]
pub struct ResultScreen<'a> {
    /// The image as a reader expects to see it (upright, windowed, air dark), of any size; it is drawn as it is, not
    /// mirrored, and keeps its proportions.
    pub picture: &'a Plane<u8>,
    /// Where the models looked, 0 to 1, over the same field of view as `picture` and in any resolution; what is no
    /// finite number counts as 0.
    pub heat: Option<&'a Plane<f32>>,
    /// Where infection was marked (anything but 0), over the same field of view.
    pub infection: Option<&'a Plane<u8>>,
    /// Where the one and the other lung was marked (anything but 0), over the same field of view.
    pub lungs: Option<[&'a Plane<u8>; 2]>,
    /// What Thorax says of the image.
    pub verdict: Verdict,
    /// The kind of image, where it is known.
    pub modality: Option<Modality>,
    /// What *positive* means, in the bundle's words; `None` for COVID-19.
    pub disease: Option<&'a str>,
    /// The calibrated probability of it, 0 to 1.
    pub probability: Option<f32>,
    /// The ensemble's entropy, 0 to 1 bit.
    pub entropy_bits: Option<f32>,
    /// Infected share of the lungs, 0 to 100 percent; the right lung's stands left of the left one's, as in the picture.
    pub involvement: Option<Involvement>,
    /// File or patient label; shortened in the middle where it is too long.
    pub name: &'a str,
    /// The model bundle's name and version.
    pub bundle: &'a str,
}

impl<'a> ResultScreen<'a> {
    fn banner(&self) -> Banner<'a> {
        let (sign, word, remark, ground, ink) = match self.verdict {
            Verdict::Positive => {
                let found = self.disease.unwrap_or("above threshold");
                (Sign::Plus, "POSITIVE", found, palette::POSITIVE, palette::ON_DARK)
            }
            Verdict::Negative => (Sign::Minus, "NEGATIVE", "below threshold", palette::NEGATIVE, palette::ON_DARK),
            Verdict::Refer(_) => (Sign::Question, "REFER", "a person decides", palette::REFER, palette::ON_BRIGHT),
            Verdict::Rejected(_) => (Sign::Cross, "REJECTED", "image not read", palette::REJECTED, palette::ON_DARK),
        };
        Banner { sign, word, remark, ground, ink }
    }

    /// Why a person has to decide, or why the image was not read, and what to do: as sentences, empty where there is nothing to
    /// say.
    fn reason(&self) -> [heapless::String<128>; 2] {
        let reason = self.verdict.reason();
        let [cause, remedy] =
            [reason.as_ref().map(|why| &*why.cause), reason.as_ref().and_then(|why| why.remedy.as_deref())];
        [cause, remedy].map(|text| {
            let mut text = heapless::String::try_from(text.unwrap_or_default()).unwrap_or_default();
            capitalise(&mut text);
            text
        })
    }

    fn metrics(&self) -> heapless::Vec<Metric<'static>, 3> {
        let share = |value: f32, whole: f32| Some(value / whole).filter(|share| (-0.001..=1.001).contains(share));
        let probability = self.probability.map(|value| Metric {
            label: if self.disease.is_some() { "Disease" } else { "COVID-19" },
            value: text::probability(value),
            share: share(value, 1.0),
            meter: Meter::Bar,
            colour: self.banner().ground,
            large: true,
            ends: Default::default(),
        });
        let entropy = self.entropy_bits.map(|value| Metric {
            label: "Entropy",
            value: text::entropy_bits(value),
            share: share(value, 1.0),
            meter: Meter::Gauge,
            colour: palette::ENTROPY,
            large: false,
            ends: Default::default(),
        });
        let involvement = self.involvement.map(|Involvement { percent, left_percent, right_percent }| Metric {
            label: "Involvement",
            value: text::area_percent(percent),
            share: share(percent, 100.0),
            meter: Meter::Bar,
            colour: panel(palette::INFECTION),
            large: false,
            ends: [text::side_percent('R', right_percent), text::side_percent('L', left_percent)],
        });
        [probability, entropy, involvement].into_iter().flatten().collect()
    }
}

impl Drawable for ResultScreen<'_> {
    type Color = Rgb565;
    type Output = ();

    fn draw<D: DrawTarget<Color = Rgb565>>(&self, target: &mut D) -> Result<(), D::Error> {
        let banner = self.banner();
        let tag = self.modality.map_or("", Modality::title);
        let (frame, scale) = draw_frame(target, tag, self.name, &banner)?;
        let body = ResultBody::of(frame.body, scale);
        let [cause, remedy] = self.reason();
        let overlaid = Overlaid { picture: self.picture, heat: None, infection: None, lungs: None };

        if matches!(self.verdict, Verdict::Rejected(_)) {
            overlaid.draw(target, body.picture)?;
            parts::draw_column(target, body.column, &cause_and_remedy(&cause, &remedy, scale), &[], scale)?;
        } else {
            let Self { heat, infection, lungs, .. } = *self;
            Overlaid { heat, infection, lungs, ..overlaid }.draw(target, body.picture)?;
            let keys = [
                heat.map(|_| Key { text: "heat", swatch: Swatch::Heat }),
                infection.map(|_| Key { text: "infected", swatch: Swatch::Filled(panel(palette::INFECTION)) }),
                lungs.map(|_| Key { text: "lung", swatch: Swatch::Outlined(panel(palette::LUNG)) }),
            ];
            let keys: heapless::Vec<Key, 3> = keys.into_iter().flatten().collect();
            parts::draw_legend(target, body.legend, &keys, scale.small)?;
            let words = Words { text: &cause, face: scale.reason, colour: palette::TEXT };
            let words = if cause.is_empty() { &[][..] } else { &[words] };
            parts::draw_column(target, body.column, words, &self.metrics(), scale)?;
        }
        text::draw_line(target, body.bundle, self.bundle, scale.small, palette::SOFT_TEXT, Alignment::Right)
    }
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// The device waits for an image.
    Ready,
    /// The device is at work.
    Busy,
    /// Something went wrong, and somebody has to do something.
    Problem,
}

/// What the device says when there is no result to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageScreen<'a> {
    /// Colour and sign.
    pub tone: Tone,
    /// In large letters; up to 11 characters fit on every supported panel.
    pub title: &'a str,
    /// File or patient label; empty where it is about none.
    pub name: &'a str,
    /// What is the matter, in whole sentences.
    pub text: &'a str,
    /// What to do about it.
    pub remedy: Option<&'a str>,
}

impl Drawable for MessageScreen<'_> {
    type Color = Rgb565;
    type Output = ();

    fn draw<D: DrawTarget<Color = Rgb565>>(&self, target: &mut D) -> Result<(), D::Error> {
        let (sign, ground) = match self.tone {
            Tone::Ready => (Sign::Ring, palette::STRIP),
            Tone::Busy => (Sign::Hourglass, palette::BUSY),
            Tone::Problem => (Sign::Exclamation, palette::PROBLEM),
        };
        let banner = Banner { sign, word: self.title, remark: "", ground, ink: palette::ON_DARK };
        let (frame, scale) = draw_frame(target, "Thorax", self.name, &banner)?;
        let words = cause_and_remedy(self.text, self.remedy.unwrap_or_default(), scale);
        parts::draw_column(target, inset(frame.body, scale.gap), &words, &[], scale)
    }
}

/// What is the matter, and under it, in another colour, what to do.
fn cause_and_remedy<'a>(cause: &'a str, remedy: &'a str, scale: &Scale) -> [Words<'a>; 2] {
    [
        Words { text: cause, face: scale.heading, colour: palette::TEXT },
        Words { text: remedy, face: scale.body, colour: palette::REMEDY_TEXT },
    ]
}

/// Makes the first letter a capital, as at the beginning of a sentence.
fn capitalise(text: &mut str) {
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
}

/// Draws what all screens have in common, and says what is left for the body.
fn draw_frame<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    tag: &str,
    name: &str,
    banner: &Banner<'_>,
) -> Result<(Frame, &'static Scale), D::Error> {
    let bounds: Rectangle = target.bounding_box();
    let scale = Scale::of(bounds.size);
    let frame = Frame::of(bounds, scale);
    target.fill_solid(&bounds, palette::BACKGROUND)?;
    parts::draw_header(target, frame.header, tag, name, scale)?;
    banner.draw(target, frame.banner, scale)?;
    parts::draw_footer(target, frame.footer, DISCLAIMER, scale)?;
    Ok((frame, scale))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use thorax_shared::verdict::{ReferReason, RejectReason};

    /// Each supported size of panel with its scale and parts.
    fn supported() -> impl Iterator<Item = (Size, &'static Scale, Frame, ResultBody)> {
        let sizes = (240..=480).flat_map(|width| (240..=320).map(move |height| Size::new(width, height)));
        sizes.map(|size| {
            let scale = Scale::of(size);
            let frame = Frame::of(Rectangle::new(Point::zero(), size), scale);
            let body = ResultBody::of(frame.body, scale);
            (size, scale, frame, body)
        })
    }

    fn result(picture: &Plane<u8>, verdict: Verdict) -> ResultScreen<'_> {
        ResultScreen {
            picture,
            heat: None,
            infection: None,
            lungs: None,
            verdict,
            modality: None,
            disease: None,
            probability: Some(0.999),
            entropy_bits: Some(0.888),
            involvement: Some(Involvement { percent: 0.01, left_percent: Some(0.01), right_percent: Some(0.01) }),
            name: "",
            bundle: "",
        }
    }

    /// Whether a paragraph has room, with no word broken.
    fn fits(words: &Words<'_>, area: Rectangle) -> bool {
        let mut lines = text::wrap(words.text, words.face.columns(area.size.width));
        let mut expected = words.text;
        lines.all(|line| {
            let rest = expected.strip_prefix(line).unwrap_or("x");
            let whole = rest.is_empty() || rest.starts_with(' ');
            expected = rest.trim_start();
            whole
        })
    }

    #[test]
    fn every_reason_and_number_fits_on_every_supported_panel() {
        let picture = Plane::filled(1, 1, 0);
        for (size, scale, _, body) in supported() {
            for verdict in RejectReason::ALL.map(Verdict::Rejected) {
                let [cause, remedy] = result(&picture, verdict).reason();
                assert!(!cause.is_empty() && !remedy.is_empty(), "{verdict:?}");
                let words = cause_and_remedy(&cause, &remedy, scale);
                let height = |words: &Words<'_>| text::paragraph_height(words.text, words.face, body.column.size.width);
                let used: u32 = words.iter().map(height).sum();
                assert!(used + scale.gap <= body.column.size.height, "{verdict:?} on {size}");
                assert!(words.iter().all(|words| fits(words, body.column)), "{verdict:?} on {size}");
            }
            for verdict in ReferReason::ALL.map(Verdict::Refer) {
                let result = result(&picture, verdict);
                let metrics = result.metrics();
                assert_eq!(metrics.len(), 3);
                let [reason, _] = result.reason();
                let words = Words { text: &reason, face: scale.reason, colour: palette::TEXT };
                let used = text::paragraph_height(&reason, scale.reason, body.column.size.width)
                    + metrics.iter().map(|metric| metric.height(scale)).sum::<u32>();
                assert!(used + 6 <= body.column.size.height, "{verdict:?} on {size}: {used}");
                assert!(fits(&words, body.column), "{verdict:?} on {size}");
                for metric in &metrics {
                    assert!(metric.width(scale) <= body.column.size.width, "{} on {size}", metric.label);
                }
            }
        }
    }

    #[test]
    fn verdicts_and_titles_of_eleven_letters_are_large_on_every_supported_panel() {
        for (size, scale, frame, _) in supported() {
            let room = Banner::room(frame.banner, scale);
            assert!(scale.word.columns(room.size.width) >= 11, "{size}");
        }
    }

    #[test]
    fn the_words_of_the_shipped_bundles_fit_beside_the_verdict() {
        let picture = Plane::filled(1, 1, 0);
        let result =
            ResultScreen { disease: Some("pneumonia as COVID-19 makes it"), ..result(&picture, Verdict::Positive) };
        let banner = result.banner();
        for (size, scale, frame, body) in supported() {
            let mut room = Banner::room(frame.banner, scale);
            let face = if banner.word.len() <= scale.word.columns(room.size.width) { scale.word } else { scale.header };
            layout::cut_left(&mut room, face.width(banner.word.len()) + scale.gap);
            let words = Words { text: banner.remark, face: scale.remark, colour: palette::TEXT };
            assert!(fits(&words, room), "{size}");
            assert!(result.metrics()[0].width(scale) <= body.column.size.width, "{size}");
        }
    }

    #[test]
    fn words_shapes_and_colours_of_the_verdicts_differ() {
        let picture = Plane::filled(1, 1, 0);
        let verdicts = [
            Verdict::Positive,
            Verdict::Negative,
            Verdict::Refer(ReferReason::HighEntropy),
            Verdict::Rejected(RejectReason::Colour),
        ];
        let banners = verdicts.map(|verdict| result(&picture, verdict).banner());
        for (index, banner) in banners.iter().enumerate() {
            assert_eq!(banner.word.to_lowercase(), verdicts[index].as_str());
            for other in &banners[..index] {
                assert!(banner.sign != other.sign && banner.ground != other.ground && banner.remark != other.remark);
            }
        }
    }
}
