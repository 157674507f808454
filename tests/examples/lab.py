"""A network of its own, with the names and addresses of the pages, and the programs that run in it."""

import json
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from texts import TOP

# How long to wait for each condition, in seconds.
PATIENCE = 60

NAMES = {"fra.example": "192.0.2.10", "router.example": "192.0.2.62", "probe.example": "192.0.2.1"}
NAME_SERVERS = ["192.0.2.53", "2001:db8::53"]
ADDRESSES = [*NAMES.values(), *NAME_SERVERS, "2001:db8::7"]
PORT_OF_ROUTER = 862

ZONES = {
    ".": "@ NS ns.example.\nns.example. A 192.0.2.53\nns.example. AAAA 2001:db8::53",
    "example.org": "@ NS ns.example.\n@ MX 10 mail\nmail A 192.0.2.25",
}


def fail(*what):
    sys.exit(f"FAILED  {' '.join(map(str, what))}")


def check(condition, *what):
    if not condition:
        fail(*what)


def wait_for(what, ask, patience=PATIENCE):
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + patience
    while True:
        if found := ask():
            return found
        if time.monotonic() > end:
            fail(f"not within {patience} s:", what)
        time.sleep(0.1)


def use_names(folder):
    """Makes the names of the pages known in this mount namespace."""
    hosts = pathlib.Path(folder, "hosts")
    lines = ["127.0.0.1 localhost", "::1 localhost", *(f"{ip} {name}" for name, ip in NAMES.items())]
    hosts.write_text("\n".join(lines) + "\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)


class Running:
    """A program in the background. Its output and its log are in files."""

    def __init__(self, line, folder, env, number):
        self.line = line
        self.out, self.log = (pathlib.Path(folder, f"{number}.{kind}") for kind in ["out", "log"])
        with open(self.out, "w") as out, open(self.log, "w") as log:
            # A session of its own, so that a signal also reaches what a shell has started.
            self.process = subprocess.Popen(["bash", "-c", line], cwd=folder, env=env, stdout=out,
                                            stderr=log, start_new_session=True)

    def logs(self, text):
        """Waits until the log or the output has the text."""
        def has_it():
            said = self.log.read_text() + self.out.read_text()
            if text not in said and self.process.poll() is not None:
                fail(f"{self.line} ended with {self.process.returncode}: {said[-2000:]}")
            return text in said
        wait_for(f"{self.line} logs {text!r}", has_it)
        return self

    def send(self, number):
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def end(self, number=signal.SIGTERM):
        self.send(number)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.process.wait()
            fail(f"{self.line} does not end on signal {number}")


class Lab:
    """Where a scenario runs its programs. `spans` are the commands and queries in sentences."""

    def __init__(self, folder, spans):
        self.folder, self.spans = pathlib.Path(folder), spans
        programs = TOP / "target/debug"
        self.env = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "NO_COLOR": "1"}
        self.running = []
        self.prometheus = "http://127.0.0.1:9090"
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for address in ADDRESSES:
            how = [f"{address}/128", "nodad"] if ":" in address else [f"{address}/32"]
            subprocess.run(["ip", "address", "add", *how, "dev", "lo"], check=True)

    def end(self):
        for running in reversed(self.running):
            running.send(signal.SIGCONT)
            running.send(signal.SIGTERM)
        for running in self.running:
            # A probe waits for its heartbeats in flight; a second signal ends it at once.
            try:
                running.process.wait(0.5)
            except subprocess.TimeoutExpired:
                running.send(signal.SIGKILL)
                running.process.wait()

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def run(self, line, codes=(0,)):
        """Runs a command line to its end, and returns its output."""
        done = subprocess.run(["bash", "-c", line], cwd=self.folder, env=self.env, text=True,
                              capture_output=True, timeout=2 * PATIENCE)
        check(done.returncode in codes, line, "exits with", done.returncode, done.stdout, done.stderr)
        return done.stdout

    def start(self, line):
        running = Running(line, self.folder, self.env, len(self.running))
        self.running.append(running)
        return running

    def start_router(self):
        """Starts the responder that answers STAMP at router.example."""
        self.start(f"heartbeat-responder --listen {NAMES['router.example']}:{PORT_OF_ROUTER}"
                   " --web.listen-address 127.0.0.1:0").logs("serving HTTP")

    def start_name_server(self):
        folder = self.folder / "named"
        folder.mkdir()
        zones = ""
        for number, (name, records) in enumerate(ZONES.items()):
            soa = "@ SOA ns.example. hostmaster.example. 1 3600 600 86400 60"
            (folder / f"zone{number}").write_text(f"$TTL 60\n{soa}\n{records}\n")
            zones += f'zone "{name}" {{ type primary; file "zone{number}"; }};\n'
        v4, v6 = NAME_SERVERS
        (folder / "named.conf").write_text(f"""options {{
            directory "{folder}";
            pid-file "{folder}/named.pid";
            session-keyfile "{folder}/session.key";
            listen-on {{ {v4}; }};
            listen-on-v6 {{ {v6}; }};
            recursion no;
            dnssec-validation no;
        }};
        controls {{ }};
        {zones}""")
        # A copy: a profile of AppArmor may confine the package's own program to its own folders.
        named = shutil.copy(shutil.which("named"), folder)
        user = pwd.getpwnam("bind")
        for path in [folder, *folder.iterdir()]:
            os.chown(path, user.pw_uid, user.pw_gid)
        self.start(f"{named} -g -n 1 -u bind -c {folder}/named.conf").logs("running")

    def start_prometheus(self, config):
        """Starts Prometheus with the configuration, and with a shorter interval."""
        file = self.write("prometheus.yml", config)
        self.run(f"promtool check config {file}")
        every_second = "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        file = self.write("prometheus-1s.yml", every_second + config)
        self.start(f"prometheus --config.file={file} --storage.tsdb.path={self.folder}/tsdb"
                   f" --web.listen-address={self.prometheus.removeprefix('http://')}")
        wait_for("Prometheus is ready", lambda: self.get(f"{self.prometheus}/-/ready"))

    def get(self, url):
        """The answer to a request; nothing if there is none."""
        try:
            return urllib.request.urlopen(url, timeout=PATIENCE).read().decode()
        except OSError:
            return None

    def targets(self):
        """The targets of the probe, by name."""
        found = json.loads(self.get("http://127.0.0.1:9862/api/v1/targets") or '{"targets": []}')
        return {target["name"]: target for target in found["targets"]}

    def metric(self, port, series):
        """The value of a series in /metrics of a program on this port."""
        for line in (self.get(f"http://127.0.0.1:{port}/metrics") or "").splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        return None

    def query(self, text, at=None):
        """The series of a query: labels, and the value or all values."""
        parameters = {"query": text} | ({} if at is None else {"time": at})
        url = f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode(parameters)}"
        try:
            answer = json.load(urllib.request.urlopen(url, timeout=PATIENCE))["data"]
        except urllib.error.HTTPError as error:
            fail("Prometheus refuses", text, error.read().decode())
        if answer["resultType"] == "scalar":
            return float(answer["result"][1])
        if answer["resultType"] == "matrix":
            return [(series["metric"], [float(value) for _, value in series["values"]])
                    for series in answer["result"]]
        return [(series["metric"], float(series["value"][1])) for series in answer["result"]]

    def by_target(self, text, at=None):
        return {labels["target"]: value for labels, value in self.query(text, at)}
