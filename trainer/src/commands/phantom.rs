//! `thorax-train phantom`: synthetic pictures with a known truth.

use thorax_phantom::{PhantomArgs, PhantomError, generate_files};

/// Writes what `args` ask for.
///
/// # Errors
/// [`PhantomError`] naming the file that could not be written.
pub fn run(args: &PhantomArgs) -> Result<(), PhantomError> {
    let truths = generate_files(args)?;
    println!("{}", args.told(&truths));
    Ok(())
}
