//! What a process has used: CPU time and memory, as the kernel counts them.
//!
//! Never estimates: a process that is gone is an error.

use std::time::Duration;

use anyhow::{Context, Result};

/// CPU time of all threads of a process that live, in user and kernel mode. The scheduler's own
/// nanoseconds: the ticks of `stat` are 10 ms long, as much as a hundred calls take.
pub fn cpu(pid: u32) -> Result<Duration> {
    let mut total = 0_u64;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that has just ended is not counted; the subjects keep theirs.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let nanos = text.split_whitespace().next().context("an empty file")?;
        total += nanos.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(total))
}

/// Resident memory in KiB.
pub fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let digits = line
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmRSS")?;
    Ok(digits.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Build 7: the figures are of the process that was asked for, and work is seen in them.
    #[test]
    fn work_costs_time_and_memory_is_counted() {
        let pid = std::process::id();
        let before = cpu(pid).unwrap();

        let mut sum = 0_u64;
        while cpu(pid).unwrap() < before + Duration::from_millis(20) {
            sum = std::hint::black_box(sum + 1);
        }

        assert!(sum > 0);
        assert!(resident(pid).unwrap() > 1_000);
        assert!(cpu(u32::MAX).is_err());
    }
}
