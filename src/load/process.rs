//! What a process has used, from `/proc` of Linux.

use std::{fs, io, time::Duration};

/// A process on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(pub u32);

/// What it has used up to now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a processor, of all threads that live.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
}

/// What a thread has done with its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadTime {
    /// Time on a processor.
    pub cpu: Duration,
    /// Time in which it wanted to run and others did.
    pub waiting: Duration,
}

impl ThreadTime {
    /// What came since then.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(before.cpu), waiting: self.waiting.saturating_sub(before.waiting) }
    }

    /// Both together: the time in which it had something to do.
    #[must_use]
    pub fn total(self) -> Duration {
        self.cpu + self.waiting
    }
}

impl Process {
    /// This process.
    #[must_use]
    pub fn own() -> Self {
        Self(std::process::id())
    }

    /// The time of the thread that calls.
    ///
    /// # Errors
    /// The system has no `/proc` like Linux.
    pub fn own_thread() -> io::Result<ThreadTime> {
        let schedstat = fs::read_to_string("/proc/thread-self/schedstat")?;
        Ok(ThreadTime { cpu: nanoseconds(&schedstat, 0), waiting: nanoseconds(&schedstat, 1) })
    }

    /// Reads it now, of the process and of its children together: many servers do their work in children.
    ///
    /// # Errors
    /// There is no such process, or the system has no `/proc` like Linux.
    pub fn usage(self) -> io::Result<Usage> {
        let own = Usage { cpu: self.cpu()?, resident: self.resident()? };
        // A child may end while we look.
        let children = self.children()?.into_iter().filter_map(|child| child.usage().ok());
        Ok(children.fold(own, |sum, child| Usage { cpu: sum.cpu + child.cpu, resident: sum.resident + child.resident }))
    }

    /// Each thread knows the children that it has started.
    fn children(self) -> io::Result<Vec<Self>> {
        let mut children = Vec::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.0))? {
            let text = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            children.extend(text.split_whitespace().filter_map(|number| number.parse().ok().map(Self)));
        }
        Ok(children)
    }

    /// In ns, unlike the clock ticks of `stat`: the first number of each thread's `schedstat`.
    fn cpu(self) -> io::Result<Duration> {
        let mut cpu = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{}/task", self.0))? {
            // A thread may end while we look.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            cpu += nanoseconds(&text, 0);
        }
        Ok(cpu)
    }

    fn resident(self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
        Ok(kib * 1024)
    }
}

/// A number of a `schedstat`: time on a processor, time of waiting for one.
fn nanoseconds(schedstat: &str, nth: usize) -> Duration {
    Duration::from_nanos(schedstat.split_whitespace().nth(nth).and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn our_own_use_is_seen_and_a_process_that_is_not_there_is_not() {
        let usage = Process::own().usage().unwrap();
        assert!(usage.resident > 100_000, "{usage:?}");
        assert!(Process(u32::MAX).usage().is_err());
    }

    #[test]
    fn children_are_part_of_it() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let id = Process(child.id());
        assert!(Process::own().children().unwrap().contains(&id));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!Process::own().children().unwrap().contains(&id));
    }
}
