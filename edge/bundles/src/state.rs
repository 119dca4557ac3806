//! The record of what is installed: the one file that is changed, and nothing that touches a disk.

use serde::{Deserialize, Serialize};
use thorax_journal::NewEvent;
use thorax_shared::modality::Modality;

use crate::{error::BundlesError, hash::BundleHash, thresholds::SiteThresholds};

/// The form of the record that is written, and read.
const FORM: u32 = 1;
/// What the journal was never told is kept for it, but not without end.
const MOST_UNTOLD: usize = 1000;

/// What is installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    form: u32,
    /// For films.
    pub xray: Slot,
    /// For slices.
    pub ct: Slot,
    /// The number of the next event.
    next_event: u64,
    /// What the journal is yet to be told, the oldest first.
    pub untold: Vec<NewEvent>,
}

/// What is installed for one kind of picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// The bundle that is run; `None`: what the profile names.
    pub active: Option<Installed>,
    /// The one before it, to go back to; `None`: what the profile names.
    pub former: Option<Installed>,
    /// Whether and how the active one is tried.
    pub trial: Option<Trial>,
    /// What was taken back last.
    pub rolled_back: Option<RolledBack>,
    /// What the site has set.
    pub thresholds: Option<SiteThresholds>,
}

/// A bundle that was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// SHA-256 of its file, which is the file's name.
    pub sha256: BundleHash,
    /// Name and version of the model.
    pub title: String,
    /// Who has installed it, where it was told.
    pub by: Option<String>,
    /// When, in milliseconds since 1970-01-01 00:00 UTC.
    pub unix_milliseconds: i64,
}

/// How a trial goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// A device is at work with it, or went down while it was.
    pub at_work: bool,
    /// How often it went down.
    pub went_down: u32,
    /// Studies that were read by it.
    pub studies: u64,
    /// Device time, in milliseconds, when it first was at work.
    pub began_milliseconds: Option<u64>,
}

/// A bundle that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolledBack {
    /// SHA-256 of its file.
    pub sha256: BundleHash,
    /// Name and version of the model.
    pub title: String,
    /// Why.
    pub cause: String,
    /// When, in milliseconds since 1970-01-01 00:00 UTC.
    pub unix_milliseconds: i64,
}

impl Default for State {
    fn default() -> Self {
        Self { form: FORM, xray: Slot::default(), ct: Slot::default(), next_event: 1, untold: vec![] }
    }
}

impl State {
    /// What is installed for `modality`.
    pub fn slot(&self, modality: Modality) -> &Slot {
        match modality {
            Modality::Xray => &self.xray,
            Modality::Ct => &self.ct,
        }
    }

    pub(crate) fn slot_mut(&mut self, modality: Modality) -> &mut Slot {
        match modality {
            Modality::Xray => &mut self.xray,
            Modality::Ct => &mut self.ct,
        }
    }

    /// Whether a bundle is on trial.
    pub fn on_trial(&self) -> bool {
        Modality::ALL.into_iter().any(|modality| self.slot(modality).trial.is_some())
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, BundlesError> {
        serde_json::to_vec_pretty(self).map_err(|error| BundlesError::State(error.to_string()))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BundlesError> {
        #[derive(Deserialize)]
        struct Form {
            form: u32,
        }
        let wrong = |error: serde_json::Error| BundlesError::State(error.to_string());
        // A newer form may have other fields.
        let Form { form } = serde_json::from_slice(bytes).map_err(wrong)?;
        if form != FORM {
            return Err(BundlesError::Newer { found: form, known: FORM });
        }
        serde_json::from_slice(bytes).map_err(wrong)
    }

    /// The bundles whose files are needed.
    pub(crate) fn needed(&self) -> impl Iterator<Item = &Installed> {
        [&self.xray, &self.ct].into_iter().flat_map(|slot| slot.active.iter().chain(&slot.former))
    }

    /// Something for the journal. Its key is of this folder of bundles alone: the time keeps those of a folder that was moved away apart.
    pub(crate) fn tell(&mut self, kind: &str, text: String, by: Option<&str>, now: i64, about: (Modality, BundleHash)) {
        let (modality, bundle) = about;
        let event = NewEvent {
            key: format!("bundles/{}/{now}", self.next_event),
            kind: kind.to_owned(),
            text,
            by: by.map(str::to_owned),
            unix_milliseconds: now,
            modality: Some(modality.to_string()),
            bundle_sha256: Some(bundle.0),
        };
        self.next_event += 1;
        if self.untold.len() >= MOST_UNTOLD {
            self.untold.remove(0);
        }
        self.untold.push(event);
    }

    /// Takes the active bundle back; what it was.
    pub(crate) fn roll_back(
        &mut self,
        modality: Modality,
        cause: &str,
        by: Option<&str>,
        now: i64,
    ) -> Result<Installed, BundlesError> {
        let slot = self.slot_mut(modality);
        let gone = slot.active.take().ok_or(BundlesError::NothingInstalled(modality))?;
        slot.active = slot.former.take();
        slot.trial = None;
        slot.thresholds.take_if(|thresholds| thresholds.bundle == gone.sha256);
        slot.rolled_back = Some(RolledBack {
            sha256: gone.sha256,
            title: gone.title.clone(),
            cause: cause.to_owned(),
            unix_milliseconds: now,
        });
        let to = slot.active.as_ref().map_or("what the profile names".into(), |former| former.title.clone());
        let text = format!("from {} to {to}: {cause}", gone.title);
        self.tell("bundle rolled back", text, by, now, (modality, gone.sha256));
        Ok(gone)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_newer_or_a_damaged_record_is_refused() {
        let state = State::default();
        let bytes = state.encode().unwrap();
        assert_eq!(State::decode(&bytes).unwrap(), state);
        let newer = String::from_utf8(bytes.clone()).unwrap().replace("\"form\": 1", "\"form\": 2, \"more\": 3");
        assert!(matches!(State::decode(newer.as_bytes()), Err(BundlesError::Newer { found: 2, known: 1 })));
        for wrong in [&bytes[..bytes.len() - 3], b"", b"{\"form\": 1}", b"[1]"] {
            let told = State::decode(wrong).unwrap_err().to_string();
            assert!(told.contains("install the bundles again"), "{told}");
        }
    }

    #[test]
    fn no_more_is_kept_for_the_journal_than_it_may_ever_ask_for() {
        let mut state = State::default();
        for number in 0..MOST_UNTOLD as i64 + 5 {
            state.tell("", String::new(), None, number, (Modality::Ct, BundleHash([0; 32])));
        }
        assert_eq!((state.untold.len(), state.untold[0].key.as_str()), (MOST_UNTOLD, "bundles/6/5"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in "\\{\"form\": ?1[a-z0-9\":,{}\\[\\] ]{0,60}") {
            let _ = State::decode(&bytes);
            let _ = State::decode(text.as_bytes());
        }
    }
}
