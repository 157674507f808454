//! Names to addresses, again and again, beside the schedule and never in its way.
//!
//! Every name is looked up by a task of its own, however many targets have it, so that one name
//! that nobody answers for delays no other. What is found goes to the workers as commands.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::net;

use super::command::Command;

/// How long a lookup may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an answer is taken for true: the system's resolver does not tell how long it is valid.
const REFRESH: Duration = Duration::from_secs(60);

/// The shortest and the longest wait before a failed lookup is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How many lookups may be under way at once: each takes a thread.
const AT_ONCE: usize = 32;

/// The names of all targets, and what looks them up.
#[derive(Debug)]
pub(super) struct Names {
    at_once: Arc<Semaphore>,
    /// What each name was found to mean at first; empty where that failed.
    found: BTreeMap<String, Vec<SocketAddr>>,
    tasks: JoinSet<()>,
}

/// A target that wants to hear of its name.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    pub(super) worker: UnboundedSender<Command>,
    pub(super) number: u32,
}

impl Names {
    /// Looks all `names` up once, and waits for what comes back within `patience`.
    pub(super) async fn look_up(
        names: impl IntoIterator<Item = String>,
        patience: Duration,
    ) -> Self {
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        let mut lookups = JoinSet::new();
        for name in names {
            let at_once = at_once.clone();
            lookups.spawn(async move {
                let addresses = look_up(&name, &at_once).await;
                (name, addresses)
            });
        }
        let mut found = BTreeMap::new();
        // Cut off or not, what has come so far is in the map.
        let _ = timeout(patience, async {
            while let Some(lookup) = lookups.join_next().await {
                found.extend(lookup.ok());
            }
        })
        .await;
        Self { at_once, found, tasks: JoinSet::new() }
    }

    /// What `name` was found to mean at first; `None` while that is not known yet.
    pub(super) fn first(&self, name: &str) -> Option<&[SocketAddr]> {
        self.found.get(name).map(Vec::as_slice)
    }

    /// From now on, tells `listeners` what `name` means whenever it has been looked up.
    pub(super) fn follow(&mut self, name: String, listeners: Vec<Listener>) {
        let at_once = self.at_once.clone();
        let first = self.found.get(&name).map(|addresses| !addresses.is_empty());
        self.tasks.spawn(async move {
            let mut wait = Wait::default();
            if let Some(succeeded) = first {
                sleep(wait.after(succeeded)).await;
            }
            loop {
                let addresses = look_up(&name, &at_once).await;
                let pause = wait.after(!addresses.is_empty());
                for Listener { worker, number } in &listeners {
                    let addresses = addresses.clone();
                    if worker.send(Command::Resolved { number: *number, addresses }).is_err() {
                        return;
                    }
                }
                sleep(pause).await;
            }
        });
    }
}

/// The addresses of `name`; none where it cannot be resolved.
async fn look_up(name: &str, at_once: &Semaphore) -> Vec<SocketAddr> {
    let _permit = at_once.acquire().await;
    let failure = match timeout(PATIENCE, net::resolve(name)).await {
        Ok(Ok(addresses)) => return addresses,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    tracing::debug!(name, failure, "name not resolved");
    Vec::new()
}

/// How long to wait before the next lookup.
#[derive(Debug, Default)]
struct Wait {
    failures: u32,
}

impl Wait {
    fn after(&mut self, succeeded: bool) -> Duration {
        if succeeded {
            self.failures = 0;
            return REFRESH;
        }
        let (shortest, longest) = BACK_OFF;
        let wait = shortest.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_back_off_and_a_success_ends_that() {
        let mut wait = Wait::default();
        let seconds: Vec<u64> = (0..9).map(|_| wait.after(false).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(wait.after(true), REFRESH);
        assert_eq!(wait.after(false), Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_name_that_means_nothing_is_known_as_such_and_holds_up_no_other() {
        // An interface that does not exist: no name server is asked.
        let unknown = "fe80::1%nowhere";
        let names = [unknown.to_owned(), "localhost".to_owned()];
        // A resolver that does not answer is given up after PATIENCE: that is waited for.
        let names = Names::look_up(names, PATIENCE * 6).await;
        assert_eq!(names.first(unknown), Some(&[][..]));
        assert!(names.first("localhost").is_some_and(|found| found[0].ip().is_loopback()));
        assert_eq!(names.first("never.asked"), None);
    }
}
