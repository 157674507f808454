"""Our two programs, with the figures that they serve."""

import contextlib
import json
import pathlib
import re
import time
import urllib.request

from programs import PATIENCE, check, logged, running

SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.M)
LABEL = re.compile(r'(\w+)="([^"]*)"')


def equal(what, found, expected):
    check(found == expected, f"{what}: {found}, expected {expected}")


class Program:
    """A running program that serves metrics at the addresses in its log."""

    def __init__(self, command, log):
        self.command = [*command, "--web.listen-address=127.0.0.1:0", "--log.format=json"]
        self.log = log

    @contextlib.contextmanager
    def running(self):
        with running(self.command, self.log):
            logged(self.log, "serving HTTP")
            self.http = self.addresses("serving HTTP")[0]
            yield self

    def addresses(self, message):
        lines = pathlib.Path(self.log).read_text().splitlines()
        return [json.loads(line)["fields"]["address"] for line in lines if message in line]

    def metrics(self):
        """Each sample of /metrics: its name, its labels and its value."""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=PATIENCE) as answer:
            text = answer.read().decode()
        return [(name, dict(LABEL.findall(labels)), float(value))
                for name, labels, value in SERIES.findall(text)]


class Responder(Program):
    """heartbeat-responder on loopback, with its counts since they were last checked."""

    def __init__(self, program, folder, *flags):
        listen = ["--listen=127.0.0.1:0", "--listen=[::1]:0"]
        super().__init__([program, *listen, "--rate-limit=0", *flags], f"{folder}/responder.log")

    @contextlib.contextmanager
    def running(self):
        with super().running():
            addresses = self.addresses("answering heartbeats over UDP")
            self.ports = [int(address.rsplit(":", 1)[1]) for address in addresses]
            self.before = self.counts()
            yield self

    def counts(self):
        """Such as received_stamp, for heartbeat_responder_received_total{protocol="stamp"}."""
        counts = {}
        for name, labels, value in self.metrics():
            part = re.fullmatch(r"heartbeat_responder_(\w+)_total", name)
            if part:
                counts["_".join([part[1], *labels.values()])] = int(value)
        return counts

    def counted(self, what, **expected):
        """Waits for these counts, and checks that they are exact and that all others are 0."""
        expected = dict.fromkeys(self.before, 0) | expected
        end = time.monotonic() + PATIENCE
        while True:
            now = self.counts()
            since = {key: now[key] - self.before[key] for key in now}
            enough = all(since[key] >= count for key, count in expected.items())
            if enough or time.monotonic() > end:
                break
            time.sleep(0.05)
        self.before = now
        for key, count in expected.items():
            equal(f"{what}: {key}", since[key], count)
