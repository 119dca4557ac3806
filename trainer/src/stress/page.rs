//! The page: tables, curves, and what a picture looks like under each change.

use std::io::Cursor;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use image::{GrayImage, ImageFormat};
use thorax_phantom::Phantom;
use thorax_shared::{modality::Modality, plane::Plane, preprocess::resize_u8};

use super::{Figures, KEPT_AT_LEAST, Stress, Trial, readings::file_name};
use crate::{
    figures::Pictures,
    judge::Estimate,
    report::{
        charts::{strengths, strengths_legend},
        document::{Block, Charts, Document},
    },
};

/// The longer side of the pictures on the page.
const SHOWN_SIDE: usize = 320;
/// The side of the phantom that is shown.
const PHANTOM_SIDE: usize = 768;

/// What the curves show.
const CURVE: &str = "verdicts kept";

/// A curve: its kind of change, and its drawing.
pub struct Curve {
    /// Such as `JPEG`.
    pub name: String,
    /// SVG.
    pub svg: String,
}

impl Curve {
    /// The name of its file.
    pub fn file(&self) -> String {
        format!("{}.svg", file_name(&self.name))
    }
}

impl Stress {
    /// Verdicts kept against the strength of each harmless change that was tried in more than one.
    ///
    /// # Errors
    /// A chart that cannot be drawn.
    pub fn curves(&self) -> anyhow::Result<Vec<Curve>> {
        let mut names: Vec<&str> = vec![];
        let harmless =
            || self.figures.iter().filter(|figures| figures.trial.change.is_some() && !figures.trial.harmful);
        for figures in harmless() {
            if !names.contains(&figures.trial.name.as_str()) {
                names.push(&figures.trial.name);
            }
        }
        let curve = |name: &str| -> Option<anyhow::Result<Curve>> {
            let tried: Vec<&Figures> = harmless().filter(|figures| figures.trial.name == name).collect();
            if tried.len() < 2 {
                return None;
            }
            let strength =
                |trial: &Trial| if trial.strength.is_empty() { "usual".into() } else { trial.strength.clone() };
            let words: Vec<String> =
                std::iter::once("none".into()).chain(tried.iter().map(|figures| strength(&figures.trial))).collect();
            let whole = Estimate { value: 1.0, low: 1.0, high: 1.0 };
            let kept: Vec<Option<Estimate>> =
                std::iter::once(Some(whole)).chain(tried.iter().map(|figures| figures.kept)).collect();
            let drawn = strengths(&words, &kept, (CURVE, KEPT_AT_LEAST));
            Some(drawn.map(|svg| Curve { name: name.to_owned(), svg }).map_err(Into::into))
        };
        names.into_iter().filter_map(curve).collect()
    }

    /// The page, as HTML and as Markdown without drawings. `looks` is how often the test split was looked at before, in words, where the
    /// pictures are of it; `sample` is shown under each change, and `what` says what it is.
    ///
    /// # Errors
    /// A picture that cannot be encoded.
    pub fn page(
        &self,
        looks: Option<&str>,
        curves: &[Curve],
        sample: &Plane<u8>,
        what: &str,
    ) -> anyhow::Result<[String; 2]> {
        let caution = |title: &str, text: String| Block::Caution(title.into(), vec![text]);
        let mut blocks = vec![caution(
            "Research use only, not a medical device.",
            "Nothing on this page may be used to diagnose or treat anyone.".into(),
        )];
        if let Some(looks) = looks.filter(|_| self.is_test()) {
            let text = format!(
                "{looks} Whoever chooses anything by this page should count it: figures of the same pictures then flatter."
            );
            blocks.push(caution("A look at the test split.", text));
        }
        blocks.push(Block::Section("What a verdict survives".into()));
        if !self.not_survived().is_empty() {
            blocks.push(caution("Its verdicts do not survive.", self.judged()));
        }
        blocks.push(Block::Paragraph(format!("{} {}", self.told(), self.judged())));
        blocks.push(Block::Table(self.harmless()));
        blocks.extend(self.harmful().map(Block::Table));
        if !curves.is_empty() {
            blocks.push(Block::Section("Stronger and stronger".into()));
            blocks.push(Block::Charts(Charts {
                caption:
                    "Share of verdicts that are kept against the strength of a change, from none to the strongest."
                        .into(),
                legend: strengths_legend(CURVE, KEPT_AT_LEAST),
                charts: curves.iter().map(|curve| (curve.name.clone(), curve.svg.clone())).collect(),
                columns: 3,
            }));
        }
        blocks.push(Block::Section("What the changes look like".into()));
        blocks.push(Block::Pictures(self.pictures(sample, what)?));
        let title = format!("{} under stress: {}", self.modality.title(), self.bundle);
        let page = Document { title, name: "stress", blocks };
        Ok([page.to_html(), page.to_markdown()])
    }

    fn pictures(&self, sample: &Plane<u8>, what: &str) -> anyhow::Result<Pictures> {
        let mut pictures =
            Pictures { title: "Every change".into(), caption: what.into(), pngs: vec![], labels: vec![] };
        for figures in &self.figures {
            let changed = figures.trial.change.map_or_else(|| sample.clone(), |change| change.apply(sample));
            pictures.pngs.push(BASE64_STANDARD.encode(png(&smaller(&changed))?));
            pictures.labels.push(figures.trial.title());
        }
        Ok(pictures)
    }
}

/// At most [`SHOWN_SIDE`] on its longer side.
fn smaller(picture: &Plane<u8>) -> Plane<u8> {
    let longer = picture.width().max(picture.height());
    match longer > SHOWN_SIDE {
        true => {
            let side = |length: usize| (length * SHOWN_SIDE / longer).max(1);
            resize_u8(picture, side(picture.width()), side(picture.height()))
        }
        false => picture.clone(),
    }
}

fn png(picture: &Plane<u8>) -> anyhow::Result<Vec<u8>> {
    let (width, height) = (u32::try_from(picture.width())?, u32::try_from(picture.height())?);
    let image = GrayImage::from_raw(width, height, picture.data().to_vec()).unwrap_or_default();
    let mut bytes = Cursor::new(vec![]);
    image.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

/// A film or slice of nobody, for a page that may be shown to anybody.
pub fn phantom(modality: Modality) -> Plane<u8> {
    Phantom::generate(modality, 1, PHANTOM_SIDE, true).picture.map(|grey| (grey.clamp(0.0, 1.0) * 255.0 + 0.5) as u8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use thorax_shared::verdict::Verdict;

    use super::*;
    use crate::{
        data::Split,
        stress::{Seen, Tried, readings::Readings, trials},
    };

    /// A bundle that keeps nine of ten verdicts under a weak change, and half of them under any other.
    fn stress(kinds: &[&str]) -> Stress {
        let seen = |positive: bool| Seen {
            verdict: if positive { Verdict::Positive } else { Verdict::Negative },
            evidence: Some([if positive { 0.9 } else { 0.1 }, 0.4]),
            put_right: false,
        };
        let tried: Vec<Tried> = (0..10)
            .map(|i| Tried {
                path: format!("a,{i}.png"),
                group: i.to_string(),
                source: "one|two".into(),
                positive: i % 2 == 0,
            })
            .collect();
        let kinds: Vec<String> = kinds.iter().map(|&kind| kind.into()).collect();
        let trials = trials(&kinds, true).unwrap();
        let readings: Vec<Readings> = trials
            .iter()
            .map(|trial| {
                let others = match trial.strength.as_str() {
                    _ if trial.change.is_none() => 0,
                    "0.5" => 1,
                    _ => 5,
                };
                let seen = (0..10).map(|i| seen((i % 2 == 0) ^ (i < others))).collect();
                Readings { change: trial.change, seen, masks: vec![] }
            })
            .collect();
        let count = |(trial, of): (&Trial, &Readings)| Figures::count(trial, &tried, &[], &readings[0], of, 1);
        Stress {
            bundle: "thorax-xray 1".into(),
            modality: Modality::Xray,
            split: Split::Test,
            pictures: 10,
            positive: 5,
            patients: 10,
            masked: 0,
            sampled: true,
            figures: trials.iter().zip(&readings).map(count).collect(),
            seen: readings.iter().map(|readings| readings.seen.clone()).collect(),
            tried,
        }
    }

    #[test]
    fn the_page_has_tables_worst_first_curves_and_a_picture_a_change() {
        let stress = stress(&["blur", "noise", "negative"]);
        assert_eq!(stress.worst(), "blur 1 0.500, noise 6 0.500");
        let curves = stress.curves().unwrap();
        assert_eq!(curves.iter().map(Curve::file).collect::<Vec<_>>(), ["blur.svg", "noise.svg"]);
        for word in ["none", "0.5", "verdicts kept"] {
            assert!(curves[0].svg.contains(word), "{word}: {}", curves[0].svg);
        }
        let [html, markdown] =
            stress.page(Some("The first look."), &curves, &phantom(Modality::Xray), "a phantom").unwrap();
        assert_eq!(html.matches("data:image/png").count(), 8, "unchanged, three, three, and one");
        assert!(html.contains("alt=\"Every change noise 12\"") && html.contains("The first look."));
        assert!(html.matches("<svg").count() == 2);
        let lines: Vec<&str> = markdown.lines().filter(|line| line.starts_with("| ")).collect();
        let starts = ["| Change", "| unchanged", "| blur 1", "| noise 6", "| Change", "| negative"];
        assert!(lines.iter().zip(starts).all(|(line, start)| line.starts_with(start)), "{lines:?}");
        assert!(lines.len() == starts.len() && markdown.contains("After 2 of 2 harmless changes fewer than 90 %"));
        // Blur 0.5, which keeps nine of ten, stands in no table, so that the worst is five of ten.
        assert!(markdown.contains(
            "100 % of the pictures are answered, and the worst harmless change keeps 50 % of these answers."
        ));
        assert!(markdown.contains("(Pictures in stress.html.)"));
    }

    #[test]
    fn a_line_of_the_table_is_a_picture_and_a_change() {
        let stress = stress(&["blur"]);
        let bytes = stress.to_csv().unwrap();
        let rows: Vec<csv::StringRecord> = csv::Reader::from_reader(&bytes[..]).records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 40);
        assert_eq!(
            rows[0].iter().collect::<Vec<_>>(),
            ["a,0.png", "one|two", "positive", "unchanged", "", "positive", "0.9", "0.4"]
        );
        assert_eq!(rows[10].iter().collect::<Vec<_>>()[2..6], ["positive", "blur", "0.5", "negative"]);
        let json: serde_json::Value = serde_json::from_slice(&stress.to_json().unwrap()).unwrap();
        assert_eq!(
            (&json["figures"][1]["strength"], json["figures"][1]["kept"]["value"].as_f64()),
            (&"0.5".into(), Some(0.9))
        );
    }
}
