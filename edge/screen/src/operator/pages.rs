//! What each page of the operator says.

use thorax_shared::{
    modality::Modality,
    reason::Reason,
    verdict::{RejectReason, Verdict},
    words::{self, Language, Word},
};

use super::{Action, BRIGHTNESS, Facts, Operator, Page, Trouble, thresholds};
use crate::{
    capitalised,
    list::{Level, ListScreen, Row},
    message::Tone,
    parts::end_of,
};

impl Operator {
    fn say(&self, word: Word) -> String {
        capitalised(self.language.word(word))
    }

    /// What a kind of image is called.
    fn kind(&self, modality: Modality) -> String {
        self.say(Word::of_modality(modality))
    }

    fn row(&self, label: Word, value: impl Into<String>) -> Row {
        Row { label: self.say(label), value: value.into(), ..Row::default() }
    }

    /// The lines of the menu, and where each leads.
    pub(super) fn menu(&self, facts: &Facts) -> Vec<(Row, Page)> {
        let mut lines = vec![
            (self.row(Word::Results, facts.results.len().to_string()), Page::Results),
            (self.row(Word::Status, ""), Page::Status),
            (self.row(Word::Settings, ""), Page::Settings),
            (self.row(Word::Bundles, ""), Page::Bundles),
        ];
        if facts.can_switch_off {
            lines.push((self.row(Word::SwitchOff, ""), Page::Confirm(Action::SwitchOff)));
        }
        lines
    }

    /// The settings, each with the page that changes it.
    pub(super) fn settings(&self, facts: &Facts) -> Vec<(Page, Row)> {
        let mut lines = vec![(Page::Language, self.row(Word::Language, self.language.name()))];
        if let Some(brightness) = facts.brightness {
            lines.push((Page::Brightness, self.row(Word::Brightness, format!("{brightness} %"))));
        }
        for slot in &facts.slots {
            if let Some(thresholds) = slot.thresholds {
                let label = format!("{}, {}", self.say(Word::Threshold), self.kind(slot.modality));
                let level = if thresholds.now == thresholds.own { Level::Plain } else { Level::Attention };
                let row = Row { label, value: pair(thresholds.now), level, ..Row::default() };
                lines.push((Page::Thresholds(slot.modality), row));
            }
        }
        lines
    }

    /// What is installed and what could be, each with what choosing it does.
    pub(super) fn bundle_lines(&self, facts: &Facts) -> Vec<(Row, Option<Action>)> {
        let mut lines = vec![];
        for slot in &facts.slots {
            let title = |word: Word| format!("{}, {}", self.kind(slot.modality), self.language.word(word));
            if let Some(active) = &slot.active {
                lines.push((Row { label: title(Word::RunsNow), value: active.clone(), ..Row::default() }, None));
            }
            if let Some((read, of)) = slot.trial {
                lines.push((self.row(Word::OnTrial, format!("{read} / {of}")), None));
            }
            if let Some(former) = &slot.former {
                let row = Row { label: title(Word::GoesBackTo), value: former.clone(), ..Row::default() };
                lines.push((row, Some(Action::RollBack(slot.modality))));
            }
        }
        for (place, (_, offered)) in facts.offered.iter().enumerate() {
            lines.push((self.row(Word::OnTheStick, offered.clone()), Some(Action::Install(place))));
        }
        lines
    }

    /// Each line of the device's state, the most important first.
    fn status(&self, facts: &Facts) -> Vec<Row> {
        let mut rows = vec![];
        if let (Some(Trouble::TooHot), Some((celsius, _))) = (&facts.trouble, facts.celsius) {
            rows.push(Row { level: Level::Trouble, ..self.row(Word::Temperature, format!("{celsius:.0} °C")) });
        }
        if !facts.reads.is_empty() {
            let kinds: Vec<String> = facts.reads.iter().map(|modality| self.kind(*modality)).collect();
            rows.push(self.row(Word::Reads, kinds.join(", ")));
        }
        rows.push(self.row(Word::ImagesWaiting, facts.waiting.to_string()));
        rows.push(self.row(Word::StudiesFinished, facts.read.to_string()));
        let network = facts.network.clone();
        let level = if network.is_some() { Level::Plain } else { Level::Attention };
        let none = || self.language.word(Word::NoNetwork).into();
        rows.push(Row { level, ..self.row(Word::Network, network.unwrap_or_else(none)) });
        if let Some((free, reserve)) = facts.disk {
            let level = match free {
                free if free <= reserve => Level::Trouble,
                free if free / 2 <= reserve => Level::Attention,
                _ => Level::Plain,
            };
            rows.push(Row { level, ..self.row(Word::DiskFree, self.gibibytes(free)) });
            if level == Level::Trouble {
                rows.push(Row { level, ..self.row(Word::DiskReserve, self.gibibytes(reserve)) });
            }
        }
        if let Some((celsius, slows_down)) = facts.celsius.filter(|_| facts.trouble != Some(Trouble::TooHot)) {
            let level = if slows_down { Level::Attention } else { Level::Plain };
            rows.push(Row { level, ..self.row(Word::Temperature, format!("{celsius:.0} °C")) });
        }
        rows.push(self.row(Word::Clock, facts.clock.clone()));
        for bundle in &facts.bundles {
            rows.push(self.row(Word::Bundle, bundle.clone()));
        }
        if facts.undelivered > 0 {
            let row = self.row(Word::Deliveries, facts.undelivered.to_string());
            rows.push(Row { level: Level::Attention, ..row });
        }
        rows
    }

    fn gibibytes(&self, bytes: u64) -> String {
        self.language.number(&format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)))
    }

    fn results(&self, facts: &Facts) -> Vec<Row> {
        // A probability beside a verdict would be read as how sure that is.
        let line = |result: &super::ResultLine| {
            // Of what could not be read the sign is that of what was not.
            let verdict = result.verdict.unwrap_or(Verdict::Rejected(RejectReason::FewGreyLevels));
            let word = Word::of_verdict(verdict.as_str()).map_or("", |word| self.language.word(word));
            let kind = result.modality.map_or_else(String::new, |modality| self.kind(modality));
            let parts = [result.study.to_string(), kind, end_of(&result.patient_id, 4), result.received.clone()];
            let label = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ");
            Row { label, value: word.into(), level: Level::Plain, verdict: Some(verdict) }
        };
        facts.results.iter().map(line).collect()
    }

    /// The lines of a page from which one may be chosen.
    fn choices(&self, facts: &Facts) -> Vec<Row> {
        let mut rows = self.plain_choices(facts);
        if matches!(self.page, Page::Language | Page::Brightness | Page::Thresholds(_))
            && let Some(row) = rows.get_mut(self.current(facts))
        {
            row.level = Level::Current;
        }
        rows
    }

    fn plain_choices(&self, facts: &Facts) -> Vec<Row> {
        match self.page {
            Page::Menu => self.menu(facts).into_iter().map(|(row, _)| row).collect(),
            Page::Settings => self.settings(facts).into_iter().map(|(_, row)| row).collect(),
            Page::Bundles => self.bundle_lines(facts).into_iter().map(|(row, _)| row).collect(),
            Page::Status => self.status(facts),
            Page::Results => self.results(facts),
            Page::Language => Language::ALL.map(|l| Row { label: l.name().into(), ..Row::default() }).into(),
            Page::Brightness => {
                BRIGHTNESS.map(|brightness| Row { label: format!("{brightness} %"), ..Row::default() }).into()
            }
            Page::Thresholds(modality) => thresholds(facts, modality).map_or_else(Vec::new, |thresholds| {
                let words = [Word::OfBundle, Word::RefersMore, Word::RefersMore, Word::RefersMost];
                let lines = words.into_iter().zip(thresholds.choices()).enumerate();
                let label = |step: usize, word| match step {
                    1 | 2 => format!("{} ({step})", self.say(word)),
                    _ => self.say(word),
                };
                lines
                    .map(|(step, (word, set))| Row { label: label(step, word), value: pair(set), ..Row::default() })
                    .collect()
            }),
            Page::Confirm(_) => vec![self.row(Word::No, ""), self.row(Word::Yes, "")],
            Page::Idle | Page::Study(_) | Page::Heat(_) | Page::Working | Page::Carried(..) => vec![],
        }
    }

    /// How many lines there are to choose from.
    pub(super) fn lines(&self, facts: &Facts) -> usize {
        self.choices(facts).len()
    }

    /// The bundle in whose place another one comes.
    fn replaced(&self, modality: Option<Modality>, facts: &Facts) -> String {
        let slot = facts.slots.iter().find(|slot| Some(slot.modality) == modality);
        let active = slot.and_then(|slot| slot.active.as_ref());
        active.map_or_else(String::new, |active| self.language.told(&self.say(Word::Replaces), active))
    }

    /// What is asked before something is done: title, question, and what it changes.
    fn question(&self, action: Action, facts: &Facts) -> (Word, String, String) {
        match action {
            Action::Install(place) => {
                let (modality, title) = facts.offered.get(place).cloned().unzip();
                (Word::Install, title.unwrap_or_default(), self.replaced(modality, facts))
            }
            Action::RollBack(modality) => {
                let former = facts.slots.iter().find(|slot| slot.modality == modality).and_then(|s| s.former.clone());
                let asked = self.language.told(&self.say(Word::GoesBackTo), &former.unwrap_or_default());
                (Word::TakeBack, asked, self.replaced(Some(modality), facts))
            }
            Action::Thresholds(modality, set) => {
                let own = thresholds(facts, modality).map(|thresholds| thresholds.own);
                let set = set.or(own).map_or_else(String::new, pair);
                (Word::Threshold, self.language.told(&self.kind(modality), &set), self.say(Word::ChangesVerdicts))
            }
            Action::SwitchOff => (Word::SwitchOff, self.say(Word::SwitchOffAsk), String::new()),
            Action::Language(_) => (Word::Language, String::new(), String::new()),
            Action::Brightness(_) => (Word::Brightness, String::new(), String::new()),
        }
    }

    /// Tone, title, text, what to do and what a program said of the page that is there when nobody asks for another.
    fn idle(&self, facts: &Facts) -> (Tone, Word, String, String, String) {
        let said = |word| self.say(word);
        match &facts.trouble {
            Some(trouble) => {
                let (text, remedy, detail) = match trouble {
                    Trouble::TooHot => (Word::TooHot, Word::DoCool, String::new()),
                    Trouble::DiskFull => (Word::DiskIsFull, Word::DoTellTechnician, String::new()),
                    Trouble::Other(text) => (Word::HasFailed, Word::DoTellTechnician, capitalised(text)),
                };
                (Tone::Problem, Word::Problem, said(text), said(remedy), detail)
            }
            None if facts.reading > 0 => {
                let mut text = said(Word::BeingRead);
                // A single film is read before anybody has looked. Without spaces, so that no line ends within it.
                if let (done, all @ 2..) = facts.images_read {
                    text += &format!(" {done}/{all}");
                }
                (Tone::Busy, Word::Reading, text, String::new(), String::new())
            }
            None => (Tone::Ready, Word::Ready, said(Word::SendAnImage), String::new(), String::new()),
        }
    }

    /// What was not done, what to do, and what a technician is told: in words where the reason is known in this language, else in
    /// the program's.
    fn refused(&self) -> [String; 3] {
        let reason = self.refusal.clone().unwrap_or_else(|| Reason::without_remedy(""));
        let said = |english: &str| words::reason(self.language, english).map(capitalised);
        match (said(&reason.cause), reason.remedy.as_deref().map(said)) {
            (Some(cause), Some(Some(remedy))) => [cause, remedy, String::new()],
            _ => {
                let detail = capitalised(&reason.to_string());
                [self.say(Word::CouldNotDo), self.say(Word::DoTellTechnician), detail]
            }
        }
    }

    /// The screen of the page that is shown.
    pub(super) fn with_screen<T>(&self, facts: &Facts, then: impl FnOnce(&ListScreen<'_>) -> T) -> T {
        let mut rows = self.choices(facts);
        let mut chosen = (!rows.is_empty()).then_some(self.chosen);
        let (mut tone, mut text, mut remedy, mut detail) = (None, String::new(), String::new(), String::new());
        let title = match self.page {
            Page::Idle | Page::Study(_) | Page::Heat(_) => {
                let (idle, title, said, advice, told) = self.idle(facts);
                (tone, text, remedy, detail) = (Some(idle), said, advice, told);
                // What is as it should be is for the technician, on a page of its own.
                rows = self.status(facts);
                let shown = [Word::ImagesWaiting, Word::Reads].map(|word| self.say(word));
                let shown = if facts.trouble.is_some() { &shown[..1] } else { &shown };
                rows.retain(|row| row.level != Level::Plain || shown.contains(&row.label));
                rows.sort_by_key(|row| row.level != Level::Trouble);
                chosen = None;
                title
            }
            Page::Menu => Word::Menu,
            Page::Results => Word::Results,
            Page::Status => Word::Status,
            Page::Settings => Word::Settings,
            Page::Language => Word::Language,
            Page::Brightness => Word::Brightness,
            Page::Thresholds(_) => Word::Threshold,
            Page::Bundles => Word::Software,
            Page::Confirm(action) => {
                let (title, asked, changes) = self.question(action, facts);
                (text, remedy) = (asked, changes);
                title
            }
            Page::Working => {
                (tone, text) = (Some(Tone::Busy), self.say(Word::PleaseWait));
                Word::Working
            }
            Page::Carried(action, true) => {
                tone = Some(Tone::Done);
                text = match action {
                    Action::Install(_) => self.say(Word::BundleInstalled),
                    Action::RollBack(_) => self.say(Word::BundleTakenBack),
                    Action::SwitchOff => self.say(Word::FinishesWork),
                    Action::Thresholds(..) | Action::Language(_) | Action::Brightness(_) => self.say(Word::Saved),
                };
                Word::Done
            }
            Page::Carried(_, false) => {
                tone = Some(Tone::Problem);
                [text, remedy, detail] = self.refused();
                Word::NotDone
            }
        };
        if let Page::Thresholds(_) = self.page {
            remedy = self.say(Word::ThresholdMeaning);
        }
        if self.page == Page::Results {
            match rows.is_empty() {
                true => text = self.say(Word::NoResults),
                false => detail = self.say(Word::ResultsListed),
            }
        }
        if self.page == Page::Bundles && facts.offered.is_empty() {
            text = self.say(Word::NoBundleThere);
        }
        let name = match self.page {
            Page::Thresholds(modality) => self.kind(modality),
            _ => facts.site.clone(),
        };
        let keys = self.keys(facts);
        then(&ListScreen {
            language: self.language,
            tone,
            title,
            name: &name,
            text: &text,
            remedy: &remedy,
            detail: &detail,
            rows: &rows,
            chosen,
            keys,
        })
    }
}

/// Thresholds, negative below the first and positive from the second on, in percent: `20 / 80 %`.
fn pair([negative, positive]: [f32; 2]) -> String {
    format!("{:.0} / {:.0} %", 100.0 * negative, 100.0 * positive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SUPPORTED, operator::tests::facts};

    /// Every page that is made of words of the table alone has room for them; what a site or a bundle is called is shortened.
    #[test]
    fn every_page_has_room_in_every_language_on_every_supported_panel() {
        let mut told = vec![];
        let pages = [
            Page::Idle,
            Page::Menu,
            Page::Results,
            Page::Status,
            Page::Settings,
            Page::Language,
            Page::Brightness,
            Page::Thresholds(Modality::Xray),
            Page::Bundles,
            Page::Confirm(Action::SwitchOff),
            Page::Confirm(Action::Install(0)),
            Page::Confirm(Action::RollBack(Modality::Xray)),
            Page::Confirm(Action::Thresholds(Modality::Xray, None)),
            Page::Working,
            Page::Carried(Action::Install(0), true),
            Page::Carried(Action::RollBack(Modality::Xray), true),
            Page::Carried(Action::SwitchOff, true),
            Page::Carried(Action::Install(0), false),
        ];
        let troubles = [None, Some(Trouble::TooHot), Some(Trouble::DiskFull)];
        for (size, language) in SUPPORTED.into_iter().flat_map(|size| Language::ALL.map(|language| (size, language))) {
            for (page, trouble) in pages.iter().flat_map(|page| troubles.iter().map(move |trouble| (page, trouble))) {
                let facts = Facts {
                    trouble: trouble.clone(),
                    reading: u64::from(trouble.is_none()),
                    images_read: (100, 128),
                    ..facts()
                };
                let mut operator = Operator::new(language, true);
                operator.page = *page;
                operator.with_screen(&facts, |screen| {
                    if !screen.has_room(size) {
                        told.push(format!("{size} {language:?} {page:?} {trouble:?}"));
                    }
                });
            }
        }
        told.dedup();
        assert!(told.is_empty(), "{} pages:\n{}", told.len(), told.join("\n"));
    }

    #[test]
    fn how_much_is_read_is_told_where_there_is_more_than_one_image() {
        let told = |images_read| {
            let facts = Facts { reading: 1, images_read, ..facts() };
            Operator::new(Language::English, true).with_screen(&facts, |screen| screen.text.to_owned())
        };
        assert!(told((3, 16)).ends_with("by itself. 3/16"), "{}", told((3, 16)));
        assert!(told((0, 1)).ends_with("by itself."));
    }
}
