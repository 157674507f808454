"""The queries of the manual on a real Prometheus, while the commands of the manual change what the
responder does. Every value is compared with what was done, or with the samples that it is made of.
"""

import json
import math
import re
import signal
import socket
import time

from lab import PATIENCE, check, wait_for
from texts import TOP

# Nothing happens to `steady`. `everybody` and `source` ask the responder whose impairments change,
# from an address outside and inside of 192.0.2.0/24.
CONFIG = """
defaults: {protocol: stamp, interval: 100ms, timeout: 3s}
targets:
  - {name: steady, address: "fra.example:12001"}
  - {name: everybody, address: 127.0.0.1}
  - {name: source, address: fra.example}
  - {name: closed, address: "127.0.0.2:9"}
  - {name: forbidden, address: "127.0.0.3:9"}
  - {name: unresolved, address: no.such.name.invalid}
  - {name: names, address: 192.0.2.53, protocol: dns}
"""
FIREWALL = """table inet wall {
    chain input {
        type filter hook input priority 0;
        ip daddr 127.0.0.3 udp dport 9 reject with icmpx type admin-prohibited;
    }
}
"""
IMPAIRED = ["everybody", "source"]
DOWN = {"closed", "forbidden", "unresolved"}
UP = {"steady", "names"}
DELAY = 0.02
# How many losses the impairment must cause before it ends, and how many delayed answers must come.
LOSSES, ANSWERS = 20, 20
WINDOW = "5m"
# Requests per second and source, by default.
RATE_LIMIT = 1000


def queries(lab, prometheus_yml, impairments, ledger, promql):
    lab.start_name_server()
    lab.start("heartbeat-responder --listen 192.0.2.10:12001 --web.listen-address 127.0.0.1:0"
              ).logs("serving HTTP")
    lab.start("heartbeat-responder --web.enable-lifecycle").logs("serving HTTP")
    lab.run(f"nft -f {lab.write('firewall', FIREWALL)}")
    lab.start_prometheus(prometheus_yml.text)
    lab.write("probe.yml", CONFIG)
    probe = lab.start("heartbeat-probe run --config.file probe.yml").logs("serving HTTP")
    asked = read(promql)

    def settled():
        states = {name: target["state"] for name, target in lab.targets().items()}
        return states == dict.fromkeys(DOWN, "down") | dict.fromkeys({*UP, *IMPAIRED}, "up")
    wait_for("every target is up or down as it must be", settled)
    # A late heartbeat makes the figures unreliable for a minute, hence two.
    down = asked["Targets that are down according to a reliable probe."]
    wait_for(f"{down} shows what is down", lambda: lab.by_target(down) == dict.fromkeys(DOWN, 0),
             patience=2 * PATIENCE)

    impair(lab, impairments)

    probe.send(signal.SIGSTOP)
    time.sleep(0.5)
    probe.send(signal.SIGCONT)
    wait_for("the probe is impaired",
             lambda: [value for _, value in lab.query("heartbeat_probe_impaired")] == [1])
    check(lab.query(down) == [], down, "shows what an impaired probe sees")

    Comparison(lab, asked).all()
    promql.done(f"{len(asked)} queries return the values that they should")
    balance(lab, ledger)
    flood(lab)
    names(lab)


def read(promql):
    """The queries, by the comments above them."""
    comments, texts = promql.lines[::2], promql.lines[1::2]
    check(all(c.startswith("# ") and not t.startswith("#") for c, t in zip(comments, texts))
          and len(comments) == len(texts), "a query has no comment, or a comment no query")
    return {comment.removeprefix("# "): text for comment, text in zip(comments, texts)}


def impair(lab, block):
    """Runs the commands one by one, and looks at what each of them does to the heartbeats."""
    lose, silence, clear, put = block.lines

    def dropped():
        """How many requests the responder dropped on purpose."""
        name = "heartbeat_responder_dropped_total"
        return sum(lab.metric(9863, f'{name}{{reason="{reason}"}}') for reason in ["loss", "outage"])

    def in_force(seed=None):
        """The impairments in force. A seed that is not given is random."""
        found = json.loads(lab.get(re.search(r"http://\S+", put)[0]))
        for settings in [found["all"], *found["sources"].values()]:
            if settings.get("seed") != seed:
                settings.pop("seed", None)
        return found

    lab.run(lose)
    check(in_force(seed=7) == {"all": {"loss": "30%", "seed": 7}, "sources": {}}, lose, in_force(7))
    wait_for(f"{lose} loses heartbeats", lambda: dropped() >= LOSSES)
    answered = lab.targets()["source"]["received"]

    lab.run(silence)
    check(in_force()["sources"] == {"192.0.2.0/24": {"outage": "every=1m,for=20s"}}, silence, in_force())
    lab.run(clear)
    check(in_force() == {"all": {}, "sources": {}}, clear, in_force())
    wait_for(f"{clear} ends the losses", lambda: lab.targets()["source"]["received"] > answered + LOSSES)

    # What the responder dropped is what the probe lost, and nothing else, once it is settled.
    def settled():
        targets = [lab.targets()[name] for name in IMPAIRED]
        lost = sum(target["lost"] - target["late"] for target in targets)
        return lost == dropped()
    wait_for("the probe has lost what the responder dropped", settled)

    lab.run(put)
    expected = {"all": {"loss": "30%"}, "sources": {"192.0.2.0/24": {"delay": "20ms"}}}
    check(in_force() == expected, put, in_force())
    before = dropped()
    wait_for(f"{put} loses heartbeats", lambda: dropped() > before)
    wait_for(f"{put} delays answers", lambda: lab.targets()["source"]["last_rtt_seconds"] >= DELAY)
    sent = lab.targets()["source"]["received"]
    wait_for("enough answers are delayed", lambda: lab.targets()["source"]["received"] > sent + ANSWERS)
    block.done("each command does what it says: the probe lost exactly what the responder dropped")


class Comparison:
    """The values of all queries at one moment, compared with the samples until then."""

    def __init__(self, lab, asked):
        self.lab, self.asked = lab, asked
        # A scrape that began before this moment has ended: it takes a second at most.
        self.now = time.time() - 2

    def all(self):
        tests = {
            "Loss, from 0 to 1.": self.loss,
            "The delay that 99 % of the answers do not exceed.": self.delay,
            "Mean delay variation between consecutive heartbeats.": self.variation,
            "Availability over 30 days, from 0 to 1.": self.availability,
            "Seconds of downtime in the last 30 days.": self.downtime,
            "Targets that are down according to a reliable probe.": lambda text: None,
            "The host is up, and nothing listens on the port.": self.closed,
            "Offset of the far clock, if both directions take equally long.": self.offset,
        }
        check(tests.keys() == self.asked.keys(), "queries without a test, or the reverse:",
              *(tests.keys() ^ self.asked.keys()))
        for comment, text in self.asked.items():
            tests[comment](text)
            print(f"        {text}: {comment}", flush=True)

    def ask(self, text):
        found = self.lab.by_target(text, self.now)
        check(found, text, "returns nothing")
        return found

    def samples(self, metric):
        found = self.lab.query(f"{metric}[{WINDOW}]", self.now)
        check(found, f"Prometheus has no {metric}")
        return found

    def growth(self, metric):
        """By how much a counter of each target has grown, and in how many intervals."""
        return {labels["target"]: (values[-1] - values[0], len(values) - 1)
                for labels, values in self.samples(metric)}

    def near(self, text, target, found, expected, share):
        """Prometheus extrapolates by half an interval at each end, which is a share of the whole."""
        same = abs(found - expected) <= abs(expected) * share
        check(same or math.isnan(found) and math.isnan(expected), f"{text} of {target} is {found}, and should be {expected}")

    def ratio(self, text, above, below):
        """Compares the query with the quotient of two counters, and returns its values."""
        found = self.ask(text)
        above, below = self.growth(above), self.growth(below)
        check(found.keys() == above.keys(), text, "returns", *found)
        for target, value in found.items():
            (part, _), (whole, intervals) = above[target], below[target]
            check(intervals > 0, f"Prometheus has a single sample of {target}")
            self.near(text, target, value, part / whole if whole else math.nan, 1 / intervals)
        return found

    def loss(self, text):
        found = self.ratio(text, "heartbeat_lost_total", "heartbeat_sent_total")
        targets = self.lab.targets()
        for target in UP:
            check(found[target] == 0 or targets[target]["late"], text, target, found[target])
        for target in IMPAIRED:
            check(0 < found[target] < 0.5, text, target, found[target])
        check(found["closed"] > 0.5 and math.isnan(found["unresolved"]), text, found)

    def delay(self, text):
        found = self.ask(text)
        buckets = {}
        for labels, values in self.samples("heartbeat_rtt_seconds_bucket"):
            bounds = buckets.setdefault(labels["target"], [])
            bounds.append((float(labels["le"]), values[-1] - values[0], len(values) - 1))
        for target, bounds in buckets.items():
            bounds.sort()
            _, count, intervals = bounds[-1]
            if not count:
                check(math.isnan(found[target]), text, target, found[target])
                continue
            def edge(share):
                return next(i for i, (_, below, _) in enumerate(bounds) if below >= share * count)
            low, high = edge(0.99 - 1 / intervals), edge(min(1, 0.99 + 1 / intervals))
            least = bounds[low - 1][0] if low else 0
            check(least <= found[target] <= bounds[high][0], text, target, found[target], least, bounds[high])
        # The bucket that has the delay begins at 12.8 ms.
        check(found["source"] > 0.0128, text, "of the delayed answers is", found["source"])

    def variation(self, text):
        found = self.ratio(text, "heartbeat_ipdv_seconds_sum", "heartbeat_ipdv_seconds_count")
        check(found["steady"] > 0, text, found)

    def availability(self, text):
        found = self.ask(text)
        for labels, values in self.samples("heartbeat_up"):
            self.near(text, labels["target"], found[labels["target"]], sum(values) / len(values), 1e-9)
        went_down = self.ask("heartbeat_state_changes_total{state=\"down\"}")
        for target in UP:
            check(found[target] == 1 or went_down[target], text, target, found[target])
        for target in DOWN:
            check(found[target] == 0, text, target, found[target])

    def downtime(self, text):
        found = self.ask(text)
        for target, (seconds, intervals) in self.growth("heartbeat_down_seconds_total").items():
            self.near(text, target, found[target], seconds, 2 / intervals)
        for target in DOWN:
            check(found[target] > 1, text, target, found[target])

    def closed(self, text):
        found = self.ask(text)
        check(found.keys() == {"closed"}, text, "returns", *found)
        errors = self.ask("increase(heartbeat_icmp_errors_total{kind=\"port_unreachable\"}[5m])")
        self.near(text, "closed", found["closed"] * 300, errors["closed"], 1e-9)

    def offset(self, text):
        found = self.ask(text)
        check(found.keys() == {"steady", *IMPAIRED}, text, "returns", *found)
        sums, counts = (self.growth(f"heartbeat_rtt_seconds_{kind}") for kind in ["sum", "count"])
        difference = self.ask("heartbeat_time_difference_seconds")
        for target, value in found.items():
            mean = sums[target][0] / counts[target][0]
            self.near(text, target, difference[target] - value, mean / 2, 1 / counts[target][1])

        # Both ends have one clock. A machine that stands still shows another offset for a moment.
        wait_for(f"{text} is nearly 0 for steady",
                 lambda: abs(self.lab.by_target(text).get("steady", 1)) < 0.005)


def balance(lab, ledger):
    """The equation is true in every scrape of every target."""
    left, right = ledger.text.strip().split(" = ")
    def metric(words):
        name = f"heartbeat_{words.replace(' ', '_')}"
        return name if words == "in flight" else f"{name}_total"
    equation = " + ".join(map(metric, right.split(" + ")))
    difference = f"max_over_time(abs({metric(left)} - ({equation}))[{WINDOW}:1s])"
    found = lab.by_target(difference)
    check(len(found) == CONFIG.count("name:") and set(found.values()) == {0}, difference, found)
    check(max(lab.by_target(f"max_over_time(heartbeat_in_flight[{WINDOW}])").values()) > 0,
          "nothing was ever in flight")
    ledger.done(f"true in every scrape of {len(found)} targets")


def flood(lab):
    """Sends more requests from one source than the responder answers."""
    limited = 'heartbeat_responder_dropped_total{reason="rate_limited"}'
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        source.bind(("127.0.0.9", 0))
        def is_limited():
            for _ in range(3 * RATE_LIMIT):
                source.sendto(b"Ping 1 Fri Sep 20 13:12:19 2024", ("127.0.0.1", 12000))
            return lab.query(f"{limited} > 0")
        wait_for("a source is limited", is_limited)


def names(lab):
    """The metrics in sentences exist, and those with a condition are above 0 where it is true."""
    rules = (TOP / "deploy/prometheus/rules/heartbeat.yml").read_text()
    conditions = {
        'heartbeat_unsent_total{reason="unresolved"}': {"unresolved"},
        'heartbeat_icmp_errors_total{kind="admin_prohibited"}': {"forbidden"},
        'heartbeat_responder_dropped_total{reason="rate_limited"}': {None},
    }
    for span in lab.spans:
        if span.text.startswith("target:"):
            check(f"record: {span.text}\n" in rules, "no recording rule:", span.text)
            span.done("recorded by a rule")
            continue
        name, selector = re.fullmatch(r"(\w+)(?:\{(.*)\})?", span.text).groups()
        matchers = f'__name__=~"{name}(_sum|_count|_bucket)?"' + (f", {selector}" if selector else "")
        found = lab.query(f"{{{matchers}}}")
        check(found, "Prometheus has no", span.text)
        if selector:
            positive = {labels.get("target") for labels, value in found if value > 0}
            check(positive == conditions.get(span.text), span.text, "is above 0 for", *positive)
        span.done("above 0 where the condition is true" if selector else f"{len(found)} series")
