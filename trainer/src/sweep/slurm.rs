//! A sweep as a Slurm job array, for those whose runs have outgrown one machine.
//!
//! Slurm is the engine, and we only feed it: `slurm/sweep.sbatch` has a task a run, and each task is `thorax-train sweep` with that
//! one run; `slurm/leaderboard.sbatch` waits for the end of all, however they ended. Both can be given to `sbatch` by hand. The nodes
//! have to see the program, the data and the folder under the same paths. A run that was cut off by its time limit goes on when the
//! sweep is submitted again.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use thorax_files::write_atomically;

use super::run::quote;

/// A job array.
pub struct Array<'a> {
    /// The words of `thorax-train sweep` that all tasks have in common, the program first.
    pub common: &'a [String],
    /// The names of the runs.
    pub names: &'a [&'a str],
    /// Tasks at the same time; no limit of ours if there is none.
    pub at_once: Option<usize>,
    /// Where scripts and what the tasks say go.
    pub folder: &'a Path,
}

impl Array<'_> {
    fn command(&self) -> String {
        self.common.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }

    fn head(&self, name: &str, output: &str) -> String {
        let output = self.folder.join(output);
        format!("#!/bin/bash\n#SBATCH --job-name={name}\n#SBATCH --output={}\n", quote(&output.to_string_lossy()))
    }

    /// The script of the array.
    pub fn script(&self) -> String {
        let limit = self.at_once.map(|jobs| format!("%{jobs}")).unwrap_or_default();
        let names: String = self.names.iter().map(|name| format!("    {}\n", quote(name))).collect();
        format!(
            "{head}#SBATCH --array=0-{last}{limit}\n\
             # Made by thorax-train sweep --slurm: a task for each run.\n\
             set -euo pipefail\n\
             runs=(\n{names})\n\
             export RAYON_NUM_THREADS=\"$SLURM_CPUS_ON_NODE\"\n\
             exec {command} --only \"${{runs[$SLURM_ARRAY_TASK_ID]}}\"\n",
            head = self.head("thorax-sweep", "%A_%a.txt"),
            last = self.names.len().saturating_sub(1),
            command = self.command(),
        )
    }

    /// The script that makes the leaderboard of what the array has left.
    fn leaderboard(&self) -> String {
        format!("{}exec {} --leaderboard-only\n", self.head("thorax-leaderboard", "leaderboard.txt"), self.command())
    }

    /// Submits the array, and behind it the leaderboard; `options` are `sbatch`'s own. Waits for the end if told to.
    ///
    /// # Errors
    /// Scripts that cannot be written, a machine without `sbatch`, and whatever `sbatch` refuses.
    pub fn submit(&self, options: &[&str], wait: bool) -> anyhow::Result<()> {
        let write = |name: &str, text: String| -> anyhow::Result<PathBuf> {
            let path = self.folder.join(name);
            write_atomically(&path, |out| out.write_all(text.as_bytes()))?;
            Ok(path)
        };
        let array = write("sweep.sbatch", self.script())?;
        let leaderboard = write("leaderboard.sbatch", self.leaderboard())?;
        let id = sbatch("sbatch", options, &[array.as_os_str()])?;
        println!("array of {} tasks: job {id}", self.names.len());
        if wait {
            eprintln!("waiting for its end; squeue shows how far it is");
        }
        let mut words = vec![format!("--dependency=afterany:{id}")];
        words.extend(wait.then(|| "--wait".to_owned()));
        let mut words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        words.push(leaderboard.as_os_str());
        let id = sbatch("sbatch", options, &words)?;
        println!("leaderboard: job {id}");
        Ok(())
    }
}

/// Gives a script to `program`, Slurm's `sbatch`, and tells the number of the job.
fn sbatch(program: &str, options: &[&str], words: &[&OsStr]) -> anyhow::Result<String> {
    let output = match Command::new(program).arg("--parsable").args(options).args(words).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => anyhow::bail!(
            "{program}: not found; run this on a machine of the cluster, install Slurm's commands (Debian: slurm-client), or leave \
             out --slurm to train here"
        ),
        result => result.with_context(|| format!("{program} cannot be started"))?,
    };
    anyhow::ensure!(
        output.status.success(),
        "{program} refused ({}): {}; --slurm-options takes its options, such as \"--partition=gpu --time=08:00:00\"",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    // On a cluster of clusters the number is followed by the cluster's name.
    let said = String::from_utf8_lossy(&output.stdout);
    let id = said.trim().split(';').next().unwrap_or_default();
    anyhow::ensure!(
        !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()),
        "{program} said `{}` where the number of a job was expected; see squeue whether it was submitted",
        said.trim()
    );
    Ok(id.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const COMMON: [&str; 3] = ["/bin/echo", "sweep", "a grid.toml"];

    #[test]
    fn each_task_of_the_array_has_a_run() {
        let common = COMMON.map(str::to_owned);
        let folder = tempfile::tempdir().unwrap();
        let mut array = Array {
            common: &common,
            names: &["batch=1", "batch=2", "batch=3"],
            at_once: Some(2),
            folder: folder.path(),
        };
        let script = array.script();
        assert!(script.starts_with("#!/bin/bash\n#SBATCH "), "{script}");
        assert!(script.contains("\n#SBATCH --array=0-2%2\n"), "{script}");
        array.at_once = None;
        assert!(array.script().contains("\n#SBATCH --array=0-2\n"));
        // As Slurm runs it.
        for (task, name) in array.names.iter().enumerate() {
            let mut bash = Command::new("bash");
            bash.args(["-c", &script]).env("SLURM_ARRAY_TASK_ID", task.to_string()).env("SLURM_CPUS_ON_NODE", "4");
            let output = bash.output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("sweep a grid.toml --only {name}\n"));
        }
        assert!(array.leaderboard().contains("exec /bin/echo sweep 'a grid.toml' --leaderboard-only\n"));
    }

    #[test]
    fn a_machine_without_slurm_is_told_what_to_do() {
        let told = sbatch("no-such-sbatch", &[], &[]).unwrap_err().to_string();
        assert!(told.contains("not found") && told.contains("slurm-client") && told.contains("--slurm"), "{told}");
        let told = sbatch("false", &[], &[]).unwrap_err().to_string();
        assert!(told.contains("false refused") && told.contains("--slurm-options"), "{told}");
        let told = sbatch("echo", &["12;cluster"], &[]).unwrap_err().to_string();
        assert!(told.contains("number of a job"), "{told}");
    }
}
