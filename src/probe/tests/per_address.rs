//! Targets for the addresses of names that change: each change is made without touching the others.
//!
//! The answers about a name are given by the test. No name server is asked.

use super::*;
use crate::model::{Addresses, Found, LookupFailure};

/// Sockets that reflect at one port of several loopback addresses.
fn reflectors<const N: usize>(ips: [&str; N]) -> (u16, [Reflector; N]) {
    for _ in 0..100 {
        let first = Reflector::start_at(&format!("{}:0", ips[0])).unwrap();
        let port = first.address.port();
        let rest = ips[1..].iter().map(|ip| Reflector::start_at(&format!("{ip}:{port}")));
        // Another program may have the port at one of the addresses.
        if let Ok(rest) = rest.collect::<Result<Vec<_>, _>>() {
            let all: Vec<_> = std::iter::once(first).chain(rest).collect();
            return (port, all.try_into().unwrap_or_else(|_| panic!("one for each address")));
        }
    }
    panic!("no port is free at all addresses");
}

fn found(ips: &[&str]) -> Found {
    let v4 = ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
    Found::new(Ok(v4), Err(LookupFailure::NoAddress))
}

/// A target for each address of `name`.
fn each(name: &str, host: &str, port: u16) -> Target {
    let target = parse_target(&format!("{host}:{port}"), &Config::default().defaults).unwrap();
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_secs(10));
    let addresses = Addresses::All;
    Target { name: name.to_owned(), addresses, interval, timeout, ..target }
}

fn options(workers: usize) -> RunOptions {
    RunOptions {
        detail: Detail::Changes,
        begin: Begin::Spread,
        limit: None,
        workers: NonZeroUsize::new(workers).unwrap(),
    }
}

/// A probe without targets. No name server is asked about names for which [`answer`] was called.
async fn probe(options: RunOptions) -> Probe {
    Probe::start(Config::default(), options).await.unwrap().0
}

fn answer(probe: &Probe, name: &str, found: &Found) {
    probe.coordinator.names().answer(name, found);
}

fn names(sample: &ProbeSample) -> Vec<String> {
    sample.targets.iter().map(|target| target.target.name.clone()).collect()
}

/// Waits for a sample with exactly these targets.
async fn with_targets(probe: &Probe, wanted: &[&str]) -> ProbeSample {
    sampled(probe, |sample| names(sample) == wanted).await
}

fn config_of(targets: impl IntoIterator<Item = Target>) -> Config {
    Config::default().with_targets(targets).unwrap()
}

#[tokio::test]
async fn targets_at_unchanged_addresses_are_not_touched() {
    let (port, _reflectors) = reflectors(["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    let limit = 150;
    let probe = probe(RunOptions { limit: Some(limit), ..options(2) }).await;
    answer(&probe, "pool.test", &found(&["127.0.0.2", "127.0.0.1"]));
    let other = Target { addresses: Addresses::First, ..each("other", "127.0.0.3", port) };
    let config = config_of([each("pool", "pool.test", port), other]);
    let applied = probe.apply(config.clone()).await.unwrap();
    assert_eq!(applied, Applied { added: 3, ..Applied::default() });
    probe.note_failed_reload();
    let first = sampled(&probe, |sample| sample.targets.iter().all(|it| received(it) >= 3)).await;
    assert_eq!(names(&first), ["pool 127.0.0.1", "pool 127.0.0.2", "other"]);
    for (target, ip) in first.targets.iter().zip(["127.0.0.1", "127.0.0.2"]) {
        assert_eq!(target.target.labels["ip"], ip);
        assert_eq!(target.address, Some(SocketAddr::new(ip.parse().unwrap(), port)));
    }
    assert!(first.label_names.contains("ip"));

    // One address comes and one goes; then once more.
    let start = net::now().mono;
    answer(&probe, "pool.test", &found(&["127.0.0.3", "127.0.0.2"]));
    let second = with_targets(&probe, &["pool 127.0.0.2", "pool 127.0.0.3", "other"]).await;
    answer(&probe, "pool.test", &found(&["127.0.0.2", "127.0.0.3", "127.0.0.1"]));
    let all = ["pool 127.0.0.1", "pool 127.0.0.2", "pool 127.0.0.3", "other"];
    let third = with_targets(&probe, &all).await;
    let between = net::now().mono.since(start);
    assert!(between >= Duration::from_secs(1), "changes are made once a second: {between:?}");
    // An answer without news changes nothing.
    answer(&probe, "pool.test", &found(&["127.0.0.3", "127.0.0.2", "127.0.0.1"]));

    for name in ["pool 127.0.0.2", "other"] {
        let [first, second, third] = [&first, &second, &third].map(|it| of(it, name));
        assert!(received(first) <= received(second) && received(second) <= received(third));
        assert!(Arc::ptr_eq(&first.target, &third.target));
    }
    for sample in [&second, &third] {
        assert_eq!(sample.config_loaded_at, first.config_loaded_at);
        assert!(!sample.config_is_newest, "the reload has still failed");
    }
    net::in_time(probe.settled()).await;
    let last = probe.sample().await.unwrap();
    assert_eq!(names(&last), all);
    for target in &last.targets {
        let record = &target.session.record;
        let unsent = record.unsent.iter().sum::<u64>();
        assert_eq!((record.sent + unsent, record.lost, record.duplicates), (limit, 0, 0));
        assert_eq!((record.received, target.address_changes), (record.sent, 0));
        assert_eq!(unsent, record.unsent[UnsentReason::Skipped.index()]);
        assert_eq!(record.invalid.iter().sum::<u64>(), 0);
    }
    // A reload of the same configuration changes nothing either.
    let applied = probe.apply(config).await.unwrap();
    assert_eq!(applied, Applied { unchanged: 4, ..Applied::default() });
    assert!(probe.sample().await.unwrap().config_is_newest);
}

#[tokio::test]
async fn a_name_without_an_address_has_a_target_that_is_down() {
    let (port, _reflectors) = reflectors(["127.0.0.1", "127.0.0.2"]);
    let probe = probe(options(3)).await;
    answer(&probe, "pool.test", &Found::failed(LookupFailure::ServFail));
    probe.apply(config_of([each("pool", "pool.test", port)])).await.unwrap();
    let is_down = |sample: &ProbeSample| sample.targets[0].session.state == Some(State::Down);
    let absent = sampled(&probe, is_down).await;
    assert_eq!(names(&absent), ["pool"]);
    let target = &absent.targets[0];
    assert_eq!((target.target.labels["ip"].as_str(), target.resolved), ("", false));
    assert_eq!((target.address, target.session.record.sent), (None, 0));
    assert!(target.session.record.unsent[UnsentReason::Unresolved.index()] >= 3);

    answer(&probe, "pool.test", &found(&["127.0.0.1", "127.0.0.2"]));
    let both = ["pool 127.0.0.1", "pool 127.0.0.2"];
    let present = with_targets(&probe, &both).await;
    // A failed lookup does not show that the name has no address.
    for why in [LookupFailure::Timeout, LookupFailure::ServFail, LookupFailure::Unreachable] {
        answer(&probe, "pool.test", &Found::failed(why));
        let failing = sampled(&probe, |it| it.targets[0].lookup_failure == Some(why)).await;
        assert_eq!(names(&failing), both);
    }
    let failing = sampled(&probe, |sample| {
        sample.targets.iter().all(|target| received(target) > 3 && !target.resolved)
    })
    .await;
    for name in both {
        assert!(Arc::ptr_eq(&of(&present, name).target, &of(&failing, name).target));
        assert_eq!(of(&failing, name).lookup_failures().map(|(_, n)| n).sum::<u64>(), 3);
    }
    // A reload meanwhile keeps them as well.
    let applied = probe.apply(config_of([each("pool", "pool.test", port)])).await.unwrap();
    assert_eq!(applied, Applied { unchanged: 2, ..Applied::default() });

    answer(&probe, "pool.test", &Found::failed(LookupFailure::NxDomain));
    let absent = with_targets(&probe, &["pool"]).await;
    assert_eq!(absent.targets[0].session.record.sent, 0, "it has new counters");
}

#[tokio::test]
async fn the_newest_configuration_and_the_newest_addresses_win() {
    let probe = probe(options(2)).await;
    let ips: Vec<_> = (1..=9).map(|n| format!("127.0.0.{n}")).collect();
    let some = |n: usize| ips.iter().skip(n % 7).step_by(1 + n % 2).map(String::as_str);
    answer(&probe, "pool.test", &found(&some(0).collect::<Vec<_>>()));
    for n in 1..=40 {
        let mut target = each(&format!("pool {}", n % 3), "pool.test", 9);
        target.interval = Duration::from_secs(100 + n as u64);
        let config = config_of([target]);
        let answering = async {
            tokio::task::yield_now().await;
            answer(&probe, "pool.test", &found(&some(n).collect::<Vec<_>>()));
        };
        let (applied, ()) = tokio::join!(probe.apply(config), answering);
        applied.unwrap();
    }
    let expected: Vec<_> = some(40).map(|ip| format!("pool 1 {ip}")).collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    let last = with_targets(&probe, &expected).await;
    for target in &last.targets {
        assert_eq!(target.target.interval, Duration::from_secs(140));
    }
}

#[tokio::test]
async fn a_preview_has_the_targets_of_each_address_and_changes_nothing() {
    let probe = probe(options(1)).await;
    answer(&probe, "pool.test", &found(&["127.0.0.1", "127.0.0.2"]));
    let config = config_of([each("pool", "pool.test", 9)]);
    probe.apply(config.clone()).await.unwrap();
    let preview = probe.preview(&config).await.unwrap();
    assert_eq!(preview, Preview { unchanged: 2, ..Preview::default() });
    let slow = Target { interval: Duration::from_secs(9), ..each("pool", "pool.test", 9) };
    let preview = probe.preview(&config_of([slow])).await.unwrap();
    assert_eq!(preview.retuned, ["pool 127.0.0.1", "pool 127.0.0.2"]);
    // A name that no target has yet.
    answer(&probe, "new.test", &found(&["127.0.0.3"]));
    let preview = probe.preview(&config_of([each("new", "new.test", 9)])).await.unwrap();
    assert_eq!(preview.added, ["new 127.0.0.3"]);
    assert_eq!(preview.removed, ["pool 127.0.0.1", "pool 127.0.0.2"]);
    assert_eq!(names(&probe.sample().await.unwrap()), ["pool 127.0.0.1", "pool 127.0.0.2"]);
    assert!(probe.coordinator.names().found("new.test").is_none(), "it is forgotten");
    // The name is still followed.
    answer(&probe, "pool.test", &found(&["127.0.0.4"]));
    with_targets(&probe, &["pool 127.0.0.4"]).await;

    let mut taken = config_of([each("pool", "pool.test", 9)]);
    taken.targets.push(Arc::new(each("pool 192.0.2.9", "127.0.0.1", 9)));
    assert!(matches!(probe.preview(&taken).await, Err(ApplyError::Duplicate(_))));
    assert!(matches!(probe.apply(taken).await, Err(ApplyError::Duplicate(_))));
    assert_eq!(names(&probe.sample().await.unwrap()), ["pool 127.0.0.4"]);
}

#[tokio::test]
async fn a_name_that_targets_share_is_followed_until_its_last_template_goes() {
    let probe = probe(options(2)).await;
    answer(&probe, "pool.test", &found(&["127.0.0.1"]));
    let one = Target { addresses: Addresses::First, ..each("one", "pool.test", 9) };
    let all = config_of([each("a", "pool.test", 9), one.clone(), each("b", "pool.test", 10)]);
    probe.apply(all).await.unwrap();
    answer(&probe, "pool.test", &found(&["127.0.0.2"]));
    let sample = with_targets(&probe, &["a 127.0.0.2", "one", "b 127.0.0.2"]).await;
    let ports: Vec<_> = sample.targets.iter().map(|target| target.target.address.port).collect();
    assert_eq!(ports, [9, 9, 10]);
    sampled(&probe, |sample| {
        of(sample, "one").address.is_some_and(|it| it.ip().to_string() == "127.0.0.2")
    })
    .await;
    probe.apply(config_of([one])).await.unwrap();
    answer(&probe, "pool.test", &found(&["127.0.0.3"]));
    sampled(&probe, |sample| {
        of(sample, "one").address.is_some_and(|it| it.ip().to_string() == "127.0.0.3")
    })
    .await;
    assert_eq!(names(&probe.sample().await.unwrap()), ["one"]);
    probe.apply(Config::default()).await.unwrap();
    assert!(probe.coordinator.names().found("pool.test").is_none(), "it is forgotten");
}

#[tokio::test]
async fn nothing_keeps_a_probe_that_is_dropped_or_changes_one_that_is_stopped() {
    let first = probe(options(1)).await;
    answer(&first, "pool.test", &found(&["127.0.0.1"]));
    first.apply(config_of([each("pool", "pool.test", 9)])).await.unwrap();
    // It makes a change, and then waits for the next.
    answer(&first, "pool.test", &found(&["127.0.0.2"]));
    with_targets(&first, &["pool 127.0.0.2"]).await;
    let (coordinator, following) = (Arc::downgrade(&first.coordinator), first.following());
    drop(first);
    assert!(coordinator.upgrade().is_none());
    net::in_time(ended(&following)).await;

    let second = probe(options(1)).await;
    let following = second.following();
    net::in_time(second.stop()).await;
    net::in_time(ended(&following)).await;
}

async fn ended(task: &tokio::task::AbortHandle) {
    while !task.is_finished() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_start_awaits_the_names_of_templates() {
    // The hosts file has the name.
    let config = config_of([each("here", "localhost", 9)]);
    let (probe, _events) = Probe::start(config, options(2)).await.unwrap();
    let sample = probe.sample().await.unwrap();
    let ip = |target: &TargetSample| target.target.labels["ip"].clone();
    assert!(!sample.targets.is_empty());
    for target in &sample.targets {
        assert!(target.address.is_some_and(|address| address.ip().is_loopback()));
        assert_eq!(target.target.name, format!("here {}", ip(target)));
        assert!(target.resolved);
    }
}
