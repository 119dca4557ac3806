//! Another library as a child process that carries out one case a line (trainer/references/bench_peer.py).

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::Context;

/// The scripts; they import each other, so they are put into one folder.
const SCRIPTS: [(&str, &str); 5] = [
    ("bench_peer.py", include_str!("../../references/bench_peer.py")),
    ("bench_torch.py", include_str!("../../references/bench_torch.py")),
    ("bench_onnxruntime.py", include_str!("../../references/bench_onnxruntime.py")),
    ("attention_unet.py", include_str!("../../references/attention_unet.py")),
    ("resnet50.py", include_str!("../../references/resnet50.py")),
];

/// A library with which we are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Library {
    Torch,
    OnnxRuntime,
}

impl Library {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Torch => "PyTorch",
            Self::OnnxRuntime => "ONNX Runtime",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::Torch => "bench_torch.py",
            Self::OnnxRuntime => "bench_onnxruntime.py",
        }
    }
}

/// The process. It ends when this is dropped.
pub(super) struct Peer {
    library: Library,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Peer {
    /// Starts `python` with the library on `threads` threads.
    ///
    /// # Errors
    /// When it cannot be started; that the library is missing is seen at the first question.
    pub(super) fn start(library: Library, python: &Path, threads: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, script) in SCRIPTS {
            std::fs::write(folder.path().join(name), script)?;
        }
        let mut child = Command::new(python)
            .arg(folder.path().join(library.script()))
            .args(["--threads", &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}: give the path of a Python that has {}", python.display(), library.name()))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("the child has no output")?);
        Ok(Self { library, child, input, output, _folder: folder })
    }

    /// One line out, one line back.
    ///
    /// # Errors
    /// What the library answers with `error`, or that it is gone.
    pub(super) fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        let name = self.library.name();
        // A child that is gone closes its ends: what it had to say stands on standard error.
        let gone = || format!("{name}'s process ended; is it installed for that Python? Its message stands above");
        let input = self.input.as_mut().with_context(gone)?;
        writeln!(input, "{question}").and_then(|()| input.flush()).with_context(gone)?;
        let mut answer = String::new();
        anyhow::ensure!(self.output.read_line(&mut answer)? > 0, gone());
        let answer = answer.trim_end();
        anyhow::ensure!(!answer.starts_with("error"), "{name}, {question}: {answer}");
        Ok(answer.to_owned())
    }

    /// Sets a case up and warms it; the answer is the shape of what it computes, if that is one tensor.
    ///
    /// # Errors
    /// See [`Self::ask`].
    pub(super) fn prepare(&mut self, case: &str) -> anyhow::Result<String> {
        self.ask(&format!("prepare {case}"))
    }

    /// Milliseconds of one run of the case that was prepared last.
    ///
    /// # Errors
    /// See [`Self::ask`].
    pub(super) fn run(&mut self, case: &str) -> anyhow::Result<f64> {
        let answer = self.ask(&format!("run {case}"))?;
        let name = self.library.name();
        answer.parse().with_context(|| format!("{name} answered {answer:?} where milliseconds were expected"))
    }
}

impl Drop for Peer {
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
    fn what_is_no_such_library_is_told_as_such() {
        let start = |program: &str| Peer::start(Library::Torch, Path::new(program), 1);
        let error = start("/no/such/python").err().unwrap();
        assert!(format!("{error:#}").contains("a Python that has PyTorch"), "{error:#}");
        // A program that ends without a word.
        let error = start("true").unwrap().ask("version").unwrap_err();
        assert!(error.to_string().contains("is it installed"), "{error:#}");
        // One that answers with something else: `echo` prints its arguments.
        let error = start("echo").unwrap().run("a case").unwrap_err();
        assert!(format!("{error:#}").contains("PyTorch"), "{error:#}");
    }
}
