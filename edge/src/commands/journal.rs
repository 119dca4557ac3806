//! `thorax-edge journal`: what the appliance keeps, asked of the appliance where it is at work, else of its folder.

use std::io::Write;

use thorax_journal::restore;

use super::serve::place;
use crate::{
    cli::{ALL_SCREENED, JournalArgs, JournalCommand},
    inspect::{JOURNAL, Question, ask_or_read},
};

/// Asks, and prints the answer.
///
/// # Errors
/// When there is no journal, or it cannot answer.
pub fn run(args: JournalArgs) -> anyhow::Result<u8> {
    let (profile, data) = place(&args.place)?;
    let folder = data.join(JOURNAL);
    let question = match args.question {
        JournalCommand::List { last, json } => Question::List { last, json },
        JournalCommand::Show { study, json } => Question::Show { study, json },
        JournalCommand::Verify { json } => Question::Verify { json },
        JournalCommand::Export { format } => Question::Export { format },
        JournalCommand::Events { last, json } => Question::Events { last, json },
        JournalCommand::Deidentify { folder, studies } => {
            Question::Deidentify { studies, folder: std::path::absolute(folder)? }
        }
        JournalCommand::Print { study, language } => Question::Print { study, language },
        JournalCommand::Backup { folder } => Question::Backup { folder: std::path::absolute(folder)? },
        JournalCommand::Restore { backup } => {
            let files = restore(&backup, &folder)?;
            println!("{files} files and the database in {}", folder.display());
            return Ok(ALL_SCREENED);
        }
    };
    let mut out = std::io::stdout().lock();
    let code = ask_or_read(&data, &profile.journal, &question, &mut out)?;
    out.flush()?;
    Ok(code)
}
