//! The coordinator of a running probe: it knows which worker has which target, and changes the
//! targets when the configuration or the addresses of a template's name change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::config::{Config, Host, Target, unique_names};
use crate::model::{Label as _, Wall};
use crate::net;
use crate::observe::Unavailable;

use super::command::{Command, Order};
use super::crew::Hand;
use super::error::ApplyError;
use super::expansion::expand;
use super::names::{Book, LookedUp, Names};
use super::roster::{Applied, Preview, Roster, Succession};

/// How long new names are awaited, so that the first heartbeats of their targets have addresses.
#[cfg(not(test))]
const FIRST_LOOKUP: Duration = Duration::from_secs(2);

/// So long that tests do not depend on a fast machine.
#[cfg(test)]
const FIRST_LOOKUP: Duration = Duration::from_secs(60);

/// The shortest time between two changes of targets because addresses have changed.
const PAUSE: Duration = Duration::from_secs(1);

/// How many names one log line has at most.
const LOGGED: usize = 10;

/// The coordinator of a running probe. When it is dropped, the workers end.
#[derive(Debug)]
pub(super) struct Coordinator {
    pub(super) crew: Vec<Hand>,
    state: Mutex<State>,
    names: Names,
    /// Locked while a configuration waits for its names, so that configurations are applied in the
    /// order of the calls, and no change of addresses is applied in between.
    turn: tokio::sync::Mutex<()>,
}

/// The present targets.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) roster: Arc<Roster>,
    /// The targets of the configuration in force, including templates.
    configured: Arc<[Arc<Target>]>,
    /// When the configuration in force was loaded.
    pub(super) loaded_at: Wall,
    /// Whether a newer configuration could not be loaded.
    pub(super) has_failed: bool,
}

/// Reports that a worker has changed its targets.
type Done = oneshot::Receiver<()>;

impl Coordinator {
    /// A coordinator of these workers, which have no targets yet.
    pub(super) fn new(crew: Vec<Hand>, names: Names, roster: Roster) -> Self {
        let (roster, configured) = (Arc::new(roster), Arc::default());
        let loaded_at = net::now().wall;
        let state = State { roster, configured, loaded_at, has_failed: false };
        Self { crew, state: Mutex::new(state), names, turn: tokio::sync::Mutex::default() }
    }

    /// Looks up new names, and then orders the workers to probe the targets of `wanted`. Each
    /// receiver reports when its worker does so.
    ///
    /// # Errors
    /// If names of targets are not unique, or a worker has ended. Nothing has been changed then.
    pub(super) async fn apply(&self, wanted: &Config) -> Result<(Applied, Vec<Done>), ApplyError> {
        let _turn = self.turn.lock().await;
        let _looked_up = look_up(&self.names, &wanted.targets).await;
        self.put(wanted)
    }

    /// Orders the workers to probe the targets of `wanted`, whose names have been looked up. Each
    /// receiver reports when its worker does so.
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply).
    pub(super) fn put(&self, wanted: &Config) -> Result<(Applied, Vec<Done>), ApplyError> {
        let mut state = self.lock();
        let (roster, applied, done) = self.commit(&state.roster, &wanted.targets)?;
        *state = State {
            roster: Arc::new(roster),
            configured: wanted.targets.as_slice().into(),
            loaded_at: net::now().wall,
            has_failed: false,
        };
        Ok((applied, done))
    }

    /// What [`apply`](Self::apply) would change. New names of templates are looked up.
    ///
    /// # Errors
    /// If names of targets are not unique.
    pub(super) async fn preview(&self, wanted: &Config) -> Result<Preview, ApplyError> {
        unique_names(&wanted.targets)?;
        let templates = wanted.targets.iter().filter(|target| target.template_name().is_some());
        let templates: Vec<_> = templates.cloned().collect();
        let _turn = self.turn.lock().await;
        let _looked_up = look_up(&self.names, &templates).await;
        let targets = {
            let book = self.names.book();
            expand(&wanted.targets, |name| book.ips(name))
        };
        Ok(self.state().roster.preview(&targets)?)
    }

    /// Changes the targets of templates whenever the addresses of their names change, at most once
    /// a second, until the coordinator is dropped.
    pub(super) async fn follow(coordinator: Weak<Self>) {
        let Some(strong) = coordinator.upgrade() else { return };
        let changed = strong.names.book().changed();
        drop(strong);
        loop {
            changed.notified().await;
            let Some(coordinator) = coordinator.upgrade() else { return };
            // An error means that a worker has ended: nothing can be changed any more.
            let Ok(done) = coordinator.refresh().await else { return };
            drop(coordinator);
            for done in done {
                // As above.
                let _ = done.await;
            }
            sleep(PAUSE).await;
        }
    }

    /// Orders the workers to probe the targets of the configuration in force at the newest
    /// addresses. It remains the same configuration.
    async fn refresh(&self) -> Result<Vec<Done>, ApplyError> {
        let _turn = self.turn.lock().await;
        let mut state = self.lock();
        let before = state.roster.clone();
        let (roster, applied, done) = self.commit(&before, &state.configured)?;
        state.roster = Arc::new(roster);
        drop(state);
        if applied.added + applied.removed > 0 {
            log_changes(&before, &self.state().roster);
        }
        Ok(done)
    }

    /// Orders the workers to probe the targets `configured`, templates at the newest addresses.
    /// Returns the new roster, and for each worker a receiver that reports when it does so.
    fn commit(
        &self,
        roster: &Roster,
        configured: &[Arc<Target>],
    ) -> Result<(Roster, Applied, Vec<Done>), ApplyError> {
        if self.crew.iter().any(|hand| hand.commands.is_closed()) {
            return Err(Unavailable.into());
        }
        let templates: BTreeSet<_> =
            configured.iter().filter_map(|target| target.template_name()).collect();
        // Before anything changes.
        unique_names(configured)?;
        // Locked until the orders are sent: an answer from now on is newer than the addresses in
        // the orders, and must arrive after them.
        let mut book = self.names.book();
        book.follow(&templates);
        let targets = expand(configured, |name| book.ips(name));
        let Succession { roster, mut orders, leaving, applied } = roster.succession(&targets)?;
        for (worker, orders) in orders.iter_mut().enumerate() {
            for order in orders {
                let (Order::Add(_, addressed) | Order::Retune(_, addressed)) = order else {
                    continue;
                };
                if let Some(name) = addressed.target.lookup_name() {
                    addressed.found = book.join(name, worker);
                }
            }
        }
        // Last, so that a name that moves from one target to another stays known.
        for (worker, target) in &leaving {
            if let Some(name) = target.lookup_name() {
                book.leave(name, *worker);
            }
        }
        warn_of_absent(&orders, &book);
        let mut all = Vec::new();
        for (hand, orders) in self.crew.iter().zip(orders) {
            let (to, done) = oneshot::channel();
            // If the worker has just ended, `done` ends with an error.
            let _ = hand.commands.send(Command::Apply(orders, to));
            all.push(done);
        }
        Ok((roster, applied, all))
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// A configuration could not be loaded.
    pub(super) fn note_failed_reload(&self) {
        self.lock().has_failed = true;
    }

    /// The present targets.
    pub(super) fn state(&self) -> State {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is only replaced as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks up the names of `targets`; see [`Names::look_up`].
pub(super) async fn look_up(names: &Names, targets: &[Arc<Target>]) -> LookedUp {
    let hosts: BTreeSet<_> = targets.iter().filter_map(|target| target.lookup_name()).collect();
    names.look_up(hosts, FIRST_LOOKUP).await
}

/// Logs the templates whose names have no address: these orders add a target for each that sends
/// nothing.
fn warn_of_absent(orders: &[Vec<Order>], book: &Book) {
    let mut absent = BTreeSet::new();
    for order in orders.iter().flatten() {
        if let Order::Add(_, addressed) = order
            && let Some(name) = addressed.target.template_name()
        {
            let found = book.found(name).map(|it| it.of(addressed.target.admitted_version()));
            let why = found.and_then(Result::err).map_or("no answer yet", |why| why.label());
            absent.insert(format!("{name} ({why})"));
        }
    }
    if absent.is_empty() {
        return;
    }
    let count = absent.len();
    let names = absent.into_iter().take(LOGGED).collect::<Vec<_>>().join(", ");
    tracing::warn!(
        count,
        names,
        "names have no address: no heartbeats are sent for them until a lookup succeeds"
    );
}

/// Logs the addresses that names have gained and lost.
fn log_changes(before: &Roster, after: &Roster) {
    type Ips = BTreeSet<IpAddr>;
    let mut names: BTreeMap<&str, [Ips; 2]> = BTreeMap::new();
    for (side, roster) in [before, after].into_iter().enumerate() {
        for target in roster.targets() {
            if let (Some(name), &Host::Ip(ip)) = (target.lookup_name(), &target.address.host) {
                names.entry(name).or_default()[side].insert(ip);
            }
        }
    }
    let list = |from: &Ips, without: &Ips| {
        from.difference(without).map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    for (name, [before, after]) in names.iter().filter(|(_, [before, after])| before != after) {
        let (new, gone) = (list(after, before), list(before, after));
        tracing::info!(name, new, gone, "the addresses of a name have changed");
    }
}
