//! Words and numbers, cut to the room there is.
//!
//! Everything is set in fixed-width fonts of ISO 8859-1, so that room is counted in columns; a character that the fonts
//! lack is shown as `?`, a line break or tab as a space. Text lives in [`heapless::String`]s, without an allocator.

use core::fmt::Write as _;

use embedded_graphics::{
    mono_font::{MonoFont, MonoTextStyle},
    pixelcolor::Rgb565,
    prelude::*,
    primitives::Rectangle,
    text::{Alignment, Baseline, Text},
};

/// No line is longer, on however wide a target.
const MAX_COLUMNS: usize = 120;

/// One line of text: ISO 8859-1 takes at most two bytes of UTF-8 a character.
pub(super) type Line = heapless::String<{ 2 * MAX_COLUMNS }>;

/// A number with its unit.
pub(super) type Number = heapless::String<16>;

/// What stands for a number that is none.
const NO_NUMBER: &str = "--";

/// A font, and whether each stroke is drawn a second time one pixel to the right.
#[derive(Clone, Copy)]
pub(super) struct Face {
    font: &'static MonoFont<'static>,
    bold: bool,
}

impl Face {
    pub(super) const fn new(font: &'static MonoFont<'static>) -> Self {
        Self { font, bold: false }
    }

    pub(super) const fn bold(font: &'static MonoFont<'static>) -> Self {
        Self { font, bold: true }
    }

    /// Height of a character in pixels.
    pub(super) const fn height(self) -> u32 {
        self.font.character_size.height
    }

    /// Pixels below the line that letters stand on.
    pub(super) const fn descent(self) -> u32 {
        self.height().saturating_sub(self.font.baseline + 1)
    }

    /// From one line of a paragraph to the next, in pixels.
    pub(super) const fn line_height(self) -> u32 {
        self.height() + 1
    }

    /// Width of so many characters in pixels.
    pub(super) fn width(self, characters: usize) -> u32 {
        let characters = u32::try_from(characters.min(MAX_COLUMNS)).unwrap_or(0);
        (self.advance() * characters).saturating_sub(self.font.character_spacing) + u32::from(self.bold)
    }

    /// How many characters fit into so many pixels.
    pub(super) fn columns(self, width: u32) -> usize {
        let width = (width + self.font.character_spacing).saturating_sub(u32::from(self.bold));
        usize::try_from(width / self.advance()).unwrap_or(0).min(MAX_COLUMNS)
    }

    const fn advance(self) -> u32 {
        self.font.character_size.width + self.font.character_spacing
    }
}

/// Draws one line, vertically centred in `area` and never outside it; what is too long is [shortened](shorten).
pub(super) fn draw_line<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    area: Rectangle,
    text: &str,
    face: Face,
    colour: Rgb565,
    alignment: Alignment,
) -> Result<(), D::Error> {
    let line = shorten(text, face.columns(area.size.width));
    let size = Size::new(face.width(line.chars().count()), face.height());
    let spare = area.size.saturating_sub(size);
    let left = match alignment {
        Alignment::Left => 0,
        Alignment::Center => spare.width / 2,
        Alignment::Right => spare.width,
    };
    let top_left = area.top_left + Size::new(left, spare.height / 2);
    let mut target = target.clipped(&area);
    let style = MonoTextStyle::new(face.font, colour);
    Text::with_baseline(&line, top_left, style, Baseline::Top).draw(&mut target)?;
    if face.bold {
        Text::with_baseline(&line, top_left + Point::new(1, 0), style, Baseline::Top).draw(&mut target)?;
    }
    Ok(())
}

/// Draws whole words, line under line from the top of `area`; the last line that fits ends in `...` where text is left
/// over.
pub(super) fn draw_paragraph<D: DrawTarget<Color = Rgb565>>(
    target: &mut D,
    area: Rectangle,
    text: &str,
    face: Face,
    colour: Rgb565,
) -> Result<(), D::Error> {
    let columns = face.columns(area.size.width);
    let room = area.size.height.saturating_add(1) / face.line_height();
    let mut lines = wrap(text, columns).peekable();
    for row in 0..room {
        let Some(line) = lines.next() else { break };
        let top_left = area.top_left + Size::new(0, row * face.line_height());
        let area = Rectangle::new(top_left, Size::new(area.size.width, face.height()));
        if row + 1 == room && lines.peek().is_some() {
            let mut cut = shorten_end(line, columns.saturating_sub(3));
            cut.push_str("...").ok();
            draw_line(target, area, &cut, face, colour, Alignment::Left)?;
        } else {
            draw_line(target, area, line, face, colour, Alignment::Left)?;
        }
    }
    Ok(())
}

/// Pixels that [`draw_paragraph`] wants to draw `text` in full at this width.
pub(super) fn paragraph_height(text: &str, face: Face, width: u32) -> u32 {
    let lines = wrap(text, face.columns(width)).take(1000).count();
    (u32::try_from(lines).unwrap_or(0) * face.line_height()).saturating_sub(1)
}

/// Breaks `text` into lines of at most `columns` characters, between words; only a word that is longer than a line is
/// broken itself.
pub(super) fn wrap(text: &str, columns: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    core::iter::from_fn(move || {
        rest = rest.trim();
        if rest.is_empty() || columns == 0 {
            return None;
        }
        let end = match rest.char_indices().nth(columns) {
            None => rest.len(),
            Some((limit, next)) if next.is_whitespace() => limit,
            Some((limit, _)) => rest[..limit].rfind(char::is_whitespace).unwrap_or(limit),
        };
        let (line, after) = rest.split_at(end);
        rest = after;
        Some(line.trim_end())
    })
}

/// `text` in at most `columns` characters: of what is longer, beginning and end, since file names differ in both.
pub(super) fn shorten(text: &str, columns: usize) -> Line {
    let columns = columns.min(MAX_COLUMNS);
    let length = text.chars().count();
    if length <= columns {
        return shorten_end(text, columns);
    }
    let dots = columns.min(3);
    let tail = (columns - dots) / 2;
    let mut line = shorten_end(text, columns - dots - tail);
    line.push_str(&"..."[..dots]).ok();
    for character in text.chars().skip(length - tail) {
        line.push(printable(character)).ok();
    }
    line
}

/// The first `columns` characters of `text`.
fn shorten_end(text: &str, columns: usize) -> Line {
    let mut line = Line::new();
    for character in text.chars().take(columns.min(MAX_COLUMNS)) {
        line.push(printable(character)).ok();
    }
    line
}

/// `character` as the fonts have it.
fn printable(character: char) -> char {
    match character {
        c if c.is_whitespace() || c.is_control() => ' ',
        c if u32::from(c) < 0x100 => c,
        _ => '?',
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

/// The entropy of a yes or no (0 to 1 bit): `0.42 bit`; `--` where it is none.
pub(super) fn entropy_bits(value: f32) -> Number {
    let mut text = Number::new();
    if is_entropy(value) { write!(text, "{:.2} bit", value.abs()) } else { write!(text, "{NO_NUMBER}") }.ok();
    text
}

/// Whether `value` is the entropy of a yes or no, rounding errors forgiven.
pub(super) fn is_entropy(value: f32) -> bool {
    (-0.001..=1.001).contains(&value)
}

/// An area (0 to 100 percent): `23 %`, below ten `2.3 %`; `--` where it is none.
pub(super) fn area_percent(value: f32) -> Number {
    let mut text = Number::new();
    match value {
        v if !(0.0..=100.0).contains(&v) => write!(text, "{NO_NUMBER}"),
        0.0 => write!(text, "0 %"),
        v if v < 0.1 => write!(text, "<0.1 %"),
        v if v < 9.95 => write!(text, "{v:.1} %"),
        v => write!(text, "{v:.0} %"),
    }
    .ok();
    text
}

/// [`area_percent`] of one of the patient's sides, `R` or `L` as radiologists mark them: `L 23 %`; nothing where it is not known.
pub(super) fn side_percent(side: char, value: Option<f32>) -> Number {
    let mut text = Number::new();
    if let Some(value) = value {
        write!(text, "{side} {}", area_percent(value)).ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_graphics::{
        mock_display::MockDisplay,
        mono_font::{ascii::FONT_4X6, ascii::FONT_6X10},
    };
    use proptest::prelude::*;

    #[test]
    fn words_stay_whole() {
        let lines: Vec<_> = wrap("the ensemble is too  uncertain", 12).collect();
        assert_eq!(lines, ["the ensemble", "is too", "uncertain"]);
    }

    #[test]
    fn only_a_word_longer_than_a_line_is_broken() {
        let lines: Vec<_> = wrap("a radiograph\nof", 6).collect();
        assert_eq!(lines, ["a", "radiog", "raph", "of"]);
        assert_eq!(wrap("text", 0).count(), 0);
    }

    #[test]
    fn names_lose_their_middle() {
        assert_eq!(shorten("patient-0042.dcm", 16), "patient-0042.dcm");
        assert_eq!(shorten("patient-0042-left.dcm", 13), "patie...t.dcm");
        assert_eq!(shorten("patient", 2), "..");
        assert_eq!(shorten("patient", 0), "");
        assert_eq!(shorten("M\u{fc}ller \u{738b}\n\u{1f600}", 20), "M\u{fc}ller ? ?");
    }

    #[test]
    fn numbers_as_people_read_them() {
        assert_eq!(probability(0.874), "87 %");
        assert_eq!(probability(1.0), ">99 %");
        assert_eq!(probability(0.0), "<1 %");
        assert_eq!(probability(0.99), "99 %");
        assert_eq!(entropy_bits(0.4249), "0.42 bit");
        assert_eq!(entropy_bits(-0.0), "0.00 bit");
        assert_eq!(area_percent(0.0), "0 %");
        assert_eq!(area_percent(0.02), "<0.1 %");
        assert_eq!(area_percent(2.34), "2.3 %");
        assert_eq!(area_percent(9.96), "10 %");
        assert_eq!(area_percent(23.4), "23 %");
        assert_eq!(side_percent('R', Some(0.02)), "R <0.1 %");
        assert_eq!(side_percent('L', Some(f32::NAN)), "L --");
        assert_eq!(side_percent('L', None), "");
    }

    #[test]
    fn what_is_no_number_is_not_shown_as_one() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.5, 1e9] {
            assert_eq!(probability(value), "--", "{value}");
            assert_eq!(entropy_bits(value), "--", "{value}");
            assert_eq!(area_percent(value), "--", "{value}");
        }
        assert_eq!(probability(1.01), "--");
        assert_eq!(entropy_bits(1.58), "--");
    }

    #[test]
    fn the_last_line_that_fits_says_that_there_is_more() -> Result<(), core::convert::Infallible> {
        let area = Rectangle::new(Point::new(2, 1), Size::new(24, 13));
        let mut display = MockDisplay::new();
        draw_paragraph(&mut display, area, "too few pixels", Face::new(&FONT_4X6), Rgb565::WHITE)?;
        display.assert_pattern(&[
            "                        ",
            "   W                    ",
            "  WWW  W   W            ",
            "   W  W W W W           ",
            "   W  W W W W           ",
            "    W  W   W            ",
            "                        ",
            "                        ",
            "    W                   ",
            "   W   W  W W           ",
            "  WWW W W W W           ",
            "   W  WW  WWW           ",
            "   W   WW W W  W   W   W",
        ]);
        Ok(())
    }

    #[test]
    fn bold_is_one_pixel_wider_and_counted_so() {
        let (thin, bold) = (Face::new(&FONT_6X10), Face::bold(&FONT_6X10));
        assert_eq!((thin.width(4), bold.width(4)), (24, 25));
        assert_eq!((thin.columns(24), bold.columns(24), bold.columns(25)), (4, 3, 4));
    }

    proptest! {
        #[test]
        fn wrapping_keeps_every_word_and_every_limit(text in "\\PC{0,80}", columns in 1usize..20) {
            let lines: Vec<_> = wrap(&text, columns).collect();
            for line in &lines {
                prop_assert!((1..=columns).contains(&line.chars().count()));
            }
            let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(bare(&lines.concat()), bare(&text));
        }

        #[test]
        fn shortened_text_is_never_longer_than_asked(text in any::<String>(), columns in 0usize..200) {
            let line = shorten(&text, columns);
            prop_assert_eq!(line.chars().count(), text.chars().count().min(columns).min(MAX_COLUMNS));
        }
    }
}
