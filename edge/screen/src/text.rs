//! Words and numbers, cut to the room there is.
//!
//! Text is set in the pictures of [`glyphs`](super::glyphs), so room is counted in pixels. A letter that the font lacks is shown as
//! `?`, a line break or tab as a space. Letters are blended with the ground that they stand on, which therefore has to be told.

use core::fmt::Write as _;

use embedded_graphics::{pixelcolor::Rgb565, prelude::*, primitives::Rectangle, text::Alignment};

use thorax_shared::words::Language;

use super::{
    glyphs::{Glyph, Strike, is_devanagari},
    palette,
};

/// No line has more letters, on however wide a target.
const MOST_LETTERS: usize = 400;

/// A number with its unit.
pub(super) type Number = heapless::String<24>;

/// What stands for a number that is none.
pub(super) const NO_NUMBER: &str = "--";

/// The colour of letters, and of what they stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ink {
    pub(super) colour: Rgb565,
    pub(super) ground: Rgb565,
}

impl Ink {
    /// On the screen's own ground.
    pub(super) const fn new(colour: Rgb565) -> Self {
        Self { colour, ground: palette::BACKGROUND }
    }

    pub(super) const fn on(colour: Rgb565, ground: Rgb565) -> Self {
        Self { colour, ground }
    }

    /// What a pixel is that letters cover by so many fifteenths.
    fn covered(self, coverage: u8) -> Rgb565 {
        let mix = |ground: u8, colour: u8| {
            let (ground, colour, coverage) = (u32::from(ground), u32::from(colour), u32::from(coverage));
            // At most the larger of the two.
            ((ground * (15 - coverage) + colour * coverage + 7) / 15) as u8
        };
        let Self { colour, ground } = self;
        Rgb565::new(mix(ground.r(), colour.r()), mix(ground.g(), colour.g()), mix(ground.b(), colour.b()))
    }
}

/// A font in one size and weight, with room for the accents and marks of a script.
#[derive(Clone, Copy)]
pub(super) struct Face {
    strike: &'static Strike,
    ascent: u32,
    descent: u32,
}

impl Face {
    /// Of `pixels` an em; with room for Devanagari, if it is asked for.
    pub(super) fn new(pixels: u32, bold: bool, devanagari: bool) -> Self {
        let strike = Strike::of(pixels, bold);
        let [ascent, descent] = if devanagari { strike.devanagari } else { strike.latin };
        Self { strike, ascent, descent }
    }

    /// Height of a line in pixels.
    pub(super) fn height(self) -> u32 {
        self.ascent + self.descent
    }

    /// Pixels below the line that letters stand on.
    pub(super) fn descent(self) -> u32 {
        self.descent
    }

    /// From one line of a paragraph to the next, in pixels.
    pub(super) fn line_height(self) -> u32 {
        self.height() + 1 + self.strike.pixels / 12
    }

    /// Width of one line in pixels.
    pub(super) fn width(self, text: &str) -> u32 {
        let advance: u32 = self.set(text).map(|(_, glyph)| glyph.advance).sum();
        advance.div_ceil(64)
    }

    /// The pictures that a line is set from, each with its letters.
    fn set(self, text: &str) -> impl Iterator<Item = (&str, Glyph)> {
        let mut rest = text;
        let mut left = MOST_LETTERS;
        core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let first = rest.chars().next()?;
            let word = if first.is_whitespace() { "" } else { rest.split(char::is_whitespace).next().unwrap_or("") };
            if is_devanagari(word) {
                // A sign may have come behind a word of the table. Of what is not there, each letter is told to be missing.
                let bare = word.trim_end_matches([',', ':']);
                if let Some((word, glyph)) = [word, bare].into_iter().find_map(|w| Some((w, self.strike.word(w)?))) {
                    rest = &rest[word.len()..];
                    return Some((word, glyph));
                }
            }
            let (letter, after) = rest.split_at(first.len_utf8());
            rest = after;
            Some((letter, self.strike.letter(printable(first))))
        })
    }
}

/// Draws one line, vertically centred in `area` and never outside it; what is too long is [shortened](shorten).
pub(super) fn draw_line<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    area: Rectangle,
    text: &str,
    face: Face,
    ink: Ink,
    alignment: Alignment,
) -> Result<(), D::Error> {
    let line = shorten(text, face, area.size.width);
    let spare = area.size.saturating_sub(Size::new(face.width(&line), face.height()));
    let left = match alignment {
        Alignment::Left => 0,
        Alignment::Center => spare.width / 2,
        Alignment::Right => spare.width,
    };
    let base = area.top_left + Size::new(left, spare.height / 2 + face.ascent);
    let mut target = target.clipped(&area);
    let colours: [Rgb565; 16] = core::array::from_fn(|coverage| ink.covered(coverage as u8));
    let mut advance = 0;
    for (_, glyph) in face.set(&line) {
        let corner = base + Point::new(((advance + 32) / 64) as i32 + glyph.left, -glyph.top);
        target.draw_iter(
            glyph.pixels().map(|(x, y, coverage)| Pixel(corner + Size::new(x, y), colours[usize::from(coverage)])),
        )?;
        advance += glyph.advance;
    }
    Ok(())
}

/// Draws whole words, line under line from the top of `area`; the last line that fits ends in `\u{2026}` where text is left
/// over.
pub(super) fn draw_paragraph<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    area: Rectangle,
    text: &str,
    face: Face,
    ink: Ink,
    alignment: Alignment,
) -> Result<(), D::Error> {
    let Size { width, height } = area.size;
    let room = (height + face.line_height()).saturating_sub(face.height()) / face.line_height();
    let mut lines = wrap(text, face, width).peekable();
    for row in 0..room {
        let Some(line) = lines.next() else { break };
        let top_left = area.top_left + Size::new(0, row * face.line_height());
        let area = Rectangle::new(top_left, Size::new(width, face.height()));
        if row + 1 == room && lines.peek().is_some() {
            draw_line(target, area, &ended(line, face, width), face, ink, alignment)?;
        } else {
            draw_line(target, area, line, face, ink, alignment)?;
        }
    }
    Ok(())
}

/// Pixels that [`draw_paragraph`] wants to draw `text` in full at this width.
pub(super) fn paragraph_height(text: &str, face: Face, width: u32) -> u32 {
    match u32::try_from(wrap(text, face, width).take(1000).count()).unwrap_or(0).checked_sub(1) {
        None => 0,
        Some(further) => face.height() + further * face.line_height(),
    }
}

/// Breaks `text` into lines of at most `width` pixels, between words; only a word that is wider than a line is broken itself.
pub(super) fn wrap(text: &str, face: Face, width: u32) -> impl Iterator<Item = &str> {
    let mut rest = text;
    core::iter::from_fn(move || {
        rest = rest.trim();
        if rest.is_empty() || width == 0 {
            return None;
        }
        // The line may end before each space, and at the end of the text.
        let ends = rest.char_indices().filter(|(_, c)| is_break(*c)).map(|(at, _)| at).chain([rest.len()]);
        let end = ends.take_while(|&end| face.width(&rest[..end]) <= width).last();
        let end = end.unwrap_or_else(|| longest(rest, face, width));
        let (line, after) = rest.split_at(end);
        rest = after;
        Some(line.trim_end())
    })
}

/// How much of the beginning of `text` is at most `width` pixels wide, but at least one letter.
fn longest(text: &str, face: Face, width: u32) -> usize {
    let (mut end, mut advance) = (0, 0);
    for (letters, glyph) in face.set(text) {
        advance += glyph.advance;
        if end > 0 && advance > 64 * width {
            break;
        }
        end += letters.len();
    }
    end
}

/// Whether a line may be broken here. Before French signs, and between a number and its unit, it may not.
fn is_break(character: char) -> bool {
    character.is_whitespace() && !matches!(character, '\u{a0}' | '\u{202f}')
}

/// `text` in at most `width` pixels: of what is wider, beginning and end, since file names differ in both.
pub(super) fn shorten(text: &str, face: Face, width: u32) -> String {
    let printable_text: String = text.chars().take(MOST_LETTERS).map(printable).collect();
    if face.width(&printable_text) <= width && text.chars().count() <= MOST_LETTERS {
        return printable_text;
    }
    let pieces: Vec<(&str, Glyph)> = face.set(text).collect();
    let room = (64 * width).saturating_sub(face.strike.letter('\u{2026}').advance);
    let (mut head, mut end) = (String::new(), String::new());
    // Devanagari is not cut inside a word, and what is left of it is its beginning.
    let whole = pieces.iter().any(|(letters, _)| is_devanagari(letters));
    let mut used = 0;
    for (letters, glyph) in &pieces {
        if used + glyph.advance > if whole { room } else { room / 2 + room % 2 } {
            break;
        }
        used += glyph.advance;
        head.extend(letters.chars().map(printable));
    }
    if !whole {
        // The end of what is longer than can be shown is not among the pieces.
        for letter in text.chars().rev().take(MOST_LETTERS).map(printable) {
            let advance = face.strike.letter(letter).advance;
            if used + advance > room {
                break;
            }
            used += advance;
            end.insert(0, letter);
        }
    }
    if room == 0 {
        return String::new();
    }
    format!("{}\u{2026}{}", head.trim_end(), end.trim_start())
}

/// The beginning of `line`, and that there is more.
fn ended(line: &str, face: Face, width: u32) -> String {
    let mut end = line.len();
    loop {
        let cut = format!("{}\u{2026}", line[..end].trim_end());
        if face.width(&cut) <= width || end == 0 {
            return cut;
        }
        // At a word's end, and only where there is but one word inside it.
        let whole = &line[..end];
        end = whole.rfind(is_break).or_else(|| whole.rfind(|_: char| !is_devanagari(whole))).unwrap_or(0);
    }
}

/// `character` as the font has it.
fn printable(character: char) -> char {
    match character {
        c if c.is_whitespace() || c.is_control() => ' ',
        c => c,
    }
}

/// A probability (0 to 1) in percent: `87 %`. Nothing is ever certain, so the ends are `<1 %` and `>99 %`; what is no
/// probability is `--`.
pub(super) fn probability(value: f32) -> Number {
    let mut text = Number::new();
    match value {
        v if !(0.0..=1.0).contains(&v) => write!(text, "{NO_NUMBER}"),
        v if v < 0.01 => write!(text, "<1 %"),
        v if v > 0.99 => write!(text, ">99 %"),
        v => write!(text, "{:.0} %", 100.0 * v),
    }
    .ok();
    text
}

/// Whether `value` is the entropy of a yes or no, rounding errors forgiven.
pub(super) fn is_entropy(value: f32) -> bool {
    (-0.001..=1.001).contains(&value)
}

/// An area (0 to 100 percent): `23 %`, below ten `2.3 %`; `--` where it is none.
pub(super) fn area_percent(value: f32, language: Language) -> Number {
    let mut text = Number::new();
    match value {
        v if !(0.0..=100.0).contains(&v) => write!(text, "{NO_NUMBER}"),
        0.0 => write!(text, "0 %"),
        v if v < 0.1 => write!(text, "{}", language.number("<0.1 %")),
        v if v < 9.95 => write!(text, "{}", language.number(&format!("{v:.1} %"))),
        v => write!(text, "{v:.0} %"),
    }
    .ok();
    text
}

/// [`area_percent`] of one of the patient's sides, on one line: `left 23 %`; nothing where it is not known.
pub(super) fn side_percent(side: &str, value: Option<f32>, language: Language) -> String {
    let told = |value| format!("{side} {}", area_percent(value, language)).replace(' ', "\u{a0}");
    value.map_or_else(String::new, told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Framebuffer;
    use proptest::prelude::*;

    fn face() -> Face {
        Face::new(13, false, false)
    }

    #[test]
    fn words_stay_whole() {
        let lines: Vec<_> = wrap("the ensemble is too  uncertain", face(), face().width("the ensemble")).collect();
        assert_eq!(lines, ["the ensemble", "is too", "uncertain"]);
    }

    #[test]
    fn only_a_word_longer_than_a_line_is_broken() {
        let lines: Vec<_> = wrap("a radiograph\nof", face(), face().width("radiog")).collect();
        assert_eq!(lines, ["a", "radiog", "raph", "of"]);
        assert_eq!(wrap("text", face(), 0).count(), 0);
    }

    #[test]
    fn a_french_sign_does_not_begin_a_line() {
        let lines: Vec<_> = wrap("Etat\u{a0}: bon", face(), face().width("Etat")).collect();
        assert_eq!(lines[0], "Etat", "where there is no room at all, it is broken");
        let lines: Vec<_> = wrap("Etat\u{a0}: bon", face(), face().width("Etat :")).collect();
        assert_eq!(lines, ["Etat\u{a0}:", "bon"]);
    }

    #[test]
    fn names_lose_their_middle() {
        let shortened = |text: &str, as_wide_as: &str| shorten(text, face(), face().width(as_wide_as));
        assert_eq!(shortened("patient-0042.dcm", "patient-0042.dcm"), "patient-0042.dcm");
        let name = shortened("patient-0042-left.dcm", "patient-0042.d");
        assert!(name.starts_with("patien") && name.ends_with(".dcm") && name.contains('\u{2026}'), "{name}");
        assert_eq!(shorten("patient", face(), 0), "");
        assert_eq!(shorten("M\u{fc}ller\n\tx", face(), 999), "M\u{fc}ller  x");
    }

    #[test]
    fn what_the_font_lacks_is_a_question_mark() {
        let (missing, mark) = (face().strike.letter('\u{738b}'), face().strike.letter('?'));
        assert_eq!(missing.pixels().collect::<Vec<_>>(), mark.pixels().collect::<Vec<_>>());
    }

    #[test]
    fn every_word_of_hindi_can_be_written_and_a_word_that_is_none_is_told_to_be() {
        use thorax_shared::words::{Word, reasons};
        let said = Word::ALL.iter().map(|word| Language::Hindi.word(*word));
        let texts: Vec<&str> = said.chain(reasons(Language::Hindi)).collect();
        for face in [Face::new(11, false, true), Face::new(26, true, true)] {
            for text in &texts {
                for word in text.split_whitespace().filter(|word| is_devanagari(word)) {
                    assert_eq!(face.set(word).count(), 1, "{word}");
                }
            }
            let with_signs = Language::Hindi.word(Word::Threshold).to_owned() + ",:";
            assert_eq!(face.set(&with_signs).count(), 3, "a sign behind a word");
            assert_eq!(face.set("\u{915}\u{916}\u{917}").count(), 3);
        }
        for title in crate::titles::TITLES {
            for word in Language::Hindi.word(*title).split_whitespace().filter(|word| is_devanagari(word)) {
                assert_eq!(Face::new(52, true, true).set(word).count(), 1, "{word}");
            }
        }
    }

    #[test]
    fn letters_are_blended_with_their_ground() {
        let ink = Ink::on(Rgb565::new(31, 0, 16), Rgb565::new(1, 60, 16));
        assert_eq!((ink.covered(0), ink.covered(15)), (ink.ground, ink.colour));
        assert_eq!(ink.covered(5), Rgb565::new(11, 40, 16));
    }

    #[test]
    fn numbers_as_people_read_them() {
        assert_eq!(probability(0.874), "87 %");
        assert_eq!(probability(1.0), ">99 %");
        assert_eq!(probability(0.0), "<1 %");
        assert_eq!(probability(0.99), "99 %");
        assert_eq!(area_percent(0.0, Language::English), "0 %");
        assert_eq!(area_percent(0.02, Language::English), "<0.1 %");
        assert_eq!(area_percent(2.34, Language::English), "2.3 %");
        assert_eq!(area_percent(9.96, Language::English), "10 %");
        assert_eq!(area_percent(23.4, Language::English), "23 %");
        assert_eq!(side_percent("right", Some(0.02), Language::English), "right\u{a0}<0.1\u{a0}%");
        assert_eq!(side_percent("gauche", Some(8.94), Language::French), "gauche\u{a0}8,9\u{a0}%");
        assert_eq!(side_percent("left", None, Language::English), "");
    }

    #[test]
    fn what_is_no_number_is_not_shown_as_one() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.5, 1e9] {
            assert_eq!(probability(value), "--", "{value}");
            assert!(!is_entropy(value), "{value}");
            assert_eq!(area_percent(value, Language::Hindi), "--", "{value}");
        }
        assert_eq!(probability(1.01), "--");
        assert!(!is_entropy(1.58) && is_entropy(-0.0) && is_entropy(1.0));
    }

    #[test]
    fn the_last_line_that_fits_says_that_there_is_more() {
        let drawn = |text: &str| {
            let size = Size::new(face().width("too few \u{2026}"), 2 * face().line_height());
            let mut panel = Framebuffer::new(size);
            let area = Rectangle::new(Point::zero(), size);
            let Ok(()) = draw_paragraph(&mut panel, area, text, face(), Ink::new(Rgb565::WHITE), Alignment::Left);
            panel
        };
        assert_eq!(drawn("too few pixels for us"), drawn("too few pixels\u{2026}"));
        assert_ne!(drawn("too few pixels"), drawn("too few pixels\u{2026}"));
    }

    proptest! {
        #[test]
        fn wrapping_keeps_every_word_and_every_limit(text in "\\PC{0,80}", width in 20u32..300) {
            let lines: Vec<_> = wrap(&text, face(), width).collect();
            for line in &lines {
                prop_assert!(face().width(line) <= width || line.chars().count() == 1);
            }
            let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(bare(&lines.concat()), bare(&text));
        }

        #[test]
        fn shortened_text_is_never_wider_than_asked(text in any::<String>(), width in 0u32..2000) {
            prop_assert!(face().width(&shorten(&text, face(), width)) <= width);
        }
    }
}
