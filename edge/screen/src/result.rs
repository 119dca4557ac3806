//! What was found in one image: the verdict, what to do, the numbers, and where.

use embedded_graphics::{pixelcolor::Rgb565, prelude::*, primitives::Rectangle, text::Alignment};
use thorax_shared::{
    lungs::Involvement,
    modality::Modality,
    plane::Plane,
    reason::Reason,
    verdict::{ReferReason, Verdict},
    words::{self, Language, Word},
};

use super::{
    capitalised,
    gauge::{Bar, Gauge, Measure, Metric},
    layout::{Frame, ResultBody, Scale, cut_left, cut_right, cut_top, inset},
    message::cause_and_remedy,
    palette::{self, panel},
    parts::{
        Banner, Keys, Legend, Sign, Swatch, Words, column_fits, draw_column, draw_frame, draw_legend, draw_swatch,
        legend_width,
    },
    picture::{Overlaid, fit},
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
    /// What *positive* means, in the bundle's words.
    pub disease: &'a str,
    /// The calibrated probability of it, 0 to 1.
    pub probability: Option<f32>,
    /// From where on it is negative and positive, `[negative below, positive from]`, 0 to 1: marked on the bar.
    pub thresholds: Option<[f32; 2]>,
    /// Whether the site has set them; else they are the bundle's own.
    pub thresholds_set: bool,
    /// The ensemble's entropy, 0 to 1 bit: how sure the models are.
    pub entropy_bits: Option<f32>,
    /// Infected share of the lungs, 0 to 100 percent; the right lung's stands left of the left one's, as in the picture.
    pub involvement: Option<Involvement>,
    /// A file, or [`study_name`](crate::study_name); shortened where it is too long.
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
            Verdict::Refer(_) => (Word::Refer, self.meaning()),
            Verdict::Rejected(_) => (Word::Rejected, word(Word::NotRead)),
        };
        Banner { sign, word: word(title), remark, ground, ink }
    }

    /// What *positive* means, in the reader's language where it is known there.
    fn meaning(&self) -> &'a str {
        words::reason(self.language, self.disease).unwrap_or(self.disease)
    }

    /// What to do now, and why a person has to decide; empty where the reason says what to do.
    fn advice(&self) -> String {
        let word = |word| self.language.word(word);
        let why = match self.verdict {
            Verdict::Positive => return word(Word::DoPositive).into(),
            Verdict::Negative => return word(Word::DoNegative).into(),
            Verdict::Rejected(_) => return String::new(),
            Verdict::Refer(ReferReason::AbstainZone) => word(Word::WhyBetween).into(),
            Verdict::Refer(ReferReason::HighEntropy) => word(Word::WhyNotSure).into(),
            Verdict::Refer(ReferReason::Unfamiliar) => word(Word::WhyUnlike).into(),
            Verdict::Refer(why) => self.said(&why.reason().cause),
        };
        format!("{} {} {why}", word(Word::DoRefer), word(Word::CannotDecide))
    }

    /// Why the image was not read, and what to do: as sentences, empty where there is nothing to say.
    fn reason(&self) -> [String; 2] {
        let Verdict::Rejected(why) = self.verdict else { return Default::default() };
        let Reason { cause, remedy } = why.reason();
        [self.said(&cause), self.said(&remedy.unwrap_or_default())].map(|text| capitalised(&text))
    }

    /// A cause or a remedy in the reader's language, where it is known there.
    fn said(&self, english: &str) -> String {
        words::reason(self.language, english).unwrap_or(english).into()
    }

    /// The numbers; a rejected image has none, whatever was computed.
    fn measures<'t>(&self, labels: [&'t str; 2], plan: Plan) -> Vec<Measure<'t>> {
        if matches!(self.verdict, Verdict::Rejected(_)) {
            return vec![];
        }
        let word = |word| self.language.word(word);
        let [probability, involved] = labels;
        let none = Default::default;
        let probability = self.probability.map(|value| {
            Measure::Number(Metric {
                label: probability,
                value: text::probability(value),
                bar: Some(Bar {
                    share: Some(value).filter(|share| (-0.001..=1.001).contains(share)),
                    marks: self.thresholds,
                    colour: look(self.verdict).1,
                }),
                // Of what the device does not decide the number is not the news.
                large: !matches!(self.verdict, Verdict::Refer(_)),
                ends: if plan.ends { [Word::Negative, Word::Positive].map(|end| word(end).into()) } else { none() },
            })
        });
        let sure = self.entropy_bits.map(|value| {
            let ends = [Word::Sure, Word::NotSure].map(word);
            Measure::Gauge(Gauge { share: Some(value).filter(|value| text::is_entropy(*value)), ends })
        });
        let involvement = self.involvement.filter(|_| plan.area).map(|involvement| {
            Measure::Number(Metric {
                label: involved,
                value: text::area_percent(involvement.percent, self.language),
                bar: None,
                large: false,
                // Room is kept for a side that is not known, so that the picture is as large as with it.
                ends: if plan.sides {
                    self.sides(involvement).map(|side| if side.is_empty() { "\u{a0}".into() } else { side })
                } else {
                    none()
                },
            })
        });
        [probability, sure, involvement].into_iter().flatten().collect()
    }

    /// How much of the right and of the left lung, as they stand in the picture; empty for one that was not found.
    fn sides(&self, Involvement { left_percent, right_percent, .. }: Involvement) -> [String; 2] {
        [(Word::RightShort, right_percent), (Word::LeftShort, left_percent)]
            .map(|(word, percent)| text::side_percent(self.language.word(word), percent, self.language))
    }

    fn labels(&self) -> [String; 2] {
        [Word::ModelProbability, Word::Involved].map(|word| capitalised(self.language.word(word)))
    }

    /// The kind of image, in the strip on top.
    fn tag(&self) -> String {
        self.modality.map_or_else(String::new, |it| capitalised(self.language.word(Word::of_modality(it))))
    }

    /// What the colours of the overlays mean.
    fn legends(&self) -> Vec<Legend> {
        let told = !matches!(self.verdict, Verdict::Rejected(_));
        let legends = [
            self.infection.map(|_| (Word::InfectionShort, Swatch::Filled(panel(palette::INFECTION)))),
            self.lungs.map(|_| (Word::LungShort, Swatch::Outlined(panel(palette::LUNG)))),
        ];
        legends.into_iter().flatten().filter(|_| told).map(|(word, swatch)| Legend { word, swatch }).collect()
    }

    /// That the site decides by other thresholds than the bundle's.
    fn note(&self) -> String {
        if self.thresholds_set { capitalised(self.language.word(Word::ThresholdsSet)) } else { String::new() }
    }
}

/// How a result is laid out. Keys, legend and bundle are always there; where there is little room, the picture is smaller.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// What the ends of the probability's bar mean.
    ends: bool,
    /// How much of the right and of the left lung; the page of the heat map has it too.
    sides: bool,
    /// How much of both; without it the probability's name is what it is of, and nothing else says so.
    area: bool,
    /// What to do stands above the numbers, and not above the picture too.
    beside: bool,
    /// The picture's columns, of 25.
    share: u32,
}

impl Plan {
    /// With these words, every way to lay them out.
    fn all([ends, sides, area]: [bool; 3]) -> impl Iterator<Item = Self> {
        let shares = (7..=15).rev();
        shares.flat_map(move |share| [true, false].map(|beside| Self { ends, sides, area, beside, share }))
    }
}

/// The words of a result's page.
struct Texts {
    advice: String,
    reason: [String; 2],
    remark: String,
    labels: [String; 2],
}

impl Texts {
    fn advice(&self, scale: &Scale) -> Words<'_> {
        Words { text: &self.advice, face: scale.advice, colour: palette::REMEDY_TEXT }
    }
}

/// Where the parts of a result go.
struct Places {
    /// Across the panel; without rows where it stands above the numbers.
    advice: Rectangle,
    body: ResultBody,
}

/// What stands in the column beside the picture.
type Column<'a> = (Vec<Words<'a>>, Vec<Measure<'a>>);

impl ResultScreen<'_> {
    fn places(&self, bounds: Rectangle, plan: Plan, advice: Words<'_>, legend: u32, scale: &Scale) -> Places {
        let mut rest = Frame::of(bounds, scale).body;
        self.keys.cut(&mut rest, scale);
        let height = if plan.beside { 0 } else { paragraph_height(advice.text, advice.face, rest.size.width) };
        let advice = cut_top(&mut rest, height);
        if !advice.is_zero_sized() {
            cut_top(&mut rest, 1 + scale.gap / 3);
        }
        Places { advice, body: ResultBody::of(rest, plan.share, self.thresholds_set, legend, scale) }
    }

    /// How a page is laid out on a panel of this size: with as many words as have room, and then with the largest picture. What to do
    /// stands across it, or on top of the column. An error where something has no room whatever is left out.
    fn plan<'t>(
        &self,
        bounds: Rectangle,
        advice: Words<'t>,
        column: impl Fn(Plan) -> Column<'t>,
        legend: u32,
        scale: &Scale,
    ) -> Result<(Plan, Places), (Plan, Places)> {
        let with_picture = |plan: Plan| {
            let places = self.places(bounds, plan, advice, legend, scale);
            let (mut words, measures) = column(plan);
            if plan.beside {
                words.insert(0, advice);
            }
            let picture = places.body.picture;
            let fits = column_fits(&words, &measures, places.body.column.size, scale)
                && picture.size.width >= LEAST_PICTURE.width
                && picture.size.height >= LEAST_PICTURE.height;
            let (width, height) = (self.picture.width().max(1), self.picture.height().max(1));
            let drawn = fit(width, height, picture).size;
            fits.then_some((plan, places, drawn.width * drawn.height))
        };
        for words in [[true; 3], [true, false, true], [false, false, true], [false; 3]] {
            // Of those in which it is as large the last one is taken, with most room for the words.
            let found = Plan::all(words).filter_map(with_picture).max_by_key(|(.., area)| *area);
            if let Some((plan, places, _)) = found {
                return Ok((plan, places));
            }
        }
        let plan = Plan { ends: false, sides: false, area: false, beside: false, share: 7 };
        Err((plan, self.places(bounds, plan, advice, legend, scale)))
    }

    /// A page that is about this result: what every one has, and what the column has; the rest is drawn into the places that it gives.
    fn draw_page<'t, D: DrawTarget<Color = Rgb565>>(
        &self,
        target: &mut D,
        advice: Words<'t>,
        column: impl Fn(Plan) -> Column<'t>,
        legend: u32,
        scale: &Scale,
    ) -> Result<ResultBody, D::Error> {
        let planned = self.plan(target.bounding_box(), advice, &column, legend, scale);
        let (plan, Places { advice: place, body }) = planned.unwrap_or_else(|planned| planned);
        draw_frame(target, &self.tag(), self.name, &self.banner(), self.keys, scale)?;
        let (mut words, measures) = column(plan);
        if plan.beside {
            words.insert(0, advice);
        } else {
            draw_paragraph(target, place, advice.text, advice.face, Ink::new(advice.colour), Alignment::Left)?;
        }
        draw_column(target, body.column, &words, &measures, scale)?;
        draw_line(target, body.note, &self.note(), scale.small, Ink::new(palette::DISCLAIMER_TEXT), Alignment::Right)?;
        draw_line(target, body.bundle, self.bundle, scale.small, Ink::new(palette::SOFT_TEXT), Alignment::Right)?;
        Ok(body)
    }

    /// What the column has; the texts are those of [`Self::texts`].
    fn column<'t>(&self, texts: &'t Texts, plan: Plan, scale: &Scale) -> Column<'t> {
        let Texts { reason: [cause, remedy], remark, labels, .. } = texts;
        let face = if matches!(self.verdict, Verdict::Rejected(_)) { scale.heading } else { scale.reason };
        let is_label = !plan.area && !remark.is_empty() && cause.is_empty();
        let [probability, involved] = labels;
        let labels: [&str; 2] = [if is_label { remark } else { probability }, involved];
        let remark = Words { text: if is_label { "" } else { remark }, face, colour: palette::TEXT };
        let words = [remark].into_iter().chain(cause_and_remedy(cause, remedy, scale)).collect();
        (words, self.measures(labels, plan))
    }

    fn texts(&self, bounds: Rectangle, scale: &Scale) -> Texts {
        // What *positive* means, or the like, where the banner has no room for it.
        let banner = self.banner();
        let fits = banner.has_room_for_remark(Frame::of(bounds, scale).banner, scale);
        let remark = if fits { String::new() } else { capitalised(banner.remark) };
        Texts { advice: self.advice(), reason: self.reason(), remark, labels: self.labels() }
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
        for (mark, alignment) in [(Word::RightMark, Alignment::Left), (Word::LeftMark, Alignment::Right)] {
            let mark = self.language.word(mark);
            let mut corner = picture;
            let mut corner = cut_top(&mut corner, scale.value.height() + 2);
            let width = scale.value.width(mark) + 4;
            let corner = match alignment {
                Alignment::Left => cut_left(&mut corner, width),
                _ => cut_right(&mut corner, width),
            };
            target.fill_solid(&corner, palette::BACKGROUND)?;
            draw_line(target, corner, mark, scale.value, Ink::new(palette::TEXT), Alignment::Center)?;
        }
        Ok(())
    }
}

/// Smaller than this nobody sees anything in a picture.
const LEAST_PICTURE: Size = Size::new(64, 54);

impl Drawable for ResultScreen<'_> {
    type Color = Rgb565;
    type Output = ();

    fn draw<D: DrawTarget<Color = Rgb565>>(&self, target: &mut D) -> Result<(), D::Error> {
        let bounds = target.bounding_box();
        let scale = &Scale::of(bounds.size, self.language);
        let texts = self.texts(bounds, scale);
        let legends = self.legends();
        let column = |plan| self.column(&texts, plan, scale);
        let body = self.draw_page(target, texts.advice(scale), column, legend_width(&legends, scale), scale)?;

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
        draw_legend(target, body.legend, &legends, scale)
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

impl HeatScreen<'_> {
    /// The share of each lung that is marked; empty where it is not known.
    fn sides(&self) -> String {
        let ResultScreen { language, involvement, .. } = self.result;
        let sides = involvement.map(|involvement| self.result.sides(involvement)).unwrap_or_default();
        let known: Vec<&str> = sides.iter().map(String::as_str).filter(|side| !side.is_empty()).collect();
        match known.is_empty() {
            true => String::new(),
            false => language.told(&capitalised(language.word(Word::Involved)), &known.join(", ")),
        }
    }

    fn column<'t>(&self, sides: &'t str, plan: Plan, scale: &Scale) -> Column<'t> {
        let meaning = self.result.language.word(Word::HeatMeaning);
        let texts = [meaning, if plan.sides { sides } else { "" }];
        (texts.map(|text| Words { text, face: scale.reason, colour: palette::TEXT }).into(), vec![])
    }

    /// What the ends of the colours mean.
    fn ends(&self) -> [&'static str; 2] {
        [Word::Less, Word::More].map(|word| self.result.language.word(word))
    }

    fn legend_width(&self, scale: &Scale) -> u32 {
        self.ends().iter().map(|end| scale.small.width(end) + 4).sum::<u32>() + 6 * scale.meter_height
    }
}

impl Drawable for HeatScreen<'_> {
    type Color = Rgb565;
    type Output = ();

    fn draw<D: DrawTarget<Color = Rgb565>>(&self, target: &mut D) -> Result<(), D::Error> {
        let ResultScreen { language, picture, .. } = self.result;
        let bounds = target.bounding_box();
        let scale = &Scale::of(bounds.size, language);
        let (texts, sides) = (self.result.texts(bounds, scale), self.sides());
        let column = |plan| self.column(&sides, plan, scale);
        let legend = self.legend_width(scale);
        let body = self.result.draw_page(target, texts.advice(scale), column, legend, scale)?;
        let overlaid = Overlaid { picture, heat: Some(self.heat), infection: None, lungs: None };
        overlaid.draw(target, body.picture)?;
        self.result.draw_sides(target, overlaid.place(body.picture), scale)?;
        let (soft, [less, more]) = (Ink::new(palette::SOFT_TEXT), self.ends());
        let mut legend = body.legend;
        draw_line(target, cut_left(&mut legend, scale.small.width(less)), less, scale.small, soft, Alignment::Left)?;
        draw_line(target, cut_right(&mut legend, scale.small.width(more)), more, scale.small, soft, Alignment::Right)?;
        let mut swatch = inset(legend, 4);
        let spare = swatch.size.height.saturating_sub(scale.meter_height) / 2;
        cut_top(&mut swatch, spare);
        draw_swatch(target, cut_top(&mut swatch, scale.meter_height), Swatch::Heat)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::SUPPORTED;
    use thorax_shared::verdict::{ReferReason, RejectReason};

    const KEYS: Keys = Keys { arrows: Some(Word::OthersKey), select: Some(Word::MoreKey), back: true };

    fn result(picture: &Plane<u8>, verdict: Verdict, language: Language) -> ResultScreen<'_> {
        ResultScreen {
            language,
            picture,
            infection: Some(picture),
            lungs: Some([picture, picture]),
            verdict,
            modality: None,
            disease: "pneumonia as COVID-19 makes it",
            probability: Some(0.999),
            thresholds: Some([0.2, 0.8]),
            entropy_bits: Some(0.888),
            involvement: Some(Involvement { percent: 0.01, left_percent: Some(0.01), right_percent: Some(0.01) }),
            name: "",
            bundle: "thorax-xray 0.2.0",
            thresholds_set: true,
            keys: KEYS,
        }
    }

    fn every_verdict() -> impl Iterator<Item = Verdict> {
        [Verdict::Positive, Verdict::Negative]
            .into_iter()
            .chain(ReferReason::ALL.map(Verdict::Refer))
            .chain(RejectReason::ALL.map(Verdict::Rejected))
    }

    /// What has no room on a page.
    fn missing(
        result: &ResultScreen<'_>,
        planned: Result<(Plan, Places), (Plan, Places)>,
        legend: u32,
        bounds: Rectangle,
        scale: &Scale,
    ) -> impl Iterator<Item = String> {
        let has_room = planned.is_ok();
        let (_, Places { body, .. }) = planned.unwrap_or_else(|planned| planned);
        let strip = result.keys.cut(&mut Frame::of(bounds, scale).body, scale);
        let line = scale.small.height();
        let width = |text: &str| scale.small.width(text);
        let rooms = [
            (format!("words beside {}: {}", body.picture.size, body.column.size), has_room),
            ("keys".into(), result.keys.fit(strip, scale)),
            ("legend".into(), body.legend.size == Size::new(legend, line)),
            ("bundle".into(), body.bundle.size.height == line && width(result.bundle) <= body.bundle.size.width),
            ("note".into(), body.note.size.height == line && width(&result.note()) <= body.note.size.width),
        ];
        rooms.into_iter().filter(|(_, fits)| !fits).map(|(what, _)| what)
    }

    #[test]
    fn reason_advice_numbers_keys_legend_and_bundle_fit_in_every_language_on_every_supported_panel() {
        let picture = Plane::filled(1, 1, 0);
        let mut told = vec![];
        for (size, language) in SUPPORTED.into_iter().flat_map(|size| Language::ALL.map(|language| (size, language))) {
            let scale = &Scale::of(size, language);
            let bounds = Rectangle::new(Point::zero(), size);
            for verdict in every_verdict() {
                let result = result(&picture, verdict, language);
                let is_rejected = matches!(verdict, Verdict::Rejected(_));
                let texts = result.texts(bounds, scale);
                assert_eq!(texts.reason.iter().any(String::is_empty), !is_rejected, "{verdict:?}");
                assert_eq!(texts.advice.is_empty(), is_rejected, "{verdict:?}");
                let legend = legend_width(&result.legends(), scale);
                assert_eq!(legend > 0, !is_rejected, "{verdict:?}");
                let column = |plan| result.column(&texts, plan, scale);
                let planned = result.plan(bounds, texts.advice(scale), column, legend, scale);
                told.extend(
                    missing(&result, planned, legend, bounds, scale)
                        .map(|what| format!("{size} {language:?} {verdict:?}: {what}")),
                );
                // The verdict stands in its largest letters.
                let (word, face, place, _) = result.banner().parts(Frame::of(bounds, scale).banner, scale);
                if face.height() != scale.word.height() || face.width(&word) > place.size.width {
                    told.push(format!("{size} {language:?}: {word} is too long"));
                }
            }
            let heat = Plane::filled(1, 1, 0.0);
            let screen = HeatScreen { result: result(&picture, Verdict::Positive, language), heat: &heat };
            for verdict in every_verdict().filter(|verdict| !matches!(verdict, Verdict::Rejected(_))) {
                let screen = HeatScreen { result: ResultScreen { verdict, ..screen.result }, ..screen };
                let (texts, sides, legend) =
                    (screen.result.texts(bounds, scale), screen.sides(), screen.legend_width(scale));
                let column = |plan| screen.column(&sides, plan, scale);
                let planned = screen.result.plan(bounds, texts.advice(scale), column, legend, scale);
                let missing = missing(&screen.result, planned, legend, bounds, scale);
                told.extend(missing.map(|what| format!("{size} {language:?} {verdict:?}: heat map, {what}")));
            }
        }
        assert!(told.is_empty(), "{} places:\n{}", told.len(), told.join("\n"));
    }

    #[test]
    fn beside_the_verdict_stands_what_it_is_on() {
        let picture = Plane::filled(1, 1, 0);
        let remark = |verdict, disease, language| {
            ResultScreen { disease, ..result(&picture, verdict, language) }.banner().remark.to_owned()
        };
        for verdict in [Verdict::Positive, Verdict::Negative, Verdict::Refer(ReferReason::AbstainZone)] {
            for language in Language::ALL {
                assert_eq!(remark(verdict, "tuberculosis", language), "tuberculosis", "{language:?} has no word of it");
            }
            let known = remark(verdict, "pneumonia as COVID-19 makes it", Language::French);
            assert_eq!(known, "pneumonie du type COVID-19");
        }
        let rejected = remark(Verdict::Rejected(RejectReason::Colour), "tuberculosis", Language::English);
        assert_ne!(rejected, "tuberculosis");
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
                    assert!(banner.remark != other.remark || index < 3, "of the same disease");
                }
            }
        }
    }
}
