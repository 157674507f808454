"""The commands that other tests run, and the files of these tests.

Each entry names files, and lines in them, that together have all words of the command.
"""

import shlex

from lab import check
from texts import TOP, command

CI, EXAMPLES, STACK = ".ci/run", "tests/examples/run", "tests/stack/run"

COMMANDS = {
    "cargo run --release -- demo": {
        EXAMPLES: ["cargo run --locked -- demo --help"],
        "tests/rtt-truth/run": ["cargo build --locked --release --bins"],
    },
    "cargo test": {CI: ["step test cargo test --locked"]},
    "cargo build --release": {"tests/rtt-truth/run": ["cargo build --locked --release --bins"]},
    "cargo doc --open": {CI: ["cargo doc --locked --no-deps --document-private-items"]},
    "cargo bench --bench capacity": {EXAMPLES: [
        "cargo bench --locked --profile dev --bench capacity --"]},
    "cargo bench --bench capacity -- --targets 10,1000 --seconds 5 --no-peers": {EXAMPLES: [
        "cargo bench --locked --profile dev --bench capacity --",
        "--targets 10,1000 --seconds 1 --no-peers"]},
    "cargo bench --manifest-path tests/benches/micro/Cargo.toml": {EXAMPLES: [
        "cargo bench --locked --profile dev --manifest-path tests/benches/micro/Cargo.toml"]},
    "docker-compose -f deploy/docker-compose.yml up": {STACK: [
        'compose() { docker-compose -f deploy/docker-compose.yml "$@"; }', "compose up -d"]},
    "docker-compose -f deploy/docker-compose.yml down -v": {STACK: [
        'compose() { docker-compose -f deploy/docker-compose.yml "$@"; }', "compose down -v"]},
    "docker build -t udp-heartbeat -f deploy/Dockerfile .": {STACK: [
        'docker build -t "$manual" -f deploy/Dockerfile .']},
    "docker run --rm udp-heartbeat heartbeat-probe ping --help": {STACK: [
        'docker run --rm "$manual" heartbeat-probe ping --help']},
    "docker run -d --read-only --cap-drop ALL -p 12000:12000/udp udp-heartbeat heartbeat-responder": {
        STACK: ["docker run -d --read-only --cap-drop ALL -p 127.0.0.1::12000/udp",
                '"$manual" heartbeat-responder']},
    "docker ps": {STACK: ["docker ps -a"]},
    "systemctl reload heartbeat-probe": {
        "tests/service/inside-systemd": ["systemctl reload heartbeat-probe"]},
    "systemctl start": {
        "tests/service/inside-systemd": ["systemctl start heartbeat-responder heartbeat-probe"]},
    "systemctl status": {"tests/service/inside-systemd": ["systemctl status --no-pager"]},
    # The test writes the same file.
    "systemctl edit heartbeat-responder": {"tests/service/run": [
        '>"$units/heartbeat-responder.service.d/key.conf"']},
    "systemctl edit heartbeat-probe": {"tests/service/run": [
        '>"$units/heartbeat-probe.service.d/key.conf"']},
}

# Words of commands that no test has, by the first words of the command.
EXCEPTIONS = {
    "cargo doc": {"--open"},  # opens a browser
    "systemctl edit": {"systemctl", "edit"},  # opens an editor
    "cargo bench": {"5"},  # one second shows that it measures
    # The image of the test has a name of its own, and its port is free.
    "docker": {"udp-heartbeat", "12000:12000/udp"},
}


def elsewhere(_lab, examples):
    used = set()
    for example in examples:
        places = set()
        for line in map(command, example.lines):
            check(line in COMMANDS, f"{example.page}:{example.line}: no test runs: {line}")
            used.add(line)
            places |= find(line)
        example.done(f"run by {', '.join(sorted(places))}")
    unused = COMMANDS.keys() - used
    check(not unused, "no page has these commands any more:", *sorted(unused))


def find(line):
    """The files whose lines have the words of the command."""
    said = ""
    for file, lines in COMMANDS[line].items():
        text = (TOP / file).read_text()
        for expected in lines:
            check(expected in text, f"{file} does not run {line!r}: it lacks {expected!r}")
            said += f" {expected}"
    allowed = {word for start, words in EXCEPTIONS.items() if line.startswith(start)
               for word in words}
    missing = [word for word in shlex.split(line) if word not in said and word not in allowed]
    check(not missing, f"no test runs {line!r} with", *missing)
    return COMMANDS[line].keys()
