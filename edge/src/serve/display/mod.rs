//! The panel: whether the device is ready, the result that came last, the ones before it, and what the operator can set.
//!
//! It is there from the first moment, before bundles are tested and the journal is opened, and until the last. It looks at what the
//! other parts say of themselves (`State`) a few times a second and draws that; what is sent to the panel is only what changed.
//! Which page is shown, and what keys do, [`Operator`] knows. A panel that cannot be used is told in the log, and keeps nothing from
//! being read.

mod settings;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use embedded_graphics::{Drawable, prelude::Size};
use thorax_board::{
    BoardError,
    backlight::Backlight,
    config::{self, Tables},
    inputs::Inputs,
    panel::Panel,
};
use thorax_page::Appliance;
use thorax_screen::{
    Framebuffer, Keys, MessageScreen, ResultScreen, Tone,
    operator::{Action, Facts, Operator, Shows},
    study_name,
};
use thorax_shared::{
    reason::Reason,
    words::{Language, Word},
};

use self::settings::Settings;
use super::{
    before::Kept,
    state::{Shown, State},
};
use crate::{outcome::Outcome, report};

/// How often it is looked whether there is something new.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// A panel that failed is tried again.
const BETWEEN_TRIES: Duration = Duration::from_secs(5);
/// A stick may come and go.
const BETWEEN_STICKS: Duration = Duration::from_secs(3);
/// Who changed something, in the journal: no account is asked for at the panel.
const BY: &str = "the panel";
const WHY: &str = "chosen at the panel";

/// The panel at work, until [`Display::end`].
pub struct Display {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What the program tells the panel's thread.
struct Shared {
    tables: Tables,
    /// The site's name.
    name: String,
    /// The folder of data.
    data: PathBuf,
    language: Language,
    /// Once the parts of the service are there.
    state: OnceLock<Arc<State>>,
    /// How the program ends, once it does: why it failed, if it did.
    end: Mutex<Option<Option<String>>>,
}

impl Display {
    /// Of the panel and keys of `tables`, if there is a panel. `name` is the site's, `data` the folder of data.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(tables: Tables, name: String, language: Language, data: PathBuf) -> std::io::Result<Self> {
        let has_panel = tables.panel.is_some();
        let (state, end) = (OnceLock::new(), Mutex::default());
        let shared = Arc::new(Shared { tables, name, data, language, state, end });
        let seen = shared.clone();
        // A window can be served by no thread but the one that opened it.
        let start = || thread::Builder::new().name("panel".into()).spawn(move || seen.work());
        let thread = if has_panel { Some(start()?) } else { None };
        Ok(Self { shared, thread })
    }

    /// The parts of the service are there: from here on it is shown what they say.
    pub fn attach(&self, service: &super::Service) {
        let _ = self.shared.state.set(service.state.clone());
    }

    /// The last picture: that the device may be switched off, or why it could not go on. It stays on the panel, where that keeps it.
    pub fn end(mut self, failed: Option<String>) {
        *self.shared.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn ended(&self) -> Option<Option<String>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn work(&self) {
        while let Err(error) = self.run() {
            tracing::error!(%error, "the panel cannot be used; it is tried again");
            let until = Instant::now() + BETWEEN_TRIES;
            while Instant::now() < until {
                if self.ended().is_some() {
                    return;
                }
                thread::sleep(BETWEEN_LOOKS);
            }
        }
    }

    /// Shows what there is until the program ends.
    fn run(&self) -> Result<(), BoardError> {
        let Some(config) = &self.tables.panel else { return Ok(()) };
        let mut panel = Panel::open(config)?;
        let size = panel.size();
        let inputs = Inputs::open(self.tables.buttons.as_ref(), self.tables.touch.as_ref(), size)?;
        panel.light(true)?;
        let began = Instant::now();
        let mut settings = Settings::read(&self.data, self.language);
        let mut operator = Operator::new(settings.language, self.tables.has_keys());
        let mut stick = Stick::default();
        let mut drawn = None;
        // A window is asked for its keys between two looks.
        let pause = if matches!(config, config::Panel::Window(_)) { BETWEEN_LOOKS / 5 } else { BETWEEN_LOOKS };
        let mut light = Light::of(config);
        let mut show = |panel: &mut Panel, settings: &Settings, mut picture: Framebuffer| {
            if !light.set(settings.brightness) {
                picture.dim(settings.brightness);
            }
            panel.show(&picture)
        };
        loop {
            if let Some(failed) = self.ended() {
                return show(&mut panel, &settings, self.last(size, settings.language, failed.as_deref())).map(drop);
            }
            let Some(state) = self.state.get().filter(|state| !state.is_stopping()) else {
                let (title, text) = match self.state.get() {
                    None => (Word::Starting, Word::SelfTest),
                    Some(_) => (Word::Stopping, Word::FinishesWork),
                };
                let text = settings.language.word(text);
                let message = self.message(size, settings.language, Tone::Busy, title, [text, "", ""]);
                show(&mut panel, &settings, message)?;
                drawn = None;
                thread::sleep(BETWEEN_LOOKS / 4);
                continue;
            };
            let results = state.results();
            let mut facts = self.facts(state, &settings);
            stick.look(&operator, state, &mut facts);
            operator.look(&facts, began.elapsed());
            for input in inputs.wait(pause).into_iter().chain(panel.inputs()) {
                if let Some(action) = operator.input(input, &facts, size, began.elapsed()) {
                    // It may take seconds.
                    show(&mut panel, &settings, self.draw(&operator, &facts, state, &results, size))?;
                    let ended = self.carry_out(action, state, &mut settings, &stick);
                    if let Err(reason) = &ended {
                        tracing::warn!(?action, %reason, "not done, as chosen at the panel");
                    }
                    operator.carried_out(action, ended, began.elapsed());
                    stick = Stick::default();
                    drawn = None;
                }
            }
            operator.look(&facts, began.elapsed());
            // What has not changed need not be drawn.
            let seen = (operator.clone(), facts);
            if drawn.as_ref() != Some(&seen) {
                show(&mut panel, &settings, self.draw(&operator, &seen.1, state, &results, size))?;
                tracing::debug!(shows = ?operator.shows(), "on the panel");
                drawn = Some(seen);
            }
        }
    }

    /// What the parts say of themselves, for the panel.
    fn facts(&self, state: &State, settings: &Settings) -> Facts {
        Facts {
            site: self.name.clone(),
            network: thorax_board::network::address(),
            brightness: Some(settings.brightness),
            can_switch_off: self.power_off_file().is_some(),
            ..state.facts()
        }
    }

    fn power_off_file(&self) -> Option<&Path> {
        self.tables.board.as_ref()?.power_off_file.as_deref()
    }

    /// Does what was chosen; an error says why it was not done.
    fn carry_out(&self, action: Action, state: &State, settings: &mut Settings, stick: &Stick) -> Result<(), Reason> {
        match action {
            Action::Language(language) => settings.language = language,
            Action::Brightness(brightness) => settings.brightness = brightness,
            Action::Thresholds(modality, set) => {
                return state.set_thresholds(modality, set, BY, WHY);
            }
            Action::Install(place) => {
                let gone = || Reason::new("the reading software is not there any more", "put the stick in again");
                let bundle = stick.bundles.get(place).ok_or_else(gone)?;
                return state.install(&bundle.sha256, BY);
            }
            Action::RollBack(modality) => {
                return state.roll_back(modality, WHY, BY);
            }
            Action::SwitchOff => {
                let none = || Reason::without_remedy("the profile names no power_off_file");
                let file = self.power_off_file().ok_or_else(none)?;
                tracing::info!("to be switched off, as chosen at the panel");
                let failed = |error| Reason::without_remedy(format!("{}: {error}", file.display()));
                return std::fs::write(file, []).map_err(failed);
            }
        }
        settings.write(&self.data).map_err(Reason::without_remedy)
    }

    fn draw(
        &self,
        operator: &Operator,
        facts: &Facts,
        state: &State,
        results: &VecDeque<Arc<Shown>>,
        size: Size,
    ) -> Framebuffer {
        let mut picture = Framebuffer::new(size);
        let (Shows::Result(study) | Shows::Heat(study)) = operator.shows() else {
            operator.draw(facts, &mut picture);
            return picture;
        };
        let (language, keys) = (operator.language(), operator.keys(facts));
        let Some(shown) = results.iter().find(|shown| shown.study == study) else {
            self.draw_old(study, facts, state, language, keys, &mut picture);
            return picture;
        };
        let Shown { outcome, patient_id, received, thresholds, .. } = &**shown;
        let name = study_name(language, study, patient_id, received);
        let Ok(()) = match outcome {
            Outcome::Screened(screening) => {
                let title = screening.bundle.title();
                let panel = report::panel(screening, &name, &title, *thresholds);
                let result = ResultScreen { language, keys, ..panel };
                match report::heat(screening, result).filter(|_| matches!(operator.shows(), Shows::Heat(_))) {
                    Some(heat) => heat.draw(&mut picture),
                    None => result.draw(&mut picture),
                }
            }
            Outcome::Refused(reason) => {
                MessageScreen { keys, ..report::refusal(reason, &reason.to_string(), &name, language) }
                    .draw(&mut picture)
            }
        };
        picture
    }

    /// A result of before the start.
    fn draw_old(
        &self,
        study: u64,
        facts: &Facts,
        state: &State,
        language: Language,
        keys: Keys,
        picture: &mut Framebuffer,
    ) {
        let kept = state.journal().map(|journal| Kept::read(&journal, study)).transpose();
        let kept = kept.map(Option::flatten).unwrap_or_else(|error| {
            tracing::warn!(study, %error, "its result cannot be shown");
            None
        });
        let received = facts.results.iter().find(|line| line.study == study).map_or("", |line| &line.received);
        let patient_id = kept.as_ref().map_or("", |kept| &kept.patient_id);
        let name = study_name(language, study, patient_id, received);
        let Ok(()) = match &kept {
            Some(kept) => match kept.verdict {
                Some(verdict) => kept.screen(verdict, &name, language, keys).draw(picture),
                None => {
                    let detail = kept.reason.to_string();
                    MessageScreen { keys, ..report::refusal(&kept.reason, &detail, &name, language) }.draw(picture)
                }
            },
            None => {
                let text = language.word(Word::NoStudies);
                let (tone, title) = (Tone::Rejected, Word::Results);
                MessageScreen { language, tone, title, name: &name, text, remedy: None, detail: "", keys }.draw(picture)
            }
        };
    }

    fn message(
        &self,
        size: Size,
        language: Language,
        tone: Tone,
        title: Word,
        [text, remedy, detail]: [&str; 3],
    ) -> Framebuffer {
        let mut picture = Framebuffer::new(size);
        let (name, remedy, keys) = (&*self.name, Some(remedy), Keys::NONE);
        let Ok(()) = MessageScreen { language, tone, title, name, text, remedy, detail, keys }.draw(&mut picture);
        picture
    }

    /// The picture that stays.
    fn last(&self, size: Size, language: Language, failed: Option<&str>) -> Framebuffer {
        match failed {
            None => {
                let text = language.word(Word::MayBeSwitchedOff);
                self.message(size, language, Tone::Off, Word::Off, [text, "", ""])
            }
            Some(reason) => {
                let [text, remedy] = [Word::HasFailed, Word::DoTellTechnician].map(|word| language.word(word));
                self.message(size, language, Tone::Problem, Word::Problem, [text, remedy, reason])
            }
        }
    }
}

/// The light behind the panel, where it has one that can be set.
struct Light {
    backlight: Option<Backlight>,
    /// Percent, once it was set.
    now: Option<u8>,
}

impl Light {
    /// A panel of its own controller has a line of its own for that, and a file or a window has none.
    fn of(config: &config::Panel) -> Self {
        let is_kernels = matches!(config, config::Panel::Drm(_) | config::Panel::Framebuffer(_));
        Self { backlight: if is_kernels { Backlight::find() } else { None }, now: None }
    }

    /// Makes it so bright, percent; where it cannot, the picture has to be darker instead.
    fn set(&mut self, percent: u8) -> bool {
        let Some(backlight) = &self.backlight else { return false };
        if self.now == Some(percent) {
            return true;
        }
        match backlight.set(percent) {
            Ok(()) => self.now = Some(percent),
            Err(error) => {
                let file = backlight.file().display();
                tracing::warn!(%file, %error, "the light cannot be set, so the picture is made darker: see boards/README.md, \"Groups and devices\"");
                self.backlight = None;
            }
        }
        self.backlight.is_some()
    }
}

/// The bundles of a stick, looked at only while somebody wants to know: each is read and its signature checked.
#[derive(Default)]
struct Stick {
    bundles: Vec<thorax_page::Offered>,
    looked: Option<Instant>,
}

impl Stick {
    /// Adds to the facts what is installed and what could be.
    fn look(&mut self, operator: &Operator, state: &State, facts: &mut Facts) {
        if !operator.asks_for_bundles() {
            self.looked = None;
            return;
        }
        facts.slots = state.slots();
        if self.looked.is_none_or(|looked| looked.elapsed() >= BETWEEN_STICKS) {
            self.bundles = state.offered();
            self.looked = Some(Instant::now());
        }
        facts.offered = self.bundles.iter().map(|bundle| (bundle.modality, bundle.title.clone())).collect();
    }
}
