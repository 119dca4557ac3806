//! What the pages look like: HTML with the table's words, one style sheet, no script.
//!
//! Everything that is put into a page is escaped by maud; nothing here is marked as safe. What comes from outside (a name, a key, what a
//! reader wrote) stands in `bdi`, so that its direction of writing changes nothing around it. Every page has a heading, landmarks,
//! labels for all fields, and a way past the menu; each verdict has its word beside its colour. Overlays are check boxes that the style
//! sheet listens to, so they are switched with the keyboard as with a finger.

use maud::{DOCTYPE, Markup, html};
use thorax_journal::{Agreement, Counts, Delivery, DeliveryState, Feedback, Opinion, Study, StudyResult, StudyState};
use thorax_shared::{
    reason::Reason,
    words::{Language, Word, percent, reason},
};

use crate::{
    Installed, Offered,
    facts::{Facts, Reading, Who},
    request::{Done, MOST_NOTE_CHARACTERS, MOST_WHY_CHARACTERS, VERDICTS},
    users::Role,
};

/// What all pages have around them.
pub(crate) struct Shell<'a> {
    pub(crate) language: Language,
    /// The path of this page.
    pub(crate) path: &'a str,
    /// Who is logged in, as what, and the token for their forms.
    pub(crate) who: Option<(String, Role, String)>,
}

impl Shell<'_> {
    /// For somebody of whom nothing is known.
    pub(crate) fn outside(language: Language) -> Self {
        Self { language, path: "", who: None }
    }

    fn word(&self, word: Word) -> &'static str {
        self.language.word(word)
    }

    fn page(&self, title: &str, main: Markup) -> Markup {
        let notice = self.word(Word::Notice);
        let link = |path: &str, word: Word| {
            let here = (self.path == path).then_some("page");
            html! { a href=(path) aria-current=[here] { (self.word(word)) } }
        };
        html! {
            (DOCTYPE)
            html lang=(self.language.code()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · Thorax" }
                    link rel="stylesheet" href="/style.css";
                }
                body {
                    a.skip href="#main" { (self.word(Word::SkipToContent)) }
                    header {
                        p.notice role="note" { (notice) }
                        @if let Some((name, role, token)) = &self.who {
                            nav aria-label=(self.word(Word::Menu)) {
                                (link("/", Word::Studies))
                                @if *role == Role::Reader { (link("/agreement", Word::Agreement)) }
                                (link("/status", Word::Status))
                                @if *role == Role::Technician { (link("/bundles", Word::Bundles)) }
                                form.account method="post" action="/logout" {
                                    input type="hidden" name="token" value=(token);
                                    span { bdi { (name) } " (" (self.word(role_word(*role))) ")" }
                                    button { (self.word(Word::LogOut)) }
                                }
                            }
                        }
                    }
                    main #main tabindex="-1" { h1 { (title) } (main) }
                    footer {
                        nav aria-label=(self.word(Word::Language)) {
                            @for language in Language::ALL {
                                a href={ "/language?to=" (language.code()) } lang=(language.code()) hreflang=(language.code())
                                    aria-current=[(language == self.language).then_some("true")] { (language.name()) }
                            }
                        }
                        p { (notice) }
                        p { "Thorax " (env!("CARGO_PKG_VERSION")) }
                    }
                }
            }
        }
    }

    /// A verdict's word, as it is in this language, or as it is.
    fn verdict(&self, verdict: &str) -> Markup {
        let word = Word::of_verdict(verdict).map_or(verdict, |word| self.word(word));
        let class = VERDICTS.iter().find(|known| **known == verdict);
        html! { span class={ "verdict " (class.unwrap_or(&"")) } { (word) } }
    }

    /// A cause or a remedy, in this language where it is known; else as it was kept, in English. A cause may be of several parts.
    fn reason(&self, text: &str) -> Markup {
        html! {
            @for (index, part) in text.split("; ").enumerate() {
                @if index > 0 { "; " }
                @match reason(self.language, part) {
                    Some(known) => (known),
                    None => bdi lang="en" { (part) },
                }
            }
        }
    }

    fn row(&self, word: Word, value: Markup) -> Markup {
        html! { tr { th scope="row" { (self.word(word)) } td { (value) } } }
    }

    fn kind(&self, modality: Option<&str>) -> Markup {
        html! {
            @match modality {
                Some("xray") => (self.word(Word::Xray)),
                Some("ct") => (self.word(Word::Ct)),
                _ => (self.word(Word::Unknown)),
            }
        }
    }

    fn state(&self, study: &Study) -> &'static str {
        self.word(match study.state {
            StudyState::Open => Word::StateOpen,
            StudyState::Closed => Word::StateClosed,
            StudyState::Taken => Word::StateTaken,
            StudyState::Finished { .. } => Word::StateFinished,
            StudyState::Failed { .. } => Word::StateFailed,
        })
    }

    fn delivery_state(&self, delivery: &Delivery) -> &'static str {
        self.word(match delivery.state {
            DeliveryState::Waiting => Word::DeliveryWaiting,
            DeliveryState::Sending => Word::DeliverySending,
            DeliveryState::Delivered { .. } => Word::DeliveryDone,
            DeliveryState::GivenUp { .. } => Word::DeliveryGivenUp,
        })
    }
}

fn role_word(role: Role) -> Word {
    match role {
        Role::Reader => Word::Reader,
        Role::Technician => Word::Technician,
    }
}

/// `2026-11-28 10:23`, of `2026-11-28T10:23:26Z`.
fn minute(utc: &str) -> String {
    utc.get(..16).unwrap_or_default().replace('T', " ")
}

fn figure(value: f64, unit: &str) -> Markup {
    html! { (format!("{value:.2}")) (unit) }
}

fn share(percent: f64) -> Markup {
    html! { (format!("{percent:.1}")) " %" }
}

/// A page that says one thing.
pub(crate) fn message(shell: &Shell<'_>, word: Word) -> Markup {
    let home = if shell.who.is_some() { ("/", Word::Studies) } else { ("/login", Word::LogIn) };
    shell.page(shell.word(word), html! { p { a href=(home.0) { (shell.word(home.1)) } } })
}

/// The form to log in, with the token of its cookie.
pub(crate) fn login(shell: &Shell<'_>, token: &str, told: Option<Word>) -> Markup {
    let main = html! {
        @if let Some(told) = told { p.told role="alert" { (shell.word(told)) } }
        form.card method="post" action="/login" {
            input type="hidden" name="token" value=(token);
            label for="name" { (shell.word(Word::Name)) }
            input #name name="name" type="text" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="32" required;
            label for="password" { (shell.word(Word::Password)) }
            input #password name="password" type="password" autocomplete="current-password" maxlength="256" required;
            button { (shell.word(Word::LogIn)) }
        }
    };
    shell.page(shell.word(Word::LogIn), main)
}

/// A study in the list.
pub(crate) struct Listed {
    pub(crate) number: u64,
    pub(crate) study: Study,
    pub(crate) result: Option<StudyResult>,
    pub(crate) who: Who,
}

/// The list from a number on, perhaps of one verdict; `next` is where it goes on.
pub(crate) fn list(
    shell: &Shell<'_>,
    listed: &[Listed],
    before: Option<u64>,
    verdict: Option<&str>,
    next: Option<u64>,
) -> Markup {
    let main = html! {
        form.filter method="get" action="/" {
            label for="verdict" { (shell.word(Word::Verdict)) }
            select #verdict name="verdict" {
                option value="" { (shell.word(Word::All)) }
                @for known in VERDICTS {
                    option value=(known) selected[verdict == Some(known)] {
                        (Word::of_verdict(known).map_or(known, |word| shell.word(word)))
                    }
                }
            }
            button { (shell.word(Word::Show)) }
        }
        @if listed.is_empty() {
            p { (shell.word(Word::NoStudies)) }
        } @else {
            div.wide role="region" tabindex="0" aria-label=(shell.word(Word::Studies)) {
                table.list {
                    thead { tr {
                        @for word in [Word::Study, Word::Verdict, Word::Probability, Word::Patient, Word::Received, Word::Kind] {
                            th scope="col" { (shell.word(word)) }
                        }
                    } }
                    tbody { @for one in listed { (listed_row(shell, one)) } }
                }
            }
        }
        nav.pages aria-label=(shell.word(Word::Studies)) {
            @let filter = verdict.map(|verdict| format!("&verdict={verdict}")).unwrap_or_default();
            @if before.is_some() { a href={ "/?" (filter.trim_start_matches('&')) } { (shell.word(Word::Newest)) } }
            @if let Some(next) = next {
                a rel="next" href={ "/?before=" (next) (filter) } { (shell.word(Word::Older)) }
                @if listed.is_empty() { span { (shell.word(Word::OlderMayBeThere)) } }
            }
        }
    };
    shell.page(shell.word(Word::Studies), main)
}

fn listed_row(shell: &Shell<'_>, one: &Listed) -> Markup {
    let summary = one.result.as_ref().map(|result| &result.summary);
    let who = one.who.line();
    html! {
        tr {
            th scope="row" { a href={ "/study/" (one.number) } { (shell.word(Word::Study)) " " (one.number) } }
            td data-label=(shell.word(Word::Verdict)) {
                @match summary {
                    Some(summary) => (shell.verdict(&summary.verdict)),
                    None => (shell.state(&one.study)),
                }
            }
            td data-label=(shell.word(Word::Probability)) { (summary.and_then(|s| s.probability).map_or("-".into(), percent)) }
            td data-label=(shell.word(Word::Patient)) { bdi { (if who.is_empty() { "-" } else { &who }) } }
            td data-label=(shell.word(Word::Received)) { (minute(&one.study.opened.utc())) }
            td data-label=(shell.word(Word::Kind)) { (shell.kind(summary.and_then(|s| s.modality.as_deref()))) }
        }
    }
}

/// A study; `saved`: what the reader said has just been kept.
pub(crate) fn study(shell: &Shell<'_>, facts: &Facts, saved: bool) -> Markup {
    let Facts { number, study, result, readings, .. } = facts;
    let main = html! {
        @if saved { p.told role="status" { (shell.word(Word::Saved)) } }
        table.facts { tbody { (whose(shell, facts)) } }
        @for (index, reading) in readings.iter().enumerate() { (one_reading(shell, facts, index, reading)) }
        @if let (Some(result), true) = (result, readings.is_empty()) {
            section { h2 { (shell.word(Word::Result)) } table.facts { tbody {
                (shell.row(Word::Verdict, shell.verdict(&result.summary.verdict)))
                (reasons(shell, result.summary.cause.as_deref(), result.summary.remedy.as_deref()))
            } } }
        }
        @if let StudyState::Failed { cause, .. } = &study.state {
            section { h2 { (shell.word(Word::Reason)) } p { (shell.reason(cause)) } }
        }
        @if let Some(result) = result {
            (said(shell, facts))
            section {
                h2 { (shell.word(Word::Downloads)) }
                ul {
                    li { a href={ "/study/" (number) "/print" } { (shell.word(Word::PrintablePage)) } }
                    li { a href={ "/study/" (number) "/record.json" } { (shell.word(Word::JsonRecord)) } }
                    @for (place, file) in result.files.iter().enumerate() {
                        @if let Some(word) = downloaded(&file.label) {
                            li { a href={ "/study/" (number) "/file/" (place) } { (shell.word(word)) " (" (file.label) ")" } }
                        }
                    }
                }
            }
        }
        @if !facts.deliveries.is_empty() {
            section { h2 { (shell.word(Word::Deliveries)) } (deliveries(shell, &facts.deliveries, false)) }
        }
        section {
            h2 { (shell.word(Word::State)) }
            table.facts { tbody {
                (shell.row(Word::State, html! { (shell.state(study)) }))
                (shell.row(Word::Images, html! { (study.objects) }))
                @if study.round > 1 { (shell.row(Word::Round, html! { (study.round) })) }
                (shell.row(Word::Received, html! { (minute(&study.opened.utc())) }))
                @if let Some(result) = result { (shell.row(Word::Finished, html! { (minute(&result.finished.utc())) })) }
            } }
        }
    };
    shell.page(&format!("{} {number}", shell.word(Word::Study)), main)
}

/// What a file of a result is called among the downloads; pictures and overlays are on the page itself.
fn downloaded(label: &str) -> Option<Word> {
    Some(match label.split(['-', '.']).next()? {
        "outcome" => Word::JsonResult,
        "panel" => Word::Panel,
        "seg" => Word::Segmentation,
        "sr" => Word::Report,
        "sc" => Word::Capture,
        _ => return None,
    })
}

/// Whose study it is, as far as that is told.
fn whose(shell: &Shell<'_>, facts: &Facts) -> Markup {
    let told = match &facts.who {
        Who::Patient(patient) => {
            vec![(Word::Patient, &patient.name), (Word::PatientId, &patient.id), (Word::BirthDate, &patient.birth_date)]
        }
        Who::File(name) => vec![(Word::File, name)],
        Who::Unknown => vec![],
    };
    html! {
        @for (word, text) in told.into_iter().filter(|(_, text)| !text.is_empty()) {
            (shell.row(word, html! { bdi { (text) } }))
        }
    }
}

fn reasons(shell: &Shell<'_>, cause: Option<&str>, remedy: Option<&str>) -> Markup {
    html! {
        @if let Some(cause) = cause { (shell.row(Word::Reason, shell.reason(cause))) }
        @if let Some(remedy) = remedy { (shell.row(Word::Remedy, shell.reason(remedy))) }
    }
}

/// What a verdict means.
pub(crate) fn meaning(verdict: &str) -> Option<Word> {
    Some(match verdict {
        "positive" => Word::PositiveMeans,
        "negative" => Word::NegativeMeans,
        "refer" => Word::ReferMeans,
        "rejected" => Word::RejectedMeans,
        _ => return None,
    })
}

fn one_reading(shell: &Shell<'_>, facts: &Facts, index: usize, reading: &Reading) -> Markup {
    let sha256 = facts.result.as_ref().and_then(|result| result.summary.bundle_sha256);
    html! {
        section {
            h2 {
                (shell.word(Word::Result))
                @if facts.readings.len() > 1 { " " (index + 1) }
            }
            p.big { (shell.verdict(&reading.verdict)) }
            @if let Some(word) = meaning(&reading.verdict) { p { (shell.word(word)) } }
            div.two {
                (viewer(shell, facts, index, reading))
                table.facts { tbody {
                    (reasons(shell, reading.cause.as_deref(), reading.remedy.as_deref()))
                    @if let Some(probability) = reading.probability {
                        (shell.row(Word::Probability, html! { (percent(probability)) }))
                    }
                    @if let Some(bits) = reading.entropy_bits { (shell.row(Word::Entropy, figure(bits, " bit"))) }
                    @if let Some(percent) = reading.involvement_right_percent { (shell.row(Word::RightInvolvement, share(percent))) }
                    @if let Some(percent) = reading.involvement_left_percent { (shell.row(Word::LeftInvolvement, share(percent))) }
                    @if let Some(quality) = reading.quality { (shell.row(Word::Quality, figure(quality, ""))) }
                    (shell.row(Word::Kind, shell.kind(reading.modality.as_deref())))
                    @if let Some(bundle) = &reading.bundle { (shell.row(Word::Bundle, html! { (bundle) })) }
                    @if let (Some(sha256), true) = (sha256, reading.bundle.is_some()) {
                        (shell.row(Word::BundleHash, html! { code { (thorax_files::hexadecimal(&sha256)) } }))
                    }
                    @if !reading.notes.is_empty() {
                        (shell.row(Word::Notes, html! { @for note in &reading.notes { p lang="en" { bdi { (note) } } } }))
                    }
                } }
            }
        }
    }
}

/// The picture, and what can be laid over it; what the panel shows where no picture is kept.
fn viewer(shell: &Shell<'_>, facts: &Facts, index: usize, reading: &Reading) -> Markup {
    let source = |what: &str| {
        let place = facts.place(reading.label(what)?)?;
        Some(format!("/study/{}/picture/{place}", facts.number))
    };
    let overlays = [("heat", Word::Heat), ("lungs", Word::Lungs), ("infection", Word::Infection)];
    let overlays: Vec<_> = overlays.iter().filter_map(|(what, word)| Some((*what, *word, source(what)?))).collect();
    html! {
        div.viewer {
            @if let Some(picture) = source("picture") {
                @for (what, word, _) in overlays.iter().rev() {
                    @let id = format!("{what}-{index}");
                    input type="checkbox" class={ "show-" (what) } id=(id) checked[*what == "infection"];
                    label for=(id) { span class={ "key key-" (what) } {} (shell.word(*word)) }
                }
                @if !overlays.is_empty() { p.small { (shell.word(Word::OverlaysMeaning)) } }
                div.film {
                    img src=(picture) alt=(shell.word(Word::PictureOf));
                    @for (what, word, source) in &overlays { img class={ "layer " (what) } src=(source) alt=(shell.word(*word)); }
                }
                p { a href=(picture) { (shell.word(Word::FullSize)) } }
            } @else if let Some(panel) = source("panel") {
                img.panel src=(panel) alt=(shell.word(Word::Panel));
            } @else {
                p { (shell.word(Word::NoPicture)) }
            }
        }
    }
}

/// What readers said, and the form to say something.
fn said(shell: &Shell<'_>, facts: &Facts) -> Markup {
    html! {
        section {
            h2 { (shell.word(Word::Feedback)) }
            @if facts.feedback.is_empty() { p { (shell.word(Word::NothingYet)) } }
            ul.said { @for (_, said) in &facts.feedback { (one_said(shell, said)) } }
            @if let Some((_, Role::Reader, token)) = &shell.who {
                form.card method="post" action={ "/study/" (facts.number) "/feedback" } {
                    input type="hidden" name="token" value=(token);
                    fieldset {
                        legend { (shell.word(Word::YourOpinion)) }
                        @for opinion in [Opinion::Agree, Opinion::Disagree, Opinion::Note] {
                            span.choice {
                                input type="radio" name="opinion" id=(opinion.name()) value=(opinion.name()) required;
                                label for=(opinion.name()) { (shell.word(opinion_word(opinion))) }
                            }
                        }
                    }
                    label for="text" { (shell.word(Word::Note)) }
                    textarea #text name="note" rows="3" maxlength=(MOST_NOTE_CHARACTERS) aria-describedby="hint" {}
                    p.small #hint { (shell.word(Word::NoteHint)) }
                    button { (shell.word(Word::Save)) }
                }
            }
        }
    }
}

fn opinion_word(opinion: Opinion) -> Word {
    match opinion {
        Opinion::Agree => Word::Agree,
        Opinion::Disagree => Word::Disagree,
        Opinion::Note => Word::NoteOnly,
    }
}

fn one_said(shell: &Shell<'_>, said: &Feedback) -> Markup {
    html! {
        li {
            strong { (shell.word(opinion_word(said.opinion))) }
            ", " bdi { (said.reader) } ", " (minute(&said.at.utc()))
            @if !said.note.is_empty() { p.note { bdi { (said.note) } } }
        }
    }
}

fn deliveries(shell: &Shell<'_>, deliveries: &[(u64, Delivery)], with_study: bool) -> Markup {
    html! {
        div.wide role="region" tabindex="0" aria-label=(shell.word(Word::Deliveries)) { table {
            thead { tr {
                @if with_study { th scope="col" { (shell.word(Word::Study)) } }
                @for word in [Word::Destination, Word::State, Word::Attempts, Word::LastError] {
                    th scope="col" { (shell.word(word)) }
                }
            } }
            tbody { @for (_, delivery) in deliveries {
                @let error = match &delivery.state {
                    DeliveryState::GivenUp { cause, .. } => Some(cause),
                    _ => delivery.last_error.as_ref(),
                };
                tr {
                    @if with_study { td { a href={ "/study/" (delivery.study) } { (delivery.study) } } }
                    td { bdi { (delivery.destination) } }
                    td { (shell.delivery_state(delivery)) }
                    td { (delivery.attempts) }
                    td { @if let Some(error) = error { bdi lang="en" { (error) } } }
                }
            } }
        } }
    }
}

/// How often readers agree.
pub(crate) fn agreement(shell: &Shell<'_>, counted: &[Agreement]) -> Markup {
    let main = html! {
        p { (shell.word(Word::AgreementMeaning)) }
        @if counted.is_empty() {
            p { (shell.word(Word::NothingYet)) }
        } @else {
            div.wide role="region" tabindex="0" aria-label=(shell.word(Word::Agreement)) { table {
                thead { tr {
                    @for word in [Word::Bundle, Word::Verdict, Word::Agree, Word::Disagree] { th scope="col" { (shell.word(word)) } }
                    th scope="col" { (shell.word(Word::Agree)) ", %" }
                } }
                tbody { @for Agreement { bundle, verdict, agree, disagree } in counted {
                    tr {
                        td { (bundle.as_deref().unwrap_or(shell.word(Word::None))) }
                        td { (shell.verdict(verdict)) }
                        td { (agree) }
                        td { (disagree) }
                        // It is counted from one opinion on, so the sum is not 0.
                        td { (100 * agree / (agree + disagree).max(1)) " %" }
                    }
                } }
            } }
        }
    };
    shell.page(shell.word(Word::Agreement), main)
}

/// What the device is doing.
pub(crate) struct Status {
    pub(crate) counts: Counts,
    pub(crate) outbox: Vec<(u64, Delivery)>,
    pub(crate) disk_free_bytes: u64,
    pub(crate) disk_reserve_bytes: u64,
    pub(crate) trouble: Option<String>,
    pub(crate) bundles: Vec<String>,
}

/// The deliveries of a page.
const MOST_DELIVERIES: usize = 50;

/// What waits, what fails, and whether somebody has to look.
pub(crate) fn status(shell: &Shell<'_>, status: &Status) -> Markup {
    let Status { counts, outbox, disk_free_bytes, disk_reserve_bytes, trouble, bundles } = status;
    let full = disk_free_bytes < disk_reserve_bytes;
    let health = if full || trouble.is_some() { Word::HealthDegraded } else { Word::HealthOk };
    let gib = |bytes: u64| html! { (format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))) };
    let number = |number: u64| html! { (number) };
    let shown = outbox.get(..MOST_DELIVERIES).unwrap_or(outbox);
    let main = html! {
        table.facts { tbody {
            (shell.row(Word::Health, html! { strong { (shell.word(health)) } }))
            @if let Some(trouble) = trouble { (shell.row(Word::Trouble, html! { bdi lang="en" { (trouble) } })) }
            (shell.row(Word::ImagesWaiting, number(counts.objects_waiting)))
            (shell.row(Word::StudiesWaiting, number(counts.studies_waiting)))
            (shell.row(Word::StudiesTaken, number(counts.studies_taken)))
            (shell.row(Word::StudiesFinished, number(counts.studies_finished)))
            (shell.row(Word::StudiesFailed, number(counts.studies_failed)))
            (shell.row(Word::DiskFree, gib(*disk_free_bytes)))
            (shell.row(Word::DiskReserve, gib(*disk_reserve_bytes)))
            @for bundle in bundles { (shell.row(Word::Bundle, html! { (bundle) })) }
            (shell.row(Word::Program, html! { "Thorax " (env!("CARGO_PKG_VERSION")) }))
        } }
        h2 { (shell.word(Word::Deliveries)) }
        table.facts { tbody {
            (shell.row(Word::DeliveryWaiting, number(counts.deliveries_waiting)))
            (shell.row(Word::DeliveryDone, number(counts.deliveries_done)))
            (shell.row(Word::DeliveryGivenUp, number(counts.deliveries_given_up)))
        } }
        @if !shown.is_empty() { (deliveries(shell, shown, true)) }
    };
    shell.page(shell.word(Word::Status), main)
}

/// What is installed for each kind of picture, and what lies on a stick.
pub(crate) fn bundles(
    shell: &Shell<'_>,
    installed: &[Installed],
    offered: &[Offered],
    done: Option<Done>,
    why: Option<&Reason>,
) -> Markup {
    let token = shell.who.as_ref().map(|(_, _, token)| token.as_str()).unwrap_or_default();
    let title = |title: &Option<String>| match title {
        Some(title) => html! { bdi { (title) } },
        None => html! { (shell.word(Word::OfProfile)) },
    };
    let main = html! {
        @match done {
            Some(Done::Installed) => p.told role="status" { (shell.word(Word::BundleInstalled)) },
            Some(Done::TakenBack) => p.told role="status" { (shell.word(Word::BundleTakenBack)) },
            None => {}
        }
        @if let Some(why) = why { table.facts.told role="alert" { tbody { (reasons(shell, Some(&why.cause), why.remedy.as_deref())) } } }
        @for of in installed {
            section {
                h2 { (shell.kind(Some(of.modality.as_str()))) }
                table.facts { tbody {
                    (shell.row(Word::RunsNow, title(&of.active)))
                    @if let Some((read, all)) = of.trial { (shell.row(Word::OnTrial, html! { (read) " / " (all) })) }
                    @if of.active.is_some() { (shell.row(Word::GoesBackTo, title(&of.former))) }
                    @if let Some((gone, cause)) = &of.taken_back {
                        (shell.row(Word::TakenBack, html! { bdi { (gone) } ": " bdi lang="en" { (cause) } }))
                    }
                } }
                @if of.active.is_some() {
                    form.card method="post" action="/bundles/rollback" {
                        input type="hidden" name="token" value=(token);
                        input type="hidden" name="modality" value=(of.modality.as_str());
                        @let id = format!("why-{}", of.modality.as_str());
                        label for=(id) { (shell.word(Word::Why)) }
                        input #(id) name="why" type="text" required maxlength=(MOST_WHY_CHARACTERS) autocomplete="off";
                        button { (shell.word(Word::TakeBack)) }
                    }
                }
            }
        }
        section {
            h2 { (shell.word(Word::OnTheStick)) }
            @if offered.is_empty() { p { (shell.word(Word::NoBundleThere)) } }
            @for bundle in offered {
                form method="post" action="/bundles/install" {
                    input type="hidden" name="token" value=(token);
                    input type="hidden" name="sha256" value=(thorax_files::hexadecimal(&bundle.sha256));
                    p {
                        bdi { (bundle.title) } " · " (shell.kind(Some(bundle.modality.as_str()))) br;
                        code { (thorax_files::hexadecimal(&bundle.sha256[..6])) }
                    }
                    button { (shell.word(Word::Install)) }
                }
            }
        }
    };
    shell.page(shell.word(Word::Bundles), main)
}
