"""Senders of TWAMP Light and STAMP with our responder, over IPv4 and IPv6: every request must be
answered, and every octet of the reply must be right."""

import contextlib
import itertools
import random
import socket

from ours import Responder, equal
from packets import (BASE, FILLED, NTP_ESTIMATE, NTP_TO_UNIX, PTP_ESTIMATE, SECOND, TAI, YEAR,
                     Clock, machine_time, number, read_ntp, twamp_request)
from programs import PATIENCE, check

# Requests of each sender.
COUNT = 5
# 38 and 41 are the replies of twampy and of RFC 5357, which senders that want equal lengths use.
SHORT = (14, 15, 16, 22, 27, 38, 40, 41, 43)
LONG = (44, 45, 48, 64, 112, 113, 128, 528, 548, 1400, 1452, 1472, 1500, 4000, 8972, 9000)
NOISE = random.Random(2).randbytes(9000)
# Hop limits: of the requests, and of STAMP replies (RFC 5357 section 4.2).
TTL, FULL = 61, 255
# Missing in Python's module socket (ip(7) of Linux).
IP_RECVTTL = 12


class Sender:
    """A sender that waits for each reply. Its port is new to the responder, so that no earlier
    sender matters."""

    used = set()

    def __init__(self, ip, port):
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        with contextlib.ExitStack() as others:
            while True:
                self.socket = socket.socket(family, socket.SOCK_DGRAM)
                self.socket.bind((ip, 0))
                name = self.socket.getsockname()[:2]
                if name not in self.used:
                    self.used.add(name)
                    break
                others.enter_context(self.socket)
        self.socket.settimeout(PATIENCE)
        if family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, TTL)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        else:
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, TTL)
            self.socket.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        self.socket.connect((ip, port))

    def send(self, request):
        self.socket.send(request)

    def receive(self):
        """A reply, and the hop limit with which it arrived."""
        octets, [(_, _, limit)], _, _ = self.socket.recvmsg(65_535, 128)
        return octets, int.from_bytes(limit[:4], "little")


def senders():
    """What each sender writes: its name, its clock, its Error Estimate and its padding."""
    for name, clock in {"now": Clock(), "tai": Clock(TAI)}.items():
        # twampy's Error Estimate is the largest that there is.
        yield f"twampy, {name}", clock, b"\x3f\xff", bytes(9000)
        yield f"random padding, {name}", clock, NTP_ESTIMATE, NOISE
        yield f"ptp, {name}", Clock(clock.offset, ptp=True), PTP_ESTIMATE, bytes(9000)
    yield "estimate zero", Clock(), bytes(2), bytes(9000)


def senders_with_wrong_clocks():
    """Only requests that are as long as a reply are answered whatever their clock shows."""
    for name, clock in {"1900": Clock.from_unix(-NTP_TO_UNIX), "1970": Clock.from_unix(0),
                        "ahead": Clock(10 * YEAR)}.items():
        yield f"twampy, {name}", clock, b"\x3f\xff", bytes(9000)
    yield "ptp, 1970", Clock.from_unix(0, ptp=True), PTP_ESTIMATE, bytes(9000)
    yield "ptp, ahead", Clock(10 * YEAR, ptp=True), PTP_ESTIMATE, bytes(9000)


def examine(what, request, octets, expected_number):
    """Checks every octet of the reply of a responder to a request of an unauthenticated sender."""
    equal(f"{what}: octets", len(octets), max(BASE, len(request)))
    equal(f"{what}: sequence number", number(octets[:4]), expected_number)
    received, left = read_ntp(octets[16:24]), read_ntp(octets[4:12])
    now = machine_time()
    check(now - PATIENCE * SECOND < received <= left < now + SECOND, what, "times", received, left)
    # The bit Z is clear: NTP format.
    check(octets[12] & 0x40 == 0 and octets[13] != 0, what, "Error Estimate", octets[12:14])
    # A short request has padding where STAMP has the SSID.
    ssid = request[FILLED:FILLED + 2] if len(request) >= BASE else bytes(2)
    equal(f"{what}: SSID", octets[14:16], ssid)
    equal(f"{what}: sender's fields", octets[24:38], request[:FILLED])
    equal(f"{what}: zeros and TTL", octets[38:44], bytes([0, 0, TTL, 0, 0, 0]))
    equal(f"{what}: padding", octets[44:], request[44:])


def twampys_losses(octets, replies):
    """What twampy makes of a reply and the number of replies before it: the losses on the way to
    the reflector and on the way back."""
    reflected, echoed = number(octets[:4]), number(octets[24:28])
    return echoed - reflected, reflected - replies


def exchange(what, place, requests):
    """Sends these requests in turn, which are numbered from 0, and returns how many were answered:
    all of them, and the sender sees no loss."""
    sender = Sender(*place)
    with sender.socket:
        for sequence, request in enumerate(requests):
            sender.send(request)
            octets, limit = sender.receive()
            examine(what, request, octets, sequence)
            equal(f"{what}: hop limit", limit, FULL)
            equal(f"{what}: lost", twampys_losses(octets, sequence), (0, 0))
    return sequence + 1


def requests_of(clock, estimate, padding, length, sequences=range(COUNT)):
    """Requests of this length, each with the time when it is taken from here."""
    for sequence in sequences:
        yield twamp_request(sequence, clock, estimate, padding[:length - FILLED])


def places(responder):
    return list(zip(["127.0.0.1", "::1"], responder.ports))


def requests_of_every_length_are_answered(what, responder, lengths, kinds):
    answered = 0
    for place, (kind, *octets), length in itertools.product(places(responder), kinds, lengths):
        of = f"{what}, {kind}, {length} octets, {place[0]}"
        answered += exchange(of, place, requests_of(*octets, length))
    responder.counted(what, received_stamp=answered, replied_stamp=answered)


def requests_are_not_answered(what, responder, lengths, kinds, reason):
    """Requests that are dropped for this reason. The next request is answered, and nothing before
    it."""
    dropped = answered = 0
    for place, (kind, *octets), length in itertools.product(places(responder), kinds, lengths):
        of = f"{what}, {kind}, {length} octets, {place[0]}"
        sender = Sender(*place)
        with sender.socket:
            for request in requests_of(*octets, length):
                sender.send(request)
                dropped += 1
            request = twamp_request(0, Clock(), NTP_ESTIMATE, bytes(BASE - FILLED))
            sender.send(request)
            examine(of, request, sender.receive()[0], 0)
            answered += 1
    responder.counted(what, received_stamp=answered, replied_stamp=answered,
                      **{f"dropped_{reason}": dropped})


def losses_show_in_the_numbers(responder, is_stateful):
    """The request with number 2 is lost. A stateless reflector does not know."""
    sequences, answered = (0, 1, 3, 4), 0
    for place, length in itertools.product(places(responder), (14, 41, 44, 1400)):
        what = f"losses, {length} octets, {place[0]}"
        sender = Sender(*place)
        with sender.socket:
            requests = requests_of(Clock(), b"\x3f\xff", bytes(9000), length, sequences)
            for replies, (sequence, request) in enumerate(zip(sequences, requests)):
                sender.send(request)
                octets, _ = sender.receive()
                examine(what, request, octets, replies if is_stateful else sequence)
                answered += 1
        equal(f"{what}: lost", twampys_losses(octets, replies), (1, 0) if is_stateful else (0, 1))
    responder.counted("losses", received_stamp=answered, replied_stamp=answered)


def senders_that_start_again_at_once_see_no_loss(responder):
    """A tool that runs twice from one port: its numbers begin again."""
    answered = 0
    for place, length in itertools.product(places(responder), (14, 41, 44, 1400)):
        sender = Sender(*place)
        with sender.socket:
            for run in range(3):
                what = f"run {run}, {length} octets, {place[0]}"
                requests = requests_of(Clock(), b"\x3f\xff", bytes(9000), length)
                for sequence, request in enumerate(requests):
                    sender.send(request)
                    examine(what, request, sender.receive()[0], sequence)
                    answered += 1
    responder.counted("runs", received_stamp=answered, replied_stamp=answered)


def sessions_of_one_address_are_numbered_apart(responder, is_stateful):
    """Two senders of STAMP share a socket, and their SSIDs differ. Their requests are padded with
    an Extra Padding TLV, whose flag U comes back clear."""
    first, ssids, answered = 10, (b"\x00\x07", b"\xff\xff"), 0
    for place in places(responder):
        sender = Sender(*place)
        with sender.socket:
            for count, ssid in itertools.product(range(COUNT), ssids):
                sequence = first + count
                tlv = b"\x80\x01\x00\x40" + NOISE[:64]
                padding = ssid + bytes(28) + tlv
                request = twamp_request(sequence, Clock(), NTP_ESTIMATE, padding)
                sender.send(request)
                octets, _ = sender.receive()
                equal("Extra Padding", octets[44:], bytes(1) + tlv[1:])
                examine(f"SSID {ssid}, {place[0]}", request, octets[:44] + tlv,
                        count if is_stateful else sequence)
                answered += 1
    responder.counted("sessions", received_stamp=answered, replied_stamp=answered)


def our_responder_answers_every_sender(program, folder):
    kinds, wrong = list(senders()), list(senders_with_wrong_clocks())
    for mode, flags in {"stateful": [], "stateless": ["--stamp.stateless"]}.items():
        short = [*flags, "--stamp.short-requests"]
        with Responder(program, folder, *short).running() as responder:
            requests_of_every_length_are_answered(mode, responder, SHORT + LONG, kinds)
            requests_of_every_length_are_answered(mode, responder, LONG, wrong)
            requests_are_not_answered(mode, responder, SHORT, wrong, "malformed")
            losses_show_in_the_numbers(responder, not flags)
            senders_that_start_again_at_once_see_no_loss(responder)
            sessions_of_one_address_are_numbered_apart(responder, not flags)
        with Responder(program, folder, *flags).running() as responder:
            requests_of_every_length_are_answered(mode, responder, LONG, kinds)
            requests_are_not_answered(mode, responder, SHORT, kinds, "short_request")
