//! How every file of the workstation comes into being: as on the device, whole or not at all; and what may not be written over.

use std::{collections::BTreeSet, io::Cursor, path::Path};

use image::{ImageBuffer, ImageFormat, PixelWithColorType};
use serde_json::Value;
use thorax_files::{FolderLock, write_atomically};

/// Writes a PNG file.
///
/// # Errors
/// When it cannot be encoded or written.
pub fn write_png<P>(path: &Path, picture: &ImageBuffer<P, Vec<u8>>) -> anyhow::Result<()>
where
    P: PixelWithColorType<Subpixel = u8>,
{
    let mut png = Cursor::new(vec![]);
    picture.write_to(&mut png, ImageFormat::Png)?;
    Ok(write_atomically(path, |out| out.write_all(png.get_ref()))?)
}

/// Takes a run's folder for as long as the result lives, and tells of what killed runs had left half-written in it.
///
/// # Errors
/// When another process is at work in it, with its number; when the system refuses.
pub fn take_folder(folder: &Path) -> anyhow::Result<FolderLock> {
    let lock = FolderLock::take(folder)?;
    if lock.removed > 0 {
        eprintln!("{}: {} half-written files of a run that was killed are removed", folder.display(), lock.removed);
    }
    Ok(lock)
}

/// Takes the folder that `option` gave a run, and writes the run's configuration, or sees that the run which is there has the same.
///
/// # Errors
/// A run of another configuration, what [`take_folder`] refuses, and a configuration that cannot be read or written.
pub fn start_run(folder: &Path, option: &str, config: &impl serde::Serialize) -> anyhow::Result<FolderLock> {
    let lock = take_folder(folder)?;
    let path = folder.join("config.json");
    let text = serde_json::to_string_pretty(config)?;
    match std::fs::read_to_string(&path) {
        Ok(before) if before == text => {}
        Ok(before) => {
            let differ = match serde_json::from_str(&before) {
                // Both read from text: in a value made of `config` itself, f32 would have other digits.
                Ok(found) => differences("", &found, &serde_json::from_str(&text)?).join("; "),
                Err(error) => format!("config.json: {error}"),
            };
            anyhow::bail!(
                "{}: this run was started with another configuration or other data: {differ}; choose another {option}, or delete the \
                 folder",
                folder.display()
            )
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            anyhow::bail!("{}: {error}; choose another {option}", path.display())
        }
        Err(_) => write_atomically(&path, |out| out.write_all(text.as_bytes()))?,
    }
    Ok(lock)
}

/// Where two configurations differ, by the dotted names of their fields below `name`: what is `found` in a folder, and what is `asked` for.
pub fn differences(name: &str, found: &Value, asked: &Value) -> Vec<String> {
    match (found, asked) {
        (Value::Object(found), Value::Object(asked)) => {
            let names: BTreeSet<&String> = found.keys().chain(asked.keys()).collect();
            let of = |key: &String| {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                let [found, asked] = [found, asked].map(|side| side.get(key).unwrap_or(&Value::Null));
                differences(&name, found, asked)
            };
            names.into_iter().flat_map(of).collect()
        }
        _ if found == asked => vec![],
        _ => vec![format!("{name} is {found} there and {asked} here")],
    }
}

/// Refuses to write over what is there, unless that is asked for.
///
/// # Errors
/// When there is something called `path`.
pub fn refuse_existing(path: &Path, force: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        force || std::fs::symlink_metadata(path).is_err(),
        "{}: exists already; choose another name, or give --force to write over it",
        path.display()
    );
    Ok(())
}
