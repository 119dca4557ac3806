//! `thorax-edge page`: who may log in to the page for the tablet.

use std::{
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
};

use anyhow::Context;
use thorax_page::users::{self, Role};

use crate::{
    cli::{ALL_SCREENED, PageArgs, PageCommand, UserCommand, UserRole},
    profile::Profile,
};

/// Does it.
///
/// # Errors
/// When nothing tells where users are, or their file cannot be read or written, or what is asked for cannot be done.
pub fn run(args: PageArgs) -> anyhow::Result<u8> {
    let PageCommand::User { board, users, what } = args.what;
    let of_board = || -> anyhow::Result<PathBuf> {
        let board = board.context("no file of users: name one with --users, or the board with --board")?;
        let page = Profile::read(&board)?.page;
        Ok(page.context("the profile has no table [page]: name the file of users with --users")?.users)
    };
    let file = users.map_or_else(of_board, Ok)?;
    match what {
        UserCommand::Add { name, role } => {
            let role = match role {
                UserRole::Reader => Role::Reader,
                UserRole::Technician => Role::Technician,
            };
            users::add(&file, &name, role, &password()?)?;
            println!("{name} may log in as {}, by {}", role.as_str(), file.display());
        }
        UserCommand::Remove { name } => {
            users::remove(&file, &name)?;
            println!("{name} may no longer log in");
        }
        UserCommand::List => {
            for user in users::read(&file)? {
                println!("{:<32} {}", user.name, user.role.as_str());
            }
        }
    }
    Ok(ALL_SCREENED)
}

/// A password, asked for twice at a terminal, else the first line of standard input. It is on no command line, which others can see.
fn password() -> anyhow::Result<String> {
    if io::stdin().is_terminal() {
        let password = rpassword::prompt_password("Password: ").context("no password")?;
        let again = rpassword::prompt_password("Again: ").context("no password")?;
        anyhow::ensure!(password == again, "the two are not the same: nothing was changed");
        return Ok(password);
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("no password on standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
