//! `heartbeat-probe ping`: lines, statistics, JSON and exit codes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use udp_heartbeat::impair::{self, Impairment, LinkSettings, LossyWay};
use udp_heartbeat::model::Mono;

use crate::loss::drops;
use crate::program::{Killed, Lines, PROBE, Running, own_address, run, until};
use crate::server::{Server, sequence};

/// Runs `ping --json` and returns the exit code and the JSON.
fn json(arguments: &[&str]) -> (Option<i32>, Value) {
    let ended = run(PROBE, &[&["ping", "--json"], arguments].concat());
    assert_eq!(ended.err, "");
    (ended.code, serde_json::from_str(&ended.out).unwrap())
}

fn count(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or_else(|| panic!("{key} in {report}"))
}

#[test]
fn ping_prints_a_line_for_each_heartbeat_then_statistics() {
    let responder = Running::responder(&[]);
    let target = format!("stamp://{}", responder.udp[0]);
    let ended = run(PROBE, &["ping", &target, "-c30", "-i20ms", "-W1m"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let mut lines = ended.out.lines();
    let address = responder.udp[0];
    assert_eq!(
        lines.next(),
        Some(format!(
            "HEARTBEAT {target} ({address}), protocol stamp: 30 heartbeats, one every 20ms"
        ))
        .as_deref()
    );
    let answers: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let mut numbers = Vec::new();
    for line in &answers {
        let (number, rest) = numbered(line).unwrap();
        let rtt: f64 = rest
            .strip_prefix("ttl=255 time=")
            .unwrap()
            .strip_suffix(" ms")
            .unwrap()
            .parse()
            .unwrap();
        assert!(rtt > 0.0, "{line}");
        numbers.push(number);
    }
    // Skipped heartbeats have no line.
    assert!(numbers.is_sorted_by(|one, next| one < next) && numbers.last() < Some(&30));
    assert_eq!(lines.next(), Some(format!("--- {target} stamp statistics ---")).as_deref());
    assert_eq!(
        lines.next(),
        Some(format!(
            "{sent} sent, {sent} received, 0 lost (0.0 %), 0 late, 0 duplicated, 0 reordered",
            sent = numbers.len()
        ))
        .as_deref()
    );
    // Only on a busy machine.
    let skipped = 30 - numbers.len();
    if skipped > 0 {
        assert_eq!(lines.next(), Some(format!("{skipped} not sent: skipped")).as_deref());
    }
    let rtt = lines.next().unwrap().strip_prefix("rtt min/avg/p50/p99/max/mdev = ").unwrap();
    let rtt: Vec<f64> =
        rtt.strip_suffix(" ms").unwrap().split('/').map(|ms| ms.parse().unwrap()).collect();
    let [min, avg, p50, p99, max, _] = rtt[..] else { panic!("{rtt:?}") };
    assert!(min <= avg && avg <= max && min <= p50 && p50 <= p99 && p99 <= max, "{rtt:?}");
    assert_eq!(lines.next(), None);
}

#[test]
fn the_json_matches_the_snapshot() {
    let responder = Running::responder(&[]);
    let (answering, silent) = (responder.udp[0].to_string(), Server::silent());
    let silent = silent.address.to_string();
    let mut text = String::new();
    for (target, code) in [(&answering, 0), (&silent, 1)] {
        let ended = run(PROBE, &["ping", "--json", "-c20", "-i20ms", "-W300ms", target]);
        assert_eq!(ended.code, Some(code));
        for line in ended.out.lines() {
            let (key, value) = line.split_once("\": ").unwrap_or((line, ""));
            if value.is_empty() && key.trim_start().starts_with('"') {
                // An item of the evidence, which has more or fewer items on different machines.
                continue;
            }
            if ["cause", "summary", "advice"].iter().any(|word| key.ends_with(word)) {
                let comma = if value.ends_with(',') { "," } else { "" };
                writeln!(text, "{key}\": \"?\"{comma}").unwrap();
                continue;
            }
            if value.starts_with(|first: char| first.is_ascii_digit()) {
                let comma = if value.ends_with(',') { "," } else { "" };
                writeln!(text, "{}?{comma}", line.strip_suffix(value).unwrap()).unwrap();
            } else {
                writeln!(text, "{line}").unwrap();
            }
        }
    }
    let text = text.replace(&answering, "[answering]").replace(&silent, "[silent]");
    insta::assert_snapshot!("json", text);
}

#[test]
fn ping_counts_the_same_losses_as_the_responder() {
    const SEED: u64 = 5;
    let responder = Running::responder(&["--loss=30%", &format!("--seed={SEED}")]);
    let target = responder.udp[0].to_string();
    let (code, report) = json(&["-c400", "-i5ms", "-W10s", &target]);
    assert_eq!(code, Some(0));
    let [sent, received, lost] = ["sent", "received", "lost"].map(|key| count(&report, key));
    let skipped = report["unsent"]["skipped"].as_u64().unwrap();
    assert_eq!((sent + skipped, received + lost), (400, sent));
    assert_eq!(report["loss_ratio"].as_f64(), Some(lost as f64 / sent as f64));

    let truth = responder.metrics();
    assert_eq!(truth.responder("received_total", ("protocol", "heartbeat")), sent);
    assert_eq!(truth.responder("replied_total", ("protocol", "heartbeat")), received);
    assert_eq!(truth.responder("dropped_total", ("reason", "loss")), lost);
    assert_eq!(drops(SEED, sent).iter().filter(|&&dropped| dropped).count() as u64, lost);
}

/// The fate of a heartbeat according to the lines so far.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Answered,
    Missed,
}

/// A direct implementation of the rule for down: consecutive misses newer than the newest answer.
#[derive(Debug, Default)]
struct Reference {
    fates: BTreeMap<u64, Fate>,
    down: bool,
}

impl Reference {
    /// The longest run of misses newer than the newest answer; `all` are the numbers of heartbeats
    /// that were not skipped.
    fn run(&self, all: &[u64]) -> u64 {
        let answered = |&(_, &fate): &(&u64, &Fate)| fate == Fate::Answered;
        let newest = self.fates.iter().filter(answered).map(|(&n, _)| n).next_back();
        let newer = all.iter().filter(|&&n| newest.is_none_or(|newest| n > newest));
        let (mut longest, mut run) = (0, 0);
        for n in newer {
            run = if self.fates.get(n) == Some(&Fate::Missed) { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        longest
    }
}

/// The number in a line `seq=N …`, and the rest.
fn numbered(line: &str) -> Option<(u64, &str)> {
    let (number, rest) = line.strip_prefix("seq=")?.split_once(' ')?;
    Some((number.parse().ok()?, rest))
}

/// With random loss, runs of three losses look like outages. Each line `is down` is compared with
/// the lines before it.
#[test]
fn down_is_printed_exactly_after_three_consecutive_misses() {
    const MISSES: u64 = 3;
    let responder = Running::responder(&["--loss=30%", "--seed=8"]);
    let target = responder.udp[0].to_string();
    // The timeout is shorter than the interval, so that a run is over before the next answer.
    let ended = run(PROBE, &["ping", &target, "-c300", "-i10ms", "-W8ms"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let mut all: Vec<u64> = ended.out.lines().filter_map(numbered).map(|(n, _)| n).collect();
    all.sort_unstable();
    all.dedup();

    let mut reference = Reference::default();
    let mut due = false;
    let mut times = 0;
    for line in ended.out.lines() {
        if let Some(rest) = line.strip_prefix(&format!("{target} is down: ")) {
            assert!(due, "{line} in {}", ended.out);
            assert_eq!(rest, format!("{} consecutive misses", reference.run(&all)));
            due = false;
            times += 1;
            continue;
        }
        let Some((number, rest)) = numbered(line) else { continue };
        let lost = rest.starts_with("lost: ") || rest.starts_with("not sent: ");
        // Several losses at once are printed before the line.
        assert!(lost || !due, "{line} in {}", ended.out);
        if rest.contains("time=") {
            let before = reference.fates.insert(number, Fate::Answered);
            assert_eq!(before, None, "{line}");
            let answered = |n: &&u64| reference.fates.get(n) == Some(&Fate::Answered);
            if all.iter().rfind(answered) == Some(&number) && reference.run(&all) < MISSES {
                reference.down = false;
            }
        } else if lost || rest.starts_with("late: ") {
            reference.fates.entry(number).or_insert(Fate::Missed);
            if !reference.down && reference.run(&all) >= MISSES {
                reference.down = true;
                due = true;
            }
        }
    }
    assert!(!due);
    assert!(times > 0, "{}", ended.out);
}

#[test]
fn until_down_ends_a_run_and_the_loss_ratio_is_of_what_was_sent() {
    let responder = Running::responder(&["--loss=30%", "--seed=8"]);
    let target = responder.udp[0].to_string();
    let (code, report) = json(&["-c1000", "--until-down", "-i10ms", "-W8ms", &target]);
    assert_eq!(report["down"], true);
    let [sent, received, lost] = ["sent", "received", "lost"].map(|key| count(&report, key));
    // On a busy machine, the very first answers may all be late.
    assert_eq!(code, Some(i32::from(received == 0)));
    assert!(sent < 1000 && lost >= 3, "{report}");
    assert_eq!(sent, received + lost);
    assert_eq!(report["loss_ratio"].as_f64(), Some(lost as f64 / sent as f64));
    // The responder may read them after ping has ended.
    until("the responder has received all", || {
        let metrics = responder.metrics();
        (metrics.responder("received_total", ("protocol", "heartbeat")) == sent).then_some(())
    });
}

#[test]
fn until_down_reports_down_although_a_heartbeat_in_flight_is_answered() {
    let mut heartbeats = 0..;
    // The sixth heartbeat is answered after the third is lost, and before its own timeout.
    let server = Server::start(move |socket, request, peer| {
        if heartbeats.next() == Some(5) {
            let reply = format!("{} 0.0", sequence(request));
            let socket = socket.try_clone().unwrap();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(250));
                let _ = socket.send_to(reply.as_bytes(), peer);
            });
        }
    });
    let target = server.address.to_string();
    let (_, report) = json(&["-c1000", "--until-down", "-i100ms", "-W400ms", &target]);
    assert_eq!(report["down"], true, "{report}");
}

#[test]
fn closed_ports_and_silent_servers_have_different_diagnoses() {
    let closed = own_address().to_string();
    let arguments = ["-c1000", "--until-down", "-i20ms", "-W20ms"];
    let (code, report) = json(&[&arguments[..], &[&closed]].concat());
    assert_eq!(code, Some(1));
    assert_eq!((&report["down"], &report["rtt_seconds"]), (&true.into(), &Value::Null));
    assert_eq!(report["loss_ratio"], 1.0);
    let sent = count(&report, "sent");
    assert!((3..1000).contains(&sent), "{report}");
    assert_eq!(count(&report, "lost"), sent);
    assert!(report["icmp_errors"]["port_unreachable"].as_u64() > Some(0));

    let silent = Server::silent();
    for (target, diagnosis) in [
        (closed, "why: port unreachable: the host is up, but nothing listens on UDP port "),
        (silent.address.to_string(), "why: no answer, and no ICMP error: the host is off, "),
    ] {
        let ended = run(PROBE, &[&["ping", &target], &arguments[..]].concat());
        assert_eq!(ended.code, Some(1));
        assert_eq!(ended.out.matches(&format!("{target} is down: ")).count(), 1, "{}", ended.out);
        // Once when the target goes down, and once in the statistics. On a busy machine, the cause
        // may be that ping itself was late.
        let late = "why: the probe itself is late ";
        let shown = ended.out.matches(diagnosis).count() + ended.out.matches(late).count();
        assert_eq!(shown, 2, "{}", ended.out);
    }
}

/// A `ping` of this responder that does not end by itself, and its output.
fn endless(responder: &Running, flags: [&str; 2]) -> (Killed, Lines) {
    let mut command = Command::new(PROBE);
    command.args(["ping", &responder.udp[0].to_string(), "-c1000000"]).args(flags);
    let (child, out) = Killed::spawn(&mut command, Stdio::piped());
    (child, Lines::of(out.unwrap()))
}

#[test]
fn a_closed_standard_output_ends_ping_without_an_error() {
    let responder = Running::responder(&[]);
    let (child, mut out) = endless(&responder, ["-i10ms", "-W5m"]);
    for _ in 0..2 {
        assert!(out.next().is_some());
    }
    drop(out);
    // The second line was an answer.
    assert_eq!(child.finish(), (Some(0), String::new()));
}

#[test]
fn an_interrupt_ends_ping_with_statistics() {
    let responder = Running::responder(&[]);
    let (child, mut out) = endless(&responder, ["-i10ms", "-W5m"]);
    let begin: Vec<String> = out.by_ref().take(3).collect();
    child.signal("INT");
    let text = format!("{}\n{}", begin.join("\n"), out.rest());
    assert_eq!(child.finish(), (Some(0), String::new()));
    let answers = text.lines().filter(|line| line.contains(" time=")).count();
    let statistics = format!("{answers} sent, {answers} received, 0 lost (0.0 %), ");
    assert!(text.contains(&statistics), "{text}");
}

#[test]
fn ping_prints_the_figures_so_far_at_sigquit_and_goes_on() {
    let responder = Running::responder(&[]);
    let (child, mut out) = endless(&responder, ["-i0.01", "-W5"]);
    assert!(out.next().unwrap().ends_with("1000000 heartbeats, one every 10ms"));
    assert!(out.next().is_some());
    child.signal("QUIT");
    assert!(out.by_ref().any(|line| line.ends_with(" statistics ---")));
    assert!(out.by_ref().any(|line| line.contains(" time=")), "it goes on");
    child.signal("HUP");
    assert!(out.by_ref().any(|line| line.ends_with(" statistics ---")));
    out.rest();
    assert_eq!(child.finish(), (Some(0), String::new()));
}

#[test]
fn the_first_heartbeat_leaves_at_once_whatever_the_interval() {
    let responder = Running::responder(&[]);
    let target = responder.udp[0].to_string();
    for interval in ["-i1ms", "-i1h"] {
        let (code, report) = json(&["-c1", interval, "-W1m", &target]);
        assert_eq!((code, count(&report, "sent"), count(&report, "received")), (Some(0), 1, 1));
    }
}

#[test]
fn ping_reports_losses_by_direction() {
    const SEED: u64 = 5;
    let flags = ["--loss=20%", "--direction=both", &format!("--seed={SEED}")];
    let responder = Running::responder(&flags);
    let target = format!("stamp://{}", responder.udp[0]);
    let (code, report) = json(&["-c400", "-i5ms", "-W10s", &target]);
    assert_eq!(code, Some(0));

    let settings = LinkSettings {
        loss: 0.2,
        direction: LossyWay::Both,
        seed: SEED,
        ..LinkSettings::default()
    };
    let mut link = Impairment::new(settings, Mono::default());
    let fates: Vec<impair::Fate> =
        (0..count(&report, "sent")).map(|_| link.judge(Mono::default())).collect();
    // Losses before the first answer and after the last have no known direction.
    let is_answered = |fate: &impair::Fate| matches!(fate, impair::Fate::Deliver { .. });
    let begin = fates.iter().position(is_answered).unwrap();
    let end = fates.iter().rposition(is_answered).unwrap();
    let of =
        |is: fn(&impair::Fate) -> bool| fates[begin..end].iter().filter(|fate| is(fate)).count();
    let forward = of(|fate| matches!(fate, impair::Fate::Drop(_)));
    let backward = of(|fate| matches!(fate, impair::Fate::DropReply(_)));
    assert!(forward > 0 && backward > 0);
    let expected = serde_json::json!({"forward": forward, "backward": backward});
    assert_eq!(report["one_way_lost"], expected);
}

#[test]
fn a_stateless_responder_gives_no_losses_by_direction() {
    let responder = Running::responder(&["--loss=30%", "--seed=5", "--stamp.stateless"]);
    let target = format!("stamp://{}", responder.udp[0]);
    let (_, report) = json(&["-c100", "-i5ms", "-W1s", &target]);
    assert!(count(&report, "lost") > 0);
    assert_eq!(report["one_way_lost"], serde_json::json!({"forward": 0, "backward": 0}));
}

#[test]
fn only_requests_with_a_known_key_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = |name: &str, digit: &str, mode: u32| {
        let path = folder.path().join(name).display().to_string();
        std::fs::write(&path, digit.repeat(64)).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    let (key, another, foreign) = (
        key_file("key", "a", 0o600),
        key_file("another", "b", 0o644),
        key_file("foreign", "c", 0o600),
    );
    let flags = ["--stamp.key-file", &key, "--stamp.key-file", &another];
    let responder = Running::responder(&flags);
    let target = format!("stamp://{}", responder.udp[0]);
    // Sends up to five heartbeats, as a busy machine skips some. Returns the numbers of sent and
    // received ones.
    let few = |flags: &[&str]| {
        let (_, report) = json(&[&["-c5", "-i5ms", &target], flags].concat());
        let [sent, received] = ["sent", "received"].map(|key| count(&report, key));
        assert!((1..=5).contains(&sent), "{report}");
        (sent, received)
    };
    let (answered, received) = few(&["-W1m", "--key-file", &key]);
    assert_eq!(received, answered);
    // The other key, whose file every user may read.
    let ended = run(PROBE, &["ping", "-c1", "-W1m", "--key-file", &another, &target]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.err.contains("every user of this machine can read this key"), "{}", ended.err);
    assert!(ended.out.contains("1 sent, 1 received"), "{}", ended.out);
    let answered = answered + 1;
    let (foreign, received) = few(&["-W500ms", "--key-file", &foreign]);
    assert_eq!(received, 0);
    let (without, received) = few(&["-W500ms"]);
    assert_eq!(received, 0);
    let refused = foreign + without;
    let open = format!("ping://{}", responder.udp[0]);
    assert_eq!(run(PROBE, &["ping", "-c1", "-W200ms", &open]).code, Some(1));
    until("all requests are counted", || {
        let metrics = responder.metrics();
        let refusals = metrics.responder("dropped_total", ("reason", "unauthenticated"));
        let replies = metrics.responder("replied_total", ("protocol", "stamp"));
        (refusals + replies == refused + 1 + answered).then_some(())
    });
    let metrics = responder.metrics();
    assert_eq!(metrics.responder("dropped_total", ("reason", "unauthenticated")), refused + 1);
    assert_eq!(metrics.responder("received_total", ("protocol", "stamp")), answered + refused);
    assert_eq!(metrics.responder("replied_total", ("protocol", "stamp")), answered);
    // The log has the warning about the readable file, but no key.
    let (_, log) = responder.end("TERM");
    let log = format!("{log:?}");
    assert!(log.contains("every user of this machine can read this key"), "{log}");
    assert!(!log.contains(&"a".repeat(8)) && !log.contains(&"b".repeat(8)), "{log}");
}

#[test]
fn invalid_keys_are_reported_before_anything_is_sent() {
    for (arguments, message) in [
        (["ping", "--key-file", "/none", "stamp://127.0.0.1"], "/none cannot be read"),
        (["ping", "--key-file", "/dev/null", "stamp://127.0.0.1"], "a key of 0 octets"),
    ] {
        let ended = run(PROBE, &arguments);
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        assert!(ended.err.contains(message), "{}", ended.err);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key").display().to_string();
    std::fs::write(&path, "a".repeat(64)).unwrap();
    let ended = run(PROBE, &["ping", "--key-file", &path, "ping://127.0.0.1"]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.err.contains("protocol ping has no option key_file: the protocol must be stamp"),
        "{}",
        ended.err
    );
}
