//! Periodic name resolution, which never delays the schedule.
//!
//! Each name has one task that looks it up for as long as any target has the name, so that a name
//! without an answer delays no other. Results go to the workers as commands, one to each worker
//! that has a target of the name.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::net;

use super::command::Command;

/// How long a lookup may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an answer is used; the system's resolver does not report its TTL.
const REFRESH: Duration = Duration::from_secs(60);

/// The shortest and the longest wait before a failed lookup is retried.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Maximum number of concurrent lookups: each takes a thread.
const AT_ONCE: usize = 32;

/// The names of all targets, and the tasks that look them up.
#[derive(Debug)]
pub(super) struct Names {
    book: Arc<Mutex<Book>>,
}

/// The users of each name, and its newest addresses.
///
/// While the book is locked, no answer goes to a worker: commands that are sent meanwhile arrive
/// before any newer answer.
#[derive(Debug)]
pub(super) struct Book {
    names: HashMap<Arc<str>, Entry>,
    workers: Vec<UnboundedSender<Command>>,
    at_once: Arc<Semaphore>,
    /// The book itself, for the tasks.
    myself: Weak<Mutex<Book>>,
}

#[derive(Debug)]
struct Entry {
    /// The workers that have targets of the name, and how many each has.
    users: Vec<(usize, u32)>,
    /// The last answer: `None` before the first, empty if the lookup failed.
    found: Option<Arc<[SocketAddr]>>,
    /// Dropped when the first answer comes.
    first: Vec<mpsc::Sender<()>>,
    /// Looks the name up until this entry is dropped.
    task: AbortHandle,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Names {
    /// No names yet; answers go to these workers.
    pub(super) fn new(workers: Vec<UnboundedSender<Command>>) -> Self {
        let book = Arc::new_cyclic(|myself| {
            let (names, myself) = (HashMap::new(), myself.clone());
            let at_once = Arc::new(Semaphore::new(AT_ONCE));
            Mutex::new(Book { names, workers, at_once, myself })
        });
        Self { book }
    }

    /// The book, locked.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// Starts to look up all `names`, and waits for their first answers, at most for `patience`.
    ///
    /// The lookups continue until the returned value is dropped; a name that has been
    /// [joined](Book::join) by then is looked up for as long as it has users. There must be only
    /// one such value at a time.
    pub(super) async fn look_up(
        &self,
        names: impl IntoIterator<Item = &str>,
        patience: Duration,
    ) -> LookedUp<'_> {
        let looked_up = LookedUp(self);
        let (answered, mut all) = mpsc::channel(1);
        {
            let mut book = self.book();
            for name in names {
                let entry = book.entry(name);
                if entry.found.is_none() {
                    entry.first.push(answered.clone());
                }
            }
        }
        drop(answered);
        // Nothing is ever sent: this ends when the last name has had its first answer.
        let _ = timeout(patience, all.recv()).await;
        looked_up
    }
}

/// Names that have been looked up. When it is dropped, names without users are forgotten.
#[derive(Debug)]
#[must_use]
pub(super) struct LookedUp<'a>(&'a Names);

impl Drop for LookedUp<'_> {
    fn drop(&mut self) {
        self.0.book().names.retain(|_, entry| !entry.users.is_empty());
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.book().names.clear();
    }
}

impl Book {
    /// Adds a target of `worker` to the users of a name, which is looked up from now on. Returns
    /// the addresses if they are known.
    pub(super) fn join(&mut self, name: &str, worker: usize) -> Option<Arc<[SocketAddr]>> {
        let entry = self.entry(name);
        match entry.users.iter_mut().find(|(user, _)| *user == worker) {
            Some((_, count)) => *count += 1,
            None => entry.users.push((worker, 1)),
        }
        entry.found.clone()
    }

    /// Removes a target of `worker` from the users of a name. A name without users is not looked up
    /// any more.
    pub(super) fn leave(&mut self, name: &str, worker: usize) {
        let Some(entry) = self.names.get_mut(name) else { return };
        if let Some((_, count)) = entry.users.iter_mut().find(|(user, _)| *user == worker) {
            *count -= 1;
        }
        entry.users.retain(|&(_, count)| count > 0);
        if entry.users.is_empty() {
            self.names.remove(name);
        }
    }

    /// The name was looked up; `addresses` is empty if that failed.
    fn answer(&mut self, name: &Arc<str>, addresses: Vec<SocketAddr>) {
        let Some(entry) = self.names.get_mut(name) else { return };
        let addresses: Arc<[SocketAddr]> = addresses.into();
        entry.found = Some(addresses.clone());
        entry.first = Vec::new();
        for &(worker, _) in &entry.users {
            let (name, addresses) = (name.clone(), addresses.clone());
            // A worker that has ended needs no names.
            let _ = self.workers[worker].send(Command::Resolved { name, addresses });
        }
    }

    /// The entry of a name. If it is new, a task starts to look the name up.
    fn entry(&mut self, name: &str) -> &mut Entry {
        // Most names are known; those need no memory for a new key.
        let name = match self.names.get_key_value(name) {
            Some((known, _)) => known.clone(),
            None => name.into(),
        };
        let Self { names, at_once, myself, .. } = self;
        names.entry(name).or_insert_with_key(|name| {
            let task = follow(name.clone(), at_once.clone(), myself.clone());
            let task = tokio::spawn(task).abort_handle();
            Entry { users: Vec::new(), found: None, first: Vec::new(), task }
        })
    }
}

/// Looks a name up periodically, and reports the results to the book.
async fn follow(name: Arc<str>, at_once: Arc<Semaphore>, book: Weak<Mutex<Book>>) {
    let mut wait = Wait::default();
    loop {
        let addresses = look_up(&name, &at_once).await;
        let pause = wait.after(!addresses.is_empty());
        let Some(book) = book.upgrade() else { return };
        lock(&book).answer(&name, addresses);
        drop(book);
        sleep(pause).await;
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    // A panic cannot leave a book inconsistent.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The addresses of `name`; none if it cannot be resolved.
async fn look_up(name: &str, at_once: &Semaphore) -> Vec<SocketAddr> {
    let _permit = at_once.acquire().await;
    let failure = match timeout(PATIENCE, net::resolve(name)).await {
        Ok(Ok(addresses)) => return addresses,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    tracing::debug!(name, failure, "cannot resolve a name, retrying");
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
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    #[test]
    fn failures_back_off_until_a_success() {
        let mut wait = Wait::default();
        let seconds: Vec<u64> = (0..9).map(|_| wait.after(false).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(wait.after(true), REFRESH);
        assert_eq!(wait.after(false), Duration::from_secs(1));
    }

    fn known(names: &Names, name: &str) -> Option<Vec<SocketAddr>> {
        let book = names.book();
        book.names.get(name).and_then(|entry| entry.found.as_ref()).map(|found| found.to_vec())
    }

    /// The names in the commands that are waiting, each with its number of addresses.
    fn resolved(commands: &mut UnboundedReceiver<Command>) -> Vec<(String, usize)> {
        let mut resolved = Vec::new();
        while let Ok(Command::Resolved { name, addresses }) = commands.try_recv() {
            resolved.push((name.to_string(), addresses.len()));
        }
        resolved
    }

    fn crew() -> (Names, [UnboundedReceiver<Command>; 2]) {
        let (one, first) = unbounded_channel();
        let (other, second) = unbounded_channel();
        (Names::new(vec![one, other]), [first, second])
    }

    #[tokio::test]
    async fn a_failed_lookup_is_recorded_and_delays_no_other() {
        let (names, _commands) = crew();
        // An interface that does not exist: no name server is asked.
        let unknown = "fe80::1%nowhere";
        // A resolver that does not answer is given up after PATIENCE; this waits for longer.
        let looked_up = names.look_up([unknown, "localhost"], PATIENCE * 6).await;
        assert_eq!(known(&names, unknown), Some(Vec::new()));
        assert!(known(&names, "localhost").is_some_and(|found| found[0].ip().is_loopback()));
        assert_eq!(known(&names, "never.asked"), None);
        names.book().join(unknown, 0);
        drop(looked_up);
        assert_eq!(known(&names, unknown), Some(Vec::new()), "it has a user");
        assert_eq!(known(&names, "localhost"), None, "it has none");
    }

    #[tokio::test]
    async fn a_lookup_that_another_has_begun_is_awaited_as_well() {
        let (names, _commands) = crew();
        names.book().join("localhost", 0);
        let _looked_up = names.look_up(["localhost"], PATIENCE * 6).await;
        assert!(known(&names, "localhost").is_some_and(|found| found[0].ip().is_loopback()));
    }

    #[tokio::test]
    async fn each_worker_receives_an_answer_once_for_all_targets_of_a_name() {
        let (names, mut commands) = crew();
        {
            let mut book = names.book();
            for _ in 0..1000 {
                assert_eq!(book.join("localhost", 1), None);
            }
            // The answer of the name's task.
            let name = "localhost".into();
            book.answer(&name, vec!["127.0.0.1:0".parse().unwrap()]);
            assert_eq!(book.join("localhost", 0).map(|found| found.len()), Some(1));
            assert_eq!(resolved(&mut commands[0]), []);
            assert_eq!(resolved(&mut commands[1]), [("localhost".to_owned(), 1)]);
            book.answer(&name, Vec::new());
            assert_eq!(resolved(&mut commands[0]), [("localhost".to_owned(), 0)]);
            assert_eq!(resolved(&mut commands[1]), [("localhost".to_owned(), 0)]);
        }
    }

    #[tokio::test]
    async fn a_lookup_ends_with_the_last_target_of_its_name() {
        let (names, mut commands) = crew();
        let task = {
            let mut book = names.book();
            book.join("localhost", 0);
            book.join("localhost", 0);
            book.join("localhost", 1);
            book.leave("localhost", 0);
            book.leave("localhost", 1);
            book.answer(&"localhost".into(), Vec::new());
            assert_eq!(
                (resolved(&mut commands[0]).len(), resolved(&mut commands[1]).len()),
                (1, 0)
            );
            let task = book.names["localhost"].task.clone();
            book.leave("localhost", 0);
            book.leave("localhost", 0);
            assert!(book.names.is_empty());
            task
        };
        let ended = async {
            while !task.is_finished() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(60), ended).await.unwrap();
    }
}
