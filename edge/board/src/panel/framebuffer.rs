//! Panels that the kernel drives as an old framebuffer, found by name.
//!
//! A small panel is `fb0` or `fb1`, as the kernel found it before or after HDMI, so the profile names its driver (`fb_ili9341`,
//! `ili9341drmfb`). Stride and bits a pixel are the kernel's (`/sys/class/graphics/fb*`), for rows are often longer than the glass is
//! wide. The order of the colours is in no file there; the usual one is taken unless the profile says `bgr`.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use embedded_graphics::{prelude::*, primitives::Rectangle};
use thorax_screen::Framebuffer;

use super::{Surface, pixels::Format, place::Place};
use crate::{
    config::{ColourOrder, LinuxFramebuffer},
    error::BoardError,
};

/// A framebuffer of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its device, such as `/dev/fb0`.
    pub device: PathBuf,
    /// What its driver calls it.
    pub name: String,
    /// Columns and rows.
    pub size: [u32; 2],
    /// From the beginning of a row to that of the next, bytes.
    pub stride_bytes: usize,
    /// Bits of a pixel.
    pub bits_a_pixel: u32,
}

/// All framebuffers of the machine whose files lie under `root` (`/`), by their numbers. One whose files make no sense is left out.
pub fn found(root: &Path) -> Vec<Found> {
    let Ok(entries) = std::fs::read_dir(root.join("sys/class/graphics")) else { return vec![] };
    let mut all: Vec<(u32, Found)> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix("fb")?.parse().ok()?;
            Some((number, one(root, &entry.path(), number)?))
        })
        .collect();
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, found)| found).collect()
}

fn one(root: &Path, folder: &Path, number: u32) -> Option<Found> {
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok().map(|text| text.trim().to_owned());
    let size = text("virtual_size")?;
    let (width, height) = size.split_once(',')?;
    // What is shown may be less than what there is, where two pictures lie behind each other: the mode's size goes first.
    let mode = text("modes").and_then(|modes| {
        let (_, mode) = modes.lines().next()?.split_once(':')?;
        let (width, height) = mode.split_once('x')?;
        let height: String = height.chars().take_while(char::is_ascii_digit).collect();
        Some([width.parse().ok()?, height.parse().ok()?])
    });
    let size = mode.unwrap_or([width.parse().ok()?, height.parse().ok()?]);
    let bits_a_pixel: u32 = text("bits_per_pixel")?.parse().ok()?;
    let stride_bytes: usize = text("stride")?.parse().ok()?;
    let fits = size.iter().all(|side| (1..=16_384).contains(side))
        && stride_bytes <= 1 << 20
        && stride_bytes >= size[0] as usize * bits_a_pixel as usize / 8;
    fits.then_some(Found {
        device: root.join(format!("dev/fb{number}")),
        name: text("name")?,
        size,
        stride_bytes,
        bits_a_pixel,
    })
}

/// A framebuffer that is open.
pub(super) struct Device {
    file: File,
    path: PathBuf,
    place: Place,
    format: Format,
    order: ColourOrder,
    stride: usize,
}

impl Device {
    pub(super) fn open(config: &LinuxFramebuffer) -> Result<Self, BoardError> {
        Self::open_under(config, Path::new("/"))
    }

    fn open_under(config: &LinuxFramebuffer, root: &Path) -> Result<Self, BoardError> {
        let all = found(root);
        let names = || all.iter().map(|found| format!("{:?}", found.name)).collect::<Vec<_>>().join(", ");
        let found = all.iter().find(|found| found.name == config.name).ok_or_else(|| BoardError::Missing {
            what: format!("framebuffer {:?}", config.name),
            there: names(),
            remedy: "name one that is there, or enable the panel's driver (boards/README.md)",
        })?;
        let unusable = |cause: String| BoardError::Device {
            what: found.device.display().to_string(),
            cause,
            remedy: "choose a smaller `drawn`, or another panel",
        };
        let format = Format::of_bits(found.bits_a_pixel)
            .ok_or_else(|| unusable(format!("{} bits a pixel are not known", found.bits_a_pixel)))?;
        let [width, height] = config.drawn.0;
        let [columns, rows] = found.size;
        let place = Place::new(Size::new(width.into(), height.into()), config.rotation, Size::new(columns, rows))
            .ok_or_else(|| unusable(format!("has {columns} x {rows} pixels, and {width} x {height} are drawn")))?;
        let failed = |cause: std::io::Error| BoardError::Device {
            what: found.device.display().to_string(),
            cause: cause.to_string(),
            remedy: "the service's user has to be in the group `video`",
        };
        let file = OpenOptions::new().write(true).open(&found.device).map_err(failed)?;
        // What the console left there.
        file.write_all_at(&vec![0; found.stride_bytes * rows as usize], 0).map_err(failed)?;
        Ok(Self {
            file,
            path: found.device.clone(),
            place,
            format,
            order: config.colour_order,
            stride: found.stride_bytes,
        })
    }
}

impl Surface for Device {
    fn show(&mut self, picture: &Framebuffer, changed: &[Rectangle]) -> Result<usize, BoardError> {
        let mut sent = 0;
        for part in changed {
            let rows = self.place.rows(picture.pixels(), *part, self.format, self.order);
            for (at, bytes) in rows.placed(self.format, self.stride) {
                self.file.write_all_at(bytes, at as u64).map_err(|cause| BoardError::Device {
                    what: self.path.display().to_string(),
                    cause: cause.to_string(),
                    remedy: "see the kernel's log (`dmesg`)",
                })?;
            }
            sent += rows.bytes.len();
        }
        Ok(sent)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use embedded_graphics::pixelcolor::Rgb565;
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Drawn, Rotation};

    /// A machine with framebuffers of name, size, bits and stride.
    fn machine(all: &[(&str, &str, &str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (number, (name, size, bits, stride)) in all.iter().enumerate() {
            let folder = root.path().join(format!("sys/class/graphics/fb{number}"));
            std::fs::create_dir_all(&folder).unwrap();
            for (file, text) in [("name", name), ("virtual_size", size), ("bits_per_pixel", bits), ("stride", stride)] {
                std::fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
            std::fs::create_dir_all(root.path().join("dev")).unwrap();
            std::fs::write(root.path().join(format!("dev/fb{number}")), [7; 16]).unwrap();
        }
        std::fs::create_dir_all(root.path().join("sys/class/graphics/fbcon")).unwrap();
        root
    }

    fn config(name: &str, drawn: [u16; 2]) -> LinuxFramebuffer {
        LinuxFramebuffer {
            name: name.into(),
            drawn: Drawn(drawn),
            rotation: Rotation::None,
            colour_order: ColourOrder::Rgb,
        }
    }

    #[test]
    fn it_is_found_by_name_and_written_at_its_stride() {
        let root = machine(&[("vc4drmfb", "1920,1080", "32", "7680"), ("fb_ili9341", "4,2", "16", "10")]);
        let mut device = Device::open_under(&config("fb_ili9341", [4, 2]), root.path()).unwrap();
        let file = root.path().join("dev/fb1");
        assert_eq!(std::fs::read(&file).unwrap()[..16], [0; 16], "the console is wiped");
        let mut picture = Framebuffer::new(Size::new(4, 2));
        let part = Rectangle::new(Point::new(3, 0), Size::new(1, 2));
        picture.fill_solid(&part, Rgb565::RED).unwrap();
        assert_eq!(device.show(&picture, &[part]).unwrap(), 4);
        let mut expected = vec![0; 20];
        expected[7] = 0xF8;
        expected[17] = 0xF8;
        assert_eq!(std::fs::read(&file).unwrap(), expected);
        assert_eq!(std::fs::read(root.path().join("dev/fb0")).unwrap(), [7; 16], "the other one is left alone");
    }

    #[test]
    fn two_pictures_behind_each_other_count_as_one() {
        let root = machine(&[("simple", "640,960", "32", "2560")]);
        std::fs::write(root.path().join("sys/class/graphics/fb0/modes"), "U:640x480p-75\n").unwrap();
        assert_eq!(found(root.path())[0].size, [640, 480]);
    }

    #[test]
    fn what_is_not_there_or_cannot_be_used_is_told() {
        let root =
            machine(&[("eight", "800,480", "8", "800"), ("small", "320,240", "24", "960"), ("lies", "9,9", "32", "8")]);
        let told = |name, drawn| Device::open_under(&config(name, drawn), root.path()).err().unwrap().to_string();
        let missing = told("other", [240, 240]);
        assert!(missing.contains("\"eight\", \"small\"") && !missing.contains("lies"), "{missing}");
        assert!(told("eight", [240, 240]).contains("8 bits a pixel"));
        assert!(told("small", [800, 480]).contains("has 320 x 240 pixels, and 800 x 480 are drawn"));
        std::fs::remove_file(root.path().join("dev/fb1")).unwrap();
        assert!(told("small", [240, 240]).contains("group `video`"));
        assert!(found(&root.path().join("nowhere")).is_empty());
    }

    proptest! {
        #[test]
        fn any_files_are_read_or_left_out(size in "[-0-9,x]{0,12}", bits in "[0-9]{0,10}", stride in "[-0-9]{0,20}", modes in "[A-Z:0-9xp-]{0,16}") {
            let root = machine(&[("x", &size, &bits, &stride)]);
            std::fs::write(root.path().join("sys/class/graphics/fb0/modes"), modes).unwrap();
            for one in found(root.path()) {
                prop_assert!(one.stride_bytes * 8 + 7 >= one.size[0] as usize * one.bits_a_pixel as usize);
            }
        }
    }
}
