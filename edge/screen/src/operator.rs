//! What the operator does at the panel, and what is shown for it: state, results, settings, updates.
//!
//! [`Operator`] is where one is among the pages. It knows no hardware and no journal: [`Facts`] tell it what is to be shown,
//! [`Operator::input`] takes what was pressed or touched, and gives an [`Action`] that somebody else carries out and reports
//! by [`Operator::carried_out`].
//!
//! ```text
//! idle -- down --> result -- select --> heat map
//!  |                 (up, down: newer, older)
//!  +-- select --> menu: results, status, settings, bundles, switch off
//! ```
//!
//! A long press of *select* leads back. A new result shows itself. Whoever does nothing for a minute leaves no patient's picture
//! and no half-made choice behind.

mod pages;

use std::time::Duration;

use embedded_graphics::prelude::{Point, Size};
use thorax_shared::{
    modality::Modality,
    reason::Reason,
    verdict::Verdict,
    words::{Language, Word},
};

use super::{
    Framebuffer, Keys,
    input::{Hold, Input, Key},
    list::Touched,
};

/// Nobody's picture stays longer on the panel without anybody there.
const IDLE: Duration = Duration::from_secs(60);

/// What stands in the way of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The board is too hot, and reads nothing until it has cooled.
    TooHot,
    /// The disk is full, and no image can be taken.
    DiskFull,
    /// Something else, in English, as the log has it.
    Other(String),
}

/// A result, for the list of them.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultLine {
    /// The study's number.
    pub study: u64,
    /// What was said; `None` for a file that could not be read.
    pub verdict: Option<Verdict>,
    /// The kind of image, where it is known.
    pub modality: Option<Modality>,
    /// The patient's number; empty where no file tells it.
    pub patient_id: String,
    /// When its images came, hour and minute, UTC.
    pub received: String,
    /// Whether there is a heat map to be looked at.
    pub has_heat: bool,
    /// Whether it is of before the start, and does not show itself.
    pub is_old: bool,
}

/// The bundle of a kind of image.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// The kind of image.
    pub modality: Modality,
    /// The bundle that runs: name and version.
    pub active: Option<String>,
    /// Studies that it has read on trial, and how many the trial has.
    pub trial: Option<(u32, u32)>,
    /// The one that can be gone back to.
    pub former: Option<String>,
    /// Its thresholds, where they can be set.
    pub thresholds: Option<Thresholds>,
}

/// From where on images are called negative and positive, each as `[negative below, positive from]`, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Those that decide now.
    pub now: [f32; 2],
    /// The bundle's own.
    pub own: [f32; 2],
    /// Those that refer most.
    pub most: [f32; 2],
}

impl Thresholds {
    /// What can be chosen: the bundle's own, and three steps by which more is referred.
    pub fn choices(&self) -> [[f32; 2]; 4] {
        [0.0, 1.0, 2.0, 3.0].map(|step| {
            let between = |place: usize| self.own[place] + step / 3.0 * (self.most[place] - self.own[place]);
            if step == 3.0 { self.most } else { [between(0), between(1)] }
        })
    }
}

/// What is to be shown of the device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The site's name.
    pub site: String,
    /// What stands in the way, if anything does.
    pub trouble: Option<Trouble>,
    /// Images that wait, studies that are being read, and those that were read since the start.
    pub waiting: u64,
    /// Studies that are being read.
    pub reading: u64,
    /// Images and slices of these studies that are read by now, and how many there are.
    pub images_read: (u64, u64),
    /// Studies that were read since the start.
    pub read: u64,
    /// Studies whose results wait to be delivered.
    pub undelivered: u64,
    /// Bytes that are free on the disk, and how many have to be.
    pub disk: Option<(u64, u64)>,
    /// Year, month, day, hour and minute, UTC.
    pub clock: String,
    /// How warm the board is, degrees Celsius, and whether it slows down for that.
    pub celsius: Option<(f32, bool)>,
    /// The device's address, or the interface that is up; `None` without a network.
    pub network: Option<String>,
    /// The bundles that read: name and version.
    pub bundles: Vec<String>,
    /// The kinds of image that they read.
    pub reads: Vec<Modality>,
    /// What is installed, by kind of image.
    pub slots: Vec<Slot>,
    /// Bundles on a stick that can be installed: what they read, name and version.
    pub offered: Vec<(Modality, String)>,
    /// The last results, the newest first.
    pub results: Vec<ResultLine>,
    /// How bright the panel is, percent, where that can be set.
    pub brightness: Option<u8>,
    /// Whether the device can be switched off from here.
    pub can_switch_off: bool,
}

/// What somebody else has to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Remember the language.
    Language(Language),
    /// Make the panel so bright, percent, and remember it.
    Brightness(u8),
    /// Decide by these thresholds, `[negative below, positive from]`; `None` for the bundle's own.
    Thresholds(Modality, Option<[f32; 2]>),
    /// Install the bundle of this place among those that are offered.
    Install(usize),
    /// Go back to the former bundle.
    RollBack(Modality),
    /// Switch the device off.
    SwitchOff,
}

/// A page.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Page {
    #[default]
    Idle,
    Study(u64),
    Heat(u64),
    Menu,
    Results,
    Status,
    Settings,
    Language,
    Brightness,
    Thresholds(Modality),
    Bundles,
    /// Whether it is really to be done.
    Confirm(Action),
    /// It is being done.
    Working,
    /// It was done, or was not.
    Carried(Action, bool),
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// A study's result, which somebody else has.
    Result(u64),
    /// A study's heat map.
    Heat(u64),
    /// What [`Operator::draw`] draws.
    Page,
}

/// Where one is among the pages.
#[derive(Clone, Debug, PartialEq)]
pub struct Operator {
    /// Of all words.
    language: Language,
    /// Whether anybody can press or touch anything.
    has_keys: bool,
    page: Page,
    /// The line that is chosen, on pages that have lines.
    chosen: usize,
    /// Why something was not done.
    refusal: Option<Reason>,
    newest: Option<u64>,
    /// When somebody did something, or something new came, since the start.
    last: Duration,
}

impl Operator {
    /// Somebody who speaks `language`; `has_keys` where there are keys or a touch panel.
    pub fn new(language: Language, has_keys: bool) -> Self {
        Self { language, has_keys, page: Page::Idle, chosen: 0, refusal: None, newest: None, last: Duration::ZERO }
    }

    /// Whether a page is shown, or may be the next, for which it has to be known what is installed and what could be.
    pub fn asks_for_bundles(&self) -> bool {
        matches!(
            self.page,
            Page::Menu | Page::Settings | Page::Thresholds(_) | Page::Bundles | Page::Confirm(_) | Page::Working
        )
    }

    /// The language of everything that is shown.
    pub fn language(&self) -> Language {
        self.language
    }

    /// What is shown.
    pub fn shows(&self) -> Shows {
        match self.page {
            Page::Study(study) => Shows::Result(study),
            Page::Heat(study) => Shows::Heat(study),
            _ => Shows::Page,
        }
    }

    /// What the keys do on the page that is shown.
    pub fn keys(&self, facts: &Facts) -> Keys {
        if !self.has_keys {
            return Keys::NONE;
        }
        let has_more = |least: usize| facts.results.len() > least;
        let (arrows, select) = match self.page {
            Page::Idle => (has_more(0).then_some(Word::Results), Some(Word::Menu)),
            Page::Study(study) => {
                (has_more(1).then_some(Word::OthersKey), has_heat(facts, study).then_some(Word::MoreKey))
            }
            Page::Heat(_) => (has_more(1).then_some(Word::OthersKey), Some(Word::ResultKey)),
            Page::Carried(..) => (None, Some(Word::OkKey)),
            Page::Working => (None, None),
            Page::Status => (Some(Word::ChooseKey), None),
            Page::Menu | Page::Settings | Page::Results | Page::Bundles => (Some(Word::ChooseKey), Some(Word::OpenKey)),
            _ => (Some(Word::ChooseKey), Some(Word::OkKey)),
        };
        let arrows = arrows.filter(|word| *word != Word::ChooseKey || self.lines(facts) > 1);
        let select = select.filter(|word| *word != Word::OpenKey || self.lines(facts) > 0);
        Keys { arrows, select, back: !matches!(self.page, Page::Idle | Page::Working | Page::Carried(..)) }
    }

    /// Shows what is new, and hides what nobody looks at any more; `now` is the time since the start.
    pub fn look(&mut self, facts: &Facts, now: Duration) {
        let newest = facts.results.iter().find(|result| !result.is_old).map(|result| result.study);
        if newest != self.newest {
            self.newest = newest;
            // Whoever is choosing something is not interrupted.
            if matches!(self.page, Page::Idle | Page::Study(_) | Page::Heat(_)) {
                self.last = now;
                self.go(newest.map_or(Page::Idle, Page::Study));
            }
        }
        if now.saturating_sub(self.last) >= IDLE && self.page != Page::Working {
            self.go(Page::Idle);
        }
        // The bundles on a stick, say, may be fewer by now.
        self.chosen = self.chosen.min(self.lines(facts).saturating_sub(1));
    }

    /// Takes what was pressed or touched on a panel of this size; what is to be done for it is done by somebody else.
    pub fn input(&mut self, input: Input, facts: &Facts, size: Size, now: Duration) -> Option<Action> {
        self.last = now;
        match input {
            Input::Press(key, hold) => self.press(key, hold, facts),
            Input::Touch(point) => match self.touched(point, facts, size) {
                Some(Touched::Key(key, hold)) => self.press(key, hold, facts),
                Some(Touched::Row(row)) => {
                    self.chosen = row;
                    self.press(Key::Select, Hold::Short, facts)
                }
                None => None,
            },
        }
    }

    fn touched(&self, point: Point, facts: &Facts, size: Size) -> Option<Touched> {
        match self.page {
            // Anywhere on a picture is the next page of it.
            Page::Study(_) | Page::Heat(_) => {
                let strip = self.with_screen(facts, |screen| screen.touched(size, point));
                strip.or(Some(Touched::Key(Key::Select, Hold::Short)))
            }
            _ => self.with_screen(facts, |screen| screen.touched(size, point)),
        }
    }

    fn press(&mut self, key: Key, hold: Hold, facts: &Facts) -> Option<Action> {
        let lines = self.lines(facts);
        match (self.page, key, hold) {
            (Page::Working, ..) => {}
            (_, Key::Select, Hold::Long) => self.go(self.behind(facts)),
            (Page::Idle, Key::Select, _) => self.go(Page::Menu),
            (Page::Idle, Key::Up | Key::Down, _) => {
                if let Some(newest) = facts.results.first() {
                    self.go(Page::Study(newest.study));
                }
            }
            (Page::Study(study), Key::Select, _) if has_heat(facts, study) => self.go(Page::Heat(study)),
            (Page::Study(_), Key::Select, _) => self.go(Page::Idle),
            (Page::Heat(study), Key::Select, _) => self.go(Page::Study(study)),
            (Page::Study(study) | Page::Heat(study), ..) => {
                let place = facts.results.iter().position(|result| result.study == study);
                let next = match (key, place) {
                    (Key::Up, Some(place)) => place.checked_sub(1),
                    (_, Some(place)) => Some((place + 1).min(facts.results.len() - 1)),
                    (_, None) => None,
                };
                self.go(next.and_then(|place| facts.results.get(place)).map_or(Page::Idle, |r| Page::Study(r.study)));
            }
            (Page::Carried(..), ..) => self.go(self.behind(facts)),
            (_, Key::Up, _) => self.chosen = self.chosen.checked_sub(1).unwrap_or(lines.saturating_sub(1)),
            (_, Key::Down, _) => self.chosen = if self.chosen + 1 < lines { self.chosen + 1 } else { 0 },
            (_, Key::Select, Hold::Short) => return self.select(facts),
        }
        None
    }

    /// The line that is chosen is opened, or done.
    fn select(&mut self, facts: &Facts) -> Option<Action> {
        let chosen = self.chosen;
        match self.page {
            Page::Menu => {
                if let Some((_, page)) = self.menu(facts).get(chosen) {
                    self.go(*page);
                }
            }
            Page::Settings => {
                if let Some(page) = self.settings(facts).get(chosen).map(|(page, ..)| *page) {
                    self.go(page);
                    self.chosen = self.current(facts);
                }
            }
            Page::Results => {
                if let Some(result) = facts.results.get(chosen) {
                    self.go(Page::Study(result.study));
                }
            }
            Page::Language => {
                self.language = *Language::ALL.get(chosen)?;
                return self.start(Action::Language(self.language));
            }
            Page::Brightness => return self.start(Action::Brightness(*BRIGHTNESS.get(chosen)?)),
            Page::Thresholds(modality) => {
                let thresholds = thresholds(facts, modality)?;
                let set = *thresholds.choices().get(chosen)?;
                let action = Action::Thresholds(modality, (chosen > 0).then_some(set));
                self.go(Page::Confirm(action));
            }
            Page::Bundles => {
                if let Some(action) = self.bundle_lines(facts).get(chosen).and_then(|(_, action)| *action) {
                    self.go(Page::Confirm(action));
                }
            }
            // The first line is *no*.
            Page::Confirm(action) if chosen == 1 => return self.start(action),
            Page::Confirm(_) => self.go(self.behind(facts)),
            _ => {}
        }
        None
    }

    fn start(&mut self, action: Action) -> Option<Action> {
        self.go(Page::Working);
        Some(action)
    }

    /// What was asked for is done; or it is not, for this reason.
    pub fn carried_out(&mut self, action: Action, ended: Result<(), Reason>, now: Duration) {
        self.last = now;
        self.refusal = ended.as_ref().err().cloned();
        let is_seen = matches!(action, Action::Language(_) | Action::Brightness(_));
        // Nobody has to be told what can be seen.
        self.go(if is_seen && ended.is_ok() { Page::Settings } else { Page::Carried(action, ended.is_ok()) });
    }

    fn go(&mut self, page: Page) {
        if self.page != page {
            self.page = page;
            self.chosen = 0;
        }
    }

    /// The page that one comes back to.
    fn behind(&self, facts: &Facts) -> Page {
        match self.page {
            Page::Heat(study) => Page::Study(study),
            Page::Results | Page::Status | Page::Settings | Page::Bundles => Page::Menu,
            Page::Language | Page::Brightness | Page::Thresholds(_) => Page::Settings,
            Page::Confirm(Action::Thresholds(modality, _)) if thresholds(facts, modality).is_some() => {
                Page::Thresholds(modality)
            }
            Page::Confirm(Action::Install(_) | Action::RollBack(_)) => Page::Bundles,
            Page::Confirm(_) | Page::Carried(..) => Page::Menu,
            _ => Page::Idle,
        }
    }

    /// The line of a setting that is in force.
    fn current(&self, facts: &Facts) -> usize {
        match self.page {
            Page::Language => Language::ALL.iter().position(|language| *language == self.language).unwrap_or(0),
            Page::Brightness => {
                let now = facts.brightness.unwrap_or(100);
                let nearest = (0..BRIGHTNESS.len()).min_by_key(|place| BRIGHTNESS[*place].abs_diff(now));
                nearest.unwrap_or(0)
            }
            Page::Thresholds(modality) => thresholds(facts, modality).map_or(0, |thresholds| {
                let distance = |set: &[f32; 2]| (set[0] - thresholds.now[0]).abs() + (set[1] - thresholds.now[1]).abs();
                let choices = thresholds.choices();
                let nearest = (0..4).min_by(|a, b| distance(&choices[*a]).total_cmp(&distance(&choices[*b])));
                nearest.unwrap_or(0)
            }),
            _ => 0,
        }
    }

    /// Draws the page that is shown, where it is none of a study.
    pub fn draw(&self, facts: &Facts, picture: &mut Framebuffer) {
        use embedded_graphics::Drawable;
        self.with_screen(facts, |screen| {
            let Ok(()) = screen.draw(picture);
        });
    }
}

/// How bright a panel can be made, percent.
const BRIGHTNESS: [u8; 5] = [20, 40, 60, 80, 100];

fn has_heat(facts: &Facts, study: u64) -> bool {
    facts.results.iter().any(|result| result.study == study && result.has_heat)
}

fn thresholds(facts: &Facts, modality: Modality) -> Option<Thresholds> {
    facts.slots.iter().find(|slot| slot.modality == modality)?.thresholds
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::SUPPORTED;
    use proptest::prelude::*;
    use thorax_shared::verdict::ReferReason;

    const SIZE: Size = SUPPORTED[2];

    pub(super) fn facts() -> Facts {
        let line = |study, verdict| ResultLine {
            study,
            verdict,
            modality: Some(Modality::Xray),
            patient_id: "HN-2026-0713".into(),
            received: "11-28 08:31".into(),
            has_heat: true,
            is_old: false,
        };
        Facts {
            site: "North".into(),
            read: 3,
            disk: Some((12 << 30, 1 << 30)),
            clock: "2026-11-29 03:31".into(),
            celsius: Some((54.3, false)),
            network: Some("192.0.2.7".into()),
            bundles: vec!["thorax-xray 0.2.0".into()],
            reads: Modality::ALL.into(),
            slots: vec![Slot {
                modality: Modality::Xray,
                active: Some("thorax-xray 0.2.0".into()),
                trial: Some((3, 50)),
                former: Some("thorax-xray 0.1.0".into()),
                thresholds: Some(Thresholds { now: [0.2, 0.8], own: [0.2, 0.8], most: [0.05, 0.95] }),
            }],
            offered: vec![(Modality::Xray, "thorax-xray 0.3.0".into())],
            results: vec![
                line(9, Some(Verdict::Positive)),
                line(7, Some(Verdict::Refer(ReferReason::HighEntropy))),
                ResultLine { has_heat: false, ..line(4, None) },
            ],
            brightness: Some(80),
            can_switch_off: true,
            ..Facts::default()
        }
    }

    const UP: Input = Input::Press(Key::Up, Hold::Short);
    const DOWN: Input = Input::Press(Key::Down, Hold::Short);
    const SELECT: Input = Input::Press(Key::Select, Hold::Short);
    const BACK: Input = Input::Press(Key::Select, Hold::Long);

    fn press(operator: &mut Operator, inputs: &[Input]) -> Option<Action> {
        let facts = facts();
        inputs.iter().map(|input| operator.input(*input, &facts, SIZE, Duration::ZERO)).last().flatten()
    }

    #[test]
    fn keys_go_through_the_results_and_back() {
        let mut operator = Operator::new(Language::English, true);
        operator.look(&facts(), Duration::ZERO);
        assert_eq!(operator.page, Page::Study(9), "a new one shows itself");
        let mut at = |input| {
            press(&mut operator, &[input]);
            operator.page
        };
        let seen = [DOWN, DOWN, DOWN, UP, BACK, DOWN, UP, DOWN, SELECT, SELECT, DOWN, DOWN, SELECT].map(&mut at);
        let (idle, study, heat) = (Page::Idle, Page::Study, Page::Heat);
        let expected = [
            study(7),
            study(4),
            study(4),
            study(7),
            idle,
            study(9),
            idle,
            study(9),
            heat(9),
            study(9),
            study(7),
            study(4),
            idle,
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn nobody_s_picture_stays_when_nobody_is_there() {
        let (mut operator, facts) = (Operator::new(Language::English, true), facts());
        operator.look(&facts, Duration::from_secs(10));
        operator.look(&facts, Duration::from_secs(69));
        assert_eq!(operator.page, Page::Study(9));
        operator.input(DOWN, &facts, SIZE, Duration::from_secs(69));
        operator.look(&facts, Duration::from_secs(128));
        assert_eq!(operator.page, Page::Study(7), "somebody is there");
        operator.look(&facts, Duration::from_secs(129));
        assert_eq!(operator.page, Page::Idle);
    }

    #[test]
    fn results_of_before_the_start_are_listed_and_do_not_show_themselves() {
        let (mut operator, mut facts) = (Operator::new(Language::English, true), facts());
        facts.results.iter_mut().for_each(|result| result.is_old = true);
        operator.look(&facts, Duration::ZERO);
        assert_eq!(operator.page, Page::Idle);
        operator.input(DOWN, &facts, SIZE, Duration::ZERO);
        assert_eq!(operator.page, Page::Study(9));
    }

    #[test]
    fn whoever_chooses_something_is_not_interrupted_by_a_result() {
        let (mut operator, mut facts) = (Operator::new(Language::English, true), facts());
        press(&mut operator, &[SELECT]);
        facts.results.insert(0, ResultLine { study: 11, ..facts.results[0].clone() });
        operator.look(&facts, Duration::ZERO);
        assert_eq!(operator.page, Page::Menu);
    }

    #[test]
    fn every_action_is_reached_with_three_keys_and_none_without_saying_yes() {
        let from_idle = |path: &[Input]| {
            let mut operator = Operator::new(Language::English, true);
            let action = press(&mut operator, path);
            (action, operator)
        };
        // Idle, menu, settings, language, the third.
        let (action, operator) = from_idle(&[SELECT, DOWN, DOWN, SELECT, SELECT, DOWN, DOWN, SELECT]);
        assert_eq!(action, Some(Action::Language(Language::Spanish)));
        assert_eq!(operator.language(), Language::Spanish);
        // Brightness, from the one in force downwards.
        let (action, _) = from_idle(&[SELECT, DOWN, DOWN, SELECT, DOWN, SELECT, UP, SELECT]);
        assert_eq!(action, Some(Action::Brightness(60)));
        let thresholds = [SELECT, DOWN, DOWN, SELECT, UP, SELECT, UP, SELECT];
        let (action, _) = from_idle(&[&thresholds[..], &[DOWN, SELECT]].concat());
        assert_eq!(action, Some(Action::Thresholds(Modality::Xray, Some([0.05, 0.95]))));
        let (action, operator) = from_idle(&[&thresholds[..], &[SELECT]].concat());
        assert_eq!((action, operator.page), (None, Page::Thresholds(Modality::Xray)), "the first line is no");
        // The bundles: one that runs, one that can be gone back to, one on the stick.
        let bundles = [SELECT, DOWN, DOWN, DOWN, SELECT];
        for (down, expected) in [(2, Action::RollBack(Modality::Xray)), (3, Action::Install(0))] {
            let (action, _) = from_idle(&[&bundles[..], &vec![DOWN; down], &[SELECT, DOWN, SELECT]].concat());
            assert_eq!(action, Some(expected));
        }
        let (action, operator) = from_idle(&[SELECT, UP, SELECT, DOWN, SELECT]);
        assert_eq!((action, operator.page), (Some(Action::SwitchOff), Page::Working));
    }

    #[test]
    fn what_was_done_is_told_and_what_was_not_with_its_reason() {
        let (mut operator, facts) = (Operator::new(Language::English, true), facts());
        let mut refused = |reason: Reason| {
            operator.carried_out(Action::Install(0), Err(reason), Duration::ZERO);
            assert_eq!(operator.page, Page::Carried(Action::Install(0), false));
            operator.with_screen(&facts, |screen| [screen.text, screen.remedy, screen.detail].map(str::to_owned))
        };
        let told = refused(Reason::new("its signature is not right", "ask whoever made it"));
        let technician = "Its signature is not right: ask whoever made it";
        assert_eq!(told, ["This could not be done.", "Tell the technician.", technician]);
        let told = refused(Reason::new("the reading software is not there any more", "put the stick in again"));
        assert_eq!(told, ["The reading software is not there any more", "Put the stick in again", ""]);
        operator.carried_out(Action::Install(0), Ok(()), Duration::ZERO);
        assert_eq!(operator.page, Page::Carried(Action::Install(0), true));
        operator.carried_out(Action::Brightness(20), Ok(()), Duration::ZERO);
        assert_eq!(operator.page, Page::Settings);
    }

    #[test]
    fn steps_of_thresholds_lie_within_the_bounds_and_end_at_them() {
        let thresholds = Thresholds { now: [0.3, 0.6], own: [0.3, 0.6], most: [0.075, 0.9] };
        let choices = thresholds.choices();
        assert_eq!((choices[0], choices[3]), (thresholds.own, thresholds.most));
        for pair in choices.windows(2) {
            assert!(pair[1][0] < pair[0][0] && pair[1][1] > pair[0][1], "{choices:?}");
        }
    }

    #[test]
    fn a_finger_does_what_the_keys_do() {
        for size in SUPPORTED {
            let (mut operator, facts) = (Operator::new(Language::French, true), facts());
            press(&mut operator, &[SELECT]);
            let rows = |operator: &Operator| {
                let found = (0..size.height as i32).filter_map(|y| {
                    operator.touched(Point::new(size.width as i32 / 2, y), &facts, size).map(|touched| (y, touched))
                });
                found.collect::<Vec<_>>()
            };
            let (y, _) = *rows(&operator).iter().find(|(_, touched)| *touched == Touched::Row(2)).unwrap();
            operator.input(Input::Touch(Point::new(size.width as i32 / 2, y)), &facts, size, Duration::ZERO);
            assert_eq!(operator.page, Page::Settings);
            let back = (0..size.height as i32).find_map(|y| {
                let point = Point::new(size.width as i32 - 20, y);
                let touched = operator.touched(point, &facts, size);
                (touched == Some(Touched::Key(Key::Select, Hold::Long))).then_some(point)
            });
            operator.input(Input::Touch(back.unwrap()), &facts, size, Duration::ZERO);
            assert_eq!(operator.page, Page::Menu);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_pressed_something_is_shown_and_back_leads_home(
            keys in proptest::collection::vec(0_usize..4, 0..40),
            fewer in 0_usize..4,
        ) {
            let mut facts = facts();
            let mut operator = Operator::new(Language::Hindi, true);
            for (step, key) in keys.iter().enumerate() {
                if step == keys.len() / 2 {
                    facts.results.truncate(fewer);
                    facts.offered.clear();
                    facts.slots.truncate(fewer);
                }
                operator.look(&facts, Duration::ZERO);
                if let Some(action) = operator.input([UP, DOWN, SELECT, BACK][*key], &facts, SIZE, Duration::ZERO) {
                    operator.carried_out(action, Ok(()), Duration::ZERO);
                }
                if operator.shows() == Shows::Page {
                    let mut picture = Framebuffer::new(SIZE);
                    operator.draw(&facts, &mut picture);
                    prop_assert!(picture.pixels().windows(2).any(|pair| pair[0] != pair[1]));
                }
            }
            for _ in 0..4 {
                operator.input(BACK, &facts, SIZE, Duration::ZERO);
            }
            prop_assert_eq!(operator.page, Page::Idle);
        }
    }
}
