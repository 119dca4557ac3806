//! How much memory this program has taken, and how much there is.

use anyhow::Context;

/// The most resident memory this process has had.
pub fn peak_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("memory is measured on Linux only")?;
    let row = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("/proc/self/status has no VmHWM")?;
    Ok(row.trim().trim_end_matches(" kB").parse()?)
}

/// Memory that the system could still give; `None` where it does not say.
pub fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let row = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(row.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

/// Sees that the system could still give the `needed` bytes that `what` takes at least; without it a slip of the finger would end in
/// the kernel's killer. What to make `smaller`, the error says.
///
/// # Errors
/// When it could not.
pub fn ensure_available(needed: u64, what: &str, smaller: &str) -> anyhow::Result<()> {
    let Some(available) = available_bytes() else { return Ok(()) };
    anyhow::ensure!(
        needed <= available,
        "{what} take at least {} MiB, and {} MiB are free; give a smaller {smaller}",
        needed >> 20,
        available >> 20
    );
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_grows_with_what_is_touched() {
        let before = peak_kib().unwrap();
        let touched = std::hint::black_box(vec![1u8; 256 << 20]);
        assert!(peak_kib().unwrap() >= before.max(touched.len() as u64 >> 10));
    }
}
