//! The light behind a panel that the kernel drives (`/sys/class/backlight`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A light, and how bright it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlight {
    /// Where its brightness is written.
    file: PathBuf,
    most: u32,
}

impl Backlight {
    /// The first of the machine; `None` without any.
    pub fn find() -> Option<Self> {
        Self::find_in(Path::new("/sys/class/backlight"))
    }

    fn find_in(class: &Path) -> Option<Self> {
        let mut lights: Vec<PathBuf> = fs::read_dir(class).ok()?.flatten().map(|entry| entry.path()).collect();
        lights.sort();
        lights.into_iter().find_map(|light| {
            let most: u32 = fs::read_to_string(light.join("max_brightness")).ok()?.trim().parse().ok()?;
            (most > 0).then(|| Self { file: light.join("brightness"), most })
        })
    }

    /// Makes it so bright, in percent of what it can be, and never dark.
    ///
    /// # Errors
    /// What the system says, such as that this user may not.
    pub fn set(&self, percent: u8) -> io::Result<()> {
        let steps = u64::from(self.most) * u64::from(percent.min(100)) / 100;
        fs::write(&self.file, steps.max(1).to_string())
    }

    /// Where its brightness is written.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_light_that_tells_its_steps_is_set_and_never_goes_out() {
        let class = tempfile::tempdir().unwrap();
        assert_eq!(Backlight::find_in(&class.path().join("none")), None);
        for (name, most) in [("a", "0\n"), ("b", "31\n"), ("c", "255\n")] {
            fs::create_dir(class.path().join(name)).unwrap();
            fs::write(class.path().join(name).join("max_brightness"), most).unwrap();
        }
        let light = Backlight::find_in(class.path()).unwrap();
        assert_eq!(light.file(), class.path().join("b/brightness"));
        for (percent, written) in [(100, "31"), (60, "18"), (20, "6"), (0, "1"), (255, "31")] {
            light.set(percent).unwrap();
            assert_eq!(fs::read_to_string(light.file()).unwrap(), written);
        }
    }
}
