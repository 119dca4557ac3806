//! Every board of `boards/`: its profile is taken, its unit's part agrees with it, and its drawing and table are those of its pins.
//!
//! `THORAX_UPDATE_WIRING=1 cargo test --release -p thorax-board --test boards` writes drawings and tables anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panic")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use thorax_board::{
    check::{State, check},
    config::{Panel, Tables},
    facts::{Chip, Device, Facts},
    panel, wiring,
};

/// Each board's folder with its tables.
fn boards() -> Vec<(PathBuf, Tables)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../boards");
    let folders = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    folders.sort();
    let boards: Vec<(PathBuf, Tables)> = folders
        .into_iter()
        .map(|folder| {
            let text = fs::read_to_string(folder.join("profile.toml")).expect("every board has a profile");
            let tables: Tables = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            tables.check().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            (folder, tables)
        })
        .collect();
    assert_eq!(boards.len(), 6);
    boards
}

fn name(folder: &Path) -> &str {
    folder.file_name().unwrap().to_str().unwrap()
}

/// Whether the profile is for one kind of board, whose pins and heat are known, or for whatever machine there is.
fn is_of_one_board(folder: &Path) -> bool {
    !["desktop", "uefi-arm64"].contains(&name(folder))
}

/// Compares a file with what it should be, or writes it.
fn is_generated(file: &Path, expected: &str) {
    if std::env::var_os("THORAX_UPDATE_WIRING").is_some() {
        fs::write(file, expected).unwrap();
    }
    let there = fs::read_to_string(file).unwrap_or_default();
    assert!(
        there == expected,
        "{} is not what its profile makes: THORAX_UPDATE_WIRING=1 cargo test -p thorax-board",
        file.display()
    );
}

#[test]
fn every_profile_says_what_its_board_is_and_how_hot_it_may_become() {
    for (folder, tables) in boards() {
        let board = tables.board.as_ref().unwrap();
        assert!(tables.executor.is_some(), "{}", name(&folder));
        if is_of_one_board(&folder) {
            assert!(
                tables.panel.is_some() && tables.buttons.is_some() && tables.thermal.is_some(),
                "{}",
                name(&folder)
            );
            assert!(!board.models.is_empty());
            assert!(
                tables.lines().iter().all(|(_, line)| line.pin.is_some()),
                "{}: every line is drawn",
                name(&folder)
            );
        }
    }
}

#[test]
fn a_unit_s_memory_and_devices_are_those_of_its_profile() {
    for (folder, tables) in boards() {
        let unit = fs::read_to_string(folder.join("unit.conf")).unwrap();
        let has = |line: &str| unit.lines().any(|there| there == line);
        let board = tables.board.as_ref().unwrap();
        assert!(has(&format!("MemoryMax={}M", board.memory_budget_mebibytes)), "{}", name(&folder));
        let spi = matches!(tables.panel, Some(Panel::Spi(_)));
        assert_eq!(spi, has("DeviceAllow=char-spi rw"), "{}", name(&folder));
        assert_eq!(!tables.lines().is_empty(), has("DeviceAllow=char-gpiochip rw"), "{}", name(&folder));
        let drm = matches!(tables.panel, Some(Panel::Drm(_)));
        assert_eq!(drm, has("DeviceAllow=char-drm rw"), "{}", name(&folder));
        let devices = spi || drm || !tables.lines().is_empty();
        assert_eq!(devices, has("PrivateDevices=no") && has("DevicePolicy=closed"), "{}", name(&folder));
    }
}

#[test]
fn drawings_and_tables_are_those_of_the_pins() {
    for (folder, tables) in boards() {
        let Some(svg) = wiring::svg(&tables) else {
            assert!(!is_of_one_board(&folder), "{}: a board without pins", name(&folder));
            assert!(!folder.join("wiring.svg").exists());
            continue;
        };
        is_generated(&folder.join("wiring.svg"), &svg);
        let cost = panel::cost(tables.panel.as_ref().unwrap());
        let Some(Panel::Spi(spi)) = &tables.panel else { panic!() };
        let said = format!(
            "{}\nA whole picture has {} bytes on the bus: at most {:.1} pictures a second at {} MHz. Only what changed is sent.\n",
            wiring::table(&tables).unwrap(),
            cost.bytes,
            cost.frames_a_second.unwrap(),
            f64::from(spi.clock_hertz) / 1e6,
        );
        let file = folder.join("README.md");
        let readme = fs::read_to_string(&file).unwrap();
        let (before, rest) = readme.split_once("<!-- wiring -->\n").unwrap();
        let (_, after) = rest.split_once("<!-- /wiring -->").unwrap();
        is_generated(&file, &format!("{before}<!-- wiring -->\n{said}<!-- /wiring -->{after}"));
        assert!(readme.contains("Nothing of this was tried"), "{}", name(&folder));
    }
}

/// A machine that has what a profile asks for.
fn machine(tables: &Tables) -> Facts {
    let device = |path: &Path| Device { path: path.to_owned(), usable: true };
    let board = tables.board.as_ref().unwrap();
    let mut chips: Vec<Chip> = vec![];
    for (_, line) in tables.lines() {
        let label = line.chip.clone().unwrap();
        let index = chips.iter().position(|chip| chip.label == label).unwrap_or_else(|| {
            chips.push(Chip { name: "gpiochip0".into(), label, count: 256, lines: vec![], usable: true });
            chips.len() - 1
        });
        chips[index].lines.extend(line.name.clone());
    }
    Facts {
        model: board.models.first().map(|model| format!("NVIDIA {model} Developer Kit")),
        cores: Some(board.cores),
        memory_mebibytes: Some(2 * board.memory_budget_mebibytes),
        zones: tables
            .thermal
            .iter()
            .flat_map(|thermal| &thermal.zones)
            .map(|zone| (zone.name.clone(), Some(40.0)))
            .collect(),
        spi: match &tables.panel {
            Some(Panel::Spi(spi)) => vec![device(&spi.device)],
            _ => vec![],
        },
        chips,
        cards: match &tables.panel {
            Some(Panel::Drm(_)) => vec![device(Path::new("/dev/dri/card0"))],
            _ => vec![],
        },
        connectors: match &tables.panel {
            Some(Panel::Drm(_)) => vec![("HDMI-A-1".into(), true)],
            _ => vec![],
        },
        ..Facts::default()
    }
}

#[test]
fn on_its_own_machine_nothing_is_missing_and_on_another_something_is() {
    let boards = boards();
    for (folder, tables) in &boards {
        let own = check(tables, &machine(tables));
        assert!(own.iter().all(|item| item.state == State::Has), "{}: {own:#?}", name(folder));
        for (other, of_other) in boards.iter().filter(|(other, _)| other != folder) {
            let items = check(tables, &machine(of_other));
            let complete = items.iter().all(|item| item.state == State::Has);
            assert_eq!(complete, name(folder) == "desktop", "{} on {}: {items:#?}", name(folder), name(other));
            assert!(items.iter().all(|item| item.remedy.is_some() != (item.state == State::Has)));
        }
    }
}

#[test]
fn a_profile_with_a_typo_is_refused_with_its_line() {
    for (folder, _) in boards() {
        let text = fs::read_to_string(folder.join("profile.toml")).unwrap();
        let line = text.lines().position(|line| line.starts_with("cores")).unwrap() + 1;
        let error = toml::from_str::<Tables>(&text.replacen("cores", "kores", 1)).unwrap_err().to_string();
        assert!(error.contains(&format!("line {line}")) && error.contains("unknown field `kores`"), "{error}");
    }
}
