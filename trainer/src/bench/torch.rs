//! PyTorch as a child process that carries out one case a line (trainer/references/bench_torch.py).

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::Context;

/// The scripts; they import each other, so they are put into one folder.
const SCRIPTS: [(&str, &str); 3] = [
    ("bench_torch.py", include_str!("../../references/bench_torch.py")),
    ("attention_unet.py", include_str!("../../references/attention_unet.py")),
    ("resnet50.py", include_str!("../../references/resnet50.py")),
];

/// The process. It ends when this is dropped.
pub(super) struct Torch {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Torch {
    /// Starts `python` with PyTorch on `threads` threads.
    ///
    /// # Errors
    /// When it cannot be started; that PyTorch is missing is seen at the first question.
    pub(super) fn start(python: &Path, threads: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, script) in SCRIPTS {
            std::fs::write(folder.path().join(name), script)?;
        }
        let mut child = Command::new(python)
            .arg(folder.path().join(SCRIPTS[0].0))
            .args(["--threads", &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}: give --torch a Python that has PyTorch", python.display()))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("the child has no output")?);
        Ok(Self { child, input, output, _folder: folder })
    }

    /// One line out, one line back.
    ///
    /// # Errors
    /// What PyTorch answers with `error`, or that it is gone.
    pub(super) fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        // A child that is gone closes its ends: what it had to say stands on standard error.
        let gone = "PyTorch's process ended; is PyTorch installed for the Python of --torch? Its message stands above";
        let input = self.input.as_mut().context(gone)?;
        writeln!(input, "{question}").and_then(|()| input.flush()).context(gone)?;
        let mut answer = String::new();
        anyhow::ensure!(self.output.read_line(&mut answer)? > 0, gone);
        let answer = answer.trim_end();
        anyhow::ensure!(!answer.starts_with("error"), "PyTorch, {question}: {answer}");
        Ok(answer.to_owned())
    }

    /// Sets a case up and warms it.
    ///
    /// # Errors
    /// See [`Self::ask`].
    pub(super) fn prepare(&mut self, case: &str) -> anyhow::Result<()> {
        self.ask(&format!("prepare {case}")).map(drop)
    }

    /// Milliseconds of one run of the case that was prepared last.
    ///
    /// # Errors
    /// See [`Self::ask`].
    pub(super) fn run(&mut self, case: &str) -> anyhow::Result<f64> {
        let answer = self.ask(&format!("run {case}"))?;
        answer.parse().with_context(|| format!("PyTorch answered {answer:?} where milliseconds were expected"))
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // The end of its input is the end of its work.
        self.input = None;
        let _ = self.child.wait();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pytorch_is_told_as_such() {
        let error = Torch::start(Path::new("/no/such/python"), 1).err().unwrap();
        assert!(format!("{error:#}").contains("--torch"), "{error:#}");
        // A program that ends without a word.
        let error = Torch::start(Path::new("true"), 1).unwrap().ask("version").unwrap_err();
        assert!(error.to_string().contains("is PyTorch installed"), "{error:#}");
        // One that answers with something else: `echo` prints its arguments.
        let error = Torch::start(Path::new("echo"), 1).unwrap().run("a case").unwrap_err();
        assert!(format!("{error:#}").contains("PyTorch"), "{error:#}");
    }
}
