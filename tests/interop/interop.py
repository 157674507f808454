"""Lets our programs talk to other implementations of STAMP and TWAMP Light.

usage: interop.py STAMP-SUITE HEARTBEAT-PROBE HEARTBEAT-RESPONDER
"""

import sys
import tempfile

import stamp_suite
from programs import all_passed
from reflectors import our_probe_receives_every_heartbeat
from senders import our_responder_answers_every_sender


def main(suite, probe, responder):
    with tempfile.TemporaryDirectory() as folder:
        our_probe_receives_every_heartbeat(probe, folder)
        our_responder_answers_every_sender(responder, folder)
        stamp_suite.verify((suite, probe, responder), folder)
    all_passed()


main(*sys.argv[1:])
