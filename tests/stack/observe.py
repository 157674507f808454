"""The running demo, seen through the APIs of Prometheus and Alertmanager.

Nothing enters but the name of the compose project; a line for each check leaves, with the figures
that it went by, and the exit code says whether all held. On the way servers are stopped and started
again, the probe is paused, and at last everything is taken away, so that every alert has a cause.

Moments are Unix seconds; what a moment is measured against comes from the settings in force: of the
probe's metrics, Prometheus' targets and its rule groups.
"""

import datetime
import functools
import json
import math
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from queries import dashboards, rules, seconds

TOP = Path(__file__).resolve().parents[2]
RESPONDERS = ["steady", "lossy", "flaky"]
SERVICES = [*RESPONDERS, "probe", "prometheus", "alertmanager"]
# As the command lines of flaky (in seconds) and lossy say.
OUTAGE_EVERY, OUTAGE = 60, 20
LOSS = 0.3
# How often the flaky one must have been down, at least: as often as HeartbeatTargetFlapping asks.
OUTAGES = 3
# How long the probe is paused; impaired is what skips heartbeats.
PAUSE = 4
# For what has no bound of its own.
PATIENCE = 60

# What the demo cannot bring about, and why; each must be without data, or it is no exception.
NEVER = {
    "HeartbeatConfigReloadFailed": "the demo's configuration is sound",
    "HeartbeatTargetSlow": "it compares with a week ago",
}

# Metrics that no target of the demo has, and why; what asks for them must be without data.
ABSENT = {"heartbeat_results_total": "none of the demo's servers is a name server"}

failures = []


def main():
    for look in [
        confined,
        scraped,
        stops,
        flaps,
        agrees,
        dashboards_show,
        goes_dark,
        rules_tell,
    ]:
        try:
            look()
        except (OSError, LookupError, ValueError, subprocess.SubprocessError) as error:
            check(False, f"{look.__name__} could not be looked at", repr(error))
    if failures:
        print(f"{len(failures)} of the checks failed")
    return int(bool(failures))


def check(holds, what, detail=""):
    """A line for what was looked at; the detail is what was seen."""
    if not holds:
        failures.append(what)
    print(f"{'ok    ' if holds else 'FAILED'}  {what}{': ' if detail else ''}{detail}", flush=True)
    return holds


def within(seconds, ask):
    """What `ask` answers, as soon as that is something; else what it answered last."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer or not time.monotonic() < end:
            return answer
        time.sleep(0.25)


class Stack:
    """The containers of a compose project, and the APIs that they serve."""

    def __init__(self, project):
        self.project = project
        self.prometheus = f"http://127.0.0.1:{self.port('prometheus', 9090)}"
        self.alertmanager = f"http://127.0.0.1:{self.port('alertmanager', 9093)}"
        self.probe = f"http://127.0.0.1:{self.port('probe', 9862)}"

    def container(self, service):
        labels = [f"project={self.project}", f"service={service}"]
        filters = [f"--filter=label=com.docker.compose.{label}" for label in labels]
        return docker("ps", "-aq", *filters).strip()

    def inspect(self, service):
        return json.loads(docker("inspect", self.container(service)))[0]

    def port(self, service, port):
        binding, *_ = self.inspect(service)["NetworkSettings"]["Ports"][f"{port}/tcp"]
        return binding["HostPort"]

    def address(self, service):
        [network] = self.inspect(service)["NetworkSettings"]["Networks"].values()
        return network["IPAddress"]

    def do(self, command, service):
        docker(*command.split(), self.container(service))

    def metrics(self, service):
        """The series of a service at this moment, by name and labels as they are written."""
        port = 9862 if service == "probe" else 9863
        url = f"http://{self.address(service)}:{port}/metrics"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def docker(*arguments):
    command = ["docker", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if run.returncode:
        raise ValueError(f"{' '.join(command)}: {run.stderr.strip()}")
    return run.stdout


def get(url, **parameters):
    if parameters:
        url += "?" + urllib.parse.urlencode(parameters, doseq=True)
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise ValueError(f"{url}: {error.code} {error.read().decode()[:500]}") from error


def ask(path, **parameters):
    return get(f"{stack.prometheus}/api/v1/{path}", **parameters)["data"]


def query(expression, at=None):
    """The series that an expression gives now, or at a moment, each with its labels and its value."""
    result = ask("query", query=expression, time=at or time.time())["result"]
    return [(series["metric"], float(series["value"][1])) for series in result]


def value(expression, at=None):
    """The only value of an expression; none is NaN, which equals nothing and lies in no bounds."""
    series = query(expression, at)
    return series[0][1] if len(series) == 1 else math.nan


def samples(selector, since, until=None):
    """The stored samples of the only series, from a moment on, until now or another."""
    until = until or time.time()
    window = math.ceil(until - since) + 1
    result = ask("query", query=f"{selector}[{window}s]", time=until)["result"]
    pairs = [(when, float(text)) for series in result for when, text in series["values"]]
    return sorted(pair for pair in pairs if pair[0] >= since)


def moment(text):
    """Of Docker, which tells nanoseconds: more than datetime reads."""
    whole, _, rest = text.rstrip("Z").partition(".")
    begun = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
    return begun.timestamp() + float(f"0.{rest or 0}")


class Settings:
    """What the demo goes by, of its own account. In seconds, but for the misses."""

    def __init__(self):
        targets = get(f"{stack.probe}/api/v1/targets")["targets"]
        self.targets = {target["name"]: target for target in targets}
        scrapes = {target["scrapeInterval"] for target in ask("targets")["activeTargets"]}
        [self.scrape] = [seconds(scrape) for scrape in scrapes]
        groups = {group["name"]: group["interval"] for group in ask("rules")["groups"]}
        self.evaluation = groups["heartbeat-alerts"]

    def down_within(self, target):
        """How long after the last answer its alert fires at the latest, and why."""
        target = self.targets[target]
        misses = (f"{target['misses']} misses", target["misses"] * target["interval_seconds"])
        return self.told_after(misses, ("timeout", target["timeout_seconds"]))

    def up_within(self, target, *more):
        """How long after its return that alert ends at the latest, and why."""
        target = self.targets[target]
        answers = target["recoveries"] * target["interval_seconds"]
        answers = (f"answers: {target['recoveries']}", answers)
        return self.told_after(answers, ("timeout", target["timeout_seconds"]), *more)

    def stood_still(self, target, since):
        """How long a busy machine has kept the probe, or Prometheus, from their work, and why."""
        heartbeats = f'heartbeat_unsent_total{{target="{target}", reason="skipped"}}'
        skipped = value(f"max({heartbeats})") - value(f"max({heartbeats})", since)
        scrapes = [when for when, up in samples('up{job="heartbeat-probe"}', since) if up]
        gaps = [later - when for when, later in zip([since, *scrapes], scrapes)]
        parts = [
            ("skipped", skipped * self.targets[target]["interval_seconds"]),
            ("missed scrapes", sum(max(0, gap - self.scrape) for gap in gaps)),
        ]
        # Scrapes come some milliseconds early or late.
        parts = [(name, part) for name, part in parts if part > 0.1]
        return sum(part for _, part in parts), "".join(f" + {n} {p:.3g} s" for n, p in parts)

    def told_after(self, *parts):
        # But for the one that the paused probe answered late.
        durations = 'scrape_duration_seconds{job="heartbeat-probe"}[10m]'
        scrape = value(f"quantile_over_time(0.9, {durations})")
        told = [
            ("scrape interval", self.scrape),
            ("scrape", scrape),
            ("evaluation", self.evaluation),
        ]
        parts = [*parts, *told]
        bound = sum(part for _, part in parts)
        why = " + ".join(f"{name} {part:.3g} s" for name, part in parts)
        return bound, f"{why} = {bound:.2f} s"


@functools.cache
def settings():
    return Settings()


def confined():
    """Every container is healthy, and can do no more than it must."""
    for service in SERVICES:
        is_healthy = within(PATIENCE, lambda: healthy(service))
        container = stack.inspect(service)
        host, state = container["HostConfig"], container["State"]
        lines = Path(f"/proc/{state['Pid']}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        user = int(status["Uid"].split()[0])
        wrong = [
            name
            for name, holds in [
                ("not healthy", is_healthy),
                ("runs as root", user != 0),
                ("its root can be written", host["ReadonlyRootfs"] and not writes(service)),
                ("is privileged", not host["Privileged"]),
                ("keeps capabilities", host["CapDrop"] == ["ALL"] and not host["CapAdd"]),
                ("has capabilities", int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0),
                ("can gain privileges", status["NoNewPrivs"].strip() == "1"),
                ("shares a name space", not shared(host)),
                ("is open to others", on_loopback(host)),
            ]
            if not holds
        ]
        detail = ", ".join(wrong) or f"user {user}, read-only, no capability"
        check(not wrong, f"{service} is healthy and confined", detail)


def healthy(service):
    return stack.inspect(service)["State"].get("Health", {}).get("Status") == "healthy"


def writes(service):
    """Whether a file can be made anywhere but in a volume."""
    for path in ["/x", "/bin/x", "/etc/x", "/tmp/x", "/var/x"]:
        command = ["docker", "exec", stack.container(service), "/bin/touch", path]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return True
    return False


def shared(host):
    modes = [host["NetworkMode"], host["PidMode"], host["IpcMode"], host["UsernsMode"]]
    return any(mode == "host" or mode.startswith("container:") for mode in modes)


def on_loopback(host):
    bindings = [one for ports in (host["PortBindings"] or {}).values() for one in ports]
    return all(binding["HostIp"] == "127.0.0.1" for binding in bindings)


def scraped():
    """Every target of prometheus.yml is scraped, and Prometheus knows whom to tell of alerts."""
    text = (TOP / "deploy/prometheus/prometheus.yml").read_text()
    lists = re.findall(r"targets: \[(.*)\]", text[text.index("scrape_configs:") :])
    wanted = {name.strip() for names in lists for name in names.split(",")}

    def seen():
        return {t["labels"]["instance"]: t["health"] for t in ask("targets")["activeTargets"]}

    up = within(PATIENCE, lambda: seen() == dict.fromkeys(wanted, "up"))
    detail = ", ".join(f"{name} {health}" for name, health in sorted(seen().items()))
    check(up and wanted, f"all {len(wanted)} targets are scraped", detail)
    counted = "heartbeat_up and on () heartbeat_responder_received_total"
    known = within(PATIENCE, lambda: len(query(counted)) == len(RESPONDERS))
    check(known, "every server has a verdict, and every responder its counts")
    managers = within(PATIENCE, lambda: ask("alertmanagers")["activeAlertmanagers"])
    check(managers, "Prometheus has its Alertmanager", "".join(m["url"] for m in managers))


def alert_samples(name, since, **labels):
    matchers = "".join(f', {label}="{text}"' for label, text in labels.items())
    return samples(f'ALERTS{{alertname="{name}", alertstate="firing"{matchers}}}', since)


def managed(name, **labels):
    """The alerts of that name that Alertmanager has, with what it does with them."""
    matchers = [f'alertname="{name}"', *(f'{label}="{text}"' for label, text in labels.items())]
    return get(f"{stack.alertmanager}/api/v2/alerts", filter=matchers)


def inhibited(by, name, **labels):
    """Whether Alertmanager holds back all alerts of that name, on account of another."""
    sources = {alert["fingerprint"] for alert in managed(by)}
    held = managed(name, **labels)
    return bool(sources) and bool(held) and all(
        alert["status"]["state"] == "suppressed" and sources & set(alert["status"]["inhibitedBy"])
        for alert in held
    )


def stops():
    """A server that is stopped fires its alert in time, which clears once it is back."""
    before = stack.address("steady")
    # What it lost before is known once it has been seen for a while.
    recorded = 'target:heartbeat_down_by_chance:probability1h{target="steady"}'
    check(within(PATIENCE, lambda: query(recorded)), "the odds of steady are recorded")
    fires("steady", stops_well("steady"))

    # As it had lost nothing.
    odds = "with a chance of 0%"
    known = within(PATIENCE, lambda: odds in told_odds("steady"))
    check(known, "its alert knows the odds", told_odds("steady"))
    impairs()

    # Docker forgets the name, which the probe looks up again within a minute.
    resolved = 'heartbeat_resolved{target="steady"} == 0'
    unresolved = within(60 + PATIENCE, lambda: query(resolved))
    check(unresolved, "the name of a stopped container does not resolve")

    stack.do("start", "steady")
    started = moment(stack.inspect("steady")["State"]["StartedAt"])
    same = stack.address("steady") == before
    clears(started, same)


def stops_well(service):
    """Stops a service, which ends by itself; when it had."""
    stack.do("stop -t 60", service)
    state = stack.inspect(service)["State"]
    check(state["ExitCode"] == 0, f"{service} ends on SIGTERM", f"exit code {state['ExitCode']}")
    return moment(state["FinishedAt"])


def told_odds(target):
    alerts = managed("HeartbeatTargetDown", target=target)
    return " ".join(alert["annotations"]["odds"] for alert in alerts)


def fires(target, since):
    bound, why = settings().down_within(target)
    name = "HeartbeatTargetDown"
    fired = within(bound + PATIENCE, lambda: alert_samples(name, since, target=target))
    if fired:
        took = fired[0][0] - since
        stood, more = settings().stood_still(target, since)
        detail = f"after {took:.1f} s; {why}{more}"
        check(took <= bound + stood, f"{name} of {target} fires in time", detail)
    else:
        check(False, f"{name} of {target} fires", f"not even {PATIENCE} s after {why}")
    known = within(PATIENCE, lambda: managed(name, target=target))
    check(known, f"Alertmanager knows that {target} is down")


def clears(since, same_address):
    # Names are looked up again after a minute at the latest.
    more = [] if same_address else [("lookup of its new address", 60)]
    bound, why = settings().up_within("steady", *more)
    name = "HeartbeatTargetDown"

    def cleared():
        active = [alert["labels"] for alert in ask("alerts")["alerts"]]
        return not any(a["alertname"] == name and a["target"] == "steady" for a in active)

    is_cleared = within(bound + PATIENCE, cleared)
    # It is gone with the evaluation after the last that it was seen in.
    fired = [when for when, _ in alert_samples(name, since, target="steady")]
    took = max(fired, default=since) + settings().evaluation - since
    what = "it clears in time after the start"
    stood, reason = settings().stood_still("steady", since)
    check(is_cleared and took <= bound + stood, what, f"after {took:.1f} s; {why}{reason}")
    gone = within(PATIENCE, lambda: not managed(name, target="steady"))
    check(gone, "Alertmanager has let go of it")


def impairs():
    """A probe that was held up says so, and its alerts about targets are held back meanwhile."""
    stack.do("pause", "probe")
    time.sleep(PAUSE)
    stack.do("unpause", "probe")
    impaired = within(PATIENCE, lambda: value("heartbeat_probe_impaired") == 1)
    skipped = value('sum(heartbeat_unsent_total{reason="skipped"})')
    check(impaired, f"a probe that was paused for {PAUSE} s is impaired", f"{skipped:g} skipped")
    held = within(PATIENCE, lambda: inhibited("HeartbeatProbeImpaired", "HeartbeatTargetDown"))
    check(held, "Alertmanager holds back what an impaired probe claims", states())


def states():
    """What Alertmanager does with each alert."""
    words = set()
    for alert in get(f"{stack.alertmanager}/api/v2/alerts"):
        labels = [alert["labels"]["alertname"], alert["labels"].get("target")]
        words.add(" ".join(filter(None, [*labels, alert["status"]["state"]])))
    return ", ".join(sorted(words))


def flaps():
    """The server that is down for a part of each minute is called down as often as it was."""
    started = float(stack.metrics("flaky")["process_start_time_seconds"])
    # A while after the last of its outages, all is settled. However late it is by now, what is
    # looked at is that moment.
    settled_after = settings().down_within("flaky")[0]
    so_far = math.ceil((time.time() - started - settled_after) / OUTAGE_EVERY)
    count = max(OUTAGES, so_far)
    end = started + count * OUTAGE_EVERY + settled_after
    time.sleep(max(0, end - time.time()))
    outages = outages_told(started, end)
    spans = [f"{o[0] - started:.0f} to {o[-1] - started:.0f}" for o in outages]
    detail = f"scrapes tell of them {', '.join(spans)} s after its start"
    check(len(outages) == count, f"the responder flaky had {count} outages", detail)
    downs = value('heartbeat_state_changes_total{target="flaky", state="down"}', end)
    ups = value('heartbeat_state_changes_total{target="flaky", state="up"}', end)
    check(downs == len(outages), "the probe counted each of them", f"{downs:g} times down")
    check(ups == downs + 1, "and each return", f"{ups:g} times up, the first included")

    target = settings().targets["flaky"]
    latest = target["misses"] * target["interval_seconds"] + target["timeout_seconds"]
    down = value('heartbeat_down_seconds_total{target="flaky"}', end) / count
    # Each verdict, and each return, may be later by the heartbeats that were skipped before it.
    skipped = value('heartbeat_unsent_total{target="flaky", reason="skipped"}', end)
    stood = skipped * target["interval_seconds"] / count
    low, high = OUTAGE - latest - stood, OUTAGE + target["interval_seconds"] + stood
    detail = f"{down:.2f} s each, of {low:g} to {high:g} s"
    check(low <= down <= high, "and how long it was down", detail)
    for name in ["HeartbeatTargetFlapping", "HeartbeatTargetBurstLoss"]:
        fired = within(PATIENCE, lambda: alert_samples(name, end - PATIENCE, target="flaky"))
        check(fired, f"{name} fires for it")


def outages_told(since, until):
    """The outages as the responder tells them: runs of scrapes in which its count had grown."""
    count = 'heartbeat_responder_dropped_total{instance="flaky:9863", reason="outage"}'
    counts = samples(count, since, until)
    outages = []
    for (_, before), (when, after) in zip(counts, counts[1:]):
        if after > before and outages and when - outages[-1][-1] < OUTAGE:
            outages[-1].append(when)
        elif after > before:
            outages.append([when])
    return outages


def agrees():
    """What the probe counted is what the responders did, heartbeat by heartbeat."""
    for target, reason in [("lossy", "loss"), ("flaky", "outage")]:
        both = within(PATIENCE, lambda: settled(target, reason))
        what = f"the losses of {target} are those of its responder"
        if not both:
            check(False, what, f"never at rest for {PATIENCE} s")
            continue
        measured, truth = both
        detail = "sent {}, received {}, lost {}".format(*measured)
        check(measured == truth, what, detail + "; of {} replied {} in time, not {}".format(*truth))
    for target in RESPONDERS:
        sent, received, lost, in_flight = (
            f'heartbeat_{name}{{target="{target}"}}'
            for name in ["sent_total", "received_total", "lost_total", "in_flight"]
        )
        error = value(f"max_over_time(abs({sent} - {received} - {lost} - {in_flight})[10m:1s])")
        check(error == 0, f"sent = received + lost + in flight of {target}, in every scrape")
    sent, lost = (value(f'heartbeat_{name}_total{{target="lossy"}}') for name in ["sent", "lost"])
    # Five standard deviations: by chance, once in a million.
    bound = 5 * math.sqrt(LOSS * (1 - LOSS) / sent)
    detail = f"{lost:g} of {sent:g}, {lost / sent:.1%}; {LOSS:.0%} +- {bound:.1%}"
    check(abs(lost / sent - LOSS) < bound, "the loss of lossy is what it was told to be", detail)


def settled(target, reason):
    """What each side counted, at one moment at which nothing is under way; or None."""

    def responder():
        series = stack.metrics(target)
        names = [
            'received_total{protocol="heartbeat"}',
            'replied_total{protocol="heartbeat"}',
            f'dropped_total{{reason="{reason}"}}',
        ]
        return [int(series[f"heartbeat_responder_{name}"]) for name in names]

    before = responder()
    series = stack.metrics("probe")
    [labels] = [
        name.removeprefix("heartbeat_in_flight")
        for name in series
        if name.startswith("heartbeat_in_flight{") and f'target="{target}"' in name
    ]
    names = ["in_flight", "late_total", "sent_total", "received_total", "lost_total"]
    in_flight, late, *measured = (int(series[f"heartbeat_{name}{labels}"]) for name in names)
    # What a busy machine brought too late is lost to the probe, and was replied to.
    truth = [before[0], before[1] - late, before[2] + late]
    return None if in_flight or responder() != before else (measured, truth)


def dashboards_show():
    """Every query of every dashboard has an answer, and every variable offers choices."""
    for dashboard in dashboards(TOP / "dashboards", ask):
        silent, absent = set(), set()
        for place, expressions, parameters in dashboard.queries:
            query = f"{place}: {expressions[0]}"
            if not any(has_data(expression, parameters) for expression in expressions):
                silent.add(query)
            if any(metric in query for metric in ABSENT):
                absent.add(query)
        what = f"all queries of {dashboard.title} but {len(absent)} of {len(dashboard.queries)} give data"
        wrong = silent ^ absent
        check(dashboard.queries and not wrong, what, "; ".join(sorted(wrong)))
        offers = [f"{name} {', '.join(of) or '-'}" for name, of in dashboard.choices.items()]
        what = f"the variables of {dashboard.title} offer choices"
        check(all(dashboard.choices.values()), what, "; ".join(offers))


def has_data(expression, parameters):
    """Whether there is a value in what an expression gives, and not just NaN."""
    path = "query_range" if "step" in parameters else "query"
    for series in ask(path, query=expression, **parameters)["result"]:
        for _, text in series.get("values") or [series["value"]]:
            if not math.isnan(float(text)):
                return True
    return False


def goes_dark():
    """All servers gone is one event; the probe gone is another."""
    for service in RESPONDERS:
        stops_well(service)
    since = time.time()
    bound, why = settings().down_within("lossy")
    name = "HeartbeatProbeSeesNothing"
    fired = within(bound + PATIENCE, lambda: alert_samples(name, since))
    took = fired[0][0] - since if fired else math.inf
    stood, more = settings().stood_still("lossy", since)
    check(took <= bound + stood, f"{name} fires in time", f"after {took:.1f} s; {why}{more}")
    alerts = [alert_samples("HeartbeatTargetDown", since, target=target) for target in RESPONDERS]
    last = max(alert[0][0] if alert else math.inf for alert in alerts)
    check(fired and fired[0][0] <= last, "with the last of the alerts that it silences")
    held = within(PATIENCE, lambda: inhibited(name, "HeartbeatTargetDown"))
    check(held, "Alertmanager holds back its targets, one by one", states())
    stops_well("probe")
    pending = 'ALERTS{alertname="HeartbeatProbeGone", instance="probe:9862"}'
    check(within(PATIENCE, lambda: query(pending)), "HeartbeatProbeGone is about to fire")


def rules_tell():
    """Every rule is evaluated without an error, and has told something at some time."""
    groups = ask("rules")["groups"]
    for group in groups:
        broken = [f"{r['name']}: {r['lastError']}" for r in group["rules"] if r["health"] != "ok"]
        detail = "; ".join(broken) or f"{len(group['rules'])} rules every {group['interval']:g} s"
        check(not broken, f"the rules of {group['name']} are sound", detail)

    told, silent = set(), set()
    for rule in rules(groups):
        has_told = any(not math.isnan(number) for _, number in query(rule.history))
        (told if has_told else silent).add(rule.name)
    detail = ", ".join(sorted(silent - NEVER.keys())) or f"{len(told)} have"
    check(silent <= NEVER.keys(), f"all rules but {len(NEVER)} have told something", detail)
    for name, reason in NEVER.items():
        check(name in silent, f"{name} has no cause here", reason)


if __name__ == "__main__":
    stack = Stack(sys.argv[1])
    sys.exit(main())
