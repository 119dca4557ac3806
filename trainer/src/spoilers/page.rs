//! The findings with thumbnails, as one HTML file. It shows pictures of patients, and belongs into no repository.

use std::io::Cursor;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use image::{GrayImage, ImageFormat};
use thorax_shared::{
    modality::Modality,
    plane::Plane,
    preprocess::{self, resize_u8},
};

use super::Spoilers;
use crate::{
    data::{Manifest, picture::Picture, recipe::preprocess_spec},
    figures::Pictures,
    report::document::{Block, Document, Look, Table},
};

/// The longer side of a thumbnail.
const SIDE: usize = 192;
/// So many findings of a kind are shown.
const SHOWN: usize = 100;
/// So many pictures with text.
const LETTERED: usize = 24;

impl Spoilers {
    /// The page; `name` is what the manifest is called.
    pub fn page(&self, manifest: &Manifest, name: &str) -> String {
        let mut blocks = vec![Block::Caution(
            "Pictures of patients.".into(),
            vec!["Keep this file where the data are. Research use only, not a medical device.".into()],
        )];
        blocks.push(Block::Section("Nearly the same pictures".into()));
        blocks.push(Block::Paragraph(format!(
            "{} pairs among {} pictures stand in two splits or two classes and under two patients. Look at each: where it is one \
             picture, give both lines one group, or take one out.",
            self.twins.len(),
            self.pictures
        )));
        for twins in self.twins.iter().take(SHOWN) {
            let pictures = twins.files.iter().zip(&twins.splits);
            let (pngs, labels) = pictures
                .filter_map(|(file, split)| Some((thumbnail(manifest, file)?, format!("{file} ({})", split.as_str()))))
                .unzip();
            let caption =
                format!("{}; correlation {:.2}; {}", twins.sides(), twins.correlation, twins.groups.join(", "));
            blocks.push(Block::Pictures(Pictures { title: "One picture?".into(), caption, pngs, labels }));
        }
        blocks.push(Block::Section("What tells the classes".into()));
        blocks.extend(self.one_source.iter().map(|one| Block::Caution("One source.".into(), vec![one.to_string()])));
        blocks.push(Block::Table(self.table()));
        for confounder in self.confounders.iter().filter(|confounder| confounder.spoils()) {
            let title = format!("{}: {}", confounder.modality.title(), confounder.fact);
            blocks.push(Block::Heading(title));
            blocks.push(Block::Paragraph(format!("Remedy: {}.", confounder.remedy())));
            let mut table = Table::new("Pictures with each value.", &[confounder.fact, "positive", "negative"]);
            for (value, [positive, negative]) in confounder.counts.iter().take(SHOWN) {
                table.push(Look::Plain, vec![value.clone(), positive.to_string(), negative.to_string()]);
            }
            blocks.push(Block::Table(table));
        }
        blocks.push(Block::Section("Burned-in text".into()));
        blocks.push(Block::Paragraph(format!(
            "{} of {} pictures have lines of letters.",
            self.lettered.len(),
            self.pictures
        )));
        let first: Vec<String> = self.lettered.iter().take(LETTERED).cloned().collect();
        blocks.push(pictures(manifest, "With letters", "The first of them.", &first));
        if !self.blurred.is_empty() {
            blocks.push(Block::Section("Blur".into()));
            blocks.push(pictures(manifest, "Least sharp", "The least sharp come first.", &self.blurred));
        }
        Document { title: format!("What may spoil a study with {name}"), name: "check", blocks }.to_html()
    }

    /// Every fact, the one that tells most first.
    fn table(&self) -> Table {
        let caption = "How well a fact tells the classes by itself: balanced accuracy of the best rule that knows nothing else, each \
                       patient counted once, and the same with the classes shuffled among the patients. Strong rows spoil a study.";
        let mut table = Table::new(caption, &["Fact", "pictures", "tells", "by chance"]);
        for confounder in &self.confounders {
            let look = if confounder.spoils() { Look::Strong } else { Look::Plain };
            let percent = |share: f64| format!("{:.0} %", 100.0 * share);
            let cells = vec![
                confounder.fact.into(),
                confounder.modality.to_string(),
                percent(confounder.tells),
                percent(confounder.chance),
            ];
            table.push(look, cells);
        }
        table
    }
}

/// Thumbnails of `files`, each with its name.
fn pictures(manifest: &Manifest, title: &str, caption: &str, files: &[String]) -> Block {
    let (pngs, labels) = files.iter().filter_map(|file| Some((thumbnail(manifest, file)?, file.clone()))).unzip();
    Block::Pictures(Pictures { title: title.into(), caption: caption.into(), pngs, labels })
}

/// A small PNG in base64; `None` of a picture that cannot be read.
fn thumbnail(manifest: &Manifest, file: &str) -> Option<String> {
    let record = manifest.records.iter().find(|record| record.path == file)?;
    let picture = Picture::of(manifest, record).ok()?;
    let shown = shown(&picture, record.modality);
    let longer = shown.width().max(shown.height()).max(1);
    let side = |length: usize| (length * SIDE.min(longer) / longer).max(1);
    let small = resize_u8(&shown, side(shown.width()), side(shown.height()));
    let (width, height) = (u32::try_from(small.width()).ok()?, u32::try_from(small.height()).ok()?);
    let mut bytes = Cursor::new(vec![]);
    GrayImage::from_raw(width, height, small.into_data())?.write_to(&mut bytes, ImageFormat::Png).ok()?;
    Some(BASE64_STANDARD.encode(bytes.into_inner()))
}

fn shown(picture: &Picture, modality: Modality) -> Plane<u8> {
    let window = preprocess_spec(modality, 64, super::sketch::no_normalisation()).window;
    preprocess::window(&picture.frame.pixels, &window)
}
