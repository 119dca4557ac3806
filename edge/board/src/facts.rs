//! What the machine at hand has, as far as a profile can ask for it.
//!
//! Everything but the GPIO chips' lines is read from files of the kernel, whose root can be another folder, so that a test can be
//! any machine. Nothing is opened for more than reading, and a file that is not there makes a fact that is not known.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::{panel, thermal};

/// The machine at hand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Its model: `/proc/device-tree/model`, on a PC what its firmware says.
    pub model: Option<String>,
    /// Processors that are at work.
    pub cores: Option<u16>,
    /// Memory, MiB.
    pub memory_mebibytes: Option<u64>,
    /// Thermal zones with their temperature, Celsius.
    pub zones: Vec<(String, Option<f32>)>,
    /// SPI devices, such as `/dev/spidev0.0`.
    pub spi: Vec<Device>,
    /// GPIO chips.
    pub chips: Vec<Chip>,
    /// Cards of DRM.
    pub cards: Vec<Device>,
    /// Their connectors, such as `HDMI-A-1`, and whether a monitor is there.
    pub connectors: Vec<(String, bool)>,
    /// Framebuffers.
    pub framebuffers: Vec<panel::Found>,
    /// Input devices by their names.
    pub inputs: Vec<(String, Device)>,
}

/// A file in `/dev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The file.
    pub path: PathBuf,
    /// Whether it is there, and this user may read and write it.
    pub usable: bool,
}

/// A GPIO chip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chip {
    /// Such as `gpiochip0`.
    pub name: String,
    /// What its driver calls it; empty where it could not be opened.
    pub label: String,
    /// How many lines it has.
    pub count: u32,
    /// Their names; empty for a line without one.
    pub lines: Vec<String>,
    /// Whether it could be opened.
    pub usable: bool,
}

impl Facts {
    /// Of this machine.
    pub fn of_this_machine() -> Self {
        Self { chips: chips(), ..Self::read(Path::new("/")) }
    }

    /// From the files under `root`; of GPIO chips only the names.
    pub fn read(root: &Path) -> Self {
        let text = |file: &str| {
            let text = std::fs::read_to_string(root.join(file)).ok()?;
            // The device tree ends its strings with a zero.
            Some(text.trim_matches(['\0', '\n', ' ']).to_owned()).filter(|text| !text.is_empty())
        };
        let model = text("proc/device-tree/model").or_else(|| text("sys/class/dmi/id/product_name"));
        let cores = text("sys/devices/system/cpu/online").and_then(|list| count(&list));
        let memory = text("proc/meminfo").and_then(|info| {
            let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kibibytes / 1024)
        });
        let zones = thermal::found(root).into_iter().map(|zone| (zone.name, thermal::celsius(&zone.file)));
        let device = |name: &str| {
            let path = root.join("dev").join(name);
            let usable = access(&path, Access::READ_OK | Access::WRITE_OK).is_ok();
            Device { path, usable }
        };
        let drm = names(root, "sys/class/drm");
        let connectors = drm.iter().filter_map(|name| {
            let (_, connector) = name.strip_prefix("card")?.split_once('-')?;
            let status = text(&format!("sys/class/drm/{name}/status"))?;
            Some((connector.to_owned(), status == "connected"))
        });
        let is_card = |name: &&String| {
            name.strip_prefix("card")
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        };
        let inputs = names(root, "sys/class/input").into_iter().filter(|name| name.starts_with("event"));
        let inputs = inputs.filter_map(|event| {
            let name = text(&format!("sys/class/input/{event}/device/name"))?;
            Some((name, device(&format!("input/{event}"))))
        });
        let chips = names(root, "sys/bus/gpio/devices").into_iter().map(|name| Chip { name, ..Chip::default() });
        Self {
            model,
            cores,
            memory_mebibytes: memory,
            zones: zones.collect(),
            spi: names(root, "sys/class/spidev").iter().map(|name| device(name)).collect(),
            chips: chips.collect(),
            cards: drm.iter().filter(is_card).map(|name| device(&format!("dri/{name}"))).collect(),
            connectors: connectors.collect(),
            framebuffers: panel::found(root),
            inputs: inputs.collect(),
        }
    }
}

/// The names in a folder, in order; none where there is no such folder.
fn names(root: &Path, folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else { return vec![] };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// How many a list of the kernel has, such as `0-3,5`.
fn count(list: &str) -> Option<u16> {
    let mut all = 0u16;
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        all = all.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(all)
}

/// The GPIO chips with their lines, by the kernel's own interface.
fn chips() -> Vec<Chip> {
    let paths = gpiocdev::chip::chips().unwrap_or_default();
    let of = |path: PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let Ok(chip) = gpiocdev::chip::Chip::from_path(&path) else { return Chip { name, ..Chip::default() } };
        let Ok(info) = chip.info() else { return Chip { name, ..Chip::default() } };
        let line = |offset| chip.line_info(offset).map(|line| line.name).unwrap_or_default();
        Chip {
            name,
            label: info.label,
            count: info.num_lines,
            lines: (0..info.num_lines).map(line).collect(),
            usable: true,
        }
    };
    paths.into_iter().map(of).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_machine_s_files_are_read() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0");
        write("proc/meminfo", "MemTotal:        8256736 kB\nMemFree: 1 kB\n");
        write("sys/devices/system/cpu/online", "0-3\n");
        write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        write("sys/class/thermal/thermal_zone0/temp", "51200\n");
        write("sys/class/spidev/spidev0.0/uevent", "");
        write("dev/spidev0.0", "");
        write("sys/bus/gpio/devices/gpiochip0/uevent", "");
        write("sys/class/drm/card0/uevent", "");
        write("sys/class/drm/card0-HDMI-A-1/status", "connected\n");
        write("sys/class/drm/card0-HDMI-A-2/status", "disconnected\n");
        write("sys/class/drm/version", "drm\n");
        write("sys/class/input/event0/device/name", "ADS7846 Touchscreen\n");
        write("sys/class/input/mouse0/device/name", "A mouse\n");
        let facts = Facts::read(root.path());
        assert_eq!(facts.model.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
        assert_eq!((facts.cores, facts.memory_mebibytes), (Some(4), Some(8063)));
        assert_eq!(facts.zones, [("cpu-thermal".into(), Some(51.2))]);
        assert_eq!(facts.spi, [Device { path: root.path().join("dev/spidev0.0"), usable: true }]);
        assert_eq!(facts.cards, [Device { path: root.path().join("dev/dri/card0"), usable: false }], "no such file");
        assert_eq!(facts.connectors, [("HDMI-A-1".into(), true), ("HDMI-A-2".into(), false)]);
        assert_eq!((facts.inputs.len(), &*facts.inputs[0].0), (1, "ADS7846 Touchscreen"));
        assert_eq!(facts.chips[0].name, "gpiochip0");
        assert_eq!(Facts::read(&root.path().join("nowhere")), Facts::default());
    }

    #[test]
    fn this_machine_has_processors_and_memory() {
        let facts = Facts::of_this_machine();
        assert!(
            facts.cores.is_some_and(|cores| cores > 0) && facts.memory_mebibytes.is_some_and(|memory| memory > 100)
        );
    }

    proptest! {
        #[test]
        fn lists_of_the_kernel_are_counted(first in 0u16..100, more in 0u16..100, single in 300u16..400) {
            prop_assert_eq!(count(&format!("{first}-{},{single}", first + more)), Some(more + 2));
        }

        #[test]
        fn any_list_is_counted_or_not(list in "[-0-9, a]{0,20}") {
            let _ = count(&list);
        }
    }
}
