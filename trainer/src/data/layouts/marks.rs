//! What masks mark that do not say it themselves.

use super::{ImportArgs, Marks, notes::Notes, problem};
use crate::data::DataError;

/// So many masks of healthy lungs are looked at to see what they mark.
pub(super) const LOOKED_AT: usize = 20;

/// What `masks` mark, by whether those of healthy lungs that were looked at mark anything: what they mark there are lungs. Where none was,
/// the user is asked the `question`.
///
/// # Errors
/// The question.
pub(super) fn by_healthy_lungs(
    args: &ImportArgs,
    notes: &mut Notes,
    [masks, of]: [&str; 2],
    mark_anything: &[bool],
    question: impl FnOnce() -> String,
) -> Result<Marks, DataError> {
    if mark_anything.is_empty() {
        notes.untold(args, problem(&args.dir, question()))?;
        return Ok(Marks::Infection);
    }
    let (marks, have) = match mark_anything.contains(&true) {
        true => (Marks::Lungs, "some that mark something"),
        false => (Marks::Infection, "none that marks anything"),
    };
    notes.told.push(format!(
        "{masks} are read as {}s, for {of} of healthy lungs have {have} (--masks says otherwise)",
        word(marks)
    ));
    Ok(marks)
}

pub(super) fn word(marks: Marks) -> &'static str {
    match marks {
        Marks::Infection => "infection mask",
        Marks::Lungs => "lung mask",
    }
}
