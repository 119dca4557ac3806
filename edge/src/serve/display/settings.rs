//! What was set at the panel, in a file of the folder of data.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thorax_files::write_atomically;
use thorax_shared::words::Language;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Of all words.
    pub(super) language: Language,
    /// Percent.
    pub(super) brightness: u8,
}

fn file(data: &Path) -> PathBuf {
    data.join("panel.json")
}

impl Settings {
    /// As they were left, or `language` and full light.
    pub(super) fn read(data: &Path, language: Language) -> Self {
        let default = Self { language, brightness: 100 };
        let file = file(data);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return default,
            Err(error) => {
                tracing::warn!(path = %file.display(), %error, "the panel's settings cannot be read; it has the profile's");
                return default;
            }
        };
        match serde_json::from_slice::<Self>(&text) {
            // At none nobody would find back.
            Ok(settings) if (20..=100).contains(&settings.brightness) => settings,
            _ => {
                tracing::warn!(path = %file.display(), "is no settings of a panel; it has the profile's");
                default
            }
        }
    }

    /// Keeps them.
    ///
    /// # Errors
    /// The disk's, with the file.
    pub(super) fn write(&self, data: &Path) -> Result<(), String> {
        let text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        write_atomically(&file(data), |out| out.write_all(text.as_bytes())).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_and_what_is_none_is_passed_over() {
        let data = tempfile::tempdir().unwrap();
        let default = Settings { language: Language::French, brightness: 100 };
        assert_eq!(Settings::read(data.path(), Language::French), default);
        let set = Settings { language: Language::Hindi, brightness: 40 };
        set.write(data.path()).unwrap();
        assert_eq!(Settings::read(data.path(), Language::French), set);
        for text in ["", "{}", r#"{"language":"xx","brightness":40}"#, r#"{"language":"hi","brightness":0}"#] {
            std::fs::write(file(data.path()), text).unwrap();
            assert_eq!(Settings::read(data.path(), Language::French), default, "{text}");
        }
    }
}
