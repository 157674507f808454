"""Sends a million hostile datagrams to a responder while a probe measures it.

The datagrams are random octets, requests from 65,536 forged addresses, and replayed requests and
replies. The forged STAMP requests begin more sessions than the responder can remember. Afterwards,
every datagram must be in exactly one of the responder's counters or have been dropped by the kernel,
the probe must have lost none except those that the kernel dropped, in each direction as well, and the
responder's memory must be within its bound.

    flood.py FOLDER_OF_THE_PROGRAMS
"""

import json
import multiprocessing
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

TOTAL = 1_000_000
FLOODERS = 3
PORT = 12000
RESPONDER = ("127.0.0.1", 9863)
PROBE = ("127.0.0.1", 9862)

# Octets that may wait at a socket of the responder before the flood pauses: datagrams that the
# kernel drops would test nothing.
BACKLOG = 2 << 20

# The forged sessions of STAMP, more than the 229,376 that a thread of the responder remembers of
# which it has seen only one request.
SESSIONS = 240_000
# In the second half of the flood, the tables of sessions grow to their limit: 26 MB in each thread.
GROWTH = 26_000_000 * (os.cpu_count() or 1)
LARGEST = (64 << 20) + GROWTH

# The NTP era begins in 1900.
NTP_TO_UNIX = 2_208_988_800


def fail(message):
    sys.exit(f"FAILED: {message}")


def sockets():
    """The most octets waiting at a socket of the responder, and the datagrams dropped at all."""
    waiting, dropped = [], 0
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[1].endswith(f":{PORT:04X}"):
            waiting.append(int(columns[4].split(":")[1], 16))
            dropped += int(columns[-1])
    if not waiting:
        fail("the responder has ended")
    return max(waiting), dropped


def metrics(address):
    """Every series of a program, by name and labels."""
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    series = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in series}


def total(series, name):
    return sum(int(value) for key, value in series.items() if key.partition("{")[0] == name)


def stamp(sequence, at, ssid=1):
    seconds = int(at)
    fraction = int((at - seconds) * 2**32)
    return struct.pack(
        ">IIIHH28x", sequence, (seconds + NTP_TO_UNIX) % 2**32, fraction, 0x2401, ssid
    )


def requests(sequence):
    """One request of each protocol."""
    now = time.time()
    return [
        stamp(sequence % 2**32, now),
        f"{sequence} {now!r}".encode(),
        f"Ping {sequence} {time.ctime(now)}".encode(),
    ]


def replies():
    """Requests to the responder, and its replies to them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as honest:
        honest.bind(("127.0.0.2", 0))
        honest.connect(("127.0.0.1", PORT))
        honest.settimeout(60)
        asked = requests(7)
        answers = []
        for request in asked:
            honest.send(request)
            answers.append(honest.recv(2048))
    return asked, answers


def flood(number, count, seen, done):
    """Sends `count` datagrams, equally many of each kind, and keeps their number in `done`."""
    draws = random.Random(number)
    noise = [draws.randbytes(draws.randrange(0, 1400)) for _ in range(2048)]
    asked, answers = seen
    plain = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
    for index, one in enumerate(plain):
        one.bind((f"127.0.{number + 1}.{index + 1}", 0))
    forger = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    server = ("127.0.0.1", PORT)
    here = socket.inet_aton("127.0.0.1")
    for n in range(count):
        if n % 64 == 0:
            while sockets()[0] > BACKLOG:
                time.sleep(0.0005)
            valid = requests(n)
        kind = n % 3
        if kind == 0:
            plain[n % 8].sendto(noise[draws.randrange(2048)], server)
        elif kind == 1:
            # Four fifths are of STAMP, each of a session of its own.
            which = draws.randrange(15)
            ssid = n // 3 % 65535 + 1
            payload = valid[which] if which < 3 else stamp(n, time.time(), ssid)
            source = struct.pack(">I", 0xC6120000 + draws.randrange(65536))
            length = 28 + len(payload)
            # The kernel fills in the IP checksum. A UDP checksum of 0 means that there is none.
            header = struct.pack(">BBHHHBBH", 0x45, 0, length, 0, 0, 64, 17, 0) + source + here
            udp = struct.pack(">HHHH", 40000, PORT, length - 20, 0)
            forger.sendto(header + udp + payload, server)
        else:
            replayed = answers if n % 2 else asked
            plain[n % 8].sendto(replayed[n % len(replayed)], server)
        if n % 1000 == 999:
            done[number] = n + 1
    done[number] = count


def until(what, ask, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.1)
    return fail(f"timed out waiting until {what}")


def reached(address):
    try:
        with socket.create_connection(address, timeout=1):
            return True
    except OSError:
        return False


def attack(work, programs, children):
    def start(name, arguments):
        with open(work / f"{name}.log", "w") as log:
            command = [programs / name, *arguments, "--web.listen-address=127.0.0.1:%d"]
            command[-1] %= (PROBE if name == "heartbeat-probe" else RESPONDER)[1]
            children.append(subprocess.Popen(command, stderr=log))
        return children[-1]

    start("heartbeat-responder", [f"--listen=127.0.0.1:{PORT}"])
    until("the responder serves", lambda: reached(RESPONDER))
    protocols = ["stamp", "heartbeat", "ping"]
    targets = [
        {"name": f"t{n}", "address": f"127.0.0.1:{PORT}", "protocol": protocols[n % 3]}
        for n in range(18)
    ]
    # Keeps a heartbeat in flight, so that the probe serves its final counts after SIGTERM.
    targets.append({"name": "nobody", "address": "127.0.0.9:9", "interval": "1s", "timeout": "10m"})
    config = {"defaults": {"interval": "50ms", "timeout": "10s"}, "targets": targets}
    (work / "probe.yml").write_text(json.dumps(config))
    probe = start("heartbeat-probe", ["run", f"--config.file={work / 'probe.yml'}"])
    until("the probe serves", lambda: reached(PROBE))

    seen = replies()
    honest = len(seen[0])
    begin = time.monotonic()
    done = multiprocessing.Array("Q", FLOODERS)
    shares = [TOTAL // FLOODERS + (n < TOTAL % FLOODERS) for n in range(FLOODERS)]
    flooders = [
        multiprocessing.Process(target=flood, args=(n, share, seen, done), daemon=True)
        for n, share in enumerate(shares)
    ]
    for flooder in flooders:
        flooder.start()
    halfway = None
    while any(flooder.is_alive() for flooder in flooders):
        if time.monotonic() > begin + 600:
            fail(f"only {sum(done)} datagrams were sent within ten minutes")
        if halfway is None and sum(done) >= TOTAL // 2:
            halfway = metrics(RESPONDER)["process_resident_memory_bytes"]
        time.sleep(0.05)
    if any(flooder.exitcode != 0 for flooder in flooders) or sum(done) != TOTAL:
        fail("the flood ended early")
    took = time.monotonic() - begin

    # Let requests of the probe that were sent during the flood be answered.
    time.sleep(1)
    probe.send_signal(signal.SIGTERM)

    def of(name):
        real = (
            int(value)
            for key, value in measured.items()
            if key.startswith(name + "{") and 'target="nobody"' not in key
        )
        return sum(real)

    def settled():
        nonlocal measured
        before, measured = measured, metrics(PROBE)
        sends_on = any(
            value != before.get(key)
            for key, value in measured.items()
            if key.startswith("heartbeat_sent_total{")
        )
        return not sends_on and not of("heartbeat_in_flight")

    measured = {}
    until("the probe has settled all that it sent", settled)

    sent, received, lost = (of(f"heartbeat_{what}_total") for what in ["sent", "received", "lost"])
    if of("heartbeat_in_flight") or sent != received + lost:
        fail(f"{sent} sent, {received} received, {lost} lost and some in flight")
    # The responder may still have datagrams to read.
    end = time.monotonic() + 60
    while True:
        truth, dropped_by_kernel = metrics(RESPONDER), sockets()[1]
        rate_limited = int(truth['heartbeat_responder_dropped_total{reason="rate_limited"}'])
        requests_seen = total(truth, "heartbeat_responder_received_total")
        refused = sum(
            int(truth[f'heartbeat_responder_dropped_total{{reason="{reason}"}}'])
            for reason in ["malformed", "bad_number", "bad_timestamp", "too_long",
                           "short_request", "reflection", "denied"]
        )
        replied = total(truth, "heartbeat_responder_replied_total")
        errors = int(truth["heartbeat_responder_send_errors_total"])
        counted = requests_seen + refused + dropped_by_kernel
        is_answered = requests_seen == replied + rate_limited + errors
        if counted >= TOTAL + sent + honest and is_answered or time.monotonic() > end:
            break
        time.sleep(0.1)
    memory = truth["process_resident_memory_bytes"]
    print(
        f"{TOTAL} datagrams in {took:.1f} s: {requests_seen} requests with the probe's, of them "
        f"{replied} answered and {rate_limited} rate-limited; {refused} other datagrams; the "
        f"kernel dropped {dropped_by_kernel}"
    )
    print(f"the probe: {sent} sent, {received} received, {lost} lost")
    print(f"memory: {halfway / 2**20:.1f} MiB halfway, {memory / 2**20:.1f} MiB at the end")

    if counted != TOTAL + sent + honest:
        fail(f"{counted} counted of {TOTAL + sent + honest}")
    if requests_seen != replied + rate_limited + errors:
        fail(f"{requests_seen} requests, but {replied} + {rate_limited} + {errors} errors")
    missed = dropped_by_kernel + total(measured, "heartbeat_probe_receive_drops_total")
    if lost > missed:
        fail(f"the probe lost {lost}, and the kernel dropped {missed}")
    # A reply that has an earlier number than it should shows as a loss on the way back, and one
    # without its session as a loss on the way there.
    directed = of("heartbeat_one_way_lost_total")
    if directed > lost:
        fail(f"{directed} losses have a direction, of {lost}")
    forged = int(truth['heartbeat_responder_received_total{protocol="stamp"}']) - sent
    if forged < SESSIONS:
        fail(f"only {forged} forged requests of STAMP")
    if received < 1000:
        fail(f"the probe received only {received} replies")
    if not rate_limited or not refused or replied < received:
        fail("the flood caused no rate limiting or no refusals")
    if memory > halfway + GROWTH or memory > LARGEST:
        fail("the responder's memory grew")


def main():
    programs = Path(sys.argv[1])
    children = []
    with tempfile.TemporaryDirectory() as work:
        try:
            attack(Path(work), programs, children)
        except BaseException:
            for log in Path(work).glob("*.log"):
                sys.stderr.write(f"{log.name}:\n" + "".join(log.read_text()[-2000:]))
            raise
        finally:
            for child in children:
                child.kill()
                child.wait()


if __name__ == "__main__":
    main()
