//! The probe over loopback, against a plain socket that reflects.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::*;
use crate::config::parse_target;
use crate::model::State;
use crate::observe::TargetGlance;
use crate::wire::{self, Arrived};

/// A reflector on a thread of its own, until it is dropped.
struct Reflector {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reflector {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut datagram = [0; wire::MAX_DATAGRAM];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((len, peer)) = socket.recv_from(&mut datagram) else { continue };
                let now = net::now().wall;
                let protocol = wire::recognise(&datagram[..len], now).unwrap();
                let mut reply = Vec::new();
                let arrived = Arrived::new(now, None);
                protocol.reflect(&datagram[..len], arrived, now, &mut reply);
                socket.send_to(&reply, peer).unwrap();
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// `count` targets at one address, by all protocols in turn.
fn config(count: usize, address: SocketAddr) -> Config {
    let targets = (0..count).map(|n| {
        let protocol = wire::PROTOCOLS[n % wire::PROTOCOLS.len()].name();
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
    let options = Options {
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
async fn a_few_targets_are_looked_at_in_the_order_in_which_they_are_asked_for() {
    let reflector = Reflector::start();
    let options = Options {
        detail: Detail::Changes,
        begin: Begin::Spread,
        limit: Some(20),
        workers: NonZeroUsize::new(3).unwrap(),
    };
    let (probe, _events) = Probe::start(config(60, reflector.address), options).await.unwrap();
    net::in_time(probe.settled()).await;

    assert_eq!(ProbeSource::find(&probe, "target 0"), Some(0));
    assert_eq!(ProbeSource::find(&probe, "target 59"), Some(59));
    assert_eq!(ProbeSource::find(&probe, "target 60"), None);
    let looks = probe.look(vec![41, 60, 3, 17, 3]).await.unwrap();
    let names: Vec<&str> = looks.iter().map(|look| look.sample.target.name.as_str()).collect();
    assert_eq!(names, ["target 41", "target 3", "target 17", "target 3"]);
    for look in looks {
        let numbers: Vec<u64> = look.recording.newest.iter().map(|h| h.sequence).collect();
        assert_eq!(numbers, (4..20).collect::<Vec<_>>());
    }
    assert!(probe.look(Vec::new()).await.unwrap().is_empty());

    let overview = probe.glance().await.unwrap();
    assert_eq!(overview.targets.len(), 60);
    for (n, TargetGlance { target, glance }) in overview.targets.iter().enumerate() {
        assert_eq!(target.name, format!("target {n}"));
        assert_eq!((glance.state, glance.changes), (Some(State::Up), 1));
        assert_eq!(glance.misses.missed, 0);
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
    let options = Options {
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

#[test]
fn shares_are_disjoint_complete_and_spread_over_the_interval() {
    let config = config(1000, "127.0.0.1:9".parse().unwrap());
    let shares = shares(&config, NonZeroUsize::new(4).unwrap());
    let mut places: Vec<usize> = shares.iter().flatten().copied().collect();
    places.sort_unstable();
    assert_eq!(places, (0..1000).collect::<Vec<_>>());
    for share in shares {
        // Binomial with n = 1000, p = 1/4: five standard deviations are 68.
        assert!((182..=318).contains(&share.len()), "{}", share.len());
        let second = Duration::from_secs(1);
        let early = share
            .iter()
            .filter(|&&place| phase(&config.targets[place].name, second) < second / 2)
            .count();
        // Binomial with n < 318, p = 1/2: five standard deviations are less than 45.
        assert!(early.abs_diff(share.len() / 2) < 45, "{early} of {}", share.len());
    }
}
