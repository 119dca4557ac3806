// Words that stand in the largest letters. `build.rs` reads this file too: their Hindi is drawn in those sizes, and no other.

use thorax_shared::words::Word;

/// See the file.
pub(crate) const TITLES: &[Word] = &[
    Word::Positive,
    Word::Negative,
    Word::Refer,
    Word::Rejected,
    Word::Ready,
    Word::Reading,
    Word::Problem,
    Word::Starting,
    Word::Stopping,
    Word::Off,
    Word::Menu,
    Word::Results,
    Word::Status,
    Word::Settings,
    Word::Language,
    Word::Brightness,
    Word::Threshold,
    Word::Software,
    Word::Install,
    Word::TakeBack,
    Word::SwitchOff,
    Word::Update,
    Word::Done,
    Word::NotDone,
    Word::Working,
];
