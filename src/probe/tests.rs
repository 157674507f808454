//! The probe over loopback, with a plain socket that reflects.

mod per_address;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::config::{Config, Target, parse_target};
use crate::model::{Label as _, State, UnsentReason};
use crate::net;
use crate::observe::{ProbeSample, ProbeSource, TargetGlance, TargetSample};
use crate::wire::{self, Arrived};

/// A reflector on a thread of its own, until it is dropped.
struct Reflector {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reflector {
    fn start() -> Self {
        Self::start_at("127.0.0.1:0").unwrap()
    }

    fn start_at(address: &str) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut datagram = [0; wire::MAX_DATAGRAM];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((len, peer)) = socket.recv_from(&mut datagram) else { continue };
                let now = net::now().wall;
                let request = wire::recognise(&datagram[..len], now).unwrap();
                let mut reply = Vec::new();
                request.reflect(Arrived::new(now, None), now, &mut reply);
                socket.send_to(&reply, peer).unwrap();
            }
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// `count` targets at one address, by all protocols that responders answer, in turn.
fn config(count: usize, address: SocketAddr) -> Config {
    let protocols: Vec<_> = wire::reflecting().map(|(protocol, _)| protocol.name()).collect();
    let targets = protocols.into_iter().cycle().take(count).enumerate().map(|(n, protocol)| {
        let text = format!("{protocol}://{address}");
        let mut target = parse_target(&text, &Config::default().defaults).unwrap();
        target.name = format!("target {n}");
        target.interval = Duration::from_millis(20);
        target.timeout = Duration::from_secs(10);
        target
    });
    Config::default().with_targets(targets).unwrap()
}

#[tokio::test]
async fn workers_share_the_targets_and_a_sample_has_them_all_in_order() {
    let reflector = Reflector::start();
    let options = RunOptions {
        detail: Detail::Changes,
        begin: Begin::Spread,
        limit: Some(5),
        workers: NonZeroUsize::new(3).unwrap(),
    };
    let (probe, _events) = Probe::start(config(60, reflector.address), options).await.unwrap();
    net::in_time(probe.settled()).await;

    let sample = probe.sample().await.unwrap();
    for (n, target) in sample.targets.iter().enumerate() {
        assert_eq!(target.target.name, format!("target {n}"));
        let record = &target.session.record;
        let skipped = record.unsent.iter().sum::<u64>();
        assert_eq!((record.sent + skipped, record.lost, target.session.in_flight), (5, 0, 0));
        assert_eq!((record.received, record.rtt.count()), (record.sent, record.sent));
    }
    assert_eq!(sample.targets.len(), 60);
    let sent: u64 = sample.targets.iter().map(|target| target.session.record.sent).sum();
    assert_eq!(sample.schedule_lag.count(), sent);
    assert_eq!(sample.timestamps.iter().sum::<u64>(), sent);
    assert!(probe.is_ready());
}

#[tokio::test]
async fn details_of_a_few_targets_come_in_the_requested_order() {
    let reflector = Reflector::start();
    let options = RunOptions {
        detail: Detail::Changes,
        begin: Begin::Spread,
        limit: Some(20),
        workers: NonZeroUsize::new(3).unwrap(),
    };
    let (probe, _events) = Probe::start(config(60, reflector.address), options).await.unwrap();
    net::in_time(probe.settled()).await;

    assert!(ProbeSource::knows(&probe, "target 0") && ProbeSource::knows(&probe, "target 59"));
    assert!(!ProbeSource::knows(&probe, "target 60"));
    let wanted = [41, 60, 3, 17, 3].map(|n| format!("target {n}"));
    let looks = probe.look(wanted.into()).await.unwrap();
    let names: Vec<&str> = looks.iter().map(|look| look.sample.target.name.as_str()).collect();
    assert_eq!(names, ["target 41", "target 3", "target 17", "target 3"]);
    for look in looks {
        let numbers: Vec<u64> = look.recording.newest.iter().map(|h| h.sequence).collect();
        assert_eq!(numbers, (4..20).collect::<Vec<_>>());
    }
    assert!(probe.look(Vec::new()).await.unwrap().is_empty());

    let overview = probe.glance().await.unwrap();
    let sample = probe.sample().await.unwrap();
    assert_eq!(overview.targets.len(), 60);
    for (n, TargetGlance { target, glance }) in overview.targets.iter().enumerate() {
        assert_eq!(target.name, format!("target {n}"));
        // A busy machine may lose some.
        let record = &sample.targets[n].session.record;
        assert_eq!(u64::from(glance.misses.missed), record.lost + record.unsent_misses());
        assert_eq!((glance.state, glance.changes), (Some(State::Up), 1));
        assert!(glance.last_rtt.is_some() && glance.p50 <= glance.p99);
    }
}

#[tokio::test]
async fn a_stopped_probe_sends_nothing_more_and_can_still_be_sampled() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut config = config(4, silent.local_addr().unwrap());
    for target in &mut config.targets {
        Arc::make_mut(target).timeout = Duration::from_millis(50);
    }
    let options = RunOptions {
        detail: Detail::Heartbeats,
        begin: Begin::AtOnce,
        limit: None,
        workers: NonZeroUsize::MIN,
    };
    let (probe, mut events) = Probe::start(config, options).await.unwrap();
    while !probe.is_ready() {
        net::in_time(events.recv()).await.unwrap();
    }
    net::in_time(probe.stop()).await;
    let first = probe.sample().await.unwrap();
    let second = probe.sample().await.unwrap();
    for (first, second) in first.targets.iter().zip(&second.targets) {
        let record = &first.session.record;
        assert!(record.lost > 0);
        assert_eq!((record.sent, first.session.in_flight), (record.lost, 0));
        assert_eq!(record.sent, second.session.record.sent);
    }
}

/// The target of this name in a sample.
fn of<'a>(sample: &'a ProbeSample, name: &str) -> &'a TargetSample {
    sample.targets.iter().find(|target| target.target.name == name).unwrap()
}

/// Waits for a sample in which `holds` is true, for at most a minute. Checks every ledger in every
/// sample.
async fn sampled(probe: &Probe, holds: impl Fn(&ProbeSample) -> bool) -> ProbeSample {
    let waiting = async {
        loop {
            let sample = probe.sample().await.unwrap();
            for target in &sample.targets {
                let (record, in_flight) = (&target.session.record, target.session.in_flight);
                assert_eq!(record.sent, record.received + record.lost + in_flight);
            }
            if holds(&sample) {
                return sample;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.unwrap()
}

fn received(target: &TargetSample) -> u64 {
    target.session.record.received
}

#[tokio::test]
async fn targets_come_go_and_change_while_the_others_go_on() {
    let (reflector, silent) = (Reflector::start(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let options = RunOptions {
        detail: Detail::Changes,
        begin: Begin::Spread,
        limit: None,
        workers: NonZeroUsize::new(2).unwrap(),
    };
    let (probe, _events) = Probe::start(config(9, reflector.address), options).await.unwrap();
    let all = |wanted: u64| {
        move |sample: &ProbeSample| sample.targets.iter().all(|target| received(target) >= wanted)
    };
    let first = sampled(&probe, all(3)).await;
    assert_eq!(first.targets.len(), 9);

    // The same again, in another order: nothing is touched.
    let mut same = config(9, reflector.address);
    same.targets.reverse();
    let applied = probe.apply(same.clone()).await.unwrap();
    assert_eq!(applied, Applied { unchanged: 9, ..Applied::default() });
    let turned = probe.sample().await.unwrap();
    assert_eq!(turned.targets[0].target.name, "target 8");
    assert!(turned.config_loaded_at > first.config_loaded_at);
    for target in &first.targets {
        assert!(received(of(&turned, &target.target.name)) >= received(target));
    }

    // Target 0 is removed, 1 gets another interval and a label, 2 another address, 3 another
    // protocol, and 9 is added.
    let mut changed = config(10, reflector.address);
    let edit = |config: &mut Config, n: usize, change: &dyn Fn(&mut Target)| {
        change(Arc::make_mut(&mut config.targets[n]));
    };
    edit(&mut changed, 1, &|target| {
        target.interval = Duration::from_millis(10);
        target.labels.insert("site".to_owned(), "fra".to_owned());
    });
    edit(&mut changed, 2, &|target| target.address.port = silent.local_addr().unwrap().port());
    let other = changed.targets[4].protocol.clone();
    edit(&mut changed, 3, &|target| target.protocol = other.clone());
    changed.targets.remove(0);
    let before = probe.sample().await.unwrap();
    let applied = probe.apply(changed.clone()).await.unwrap();
    let expected = Applied { added: 2, removed: 2, retuned: 2, unchanged: 5 };
    assert_eq!(applied, expected);
    let at_once = probe.sample().await.unwrap();
    let names: Vec<_> = at_once.targets.iter().map(|t| t.target.name.clone()).collect();
    assert_eq!(names, (1..10).map(|n| format!("target {n}")).collect::<Vec<_>>());
    assert!(at_once.label_names.contains("site"));
    assert!(!probe.knows("target 0") && probe.knows("target 9"));
    assert!(probe.look(vec!["target 0".to_owned()]).await.unwrap().is_empty());

    let later = sampled(&probe, |sample| {
        let grown = |n: usize| {
            let name = format!("target {n}");
            received(of(sample, &name)) > received(of(&before, &name)) + 3
        };
        let moved = of(sample, "target 2").session.record.sent
            > of(&before, "target 2").session.record.sent + 3;
        (4..9).all(grown) && grown(1) && moved && received(of(sample, "target 9")) > 3
    })
    .await;
    for n in 4..9 {
        let record = &of(&later, &format!("target {n}")).session.record;
        assert_eq!((record.duplicates, record.invalid.iter().sum::<u64>()), (0, 0), "target {n}");
    }
    assert_eq!(of(&later, "target 2").address_changes, 1);
    assert_eq!(of(&later, "target 2").address.map(|address| address.port()), {
        silent.local_addr().ok().map(|address| address.port())
    });
    // With another protocol, target 3 has started anew.
    let anew = &of(&later, "target 3").session.record;
    assert!(anew.sent > 0 && anew.invalid.iter().sum::<u64>() == 0);

    // A target with the name of a removed one is a new target.
    changed.targets.push(same.targets[8].clone());
    assert_eq!(changed.targets[9].name, "target 0");
    assert_eq!(probe.apply(changed.clone()).await.unwrap().added, 1);
    let again = probe.sample().await.unwrap();
    assert!(received(of(&again, "target 0")) < received(of(&before, "target 0")));
    assert_eq!(again.targets[9].target.name, "target 0");
    let again = sampled(&probe, |sample| received(of(sample, "target 0")) > 3).await;
    let record = &of(&again, "target 0").session.record;
    assert_eq!((record.duplicates, record.invalid.iter().sum::<u64>()), (0, 0));

    // A configuration with an error changes nothing; one without targets removes all.
    let mut twice = changed.clone();
    twice.targets.push(changed.targets[0].clone());
    twice.targets.remove(1);
    assert!(matches!(probe.apply(twice).await, Err(ApplyError::Duplicate(_))));
    assert_eq!(probe.sample().await.unwrap().targets.len(), 10);
    assert_eq!(probe.apply(Config::default()).await.unwrap().removed, 10);
    assert!(probe.sample().await.unwrap().targets.is_empty());
    probe.settled().await;
}

#[tokio::test]
async fn concurrent_configurations_are_applied_one_after_the_other() {
    let reflector = Reflector::start();
    let options = RunOptions {
        detail: Detail::Changes,
        begin: Begin::Spread,
        limit: None,
        workers: NonZeroUsize::new(3).unwrap(),
    };
    let (probe, _events) = Probe::start(Config::default(), options).await.unwrap();
    assert_eq!(probe.sample().await.unwrap().targets.len(), 0);
    let sizes = [300, 40, 200, 1, 120];
    let sampling = async {
        for _ in 0..20 {
            // Each sample has all targets of one of the configurations.
            let sample = probe.sample().await.unwrap();
            let names: Vec<_> = sample.targets.iter().map(|t| t.target.name.as_str()).collect();
            let expected: Vec<_> = (0..names.len()).map(|n| format!("target {n}")).collect();
            assert_eq!(names, expected);
        }
    };
    let apply = |n: usize| probe.apply(config(sizes[n], reflector.address));
    let (first, second, third, fourth, last, ()) =
        tokio::join!(apply(0), apply(1), apply(2), apply(3), apply(4), sampling);
    let mut len = 0;
    for (applied, size) in [first, second, third, fourth, last].into_iter().zip(sizes) {
        let Applied { added, removed, retuned, unchanged } = applied.unwrap();
        assert_eq!((retuned, unchanged), (0, len.min(size)));
        assert_eq!((added, removed), (size.saturating_sub(len), len.saturating_sub(size)));
        len = size;
    }
    assert_eq!(probe.sample().await.unwrap().targets.len(), 120);
    sampled(&probe, |sample| sample.targets.iter().all(|target| received(target) > 1)).await;
    assert!(probe.is_ready());
}

#[tokio::test]
async fn a_new_name_is_looked_up_and_known_to_later_targets() {
    let reflector = Reflector::start();
    let port = reflector.address.port();
    let named = |name: &str| {
        let defaults = Config::default().defaults;
        let mut target = parse_target(&format!("localhost:{port}"), &defaults).unwrap();
        target.name = name.to_owned();
        target.interval = Duration::from_millis(20);
        target
    };
    let options = RunOptions {
        detail: Detail::Changes,
        begin: Begin::AtOnce,
        limit: None,
        workers: NonZeroUsize::new(2).unwrap(),
    };
    let (probe, _events) = Probe::start(Config::default(), options).await.unwrap();
    let one = Config::default().with_targets([named("a")]).unwrap();
    probe.apply(one.clone()).await.unwrap();
    let is_resolved = |target: &TargetSample| target.resolved;
    let sample = probe.sample().await.unwrap();
    assert!(sample.targets.iter().all(is_resolved), "the new name has been awaited");
    let many = one.with_targets(["b", "c", "d"].map(named)).unwrap();
    probe.apply(many).await.unwrap();
    let sample = probe.sample().await.unwrap();
    assert_eq!(sample.targets.len(), 4);
    assert!(sample.targets.iter().all(is_resolved), "known addresses need no lookup");
}

#[tokio::test]
async fn a_target_that_gets_a_new_name_misses_nothing() {
    let reflector = Reflector::start();
    let at = |host: &str| {
        let text = format!("{host}:{}", reflector.address.port());
        let target = parse_target(&text, &Config::default().defaults).unwrap();
        let interval = Duration::from_millis(20);
        let target = Target { name: "a".to_owned(), interval, ..target };
        Config::default().with_targets([target]).unwrap()
    };
    let options = RunOptions {
        detail: Detail::Changes,
        begin: Begin::AtOnce,
        limit: None,
        workers: NonZeroUsize::MIN,
    };
    let (probe, _events) = Probe::start(at("127.0.0.1"), options).await.unwrap();
    for host in ["localhost", "127.0.0.1", "localhost"] {
        assert_eq!(probe.apply(at(host)).await.unwrap().retuned, 1);
        let before = received(of(&probe.sample().await.unwrap(), "a"));
        let sample = sampled(&probe, |sample| received(of(sample, "a")) > before).await;
        let unsent = &of(&sample, "a").session.record.unsent;
        assert_eq!(unsent[UnsentReason::Unresolved.index()], 0, "at {host}");
    }
}

#[tokio::test]
async fn targets_of_one_question_can_swap_their_addresses() {
    // So many targets that a change takes several rounds; they swap addresses in pairs.
    let ports = |n: u16| 20_000 + n;
    let config = |port_of: &dyn Fn(u16) -> u16| {
        let targets = (0..200).map(|n| {
            let text = format!("dns://127.0.0.1:{}", port_of(n));
            let target = parse_target(&text, &Config::default().defaults).unwrap();
            Target { name: format!("target {n}"), interval: Duration::from_secs(3_600), ..target }
        });
        Config::default().with_targets(targets).unwrap()
    };
    let options = RunOptions {
        detail: Detail::Changes,
        begin: Begin::Spread,
        limit: None,
        workers: NonZeroUsize::MIN,
    };
    let (probe, _events) = Probe::start(config(&ports), options).await.unwrap();
    let swapped = |n: u16| ports(n ^ 1);
    // In a ring, each target takes the address of the next.
    let rotated = |n: u16| ports((n + 1) % 200);
    for port_of in [&swapped as &dyn Fn(u16) -> u16, &ports, &rotated] {
        probe.apply(config(port_of)).await.unwrap();
        let sample = probe.sample().await.unwrap();
        for (n, target) in (0..).zip(&sample.targets) {
            let port = target.address.map(|address| address.port());
            assert_eq!(port, Some(port_of(n)), "{}", target.target.name);
        }
    }
    let sample = probe.sample().await.unwrap();
    assert!(sample.targets.iter().all(|target| target.address_changes == 3));
}
