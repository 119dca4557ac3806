//! `thorax-edge board`: what of a profile the machine at hand has.

use thorax_board::{check, facts::Facts};

use crate::{
    cli::{ALL_SCREENED, BoardArgs, BoardCommand, SOME_REFUSED},
    profile::Profile,
};

/// Holds a board's profile against this machine.
///
/// # Errors
/// When the profile cannot be read.
pub fn run(args: &BoardArgs) -> anyhow::Result<u8> {
    let BoardCommand::Check { board } = &args.question;
    let profile = Profile::read(board)?;
    let items = check::check(&profile.tables(), &Facts::of_this_machine());
    for item in &items {
        println!("{item}");
    }
    Ok(if check::is_complete(&items) { ALL_SCREENED } else { SOME_REFUSED })
}
