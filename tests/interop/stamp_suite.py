"""The crate stamp-suite, another implementation of STAMP: its sender with our responder, and our
probe with its reflector, over IPv4 and IPv6, open and authenticated."""

import json
import os
import secrets
import socket
import subprocess
import time

from ours import Responder, equal
from programs import PATIENCE, check, free_port, logged, running

COUNT = 50
INTERVAL = "10ms"
# The bound for the shortest round trip on loopback in milliseconds, even on a busy machine.
LONG = 20
# How often a measurement is repeated if a busy machine makes the results incomparable.
ATTEMPTS = 20


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
    keyed = [f"--stamp.key-file={key}"]
    open_too = [*keyed, "--stamp.allow-unauthenticated"]
    with Responder(RESPONDER, folder, *open_too).running() as responder:
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
            responder.counted("another key", received_stamp=COUNT, dropped_unauthenticated=COUNT)

    with Responder(RESPONDER, folder, *keyed).running() as responder:
        refused = suite_sends("127.0.0.1", responder.ports[0], timeout=1)
        equal("their sender without a key", refused["packets_received"], 0)
        responder.counted("without a key", received_stamp=COUNT, dropped_unauthenticated=COUNT)

    lossy = [*open_too, "--loss=30%", "--direction=both", "--seed=3"]
    with Responder(RESPONDER, folder, *lossy).running() as responder:
        theirs = suite_sends("::1", responder.ports[1], timeout=10)
        responder.counted("lost at random", received_stamp=COUNT,
                          dropped_loss=theirs["packets_lost"],
                          replied_stamp=theirs["packets_received"])
        check(theirs["packets_lost"] > 0, "nothing was lost")


def both_reflectors_answer_tlvs_alike(folder):
    """Extra Padding, one that nobody knows, and two that reach beyond the packet."""
    port, log = free_port(), f"{folder}/suite.log"
    suite = [SUITE, "-i", "-S", "127.0.0.1", "-o", str(port)]
    with Responder(RESPONDER, folder).running() as responder, running(suite, log):
        logged(log, "listening on")
        for tlvs in ["80010002aabb", "80c80001aa", "80010002aabb80c80000", "8001ffff00000000",
                     "80010001aa80c800050102"]:
            seconds = int(time.time()) + 2_208_988_800
            packet = (bytes(4) + seconds.to_bytes(4, "big") + bytes(4) + b"\x00\x01\x00\x07"
                      + bytes(28) + bytes.fromhex(tlvs))
            answers = []
            for peer in [responder.ports[0], port]:
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


def verify(programs, folder):
    """Runs all checks of this file."""
    global SUITE, PROBE, RESPONDER
    SUITE, PROBE, RESPONDER = programs
    files = []
    for name in ["key", "other"]:
        files.append(f"{folder}/{name}")
        with open(os.open(files[-1], os.O_CREAT | os.O_WRONLY, 0o600), "w") as out:
            out.write(secrets.token_hex(32) + "\n")
    suite_against_our_responder(folder, *files)
    both_reflectors_answer_tlvs_alike(folder)
    our_probe_against_their_reflector(folder, *files)
