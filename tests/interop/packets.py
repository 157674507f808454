"""The octets of STAMP (RFC 8762, RFC 8972) and of TWAMP Light (RFC 5357), written from the RFCs and
not with our own code, and the clocks that stamp them."""

import hashlib
import hmac
import time
from dataclasses import dataclass

SECOND = 10**9
YEAR = 365 * 86_400
# From 1900, the epoch of NTP, to 1970, in seconds.
NTP_TO_UNIX = 2_208_988_800
# International atomic time is this many seconds ahead of UTC.
TAI = 37

# The length of a packet without TLVs, and of the part that a sender of TWAMP Light fills.
BASE, FILLED = 44, 14
AUTHENTICATED_BASE, COVERED = 112, 96

# The bits S and Z of an Error Estimate (RFC 4656 section 4.1.2, RFC 8186 section 2.3), with an
# error of 2^-32 s.
NTP_ESTIMATE, SYNCHRONISED, PTP_ESTIMATE = b"\x00\x01", b"\x80\x01", b"\x40\x01"

# Clocks of the tests never step, so that no turnaround is negative by chance.
STARTED = time.time_ns() - time.monotonic_ns()


def machine_time():
    """Nanoseconds since 1970."""
    return STARTED + time.monotonic_ns()


@dataclass(frozen=True)
class Clock:
    """A clock that is `offset` seconds ahead of this machine's, and writes NTP or PTP format."""

    offset: int = 0
    ptp: bool = False

    @classmethod
    def from_unix(cls, seconds, ptp=False):
        """A clock that showed this Unix time a moment ago, such as one that has just started."""
        return cls(seconds - machine_time() // SECOND, ptp)

    def read(self):
        """Nanoseconds since 1970."""
        return machine_time() + self.offset * SECOND

    def write(self, nanos):
        if self.ptp:
            seconds, rest = divmod(nanos, SECOND)
            return (seconds % 2**32).to_bytes(4, "big") + rest.to_bytes(4, "big")
        units = (nanos + NTP_TO_UNIX * SECOND) * 2**32 // SECOND
        return (units % 2**64).to_bytes(8, "big")


def read_ntp(octets):
    """Nanoseconds since 1970."""
    return int.from_bytes(octets, "big") * SECOND // 2**32 - NTP_TO_UNIX * SECOND


def number(octets):
    return int.from_bytes(octets, "big")


def tag(key, octets):
    return hmac.new(key, octets, hashlib.sha256).digest()[:16]


def twamp_request(sequence, clock, estimate, padding):
    """The packet of a sender of TWAMP Light (RFC 5357 section 4.1.2). twampy pads with zeros."""
    return sequence.to_bytes(4, "big") + clock.write(clock.read()) + estimate + padding


def fields(request, key):
    """Sequence number, timestamp, Error Estimate and SSID of a sender's packet."""
    stamp = 16 if key else 4
    return request[:4], request[stamp:stamp + 8], request[stamp + 8:stamp + 10], \
        request[stamp + 10:stamp + 12]


def reply(sequence, left, estimate, ssid, received, sender, ttl):
    """The packet of a reflector (RFC 8762 section 4.3.1). `sender` has the sender's sequence
    number, timestamp and Error Estimate. twampy writes the first 38 octets, RFC 5357 the first 41,
    both with zeros instead of the SSID."""
    return b"".join([sequence, left, estimate, ssid, received, *sender, bytes(2), bytes([ttl]),
                     bytes(3)])


def authenticated_reply(key, sequence, left, estimate, ssid, received, sender, ttl):
    """The same in authenticated mode (RFC 8762 section 4.3.2)."""
    number, sent, its_estimate = sender
    covered = b"".join([sequence, bytes(12), left, estimate, ssid, bytes(4), received, bytes(8),
                        number, bytes(12), sent, its_estimate, bytes(6), bytes([ttl]), bytes(15)])
    return covered + tag(key, covered)
