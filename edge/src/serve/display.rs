//! The panel: whether the device is ready, the result that came last, and the ones before it.
//!
//! It looks at what the other parts say of themselves ([`State`]) a few times a second and draws that; what is sent to the panel is
//! only what changed. A new result shows itself. With the keys one goes through the last results; whoever does nothing for a minute
//! leaves no patient's picture behind. A panel that cannot be used is told in the log, and keeps nothing from being read.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use embedded_graphics::{Drawable, prelude::Size};
use thorax_board::{config::Tables, inputs::Inputs, panel::Panel};
use thorax_screen::{
    Framebuffer, MessageScreen, Tone,
    input::{Hold, Input, Key},
};

use super::state::{Shown, State, Told};
use crate::{outcome::Outcome, report};

/// How often it is looked whether there is something new.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// A panel that failed is tried again.
const BETWEEN_TRIES: Duration = Duration::from_secs(5);
/// Nobody's picture stays longer on the panel without anybody there.
const IDLE: Duration = Duration::from_secs(60);
/// The panel at work. Dropped, it goes dark.
pub(super) struct Display {
    ends: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Display {
    /// Of the panel and keys of `tables`; `None` where there is no panel. `name` is the site's.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(tables: Tables, name: String, state: Arc<State>) -> std::io::Result<Option<Self>> {
        if tables.panel.is_none() {
            return Ok(None);
        }
        let ends = Arc::new(AtomicBool::new(false));
        let ended = ends.clone();
        // A window can be served by no thread but the one that opened it.
        let thread = thread::Builder::new().name("panel".into()).spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                if let Err(error) = run(&tables, &name, &state, &ended) {
                    tracing::error!(%error, "the panel cannot be used; it is tried again");
                    let until = Instant::now() + BETWEEN_TRIES;
                    while Instant::now() < until && !ended.load(Ordering::Relaxed) {
                        thread::sleep(BETWEEN_LOOKS);
                    }
                }
            }
        })?;
        Ok(Some(Self { ends, thread: Some(thread) }))
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(tables: &Tables, name: &str, state: &State, ends: &AtomicBool) -> Result<(), thorax_board::BoardError> {
    let Some(config) = &tables.panel else { return Ok(()) };
    let mut panel = Panel::open(config)?;
    let inputs = Inputs::open(tables.buttons.as_ref(), tables.touch.as_ref(), panel.size())?;
    panel.light(true)?;
    let began = Instant::now();
    let mut pages = Pages::default();
    let mut drawn = None;
    while !ends.load(Ordering::Relaxed) {
        let results = state.results();
        for input in inputs.wait(BETWEEN_LOOKS).into_iter().chain(panel.inputs()) {
            pages.input(input, &results, began.elapsed());
        }
        pages.look(&results, began.elapsed());
        let seen = (pages.at, state.told());
        // What has not changed need not be drawn.
        if drawn.as_ref() != Some(&seen) {
            panel.show(&draw(panel.size(), name, pages.at, &results, &seen.1))?;
            drawn = Some(seen);
        }
    }
    let nothing = Framebuffer::new(panel.size());
    panel.show(&nothing)?;
    panel.light(false)
}

/// Which page is looked at: the device's own, or a study's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Page {
    #[default]
    Device,
    Study(u64),
}

/// Where one is among the pages.
#[derive(Debug, Default)]
struct Pages {
    at: Page,
    newest: Option<u64>,
    /// When somebody did something, or something new came, since the start.
    last: Duration,
}

impl Pages {
    /// Shows what is new, and hides what nobody looks at any more.
    fn look(&mut self, results: &VecDeque<Arc<Shown>>, now: Duration) {
        let newest = results.front().map(|shown| shown.study);
        if newest != self.newest {
            self.newest = newest;
            self.last = now;
            self.at = newest.map_or(Page::Device, Page::Study);
        }
        if now.saturating_sub(self.last) >= IDLE {
            self.at = Page::Device;
        }
    }

    /// Down goes to older results, up to newer ones and behind the newest to the device's page; select goes there and back.
    fn input(&mut self, input: Input, results: &VecDeque<Arc<Shown>>, now: Duration) {
        self.last = now;
        let place = match self.at {
            Page::Device => None,
            Page::Study(study) => results.iter().position(|shown| shown.study == study),
        };
        let next = match (input, place) {
            (Input::Press(Key::Select, Hold::Long), _) => None,
            (Input::Press(Key::Select, Hold::Short) | Input::Touch(_), Some(_)) => None,
            (Input::Press(Key::Select, Hold::Short) | Input::Touch(_), None) => Some(0),
            (Input::Press(Key::Up, _), place) => place.and_then(|place| place.checked_sub(1)),
            (Input::Press(Key::Down, _), None) => Some(0),
            (Input::Press(Key::Down, _), Some(place)) => Some((place + 1).min(results.len().saturating_sub(1))),
        };
        self.at = next.and_then(|place| results.get(place)).map_or(Page::Device, |shown| Page::Study(shown.study));
    }
}

fn draw(size: Size, name: &str, at: Page, results: &VecDeque<Arc<Shown>>, told: &Told) -> Framebuffer {
    let mut picture = Framebuffer::new(size);
    let study = match at {
        Page::Study(study) => results.iter().find(|shown| shown.study == study),
        Page::Device => None,
    };
    let Ok(()) = match study {
        Some(shown) => {
            let name = format!("study {}", shown.study);
            match &shown.outcome {
                Outcome::Screened(screening) => {
                    report::panel(screening, &name, &screening.bundle.title()).draw(&mut picture)
                }
                Outcome::Refused(reason) => report::refusal(reason, &name).draw(&mut picture),
            }
        }
        None => {
            let counted = format!(
                "{} images wait, {} studies read since the start. Bundles: {}.",
                told.waiting,
                told.read,
                if told.bundles.is_empty() { "none".into() } else { told.bundles.join(", ") }
            );
            let (tone, title, text) = match (&told.trouble, told.reading) {
                (Some(trouble), _) => (Tone::Problem, "PROBLEM", format!("{trouble}. {counted}")),
                (None, 0) => (Tone::Ready, "READY", format!("Send an image. {counted}")),
                (None, _) => (Tone::Busy, "READING", format!("An image is being read. {counted}")),
            };
            let remedy = told.trouble.as_ref().map(|_| "tell the technician");
            MessageScreen { tone, title, name, text: &text, remedy }.draw(&mut picture)
        }
    };
    picture
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use thorax_shared::reason::Reason;

    fn results(studies: &[u64]) -> VecDeque<Arc<Shown>> {
        let shown = |study: &u64| {
            Arc::new(Shown { study: *study, outcome: Outcome::Refused(Reason::new("cut short", "copy it again")) })
        };
        studies.iter().map(shown).collect()
    }

    const UP: Input = Input::Press(Key::Up, Hold::Short);
    const DOWN: Input = Input::Press(Key::Down, Hold::Short);
    const SELECT: Input = Input::Press(Key::Select, Hold::Short);
    const BACK: Input = Input::Press(Key::Select, Hold::Long);

    #[test]
    fn keys_go_through_the_results_and_back() {
        let (mut pages, results) = (Pages::default(), results(&[9, 7, 4]));
        pages.look(&results, Duration::ZERO);
        assert_eq!(pages.at, Page::Study(9), "a new one shows itself");
        let mut at = |input| {
            pages.input(input, &results, Duration::ZERO);
            pages.at
        };
        let seen = [DOWN, DOWN, DOWN, UP, BACK, DOWN, UP, SELECT, SELECT].map(&mut at);
        let (device, study) = (Page::Device, Page::Study);
        assert_eq!(seen, [study(7), study(4), study(4), study(7), device, study(9), device, study(9), device]);
    }

    #[test]
    fn nobody_s_picture_stays_when_nobody_is_there() {
        let (mut pages, results) = (Pages::default(), results(&[9]));
        pages.look(&results, Duration::from_secs(10));
        pages.look(&results, Duration::from_secs(69));
        assert_eq!(pages.at, Page::Study(9));
        pages.input(DOWN, &results, Duration::from_secs(69));
        pages.look(&results, Duration::from_secs(128));
        assert_eq!(pages.at, Page::Study(9), "somebody is there");
        pages.look(&results, Duration::from_secs(129));
        assert_eq!(pages.at, Page::Device);
    }

    proptest! {
        #[test]
        fn whatever_is_pressed_something_is_drawn(
            keys in proptest::collection::vec(0_usize..4, 0..20),
            studies in proptest::collection::vec(any::<u64>(), 0..5),
            trouble: Option<String>,
            reading: u64,
        ) {
            let results = results(&studies);
            let mut pages = Pages::default();
            let told = Told { trouble, reading, waiting: 3, read: 4, bundles: vec![] };
            for key in keys {
                pages.look(&results, Duration::ZERO);
                pages.input([UP, DOWN, SELECT, BACK][key], &results, Duration::ZERO);
                let picture = draw(Size::new(320, 240), "site", pages.at, &results, &told);
                prop_assert!(picture.pixels().windows(2).any(|pair| pair[0] != pair[1]));
            }
            pages.input(BACK, &results, Duration::ZERO);
            prop_assert_eq!(pages.at, Page::Device);
        }
    }
}
