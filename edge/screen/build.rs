//! Makes the pictures of letters and words that the panel's text is set from (`src/glyphs.rs` says how they are used).
//!
//! Letters of Latin script are drawn one by one. Devanagari has to be shaped first, since its signs join, change places and stack;
//! that is done here by HarfBuzz's Rust port, word by word, for every word of Hindi in the table of words. So the device needs
//! neither a shaper nor a rasterizer, the pictures are the same on every machine, and a word that the font cannot write
//! stops the build and not the operator.

use std::{collections::BTreeSet, env, error::Error, fmt::Write as _, fs, path::Path};

use harfrust::{Buffer, Direction, ShapeOptions, ShaperFont, shape};
use skrifa::{
    FontRef, GlyphId, MetadataProvider,
    instance::{LocationRef, Size},
    outline::{DrawSettings, OutlinePen},
};
use thorax_shared::words::{self, Language, Word};
use zeno::{Command, Mask, Origin, PathBuilder};

mod titles {
    include!("src/titles.rs");
}

/// A size of letters: pixels of an em, whether they are bold, and which words of Hindi are needed in it.
struct Strike {
    pixels: u32,
    bold: bool,
    words: Words,
}

/// Words of Hindi in a [`Strike`].
#[derive(PartialEq)]
enum Words {
    All,
    /// Those of large titles.
    Titles,
    /// It is for figures only.
    None,
}

const STRIKES: &[Strike] = &[
    regular(11),
    regular(12),
    regular(13),
    regular(14),
    regular(16),
    regular(18),
    regular(20),
    regular(24),
    regular(26),
    bold(12, Words::All),
    bold(13, Words::All),
    bold(15, Words::All),
    bold(18, Words::All),
    bold(22, Words::All),
    bold(26, Words::All),
    bold(24, Words::Titles),
    bold(28, Words::Titles),
    bold(34, Words::Titles),
    bold(52, Words::Titles),
    bold(20, Words::None),
    bold(23, Words::None),
    bold(30, Words::None),
    bold(44, Words::None),
];

const fn regular(pixels: u32) -> Strike {
    Strike { pixels, bold: false, words: Words::All }
}

const fn bold(pixels: u32, words: Words) -> Strike {
    Strike { pixels, bold: true, words }
}

/// The picture of a letter or word: rows of coverage, 0 to 15.
struct Glyph {
    /// To the next one's origin, in 64ths of a pixel.
    advance: u32,
    /// From the origin to the left edge, in pixels.
    left: i32,
    /// From the line that letters stand on up to the top edge, in pixels.
    top: i32,
    width: u32,
    height: u32,
    coverage: Vec<u8>,
}

/// The outline on its way into zeno's commands, upside down since its rows go down.
struct Pen<'a> {
    path: &'a mut Vec<Command>,
    x: f32,
}

impl OutlinePen for Pen<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        self.path.move_to([self.x + x, -y]);
    }
    fn line_to(&mut self, x: f32, y: f32) {
        self.path.line_to([self.x + x, -y]);
    }
    fn quad_to(&mut self, cx: f32, cy: f32, x: f32, y: f32) {
        self.path.quad_to([self.x + cx, -cy], [self.x + x, -y]);
    }
    fn curve_to(&mut self, ax: f32, ay: f32, bx: f32, by: f32, x: f32, y: f32) {
        self.path.curve_to([self.x + ax, -ay], [self.x + bx, -by], [self.x + x, -y]);
    }
    fn close(&mut self) {
        self.path.close();
    }
}

/// A font as the shaper has it, and as the outlines are taken from.
struct Font<'a> {
    shaped: harfrust::Font,
    font: FontRef<'a>,
}

impl<'a> Font<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, Box<dyn Error>> {
        let shaped = harfrust::Font::new(bytes.to_vec(), 0).ok_or("no font that can be shaped")?;
        Ok(Self { shaped, font: FontRef::new(bytes)? })
    }

    /// `text`, shaped and drawn in one piece; an error where the font lacks a letter of it.
    fn draw(&self, text: &str, pixels: u32) -> Result<Glyph, Box<dyn Error>> {
        let mut buffer = Buffer::new();
        buffer.push_str(text);
        buffer.guess_segment_properties();
        buffer.set_direction(Direction::LeftToRight);
        shape(&ShaperFont::new(&self.shaped), &mut buffer, ShapeOptions::new())?;
        let size = Size::new(pixels as f32);
        let units = f32::from(self.font.metrics(Size::unscaled(), LocationRef::default()).units_per_em);
        let scale = pixels as f32 / units;
        let outlines = self.font.outline_glyphs();
        let (mut x, mut path) = (0.0, vec![]);
        for (info, position) in buffer.glyph_infos().iter().zip(buffer.glyph_positions()) {
            let glyph = GlyphId::new(info.glyph_id);
            if glyph == GlyphId::NOTDEF {
                return Err(format!("the font lacks a letter of {text:?}").into());
            }
            if let Some(outline) = outlines.get(glyph) {
                let mut drawn = vec![];
                let pen = &mut Pen { path: &mut drawn, x: x + position.x_offset as f32 * scale };
                outline.draw(DrawSettings::unhinted(size, LocationRef::default()), pen)?;
                let up = position.y_offset as f32 * scale;
                path.extend(drawn.into_iter().map(|command| raised(command, up)));
            }
            x += position.x_advance as f32 * scale;
        }
        let (coverage, place) = Mask::new(&path).origin(Origin::TopLeft).render();
        Ok(Glyph {
            advance: (x * 64.0).round() as u32,
            left: place.left,
            top: -place.top,
            width: place.width,
            height: place.height,
            coverage: coverage.into_iter().map(|c| ((u32::from(c) * 15 + 127) / 255) as u8).collect(),
        })
    }
}

fn raised(command: Command, up: f32) -> Command {
    let raise = |mut point: zeno::Point| {
        point.y -= up;
        point
    };
    match command {
        Command::MoveTo(to) => Command::MoveTo(raise(to)),
        Command::LineTo(to) => Command::LineTo(raise(to)),
        Command::QuadTo(by, to) => Command::QuadTo(raise(by), raise(to)),
        Command::CurveTo(by, then, to) => Command::CurveTo(raise(by), raise(then), raise(to)),
        Command::Close => Command::Close,
    }
}

fn is_devanagari(text: &str) -> bool {
    text.chars().any(|c| ('\u{900}'..='\u{97f}').contains(&c))
}

/// The words of Hindi in `texts`.
fn hindi<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    texts.flat_map(str::split_whitespace).filter(|word| is_devanagari(word)).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/titles.rs");
    println!("cargo::rerun-if-changed=fonts");
    let load = |name: &str| fs::read(Path::new("fonts").join(name));
    let files = [
        load("NotoSans-Regular.ttf")?,
        load("NotoSans-Bold.ttf")?,
        load("NotoSansDevanagari-Regular.ttf")?,
        load("NotoSansDevanagari-Bold.ttf")?,
    ];
    let fonts = files.iter().map(|file| Font::of(file)).collect::<Result<Vec<_>, _>>()?;
    let letters: Vec<char> = fonts[0].font.charmap().mappings().filter_map(|(code, _)| char::from_u32(code)).collect();
    let letters: BTreeSet<char> = letters.into_iter().collect();

    let all = hindi(
        Word::ALL
            .iter()
            .map(|word| Language::Hindi.word(*word))
            .chain(words::reasons(Language::Hindi))
            .chain([Language::Hindi.name()]),
    );
    let titles = hindi(titles::TITLES.iter().map(|word| Language::Hindi.word(*word)));

    let mut nibbles: Vec<u8> = vec![];
    let mut source = String::from("pub(super) static STRIKES: &[Strike] = &[\n");
    for strike in STRIKES {
        let Strike { pixels, bold, .. } = *strike;
        let mut keep = |glyph: &Glyph| {
            let at = nibbles.len();
            nibbles.extend(&glyph.coverage);
            let Glyph { advance, left, top, width, height, .. } = glyph;
            format!(
                "Glyph {{ advance: {advance}, left: {left}, top: {top}, width: {width}, height: {height}, at: {at} }}"
            )
        };
        let words = match strike.words {
            Words::All => &all,
            Words::Titles => &titles,
            Words::None => &BTreeSet::new(),
        };
        let (mut latin, mut devanagari) = ([0; 2], [0; 2]);
        let stretch = |most: &mut [i32; 2], glyph: &Glyph| {
            *most = [most[0].max(glyph.top), most[1].max(glyph.height as i32 - glyph.top)];
        };
        let mut lines = String::new();
        for &letter in &letters {
            let glyph = fonts[usize::from(bold)].draw(letter.encode_utf8(&mut [0; 4]), pixels)?;
            if letter.is_alphanumeric() {
                stretch(&mut latin, &glyph);
            }
            writeln!(lines, "({letter:?}, {}),", keep(&glyph))?;
        }
        let mut word_lines = String::new();
        for &word in words {
            let glyph = fonts[2 + usize::from(bold)].draw(word, pixels)?;
            stretch(&mut devanagari, &glyph);
            writeln!(word_lines, "({word:?}, {}),", keep(&glyph))?;
        }
        let [ascent, descent] = latin;
        let [above, below] = [devanagari[0].max(ascent), devanagari[1].max(descent)];
        writeln!(
            source,
            "Strike {{ pixels: {pixels}, bold: {bold}, latin: [{ascent}, {descent}], devanagari: [{above}, {below}], letters: &[{lines}], words: &[{word_lines}] }},"
        )?;
    }
    source.push_str("];\n");
    // Two pixels a byte, the left one in the upper half.
    nibbles.push(0);
    let bytes: Vec<u8> = nibbles.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    let out = env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    fs::write(Path::new(&out).join("coverage.bin"), bytes)?;
    fs::write(Path::new(&out).join("strikes.rs"), source)?;
    Ok(())
}
