"""Finds the examples in the pages: code blocks, and commands and queries within sentences."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "deploy/runbooks.md",
         *sorted(str(path.relative_to(TOP)) for path in (TOP / "deploy/docs").glob("*.md"))]

# The first words of code spans that are commands.
PROGRAMS = {"heartbeat-probe", "heartbeat-responder", "cargo", "curl", "docker", "docker-compose",
            "getent", "htpasswd", "ip", "openssl", "promtool", "systemctl", "systemd-analyze", "tcpdump"}
# Code spans that are queries: names of metrics and recorded series, and selectors.
QUERY = re.compile(r"(heartbeat|process|target:heartbeat)_[\w:]*[a-z0-9](\{.*\})?")


@dataclass(frozen=True)
class Example:
    """An example in a page. `number` counts the blocks of one kind below one heading, from 1."""

    page: str
    line: int
    heading: str
    kind: str
    number: int
    text: str

    @property
    def key(self):
        return self.page, self.heading, self.kind, self.number

    @property
    def lines(self):
        return self.text.splitlines()

    def done(self, result):
        """Reports that the example was run, and its result, to the process that counts them."""
        shown = self.text if self.kind in ["command", "query"] else f"{self.kind} block"
        print(f"ok      {self.page}:{self.line}: {shown}: {result}", flush=True)


def examples():
    return [example for page in PAGES for example in read(page, (TOP / page).read_text())]


def read(page, text):
    found, prose, heading, block = [], [], "", None
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"( *)```(\w*)$", line)
        if block is not None and fence:
            kind, start, margin, lines = block
            text = "".join(f"{inner.removeprefix(margin)}\n" for inner in lines)
            count = sum((e.heading, e.kind) == (heading, kind) for e in found) + 1
            found.append(Example(page, start, heading, kind, count, text))
            block = None
        elif fence:
            block = fence[2] or "unnamed", number, fence[1], []
        elif block is not None:
            block[3].append(line)
        elif title := re.match(r"#+ (.*)", line):
            heading = title[1]
        prose.append("" if fence or block is not None else line)
    assert block is None, f"{page}: a code block does not end"
    return [*found, *spans(page, "\n".join(prose))]


def spans(page, prose):
    for match in re.finditer(r"(`+)([^`]+)\1", prose):
        text = re.sub(r"\s+", " ", match[2]).replace("\\|", "|").strip()
        words = text.split()
        kind = None
        if len(words) > 1 and words[0] in PROGRAMS:
            kind = "command"
        elif QUERY.fullmatch(text):
            kind = "query"
        if kind:
            yield Example(page, prose.count("\n", 0, match.start()) + 1, "", kind, 0, text)


def command(line):
    """A line of a shell without its comment."""
    return shlex.join(shlex.split(line, comments=True))
