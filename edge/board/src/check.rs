//! What of a profile the machine at hand has.
//!
//! [`check`] goes through the tables that tell the board, and gives a line for each thing that they ask for: whether it is there, what
//! was found, and what to do where it is not. Nothing is opened and nothing is driven.

use std::fmt;

use crate::{
    config::{Board, Buttons, Line, Panel, Tables, Touch},
    facts::{Chip, Device, Facts},
};

/// How a thing of the profile stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there.
    Has,
    /// Something else is there.
    Differs,
    /// It is not there.
    Lacks,
}

/// One thing that a profile asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key of the profile.
    pub key: &'static str,
    /// Whether it is there.
    pub state: State,
    /// What was asked for and what was found.
    pub finding: String,
    /// What to do about it; none where it is there.
    pub remedy: Option<&'static str>,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Has => "has    ",
            State::Differs => "differs",
            State::Lacks => "lacks  ",
        };
        write!(f, "{state}  {:<28} {}", self.key, self.finding)?;
        match self.remedy {
            Some(remedy) => write!(f, "\n{:39}{remedy}", ""),
            None => Ok(()),
        }
    }
}

/// Whether nothing is lacking or different.
pub fn is_complete(items: &[Item]) -> bool {
    items.iter().all(|item| item.state == State::Has)
}

/// Holds a profile's tables against a machine.
pub fn check(tables: &Tables, facts: &Facts) -> Vec<Item> {
    let mut items = Items(vec![]);
    if let Some(board) = &tables.board {
        items.board(board, facts);
    }
    if let Some(panel) = &tables.panel {
        items.panel(panel, facts);
    }
    for (key, line) in tables.lines() {
        items.line(key, line, facts);
    }
    if let Some(Buttons { keyboard: Some(name), .. }) = &tables.buttons {
        items.input("buttons.keyboard", name, facts);
    }
    if let Some(Touch { device, .. }) = &tables.touch {
        items.input("touch.device", device, facts);
    }
    if let Some(thermal) = &tables.thermal {
        for zone in &thermal.zones {
            let found = facts.zones.iter().find(|(name, _)| *name == zone.name);
            match found {
                Some((name, Some(celsius))) => items.has(
                    "thermal.zones",
                    format!(
                        "{name}: {celsius:.1} C, slower from {} C, stops at {} C",
                        zone.warm_celsius, zone.hot_celsius
                    ),
                ),
                Some((name, None)) => items.lacks(
                    "thermal.zones",
                    format!("{name}: its temperature cannot be read"),
                    "name another zone of the same part, or leave this one out",
                ),
                None => {
                    let there = list(facts.zones.iter().map(|(name, _)| name.as_str()));
                    items.lacks(
                        "thermal.zones",
                        format!("{}: there is none of this type, but {there}", zone.name),
                        "name one of these; without any the board cannot slow down when it is hot",
                    );
                }
            }
        }
    }
    if let Some(executor) = &tables.executor {
        let threads = executor.threads;
        match facts.cores {
            Some(cores) if threads <= cores.into() => {
                items.has("executor.threads", format!("{threads} on {cores} processors"))
            }
            Some(cores) => items.differs(
                "executor.threads",
                format!("{threads} on {cores} processors"),
                "tell fewer threads; more than there are processors make it slower",
            ),
            None => items.lacks("executor.threads", "the number of processors is not known".into(), SYSFS),
        }
    }
    items.0
}

const SYSFS: &str = "mount /proc and /sys";
const SPI: &str = "enable the SPI bus (boards/README.md: jetson-io, dtparam=spi=on), and load `spidev`";
const GROUP: &str = "put the service's user into the device's group, or install the package's udev rules";

struct Items(Vec<Item>);

impl Items {
    fn has(&mut self, key: &'static str, finding: String) {
        self.0.push(Item { key, state: State::Has, finding, remedy: None });
    }

    fn differs(&mut self, key: &'static str, finding: String, remedy: &'static str) {
        self.0.push(Item { key, state: State::Differs, finding, remedy: Some(remedy) });
    }

    fn lacks(&mut self, key: &'static str, finding: String, remedy: &'static str) {
        self.0.push(Item { key, state: State::Lacks, finding, remedy: Some(remedy) });
    }

    fn board(&mut self, board: &Board, facts: &Facts) {
        match &facts.model {
            Some(model) if board.models.is_empty() || board.models.iter().any(|known| model.contains(known)) => {
                self.has("board.models", format!("this is a {model}"));
            }
            Some(model) => self.differs(
                "board.models",
                format!("this is a {model}, and the profile is of {}", list(board.models.iter().map(String::as_str))),
                "choose the board's own profile; pins and zones of another one do harm",
            ),
            None if board.models.is_empty() => self.has("board.models", "any".into()),
            None => self.lacks(
                "board.models",
                "the machine does not say what it is".into(),
                "see for yourself that it is the board",
            ),
        }
        let cores = board.cores;
        match facts.cores {
            Some(found) if found >= cores => {
                self.has("board.cores", format!("{found}, of which {cores} are asked for"))
            }
            Some(found) => self.differs(
                "board.cores",
                format!("{found}, and {cores} are asked for"),
                "choose a power mode with all processors (Jetson: nvpmodel), or correct the profile",
            ),
            None => self.lacks("board.cores", "the number of processors is not known".into(), SYSFS),
        }
        let budget = board.memory_budget_mebibytes;
        match facts.memory_mebibytes {
            Some(found) if found >= budget => {
                self.has("board.memory_budget_mebibytes", format!("{found} MiB, of which {budget} may be taken"));
            }
            Some(found) => self.differs(
                "board.memory_budget_mebibytes",
                format!("{found} MiB, and {budget} may be taken"),
                "correct the profile, and the unit's MemoryMax with it",
            ),
            None => self.lacks("board.memory_budget_mebibytes", "the memory is not known".into(), SYSFS),
        }
    }

    fn panel(&mut self, panel: &Panel, facts: &Facts) {
        match panel {
            Panel::Spi(spi) => {
                let found = facts.spi.iter().find(|device| device.path == spi.device);
                let there = list(facts.spi.iter().filter_map(|device| device.path.to_str()));
                self.device("panel.spi.device", &spi.device.display().to_string(), found, &there, SPI);
            }
            Panel::Drm(drm) => {
                const MONITOR: &str = "connect the monitor, or enable the display's driver";
                let cards = || list(facts.cards.iter().filter_map(|card| card.path.to_str()));
                match &drm.card {
                    Some(card) => {
                        let found = facts.cards.iter().find(|device| device.path == *card);
                        self.device("panel.drm.card", &card.display().to_string(), found, &cards(), MONITOR);
                    }
                    None => {
                        let found = facts.cards.iter().find(|card| card.usable).or(facts.cards.first());
                        self.device("panel.drm.card", "a card of DRM", found, "none", MONITOR);
                    }
                }
                let there = facts.connectors.iter().map(|(name, connected)| {
                    if *connected { format!("{name} (connected)") } else { format!("{name} (nothing)") }
                });
                let there = there.collect::<Vec<_>>();
                let there = list(there.iter().map(String::as_str));
                let fits = |name: &str| drm.connector.as_ref().is_none_or(|wanted| wanted == name);
                match facts.connectors.iter().find(|(name, connected)| *connected && fits(name)) {
                    Some((name, _)) => self.has("panel.drm.connector", format!("a monitor at {name}")),
                    None => {
                        let wanted = drm.connector.as_deref().unwrap_or("any connector");
                        self.lacks("panel.drm.connector", format!("no monitor at {wanted}; there is {there}"), MONITOR);
                    }
                }
            }
            Panel::Framebuffer(framebuffer) => {
                let found = facts.framebuffers.iter().find(|found| found.name == framebuffer.name);
                match found {
                    Some(found) => self.has(
                        "panel.framebuffer.name",
                        format!(
                            "{} is {}: {} x {}, {} bits, {} bytes a row",
                            found.name,
                            found.device.display(),
                            found.size[0],
                            found.size[1],
                            found.bits_a_pixel,
                            found.stride_bytes
                        ),
                    ),
                    None => {
                        let there = list(facts.framebuffers.iter().map(|found| found.name.as_str()));
                        self.lacks(
                            "panel.framebuffer.name",
                            format!("{}: there is none of this name, but {there}", framebuffer.name),
                            "enable the panel's driver, or name one of these",
                        );
                    }
                }
            }
            Panel::Png(png) => self.has("panel.png.file", png.file.display().to_string()),
            Panel::Window(_) => self.has("panel.window", "a window of the desktop".into()),
        }
    }

    fn device(&mut self, key: &'static str, wanted: &str, found: Option<&Device>, there: &str, remedy: &'static str) {
        match found {
            Some(Device { path, usable: true }) => self.has(key, path.display().to_string()),
            Some(Device { path, usable: false }) => {
                self.lacks(key, format!("{} is there, and this user may not use it", path.display()), GROUP);
            }
            None => self.lacks(key, format!("{wanted} is not there, but {there}"), remedy),
        }
    }

    fn line(&mut self, key: &'static str, line: &Line, facts: &Facts) {
        const WIRED: &str = "choose the board's own profile, or a kernel that names its lines";
        let fits = |chip: &&Chip| line.chip.as_ref().is_none_or(|wanted| *wanted == chip.label || *wanted == chip.name);
        let mut chips = facts.chips.iter().filter(fits);
        let has = |chip: &Chip| match (&line.name, line.offset) {
            (Some(name), _) => chip.lines.iter().any(|found| found == name),
            (None, offset) => offset.is_some_and(|offset| offset < chip.count),
        };
        if let Some(chip) = chips.find(|chip| has(chip)) {
            let pin = line.pin.map(|pin| format!(", pin {pin}")).unwrap_or_default();
            self.has(key, format!("{} ({} {}){pin}", line.describe(), chip.name, chip.label));
        } else if let Some(closed) = facts.chips.iter().find(|chip| !chip.usable) {
            self.lacks(key, format!("{}: {} may not be opened by this user", line.describe(), closed.name), GROUP);
        } else {
            let there = facts.chips.iter().map(|chip| chip.label.as_str());
            self.lacks(key, format!("{}: there is no such line; chips are {}", line.describe(), list(there)), WIRED);
        }
    }

    fn input(&mut self, key: &'static str, name: &str, facts: &Facts) {
        let found = facts.inputs.iter().find(|(found, _)| found.contains(name));
        let there = list(facts.inputs.iter().map(|(name, _)| name.as_str()));
        let device = found.map(|(_, device)| device);
        self.device(key, name, device, &there, "connect it, or enable its driver, or name another device");
    }
}

/// Things one after the other, or that there is none.
fn list<'a>(things: impl Iterator<Item = &'a str>) -> String {
    let things: Vec<&str> = things.collect();
    if things.is_empty() { "nothing of the kind".into() } else { things.join(", ") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"
[board]
name = "A board"
models = ["Model A"]
cores = 4
memory_budget_mebibytes = 1024
[panel.spi]
controller = "ili9341"
device = "/dev/spidev0.0"
data_command = { pin = 22, name = "GPIO25", chip = "pinctrl" }
reset = { pin = 18, chip = "pinctrl", offset = 1 }
[buttons]
keyboard = "Keys"
[touch]
device = "ADS7846"
[thermal]
zones = [{ name = "cpu-thermal", warm_celsius = 70.0, hot_celsius = 80.0 }]
[executor]
threads = 4
"#;

    fn whole() -> Facts {
        let device = |path: &str| Device { path: path.into(), usable: true };
        let chip = |name: &str, label: &str, lines: &[&str]| Chip {
            name: name.into(),
            label: label.into(),
            count: lines.len() as u32,
            lines: lines.iter().map(|line| (*line).into()).collect(),
            usable: true,
        };
        Facts {
            model: Some("Model A Rev 2".into()),
            cores: Some(4),
            memory_mebibytes: Some(4000),
            zones: vec![("cpu-thermal".into(), Some(51.25))],
            spi: vec![device("/dev/spidev0.0"), device("/dev/spidev0.1")],
            // A line of the same name in another chip, which comes first.
            chips: vec![chip("gpiochip0", "expander", &["GPIO25"]), chip("gpiochip4", "pinctrl", &["GPIO25", ""])],
            inputs: vec![
                ("Two Keys".into(), device("/dev/input/event0")),
                ("ADS7846 Touch".into(), device("/dev/input/event1")),
            ],
            ..Facts::default()
        }
    }

    fn tables(text: &str) -> Tables {
        let tables: Tables = toml::from_str(text).unwrap();
        tables.check().unwrap();
        tables
    }

    #[test]
    fn a_board_that_has_everything_is_complete() {
        let items = check(&tables(PROFILE), &whole());
        let lines: Vec<String> = items.iter().map(Item::to_string).collect();
        assert!(is_complete(&items), "{lines:#?}");
        assert_eq!(items.len(), 10);
        assert!(lines.iter().any(|line| line.contains("GPIO25 of pinctrl (gpiochip4 pinctrl), pin 22")), "{lines:#?}");
        assert!(
            lines.iter().any(|line| line.contains("cpu-thermal: 51.2 C, slower from 70 C, stops at 80 C")),
            "{lines:#?}"
        );
    }

    /// A key, what happens to the machine, and what is told then.
    type Case = (&'static str, Box<dyn Fn(&mut Facts)>, State, Vec<&'static str>);

    #[test]
    fn each_thing_that_is_not_there_is_told_with_what_to_do() {
        let cases: Vec<Case> = vec![
            (
                "board.models",
                Box::new(|f| f.model = Some("Model B".into())),
                State::Differs,
                vec!["Model B", "own profile"],
            ),
            ("board.models", Box::new(|f| f.model = None), State::Lacks, vec!["does not say"]),
            ("board.cores", Box::new(|f| f.cores = Some(2)), State::Differs, vec!["2, and 4", "nvpmodel"]),
            ("executor.threads", Box::new(|f| f.cores = Some(2)), State::Differs, vec!["4 on 2"]),
            (
                "board.memory_budget_mebibytes",
                Box::new(|f| f.memory_mebibytes = Some(1000)),
                State::Differs,
                vec!["1000 MiB"],
            ),
            (
                "panel.spi.device",
                Box::new(|f| drop(f.spi.remove(0))),
                State::Lacks,
                vec!["/dev/spidev0.1", "jetson-io"],
            ),
            ("panel.spi.device", Box::new(|f| f.spi[0].usable = false), State::Lacks, vec!["may not use it", "group"]),
            (
                "panel.spi.data_command",
                Box::new(|f| drop(f.chips.remove(1))),
                State::Lacks,
                vec!["GPIO25 of pinctrl", "expander"],
            ),
            ("panel.spi.reset", Box::new(|f| f.chips[1].count = 1), State::Lacks, vec!["line 1"]),
            (
                "panel.spi.reset",
                Box::new(|f| f.chips[1] = Chip { name: "gpiochip4".into(), ..Chip::default() }),
                State::Lacks,
                vec!["gpiochip4 may not be opened"],
            ),
            ("buttons.keyboard", Box::new(|f| drop(f.inputs.remove(0))), State::Lacks, vec!["ADS7846 Touch"]),
            ("touch.device", Box::new(|f| f.inputs.clear()), State::Lacks, vec!["nothing of the kind"]),
            (
                "thermal.zones",
                Box::new(|f| f.zones[0].0 = "CPU-therm".into()),
                State::Lacks,
                vec!["but CPU-therm", "name one of these"],
            ),
            ("thermal.zones", Box::new(|f| f.zones[0].1 = None), State::Lacks, vec!["cannot be read"]),
        ];
        for (key, change, state, words) in cases {
            let mut facts = whole();
            change(&mut facts);
            let items = check(&tables(PROFILE), &facts);
            assert!(!is_complete(&items), "{key}");
            let item = items
                .iter()
                .find(|item| item.key == key && item.state != State::Has)
                .unwrap_or_else(|| panic!("{key}"));
            let told = item.to_string();
            assert!(
                item.state == state && item.remedy.is_some() && words.iter().all(|word| told.contains(word)),
                "{told}"
            );
        }
    }

    #[test]
    fn panels_that_the_kernel_drives_are_looked_for() {
        let mut facts = Facts {
            cards: vec![Device { path: "/dev/dri/card1".into(), usable: true }],
            connectors: vec![("HDMI-A-1".into(), false), ("DP-1".into(), true)],
            framebuffers: crate::panel::found(std::path::Path::new("/nowhere")),
            ..Facts::default()
        };
        let told = |text: &str, facts: &Facts| -> Vec<(State, String)> {
            check(&tables(text), facts).into_iter().map(|item| (item.state, item.to_string())).collect()
        };
        let all = told("[panel.drm]", &facts);
        assert!(all.iter().all(|(state, _)| *state == State::Has) && all[1].1.contains("DP-1"), "{all:?}");
        let other = told("[panel.drm]\nconnector = \"HDMI-A-1\"\ncard = \"/dev/dri/card0\"", &facts);
        assert!(other[0].1.contains("/dev/dri/card1") && other[1].1.contains("DP-1 (connected)"), "{other:?}");
        assert!(other.iter().all(|(state, _)| *state == State::Lacks));
        let framebuffer = "[panel.framebuffer]\nname = \"fb_ili9341\"";
        assert!(told(framebuffer, &facts)[0].1.contains("nothing of the kind"));
        facts.framebuffers = vec![crate::panel::Found {
            device: "/dev/fb1".into(),
            name: "fb_ili9341".into(),
            size: [320, 240],
            stride_bytes: 640,
            bits_a_pixel: 16,
        }];
        assert!(told(framebuffer, &facts)[0].1.contains("/dev/fb1: 320 x 240, 16 bits"));
        assert!(told("[panel.drm]", &Facts::default()).iter().all(|(state, _)| *state == State::Lacks));
        assert!(is_complete(&check(&tables("[panel.png]\nfile = \"a.png\""), &Facts::default())));
    }
}
