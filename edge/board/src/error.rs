//! Why the hardware cannot be used, and what to do about it.

use thorax_files::WriteError;
use thorax_shared::reason::Reason;

/// Every way in which a board refuses.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum BoardError {
    /// A setting that cannot work.
    Setting {
        /// Its table and key in the profile, such as `panel.spi.clock_hertz`.
        setting: String,
        /// Why.
        cause: String,
    },
    /// The machine lacks something that the profile names.
    Missing {
        /// What.
        what: String,
        /// What there is in its place; empty where there is nothing.
        there: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A device is there and fails.
    Device {
        /// Which.
        what: String,
        /// What it, or the system, says.
        cause: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The picture cannot be written.
    Write(#[from] WriteError),
}

impl BoardError {
    /// Cause and remedy.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Setting { setting, cause } => {
                Reason::new(format!("{setting}: {cause}"), "correct the profile; boards/README.md has every key")
            }
            Self::Missing { what, there, remedy } if there.is_empty() => {
                Reason::new(format!("there is no {what}"), *remedy)
            }
            Self::Missing { what, there, remedy } => Reason::new(format!("there is no {what}, only {there}"), *remedy),
            Self::Device { what, cause, remedy } => Reason::new(format!("{what}: {cause}"), *remedy),
            Self::Write(error) => Reason::new(
                format!("cannot write {}: {}", error.path.display(), error.reason),
                "check that the folder is writable and the disk has room",
            ),
        }
    }

    pub(crate) fn setting(setting: &str, cause: impl Into<String>) -> Self {
        Self::Setting { setting: setting.into(), cause: cause.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_cause_and_remedy() {
        let missing = BoardError::Missing { what: "/dev/spidev0.0".into(), there: String::new(), remedy: "enable SPI" };
        assert_eq!(missing.to_string(), "there is no /dev/spidev0.0: enable SPI");
        let other =
            BoardError::Missing { what: "zone \"x\"".into(), there: "\"y\"".into(), remedy: "name one of these" };
        assert_eq!(other.to_string(), "there is no zone \"x\", only \"y\": name one of these");
        let setting = BoardError::setting("panel.spi.mode", "4 is not from 0 to 3");
        assert!(setting.to_string().contains("panel.spi.mode") && setting.reason().remedy.is_some());
    }
}
