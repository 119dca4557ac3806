//! The letters and words that text is set from, drawn by `build.rs` from Noto Sans and Noto Sans Devanagari.
//!
//! A [`Strike`] is a font in one size and weight. A line of Latin script is set letter by letter. Of Devanagari whole words are
//! there, shaped and in one piece; a word that is in no table of words cannot be shown, for unshaped Devanagari is no writing.

/// A font in one size and weight.
pub(super) struct Strike {
    /// Of an em.
    pub(super) pixels: u32,
    pub(super) bold: bool,
    /// Pixels above and below the line that letters stand on: of letters and figures in Latin script,
    pub(super) latin: [u32; 2],
    /// and of those and Devanagari.
    pub(super) devanagari: [u32; 2],
    letters: &'static [(char, Glyph)],
    words: &'static [(&'static str, Glyph)],
}

/// The picture of a letter or a word.
#[derive(Clone, Copy)]
pub(super) struct Glyph {
    /// To the next one's origin, in 64ths of a pixel.
    pub(super) advance: u32,
    /// From the origin to the left edge, in pixels.
    pub(super) left: i32,
    /// From the line that letters stand on up to the top edge, in pixels.
    pub(super) top: i32,
    pub(super) width: u32,
    pub(super) height: u32,
    at: u32,
}

static COVERAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/coverage.bin"));
include!(concat!(env!("OUT_DIR"), "/strikes.rs"));

impl Strike {
    /// The strike of these pixels and this weight; the nearest size, where there is none.
    pub(super) fn of(pixels: u32, bold: bool) -> &'static Self {
        let strikes = STRIKES.iter().filter(|strike| strike.bold == bold);
        // There are strikes of both weights.
        strikes.min_by_key(|strike| strike.pixels.abs_diff(pixels)).unwrap_or(&STRIKES[0])
    }

    /// The picture of a letter, `?` where there is none.
    pub(super) fn letter(&self, letter: char) -> Glyph {
        let found = |letter: char| self.letters.binary_search_by_key(&letter, |(known, _)| *known);
        let place = found(letter).or_else(|_| found('?')).unwrap_or(0);
        self.letters[place].1
    }

    /// The picture of a word in Devanagari.
    pub(super) fn word(&self, word: &str) -> Option<Glyph> {
        let place = self.words.binary_search_by_key(&word, |(known, _)| known).ok()?;
        Some(self.words[place].1)
    }
}

impl Glyph {
    /// Columns and rows with coverage 1 to 15, from the upper left corner.
    pub(super) fn pixels(self) -> impl Iterator<Item = (u32, u32, u8)> {
        let places = (0..self.height).flat_map(move |y| (0..self.width).map(move |x| (x, y)));
        places.filter_map(move |(x, y)| {
            let place = (self.at + y * self.width + x) as usize;
            let byte = COVERAGE.get(place / 2)?;
            let coverage = if place.is_multiple_of(2) { byte >> 4 } else { byte & 0xf };
            (coverage > 0).then_some((x, y, coverage))
        })
    }
}

/// Whether a word is (also) in Devanagari.
pub(super) fn is_devanagari(word: &str) -> bool {
    word.chars().any(|c| ('\u{900}'..='\u{97f}').contains(&c))
}
