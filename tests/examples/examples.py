"""Runs every example of the pages and compares its result with what the page says.

usage: examples.py

Must run as root in network and mount namespaces of its own. Each scenario gets another network
namespace and runs a group of examples; all scenarios run at the same time.
"""

import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

from elsewhere import elsewhere
from lab import NAMES, Lab, check, fail, use_names, wait_for
from queries import queries
from texts import TOP, examples

README = "README.md"
DOCS = "deploy/docs"
EVENT = re.compile(r"\d\d:\d\d:\d\d\.\d{3}  (\w+) +(.*)")


def all_up(lab, count, what):
    """Waits until all targets of the configuration are up."""
    def look():
        targets = lab.targets()
        if len(targets) == count and all(one["state"] == "up" for one in targets.values()):
            return targets
    return wait_for(f"all {count} targets of {what} are up", look)


def file_name(yaml):
    """The name of the file, which is in the first line of the block."""
    return yaml.lines[0].removeprefix("# ")


def demo(lab, block):
    """Prints what README.md shows. Ports and times differ, and so does the order of the servers."""
    running = lab.start("heartbeat-probe demo")

    def split(text):
        introduction, events = [], {}
        for line in text.splitlines():
            if match := EVENT.fullmatch(line):
                said = re.sub(r"UDP port \d+", "UDP port N", match[2])
                events.setdefault(match[1], []).append(said)
            else:
                introduction.append(line)
        return introduction, events

    introduction, events = split(block.text)
    check(events.keys() == {"steady", "lossy", "flaky", "absent"}, "the demo shows", *events)

    def shows(name, count):
        seen = split(running.out.read_text())[1]
        for other, expected in events.items():
            got = seen.get(other, [])
            check(got[:len(expected)] == expected[:len(got)], f"the demo: {other}:", got)
        return len(seen.get(name, [])) >= count

    for name, expected in events.items():
        for count in range(1, len(expected) + 1):
            wait_for(f"the demo prints {name} {expected[count - 1]}", lambda: shows(name, count))
    seen = split(running.out.read_text())[0]
    check(seen == introduction, "the demo begins with:", *seen)
    check(running.end(signal.SIGINT) == 0, "Ctrl-C does not end the demo")
    block.done(f"{len(introduction)} lines and {sum(map(len, events.values()))} events are the same")


def server(lab, start, ping, probe_yml, run_probe, prometheus_yml, docs_yml, dns_yml):
    """Monitors servers step by step as README.md says, then with the manual's configurations."""
    lab.start_name_server()
    lab.start_router()

    lab.start(start.text).logs("serving HTTP")
    for address in ["127.0.0.1", "[::1]"]:
        lab.run(f"heartbeat-probe ping -c 1 -W 1m stamp://{address}")
    start.done("answers over IPv4 and IPv6")

    said = lab.run(ping.text)
    answered = re.search(r"^\d+ sent, (\d+) received", said, re.MULTILINE)
    check(answered, "ping prints:", said)
    ping.done(answered[0])

    file = lab.write(file_name(probe_yml), probe_yml.text)
    check_it, run_it = run_probe.lines
    for line in run_probe.lines:
        check(file.name in shlex.split(line), f"{line} does not name {file.name}")
    lab.run(check_it)
    probe = lab.start(run_it)
    count = probe_yml.text.count("address:")
    targets = all_up(lab, count, probe_yml.page)
    edge = targets["fra-edge"]
    check((edge["protocol"], edge["labels"]) == ("stamp", {"site": "fra"}), edge)
    check(targets["router.example:862"]["endpoint"] == f"{NAMES['router.example']}:862", targets)
    check(targets["192.0.2.53"]["endpoint"] == "192.0.2.53:53", targets)
    probe_yml.done(f"{count} targets are up")
    run_probe.done("both succeed")
    example = "/?q=fra&state=down&sort=loss&page=2"
    check(f"`{example}`" in (TOP / DOCS / "http.md").read_text(), f"http.md has no {example}")
    check(lab.get(f"http://127.0.0.1:9862{example}"), f"the probe does not answer {example}")

    jobs = re.findall(r"job_name: (\S+)", prometheus_yml.text)
    check(file_name(prometheus_yml) == "prometheus.yml" and len(jobs) == 2, *jobs)
    alerts = (TOP / "deploy/prometheus/alerts/heartbeat.yml").read_text()
    check(f'up{{job="{jobs[0]}"}}' in alerts, f"no alert selects the job {jobs[0]}")
    lab.start_prometheus(prometheus_yml.text)
    for job in jobs:
        wait_for(f"Prometheus scrapes {job}",
                 lambda: [value for _, value in lab.query(f'up{{job="{job}"}}')] == [1])
    prometheus_yml.done(f"promtool accepts it, and up is 1 for {' and '.join(jobs)}")
    check(probe.end() == 0, "the probe does not end well")

    file = lab.write(file_name(docs_yml), docs_yml.text)
    for span in lab.spans:
        said = lab.run(span.text.replace("FILE", str(file)).replace("[TARGET]...", ""))
        if "--print" in span.text:
            lab.write("printed.yml", said)
            lab.run("heartbeat-probe check printed.yml")
        span.done("accepts the configuration of the manual")
    probe = lab.start(f"heartbeat-probe run --config.file {file}")
    count = docs_yml.text.count("address:")
    targets = all_up(lab, count, docs_yml.page)
    edge, router, other = targets.values()
    check((edge["interval_seconds"], edge["timeout_seconds"]) == (0.2, 2), edge)
    check((router["misses"], router["timeout_seconds"]) == (5, 1), router)
    check(other["endpoint"] == "[2001:db8::7]:12000", other)
    bounds = re.search(r"rtt_buckets: \[(.*)\]", docs_yml.text)[1].split(", ")
    found = re.findall(r'heartbeat_rtt_seconds_bucket\{target="fra-edge".*le="([^"+]+)"',
                       lab.get("http://127.0.0.1:9862/metrics"))
    check([*map(float, found)] == [*map(float, bounds)], "buckets:", *found)
    docs_yml.done(f"{count} targets are up, with their settings and buckets")
    check(probe.end() == 0, "the probe does not end well")

    file = lab.write("dns.yml", dns_yml.text)
    lab.run(f"heartbeat-probe check {file}")
    lab.start(f"heartbeat-probe run --config.file {file}")
    count = dns_yml.text.count("address:")
    for target in all_up(lab, count, dns_yml.page).values():
        others = {name: n for name, n in target["results"].items() if n and name != "noerror"}
        check(target["results"]["noerror"] and not others, target["name"], target["results"])
    dns_yml.done(f"{count} name servers are up, and answer without an error")


def ping(lab, block):
    """Prints what the manual shows. The lost heartbeats are the same, and no answer is earlier."""
    by_program = {shlex.split(span.text)[0]: span for span in lab.spans}
    responder, probe = by_program["heartbeat-responder"], by_program["heartbeat-probe"]
    for _ in range(3):
        running = lab.start(responder.text).logs("serving HTTP")
        said = lab.run(probe.text)
        running.end()
        # The machine stood still: not what the page shows.
        if not re.search(r"late: answered|not sent", said):
            break

    def shape(text):
        return [re.sub(r"[\d./]+ ms", "N ms", line) for line in text.splitlines()]
    check(shape(said) == shape(block.text), "ping prints:", said)
    found, shown = (list(map(float, re.findall(r"time=([\d.]+) ms", text)))
                    for text in [said, block.text])
    # The delays are those of the seed; the machine adds to them, and added a little on the page.
    is_early = any(time < expected - 2 for time, expected in zip(found, shown))
    check(not is_early, "round trips:", *found, "are less than", *shown)
    for text, times in [(said, found), (block.text, shown)]:
        least, mean, _, _, most, _ = map(float, re.search(r"= ([\d./]+) ms", text)[1].split("/"))
        check((least, most) == (min(times), max(times)), text)
        check(abs(mean - sum(times) / len(times)) < 0.002, text)
    block.done(f"{len(block.lines)} lines are the same, with the delays of the seed")
    for span in [responder, probe]:
        span.done("run for the output that the page shows")


def key(lab, block):
    """Authenticates with a new key."""
    make, respond, ask = block.lines
    lab.run(make)
    file = lab.folder / "fra.key"
    check(file.stat().st_mode & 0o777 == 0o600, "others can read the key")
    check(re.fullmatch(r"[0-9a-f]{64}\n", file.read_text()), "the key is", file.read_text())
    lab.start(respond).logs("serving HTTP")
    said = lab.run(ask)
    # Without the key there is no answer.
    lab.run("heartbeat-probe ping -c 2 -i 100ms -W 200ms stamp://fra.example", codes=[1])
    dropped = lab.metric(9863, 'heartbeat_responder_dropped_total{reason="unauthenticated"}')
    check(dropped >= 1, "the responder does not count what has no key:", dropped)
    block.done(re.search(r"^\d+ sent, \d+ received", said, re.MULTILINE)[0] + "; none without the key")


def passwords(lab, block):
    """Serves over TLS, and to users with a password only."""
    for span in lab.spans:
        said = lab.run(f"printf secret | {span.text.replace('-nBC', '-niBC')}")
        span.done("prints a line with a hash")
    own = said.strip().split(":", 1)[1]
    check(own.startswith("$2y$10$"), "htpasswd prints:", said)
    lab.run("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=probe -keyout probe.key "
            "-out probe.crt 2>/dev/null")
    written = re.search(r"\$2y\$\S+", block.text)[0]
    file = lab.write("web.yml", block.text.replace(written, own))
    lab.start(f"heartbeat-probe run 127.0.0.1 --web.config.file {file}").logs("serving HTTP")
    ask = "curl -sk -o /dev/null -w '%{http_code}' https://127.0.0.1:9862/metrics"
    check(lab.run(ask) == "401", "nobody needs a password")
    check(lab.run(f"{ask} -u prometheus:wrong") == "401", "any password is right")
    check(lab.run(f"{ask} -u prometheus:secret") == "200", "the password is wrong")
    block.done("401 without the password, 200 with it, over TLS")


def reload(lab, block):
    """Reloads a configuration to which a target was added."""
    target = '  - {name: %s, address: 127.0.0.1}\n'
    file = lab.write("reload.yml", "targets:\n" + target % "first")
    lab.start(f"heartbeat-probe run --config.file {file} --web.enable-lifecycle").logs("serving HTTP")
    lab.write("reload.yml", "targets:\n" + target % "first" + target % "second")
    said = lab.run(block.text)
    check(said == "1 added, 0 removed, 0 changed, 1 unchanged\n", "the probe says:", said)
    check(lab.metric(9862, "heartbeat_config_last_reload_successful") == 1, "the reload failed")
    block.done(said.strip())


def odds(lab, block):
    for span in lab.spans:
        said = lab.run(span.text.replace("RATIO", "30%"))
        if "--misses 3,4,5" in span.text:
            check(said == block.text, span.text, "prints:", said)
            block.done(f"{len(block.lines)} lines are the same")
        # The figures that sentences give beside the command.
        elif "--loss 1%" in span.text:
            check("1,010,100.00 heartbeats" in said or " 1,010,100.00 " in said, said)
            check("11d" in said, said)
        else:
            check(" 51.48 " in said, said)
        span.done("the figures are those of the page")


def tools(lab):
    """Short commands in sentences: those of other programs, and the names of our own."""
    for span in lab.spans:
        text = span.text
        if text.startswith("heartbeat-probe"):
            # run, demo and ping as such are run by the other scenarios.
            words = text.split()[:2]
            lab.run(shlex.join([*words, "--help"]))
            result = "the command exists"
        elif text.startswith("getent"):
            said = lab.run(text.replace("NAME", "fra.example"))
            check(NAMES["fra.example"] in said, said)
            lab.run(text.replace("NAME", "no.such.name.invalid"), codes=[2])
            result = "shows an address, and fails for an unknown name"
        elif text.startswith("ip route get"):
            said = lab.run(text.replace("ADDRESS", "192.0.2.53"))
            check("dev lo" in said, said)
            lab.run(text.replace("ADDRESS", "198.51.100.1"), codes=[2])
            result = "shows the route, and fails without one"
        elif text in ("ip address", "ip link"):
            check("lo" in lab.run(text), text)
            result = "shows the interfaces"
        elif text.startswith("tcpdump"):
            # To a file, it writes lines late.
            capture = lab.start(f"stdbuf -oL {text}").logs("listening on")
            lab.run("heartbeat-probe ping -c 1 -W 10ms stamp://fra.example", codes=[1])
            capture.logs("fra.example.12000: UDP")
            result = "shows the request"
        else:
            fail("no test for", text)
        span.done(result)


def units(lab, block):
    """The units with what the manual adds, checked by systemd without starting them."""
    folder = lab.folder / "units"
    system = folder / "etc/systemd/system"
    system.mkdir(parents=True)
    for name in ["heartbeat-probe", "heartbeat-responder"]:
        unit = (TOP / f"deploy/systemd/{name}.service").read_text()
        # systemd verifies that the program exists.
        (system / f"{name}.service").write_text(unit.replace("/usr/local/bin", f"{TOP}/target/debug"))

    page = re.sub(r"\s+", " ", (TOP / block.page).read_text())
    rated = re.search(r"exposure levels of ([\d.]+) for the probe's unit and ([\d.]+) for the responder's", page)
    check(rated, "deployment.md does not say how systemd rates the units")
    for span in lab.spans:
        if span.text == "systemd-analyze security":
            for name, expected in zip(["heartbeat-probe", "heartbeat-responder"], rated.groups()):
                said = lab.run(f"{span.text} --offline=true --no-pager {system}/{name}.service")
                found = re.search(r"exposure level for \S+: ([\d.]+)", said)[1]
                # Versions of systemd differ a little in what they rate.
                check(abs(float(found) - float(expected)) <= 0.2, name, "is rated", found)
            span.done(f"rates the units {' and '.join(rated.groups())}")
        else:
            unit = span.text.split()[-1]
            lab.run(f"{span.text.replace(' --now', '')} --root={folder}")
            link = system / f"multi-user.target.wants/{unit}.service"
            check(link.is_symlink(), span.text, "makes no link")
            span.done("enables the unit")

    # What `systemctl edit` writes. The probe gets the first two lines.
    for name, lines in [("heartbeat-responder", block.lines), ("heartbeat-probe", block.lines[:2])]:
        (system / f"{name}.service.d").mkdir()
        text = "\n".join(lines).replace("/usr/local/bin", f"{TOP}/target/debug")
        (system / f"{name}.service.d/override.conf").write_text(f"{text}\n")
        said = lab.run(f"systemd-analyze verify --man=no {system}/{name}.service 2>&1", codes=[0, 1])
        said = [line for line in said.splitlines() if name in line]
        check(not said, "systemd-analyze verify:", *said)
    block.done("systemd-analyze accepts both units with it; run by tests/service/run")


# Each scenario: its code blocks, by page, heading, kind and number; and the commands and queries in
# sentences that it runs.
SCENARIOS = {
    demo: ([(README, "The demo", "text", 1)], None),
    server: ([
        (README, "Monitor your own servers", "sh", 2),
        (README, "Monitor your own servers", "sh", 3),
        (README, "Monitor your own servers", "yaml", 1),
        (README, "Monitor your own servers", "sh", 4),
        (README, "Monitor your own servers", "yaml", 2),
        (f"{DOCS}/configuration.md", "Configuration", "yaml", 1),
        (f"{DOCS}/protocols.md", "`dns`", "yaml", 1),
    ], r"heartbeat-probe check .*"),
    ping: ([(f"{DOCS}/command-line.md", "heartbeat-probe ping", "text", 1)],
           r"heartbeat-probe ping stamp://127.0.0.1|heartbeat-responder --loss .*"),
    key: ([(f"{DOCS}/security.md", "Authentication", "sh", 1)], None),
    queries: ([
        (README, "Monitor your own servers", "yaml", 2),
        (f"{DOCS}/command-line.md", "Changing impairments at run time", "sh", 1),
        (f"{DOCS}/counting.md", "The ledger", "text", 1),
        (f"{DOCS}/metrics.md", "Queries", "promql", 1),
    ], r"(heartbeat|process|target:heartbeat)_.*"),
    passwords: ([(f"{DOCS}/security.md", "TLS and passwords", "yaml", 1)], r"htpasswd .*"),
    reload: ([(f"{DOCS}/configuration.md", "Reloading", "sh", 1)], None),
    odds: ([(f"{DOCS}/counting.md", "Choosing misses", "text", 1)], r"heartbeat-probe odds .*"),
    tools: ([], r"heartbeat-probe (run|demo|ping)( \[?TARGET.*| --config.file FILE| stamp://HOST)?"
                r"|getent hosts NAME|ip route get ADDRESS|ip (address|link)|tcpdump .*"),
    units: ([(f"{DOCS}/deployment.md", "Keys under systemd", "ini", 1)],
            r"systemd-analyze .*|systemctl enable .*"),
    elsewhere: ([
        (README, "udp-heartbeat", "sh", 1),
        (README, "Monitor your own servers", "sh", 1),
        (README, "The whole stack in containers", "sh", 1),
        (f"{DOCS}/deployment.md", "The stack in containers", "sh", 1),
        (f"{DOCS}/deployment.md", "The image", "sh", 1),
        (f"{DOCS}/performance.md", "Performance", "sh", 1),
    ], r"(cargo|docker) .*|systemctl (edit|reload|start|status).*"),
}


def assign(found):
    """The examples of each scenario. Fails if one has no scenario, or a scenario lacks one."""
    blocks = {example.key: example for example in found if example.number}
    spans = [example for example in found if not example.number]
    work, problems, assigned = {}, [], set()
    for scenario, (keys, pattern) in SCENARIOS.items():
        problems += [f"no page has this example: {key}" for key in keys if key not in blocks]
        mine = [span for span in spans if pattern and re.fullmatch(pattern, span.text)]
        if pattern and not mine:
            problems.append(f"no page has an example like {pattern}")
        work[scenario] = [blocks[key] for key in keys if key in blocks], mine
        assigned |= {example for group in work[scenario] for example in group}
    problems += [f"no test runs this example: {e.page}:{e.line}: {e.kind}: {e.lines[0]}"
                 for e in found if e not in assigned]
    if problems:
        fail(*("\n        " + problem for problem in problems))
    return work


def play(name, folder):
    """Runs one scenario, in this process."""
    work = {scenario.__name__: (scenario, *parts) for scenario, parts in assign(examples()).items()}
    scenario, blocks, spans = work[name]
    lab = Lab(folder, spans)
    try:
        if scenario is elsewhere:
            elsewhere(lab, blocks + spans)
        else:
            scenario(lab, *blocks)
    finally:
        lab.end()


def main():
    found = examples()
    assign(found)
    start, failed, done = time.monotonic(), False, ""
    with tempfile.TemporaryDirectory() as top:
        pathlib.Path(top).chmod(0o755)
        use_names(top)
        players = []
        try:
            for scenario in SCENARIOS:
                folder = pathlib.Path(top, scenario.__name__)
                folder.mkdir()
                command = ["unshare", "--net", sys.executable, "-B", __file__,
                           scenario.__name__, folder]
                player = subprocess.Popen(command, stdout=subprocess.PIPE,
                                          stderr=subprocess.STDOUT, text=True)
                players.append((scenario.__name__, player))
            for name, player in players:
                said = player.communicate()[0]
                done += said
                print(said, end="", flush=True)
                if player.returncode:
                    failed = True
                    print(f"FAILED  the scenario {name}", flush=True)
        finally:
            for _, player in players:
                if player.poll() is None:
                    player.terminate()
                    player.wait()
    forgotten = [e for e in found if f"ok      {e.page}:{e.line}: " not in done]
    for example in [] if failed else forgotten:
        failed = True
        print(f"FAILED  {example.page}:{example.line}: its scenario does not report it")
    print(f"{len(found) - len(forgotten)} of {len(found)} examples, {time.monotonic() - start:.0f} s")
    sys.exit(failed)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    if len(sys.argv) > 1:
        play(*sys.argv[1:])
    else:
        main()
