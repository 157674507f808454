"""The queries of dashboards and rules, with Grafana's variables replaced as Grafana does."""

import json
import re
from dataclasses import dataclass

# The most points of a panel. Grafana chooses a step for it that is not below the scrape interval.
POINTS = 1000
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass
class Dashboard:
    """A dashboard's title, its queries, and the choices of its variables.

    A query has a place for messages; its expressions, one for each choice of the single-choice
    variable; and the parameters of the range, empty for an instant query.
    """

    title: str
    queries: list
    choices: dict


@dataclass
class Rule:
    """A rule's name, and a query for its latest samples."""

    name: str
    history: str


def dashboards(folder, ask):
    return [read(json.loads(path.read_text()), ask) for path in sorted(folder.glob("*.json"))]


def read(board, ask):
    span = seconds(board["time"]["from"].removeprefix("now-"))
    scrape = max(seconds(t["scrapeInterval"]) for t in ask("targets")["activeTargets"])
    step = max(scrape, round(span / POINTS))
    values = {
        "__range": f"{span}s",
        "__interval": f"{step}s",
        "__rate_interval": f"{max(step + scrape, 4 * scrape)}s",
    }
    choices = {}
    # The single-choice variable, and its choices.
    single, variants = None, [""]
    for variable in board["templating"]["list"]:
        name = variable["name"]
        if variable["type"] == "adhoc":
            known = ask("labels", **{"match[]": "heartbeat_up"})
            choices[name] = sorted(set(known) - {"__name__", "instance", "job", "target"})
        elif variable["type"] == "query":
            choices[name] = offered(fill(variable["query"]["query"], values), ask)
            if not variable["multi"]:
                single, variants = name, choices[name]
            every = "(" + "|".join(map(escaped, choices[name])) + ")"
            values[name] = variable.get("allValue") or every
    now = float(ask("query", query="time()")["result"][1])
    window = {"start": now - span, "end": now, "step": step}
    queries = [
        (
            place,
            [fill(expression, values | {single: variant}) for variant in variants],
            {} if instant else window,
        )
        for place, expression, instant in expressions(board)
    ]
    return Dashboard(board["title"], queries, choices)


def expressions(board):
    """The place of each query, the query, and whether it is an instant query."""
    for panel in board["panels"]:
        for inner in [panel, *panel.get("panels", [])]:
            for target in inner.get("targets", []):
                yield inner["title"], target["expr"], target.get("instant", False)
    for annotation in board["annotations"]["list"]:
        if "target" in annotation and not annotation.get("builtIn"):
            yield annotation["name"], annotation["target"]["expr"], False


def offered(text, ask):
    """The values of label_values(SELECTOR, LABEL)."""
    selector, label = re.fullmatch(r"label_values\((.*), *(\w+)\)", text).groups()
    return ask(f"label/{label}/values", **{"match[]": selector})


def fill(text, values):
    """Replaces Grafana's variables in a text; `$1` belongs to label_replace."""
    return re.sub(r"\$(?!\d)(?:\{(\w+)\}|(\w+))", lambda m: values[m[1] or m[2]], text)


def escaped(value):
    """Escapes a choice of a multi-choice variable for a PromQL string, as Grafana does."""
    return re.sub(r"[\\^$.*+?()|{}\[\]]", lambda m: "\\\\" + m[0], value)


def seconds(text):
    """The seconds of a duration of Prometheus, such as 1h30m."""
    return sum(int(n) * SECONDS[unit] for n, unit in re.findall(r"(\d+)([smhd])", text))


def rules(groups):
    for rule in (rule for group in groups for rule in group["rules"]):
        name = rule["name"]
        if rule["type"] == "recording":
            history = f"last_over_time({name}[1h])"
        else:
            labels = {"alertname": name, **rule["labels"]}
            matchers = ", ".join(f'{label}="{text}"' for label, text in labels.items())
            history = f"last_over_time(ALERTS{{{matchers}}}[1h])"
        yield Rule(name, history)
