"""Our probe with reflectors that follow the RFCs in different ways, or not quite: over IPv4 and
IPv6, every heartbeat must be received."""

import contextlib
import os
import random
import secrets
import selectors
import socket
import threading
import time
from dataclasses import dataclass

from ours import Program, equal
from packets import (AUTHENTICATED_BASE, BASE, NTP_ESTIMATE, NTP_TO_UNIX, PTP_ESTIMATE, SECOND,
                     SYNCHRONISED, TAI, YEAR, Clock, authenticated_reply, fields, machine_time,
                     number, read_ntp, reply, tag)
from programs import PATIENCE, check

# Heartbeats of each target.
COUNT = 15
FAMILIES = {"ipv4": (socket.AF_INET, "127.0.0.1"), "ipv6": (socket.AF_INET6, "::1")}
KEY = secrets.token_bytes(32)
TTL = 64

# The padding that twampy draws from by default: 64, 590 and 1514 octets of Ethernet.
TWAMPY = {"ipv4": (8, 534, 1458), "ipv6": (0, 514, 1438)}


@dataclass
class Reflector:
    name: str
    clock: Clock = Clock()
    # Its own Error Estimate; by default, with the bit Z that its clock needs.
    estimate: bytes = None
    # What replies have in the place of the copies of the sender's Error Estimate and SSID.
    senders_estimate: bytes = None
    ssid: bytes = None
    # Whether it counts its replies, by sender and, unless its replies have an SSID of their own, by
    # SSID.
    stateful: bool = False
    # How many nanoseconds t3 is before t2, for each reply in turn; None: as long after t2 as it is.
    early: tuple = (None,)
    # Whether it writes the time of arrival (t2) and of departure (t3).
    stamps: tuple = (True, True)
    # The lengths of its replies in turn. They have the first `base` octets of the packet of the
    # RFC, and are filled up from `filling`.
    lengths: tuple = (BASE,)
    base: int = AUTHENTICATED_BASE
    filling: bytes = bytes(9000)
    key: bytes = None
    # How many targets have its address.
    targets: int = 1
    # What the probe must make of its timestamps: the share of turnarounds that are invalid, and
    # whether there is a time difference.
    invalid: float = 0
    difference: bool = None
    # Nothing shows the format of its timestamps, so the probe misreads them.
    misread: bool = False

    def __post_init__(self):
        if self.estimate is None:
            self.estimate = PTP_ESTIMATE if self.clock.ptp else NTP_ESTIMATE
        if self.difference is None:
            self.difference = not self.clock.ptp
        self.counts = {}
        self.replies = 0
        self.requests = []

    def answer(self, request, peer):
        arrived = self.clock.read()
        self.requests.append(request)
        sequence, sent, estimate, ssid = fields(request, self.key)
        own = sequence
        if self.stateful:
            session = (peer, ssid if self.ssid is None else self.ssid)
            # Like twampy, it starts again when the sender does.
            starts = number(sequence) == 0 and self.targets == 1
            count = 0 if starts else self.counts.get(session, 0)
            self.counts[session] = count + 1
            own = count.to_bytes(4, "big")
        in_turn = self.replies
        self.replies += 1
        early = self.early[in_turn % len(self.early)]
        left = self.clock.read() if early is None else arrived - early
        times = [self.clock.write(at) if written else bytes(8)
                 for at, written in zip([arrived, left], self.stamps)]
        octets = dict(
            sequence=own, left=times[1], estimate=self.estimate, received=times[0], ttl=TTL,
            ssid=ssid if self.ssid is None else self.ssid,
            sender=[sequence, sent, self.senders_estimate or estimate])
        packet = authenticated_reply(self.key, **octets) if self.key else reply(**octets)
        length = self.lengths[in_turn % len(self.lengths)]
        return (packet[:self.base] + self.filling)[:length]


def reflectors(family):
    """Every reflector of the test."""
    # Clocks that began at the epoch of a format a moment ago.
    in_1900, in_1970 = Clock.from_unix(-NTP_TO_UNIX), Clock.from_unix(0)
    ntp = {"now": Clock(), "1900": in_1900, "1970": in_1970, "ahead": Clock(10 * YEAR),
           "tai": Clock(TAI)}
    ptp = {"utc": Clock(ptp=True), "tai": Clock(TAI, ptp=True),
           "1970": Clock.from_unix(0, ptp=True), "ahead": Clock(10 * YEAR, ptp=True)}
    for state in (False, True):
        word = "stateful" if state else "stateless"
        for name, clock in ntp.items():
            yield Reflector(f"ntp-{name}-{word}", clock, stateful=state)
        for name, clock in ptp.items():
            yield Reflector(f"ptp-{name}-{word}", clock, stateful=state)
        # Several targets at one address, distinguished by nothing but what is echoed.
        yield Reflector(f"shared-{word}", ssid=bytes(2), stateful=state, targets=5)

    # The bit Z says the wrong format.
    yield Reflector("ptp-without-z", ptp["utc"], NTP_ESTIMATE)
    yield Reflector("ptp-without-z-ahead", ptp["ahead"], NTP_ESTIMATE, misread=True)
    yield Reflector("ntp-with-z", ntp["now"], PTP_ESTIMATE)
    yield Reflector("ntp-with-z-ahead", ntp["ahead"], PTP_ESTIMATE, misread=True)

    yield Reflector("estimate-synchronised", estimate=SYNCHRONISED)
    yield Reflector("estimate-zero", estimate=bytes(2))
    yield Reflector("senders-estimate-zero", senders_estimate=bytes(2))
    yield Reflector("senders-estimate-own", senders_estimate=b"\xff\xff")
    yield Reflector("ssid-zero", ssid=bytes(2))
    yield Reflector("ssid-other", ssid=b"\xbe\xef")

    for name, early in {"1us": 1_000, "1ms": 1_000_000, "1s": 1_000_000_000}.items():
        yield Reflector(f"t3-{name}-early", early=(early,), invalid=1)
        yield Reflector(f"t3-{name}-early-ptp", ptp["tai"], early=(early,), invalid=1)
    yield Reflector("t3-scatters", early=(0, 20_000), invalid=0.5)
    yield Reflector("t3-equals-t2", early=(0,))
    yield Reflector("t3-missing", stamps=(True, False))
    yield Reflector("t2-missing", stamps=(False, True), difference=False)
    yield Reflector("no-clock", stamps=(False, False), difference=False)

    for length in (36, 37, 38, 41, 43, 44, 45, 48, 64, 112, 512, 1472, 1500, 4000, 9000):
        yield Reflector(f"octets-{length}", lengths=(length,))
    noise = random.Random(1).randbytes(9000)
    yield Reflector("noise", lengths=(45, 112, 1500, 9000), filling=noise)
    # Extra Padding, an unknown TLV, and one that extends beyond the packet.
    tlvs = bytes.fromhex("0001000401020304 80c80001aa 400200ff")
    yield Reflector("tlvs", lengths=(64,), filling=tlvs + bytes(20))
    # TWAMP Light: the base packet of RFC 5357, and the same with the request's padding cut to make
    # the lengths equal.
    yield Reflector("twamp", ssid=bytes(2), lengths=(41,), base=41)
    yield Reflector("twamp-symmetrical", ssid=bytes(2), lengths=(BASE,), base=41, stateful=True)
    padding = (0, *TWAMPY[family])
    yield Reflector("twampy", ssid=bytes(2), base=38, stateful=True,
                    lengths=tuple(38 + octets for octets in padding))
    yield Reflector("twampy-long", ssid=bytes(2), base=38, stateful=True, lengths=(9000,))

    whole = {"lengths": (AUTHENTICATED_BASE,), "key": KEY}
    yield Reflector("keyed", **whole)
    yield Reflector("keyed-stateful", stateful=True, **whole)
    yield Reflector("keyed-1900", in_1900, **whole)
    yield Reflector("keyed-ptp", ptp["tai"], **whole)
    yield Reflector("keyed-ptp-ahead", ptp["ahead"], **whole)
    yield Reflector("keyed-ssid-zero", ssid=bytes(2), **whole)
    yield Reflector("keyed-early", early=(1_000_000,), invalid=1, **whole)
    yield Reflector("keyed-long", lengths=(113, 1500, 9000), filling=noise, key=KEY)


@contextlib.contextmanager
def serving(places):
    """Answers at these sockets, each with its reflector, in a thread of its own."""
    selector = selectors.DefaultSelector()
    for one, reflector in places:
        one.setblocking(False)
        selector.register(one, selectors.EVENT_READ, reflector)
    is_over = threading.Event()

    def serve():
        while not is_over.is_set():
            for key, _ in selector.select(0.1):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        request, peer = key.fileobj.recvfrom(65_535)
                        key.fileobj.sendto(key.data.answer(request, peer), peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class Probe(Program):
    """heartbeat-probe, with the samples of each target."""

    def __init__(self, program, folder, targets):
        key = f"{folder}/reflectors.key"
        with open(os.open(key, os.O_CREAT | os.O_WRONLY, 0o600), "w") as out:
            out.write(KEY.hex() + "\n")
        # No answer is late, however slow the machine is.
        lines = ["defaults: {protocol: stamp, interval: 200ms, timeout: 60s}", "targets:"]
        for name, (address, reflector) in targets.items():
            keyed = f", key_file: {key}" if reflector.key else ""
            lines.append(f'  - {{name: {name}, address: "{address}"{keyed}}}')
        config = f"{folder}/reflectors.yml"
        with open(config, "w") as out:
            out.write("\n".join(lines) + "\n")
        super().__init__([program, "run", "--config.file", config], f"{folder}/probe.log")

    def targets(self):
        """The value of each sample by target and name. Samples that differ only in another label
        are added up, except the buckets of histograms."""
        found = {}
        for name, labels, value in self.metrics():
            samples = found.setdefault(labels.get("target"), {})
            samples[name] = samples.get(name, 0) + value
        return found


def judge(what, reflector, samples):
    """Checks that every heartbeat was received, and what the probe made of the timestamps."""
    def of(name):
        return samples[f"heartbeat_{name}"]

    received = of("received_total")
    equal(f"{what}: received", received, of("sent_total"))
    for zero in ("lost_total", "late_total", "duplicates_total", "invalid_replies_total",
                 "one_way_lost_total", "consecutive_misses", "icmp_errors_total"):
        equal(f"{what}: {zero}", of(zero), 0)
    equal(f"{what}: up", of("up"), 1)
    # The first answer brought it up.
    equal(f"{what}: state changes", of("state_changes_total"), 1)

    if reflector.misread:
        return
    reported = received if all(reflector.stamps) else 0
    invalid = reported * reflector.invalid // 1
    equal(f"{what}: invalid turnarounds", of("turnaround_invalid_total"), invalid)
    equal(f"{what}: turnarounds", of("turnaround_seconds_count"), reported - invalid)
    difference = samples.get("heartbeat_time_difference_seconds")
    if not reflector.difference:
        equal(f"{what}: time difference", difference, None)
    else:
        # NTP's seconds wrap, so that differences are from -68 to 68 years.
        expected = (reflector.clock.offset + 2**31) % 2**32 - 2**31
        check(abs(difference - expected) < PATIENCE, what, "time difference", difference, expected)


def examine_requests(what, reflector, unsent):
    """Checks every octet of the probe's requests. `unsent` heartbeats may be missing."""
    numbers = {}
    for request in reflector.requests:
        _, sent, estimate, ssid = fields(request, reflector.key)
        numbers.setdefault(ssid, []).append(number(request[:4]))
        late = machine_time() - read_ntp(sent)
        check(0 <= late < 2 * PATIENCE * SECOND, what, "sent", late, "ns ago")
        check(estimate[0] & 0x40 == 0 and estimate[1] != 0, what, "Error Estimate", estimate)
        if reflector.key:
            expected = b"".join([request[:4], bytes(12), sent, estimate, ssid, bytes(68)])
            expected += tag(reflector.key, expected)
        else:
            expected = b"".join([request[:4], sent, estimate, ssid, bytes(28)])
        equal(f"{what}: request", request, expected)
    ssids = {count.to_bytes(2, "big") for count in range(1, reflector.targets + 1)}
    equal(f"{what}: SSIDs", set(numbers), ssids)
    missing = 0
    for sequence in numbers.values():
        equal(f"{what}: order of the numbers", sequence, sorted(set(sequence)))
        equal(f"{what}: first number", sequence[0], 0)
        missing += sequence[-1] + 1 - len(sequence)
    check(missing <= unsent, what, missing, "numbers are missing, and", unsent,
          "heartbeats were not sent:", sorted(numbers.items()))


def our_probe_receives_every_heartbeat(probe, folder):
    places, targets = [], {}
    with contextlib.ExitStack() as sockets:
        for family, (kind, ip) in FAMILIES.items():
            for reflector in reflectors(family):
                one = sockets.enter_context(socket.socket(kind, socket.SOCK_DGRAM))
                one.bind((ip, 0))
                places.append((one, reflector))
                host = f"[{ip}]" if ":" in ip else ip
                for which in range(reflector.targets):
                    name = f"{reflector.name}-{family}" + (f"-{which}" if which else "")
                    targets[name] = (f"{host}:{one.getsockname()[1]}", reflector)
        with serving(places), Probe(probe, folder, targets).running() as program:
            waiting, end = dict(targets), time.monotonic() + PATIENCE
            while waiting and time.monotonic() < end:
                time.sleep(0.5)
                found = program.targets()
                for name, (_, reflector) in list(waiting.items()):
                    samples = found[name]
                    is_settled = samples["heartbeat_in_flight"] == 0
                    lost = samples["heartbeat_lost_total"]
                    if lost or (is_settled and samples["heartbeat_sent_total"] >= COUNT):
                        judge(name, reflector, samples)
                        del waiting[name]
            check(not waiting, "not settled within a minute:", *waiting)
            requests = [(reflector, list(reflector.requests)) for _, reflector in places]
            found = program.targets()
            for reflector, reflector.requests in requests:
                unsent = sum(found[name]["heartbeat_unsent_total"]
                             for name, (_, its) in targets.items() if its is reflector)
                examine_requests(reflector.name, reflector, unsent)
            unmatched = found[None]["heartbeat_probe_unmatched_total"]
            equal("replies that match no target", unmatched, 0)
