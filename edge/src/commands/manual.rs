//! `thorax-edge manual DIR`: a man page for each command, and the completions of bash, zsh and fish, from the same declarations that
//! read the command line. The package is made with them; nobody else needs it.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::{Shell, generate_to};

use crate::cli::{ALL_SCREENED, Arguments, ManualArgs};

/// Writes them.
///
/// # Errors
/// When a file cannot be written.
pub fn run(args: &ManualArgs) -> anyhow::Result<u8> {
    write(&args.folder)?;
    Ok(ALL_SCREENED)
}

/// Man pages and completions into `folder`.
fn write(folder: &Path) -> anyhow::Result<()> {
    let cannot =
        || format!("cannot write into {}: check that it can be written, and the disk has room", folder.display());
    std::fs::create_dir_all(folder).with_context(cannot)?;
    clap_mangen::generate_to(Arguments::command(), folder).with_context(cannot)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Arguments::command(), "thorax-edge", folder).with_context(cannot)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page_and_the_shells_know_it() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(read(&format!("thorax-edge-{name}.1")).contains(".TH "), "{name}");
            assert!(
                ["thorax-edge.bash", "_thorax-edge", "thorax-edge.fish"].iter().all(|file| read(file).contains(name)),
                "{name}"
            );
        }
        assert!(read("thorax-edge.1").contains("Exit codes"));
        assert!(write(&folder.path().join("thorax-edge.1")).is_err(), "a file is no folder");
    }
}
