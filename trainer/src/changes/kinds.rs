//! The changes that a bundle is tried with, by name, each kind in rising strengths.

use super::Change;

/// Changes of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Such as `JPEG`.
    pub name: &'static str,
    /// In words, with the change, from the weakest to the strongest; the first of them that is [`Kind::named`] has the strength that
    /// the tables show.
    pub strengths: &'static [(&'static str, Change)],
    /// Which of `strengths` stands in the tables.
    pub named: usize,
    /// The picture has to be put right or refused; of a harmless change the verdict has to be the same.
    pub harmful: bool,
}

impl Kind {
    /// Name and strength, and the change that stands in the tables.
    pub fn shown(&self) -> (String, Change) {
        let (strength, change) = self.strengths[self.named];
        (format!("{} {strength}", self.name).trim_end().to_owned(), change)
    }
}

const fn harmless(name: &'static str, named: usize, strengths: &'static [(&'static str, Change)]) -> Kind {
    Kind { name, strengths, named, harmful: false }
}

const fn harmful(name: &'static str, strengths: &'static [(&'static str, Change)]) -> Kind {
    Kind { name, strengths, named: 0, harmful: true }
}

/// Every kind of change. Names and strengths of the first fifteen that stand in the tables are those of the project's reference.
pub const KINDS: &[Kind] = &[
    harmless(
        "equalised",
        1,
        &[
            ("clip 1", Change::Equalised { clip_limit: 1.0 }),
            ("", Change::Equalised { clip_limit: 2.0 }),
            ("clip 4", Change::Equalised { clip_limit: 4.0 }),
        ],
    ),
    harmless(
        "gamma below 1",
        1,
        &[("0.8", Change::Gamma(0.8)), ("0.6", Change::Gamma(0.6)), ("0.45", Change::Gamma(0.45))],
    ),
    harmless(
        "gamma above 1",
        1,
        &[("1.3", Change::Gamma(1.3)), ("1.6", Change::Gamma(1.6)), ("2.2", Change::Gamma(2.2))],
    ),
    harmless(
        "range",
        1,
        &[
            ("20-230", Change::Range { black: 20, white: 230 }),
            ("40-200", Change::Range { black: 40, white: 200 }),
            ("80-170", Change::Range { black: 80, white: 170 }),
        ],
    ),
    harmless(
        "JPEG",
        2,
        &[("80", Change::Jpeg(80)), ("60", Change::Jpeg(60)), ("40", Change::Jpeg(40)), ("20", Change::Jpeg(20))],
    ),
    harmless(
        "softened",
        1,
        &[("0.75", Change::Softened(0.75)), ("0.5", Change::Softened(0.5)), ("0.35", Change::Softened(0.35))],
    ),
    harmless(
        "black border",
        1,
        &[
            ("4 %", Change::Border { share: 0.04, grey: 0 }),
            ("12 %", Change::Border { share: 0.12, grey: 0 }),
            ("20 %", Change::Border { share: 0.2, grey: 0 }),
        ],
    ),
    harmless(
        "white border",
        0,
        &[
            ("4 %", Change::Border { share: 0.04, grey: 255 }),
            ("12 %", Change::Border { share: 0.12, grey: 255 }),
            ("20 %", Change::Border { share: 0.2, grey: 255 }),
        ],
    ),
    harmless("blur", 1, &[("0.5", Change::Blur(0.5)), ("1", Change::Blur(1.0)), ("2", Change::Blur(2.0))]),
    harmless(
        "noise",
        1,
        &[
            ("3", Change::Noise { sigma: 3.0, seed: 1 }),
            ("6", Change::Noise { sigma: 6.0, seed: 1 }),
            ("12", Change::Noise { sigma: 12.0, seed: 1 }),
        ],
    ),
    harmless("text", 0, &[("", Change::Text)]),
    harmless("mirrored", 0, &[("", Change::Mirrored)]),
    harmful("negative", &[("", Change::Negative)]),
    harmful("turned", &[("90", Change::Turned(1)), ("270", Change::Turned(3))]),
    harmful("turned", &[("180", Change::Turned(2))]),
    harmless(
        "window",
        1,
        &[
            ("10-245", Change::Window { low: 10, high: 245 }),
            ("25-230", Change::Window { low: 25, high: 230 }),
            ("40-215", Change::Window { low: 40, high: 215 }),
        ],
    ),
    harmless(
        "sharpened",
        1,
        &[
            ("0.5", Change::Sharpened { sigma: 2.0, amount: 0.5 }),
            ("1", Change::Sharpened { sigma: 2.0, amount: 1.0 }),
            ("2", Change::Sharpened { sigma: 2.0, amount: 2.0 }),
        ],
    ),
    harmless("marker", 0, &[("", Change::Marker)]),
    harmless(
        "collimated",
        0,
        &[("4 %", Change::Collimated { share: 0.04 }), ("8 %", Change::Collimated { share: 0.08 })],
    ),
    harmless("cropped", 0, &[("3 %", Change::Cropped { share: 0.03 }), ("6 %", Change::Cropped { share: 0.06 })]),
    harmless("tilted", 0, &[("3", Change::Tilted(3.0)), ("6", Change::Tilted(6.0))]),
    harmless(
        "resized",
        0,
        &[("0.75", Change::Resized(0.75)), ("0.5", Change::Resized(0.5)), ("2", Change::Resized(2.0))],
    ),
    harmless(
        "squeezed",
        0,
        &[("0.85", Change::Squeezed(0.85)), ("1.15", Change::Squeezed(1.15)), ("0.7", Change::Squeezed(0.7))],
    ),
    harmful("photograph", &[("", Change::Photograph { seed: 1 })]),
];
