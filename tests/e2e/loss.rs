//! Impaired links: the probe's counts must equal the responder's exactly.

use udp_heartbeat::impair::{Fate, Impairment, LinkSettings};
use udp_heartbeat::model::Mono;

use crate::program::{Running, own_address, until};
use crate::scrape::{Begun, Ledger, Metrics, get};

/// Which of the first `count` requests `--loss 30% --seed SEED` drops.
pub(crate) fn drops(seed: u64, count: u64) -> Vec<bool> {
    let mut link = Impairment::new(
        LinkSettings { loss: 0.3, seed, ..LinkSettings::default() },
        Mono::default(),
    );
    (0..count).map(|_| matches!(link.judge(Mono::default()), Fate::Drop(_))).collect()
}

/// The lengths of the loss periods that an answer has ended.
fn completed_runs(drops: &[bool]) -> Vec<usize> {
    let mut runs: Vec<usize> = drops.split(|dropped| !dropped).map(<[_]>::len).collect();
    // Losses after the last answer are not a completed run.
    runs.pop();
    runs.retain(|&run| run > 0);
    runs
}

#[test]
fn a_run_of_losses_is_completed_by_an_answer() {
    let drops: Vec<bool> = "xx..x.xxx".chars().map(|fate| fate == 'x').collect();
    assert_eq!(completed_runs(&drops), [2, 1]);
}

#[test]
fn the_ledger_adds_up_at_every_scrape_and_equals_the_responder_s_counts() {
    const SEED: u64 = 11;
    let responder = Running::responder(&["--loss=30%", &format!("--seed={SEED}")]);
    let mut probe = Running::probe_of(&format!(
        "targets: [{{name: lossy, address: \"{}\", interval: 5ms, timeout: 5s}}]\n",
        responder.udp[0]
    ));

    // `Metrics::read` checks that the ledger adds up.
    let mut before = Ledger::default();
    let mut in_flight = 0;
    let mut check = |metrics: &Metrics| {
        let now = metrics.ledger("lossy");
        assert!(now.sent >= before.sent && now.received >= before.received, "{before:?} {now:?}");
        assert!(now.lost >= before.lost, "{before:?} {now:?}");
        before = now;
        in_flight = in_flight.max(now.in_flight);
        now
    };
    until("800 heartbeats have been sent", || {
        let settled = check(&probe.metrics());
        (settled.sent >= 800 && settled.lost > 0).then_some(())
    });
    let (ledger, last) = settle(&mut probe, &mut check);
    assert!(in_flight > 1, "heartbeats are pipelined");
    assert_eq!(probe.ended().0, Some(0));

    let Ledger { sent, received, lost, in_flight } = ledger;
    let truth = responder.metrics();
    let late = last.of("lossy", "late_total");
    assert_eq!(in_flight, 0);
    assert_eq!(truth.responder("received_total", ("protocol", "heartbeat")), sent);
    assert_eq!(truth.responder("replied_total", ("protocol", "heartbeat")), received + late);
    assert_eq!(truth.responder("dropped_total", ("reason", "loss")) + late, lost);
    assert_eq!(late, 0, "five seconds are enough on any machine");

    // The seed determines every loss.
    let drops = drops(SEED, sent);
    assert_eq!(lost, drops.iter().filter(|&&dropped| dropped).count() as u64);
    let runs = completed_runs(&drops);
    assert_eq!(last.of("lossy", "loss_burst_length_count"), runs.len() as u64);
    assert_eq!(last.of("lossy", "loss_burst_length_sum"), runs.iter().sum::<usize>() as u64);
    for bound in [1, 2, 3, 5, 10] {
        assert_eq!(
            last.of_by("lossy", "loss_burst_length_bucket", ("le", &bound.to_string())),
            runs.iter().filter(|&&run| run <= bound).count() as u64,
            "runs of up to {bound}"
        );
    }

    // 99.9 % of binomial samples are within 3.29 standard deviations.
    let deviation = (0.3 * 0.7 / sent as f64).sqrt();
    let loss = lost as f64 / sent as f64;
    assert!((loss - 0.3).abs() <= 3.29 * deviation, "{loss}");
}

/// Stops the probe and scrapes it until HTTP ends. Returns the final figures, from a request that
/// was begun before the probe was stopped.
fn settle(probe: &mut Running, check: &mut impl FnMut(&Metrics) -> Ledger) -> (Ledger, Metrics) {
    let last = Begun::get(probe.http, "/metrics").unwrap();
    probe.signal("TERM");
    probe.logged("stopping once the heartbeats in flight are settled");
    let mut sent = None;
    until("HTTP ends", || {
        let Ok(answer) = get(probe.http, "/metrics") else { return Some(()) };
        let now = check(&Metrics::read(answer.body)).sent;
        assert_eq!(*sent.get_or_insert(now), now, "nothing more is sent");
        None
    });
    let metrics = Metrics::read(last.finish().unwrap().body);
    (check(&metrics), metrics)
}

#[test]
fn the_probe_counts_impaired_replies_like_the_responder() {
    // Several impairments at once, without loss.
    let responder =
        Running::responder(&["--duplicate=20%", "--reorder=10%,50ms", "--corrupt=10%", "--seed=3"]);
    let mut probe = Running::probe_of(&format!(
        "targets: [{{name: bad, address: \"{}\", protocol: stamp, interval: 5ms, timeout: 5s}}]\n",
        responder.udp[0]
    ));
    let mut check = |metrics: &Metrics| metrics.ledger("bad");
    until("400 heartbeats have been sent", || (check(&probe.metrics()).sent >= 400).then_some(()));
    let (ledger, last) = settle(&mut probe, &mut check);
    let truth = responder.metrics();
    let sent = truth.responder("received_total", ("protocol", "stamp"));
    let copies = truth.responder("replied_total", ("protocol", "stamp"))
        + truth.responder("impaired_total", ("kind", "duplicate"));
    assert_eq!(ledger.sent, sent);
    assert_eq!(ledger.in_flight, 0);
    assert_eq!(last.of("bad", "late_total"), 0);

    // Every copy is counted exactly once.
    let invalid = last.sum("heartbeat_invalid_replies_total");
    let unmatched = last.sum("heartbeat_probe_unmatched_total");
    let valid = ledger.received + last.of("bad", "duplicates_total");
    assert_eq!((valid + invalid, unmatched), (copies, 0));
    // A flipped bit in a field that is not checked (unused, or a timestamp of the responder) leaves
    // the reply valid; any other makes it invalid.
    let corrupt = truth.responder("impaired_total", ("kind", "corrupt"));
    assert!(invalid > 0 && invalid <= corrupt, "{invalid} of {corrupt}");
    assert!(last.of("bad", "reordered_total") > 0);
    assert!(last.of("bad", "duplicates_total") > 0);
}

/// Losses in both directions, in bursts and by limited bandwidth, and reordering by three replies.
#[test]
fn probe_and_responder_count_the_same_with_many_impairments() {
    // At 64 kbit/s, a reply of 44 octets and 28 of headers takes 9 ms; a request comes every 5 ms.
    let responder = Running::responder(&[
        "--loss=5%",
        "--burst-loss=1%,40%",
        "--direction=both",
        "--bandwidth=64kbit,40ms",
        "--jitter=2ms",
        "--jitter-shape=normal",
        "--reorder=5%",
        "--reorder-extent=3",
        "--seed=5",
    ]);
    let mut probe = Running::probe_of(&format!(
        "targets: [{{name: bad, address: \"{}\", protocol: stamp, interval: 5ms, timeout: 5s}}]\n",
        responder.udp[0]
    ));
    let mut check = |metrics: &Metrics| metrics.ledger("bad");
    let reasons = |truth: &Metrics| {
        let dropped = |reason| truth.responder("dropped_total", ("reason", reason));
        ["loss", "burst_loss", "overflow"].map(dropped)
    };
    // On a busy machine, heartbeats are skipped, and the queue of the link takes longer to fill.
    until("600 heartbeats have been sent, and some dropped for every reason", || {
        let is_enough = check(&probe.metrics()).sent >= 600;
        (is_enough && !reasons(&responder.metrics()).contains(&0)).then_some(())
    });
    let (ledger, last) = settle(&mut probe, &mut check);
    let truth = responder.metrics();
    assert_eq!(truth.responder("received_total", ("protocol", "stamp")), ledger.sent);
    assert_eq!(truth.responder("replied_total", ("protocol", "stamp")), ledger.received);
    assert_eq!(reasons(&truth).iter().sum::<u64>(), ledger.lost);
    assert_eq!((last.of("bad", "late_total"), ledger.in_flight), (0, 0));
    // Jitter of 2 ms cannot reorder replies that are 9 ms apart; only replies held back can be.
    let held = truth.responder("impaired_total", ("kind", "reorder"));
    let reordered = last.of("bad", "reordered_total");
    assert!(reordered > 0 && reordered <= held, "{reordered} of {held}");
}

/// Two targets that share a socket of the probe. Nothing listens at the address of one.
#[test]
fn an_absent_target_does_not_affect_another() {
    let responder = Running::responder(&[]);
    let absent = own_address();
    let probe = Running::probe_of(&format!(
        "defaults: {{interval: 2ms, timeout: 60s}}
targets:
  - {{name: good, address: \"{}\"}}
  - {{name: absent, address: \"{absent}\", timeout: 2ms}}
",
        responder.udp[0]
    ));
    let metrics = until("300 heartbeats have been sent to each", || {
        let metrics = probe.metrics();
        let enough = |target| metrics.of(target, "sent_total") >= 300;
        (enough("good") && enough("absent")).then_some(metrics)
    });
    assert_eq!(metrics.of("good", "lost_total"), 0);
    assert_eq!(metrics.of("good", "up"), 1);
    assert_eq!(metrics.of("absent", "received_total"), 0);
    assert_eq!(metrics.of("absent", "up"), 0);
    let icmp = |target| metrics.of_by(target, "icmp_errors_total", ("kind", "port_unreachable"));
    assert_eq!(icmp("good"), 0);
    assert!(icmp("absent") > 0);
    for target in ["good", "absent"] {
        for reason in ["unresolved", "no_route", "refused", "buffer", "other"] {
            let unsent = metrics.of_by(target, "unsent_total", ("reason", reason));
            assert_eq!(unsent, 0, "{target}: {reason}");
        }
    }
}
