//! A profile's pins, drawn.
//!
//! The drawing comes from the same lines that the program opens, so it cannot say anything else: `boards/*/wiring.svg` are written
//! and compared by the test `tests/boards.rs`. It shows the 40-pin header as one looks at the board with pin 1 in the upper left
//! corner, which the Raspberry Pi and the Jetsons have in common in power, ground and the first SPI bus.

use std::fmt::Write as _;

use crate::config::{POWER_PINS, Panel, SPI_PINS, Tables};

/// What a pin is for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Use {
    /// The part at the other end.
    part: &'static str,
    /// How the part's own pin is called.
    label: &'static str,
    /// The line, where it is one.
    line: String,
    colour: &'static str,
}

const PANEL: &str = "#1b5e9e";
const BUTTON: &str = "#8a4b08";
const SUPPLY: &str = "#a3122a";
const GROUND: &str = "#222222";

/// How much room a label has beside the header, and where that begins, in units of the drawing.
const LEFT: i32 = 470;

/// What each pin of the header is for, by number; `None` where no wire goes.
fn uses(tables: &Tables) -> [Option<Use>; 41] {
    let mut uses: [Option<Use>; 41] = [const { None }; 41];
    let of = |part, label, line: String, colour| Some(Use { part, label, line, colour });
    if let Some(Panel::Spi(spi)) = &tables.panel {
        let second = spi.device.to_str().is_some_and(|device| device.ends_with(".1"));
        let select = if second { (26, "CS", "chip select 1") } else { (24, "CS", "chip select 0") };
        for (pin, label, line) in [(19, "SDA / MOSI", "SPI MOSI"), (23, "SCL / SCK", "SPI clock"), select] {
            uses[pin] = of("panel", label, line.into(), PANEL);
        }
        uses[17] = of("panel", "VCC", "3.3 V".into(), SUPPLY);
        uses[20] = of("panel", "GND", "ground".into(), GROUND);
        if spi.backlight.is_none() {
            uses[1] = of("panel", "BL / LED", "3.3 V: always lit".into(), SUPPLY);
        }
    }
    for (key, line) in tables.lines() {
        let Some(pin) = line.pin else { continue };
        let (part, label, colour) = match key {
            "panel.spi.data_command" => ("panel", "DC / RS", PANEL),
            "panel.spi.reset" => ("panel", "RST / RES", PANEL),
            "panel.spi.backlight" => ("panel", "BL / LED", PANEL),
            "buttons.up" => ("button", "up", BUTTON),
            "buttons.down" => ("button", "down", BUTTON),
            _ => ("button", "select", BUTTON),
        };
        let level = if part == "button" && line.active_low { "; pressed: ground" } else { "" };
        uses[usize::from(pin)] = of(part, label, format!("{}{level}", line.describe()), colour);
        if part == "button" {
            uses[39] = of("button", "other contact of each", "ground".into(), GROUND);
        }
    }
    uses
}

/// What a pin that carries power is called, the same on all boards with this header.
fn power(pin: u8) -> Option<&'static str> {
    match pin {
        1 | 17 => Some("3.3 V"),
        2 | 4 => Some("5 V"),
        _ => POWER_PINS.contains(&pin).then_some("ground"),
    }
}

/// The drawing, as SVG; `None` where the profile has no pins.
pub fn svg(tables: &Tables) -> Option<String> {
    let uses = uses(tables);
    if uses.iter().all(Option::is_none) {
        return None;
    }
    let name = tables.board.as_ref().map_or("Board", |board| board.name.as_str());
    const ROW: i32 = 24;
    const TOP: i32 = 64;
    let (width, height) = (2 * LEFT + 60, TOP + 20 * ROW + 60);
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"28\" font-size=\"18\" font-weight=\"bold\">{}: what is wired to the 40-pin header</text>\n\
         <text x=\"20\" y=\"48\">pin 1 is in the upper left corner; all signals are 3.3 V</text>\n\
         <rect x=\"{LEFT}\" y=\"{}\" width=\"60\" height=\"{}\" rx=\"4\" fill=\"#e8e8e8\" stroke=\"#555555\"/>",
        escaped(name),
        TOP - 4,
        20 * ROW + 8,
    );
    for pin in 1..=40u8 {
        let row = i32::from(pin - 1) / 2;
        let left = pin % 2 == 1;
        let x = LEFT + if left { 16 } else { 44 };
        let y = TOP + row * ROW + ROW / 2;
        let (fill, ink) = match (&uses[usize::from(pin)], power(pin)) {
            (Some(used), _) => (used.colour, "#ffffff"),
            (None, _) => ("#ffffff", "#555555"),
        };
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"10\" fill=\"{fill}\" stroke=\"#555555\"/><text x=\"{x}\" y=\"{}\" fill=\"{ink}\" \
             text-anchor=\"middle\" font-size=\"10\">{pin}</text>",
            y + 4,
        );
        let (edge, end, anchor, text) =
            if left { (LEFT, LEFT - 30, "end", LEFT - 36) } else { (LEFT + 60, LEFT + 90, "start", LEFT + 96) };
        if let Some(Use { part, label, line, colour }) = &uses[usize::from(pin)] {
            let _ = writeln!(
                svg,
                "<line x1=\"{edge}\" y1=\"{y}\" x2=\"{end}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
                 <text x=\"{text}\" y=\"{}\" text-anchor=\"{anchor}\" fill=\"{colour}\"><tspan font-weight=\"bold\">{part} \
                 {}</tspan> ({})</text>",
                y + 5,
                escaped(label),
                escaped(line),
            );
        } else if let Some(power) = power(pin) {
            let _ = writeln!(
                svg,
                "<text x=\"{text}\" y=\"{}\" text-anchor=\"{anchor}\" fill=\"#888888\" font-size=\"11\">{power}</text>",
                y + 4,
            );
        } else if SPI_PINS.contains(&pin) {
            let _ = writeln!(
                svg,
                "<text x=\"{text}\" y=\"{}\" text-anchor=\"{anchor}\" fill=\"#888888\" font-size=\"11\">SPI MISO, not \
                 needed</text>",
                y + 4,
            );
        }
    }
    let _ = writeln!(
        svg,
        "<text x=\"20\" y=\"{}\" font-size=\"11\" fill=\"#555555\">drawn from profile.toml by thorax-board; do not edit</text>\n</svg>",
        height - 16,
    );
    Some(svg)
}

/// The same as a table of Markdown, for those who cannot see the drawing; `None` where the profile has no pins.
pub fn table(tables: &Tables) -> Option<String> {
    let uses = uses(tables);
    if uses.iter().all(Option::is_none) {
        return None;
    }
    let mut table = String::from("| pin | to | is |\n|---|---|---|\n");
    for (pin, used) in uses.iter().enumerate() {
        if let Some(Use { part, label, line, .. }) = used {
            let _ = writeln!(table, "| {pin} | {part}: {label} | {line} |");
        }
    }
    Some(table)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_wire_of_a_profile_is_in_drawing_and_table() {
        let text = r#"
[board]
name = "A <board>"
cores = 1
memory_budget_mebibytes = 512
[panel.spi]
controller = "ili9341"
device = "/dev/spidev0.1"
data_command = { pin = 22, name = "GPIO25" }
[buttons]
up = { pin = 29, name = "GPIO5", active_low = true }
down = { pin = 31, name = "GPIO6" }
select = { pin = 32, name = "GPIO12" }
"#;
        let tables: Tables = toml::from_str(text).unwrap();
        tables.check().unwrap();
        let table = table(&tables).unwrap();
        for row in [
            "| 22 | panel: DC / RS | GPIO25 |",
            "| 26 | panel: CS | chip select 1 |",
            "| 19 | panel: SDA / MOSI | SPI MOSI |",
            "| 29 | button: up | GPIO5; pressed: ground |",
            "| 1 | panel: BL / LED | 3.3 V: always lit |",
            "| 39 | button: other contact of each | ground |",
        ] {
            assert!(table.contains(row), "{row}\n{table}");
        }
        let svg = svg(&tables).unwrap();
        assert!(svg.contains("A &lt;board&gt;") && svg.contains("GPIO25") && !svg.contains("A <board>"));
        // A letter is 8 of the drawing's units wide at most, on average.
        let rows = table.lines().skip(2).map(|row| row.chars().count());
        assert!(rows.max().unwrap() * 8 < LEFT as usize);
        assert_eq!(svg.matches("<line ").count(), table.lines().count() - 2, "a wire for each row");
        assert!(super::svg(&Tables::default()).is_none() && super::table(&Tables::default()).is_none());
    }
}
