//! What the device says when there is no result to show: that it tests itself, is at work, cannot read a file, is stopping.

use embedded_graphics::{pixelcolor::Rgb565, prelude::*};
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

impl Drawable for MessageScreen<'_> {
    type Color = Rgb565;
    type Output = ();

    fn draw<D: DrawTarget<Color = Rgb565>>(&self, target: &mut D) -> Result<(), D::Error> {
        let scale = &Scale::of(target.bounding_box().size, self.language);
        let (sign, ground) = self.tone.look();
        let word = self.language.word(self.title);
        let remark = if self.tone == Tone::Rejected { self.language.word(Word::NotRead) } else { "" };
        let banner = Banner { sign, word, remark, ground, ink: palette::ON_DARK };
        let bare = !banner.has_room_for_remark(Frame::of(target.bounding_box(), scale).banner, scale);
        let body = draw_frame(target, "Thorax", self.name, &banner, self.keys, scale)?;
        let (text, remedy) = (capitalised(self.text), capitalised(self.remedy.unwrap_or_default()));
        let remark = Words { text: if bare { remark } else { "" }, face: scale.heading, colour: palette::TEXT };
        let detail = Words { text: self.detail, face: scale.small, colour: palette::SOFT_TEXT };
        let reason = cause_and_remedy(&text, &remedy, scale);
        let words: Vec<Words<'_>> = [remark].into_iter().chain(reason).chain([detail]).collect();
        draw_column(target, inset(body, scale.gap), &words, &[], scale)
    }
}

/// What is the matter, and under it, in another colour, what to do.
pub(super) fn cause_and_remedy<'a>(cause: &'a str, remedy: &'a str, scale: &Scale) -> [Words<'a>; 2] {
    [
        Words { text: cause, face: scale.heading, colour: palette::TEXT },
        Words { text: remedy, face: scale.body, colour: palette::REMEDY_TEXT },
    ]
}
