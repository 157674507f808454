"""Tests the running demo through the APIs of Prometheus and Alertmanager.

usage: observe.py COMPOSE_PROJECT

Prints a line for each check with its figures, and exits with 1 if a check failed. Servers are
stopped and started again, the probe is paused, and at the end everything is stopped, so that every
alert has a cause.

Times are Unix seconds. Bounds are computed from the settings in force: those of the probe, of
Prometheus' targets, and of its rule groups.
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
# From the command lines of flaky (in seconds) and lossy.
OUTAGE_EVERY, OUTAGE = 60, 20
LOSS = 0.3
# How often flaky must be down, at least, for HeartbeatTargetFlapping to fire.
OUTAGES = 3
# Seconds for which the probe is paused. It skips heartbeats and thus is impaired.
PAUSE = 4
# Seconds to wait for anything without a bound of its own.
PATIENCE = 60

# Rules that the demo cannot trigger, and why. They must have no data.
NEVER = {
    "HeartbeatTargetSlow": "it compares with a week ago",
}

# Metrics that no target of the demo has, and why. Queries for them must have no data.
ABSENT = {"heartbeat_results_total": "none of the demo's servers is a name server"}

failures = []


def main():
    for test in [
        confined,
        scraped,
        stops,
        flaps,
        agrees,
        dashboards_show,
        goes_dark,
        rules_have_data,
    ]:
        try:
            test()
        except (OSError, LookupError, ValueError, subprocess.SubprocessError) as error:
            check(False, f"{test.__name__} was aborted", repr(error))
    if failures:
        print(f"{len(failures)} checks failed")
    return int(bool(failures))


def check(holds, what, detail=""):
    """Prints the result of a check. `detail` is what was observed."""
    if not holds:
        failures.append(what)
    print(f"{'ok    ' if holds else 'FAILED'}  {what}{': ' if detail else ''}{detail}", flush=True)
    return holds


def within(seconds, ask):
    """Calls `ask` until its result is true or the time is over, and returns the last result."""
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
        """The current series of a service, by name and labels as written."""
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
    """The labels and values of an expression, now or at a time."""
    result = ask("query", query=expression, time=at or time.time())["result"]
    return [(series["metric"], float(series["value"][1])) for series in result]


def value(expression, at=None):
    """The only value of an expression; otherwise NaN, which fails every comparison."""
    series = query(expression, at)
    return series[0][1] if len(series) == 1 else math.nan


def samples(selector, since, until=None):
    """The stored samples of the only series, from `since` to `until` or now."""
    until = until or time.time()
    window = math.ceil(until - since) + 1
    result = ask("query", query=f"{selector}[{window}s]", time=until)["result"]
    pairs = [(when, float(text)) for series in result for when, text in series["values"]]
    return sorted(pair for pair in pairs if pair[0] >= since)


def moment(text):
    """A time of Docker in Unix seconds. It has nanoseconds, which datetime cannot read."""
    whole, _, rest = text.rstrip("Z").partition(".")
    begun = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
    return begun.timestamp() + float(f"0.{rest or 0}")


class Settings:
    """The settings in force, in seconds."""

    def __init__(self):
        targets = get(f"{stack.probe}/api/v1/targets")["targets"]
        self.targets = {target["name"]: target for target in targets}
        scrapes = {target["scrapeInterval"] for target in ask("targets")["activeTargets"]}
        [self.scrape] = [seconds(scrape) for scrape in scrapes]
        groups = {group["name"]: group["interval"] for group in ask("rules")["groups"]}
        self.evaluation = groups["heartbeat-alerts"]

    def down_within(self, target):
        """The most time from the last answer to the alert, and its parts as text."""
        target = self.targets[target]
        misses = (f"{target['misses']} misses", target["misses"] * target["interval_seconds"])
        return self.alert_within(misses, ("timeout", target["timeout_seconds"]))

    def up_within(self, target, *more):
        """The most time from the return of a target to the end of the alert, and its parts."""
        target = self.targets[target]
        answers = target["recoveries"] * target["interval_seconds"]
        answers = (f"answers: {target['recoveries']}", answers)
        return self.alert_within(answers, ("timeout", target["timeout_seconds"]), *more)

    def stood_still(self, target, since):
        """The delay of probe and Prometheus by a busy machine, and its parts as text."""
        heartbeats = f'heartbeat_unsent_total{{target="{target}", reason="skipped"}}'
        skipped = value(f"max({heartbeats})") - value(f"max({heartbeats})", since)
        scrapes = [when for when, up in samples('up{job="heartbeat-probe"}', since) if up]
        gaps = [later - when for when, later in zip([since, *scrapes], scrapes)]
        parts = [
            ("skipped", skipped * self.targets[target]["interval_seconds"]),
            ("missed scrapes", sum(max(0, gap - self.scrape) for gap in gaps)),
        ]
        # Scrapes are some milliseconds early or late.
        parts = [(name, part) for name, part in parts if part > 0.1]
        return sum(part for _, part in parts), "".join(f" + {n} {p:.3g} s" for n, p in parts)

    def alert_within(self, *parts):
        # A quantile, to exclude the scrape that the paused probe answered late.
        durations = 'scrape_duration_seconds{job="heartbeat-probe"}[10m]'
        scrape = value(f"quantile_over_time(0.9, {durations})")
        prometheus = [
            ("scrape interval", self.scrape),
            ("scrape", scrape),
            ("evaluation", self.evaluation),
        ]
        parts = [*parts, *prometheus]
        bound = sum(part for _, part in parts)
        why = " + ".join(f"{name} {part:.3g} s" for name, part in parts)
        return bound, f"{why} = {bound:.2f} s"


@functools.cache
def settings():
    return Settings()


def confined():
    """Every container is healthy and confined."""
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
                ("its root is writable", host["ReadonlyRootfs"] and not writes(service)),
                ("is privileged", not host["Privileged"]),
                ("keeps capabilities", host["CapDrop"] == ["ALL"] and not host["CapAdd"]),
                ("has capabilities", int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0),
                ("can gain privileges", status["NoNewPrivs"].strip() == "1"),
                ("shares a namespace", not shared(host)),
                ("is reachable from other hosts", on_loopback(host)),
            ]
            if not holds
        ]
        detail = ", ".join(wrong) or f"user {user}, read-only, no capability"
        check(not wrong, f"{service} is healthy and confined", detail)


def healthy(service):
    return stack.inspect(service)["State"].get("Health", {}).get("Status") == "healthy"


def writes(service):
    """Whether a file can be created outside of volumes."""
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
    """Every target of prometheus.yml is scraped, and Prometheus is connected to Alertmanager."""
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
    check(known, "every server is up or down, and every responder has counts")
    managers = within(PATIENCE, lambda: ask("alertmanagers")["activeAlertmanagers"])
    check(managers, "Prometheus is connected to Alertmanager", "".join(m["url"] for m in managers))


def alert_samples(name, since, **labels):
    matchers = "".join(f', {label}="{text}"' for label, text in labels.items())
    return samples(f'ALERTS{{alertname="{name}", alertstate="firing"{matchers}}}', since)


def managed(name, **labels):
    """The alerts of that name in Alertmanager."""
    matchers = [f'alertname="{name}"', *(f'{label}="{text}"' for label, text in labels.items())]
    return get(f"{stack.alertmanager}/api/v2/alerts", filter=matchers)


def inhibited(by, name, **labels):
    """Whether Alertmanager inhibits all alerts of that name because of the alert `by`."""
    sources = {alert["fingerprint"] for alert in managed(by)}
    alerts = managed(name, **labels)
    return bool(sources) and bool(alerts) and all(
        alert["status"]["state"] == "suppressed" and sources & set(alert["status"]["inhibitedBy"])
        for alert in alerts
    )


def stops():
    """The alert of a stopped server fires in time, and clears after the server is started again."""
    before = stack.address("steady")
    # The recording rule has data after a while.
    recorded = 'target:heartbeat_down_by_chance:probability1h{target="steady"}'
    check(within(PATIENCE, lambda: query(recorded)), "the odds of steady are recorded")
    fires("steady", stops_well("steady"))

    # Zero, since the target had no losses before.
    odds = "alone causes a given run of misses is 0%"
    known = within(PATIENCE, lambda: odds in annotated_odds("steady"))
    check(known, "its alert has the odds", annotated_odds("steady"))
    impairs()

    # Docker removes the name, which the probe looks up again within a minute.
    resolved = 'heartbeat_resolved{target="steady"} == 0'
    unresolved = within(60 + PATIENCE, lambda: query(resolved))
    check(unresolved, "the name of a stopped container does not resolve")

    stack.do("start", "steady")
    started = moment(stack.inspect("steady")["State"]["StartedAt"])
    same = stack.address("steady") == before
    clears(started, same)


def stops_well(service):
    """Stops a service, checks that it exits with 0, and returns the time of its end."""
    stack.do("stop -t 60", service)
    state = stack.inspect(service)["State"]
    check(state["ExitCode"] == 0, f"{service} ends on SIGTERM", f"exit code {state['ExitCode']}")
    return moment(state["FinishedAt"])


def annotated_odds(target):
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
        check(False, f"{name} of {target} fires", f"not within {PATIENCE} s after {why}")
    known = within(PATIENCE, lambda: managed(name, target=target))
    check(known, f"Alertmanager has the alert of {target}")


def clears(since, same_address):
    # Names are looked up again within a minute.
    more = [] if same_address else [("lookup of its new address", 60)]
    bound, why = settings().up_within("steady", *more)
    name = "HeartbeatTargetDown"

    def cleared():
        active = [alert["labels"] for alert in ask("alerts")["alerts"]]
        return not any(a["alertname"] == name and a["target"] == "steady" for a in active)

    is_cleared = within(bound + PATIENCE, cleared)
    # The alert ends with the evaluation after its last sample.
    fired = [when for when, _ in alert_samples(name, since, target="steady")]
    took = max(fired, default=since) + settings().evaluation - since
    what = "the alert clears in time after the start"
    stood, reason = settings().stood_still("steady", since)
    check(is_cleared and took <= bound + stood, what, f"after {took:.1f} s; {why}{reason}")
    gone = within(PATIENCE, lambda: not managed(name, target="steady"))
    check(gone, "the alert is gone from Alertmanager")


def impairs():
    """A paused probe is impaired, and its alerts about targets are inhibited."""
    stack.do("pause", "probe")
    time.sleep(PAUSE)
    stack.do("unpause", "probe")
    impaired = within(PATIENCE, lambda: value("heartbeat_probe_impaired") == 1)
    skipped = value('sum(heartbeat_unsent_total{reason="skipped"})')
    check(impaired, f"a probe that was paused for {PAUSE} s is impaired", f"{skipped:g} skipped")
    quiet = within(PATIENCE, lambda: inhibited("HeartbeatProbeImpaired", "HeartbeatTargetDown"))
    check(quiet, "Alertmanager inhibits the target alerts of an impaired probe", states())


def states():
    """The state of each alert in Alertmanager."""
    words = set()
    for alert in get(f"{stack.alertmanager}/api/v2/alerts"):
        labels = [alert["labels"]["alertname"], alert["labels"].get("target")]
        words.add(" ".join(filter(None, [*labels, alert["status"]["state"]])))
    return ", ".join(sorted(words))


def flaps():
    """The probe counts every outage of the server that is down for a part of each minute."""
    started = float(stack.metrics("flaky")["process_start_time_seconds"])
    # All counts are read at `end`, when the last outage is settled, however late it is now.
    settled_after = settings().down_within("flaky")[0]
    so_far = math.ceil((time.time() - started - settled_after) / OUTAGE_EVERY)
    count = max(OUTAGES, so_far)
    end = started + count * OUTAGE_EVERY + settled_after
    time.sleep(max(0, end - time.time()))
    outages = outages_counted(started, end)
    spans = [f"{o[0] - started:.0f} to {o[-1] - started:.0f}" for o in outages]
    detail = f"in the scrapes {', '.join(spans)} s after its start"
    check(len(outages) == count, f"the responder flaky had {count} outages", detail)
    downs = value('heartbeat_state_changes_total{target="flaky", state="down"}', end)
    ups = value('heartbeat_state_changes_total{target="flaky", state="up"}', end)
    check(downs == len(outages), "the probe counted each of them", f"{downs:g} times down")
    check(ups == downs + 1, "and each return", f"{ups:g} times up, including the first")

    target = settings().targets["flaky"]
    latest = target["misses"] * target["interval_seconds"] + target["timeout_seconds"]
    down = value('heartbeat_down_seconds_total{target="flaky"}', end) / count
    # Each change of state may be late by the heartbeats that were skipped before it.
    skipped = value('heartbeat_unsent_total{target="flaky", reason="skipped"}', end)
    stood = skipped * target["interval_seconds"] / count
    low, high = OUTAGE - latest - stood, OUTAGE + target["interval_seconds"] + stood
    detail = f"{down:.2f} s each, of {low:g} to {high:g} s"
    check(low <= down <= high, "and the time down", detail)
    for name in ["HeartbeatTargetFlapping", "HeartbeatTargetBurstLoss"]:
        fired = within(PATIENCE, lambda: alert_samples(name, end - PATIENCE, target="flaky"))
        check(fired, f"{name} fires for it")


def outages_counted(since, until):
    """The outages according to the responder: runs of scrapes in which its count has grown."""
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
    """The counts of the probe equal those of the responders exactly."""
    for target, reason in [("lossy", "loss"), ("flaky", "outage")]:
        both = within(PATIENCE, lambda: settled(target, reason))
        what = f"the losses of {target} are those of its responder"
        if not both:
            check(False, what, f"never settled within {PATIENCE} s")
            continue
        measured, truth = both
        detail = "sent {}, received {}, lost {}".format(*measured)
        responder = "responder: {} received, {} answered in time, {} not".format(*truth)
        check(measured == truth, what, f"{detail}; {responder}")
    for target in RESPONDERS:
        sent, received, lost, in_flight = (
            f'heartbeat_{name}{{target="{target}"}}'
            for name in ["sent_total", "received_total", "lost_total", "in_flight"]
        )
        error = value(f"max_over_time(abs({sent} - {received} - {lost} - {in_flight})[10m:1s])")
        check(error == 0, f"sent = received + lost + in flight of {target}, in every scrape")
    sent, lost = (value(f'heartbeat_{name}_total{{target="lossy"}}') for name in ["sent", "lost"])
    # Five standard deviations, exceeded by chance once in a million.
    bound = 5 * math.sqrt(LOSS * (1 - LOSS) / sent)
    detail = f"{lost:g} of {sent:g}, {lost / sent:.1%}; {LOSS:.0%} +- {bound:.1%}"
    check(abs(lost / sent - LOSS) < bound, "the loss of lossy is as configured", detail)


def settled(target, reason):
    """The counts of both sides while nothing is in flight, or None if something is."""

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
    # Late answers count as lost in the probe and as replies in the responder.
    truth = [before[0], before[1] - late, before[2] + late]
    return None if in_flight or responder() != before else (measured, truth)


def dashboards_show():
    """Every query of every dashboard has data, and every variable has choices."""
    for dashboard in dashboards(TOP / "dashboards", ask):
        silent, absent = set(), set()
        for place, expressions, parameters in dashboard.queries:
            query = f"{place}: {expressions[0]}"
            if not any(has_data(expression, parameters) for expression in expressions):
                silent.add(query)
            if any(metric in query for metric in ABSENT):
                absent.add(query)
        count = len(dashboard.queries)
        what = f"all {count} queries of {dashboard.title} except {len(absent)} have data"
        wrong = silent ^ absent
        check(dashboard.queries and not wrong, what, "; ".join(sorted(wrong)))
        offers = [f"{name} {', '.join(of) or '-'}" for name, of in dashboard.choices.items()]
        what = f"the variables of {dashboard.title} have choices"
        check(all(dashboard.choices.values()), what, "; ".join(offers))


def has_data(expression, parameters):
    """Whether an expression has a value other than NaN."""
    path = "query_range" if "step" in parameters else "query"
    for series in ask(path, query=expression, **parameters)["result"]:
        for _, text in series.get("values") or [series["value"]]:
            if not math.isnan(float(text)):
                return True
    return False


def goes_dark():
    """Stopping all servers, and then the probe, is one alert each."""
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
    check(fired and fired[0][0] <= last, "and no later than the last alert that it inhibits")
    quiet = within(PATIENCE, lambda: inhibited(name, "HeartbeatTargetDown"))
    check(quiet, "Alertmanager inhibits the alerts of its targets", states())
    stops_well("probe")
    pending = 'ALERTS{alertname="HeartbeatProbeGone", instance="probe:9862"}'
    check(within(PATIENCE, lambda: query(pending)), "HeartbeatProbeGone is pending")


def rules_have_data():
    """Every rule is evaluated without an error, and has had data at some time."""
    groups = ask("rules")["groups"]
    for group in groups:
        broken = [f"{r['name']}: {r['lastError']}" for r in group["rules"] if r["health"] != "ok"]
        detail = "; ".join(broken) or f"{len(group['rules'])} rules every {group['interval']:g} s"
        check(not broken, f"the rules of {group['name']} have no errors", detail)

    with_data, silent = set(), set()
    for rule in rules(groups):
        had_data = any(not math.isnan(number) for _, number in query(rule.history))
        (with_data if had_data else silent).add(rule.name)
    detail = ", ".join(sorted(silent - NEVER.keys())) or f"{len(with_data)} have"
    check(silent <= NEVER.keys(), f"all rules except {len(NEVER)} have had data", detail)
    for name, reason in NEVER.items():
        check(name in silent, f"{name} has had no data", reason)


if __name__ == "__main__":
    stack = Stack(sys.argv[1])
    sys.exit(main())
