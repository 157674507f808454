"""Helpers of the tests that drive whole programs: checks that are counted, programs that run until
a block of code ends, and waiting for a condition."""

import contextlib
import pathlib
import re
import socket
import subprocess
import sys
import time

# How long to wait for each condition, in seconds.
PATIENCE = 60

checks = 0


def fail(message):
    sys.exit(f"FAILED: {message}")


def check(condition, *what):
    """Ends the test with `what` unless the condition is true."""
    global checks
    checks += 1
    if not condition:
        fail(" ".join(map(str, what)))


def all_passed():
    print(f"{checks} checks passed")


@contextlib.contextmanager
def running(command, log):
    """Runs a program that writes to the file `log`, and stops it at the end."""
    with open(log, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        # The probe waits for what is in flight, but ends at once at a second signal.
        for stop, patience in [(process.terminate, 0.2), (process.terminate, PATIENCE),
                               (process.kill, None)]:
            stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break


def wait_for(what, ask):
    """The first true answer of `ask`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = ask()
        if found:
            return found
        time.sleep(0.02)
    fail(f"never came to pass: {what}")


def logged(log, pattern):
    """The first match of `pattern` in the file `log`, once there is one."""
    log = pathlib.Path(log)
    try:
        return wait_for(f"{pattern} in {log}", lambda: re.search(pattern, log.read_text()))
    except SystemExit:
        print(log.read_text(), file=sys.stderr)
        raise


def free_port():
    """A port that is free for UDP and TCP, on both families' loopback addresses."""
    for _ in range(100):
        with contextlib.ExitStack() as sockets:
            port = 0
            try:
                for family, ip in [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]:
                    for kind in [socket.SOCK_DGRAM, socket.SOCK_STREAM]:
                        one = sockets.enter_context(socket.socket(family, kind))
                        one.bind((ip, port))
                        port = one.getsockname()[1]
            except OSError:
                continue
            return port
    fail("no port is free on 127.0.0.1 and ::1")
