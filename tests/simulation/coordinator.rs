//! The worker's coordinator. It queries the worker and changes its targets as a probe does, with
//! the product's own roster. It keeps in plain lists the identity of each target, the known
//! addresses of host names, and when the worker must carry out each command.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use udp_heartbeat::config::{Host, Target};
use udp_heartbeat::model::{Found, LookupFailure, Moment, Mono, TargetId};
use udp_heartbeat::observe::TargetLook;
use udp_heartbeat::probe::{
    Applied, Command, Order as WorkerOrder, Roster, Succession, WorkerGlance, WorkerSample,
};

use crate::scenario::Question;
use crate::truth::{Change, Order};

/// How many changes of targets a worker carries out in one round.
pub(crate) const CHANGES_PER_ROUND: usize = 64;

/// How many removed targets a look also asks for; the answer must have nothing for them.
const STALE_LOOKS: usize = 5;

/// The coordinator of one worker: its targets, commands and pending questions.
#[derive(Debug)]
pub(crate) struct Coordinator {
    commands: Option<UnboundedSender<Command>>,
    roster: Roster,
    names: BTreeMap<String, Name>,
    /// Every target so far, by number, including removed ones.
    targets: Vec<Known>,
    numbers: BTreeMap<TargetId, usize>,
    /// The last user of each slot.
    users: BTreeMap<u32, usize>,
    /// The largest number of targets that were present at once.
    most: usize,
    /// The number of each target by the address of its settings in memory; `settings` keeps them
    /// alive.
    by_settings: HashMap<*const Target, usize>,
    settings: Vec<Arc<Target>>,
    /// Commands that the worker has not carried out, in order, and when each was given.
    waiting: VecDeque<(Mono, Given)>,
    /// Changes that the worker is carrying out.
    changing: VecDeque<Change>,
    /// The question that waits for the end of `changing`, and the number of rounds so far.
    applying: Option<(u64, usize)>,
    /// Since when the worker has been free to carry out other commands.
    free_since: Mono,
    /// For each set of targets, the number of rounds that its changes have taken.
    pub(crate) rounds: Vec<usize>,
    /// Pending answers, by the numbers of their questions.
    pub(crate) asked: BTreeMap<u64, Asked>,
    /// Questions that the worker has reached: queries that it has begun, and changes that are done.
    reached: BTreeSet<u64>,
    questions: u64,
}

/// A present or removed target.
#[derive(Debug)]
struct Known {
    id: TargetId,
    name: String,
    is_there: bool,
}

/// What is known of a name for as long as any target has it.
#[derive(Debug, Default)]
struct Name {
    users: usize,
    /// `None` before the first lookup has ended.
    found: Option<Vec<IpAddr>>,
}

/// A command, in the types of `truth`.
#[derive(Debug)]
enum Given {
    Apply(u64, Vec<Change>),
    Resolved(String, Vec<IpAddr>),
    Look(u64, Vec<usize>),
    Other(u64),
    Stop,
}

/// A pending answer.
#[derive(Debug)]
pub(crate) enum Asked {
    /// That all changes have been carried out.
    Apply(oneshot::Receiver<()>),
    /// A sample of which only the ledgers and the counters of the whole probe are checked.
    Balance(oneshot::Receiver<WorkerSample>),
    Sample(oneshot::Receiver<WorkerSample>),
    Glance(oneshot::Receiver<WorkerGlance>),
    Look(oneshot::Receiver<Vec<Option<TargetLook>>>),
    Settle(oneshot::Receiver<()>),
}

impl Coordinator {
    /// A coordinator that has commanded nothing yet.
    pub(crate) fn new(commands: UnboundedSender<Command>) -> Self {
        Self {
            commands: Some(commands),
            roster: Roster::new(NonZeroUsize::MIN),
            names: BTreeMap::new(),
            targets: Vec::new(),
            numbers: BTreeMap::new(),
            users: BTreeMap::new(),
            most: 0,
            by_settings: HashMap::new(),
            settings: Vec::new(),
            waiting: VecDeque::new(),
            changing: VecDeque::new(),
            applying: None,
            free_since: Mono::default(),
            rounds: Vec::new(),
            asked: BTreeMap::new(),
            reached: BTreeSet::new(),
            questions: 0,
        }
    }

    /// Changes the targets to `wanted`. The product computes the orders for that, and they are
    /// checked against the definition.
    pub(crate) fn apply(&mut self, wanted: &[Arc<Target>], now: Mono) {
        let succession = self.roster.succession(wanted).expect("names are unique");
        let before: Vec<_> = self.roster.targets().cloned().collect();
        check_plan(&before, wanted, &succession);
        let Succession { roster, orders, leaving, .. } = succession;
        let [mut orders] = <[_; 1]>::try_from(orders).expect("one worker");
        let mut changes = Vec::new();
        for order in &mut orders {
            changes.push(self.change(order));
        }
        for (_, target) in &leaving {
            if let Host::Name(name) = &target.address.host {
                let users = &mut self.names.get_mut(name).expect("a name of a target").users;
                *users -= 1;
            }
        }
        self.names.retain(|_, name| name.users > 0);
        self.check_roster(&roster, wanted);
        self.roster = roster;
        let (done, is_done) = oneshot::channel();
        let question = self.expect(Asked::Apply(is_done));
        self.command(now, Given::Apply(question, changes), Command::Apply(orders, done));
    }

    /// Checks that exactly the wanted targets are present, in this order, and that slots are
    /// reused.
    fn check_roster(&mut self, roster: &Roster, wanted: &[Arc<Target>]) {
        let names: Vec<&str> = wanted.iter().map(|target| target.name.as_str()).collect();
        assert!(roster.targets().map(|target| target.name.as_str()).eq(names.iter().copied()));
        let there: BTreeMap<&str, TargetId> = self
            .targets
            .iter()
            .filter(|known| known.is_there)
            .map(|known| (known.name.as_str(), known.id))
            .collect();
        assert!(there.keys().copied().eq(names.iter().copied().collect::<BTreeSet<_>>()));
        for (name, id) in &there {
            assert_eq!(roster.find(name), Some((0, *id)));
        }
        self.most = self.most.max(there.len());
        assert!(self.slots() <= self.most, "slots are used again");
    }

    /// Records a change and fills in the known addresses of the target's host name. Checks the
    /// identity: a new one for an added target, that of the target otherwise.
    fn change(&mut self, order: &mut WorkerOrder) -> Change {
        match order {
            WorkerOrder::Add(id, addressed) => {
                let number = self.targets.len();
                assert_eq!(self.numbers.insert(*id, number), None, "{id:?} is given again");
                let user = self.users.insert(id.slot(), number);
                assert!(
                    user.is_none_or(|user| !self.targets[user].is_there),
                    "the slot of {id:?} is taken"
                );
                let target = addressed.target.clone();
                self.targets.push(Known { id: *id, name: target.name.clone(), is_there: true });
                let found = self.join(number, &target);
                addressed.found = found.as_deref().map(to_found);
                Change::Add { number, target, found }
            }
            WorkerOrder::Remove(id) => {
                let number = self.numbers[id];
                let is_there = std::mem::replace(&mut self.targets[number].is_there, false);
                assert!(is_there, "{id:?} goes twice");
                Change::Remove { number }
            }
            WorkerOrder::Retune(id, addressed) => {
                let number = self.numbers[id];
                assert!(self.targets[number].is_there, "{id:?} has gone");
                let target = addressed.target.clone();
                assert_eq!(self.targets[number].name, target.name);
                let found = self.join(number, &target);
                addressed.found = found.as_deref().map(to_found);
                Change::Retune { number, target, found }
            }
        }
    }

    /// Records that a target has these settings now. Returns the known addresses of its host name.
    fn join(&mut self, number: usize, target: &Arc<Target>) -> Option<Vec<IpAddr>> {
        let known = self.by_settings.insert(Arc::as_ptr(target), number);
        assert_eq!(known, None, "settings are no two targets'");
        self.settings.push(target.clone());
        let Host::Name(name) = &target.address.host else { return None };
        let name = self.names.entry(name.clone()).or_default();
        name.users += 1;
        name.found.clone()
    }

    /// Reports the result of a lookup to the worker, if any target has the name.
    pub(crate) fn look_up(&mut self, name: &str, found: &[IpAddr], now: Mono) {
        let Some(known) = self.names.get_mut(name) else { return };
        known.found = Some(found.to_vec());
        let command = Command::Resolved { name: name.into(), found: to_found(found) };
        self.command(now, Given::Resolved(name.to_owned(), found.to_vec()), command);
    }

    /// Sends a query to the worker, and returns the number of the question.
    pub(crate) fn ask(&mut self, question: Question, now: Mono) -> u64 {
        match question {
            Question::Sample => {
                let (to, answer) = oneshot::channel();
                self.other(Command::Sample(to), Asked::Sample(answer), now)
            }
            Question::Glance => {
                let (to, answer) = oneshot::channel();
                self.other(Command::Glance(to), Asked::Glance(answer), now)
            }
            Question::Look => {
                let (to, answer) = oneshot::channel();
                // Every other target, newest first; some removed targets; and before them an
                // identity that no target has had.
                let newest_first = (0..self.targets.len()).rev();
                let (there, gone): (Vec<_>, Vec<_>) =
                    newest_first.partition(|&number| self.targets[number].is_there);
                let gone = gone.into_iter().take(STALE_LOOKS);
                let looked: Vec<usize> = there.into_iter().step_by(2).chain(gone).collect();
                let nobody = TargetId::first(u32::try_from(self.slots()).expect("few slots"));
                let ids = looked.iter().map(|&number| self.targets[number].id);
                let ids = std::iter::once(nobody).chain(ids).collect();
                let question = self.expect(Asked::Look(answer));
                self.command(now, Given::Look(question, looked), Command::Look(ids, to));
                question
            }
        }
    }

    /// Asks for a sample that is checked as [`Asked::Balance`].
    pub(crate) fn ask_balance(&mut self, now: Mono) {
        let (to, answer) = oneshot::channel();
        self.other(Command::Sample(to), Asked::Balance(answer), now);
    }

    /// Stops the worker, and asks it to report when everything is settled.
    pub(crate) fn stop(&mut self, now: Mono) {
        self.command(now, Given::Stop, Command::Stop);
        let (to, answer) = oneshot::channel();
        self.other(Command::Settle(to), Asked::Settle(answer), now);
    }

    /// Closes the command channel.
    pub(crate) fn leave(&mut self) {
        self.commands = None;
    }

    /// Since when the oldest command has been waiting; `None` if none waits.
    pub(crate) fn commanded(&self) -> Option<Mono> {
        self.waiting.front().map(|(at, _)| *at)
    }

    /// Whether the worker has changes to carry out.
    pub(crate) fn is_changing(&self) -> bool {
        !self.changing.is_empty()
    }

    /// Whether the worker has reached this question: begun the query, or carried out all changes.
    pub(crate) fn has_reached(&self, question: u64) -> bool {
        self.reached.contains(&question)
    }

    /// What the round that begins at `now` must carry out: commands in order, up to a change of the
    /// targets; at most [`CHANGES_PER_ROUND`] of its changes; and the newest result of each lookup.
    pub(crate) fn carry_out(&mut self, now: Mono) -> Vec<Order> {
        let mut orders = Vec::new();
        let mut lookups: Vec<Order> = Vec::new();
        while self.changing.is_empty()
            && let Some((given_at, given)) = self.waiting.pop_front()
        {
            let at = given_at.max(self.free_since);
            match given {
                Given::Apply(question, changes) => {
                    let count = changes.len();
                    orders.push(Order::Apply { at, begun: Mono::default(), count });
                    self.changing = changes.into();
                    self.applying = Some((question, 0));
                    if count == 0 {
                        self.end(now);
                    }
                }
                Given::Resolved(name, found) => {
                    lookups.retain(
                        |order| !matches!(order, Order::Lookup { name: of, .. } if *of == name),
                    );
                    lookups.push(Order::Lookup { at, name, found });
                }
                Given::Look(question, looked) => {
                    self.reached.insert(question);
                    orders.push(Order::Look(question, looked, Moment::default()));
                }
                Given::Other(question) => {
                    self.reached.insert(question);
                }
                Given::Stop => orders.push(Order::Stop),
            }
        }
        if let Some((_, rounds)) = &mut self.applying {
            *rounds += 1;
            let count = self.changing.len().min(CHANGES_PER_ROUND);
            orders.extend(self.changing.drain(..count).map(Order::Change));
            if self.changing.is_empty() {
                self.end(now);
            }
        }
        orders.extend(lookups);
        orders
    }

    fn end(&mut self, now: Mono) {
        let (question, rounds) = self.applying.take().expect("changes");
        self.reached.insert(question);
        self.rounds.push(rounds);
        self.free_since = now;
    }

    /// The number of the newest target of this name, present or removed.
    pub(crate) fn newest(&self, name: &str) -> Option<usize> {
        self.targets.iter().rposition(|known| known.name == name)
    }

    /// The number of the target that has or had these settings.
    pub(crate) fn number(&self, settings: &Arc<Target>) -> usize {
        *self.by_settings.get(&Arc::as_ptr(settings)).expect("settings of a target")
    }

    /// The number of the target with this identity.
    pub(crate) fn number_of(&self, id: TargetId) -> usize {
        *self.numbers.get(&id).unwrap_or_else(|| panic!("{id:?} is nobody's"))
    }

    /// The slot of a target.
    pub(crate) fn slot(&self, number: usize) -> u32 {
        self.targets[number].id.slot()
    }

    /// All slots that were ever used are less than this.
    pub(crate) fn slots(&self) -> usize {
        self.users.last_key_value().map_or(0, |(slot, _)| *slot as usize + 1)
    }

    fn other(&mut self, command: Command, asked: Asked, now: Mono) -> u64 {
        let question = self.expect(asked);
        self.command(now, Given::Other(question), command);
        question
    }

    fn expect(&mut self, asked: Asked) -> u64 {
        self.questions += 1;
        self.asked.insert(self.questions, asked);
        self.questions
    }

    fn command(&mut self, now: Mono, given: Given, command: Command) {
        self.waiting.push_back((now, given));
        let commands = self.commands.as_ref().expect("somebody commands");
        commands.send(command).expect("the worker is there");
    }
}

/// Checks that targets are identified by name: an unchanged target gets no order, a target with
/// another protocol is removed and added again, and any other changed target is retuned. Removals
/// come first, then changed settings, then additions.
fn check_plan(before: &[Arc<Target>], wanted: &[Arc<Target>], succession: &Succession) {
    let by_name = |targets: &[Arc<Target>]| -> BTreeMap<String, Arc<Target>> {
        targets.iter().map(|target| (target.name.clone(), target.clone())).collect()
    };
    let (before, after) = (by_name(before), by_name(wanted));
    let (mut removed, mut retuned, mut added) = (0, Vec::new(), Vec::new());
    for (name, target) in &before {
        let next = after.get(name);
        removed += usize::from(next.is_none_or(|next| next.protocol != target.protocol));
    }
    for (name, target) in &after {
        match before.get(name) {
            Some(same) if same == target => {}
            Some(other) if other.protocol == target.protocol => retuned.push(name.clone()),
            Some(_) | None => added.push(name.clone()),
        }
    }
    let [orders] = succession.orders.as_slice() else { panic!("orders for one worker") };
    let kind = |order: &WorkerOrder| match order {
        WorkerOrder::Remove(_) => 0,
        WorkerOrder::Retune(..) => 1,
        WorkerOrder::Add(..) => 2,
    };
    assert!(orders.is_sorted_by_key(kind), "{orders:?}");
    let named = |wanted_kind: i32| {
        let names = orders.iter().filter(|order| kind(order) == wanted_kind);
        let names = names.filter_map(|order| match order {
            WorkerOrder::Add(_, addressed) | WorkerOrder::Retune(_, addressed) => {
                Some(addressed.target.name.clone())
            }
            WorkerOrder::Remove(_) => None,
        });
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names
    };
    let counts = Applied {
        added: added.len(),
        removed,
        retuned: retuned.len(),
        unchanged: wanted.len() - added.len() - retuned.len(),
    };
    assert_eq!((named(1), named(2)), (retuned, added), "what is retuned and what is added");
    assert_eq!(orders.iter().filter(|order| kind(order) == 0).count(), counts.removed);
    assert_eq!(succession.applied, counts);
}

/// Addresses as a resolver returns them; a name without an address does not exist.
fn to_found(found: &[IpAddr]) -> Found {
    if found.is_empty() {
        return Found::failed(LookupFailure::NxDomain);
    }
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = found.iter().partition(|ip| ip.is_ipv4());
    let [v4, v6] =
        [v4, v6].map(|ips| Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()));
    Found::new(v4, v6)
}
