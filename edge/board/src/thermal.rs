//! How hot the board is, and what follows from that.
//!
//! A board in a warm room without a fan gets hot when it works. The kernel then slows its processors down without a word, and some
//! degrees later it cuts the power. So the device looks at the zones that its profile names and acts before: a *warm* board rests before
//! each study and says that it is slower, a *hot* one reads nothing until it has cooled, and says so. It counts as cooler only when
//! every zone is some degrees below its limit, so that it does not go to and fro.
//!
//! Zones are found by their type (`cpu-thermal`), since their numbers change from kernel to kernel. A zone that is not there, or
//! that cannot be read, is told and never guessed; what it would have said is taken from the others.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::config::{Thermal, Zone};

/// How hot the board is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Heat {
    /// As it should be.
    #[default]
    Cool,
    /// It rests before each study.
    Warm,
    /// It reads nothing.
    Hot,
}

impl Heat {
    /// In a word, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cool => "cool",
            Self::Warm => "warm",
            Self::Hot => "hot",
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// How hot the board is.
    pub heat: Heat,
    /// The zone that is nearest to its limit, and its temperature, Celsius. `None` when no zone could be read.
    pub hottest: Option<(String, f32)>,
    /// Zones of the profile that are not there, or cannot be read.
    pub missing: Vec<String>,
}

impl Reading {
    /// How long to rest before a study; `None` while nothing is to be read at all.
    pub fn pause(&self, config: &Thermal) -> Option<Duration> {
        match self.heat {
            Heat::Cool => Some(Duration::ZERO),
            Heat::Warm => Some(Duration::from_secs(config.pause_seconds)),
            Heat::Hot => None,
        }
    }
}

/// A thermal zone of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its type.
    pub name: String,
    /// Where its temperature is.
    pub file: PathBuf,
}

/// All zones of the machine whose files lie under `root` (`/`), by their numbers.
pub fn found(root: &Path) -> Vec<Found> {
    let Ok(entries) = std::fs::read_dir(root.join("sys/class/thermal")) else { return vec![] };
    let mut zones: Vec<(u32, Found)> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix("thermal_zone")?.parse().ok()?;
            let name = std::fs::read_to_string(entry.path().join("type")).ok()?.trim().to_owned();
            Some((number, Found { name, file: entry.path().join("temp") }))
        })
        .collect();
    zones.sort_by_key(|(number, _)| *number);
    zones.into_iter().map(|(_, zone)| zone).collect()
}

/// The temperature in a zone's file, Celsius: the kernel writes thousandths.
pub fn celsius(file: &Path) -> Option<f32> {
    let text = std::fs::read_to_string(file).ok()?;
    let thousandths: i32 = text.trim().parse().ok()?;
    let celsius = thousandths as f32 / 1000.0;
    // A sensor that sleeps says -256, or 0 Kelvin.
    (-60.0..=200.0).contains(&celsius).then_some(celsius)
}

/// Looks at the zones of a profile.
#[derive(Clone, Debug)]
pub struct Thermometer {
    config: Thermal,
    root: PathBuf,
    heat: Heat,
}

impl Thermometer {
    /// Of this machine.
    pub fn new(config: &Thermal) -> Self {
        Self::under(config, Path::new("/"))
    }

    /// Of the machine whose files lie under `root`.
    pub fn under(config: &Thermal, root: &Path) -> Self {
        Self { config: config.clone(), root: root.to_owned(), heat: Heat::Cool }
    }

    /// Measures. Zones are looked up anew each time: a driver that was loaded late brings its own.
    pub fn read(&mut self) -> Reading {
        let found = found(&self.root);
        let mut missing = vec![];
        let mut measured = vec![];
        for zone in &self.config.zones {
            let file = found.iter().find(|found| found.name == zone.name);
            match file.and_then(|found| celsius(&found.file)) {
                Some(celsius) => measured.push((zone, celsius)),
                None => missing.push(zone.name.clone()),
            }
        }
        self.heat = next(self.heat, &measured, self.config.hysteresis_celsius);
        let left = |(zone, celsius): &(&Zone, f32)| zone.hot_celsius - celsius;
        let hottest = measured.iter().min_by(|a, b| left(a).total_cmp(&left(b)));
        Reading { heat: self.heat, hottest: hottest.map(|(zone, celsius)| (zone.name.clone(), *celsius)), missing }
    }
}

/// How hot the board is now. Where nothing was measured it stays as it was.
fn next(before: Heat, measured: &[(&Zone, f32)], hysteresis: f32) -> Heat {
    if measured.is_empty() {
        return before;
    }
    let of = |lowered: f32| {
        let zone = |(zone, celsius): &(&Zone, f32)| match celsius {
            c if *c >= zone.hot_celsius - lowered => Heat::Hot,
            c if *c >= zone.warm_celsius - lowered => Heat::Warm,
            _ => Heat::Cool,
        };
        measured.iter().map(zone).max().unwrap_or_default()
    };
    // Hotter at the limits; cooler only some degrees below.
    of(0.0).max(of(hysteresis).min(before))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> Zone {
        Zone { name: name.into(), warm_celsius: 70.0, hot_celsius: 85.0 }
    }

    fn machine(zones: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (number, (name, temperature)) in zones.iter().enumerate() {
            let folder = root.path().join(format!("sys/class/thermal/thermal_zone{number}"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("type"), format!("{name}\n")).unwrap();
            std::fs::write(folder.join("temp"), format!("{temperature}\n")).unwrap();
        }
        root
    }

    fn set(root: &tempfile::TempDir, number: usize, temperature: &str) {
        std::fs::write(root.path().join(format!("sys/class/thermal/thermal_zone{number}/temp")), temperature).unwrap();
    }

    #[test]
    fn a_board_slows_down_stops_and_comes_back_with_some_degrees_between() {
        let config = Thermal { zones: vec![zone("cpu-thermal")], ..Thermal::default() };
        let root = machine(&[("iwlwifi", "99000"), ("cpu-thermal", "45500")]);
        let mut thermometer = Thermometer::under(&config, root.path());
        let reading = thermometer.read();
        assert_eq!((reading.heat, reading.hottest.clone()), (Heat::Cool, Some(("cpu-thermal".into(), 45.5))));
        assert_eq!(reading.pause(&config), Some(Duration::ZERO));
        for (temperature, heat, pause) in [
            ("69999", Heat::Cool, Some(0)),
            ("70000", Heat::Warm, Some(20)),
            ("66000", Heat::Warm, Some(20)),
            ("85000", Heat::Hot, None),
            ("81000", Heat::Hot, None),
            ("79000", Heat::Warm, Some(20)),
            ("64900", Heat::Cool, Some(0)),
            ("66000", Heat::Cool, Some(0)),
            ("120000", Heat::Hot, None),
            ("30000", Heat::Cool, Some(0)),
        ] {
            set(&root, 1, temperature);
            let reading = thermometer.read();
            assert_eq!((reading.heat, reading.pause(&config)), (heat, pause.map(Duration::from_secs)), "{temperature}");
        }
    }

    #[test]
    fn a_zone_that_is_not_there_is_told_and_the_others_count() {
        let config = Thermal { zones: vec![zone("cpu-thermal"), zone("gpu-thermal")], ..Thermal::default() };
        let root = machine(&[("cpu-thermal", "71000"), ("gpu-thermal", "-256000")]);
        let mut thermometer = Thermometer::under(&config, root.path());
        let reading = thermometer.read();
        assert_eq!((reading.heat, &reading.missing[..]), (Heat::Warm, &["gpu-thermal".to_owned()][..]));
        set(&root, 1, "80000");
        let reading = thermometer.read();
        assert_eq!(
            (reading.missing.len(), reading.hottest.unwrap().0),
            (0, "gpu-thermal".into()),
            "the one nearest to its limit"
        );
        let none = Thermometer::under(&config, &root.path().join("nowhere")).read();
        assert_eq!((none.heat, none.hottest, none.missing.len()), (Heat::Cool, None, 2));
    }

    #[test]
    fn when_nothing_can_be_read_any_more_it_stays_as_hot_as_it_was() {
        let config = Thermal { zones: vec![zone("cpu-thermal")], ..Thermal::default() };
        let root = machine(&[("cpu-thermal", "90000")]);
        let mut thermometer = Thermometer::under(&config, root.path());
        assert_eq!(thermometer.read().heat, Heat::Hot);
        set(&root, 0, "");
        let reading = thermometer.read();
        assert_eq!((reading.heat, reading.missing.len()), (Heat::Hot, 1));
    }

    proptest! {
        #[test]
        fn it_is_never_cooler_than_its_limits_say_nor_hotter_than_it_was_without_cause(
            temperatures in proptest::collection::vec(proptest::collection::vec(20.0f32..110.0, 1..4), 1..30),
        ) {
            let zones = [zone("a"), zone("b"), zone("c")];
            let mut heat = Heat::Cool;
            for step in temperatures {
                let measured: Vec<(&Zone, f32)> = zones.iter().zip(step.iter().copied()).collect();
                let hottest = step.iter().copied().fold(0.0, f32::max);
                let at_least = if hottest >= 85.0 { Heat::Hot } else if hottest >= 70.0 { Heat::Warm } else { Heat::Cool };
                let after = next(heat, &measured, 5.0);
                prop_assert!(after >= at_least);
                prop_assert!(after == at_least || after <= heat);
                if hottest < 65.0 { prop_assert_eq!(after, Heat::Cool); }
                heat = after;
            }
        }
    }
}
