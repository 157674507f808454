"""Probes name servers with heartbeat-probe, and compares its counts with the expected answers.

usage: ask.py HEARTBEAT-PROBE

Debian's named serves a zone and refuses other names, over IPv4 and IPv6. Servers in this file give
wrong answers: other IDs, other questions, truncation, silence.
"""

import contextlib
import json
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request

from programs import PATIENCE, all_passed, check, free_port, logged, running, wait_for

PROBE = sys.argv[1]
# How many answers or misses each target must have before its counts are compared.
ENOUGH = 5
RESULTS = ["noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "truncated", "other"]

ZONE = """$TTL 60
@        IN SOA ns.heartbeat.test. hostmaster.heartbeat.test. 1 3600 600 86400 60
@        IN NS  ns.heartbeat.test.
ns       IN A   192.0.2.1
www      IN A   192.0.2.2
www      IN AAAA 2001:db8::2
@        IN MX  10 www
long     IN TXT {long}
"""


def write_named(folder, port):
    # 600 octets of text do not fit into a datagram of 512, so the answer is truncated.
    long = " ".join(f'"{letter * 200}"' for letter in "abc")
    pathlib.Path(f"{folder}/zone").write_text(ZONE.format(long=long))
    pathlib.Path(f"{folder}/named.conf").write_text(f"""
options {{
    directory "{folder}";
    pid-file "{folder}/named.pid";
    session-keyfile "{folder}/session.key";
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 port {port} {{ ::1; }};
    recursion no;
    allow-transfer {{ none; }};
    dnssec-validation no;
    minimal-responses yes;
}};
controls {{ }};
zone "heartbeat.test" {{ type primary; file "{folder}/zone"; }};
""")


def named_command(folder):
    # A copy, since an AppArmor profile may confine the named in Debian's path to Debian's folders.
    named = shutil.copy(shutil.which("named", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"), folder)
    command = [named, "-g", "-n", "1", "-c", f"{folder}/named.conf"]
    if os.getuid() == 0:
        # named drops root's privileges and reads the folder as the user of its package.
        user = pwd.getpwnam("bind")
        for path in [folder, *pathlib.Path(folder).iterdir()]:
            os.chown(path, user.pw_uid, user.pw_gid)
        command += ["-u", "bind"]
    return command


class Wrong(threading.Thread):
    """A server that answers in one way, valid or invalid."""

    def __init__(self, way):
        super().__init__(daemon=True)
        self.way = way
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.ids = []
        self.start()

    def run(self):
        while True:
            query, peer = self.socket.recvfrom(2048)
            self.ids.append(int.from_bytes(query[:2], "big"))
            for reply in self.replies(query):
                self.socket.sendto(reply, peer)

    def replies(self, query):
        reply = bytearray(query)
        reply[2] |= 0x80
        if self.way == "silent":
            return []
        if self.way == "id":
            # An ID that no heartbeat in flight has, except by a rare chance.
            reply[0] ^= 0x80
        elif self.way == "question":
            reply[13] ^= 1
        elif self.way == "type":
            reply[-3] ^= 1
        elif self.way == "truncated":
            reply[2] |= 0x02
        elif self.way == "shouting":
            reply[12:-4] = bytes(reply[12:-4]).upper()
        elif self.way == "code":
            reply[3] |= 9
        elif self.way == "request":
            reply[2] &= 0x7f
        elif self.way == "bare":
            reply = reply[:12]
            reply[4:6] = b"\0\0"
        return [reply] * (2 if self.way == "twice" else 1)


def scrape(web):
    """The series of every target, by target, metric and the value of the label result or reason."""
    text = urllib.request.urlopen(f"{web}/metrics", timeout=PATIENCE).read().decode()
    series = {}
    for name, labels, value in re.findall(r"^(heartbeat_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        own = labels.get("result", labels.get("reason"))
        if "target" in labels:
            series[labels["target"], name, own] = float(value)
    return series


def main(folder):
    port = free_port()
    write_named(folder, port)
    real = {
        "noerror": ("127.0.0.1", "www.heartbeat.test", "A", "noerror"),
        "noerror6": ("[::1]", "WWW.heartbeat.TEST.", "aaaa", "noerror"),
        "nodata": ("127.0.0.1", "www.heartbeat.test", "TYPE65", "noerror"),
        "nxdomain": ("127.0.0.1", "nosuch.heartbeat.test", "A", "nxdomain"),
        "refused": ("127.0.0.1", "example.org", "MX", "refused"),
        "truncated": ("127.0.0.1", "long.heartbeat.test", "TXT", "truncated"),
        "root": ("127.0.0.1", None, None, "refused"),
    }
    # The servers of this file: the result that is counted, or the reason of invalid replies.
    own = {
        "right": ("noerror", None),
        "shouting": ("noerror", None),
        "truncated": ("truncated", None),
        "code": ("other", None),
        "twice": ("noerror", None),
        "id": (None, "mismatch"),
        "question": (None, "mismatch"),
        "type": (None, "mismatch"),
        "bare": (None, "mismatch"),
        "request": (None, "malformed"),
        "silent": (None, None),
    }
    lines = ["defaults: {protocol: dns, interval: 50ms, timeout: 60s}", "targets:"]
    for name, (ip, query, kind, _) in real.items():
        asks = f", query: {query}, query_type: {kind}" if query else ""
        lines.append(f'  - {{name: {name}, address: "{ip}:{port}"{asks}}}')
    servers = {way: Wrong(way) for way in own}
    for way, server in servers.items():
        # With one heartbeat in flight, a wrong ID matches only once in 65,536 times.
        lost = ", interval: 200ms, timeout: 100ms" if own[way][0] is None else ""
        lines.append(f"  - {{name: wrong-{way}, address: 127.0.0.1, port: {server.port},"
                     f" query: {way}.test, query_type: SOA{lost}}}")
    pathlib.Path(f"{folder}/probe.yml").write_text("\n".join(lines) + "\n")

    with contextlib.ExitStack() as stack:
        stack.enter_context(running(named_command(folder), f"{folder}/named.log"))
        logged(f"{folder}/named.log", "running")
        command = [PROBE, "run", "--config.file", f"{folder}/probe.yml",
                   "--web.listen-address", "127.0.0.1:0"]
        stack.enter_context(running(command, f"{folder}/probe.log"))
        web = "http://" + logged(f"{folder}/probe.log", r"serving HTTP address=(\S+)")[1]

        def settled():
            series = scrape(web)
            done = all(series[name, "heartbeat_received_total", None] >= ENOUGH for name in real)
            for way, (result, reason) in own.items():
                name = f"wrong-{way}"
                settled = "received" if result else "lost"
                done &= series[name, f"heartbeat_{settled}_total", None] >= ENOUGH
                if reason:
                    done &= series[name, "heartbeat_invalid_replies_total", reason] >= ENOUGH
            return series if done else None

        series = wait_for("every target has enough answers or misses", settled)
        targets = json.load(urllib.request.urlopen(f"{web}/api/v1/targets", timeout=PATIENCE))
        targets = {target["name"]: target for target in targets["targets"]}
        expected = {name: (result, None) for name, (*_, result) in real.items()}
        expected |= {f"wrong-{way}": answer for way, answer in own.items()}
        for name, (result, reason) in expected.items():
            one = lambda metric, label=None: series[name, f"heartbeat_{metric}", label]
            check(one("up") == (1 if result else 0), name, "is up:", one("up"))
            check(one("sent_total") == one("received_total") + one("lost_total") + one("in_flight"),
                  name, "does not add up")
            for other in RESULTS:
                count = one("received_total") if other == result else 0
                check(one("results_total", other) == count, name, other, one("results_total", other))
            for other in ["malformed", "unauthenticated", "unknown_sequence", "expired", "mismatch"]:
                found = one("invalid_replies_total", other)
                check((found >= ENOUGH) if other == reason else (found == 0), name, other, found)
            check((one("duplicates_total") > 0) == (name == "wrong-twice"), name, "has duplicates")
            check(targets[name]["protocol"] == "dns", name, "speaks", targets[name]["protocol"])
            check(list(targets[name]["results"]) == sorted(RESULTS), name, targets[name]["results"])
            print(f"{name:<16} {'up  ' if result else 'down'} {result or reason or 'no answer':<10}"
                  f" {one('received_total'):.0f} received, {one('lost_total'):.0f} lost")

        ids = servers["right"].ids[:]
        check(len(set(ids)) == len(ids), "duplicate IDs:", ids)
        check(any(b != (a + 1) & 0xffff for a, b in zip(ids, ids[1:])), "the IDs can be guessed")
        print(f"{len(ids)} IDs of one target, all different: {' '.join(f'{n:04x}' for n in ids[:6])} …")

        # By default, the query is for the name servers of the root.
        ping = subprocess.run([PROBE, "ping", "--json", "-c", "3", "-i", "20ms", f"dns://[::1]:{port}"],
                              capture_output=True, text=True, timeout=PATIENCE)
        report = json.loads(ping.stdout)
        check(ping.returncode == 0 and report["results"]["refused"] == 3, ping.stdout, ping.stderr)
        print("ping dns://…: 3 received, all refused")

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        main(folder)
    all_passed()
