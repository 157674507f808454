"""Compares the probe's round-trip delays with those of a packet capture of the same heartbeats.

The probe sends to 1,000 STAMP targets every 100 ms over loopback while dumpcap records every
datagram. One scrape at the end gives the number n of answers of each target. They are the first n
answers within the timeout, which are also the first n in the capture. Over these heartbeats, the
mean of the exported histogram (sum / count) is compared with the mean in the capture of

    reply captured - request captured - (t3 - t2),

where t2 and t3 are the reflector's timestamps in the reply (RFC 8762), since the probe subtracts
the turnaround as well. On loopback, each datagram is captured once, on arrival, with a kernel
timestamp.
"""

import argparse
import collections
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

TARGETS = 1_000
# In seconds.
INTERVAL = 0.1
TIMEOUT = 1
# Seconds of probing before the scrape.
SECONDS = 8
# Seconds to wait for anything else.
PATIENCE = 60
# The share of the heartbeats due that must be answered for the result to apply to this rate.
ANSWERED = 0.5
# The share of round trips that must be measured with kernel timestamps alone.
KERNEL_STAMPS = 0.99
# The option if_tsresol with 10^-9, in a pcapng file.
NANOSECONDS = bytes.fromhex("0900010009000000")
# Octets of a STAMP packet.
STAMP = 44
# Kills the programs even if this script is killed and cannot clean up; setpriv is in util-linux.
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL"]
STRESS = ["stress-ng", "--cpu", str(os.cpu_count()), "--timeout", "30s", "--quiet"]


class Wrong(Exception):
    """The delays cannot be compared."""


def main():
    arguments = parse()
    # Unwind like on Ctrl-C, so that the programs are ended.
    for ended_by in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ended_by, lambda number, _: sys.exit(128 + number))
    report, wrong = {}, []
    try:
        for load, busy in (("idle", False), ("busy", True)):
            with tempfile.TemporaryDirectory() as directory:
                report[load] = measure(arguments, Path(directory), busy)
            wrong += judge(load, report[load], arguments.bound)
    except Wrong as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--probe", type=Path, required=True)
    parser.add_argument("--responder", type=Path, required=True)
    parser.add_argument("--bound", type=float, default=100, help="microseconds (default: 100)")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    return parser.parse_args()


def measure(arguments, directory, busy):
    """Probes and captures for a while, and compares the results."""
    with Processes() as processes:
        responder = processes.start(
            [arguments.responder, "--log.format=json", "--web.listen-address=127.0.0.1:0"]
            + ["--rate-limit=0", "--listen=0.0.0.0:0", "--allow=127.0.0.0/8"]
        )
        [anywhere], _ = served(responder)
        port = anywhere.rsplit(":", 1)[1]
        # Each target has its own address, by which it is identified in the capture.
        peers = [f"127.0.{n // 250}.{n % 250 + 1}:{port}" for n in range(TARGETS)]
        config = directory / "heartbeat.yml"
        config.write_text(configuration(peers))

        capture = directory / "capture.pcapng"
        dumpcap = processes.start(
            ["dumpcap", "-q", "-i", "lo", "-f", f"udp port {port}", "-s", "128", "-B", "64", "-w", capture]
        )
        wait_for(dumpcap, "File:")
        if busy:
            processes.start(STRESS)
            time.sleep(1)

        probe = processes.start(
            [arguments.probe, "run", "--log.format=json", "--web.listen-address=127.0.0.1:0"]
            + ["--config.file", config]
        )
        _, http = served(probe)
        time.sleep(SECONDS)
        text = urllib.request.urlopen(f"http://{http}/metrics", timeout=PATIENCE).read().decode()
        # The last counted answers may still be in dumpcap's buffer.
        flush(port, capture)
        processes.end(probe)
        processes.end(dumpcap, signal.SIGINT)

    exported = Exported(text)
    captured = round_trips(capture, peers)
    return compare(exported, captured)


def configuration(peers):
    lines = [
        f"defaults: {{protocol: stamp, interval: {INTERVAL * 1000:.0f}ms, timeout: {TIMEOUT}s}}",
        "targets:",
    ]
    lines += [f'  - {{name: "{peer}", address: "{peer}"}}' for peer in peers]
    return "\n".join(lines) + "\n"


def flush(port, capture):
    """Sends a marker, neither request nor reply, and waits until it is in the capture file."""
    marker = os.urandom(16)
    end = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, capture.open("rb") as octets:
        sender.sendto(marker, ("127.0.0.1", int(port)))
        seen = b""
        while marker not in (seen := seen[-len(marker) :] + octets.read()):
            if time.monotonic() > end:
                raise Wrong("timed out waiting for the end of the capture")
            time.sleep(0.1)


class Exported:
    """The results of the probe in one scrape."""

    def __init__(self, text):
        self.count, self.sum, self.lost, self.unsent = {}, {}, 0, 0
        self.stamps = collections.Counter()
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            series, value = line.rsplit(" ", 1)
            name, _, labels = series.partition("{")
            label = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            if name == "heartbeat_rtt_seconds_count":
                self.count[label["target"]] = int(value)
            elif name == "heartbeat_rtt_seconds_sum":
                self.sum[label["target"]] = float(value)
            elif name == "heartbeat_lost_total":
                self.lost += int(value)
            elif name == "heartbeat_unsent_total":
                self.unsent += int(value)
            elif name == "heartbeat_probe_timestamps_total":
                self.stamps[label["source"]] += int(value)


def round_trips(capture, peers):
    """The delays of each target in nanoseconds, in the order of the answers."""
    names = {address_octets(peer): peer for peer in peers}
    requests, delays = {}, collections.defaultdict(list)
    for stamp, source, destination, payload in datagrams(capture):
        if len(payload) < STAMP:
            continue
        if destination in names:
            (sequence,) = struct.unpack_from(">I", payload, 0)
            heartbeat = destination, sequence
            if heartbeat in requests:
                raise Wrong("a request was captured twice")
            requests[heartbeat] = stamp
        elif source in names:
            (t3,) = struct.unpack_from(">Q", payload, 4)
            t2, sequence = struct.unpack_from(">QI", payload, 16)
            sent = requests.get((source, sequence))
            if sent is None:
                raise Wrong("a reply was captured without its request")
            if stamp - sent <= TIMEOUT * 1e9:
                turnaround = (t3 - t2) * 1e9 / 2**32
                delays[names[source]].append(stamp - sent - turnaround)
    return delays


def datagrams(capture):
    """Every IPv4 UDP datagram of a pcapng file: time in ns, source, destination, payload."""
    octets = capture.read_bytes()
    at = 0
    while at + 12 <= len(octets):
        kind, length = struct.unpack_from("<II", octets, at)
        if kind == 0x0A0D0D0A and octets[at + 8 : at + 12] != bytes.fromhex("4d3c2b1a"):
            raise Wrong("the capture is not little-endian")
        if kind == 1 and NANOSECONDS not in octets[at : at + length]:
            raise Wrong("the capture's timestamps are not nanoseconds")
        if kind == 6:
            high, low, captured = struct.unpack_from("<III", octets, at + 12)
            # 14 octets of Ethernet header, IPv4 without options, then UDP.
            ip, udp, end = at + 42, at + 62, at + 28 + captured
            source = octets[ip + 12 : ip + 16] + octets[udp : udp + 2]
            destination = octets[ip + 16 : ip + 20] + octets[udp + 2 : udp + 4]
            yield high << 32 | low, source, destination, octets[udp + 8 : end]
        at += max(length, 12)


def address_octets(address):
    host, port = address.rsplit(":", 1)
    return bytes(int(octet) for octet in host.split(".")) + int(port).to_bytes(2, "big")


def compare(exported, captured):
    """Compares the exported mean with that of the same heartbeats in the capture."""
    delays, worst = [], 0
    for target, count in exported.count.items():
        own = captured.get(target, [])[:count]
        if len(own) < count:
            raise Wrong(f"{target}: {count} answers exported, {len(own)} captured")
        delays += own
        if count:
            worst = max(worst, abs(exported.sum[target] - sum(own) / 1e9) / count)
    if not delays:
        raise Wrong("the probe counted no answer")
    mean, truth = sum(exported.sum.values()) / len(delays), sum(delays) / len(delays) / 1e9
    return {
        "heartbeats": len(delays),
        "answered": len(delays) * INTERVAL / (SECONDS * TARGETS),
        "lost": exported.lost,
        "unsent": exported.unsent,
        "exported_mean_seconds": mean,
        "captured_mean_seconds": truth,
        "difference_seconds": mean - truth,
        "worst_target_difference_seconds": worst,
        "kernel_stamps": exported.stamps["kernel"] / sum(exported.stamps.values()),
    }


def judge(load, figures, bound):
    """Prints the results, and yields a message for each one out of bounds."""
    micros = lambda name: figures[f"{name}_seconds"] * 1e6
    print(
        f"{load}: {figures['heartbeats']:,} heartbeats ({figures['lost']} lost,"
        f" {figures['unsent']} unsent), mean RTT {micros('exported_mean'):.2f} µs"
        f" exported, {micros('captured_mean'):.2f} µs captured:"
        f" difference {micros('difference'):+.3f} µs"
        f" (of one target at most {micros('worst_target_difference'):.3f} µs);"
        f" kernel stamps {figures['kernel_stamps']:.4%}",
        flush=True,
    )
    if abs(micros("difference")) > bound:
        yield f"{load}: the means differ by more than {bound} µs"
    if figures["kernel_stamps"] < KERNEL_STAMPS:
        yield f"{load}: less than {KERNEL_STAMPS:.0%} of the round trips have kernel timestamps"
    if figures["answered"] < ANSWERED:
        yield f"{load}: only {figures['answered']:.0%} of the heartbeats due were answered"


def served(process):
    """The addresses where a program answers heartbeats, and the address where it serves HTTP."""
    udp = []
    while True:
        fields = json.loads(wait_for(process, '"address"'))["fields"]
        if fields["message"] == "serving HTTP":
            return udp, fields["address"]
        udp.append(fields["address"])


def wait_for(process, words):
    """The next line of a program's log that contains `words`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        line = process.log.readline()
        if words in line:
            return line
        if not line:
            if process.poll() is not None:
                raise Wrong(f"{process.name} ended with {process.returncode}")
            time.sleep(0.01)
    raise Wrong(f"{process.name} does not log {words}")


class Processes:
    """Programs that are ended, by process id, at the end of the block."""

    def __init__(self):
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        while self.running:
            self.end(self.running[-1])

    def start(self, command):
        """Starts a program. Its standard error goes to a file, since a full pipe would block it."""
        log = tempfile.TemporaryFile("w+")
        reader = open(f"/proc/self/fd/{log.fileno()}")
        try:
            process = subprocess.Popen(
                DIES_WITH_US + [str(word) for word in command],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        except OSError as error:
            raise Wrong(f"cannot start {command[0]}: {error}") from error
        process.name, process.log = command[0], reader
        self.running.append(process)
        return process

    def end(self, process, by=signal.SIGTERM):
        """Ends a program and waits for it."""
        self.running.remove(process)
        process.send_signal(by)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.log.close()


if __name__ == "__main__":
    sys.exit(main())
