//! Lines under each other: the device's state, the results, the settings. One of them may be chosen.

use embedded_graphics::{
    pixelcolor::Rgb565,
    prelude::*,
    primitives::{PrimitiveStyle, Rectangle, StyledDrawable},
    text::Alignment,
};
use thorax_shared::{
    verdict::Verdict,
    words::{Language, Word},
};

use super::{
    input::{Hold, Key},
    layout::{Frame, Scale, cut_left, cut_right, cut_top},
    message::Tone,
    palette,
    parts::{Banner, Keys, Sign, draw_frame, draw_sign},
    result::look,
    text::{Face, Ink, draw_line, draw_paragraph, paragraph_height},
};

/// How a line is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// As it should be, or nothing to judge.
    #[default]
    Plain,
    /// This is what is chosen at present.
    Current,
    /// Somebody should look.
    Attention,
    /// This is why the device does not work.
    Trouble,
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// What it is.
    pub label: String,
    /// And how much or which; shortened where there is no room.
    pub value: String,
    /// How it is meant.
    pub level: Level,
    /// The sign of a verdict before it.
    pub verdict: Option<Verdict>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListScreen<'a> {
    /// Of the words that the screen brings itself.
    pub language: Language,
    /// Colour and sign; `None` for a list that is only there to choose from.
    pub tone: Option<Tone>,
    /// In large letters.
    pub title: Word,
    /// The site, or what the list is of.
    pub name: &'a str,
    /// Above the lines, in whole sentences; empty where there is nothing to say.
    pub text: &'a str,
    /// What to do, in whole sentences.
    pub remedy: &'a str,
    /// What a program said, for a technician, small and in English; empty where there is nothing to say.
    pub detail: &'a str,
    /// The lines.
    pub rows: &'a [Row],
    /// The line that is chosen; the page that it is on is shown.
    pub chosen: Option<usize>,
    /// What the keys do.
    pub keys: Keys,
}

/// What a finger on a list means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// That line.
    Row(usize),
    /// As if this key were pressed.
    Key(Key, Hold),
}

/// Where the parts of a list go.
struct Places {
    text: Rectangle,
    remedy: Rectangle,
    detail: Rectangle,
    rows: Rectangle,
    /// Of labels and values.
    faces: [Face; 2],
    row_height: u32,
    rows_a_page: usize,
    strip: Rectangle,
}

impl ListScreen<'_> {
    fn places(&self, bounds: Rectangle, scale: &Scale) -> Places {
        let mut rest = Frame::of(bounds, scale).body;
        let strip = self.keys.cut(&mut rest, scale);
        let gap = scale.gap / 2 + 1;
        let paragraph = |rest: &mut Rectangle, text: &str, face| match text {
            "" => Rectangle::new(rest.top_left, Size::zero()),
            text => {
                let place = cut_top(rest, paragraph_height(text, face, rest.size.width));
                cut_top(rest, gap);
                place
            }
        };
        let text = paragraph(&mut rest, self.text, scale.heading);
        let remedy = paragraph(&mut rest, self.remedy, scale.body);
        let detail = paragraph(&mut rest, self.detail, scale.small);
        // As large as all lines have room for.
        let (large, small) = ([scale.body, scale.heading], [scale.label, scale.value]);
        let row_height = |[label, _]: [Face; 2]| label.height() + 2 + scale.gap / 2;
        let is_large = row_height(large) * self.rows.len() as u32 <= rest.size.height
            && self.rows.iter().all(|row| row.width(large, scale) <= rest.size.width);
        let faces = if is_large { large } else { small };
        let row_height = row_height(faces);
        let rows_a_page = ((rest.size.height / row_height) as usize).max(1);
        Places { text, remedy, detail, rows: rest, faces, row_height, rows_a_page, strip }
    }

    /// The page that is shown and how many there are, from 0.
    fn page(&self, places: &Places) -> (usize, usize) {
        (self.chosen.unwrap_or(0) / places.rows_a_page, self.rows.len().div_ceil(places.rows_a_page).max(1))
    }

    /// What the keys do: nobody goes from line to line where all are seen and none can be opened.
    fn keys(&self, places: &Places) -> Keys {
        let goes = self.keys.select.is_some() || self.page(places).1 > 1;
        Keys { arrows: self.keys.arrows.filter(|_| goes), ..self.keys }
    }

    /// Whether every line is seen on a panel of this size without going to another page.
    #[cfg(test)]
    fn fits(&self, size: Size) -> bool {
        let places = self.places(Rectangle::new(Point::zero(), size), &Scale::of(size, self.language));
        self.rows.is_empty()
            || (self.rows.len() <= places.rows_a_page
                && places.rows.size.height >= places.row_height * self.rows.len() as u32)
    }

    /// What a finger at `point` of a panel of this size means.
    pub fn touched(&self, size: Size, point: Point) -> Option<Touched> {
        let scale = &Scale::of(size, self.language);
        let places = self.places(Rectangle::new(Point::zero(), size), scale);
        if let Some((key, hold)) = self.keys(&places).at(places.strip, point, scale) {
            return Some(Touched::Key(key, hold));
        }
        if self.chosen.is_none() || !places.rows.contains(point) {
            return None;
        }
        let line = (point.y - places.rows.top_left.y) as u32 / places.row_height;
        let row = self.page(&places).0 * places.rows_a_page + line as usize;
        ((line as usize) < places.rows_a_page && row < self.rows.len()).then_some(Touched::Row(row))
    }

    /// Whether text, remedy and every label have room on a panel of this size; values are shortened where they have to be.
    #[cfg(test)]
    pub(super) fn has_room(&self, size: Size) -> bool {
        let scale = &Scale::of(size, self.language);
        let places = self.places(Rectangle::new(Point::zero(), size), scale);
        let labels = self.rows.iter().all(|row| {
            // Of a long value beginning and end are enough.
            let value = scale.value.width(&row.value).min(places.rows.size.width / 3) + scale.gap;
            scale.label.width(&row.label) + value + 4 <= places.rows.size.width
        });
        labels && places.rows.size.height >= if self.rows.is_empty() { 0 } else { places.row_height }
    }
}

impl Drawable for ListScreen<'_> {
    type Color = Rgb565;
    type Output = ();

    fn draw<D: DrawTarget<Color = Rgb565>>(&self, target: &mut D) -> Result<(), D::Error> {
        let bounds = target.bounding_box();
        let scale = &Scale::of(bounds.size, self.language);
        let places = self.places(bounds, scale);
        let (page, pages) = self.page(&places);
        // Whoever cannot go to another page need not know of it.
        let remark = if pages > 1 && self.chosen.is_some() { format!("{}/{pages}", page + 1) } else { String::new() };
        let (sign, ground) = self.tone.map_or((Sign::Bars, palette::MENU), Tone::look);
        let word = self.language.word(self.title);
        let banner = Banner { sign, word, remark: &remark, ground, ink: palette::ON_DARK };
        draw_frame(target, "Thorax", self.name, &banner, self.keys(&places), scale)?;
        for (place, text, face, colour) in [
            (places.text, self.text, scale.heading, palette::TEXT),
            (places.remedy, self.remedy, scale.body, palette::REMEDY_TEXT),
            (places.detail, self.detail, scale.small, palette::SOFT_TEXT),
        ] {
            draw_paragraph(target, place, text, face, Ink::new(colour), Alignment::Left)?;
        }
        let mut rest = places.rows;
        let shown = self.rows.iter().enumerate().skip(page * places.rows_a_page).take(places.rows_a_page);
        for (index, row) in shown {
            let place = cut_top(&mut rest, places.row_height);
            let marked = self.chosen == Some(index) && self.keys(&places).arrows.is_some();
            row.draw(target, place, marked, places.faces, scale)?;
        }
        Ok(())
    }
}

impl Row {
    /// Pixels that it needs.
    fn width(&self, [label, value]: [Face; 2], scale: &Scale) -> u32 {
        let badge = if self.verdict.is_some() { label.height() + scale.gap } else { 0 };
        4 + scale.gap + badge + label.width(&self.label) + scale.gap + value.width(&self.value)
    }

    fn draw<D: DrawTarget<Color = Rgb565>>(
        &self,
        target: &mut D,
        place: Rectangle,
        chosen: bool,
        [label_face, value_face]: [Face; 2],
        scale: &Scale,
    ) -> Result<(), D::Error> {
        let ground = if chosen { palette::CHOSEN } else { palette::BACKGROUND };
        target.fill_solid(&place, ground)?;
        let mut line = place;
        cut_left(&mut line, 2);
        cut_right(&mut line, 2);
        if chosen {
            let mark = Rectangle::new(place.top_left, Size::new(2.max(scale.gap / 2), place.size.height));
            mark.draw_styled(&PrimitiveStyle::with_fill(palette::REMEDY_TEXT), target)?;
        }
        cut_left(&mut line, scale.gap);
        if let Some(verdict) = self.verdict {
            let (sign, colour, _) = look(verdict);
            // The ground of a banner is too dark for a sign.
            let colour = if matches!(verdict, Verdict::Rejected(_)) { palette::SOFT_TEXT } else { colour };
            let side = label_face.height();
            let badge = cut_left(&mut line, side);
            draw_sign(target, badge, sign, colour, ground)?;
            cut_left(&mut line, scale.gap);
        }
        // What was said of an image is not shortened; its time may be.
        let kept = if self.verdict.is_some() { value_face.width(&self.value) + scale.gap } else { 0 };
        let label_width = label_face.width(&self.label).min(line.size.width.saturating_sub(kept));
        let label = cut_left(&mut line, label_width);
        let soft = match self.level {
            Level::Current => palette::REMEDY_TEXT,
            _ if chosen => palette::TEXT,
            _ => palette::SOFT_TEXT,
        };
        draw_line(target, label, &self.label, label_face, Ink::on(soft, ground), Alignment::Left)?;
        cut_left(&mut line, scale.gap);
        let colour = match self.level {
            Level::Plain => palette::TEXT,
            Level::Current => palette::REMEDY_TEXT,
            Level::Attention => palette::DISCLAIMER_TEXT,
            Level::Trouble => palette::TROUBLE_TEXT,
        };
        draw_line(target, line, &self.value, value_face, Ink::on(colour, ground), Alignment::Right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SUPPORTED;

    fn rows(count: usize) -> Vec<Row> {
        (0..count).map(|row| Row { label: format!("line {row}"), value: "x".into(), ..Row::default() }).collect()
    }

    fn list(rows: &[Row], chosen: Option<usize>) -> ListScreen<'_> {
        let keys = Keys { arrows: Some(Word::ChooseKey), select: Some(Word::OpenKey), back: true };
        let (text, remedy) = ("Some text.", "Do something.");
        ListScreen {
            language: Language::English,
            tone: None,
            title: Word::Menu,
            name: "",
            text,
            remedy,
            detail: "",
            rows,
            chosen,
            keys,
        }
    }

    #[test]
    fn a_finger_finds_the_line_that_is_drawn_there_on_every_page() {
        let rows = rows(40);
        for size in SUPPORTED {
            for chosen in 0..rows.len() {
                let list = list(&rows, Some(chosen));
                let bounds = Rectangle::new(Point::zero(), size);
                let touched: Vec<Touched> = (0..size.height as i32)
                    .filter_map(|y| list.touched(size, Point::new(size.width as i32 / 2, y)))
                    .collect();
                assert!(touched.contains(&Touched::Row(chosen)), "{size} {chosen}");
                let places = list.places(bounds, &Scale::of(size, Language::English));
                let (page, pages) = list.page(&places);
                assert!(page < pages && pages > 1);
                let strip = places.strip.center();
                assert!(matches!(list.touched(size, strip), Some(Touched::Key(Key::Select, _))));
                assert_eq!(list.touched(size, Point::new(3, 3)), None);
            }
        }
    }

    #[test]
    fn lines_that_nobody_may_choose_are_not_touched() {
        let rows = rows(3);
        let list = ListScreen { keys: Keys::NONE, ..list(&rows, None) };
        let size = SUPPORTED[0];
        assert!((0..240).all(|y| list.touched(size, Point::new(100, y)).is_none()));
        assert!(list.fits(size) && list.has_room(size));
    }
}
