//! What the device says when there is no result to show: that it tests itself, is at work, cannot read a file, is stopping.

use embedded_graphics::{pixelcolor::Rgb565, prelude::*, primitives::Rectangle};
use thorax_shared::words::{Language, Word};

use super::{
    capitalised,
    layout::{Frame, Scale, inset},
    palette,
    parts::{Banner, Keys, Sign, Words, draw_column, draw_frame},
};

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is as it should be.
    Ready,
    /// The device is at work.
    Busy,
    /// Something went wrong, and somebody has to do something.
    Problem,
    /// A file was not read.
    Rejected,
    /// What was asked for is done.
    Done,
    /// The device is off.
    Off,
}

impl Tone {
    /// The sign of a banner and its ground.
    pub(super) fn look(self) -> (Sign, Rgb565) {
        match self {
            Self::Ready => (Sign::Ring, palette::READY),
            Self::Busy => (Sign::Hourglass, palette::BUSY),
            Self::Problem => (Sign::Exclamation, palette::PROBLEM),
            Self::Rejected => (Sign::Cross, palette::REJECTED),
            Self::Done => (Sign::Tick, palette::READY),
            Self::Off => (Sign::Power, palette::OFF),
        }
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageScreen<'a> {
    /// Of the words that the screen brings itself.
    pub language: Language,
    /// Colour and sign.
    pub tone: Tone,
    /// In large letters.
    pub title: Word,
    /// File or patient label; empty where it is about none.
    pub name: &'a str,
    /// What is the matter, in whole sentences.
    pub text: &'a str,
    /// What to do about it.
    pub remedy: Option<&'a str>,
    /// What a program said, for a technician, small and in English; empty where there is nothing to say.
    pub detail: &'a str,
    /// What the keys do.
    pub keys: Keys,
}

impl MessageScreen<'_> {
    fn banner(&self) -> Banner<'_> {
        let (sign, ground) = self.tone.look();
        let word = |word| self.language.word(word);
        let remark = if self.title == Word::Rejected { word(Word::NotRead) } else { "" };
        Banner { sign, word: word(self.title), remark, ground, ink: palette::ON_DARK }
    }

    /// The paragraphs: what the banner has no room for, what is the matter, what to do, and what a program said.
    fn words<'t>(&'t self, bounds: Rectangle, [text, remedy]: &'t [String; 2], scale: &Scale) -> Vec<Words<'t>> {
        let banner = self.banner();
        let fits = banner.has_room_for_remark(Frame::of(bounds, scale).banner, scale);
        let remark = if fits { "" } else { self.language.word(Word::NotRead) };
        let remark = Words { text: remark, face: scale.heading, colour: palette::TEXT };
        let detail = Words { text: self.detail, face: scale.small, colour: palette::SOFT_TEXT };
        [remark].into_iter().chain(cause_and_remedy(text, remedy, scale)).chain([detail]).collect()
    }

    fn texts(&self) -> [String; 2] {
        [self.text, self.remedy.unwrap_or_default()].map(capitalised)
    }
}

impl Drawable for MessageScreen<'_> {
    type Color = Rgb565;
    type Output = ();

    fn draw<D: DrawTarget<Color = Rgb565>>(&self, target: &mut D) -> Result<(), D::Error> {
        let bounds = target.bounding_box();
        let scale = &Scale::of(bounds.size, self.language);
        let body = draw_frame(target, "Thorax", self.name, &self.banner(), self.keys, scale)?;
        let texts = self.texts();
        draw_column(target, inset(body, scale.gap), &self.words(bounds, &texts, scale), &[], scale)
    }
}

/// What is the matter, and under it, in another colour, what to do.
pub(super) fn cause_and_remedy<'a>(cause: &'a str, remedy: &'a str, scale: &Scale) -> [Words<'a>; 2] {
    [
        Words { text: cause, face: scale.heading, colour: palette::TEXT },
        Words { text: remedy, face: scale.body, colour: palette::REMEDY_TEXT },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SUPPORTED, parts::column_fits};

    #[test]
    fn what_is_told_of_a_file_that_cannot_be_read_has_room_in_every_language_on_every_supported_panel() {
        for (size, language) in SUPPORTED.into_iter().flat_map(|size| Language::ALL.map(|language| (size, language))) {
            let screen = MessageScreen {
                language,
                tone: Tone::Rejected,
                title: Word::Rejected,
                name: "",
                text: language.word(Word::FileUnusable),
                remedy: Some(language.word(Word::DoSendAgain)),
                detail: "The DICOM file is damaged (it ends in the pixel data): copy or export it again",
                keys: Keys { arrows: Some(Word::OthersKey), select: None, back: true },
            };
            let (scale, bounds) = (&Scale::of(size, language), Rectangle::new(Point::zero(), size));
            let mut body = Frame::of(bounds, scale).body;
            screen.keys.cut(&mut body, scale);
            let texts = screen.texts();
            let words = screen.words(bounds, &texts, scale);
            assert!(column_fits(&words, &[], inset(body, scale.gap).size, scale), "{size} {language:?}");
            assert!(!words[0].text.is_empty() || !screen.banner().remark.is_empty(), "that it was not read");
        }
    }
}
