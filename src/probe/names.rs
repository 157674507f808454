//! Periodic name resolution, which never delays the schedule.
//!
//! Each name has one task that looks it up for as long as any target has the name, so that a name
//! without an answer delays no other. Results go to the workers as commands, one to each worker
//! that has a target of the name. Workers can ask for a lookup at once; a name that many targets ask
//! for is looked up once.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::model::{Found, IpVersion, Label as _};
use crate::net::{Lookup, Resolver};

use super::command::Command;
use super::kept::Kept;
use super::pace::{Pace, SHORTEST};

/// Maximum number of concurrent lookups: each has some sockets.
const AT_ONCE: usize = 64;

/// The names of all targets, and the tasks that look them up.
#[derive(Debug)]
pub(super) struct Names {
    book: Arc<Mutex<Book>>,
    /// Passes on what the workers ask for.
    hurrying: AbortHandle,
}

/// The users of each name, and its newest addresses.
///
/// While the book is locked, no answer goes to a worker: commands that are sent meanwhile arrive
/// before any newer answer.
#[derive(Debug)]
pub(super) struct Book {
    names: HashMap<Arc<str>, Entry>,
    workers: Vec<UnboundedSender<Command>>,
    /// Notified when the addresses of a followed name have changed.
    changed: Arc<Notify>,
    resolver: Arc<Resolver>,
    at_once: Arc<Semaphore>,
    /// The book itself, for the tasks.
    myself: Weak<Mutex<Book>>,
}

#[derive(Debug)]
struct Entry {
    /// The workers that have targets of the name, and how many each has.
    users: Vec<(usize, u32)>,
    /// The last answer; `None` before the first.
    found: Option<Found>,
    /// The addresses, if the coordinator follows the name.
    kept: Option<Kept>,
    /// Asks for a lookup at once.
    hurry: Arc<Notify>,
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
    /// No names yet; answers go to these workers. `wanted` receives the names that workers ask
    /// to look up immediately. A worker asks for a name only once before it receives an answer.
    pub(super) fn new(
        workers: Vec<UnboundedSender<Command>>,
        mut wanted: UnboundedReceiver<Arc<str>>,
    ) -> Self {
        let book = Arc::new_cyclic(|myself| {
            let (names, myself) = (HashMap::new(), myself.clone());
            let at_once = Arc::new(Semaphore::new(AT_ONCE));
            let (changed, resolver) = (Arc::default(), Arc::default());
            Mutex::new(Book { names, workers, changed, resolver, at_once, myself })
        });
        let weak = Arc::downgrade(&book);
        let hurrying = tokio::spawn(async move {
            while let Some(name) = wanted.recv().await {
                let Some(book) = weak.upgrade() else { return };
                lock(&book).hurry(&name);
            }
        });
        Self { book, hurrying: hurrying.abort_handle() }
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
    ) -> LookedUp {
        let looked_up = LookedUp(self.book.clone());
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
pub(super) struct LookedUp(Arc<Mutex<Book>>);

impl Drop for LookedUp {
    fn drop(&mut self) {
        lock(&self.0).names.retain(|_, entry| entry.is_used());
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.hurrying.abort();
        self.book().names.clear();
    }
}

impl Book {
    /// Adds a target of `worker` to the users of a name, which is looked up from now on. Returns
    /// the result of the last lookup, if there was one.
    pub(super) fn join(&mut self, name: &str, worker: usize) -> Option<Found> {
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
        if !entry.is_used() {
            self.names.remove(name);
        }
    }

    /// Follows exactly these names from now on: their addresses are kept, and each change notifies
    /// [`changed`](Self::changed). A name that is not followed and has no users is forgotten
    /// when the lookups of the present change end.
    pub(super) fn follow(&mut self, names: &BTreeSet<&str>) {
        for (name, entry) in &mut self.names {
            if !names.contains(&**name) {
                entry.kept = None;
            }
        }
        for &name in names {
            let entry = self.entry(name);
            if entry.kept.is_none() {
                entry.kept = Some(Kept::default());
                entry.keep(name);
            }
        }
    }

    /// Notified when the addresses of a followed name have changed.
    pub(super) fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    /// The known addresses of a name, sorted. For a followed name, they include those that are kept
    /// while lookups fail.
    pub(super) fn ips(&self, name: &str) -> Vec<IpAddr> {
        let Some(Entry { kept, found, .. }) = self.names.get(name) else { return Vec::new() };
        match (kept, found) {
            (Some(kept), _) => kept.ips().to_vec(),
            (None, Some(found)) => Kept::of(found).ips().to_vec(),
            (None, None) => Vec::new(),
        }
    }

    /// The result of the last lookup of a name; `None` if there was none.
    pub(super) fn found(&self, name: &str) -> Option<&Found> {
        self.names.get(name)?.found.as_ref()
    }

    /// Looks a name up at once, or once [`SHORTEST`] has passed since the last lookup.
    fn hurry(&mut self, name: &str) {
        if let Some(entry) = self.names.get(name) {
            entry.hurry.notify_one();
        }
    }

    /// The name was looked up.
    fn answer(&mut self, name: &Arc<str>, found: &Found) {
        let Some(entry) = self.names.get_mut(name) else { return };
        let before = entry.found.replace(found.clone());
        log_change(name, before.as_ref(), found);
        if entry.keep(name) {
            self.changed.notify_one();
        }
        entry.first = Vec::new();
        for &(worker, _) in &entry.users {
            let (name, found) = (name.clone(), found.clone());
            // A worker that has ended needs no names.
            let _ = self.workers[worker].send(Command::Resolved { name, found });
        }
    }

    /// The entry of a name. If it is new, a task starts to look the name up.
    fn entry(&mut self, name: &str) -> &mut Entry {
        // Most names are known; those need no memory for a new key.
        let name = match self.names.get_key_value(name) {
            Some((known, _)) => known.clone(),
            None => name.into(),
        };
        let Self { names, resolver, at_once, myself, .. } = self;
        names.entry(name).or_insert_with_key(|name| {
            let hurry = Arc::new(Notify::new());
            let follower = Follower {
                name: name.clone(),
                resolver: resolver.clone(),
                at_once: at_once.clone(),
                hurry: hurry.clone(),
                book: myself.clone(),
            };
            let task = tokio::spawn(follower.follow()).abort_handle();
            Entry { users: Vec::new(), found: None, kept: None, hurry, first: Vec::new(), task }
        })
    }
}

impl Entry {
    fn is_used(&self) -> bool {
        !self.users.is_empty() || self.kept.is_some()
    }

    /// Keeps the addresses of the last lookup, if the name is followed. Returns whether they have
    /// changed.
    fn keep(&mut self, name: &str) -> bool {
        let (Some(kept), Some(found)) = (&mut self.kept, &self.found) else { return false };
        let before = kept.left_out();
        let has_changed = kept.learn(found);
        let left_out = kept.left_out();
        if left_out > before {
            let (most, what) = (Found::MAX, "a name has too many addresses: some are not probed");
            tracing::warn!(name, left_out, most, "{what}");
        }
        has_changed
    }
}

/// Logs that lookups of a name have begun or ceased to fail. The failure of a first lookup is
/// reported by the program that started the probe.
fn log_change(name: &str, before: Option<&Found>, found: &Found) {
    let Some(before) = before.map(|before| before.of(IpVersion::Auto)) else { return };
    match (before, found.of(IpVersion::Auto)) {
        (Ok(_), Err(reason)) => {
            tracing::warn!(name, reason = reason.label(), "cannot resolve a name, retrying");
        }
        (Err(before), Err(reason)) if before != reason => {
            tracing::info!(name, reason = reason.label(), "still cannot resolve a name");
        }
        (Err(_), Ok(addresses)) => {
            let addresses: Vec<_> = addresses.iter().map(|it| it.ip().to_string()).collect();
            tracing::info!(name, addresses = addresses.join(", "), "resolved a name again");
        }
        (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
    }
}

/// Looks a name up for as long as it has targets.
#[derive(Debug)]
struct Follower {
    name: Arc<str>,
    resolver: Arc<Resolver>,
    at_once: Arc<Semaphore>,
    hurry: Arc<Notify>,
    book: Weak<Mutex<Book>>,
}

impl Follower {
    /// Looks the name up periodically, and reports the results to the book.
    async fn follow(self) {
        let mut pace = Pace::default();
        loop {
            let Lookup { found, ttl } = {
                let _permit = self.at_once.acquire().await;
                self.resolver.look_up(&self.name).await
            };
            let pause = pace.after(&found, ttl);
            let Some(book) = self.book.upgrade() else { return };
            lock(&book).answer(&self.name, &found);
            drop(book);
            let quiet = pause.min(SHORTEST);
            sleep(quiet).await;
            // A worker that asked meanwhile, or that asks now, ends the pause.
            let _ = timeout(pause.saturating_sub(quiet), self.hurry.notified()).await;
        }
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    // A panic cannot leave a book inconsistent.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
impl Names {
    /// Ends the lookups of a name, and uses `found` as their answer.
    pub(super) fn answer(&self, name: &str, found: &Found) {
        let mut book = self.book();
        book.entry(name).task.abort();
        book.answer(&name.into(), found);
    }

    /// The result of the last lookup of a name; `None` if there was none.
    pub(super) fn found(&self, name: &str) -> Option<Found> {
        self.book().found(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    /// So long that a lookup has ended.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn known(names: &Names, name: &str) -> Option<Vec<SocketAddr>> {
        let book = names.book();
        let found = book.names.get(name).and_then(|entry| entry.found.as_ref());
        found.map(|found| found.addresses().to_vec())
    }

    /// The names in the commands that are waiting, each with its number of addresses.
    fn resolved(commands: &mut UnboundedReceiver<Command>) -> Vec<(String, usize)> {
        let mut resolved = Vec::new();
        while let Ok(Command::Resolved { name, found }) = commands.try_recv() {
            resolved.push((name.to_string(), found.addresses().len()));
        }
        resolved
    }

    type Crew = (Names, [UnboundedReceiver<Command>; 2], UnboundedSender<Arc<str>>);

    fn crew() -> Crew {
        let (one, first) = unbounded_channel();
        let (other, second) = unbounded_channel();
        let (lookups, wanted) = unbounded_channel();
        (Names::new(vec![one, other], wanted), [first, second], lookups)
    }

    #[tokio::test]
    async fn a_failed_lookup_is_recorded_and_delays_no_other() {
        let (names, _commands, _lookups) = crew();
        // An interface that does not exist: no name server is asked.
        let unknown = "fe80::1%nowhere";
        let looked_up = names.look_up([unknown, "localhost"], PATIENCE).await;
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
        let (names, _commands, _lookups) = crew();
        names.book().join("localhost", 0);
        let _looked_up = names.look_up(["localhost"], PATIENCE).await;
        assert!(known(&names, "localhost").is_some_and(|found| found[0].ip().is_loopback()));
    }

    #[tokio::test]
    async fn each_worker_receives_an_answer_once_for_all_targets_of_a_name() {
        let (names, mut commands, _lookups) = crew();
        {
            let mut book = names.book();
            for _ in 0..1000 {
                assert_eq!(book.join("localhost", 1), None);
            }
            // The answer of the name's task.
            let name = "localhost".into();
            book.answer(&name, &["127.0.0.1:0".parse().unwrap()].into());
            assert_eq!(book.join("localhost", 0).map(|found| found.addresses().len()), Some(1));
            assert_eq!(resolved(&mut commands[0]), []);
            assert_eq!(resolved(&mut commands[1]), [("localhost".to_owned(), 1)]);
            book.answer(&name, &[].into());
            assert_eq!(resolved(&mut commands[0]), [("localhost".to_owned(), 0)]);
            assert_eq!(resolved(&mut commands[1]), [("localhost".to_owned(), 0)]);
        }
    }

    #[tokio::test]
    async fn a_name_that_thousands_of_targets_ask_for_is_looked_up_once() {
        let (names, mut commands, lookups) = crew();
        names.book().join("localhost", 0);
        let _looked_up = names.look_up(["localhost"], PATIENCE).await;
        assert_eq!(resolved(&mut commands[0]).len(), 1);
        for _ in 0..10_000 {
            lookups.send("localhost".into()).unwrap();
            lookups.send("unknown.example".into()).unwrap();
        }
        let answer = timeout(PATIENCE, commands[0].recv()).await.unwrap();
        assert!(matches!(answer, Some(Command::Resolved { .. })), "{answer:?}");
        // The next lookup is a minute away.
        assert!(timeout(SHORTEST + SHORTEST / 5, commands[0].recv()).await.is_err());
    }

    #[tokio::test]
    async fn a_lookup_ends_with_the_last_target_of_its_name() {
        let (names, mut commands, _lookups) = crew();
        let task = {
            let mut book = names.book();
            book.join("localhost", 0);
            book.join("localhost", 0);
            book.join("localhost", 1);
            book.leave("localhost", 0);
            book.leave("localhost", 1);
            book.answer(&"localhost".into(), &[].into());
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
