"""Lets our programs and stamp-suite talk to each other, and compares their results.

usage: talk.py STAMP-SUITE HEARTBEAT-PROBE HEARTBEAT-RESPONDER
"""

import json
import os
import pathlib
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from programs import PATIENCE, all_passed, check, free_port, logged, running

SUITE, PROBE, RESPONDER = sys.argv[1:]
COUNT = 50
INTERVAL = "10ms"
# The bound for the shortest round trip on loopback in milliseconds, even on a busy machine.
LONG = 20
# How often a measurement is repeated if a busy machine makes the results incomparable.
ATTEMPTS = 20


def equal(what, found, expected):
    check(found == expected, f"{what}: {found}, expected {expected}")


class Responder:
    """Our responder, with its counts since they were last read."""

    def __init__(self, folder, *flags):
        self.log = f"{folder}/responder.log"
        self.command = [RESPONDER, "--listen=127.0.0.1:0", "--listen=[::1]:0", "--rate-limit=0",
                        "--web.listen-address=127.0.0.1:0", "--log.format=json", *flags]
        self.before = {}

    def ready(self):
        logged(self.log, "serving HTTP")
        lines = [json.loads(line) for line in pathlib.Path(self.log).read_text().splitlines()]
        def addresses(message):
            return [str(line["fields"]["address"]) for line in lines
                    if line["fields"].get("message") == message]
        self.ports = [int(a.rsplit(":", 1)[1]) for a in addresses("answering heartbeats over UDP")]
        self.http = addresses("serving HTTP")[0]
        self.before = self.counts()
        return self

    def counts(self):
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=PATIENCE) as answer:
            text = answer.read().decode()
        found = re.findall(r'^heartbeat_responder_(\w+)_total\{\w+="(\w+)"\} (\d+)', text, re.M)
        return {(name, label): int(value) for name, label, value in found}

    def counted(self, what, **expected):
        """Waits for the counts name_label=COUNT, and checks that they are exact."""
        end = time.monotonic() + PATIENCE
        while True:
            now = self.counts()
            since = {f"{name}_{label}": value - self.before.get((name, label), 0)
                     for (name, label), value in now.items()}
            enough = all(since[key] >= count for key, count in expected.items())
            if enough or time.monotonic() > end:
                break
            time.sleep(0.05)
        self.before = now
        for key, count in expected.items():
            equal(f"{what}: {key}", since[key], count)


def suite_sends(ip, port, *flags, timeout=PATIENCE):
    """The results of their sender, which waits `timeout` seconds for missing answers."""
    ours = "::" if ":" in ip else "0.0.0.0"
    command = [SUITE, "-S", ours, "-r", ip, "-p", str(port), "-c", str(COUNT), "-d", INTERVAL,
               "-L", str(timeout), "--ssid", "7", "--output-format", "json", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10 * PATIENCE)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    check(lines, command, done.stdout, done.stderr)
    return json.loads(lines[-1])


def probe_pings(ip, port, *flags, timeout="1m"):
    """The results of our probe."""
    host = f"[{ip}]" if ":" in ip else ip
    command = [PROBE, "ping", "--json", "-c", str(COUNT), "-i", INTERVAL, "-W", timeout, *flags,
               f"stamp://{host}:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10 * PATIENCE)
    check(done.stdout, command, done.stderr)
    return json.loads(done.stdout)


def all_received(what, theirs):
    equal(f"{what}: sent", theirs["packets_sent"], COUNT)
    equal(f"{what}: received", theirs["packets_received"], COUNT)
    more = theirs["measurements"]
    equal(f"{what}: duplicates", more["duplicate_replies"], 0)
    equal(f"{what}: reordered", more["reordered_replies"], 0)
    check(0 < theirs["min_rtt_ms"] < LONG, what, "shortest", theirs["min_rtt_ms"])


def suite_against_our_responder(folder, key, other):
    flags = [f"--stamp.key-file={key}"]
    responder = Responder(folder, *flags)
    with running([*responder.command, "--stamp.allow-unauthenticated"], responder.log):
        responder.ready()
        modes = {"open": [], "authenticated": ["-A", "A", "--hmac-key-file", key]}
        for ip, port in zip(["127.0.0.1", "::1"], responder.ports):
            for mode, auth in modes.items():
                what = f"their sender, {mode}, {ip}"
                theirs = suite_sends(ip, port, *auth)
                all_received(what, theirs)
                equal(f"{what}: last sequence number of our responder",
                         theirs["measurements"]["last_reflector_sequence"], COUNT - 1)
                responder.counted(what, received_stamp=COUNT, replied_stamp=COUNT)

                padded = suite_sends(ip, port, *auth, "--extra-padding", "20")
                all_received(f"{what}, padding", padded)
                flags = padded["measurements"]["tlv_validation"]["flags"]
                equal(f"{what}: padding flagged U", flags["unrecognized"], 0)

                unknown = suite_sends(ip, port, *auth, "--location", "--extra-padding", "20")
                all_received(f"{what}, a TLV unknown to us", unknown)
                tlvs = unknown["measurements"]["tlv_validation"]
                equal(f"{what}: flagged U", tlvs["flags"]["unrecognized"], COUNT)
                equal(f"{what}: flagged M", tlvs["flags"]["malformed"], 0)
                equal(f"{what}: flagged I", tlvs["flags"]["integrity_failed"], 0)
                equal(f"{what}: TLV HMACs verified", tlvs["hmac"]["verified"],
                         COUNT if auth else 0)
                more = 2 * COUNT
                if not auth:
                    bad = suite_sends(ip, port, "--malformed", "bad-length")
                    all_received(f"{what}, a malformed TLV", bad)
                    more += COUNT
                responder.counted(f"{what}, TLVs", received_stamp=more, replied_stamp=more)

            wrong = suite_sends(ip, port, "-A", "A", "--hmac-key-file", other, timeout=1)
            equal(f"their sender with another key, {ip}", wrong["packets_received"], 0)
            responder.counted("another key", dropped_unauthenticated=COUNT, replied_stamp=0)

    with running(responder.command, responder.log):
        responder.before = {}
        responder.ready()
        refused = suite_sends("127.0.0.1", responder.ports[0], timeout=1)
        equal("their sender without a key", refused["packets_received"], 0)
        responder.counted("without a key", dropped_unauthenticated=COUNT)

    lossy = ["--stamp.allow-unauthenticated", "--loss=30%", "--direction=both", "--seed=3"]
    with running([*responder.command, *lossy], responder.log):
        responder.before = {}
        responder.ready()
        theirs = suite_sends("::1", responder.ports[1], timeout=10)
        responder.counted("lost at random", dropped_loss=theirs["packets_lost"],
                          replied_stamp=theirs["packets_received"])
        check(theirs["packets_lost"] > 0, "nothing was lost")


def both_reflectors_answer_tlvs_alike(folder):
    """Extra Padding, one that nobody knows, and two that reach beyond the packet."""
    responder, port, log = Responder(folder), free_port(), f"{folder}/suite.log"
    suite = [SUITE, "-i", "-S", "127.0.0.1", "-o", str(port)]
    with running(responder.command, responder.log), running(suite, log):
        logged(log, "listening on")
        ours = responder.ready().ports[0]
        for tlvs in ["80010002aabb", "80c80001aa", "80010002aabb80c80000", "8001ffff00000000",
                     "80010001aa80c800050102"]:
            seconds = int(time.time()) + 2_208_988_800
            packet = (bytes(4) + seconds.to_bytes(4, "big") + bytes(4) + b"\x00\x01\x00\x07"
                      + bytes(28) + bytes.fromhex(tlvs))
            answers = []
            for peer in [ours, port]:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                    one.settimeout(PATIENCE)
                    one.sendto(packet, ("127.0.0.1", peer))
                    answers.append(one.recv(2048)[44:].hex())
            equal(f"TLVs {tlvs} come back", *answers)


def our_probe_against_their_reflector(folder, key, other):
    for ip in ["127.0.0.1", "::1"]:
        for state in ([], ["--stateful-reflector"]):
            for auth in ([], ["-A", "A", "--hmac-key-file", key]):
                port, log = free_port(), f"{folder}/suite.log"
                command = [SUITE, "-i", "-S", ip, "-o", str(port), *state, *auth]
                with running(command, log):
                    logged(log, "listening on")
                    what = f"our probe, {ip} {' '.join(state)} {'authenticated' if auth else ''}"
                    for _ in range(ATTEMPTS):
                        ours = probe_pings(ip, port, *(["--key-file", key] if auth else []))
                        # A busy machine makes the probe skip some.
                        sent = COUNT - ours["unsent"]["skipped"]
                        for word, count in [("sent", sent), ("received", sent), ("lost", 0),
                                            ("late", 0), ("duplicates", 0)]:
                            equal(f"{what}: {word}", ours[word], count)
                        equal(f"{what}: invalid", set(ours["invalid"].values()), {0})
                        theirs = suite_sends(ip, port, *auth)
                        all_received(f"their sender, {what[11:]}", theirs)
                        # The two are measured in turn, so only the shortest round trips compare.
                        apart = abs(ours["rtt_seconds"]["min"] * 1e3 - theirs["min_rtt_ms"])
                        if sent > COUNT / 2 and apart < 1:
                            break
                    check(sent > COUNT / 2, what, "skipped", COUNT - sent)
                    check(apart < 1, what, "shortest round trips differ by", apart, "ms")
                    if auth:
                        wrong = probe_pings(ip, port, "--key-file", other, timeout="1s")
                        equal(f"{what}, another key", wrong["received"], 0)


def main():
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name in ["key", "other"]:
            files.append(f"{folder}/{name}")
            with open(os.open(files[-1], os.O_CREAT | os.O_WRONLY, 0o600), "w") as out:
                out.write(secrets.token_hex(32) + "\n")
        suite_against_our_responder(folder, *files)
        both_reflectors_answer_tlvs_alike(folder)
        our_probe_against_their_reflector(folder, *files)
    all_passed()


main()
