//! The shape of the sources: in no crate do two rooms import each other in a circle.
//!
//! A room is a module at the top of a crate, with all that lies in it. An arrow goes from a room to each other room that it
//! names by `crate::`, or by `super` up to the root of the crate; a name that the root hands on counts for the room it comes
//! from (unless by a glob). Tests, comments and strings do not count, and the root itself is no room.
//!
//! `cargo test --release -p thorax-tests --test structure -- --nocapture` prints each crate's rooms and arrows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// Rooms, and what each imports.
type Rooms = BTreeMap<String, BTreeSet<String>>;

/// The words of a source, without comments; a string or a character is one word.
fn words(source: &str) -> Vec<String> {
    let text: Vec<char> = source.chars().collect();
    let at = |i: usize| text.get(i).copied().unwrap_or('\0');
    let mut words: Vec<String> = vec![];
    let mut i = 0;
    while i < text.len() {
        let c = text[i];
        if c.is_whitespace() {
            i += 1;
        } else if c == '/' && at(i + 1) == '/' {
            while i < text.len() && text[i] != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            while i < text.len() {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 {
                    break;
                }
            }
        } else if c == '"' {
            i += 1;
            while i < text.len() && text[i] != '"' {
                i += if text[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
            words.push("\"\"".into());
        } else if c == '\'' {
            // A character, or a lifetime, which no second quote ends.
            if at(i + 1) == '\\' {
                i += 3;
                while i < text.len() && text[i] != '\'' {
                    i += 1;
                }
                i += 1;
            } else if at(i + 2) == '\'' {
                i += 3;
            } else {
                i += 1;
            }
            words.push("'".into());
        } else if c.is_alphanumeric() || c == '_' {
            let start = i;
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            let word: String = text[start..i].iter().collect();
            let mut hashes = 0;
            while matches!(word.as_str(), "r" | "br" | "cr") && at(i + hashes) == '#' {
                hashes += 1;
            }
            if matches!(word.as_str(), "r" | "br" | "cr") && at(i + hashes) == '"' {
                // A raw string, which ends with as many hashes as it began with.
                i += hashes + 1;
                let ends = |i: usize| text[i] == '"' && (1..=hashes).all(|n| at(i + n) == '#');
                while i < text.len() && !ends(i) {
                    i += 1;
                }
                i += hashes + 1;
                words.push("\"\"".into());
            } else {
                words.push(word);
            }
        } else if c == ':' && at(i + 1) == ':' {
            i += 2;
            words.push("::".into());
        } else {
            i += 1;
            words.push(c.into());
        }
    }
    words
}

/// The place behind the bracket that closes the one at `open`.
fn closed(words: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (i, word) in words.iter().enumerate().skip(open) {
        match word.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    words.len()
}

/// The words without what is compiled for tests alone.
fn without_tests(words: &[String]) -> Vec<String> {
    let mut kept = vec![];
    let mut i = 0;
    while i < words.len() {
        if words[i] != "#" || words.get(i + 1).is_none_or(|word| word != "[") {
            kept.push(words[i].clone());
            i += 1;
            continue;
        }
        let end = closed(words, i + 1);
        let attribute = &words[i + 2..end];
        let of_tests = attribute[0] == "test"
            || attribute[0] == "cfg" && attribute.iter().any(|w| w == "test") && !attribute.iter().any(|w| w == "not");
        i = end;
        if !of_tests {
            continue;
        }
        // Its item, behind further attributes: up to a semicolon, a comma, or the end of a block.
        while i < words.len() {
            match words[i].as_str() {
                "(" | "[" => i = closed(words, i),
                "{" => {
                    i = closed(words, i);
                    // `use a::{b};`
                    if words.get(i).is_some_and(|word| word == ";") {
                        i += 1;
                    }
                    break;
                }
                ";" | "," => {
                    i += 1;
                    break;
                }
                _ => i += 1,
            }
        }
    }
    kept
}

/// All paths that begin at `at`, and the place behind them: more than one where braces are.
fn paths(words: &[String], at: usize) -> (Vec<Vec<String>>, usize) {
    let mut path: Vec<String> = vec![];
    let mut i = at;
    loop {
        match words.get(i).map(String::as_str) {
            Some("{") => {
                let end = closed(words, i);
                let mut all = vec![];
                let mut j = i + 1;
                while j + 1 < end {
                    let (inner, next) = paths(words, j);
                    all.extend(inner.into_iter().map(|tail| [&path[..], &tail].concat()));
                    // `as name`, and the comma.
                    j = next.max(j);
                    while j + 1 < end && words[j] != "," {
                        j += 1;
                    }
                    j += 1;
                }
                return (all, end);
            }
            Some(word) if word == "*" || word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                path.push(word.to_owned());
                i += 1;
                // The name it goes by from here on, as its last word.
                if let [keyword, name, ..] = &words[i..]
                    && keyword == "as"
                {
                    path.push(name.clone());
                    return (vec![path], i + 2);
                }
            }
            _ => return (vec![path], i),
        }
        if words.get(i).is_none_or(|word| word != "::") {
            return (vec![path], i);
        }
        i += 1;
    }
}

/// A crate as it is read: the rooms of its root, the names that the root hands on, and the arrows.
#[derive(Default)]
struct Crate {
    handed_on: BTreeMap<String, String>,
    rooms: Rooms,
}

impl Crate {
    /// Reads from a root, `lib.rs` or `main.rs`.
    fn read(root: &Path) -> Self {
        let mut read = Self::default();
        let source = std::fs::read_to_string(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
        let words = without_tests(&words(&source));
        read.root(&words);
        read.module(&words, &[], root.parent().unwrap(), true);
        read
    }

    /// The rooms, and the names of `use room::name`.
    fn root(&mut self, words: &[String]) {
        for pair in words.windows(3) {
            if pair[0] == "mod" && matches!(pair[2].as_str(), ";" | "{") {
                self.rooms.entry(pair[1].clone()).or_default();
            }
        }
        for (i, _) in words.iter().enumerate().filter(|(_, word)| *word == "use") {
            for path in paths(words, i + 1).0 {
                let path: Vec<String> = path.into_iter().filter(|word| word != "crate" && word != "self").collect();
                if let [room, .., name] = &path[..]
                    && self.rooms.contains_key(room)
                {
                    self.handed_on.insert(name.clone(), room.clone());
                }
            }
        }
    }

    /// A module and those in it. `folder` is where the files of its modules are.
    fn module(&mut self, words: &[String], module: &[String], folder: &Path, is_root: bool) {
        let mut i = 0;
        while i < words.len() {
            let word = words[i].as_str();
            let begins = i == 0 || words[i - 1] != "::";
            if word == "mod" && words.get(i + 2).is_some_and(|w| w == ";" || w == "{") {
                let inner: Vec<String> = [module, &[words[i + 1].clone()]].concat();
                let folder = folder.join(&words[i + 1]);
                if words[i + 2] == "{" {
                    let end = closed(words, i + 2);
                    self.module(&words[i + 3..end - 1], &inner, &folder, false);
                    i = end;
                } else {
                    self.file(&inner, &folder);
                    i += 3;
                }
            } else if matches!(word, "crate" | "super") && begins && words.get(i + 1).is_some_and(|w| w == "::") {
                let (found, next) = paths(words, i);
                if !is_root {
                    found.iter().for_each(|path| self.arrow(module, path));
                }
                i = next;
            } else {
                i += 1;
            }
        }
    }

    fn file(&mut self, module: &[String], folder: &Path) {
        let files = [folder.with_extension("rs"), folder.join("mod.rs")];
        let Some(file) = files.iter().find(|file| file.exists()) else {
            panic!("{} is neither {} nor {}", module.join("::"), files[0].display(), files[1].display());
        };
        let source = std::fs::read_to_string(file).unwrap();
        self.module(&without_tests(&words(&source)), module, folder, false);
    }

    /// Enters where a path from `module` leads, if it leads into another room.
    fn arrow(&mut self, module: &[String], path: &[String]) {
        let mut here = module.to_vec();
        let mut rest = path;
        while let Some((first, tail)) = rest.split_first() {
            match first.as_str() {
                "crate" => here.clear(),
                "super" => drop(here.pop()),
                "self" => {}
                _ => break,
            }
            rest = tail;
        }
        let (true, Some(name)) = (here.is_empty(), rest.first()) else { return };
        let room = if self.rooms.contains_key(name) { Some(name) } else { self.handed_on.get(name) };
        if let Some(room) = room.filter(|room| **room != module[0]) {
            let room = room.clone();
            self.rooms.entry(module[0].clone()).or_default().insert(room);
        }
    }
}

/// The shortest way from each room back to itself, each circle once.
fn circles(rooms: &Rooms) -> Vec<Vec<String>> {
    let mut found: BTreeMap<BTreeSet<String>, Vec<String>> = BTreeMap::new();
    for start in rooms.keys() {
        let mut ways: Vec<Vec<String>> = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        let mut next = 0;
        'search: while next < ways.len() {
            let way = ways[next].clone();
            next += 1;
            for room in rooms.get(&way[way.len() - 1]).into_iter().flatten() {
                if room == start {
                    found.entry(way.iter().cloned().collect()).or_insert(way);
                    break 'search;
                }
                if seen.insert(room.clone()) {
                    ways.push([&way[..], std::slice::from_ref(room)].concat());
                }
            }
        }
    }
    found.into_values().collect()
}

/// Folders of the workspace's crates, from its Cargo.toml.
fn members() -> Vec<PathBuf> {
    let root = thorax_tests::workspace();
    let text = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let list = text.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    let members: Vec<PathBuf> = list.split('"').skip(1).step_by(2).map(|member| root.join(member)).collect();
    assert!(members.len() > 5 && members.iter().all(|member| member.join("Cargo.toml").exists()), "{members:?}");
    members
}

#[test]
fn no_two_rooms_of_a_crate_import_each_other_in_a_circle() {
    let mut told = String::new();
    for member in members() {
        for root in ["lib.rs", "main.rs"].map(|name| member.join("src").join(name)) {
            if !root.exists() {
                continue;
            }
            let read = Crate::read(&root);
            let name = root.strip_prefix(thorax_tests::workspace()).unwrap().display().to_string();
            println!("{name}");
            for (room, others) in &read.rooms {
                println!("    {room} -> {}", others.iter().cloned().collect::<Vec<_>>().join(", "));
            }
            for circle in circles(&read.rooms) {
                writeln!(told, "{name}: {} -> {}", circle.join(" -> "), circle[0]).unwrap();
            }
        }
    }
    assert!(told.is_empty(), "circles:\n{told}");
}

/// Doc tests are off (`doctest = false`), so that the count of what was left out is the last line of `cargo test`. An
/// example in a comment would therefore be tested by nobody.
#[test]
fn no_comment_has_an_example_that_nobody_tests() {
    let mut files: Vec<PathBuf> = members().into_iter().map(|member| member.join("src")).collect();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let mut inside = false;
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            let line = line.trim_start();
            let Some(fence) = line.strip_prefix("///").or(line.strip_prefix("//!")) else {
                inside = false;
                continue;
            };
            let Some(language) = fence.trim_start().strip_prefix("```") else { continue };
            inside = !inside;
            let known = ["text", "toml", "sh", "json"].contains(&language.trim());
            assert!(!inside || known, "{}:{}: make it a test", path.display(), number + 1);
        }
    }
}

fn read_from(files: &[(&str, &str)]) -> Rooms {
    let folder = thorax_tests::folder();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    Crate::read(&folder.path().join("lib.rs")).rooms
}

fn arrows(rooms: &Rooms) -> Vec<String> {
    rooms.iter().flat_map(|(room, others)| others.iter().map(move |other| format!("{room}>{other}"))).collect()
}

#[test]
fn every_way_to_name_a_room_is_seen() {
    let rooms = read_from(&[
        ("lib.rs", "pub mod a; mod b;\nmod c;\nmod d { use crate::a::X; }\npub use b::{Given, e::Other as Renamed};"),
        ("a.rs", "use crate::{\n    c::{self, x},\n    Given as G,\n};\nfn f() { let s = r#\"crate::d::x\"#; }"),
        ("b/mod.rs", "pub mod e;\nfn f<'a>(x: &'a str) -> crate::c::T { '\\'' ; x }"),
        ("b/e.rs", "use super::{super::d::Y, own};"),
        (
            "c.rs",
            "// crate::a\n/* crate::b /* crate::d */ */\n/// [crate::a]\nuse std::fmt; use self::inner::x; use crate::Renamed; const C: char = '\"';",
        ),
    ]);
    assert_eq!(arrows(&rooms), ["a>b", "a>c", "b>c", "b>d", "c>b", "d>a"]);
    assert_eq!(circles(&rooms), [vec!["a", "b", "d"], vec!["b", "c"]]);
}

#[test]
fn what_is_for_tests_alone_does_not_count() {
    let rooms = read_from(&[
        ("lib.rs", "mod a;\nmod b;\n#[cfg(test)]\nmod missing;"),
        (
            "a.rs",
            "#[cfg(test)]\n#[allow(x)]\nmod tests { use crate::b::X; }\n#[cfg(all(test, unix))] use crate::b::{Y};\n\
             #[cfg(test)] mod more;\n#[derive(Debug)] struct S { #[serde(x)] f: u8 }",
        ),
        ("b.rs", "#[cfg(not(test))] use crate::a::X; #[test] fn t() { crate::a::y(); }"),
    ]);
    assert_eq!(arrows(&rooms), ["b>a"]);
    assert!(circles(&rooms).is_empty());
}

#[test]
fn a_circle_is_found_and_told_once() {
    let rooms = read_from(&[
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::x;"),
        ("b.rs", "use crate::{c, d};"),
        ("c.rs", "fn f() { crate::a::g() }"),
        ("d.rs", "use crate::b::{x, y};"),
    ]);
    assert_eq!(circles(&rooms), [vec!["a", "b", "c"], vec!["b", "d"]]);
}
