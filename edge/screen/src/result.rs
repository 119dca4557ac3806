//! What was found in one image: the verdict, what to do, the numbers, and where.

use embedded_graphics::{pixelcolor::Rgb565, prelude::*, primitives::Rectangle, text::Alignment};
use thorax_shared::{
    lungs::Involvement,
    modality::Modality,
    plane::Plane,
    verdict::Verdict,
    words::{self, Language, Word},
};

use super::{
    capitalised,
    gauge::{Meter, Metric},
    layout::{Frame, ResultBody, Scale, cut_left, cut_right, cut_top},
    message::cause_and_remedy,
    palette::{self, panel},
    parts::{
        Banner, Keys, Legend, Sign, Swatch, Words, column_fits, draw_column, draw_frame, draw_legend, draw_swatch,
    },
    picture::Overlaid,
    text::{self, Ink, draw_line, draw_paragraph, paragraph_height},
};

/// What was found in one image.
#[derive(Clone, Copy, Debug)]
pub struct ResultScreen<'a> {
    /// Of its words.
    pub language: Language,
    /// The image as a reader expects to see it (upright, windowed, air dark), of any size; it is drawn as it is, not
    /// mirrored, and keeps its proportions.
    pub picture: &'a Plane<u8>,
    /// Where infection was marked (anything but 0), over the same field of view as `picture`, in any resolution.
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
    /// From where on it is negative and positive, `[negative below, positive from]`, 0 to 1: marked on the bar.
    pub thresholds: Option<[f32; 2]>,
    /// The ensemble's entropy, 0 to 1 bit.
    pub entropy_bits: Option<f32>,
    /// Infected share of the lungs, 0 to 100 percent; the right lung's stands left of the left one's, as in the picture.
    pub involvement: Option<Involvement>,
    /// File or patient label; shortened in the middle where it is too long.
    pub name: &'a str,
    /// The model bundle's name and version.
    pub bundle: &'a str,
    /// What the keys do.
    pub keys: Keys,
}

/// A verdict's shape, colour, and the colour of what is written on it.
pub(super) fn look(verdict: Verdict) -> (Sign, Rgb565, Rgb565) {
    match verdict {
        Verdict::Positive => (Sign::Plus, palette::POSITIVE, palette::ON_DARK),
        Verdict::Negative => (Sign::Minus, palette::NEGATIVE, palette::ON_DARK),
        Verdict::Refer(_) => (Sign::Question, palette::REFER, palette::ON_BRIGHT),
        Verdict::Rejected(_) => (Sign::Cross, palette::REJECTED, palette::ON_DARK),
    }
}

impl<'a> ResultScreen<'a> {
    fn banner(&self) -> Banner<'a> {
        let word = |word| self.language.word(word);
        let (sign, ground, ink) = look(self.verdict);
        let (title, remark) = match self.verdict {
            // Of what it is positive or negative: there are other diseases.
            Verdict::Positive => (Word::Positive, self.meaning()),
            Verdict::Negative => (Word::Negative, self.meaning()),
            Verdict::Refer(_) => (Word::Refer, word(Word::APersonDecides)),
            Verdict::Rejected(_) => (Word::Rejected, word(Word::NotRead)),
        };
        Banner { sign, word: word(title), remark, ground, ink }
    }

    /// What *positive* means, in the reader's language where it is known there.
    fn meaning(&self) -> &'a str {
        let disease = self.disease.unwrap_or("COVID-19");
        words::reason(self.language, disease).unwrap_or(disease)
    }

    /// What to do now; empty where the reason says so.
    fn advice(&self) -> &'static str {
        match self.verdict {
            Verdict::Positive => self.language.word(Word::DoPositive),
            Verdict::Negative => self.language.word(Word::DoNegative),
            Verdict::Refer(_) => self.language.word(Word::DoRefer),
            Verdict::Rejected(_) => "",
        }
    }

    /// Why a person has to decide, or why the image was not read, and what to do: as sentences, empty where there is nothing to
    /// say.
    fn reason(&self) -> [String; 2] {
        let reason = self.verdict.reason();
        let texts = [reason.as_ref().map(|why| &*why.cause), reason.as_ref().and_then(|why| why.remedy.as_deref())];
        texts.map(|english| {
            let english = english.unwrap_or_default();
            capitalised(words::reason(self.language, english).unwrap_or(english))
        })
    }

    /// The numbers; a rejected image has none, whatever was computed.
    fn metrics<'t>(&self, labels: &'t [String; 3], with_sides: bool) -> Vec<Metric<'t>> {
        if matches!(self.verdict, Verdict::Rejected(_)) {
            return vec![];
        }
        let share = |value: f32, whole: f32| Some(value / whole).filter(|share| (-0.001..=1.001).contains(share));
        let [probability, uncertainty, involved] = labels;
        let probability = self.probability.map(|value| Metric {
            label: probability,
            value: text::probability(value),
            share: share(value, 1.0),
            meter: Meter::Bar,
            marks: self.thresholds,
            colour: look(self.verdict).1,
            large: true,
            ends: Default::default(),
        });
        let entropy = self.entropy_bits.map(|value| Metric {
            label: uncertainty,
            value: text::entropy_bits(value),
            share: share(value, 1.0),
            meter: Meter::Gauge,
            marks: None,
            colour: palette::ENTROPY,
            large: false,
            ends: if with_sides {
                [Word::Low, Word::High].map(|w| self.language.word(w).into())
            } else {
                Default::default()
            },
        });
        let involvement = self.involvement.map(|involvement @ Involvement { percent, .. }| Metric {
            label: involved,
            value: text::area_percent(percent),
            share: share(percent, 100.0),
            meter: Meter::Bar,
            marks: None,
            colour: panel(palette::INFECTION),
            large: false,
            ends: if with_sides { self.sides(involvement) } else { Default::default() },
        });
        [probability, entropy, involvement].into_iter().flatten().collect()
    }

    /// How much of the right and of the left lung, as they stand in the picture; empty for one that was not found.
    fn sides(&self, Involvement { left_percent, right_percent, .. }: Involvement) -> [String; 2] {
        [(Word::RightShort, right_percent), (Word::LeftShort, left_percent)]
            .map(|(word, percent)| text::side_percent(self.language.word(word), percent))
    }

    fn labels(&self) -> [String; 3] {
        [Word::Probability, Word::Uncertainty, Word::Involved].map(|word| capitalised(self.language.word(word)))
    }
}

/// What of a result is shown where there is little room, and how wide the picture is.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// The picture's columns, of 25.
    share: u32,
    /// The strip of keys.
    keys: bool,
    /// Legend and bundle.
    notes: bool,
    /// How much of the right and of the left lung; the page of the heat map has it too.
    sides: bool,
}

impl Plan {
    /// The one that is wanted most comes first.
    fn all() -> impl Iterator<Item = Self> {
        let kept = [(true, true, true), (true, true, false), (true, false, false), (false, false, false)];
        kept.into_iter().flat_map(|(keys, notes, sides)| [12, 10, 9].map(|share| Self { share, keys, notes, sides }))
    }
}

/// Where the parts of a result go.
struct Places {
    advice: Rectangle,
    body: ResultBody,
}

impl ResultScreen<'_> {
    fn places(&self, bounds: Rectangle, plan: Plan, scale: &Scale) -> Places {
        let mut rest = Frame::of(bounds, scale).body;
        self.keys_of(plan).cut(&mut rest, scale);
        let advice = paragraph_height(self.advice(), scale.advice, rest.size.width);
        let advice = cut_top(&mut rest, advice);
        if !advice.is_zero_sized() {
            cut_top(&mut rest, 2 + scale.gap / 3);
        }
        Places { advice, body: ResultBody::of(rest, plan.share, plan.notes, scale) }
    }

    fn keys_of(&self, plan: Plan) -> Keys {
        if plan.keys { self.keys } else { Keys::NONE }
    }

    /// What stands in the column above the numbers.
    fn words<'t>(&self, [cause, remedy]: &'t [String; 2], remark: &'t str, scale: &Scale) -> Vec<Words<'t>> {
        match self.verdict {
            Verdict::Rejected(_) => cause_and_remedy(cause, remedy, scale).into(),
            Verdict::Refer(_) => vec![Words { text: cause, face: scale.reason, colour: palette::TEXT }],
            _ => vec![Words { text: remark, face: scale.reason, colour: palette::TEXT }],
        }
    }

    /// What *positive* means, or the like, where the banner has no room for it.
    fn remark(&self, bounds: Rectangle, scale: &Scale) -> String {
        let banner = self.banner();
        let fits = banner.has_room_for_remark(Frame::of(bounds, scale).banner, scale);
        if fits { String::new() } else { capitalised(banner.remark) }
    }

    /// How it is laid out on a panel of this size; an error where something has no room whatever is left out.
    fn plan(&self, bounds: Rectangle, scale: &Scale) -> Result<Plan, Plan> {
        let (reason, remark, labels) = (self.reason(), self.remark(bounds, scale), self.labels());
        let words = self.words(&reason, &remark, scale);
        let mut plans = Plan::all();
        let fits = |plan: &Plan| {
            let ResultBody { picture, column, .. } = self.places(bounds, *plan, scale).body;
            let metrics = self.metrics(&labels, plan.sides);
            let least = LEAST_PICTURE;
            column_fits(&words, &metrics, column.size, scale)
                && picture.size.width >= least.width
                && picture.size.height >= least.height
        };
        plans.find(fits).ok_or(Plan { share: 9, keys: false, notes: false, sides: false })
    }

    /// Marks the patient's right and left side on a picture, where lungs were told apart in it.
    fn draw_sides<D: DrawTarget<Color = Rgb565>>(
        &self,
        target: &mut D,
        picture: Rectangle,
        scale: &Scale,
    ) -> Result<(), D::Error> {
        let known = self.involvement.is_some_and(|sides| sides.left_percent.is_some() || sides.right_percent.is_some());
        if !known || matches!(self.verdict, Verdict::Rejected(_)) {
            return Ok(());
        }
        // As radiologists mark films in every language.
        for (letter, alignment) in [("R", Alignment::Left), ("L", Alignment::Right)] {
            let mut corner = picture;
            let mut corner = cut_top(&mut corner, scale.value.height() + 2);
            let width = scale.value.width(letter) + 4;
            let corner = match alignment {
                Alignment::Left => cut_left(&mut corner, width),
                _ => cut_right(&mut corner, width),
            };
            target.fill_solid(&corner, palette::BACKGROUND)?;
            draw_line(target, corner, letter, scale.value, Ink::new(palette::TEXT), Alignment::Center)?;
        }
        Ok(())
    }
}

/// Smaller than this nobody sees anything in a picture.
const LEAST_PICTURE: Size = Size::new(80, 80);

impl Drawable for ResultScreen<'_> {
    type Color = Rgb565;
    type Output = ();

    fn draw<D: DrawTarget<Color = Rgb565>>(&self, target: &mut D) -> Result<(), D::Error> {
        let bounds = target.bounding_box();
        let scale = &Scale::of(bounds.size, self.language);
        let plan = self.plan(bounds, scale).unwrap_or_else(|plan| plan);
        let tag = self.modality.map_or("", Modality::title);
        draw_frame(target, tag, self.name, &self.banner(), self.keys_of(plan), scale)?;
        let Places { advice, body } = self.places(bounds, plan, scale);
        let ink = Ink::new(palette::REMEDY_TEXT);
        draw_paragraph(target, advice, self.advice(), scale.advice, ink, Alignment::Left)?;

        let told = !matches!(self.verdict, Verdict::Rejected(_));
        let (infection, lungs) = (self.infection.filter(|_| told), self.lungs.filter(|_| told));
        let overlaid = Overlaid { picture: self.picture, heat: None, infection, lungs };
        if self.picture.width() > 0 {
            overlaid.draw(target, body.picture)?;
            self.draw_sides(target, overlaid.place(body.picture), scale)?;
        } else {
            let (text, ink) = (self.language.word(Word::NoPicture), Ink::new(palette::SOFT_TEXT));
            draw_paragraph(target, body.picture, text, scale.reason, ink, Alignment::Left)?;
        }
        let legends = [
            infection.map(|_| (Word::InfectionShort, Swatch::Filled(panel(palette::INFECTION)))),
            lungs.map(|_| (Word::LungShort, Swatch::Outlined(panel(palette::LUNG)))),
        ];
        let legends: Vec<Legend> =
            legends.into_iter().flatten().map(|(word, swatch)| Legend { word, swatch }).collect();
        // The bundle's name leaves room in its own half.
        let mut legend = body.legend;
        let free = body.bundle.size.width.saturating_sub(scale.small.width(self.bundle));
        legend.size.width += free.saturating_sub(scale.gap);
        draw_legend(target, legend, &legends, scale)?;
        let (reason, remark, labels) = (self.reason(), self.remark(bounds, scale), self.labels());
        let words = self.words(&reason, &remark, scale);
        draw_column(target, body.column, &words, &self.metrics(&labels, plan.sides), scale)?;
        draw_line(target, body.bundle, self.bundle, scale.small, Ink::new(palette::SOFT_TEXT), Alignment::Right)
    }
}

/// Where the models looked in one image.
#[derive(Clone, Copy, Debug)]
pub struct HeatScreen<'a> {
    /// The result that it belongs to; its overlays are left out here.
    pub result: ResultScreen<'a>,
    /// 0 to 1, over the picture's field of view and in any resolution; what is no finite number counts as 0.
    pub heat: &'a Plane<f32>,
}

/// Where the parts of a heat map's page go.
struct HeatPlaces {
    keys: Keys,
    picture: Rectangle,
    gradient: Rectangle,
    column: Rectangle,
}

impl HeatScreen<'_> {
    /// The texts beside the picture.
    fn texts(&self) -> [String; 3] {
        let ResultScreen { language, involvement, .. } = self.result;
        let sides = involvement.map_or_else(String::new, |involvement| {
            let sides = self.result.sides(involvement);
            let sides: Vec<&str> = sides.iter().map(String::as_str).filter(|side| !side.is_empty()).collect();
            if sides.is_empty() {
                return String::new();
            }
            format!("{}: {}", capitalised(language.word(Word::Involved)), sides.join(", "))
        });
        [capitalised(language.word(Word::Heat)), language.word(Word::OverlaysMeaning).into(), sides]
    }

    fn words<'t>([heat, meaning, sides]: &'t [String; 3], scale: &Scale) -> [Words<'t>; 3] {
        [
            Words { text: heat, face: scale.reason, colour: palette::TEXT },
            Words { text: meaning, face: scale.reason, colour: palette::SOFT_TEXT },
            Words { text: sides, face: scale.reason, colour: palette::TEXT },
        ]
    }

    /// An error where something has no room whatever is left out.
    fn places(&self, bounds: Rectangle, scale: &Scale) -> Result<HeatPlaces, HeatPlaces> {
        let texts = self.texts();
        let words = Self::words(&texts, scale);
        let place = |keys: Keys, share: u32| {
            let mut column = Frame::of(bounds, scale).body;
            keys.cut(&mut column, scale);
            let picture = cut_left(&mut { column }, column.size.width * share / 25);
            cut_left(&mut column, picture.size.width + scale.gap + 2);
            let gradient = cut_top(&mut column, scale.meter_height);
            cut_top(&mut column, scale.gap);
            HeatPlaces { keys, picture, gradient, column }
        };
        let plans = [self.result.keys, Keys::NONE].into_iter().flat_map(|keys| [14, 12, 10].map(|share| (keys, share)));
        let mut places = plans.map(|(keys, share)| place(keys, share));
        places.find(|places| column_fits(&words, &[], places.column.size, scale)).ok_or_else(|| place(Keys::NONE, 10))
    }
}

impl Drawable for HeatScreen<'_> {
    type Color = Rgb565;
    type Output = ();

    fn draw<D: DrawTarget<Color = Rgb565>>(&self, target: &mut D) -> Result<(), D::Error> {
        let ResultScreen { language, picture, name, modality, .. } = self.result;
        let bounds = target.bounding_box();
        let scale = &Scale::of(bounds.size, language);
        let tag = modality.map_or("", Modality::title);
        let places = self.places(bounds, scale).unwrap_or_else(|places| places);
        draw_frame(target, tag, name, &self.result.banner(), places.keys, scale)?;
        let overlaid = Overlaid { picture, heat: Some(self.heat), infection: None, lungs: None };
        overlaid.draw(target, places.picture)?;
        self.result.draw_sides(target, overlaid.place(places.picture), scale)?;
        draw_swatch(target, places.gradient, Swatch::Heat)?;
        draw_column(target, places.column, &Self::words(&self.texts(), scale), &[], scale)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::SUPPORTED;
    use thorax_shared::verdict::{ReferReason, RejectReason};

    const KEYS: Keys = Keys { up_down: true, select: Some(Word::MoreKey), back: true };

    fn result(picture: &Plane<u8>, verdict: Verdict, language: Language) -> ResultScreen<'_> {
        ResultScreen {
            language,
            picture,
            infection: None,
            lungs: None,
            verdict,
            modality: None,
            disease: Some("pneumonia as COVID-19 makes it"),
            probability: Some(0.999),
            thresholds: Some([0.2, 0.8]),
            entropy_bits: Some(0.888),
            involvement: Some(Involvement { percent: 0.01, left_percent: Some(0.01), right_percent: Some(0.01) }),
            name: "",
            bundle: "",
            keys: KEYS,
        }
    }

    fn every_verdict() -> impl Iterator<Item = Verdict> {
        [Verdict::Positive, Verdict::Negative]
            .into_iter()
            .chain(ReferReason::ALL.map(Verdict::Refer))
            .chain(RejectReason::ALL.map(Verdict::Rejected))
    }

    #[test]
    fn every_reason_advice_and_number_fits_in_every_language_on_every_supported_panel() {
        let picture = Plane::filled(1, 1, 0);
        let mut told = vec![];
        for (size, language) in SUPPORTED.into_iter().flat_map(|size| Language::ALL.map(|language| (size, language))) {
            let scale = &Scale::of(size, language);
            let bounds = Rectangle::new(Point::zero(), size);
            for verdict in every_verdict() {
                let result = result(&picture, verdict, language);
                let [cause, remedy] = result.reason();
                let is_rejected = matches!(verdict, Verdict::Rejected(_));
                assert_eq!(cause.is_empty(), matches!(verdict, Verdict::Positive | Verdict::Negative), "{verdict:?}");
                assert_eq!((remedy.is_empty(), result.advice().is_empty()), (!is_rejected, is_rejected), "{verdict:?}");
                if let Err(plan) = result.plan(bounds, scale) {
                    let ResultBody { picture, column, .. } = result.places(bounds, plan, scale).body;
                    told.push(format!("{size} {language:?} {verdict:?}: {} {}", picture.size, column.size));
                }
                // The verdict stands in its largest letters.
                let (word, face, place, _) = result.banner().parts(Frame::of(bounds, scale).banner, scale);
                if face.height() != scale.word.height() || face.width(&word) > place.size.width {
                    told.push(format!("{size} {language:?}: {word} is too long"));
                }
            }
            let heat = Plane::filled(1, 1, 0.0);
            let screen = HeatScreen { result: result(&picture, Verdict::Positive, language), heat: &heat };
            if let Err(places) = screen.places(bounds, scale) {
                told.push(format!("{size} {language:?}: heat map, {}", places.column.size));
            }
            let strip = KEYS.cut(&mut Frame::of(bounds, scale).body, scale);
            for (text, room) in KEYS.texts(scale).iter().zip(Keys::rooms(strip, scale)) {
                if scale.small.width(text) > room.size.width {
                    told.push(format!("{size} {language:?}: {text} of {}", room.size));
                }
            }
        }
        assert!(told.is_empty(), "{} places:\n{}", told.len(), told.join("\n"));
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
        for language in Language::ALL {
            let banners = verdicts.map(|verdict| result(&picture, verdict, language).banner());
            for (index, banner) in banners.iter().enumerate() {
                for other in &banners[..index] {
                    assert!(banner.sign != other.sign && banner.ground != other.ground && banner.word != other.word);
                    assert!(banner.remark != other.remark || index == 1, "positive and negative of the same disease");
                }
            }
        }
    }
}
