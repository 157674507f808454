"""Lets our programs talk to other implementations of STAMP and TWAMP Light.

usage: interop.py STAMP-SUITE HEARTBEAT-PROBE HEARTBEAT-RESPONDER
"""

import sys
import tempfile

import stamp_suite
from programs import all_passed


def main(suite, probe, responder):
    with tempfile.TemporaryDirectory() as folder:
        stamp_suite.verify((suite, probe, responder), folder)
    all_passed()


main(*sys.argv[1:])
