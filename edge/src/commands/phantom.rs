//! `thorax-edge phantom`: synthetic pictures with a known truth, so that the device can be tried where there is no patient.

use thorax_phantom::{PhantomArgs, generate_files};

use crate::cli::ALL_SCREENED;

/// Writes what `args` ask for.
///
/// # Errors
/// One that names the file that could not be written.
pub fn run(args: &PhantomArgs) -> anyhow::Result<u8> {
    println!("{}", args.told(&generate_files(args)?));
    Ok(ALL_SCREENED)
}
