"""Uses the page in a browser like a person: page.py PROGRAMS CHROMIUM WORK.

Every step waits up to PATIENCE for its result, and no step depends on speed. The test fails on any
console message, failed request, dialog, or request to another server.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress

from playwright.sync_api import Error, expect, sync_playwright

PROGRAMS, CHROMIUM, WORK = sys.argv[1:4]
SHOTS = os.environ.get("PAGE_SHOTS")
PATIENCE = 60  # seconds
HOSTILE = "<img src=x onerror=alert(1)> \"&'/.."

expect.set_options(timeout=PATIENCE * 1000)


def wait_for(what, ask):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(0.1)
    sys.exit(f"timed out waiting until {what}")


class Program:
    """One of our programs, with the addresses in its log."""

    count = 0

    def __init__(self, name, *arguments):
        Program.count += 1
        self.path = f"{WORK}/{Program.count}.log"
        self.log = open(self.path, "w")
        command = [f"{PROGRAMS}/{name}", *arguments, "--log.format=json"]
        command.append("--web.listen-address=127.0.0.1:0")
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.web = "http://" + wait_for("HTTP is served", lambda: self.logged("serving HTTP"))
        self.udp = self.logged("answering heartbeats over UDP")

    def logged(self, message):
        for line in open(self.path):
            fields = json.loads(line)["fields"]
            if fields["message"] == message:
                return fields["address"]
        if self.child.poll() is not None:
            sys.exit(f"the program ended: {open(self.path).read()}")

    def end(self, how=signal.SIGKILL):
        if self.child.poll() is None:
            self.child.send_signal(how)
        self.child.wait(PATIENCE)
        self.log.close()


@contextmanager
def running(*arguments):
    program = Program(*arguments)
    try:
        yield program
    finally:
        program.end()


def probe_of(targets, defaults):
    path = f"{WORK}/probe-{len(targets)}.yml"
    with open(path, "w") as file:
        # JSON is a subset of YAML.
        json.dump({"defaults": defaults, "targets": targets}, file)
    return running("heartbeat-probe", "run", f"--config.file={path}")


@contextmanager
def looking(browser, base, **options):
    """A page that must cause no error, dialog or request to another server."""
    wrong = []
    context = browser.new_context(**options)
    page = context.new_page()
    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: request.url.startswith((base, "data:"))
            or wrong.append(f"elsewhere: {request.url}"))
    page.on("response", lambda response: response.status == 200
            or wrong.append(f"{response.status}: {response.url}"))
    page.wrong = wrong
    page.set_default_timeout(PATIENCE * 1000)
    try:
        yield page
    finally:
        context.close()
    assert not wrong, wrong


def names(page):
    return page.locator("tbody tr").evaluate_all("rows => rows.map(row => row.dataset.key)")


def column(page, title):
    cells = page.locator(f"tbody td[data-of={title}]").all_inner_texts()
    numbers = [re.search(r"[\d.]+", cell.split("\n")[-1]) for cell in cells]
    return [float(number[0]) for number in numbers if number]


def updates(page):
    return int(page.locator("#live").get_attribute("data-updates") or 0)


def updated(page, times=1):
    """Waits until the page has been updated `times` more times."""
    wanted = updates(page) + times
    # The page's security policy forbids Playwright's wait_for_function.
    wait_for("the page is updated", lambda: updates(page) >= wanted)


def shot(page, name, **options):
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}.png", **options)


LUMINANCE = """
(element) => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const ink = parse(getComputedStyle(element).color);
  let at = element, paper = [255, 255, 255];
  for (; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) { paper = colour; break; }
  }
  const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}
"""


def legible(page, *selectors):
    """Checks the contrast of text (WCAG 2.1, 1.4.3)."""
    for selector in selectors:
        contrast = page.locator(selector).first.evaluate(LUMINANCE)
        assert contrast >= 4.5, f"{selector}: {contrast:.2f}"


def fits(page):
    width = page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
    assert width <= 0, f"{page.url} is {width} px too wide"


BROKEN = """
(pills) => pills.filter((pill) => {
  const words = document.createRange();
  words.selectNodeContents(pill);
  const ends = [...words.getClientRects()].map((line) => line.bottom);
  return Math.max(...ends) - Math.min(...ends) > 8;
}).map((pill) => pill.textContent)
"""


def whole(page):
    """Checks that no pill breaks its word."""
    broken = page.locator(".big, td.state b, .chips a, .label").evaluate_all(BROKEN)
    assert not broken, f"{page.url} breaks {broken}"


def a_list_lives(browser, probe, victim):
    with looking(browser, probe.web, viewport={"width": 1280, "height": 800}) as page:
        page.goto(probe.web)
        expect(page.get_by_role("row")).to_have_count(11)
        expect(page.get_by_role("table", name="Targets")).to_be_visible()
        expect(page.get_by_role("searchbox", name="Filter")).to_be_visible()
        wait_for("two are down", lambda: "2 down" in page.get_by_role("status").inner_text())
        expect(page).to_have_title(re.compile("^2 down, 8 up"))
        assert set(names(page)[:2]) == {"absent", "nameless"}
        expect(page.locator("tr.down .why").first).to_be_visible()
        for graph in page.get_by_role("img").all():
            assert "missed" in graph.get_attribute("aria-label")

        # The list is updated without a reload, and keeps the focus.
        page.evaluate("window.loaded = 1")
        link = page.get_by_role("link", name="steady 3")
        link.focus()
        victim.end()
        expect(page.locator("tr.down[data-key=victim]")).to_be_visible()
        expect(page.get_by_role("status")).to_contain_text("3 down")
        expect(page).to_have_title(re.compile("^3 down, 7 up"))
        assert names(page)[0] == "victim", "the latest outage comes first"
        expect(link).to_be_focused()
        assert page.evaluate("window.loaded") == 1

        # The server sorts in both directions, and the browser's history goes back.
        page.get_by_role("link", name="p99").click()
        expect(page.locator("th[aria-sort=descending]")).to_have_text("p99")
        figures = column(page, "p99")
        assert len(figures) == 8 and figures == sorted(figures, reverse=True), figures
        page.get_by_role("link", name="p99").click()
        expect(page.locator("th[aria-sort=ascending]")).to_have_text("p99")
        figures = column(page, "p99")
        assert figures == sorted(figures), figures
        page.go_back()
        expect(page.locator("th[aria-sort=descending]")).to_have_text("p99")
        page.get_by_role("link", name="Target", exact=True).click()
        expect(page.locator("th[aria-sort=ascending]")).to_have_text("Target")
        assert names(page) == sorted(names(page))

        # The list is filtered while typing, with the keyboard alone.
        page.keyboard.press("/")
        expect(page.locator("#q")).to_be_focused()
        page.keyboard.type("LOSSY site=fra")
        expect(page.locator("tbody tr")).to_have_count(2)
        assert "q=LOSSY+site%3Dfra" in page.url
        updated(page)
        expect(page.locator("#q")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("tbody tr")).to_have_count(10)
        page.get_by_role("link", name=re.compile("^down")).click()
        expect(page.locator("tbody tr")).to_have_count(3)
        page.locator("#q").fill("nowhere")
        expect(page.get_by_text("No target matches “nowhere” and is down")).to_be_visible()
        expect(page.get_by_role("status")).to_contain_text("0 down of 0 targets matching “nowhere”")
        page.get_by_role("link", name="clear filter").click()
        expect(page.locator("tbody tr")).to_have_count(10)
        expect(page.locator("#q")).to_have_value("")

        # The headline, the counts and the title are of the targets that match.
        page.locator("#q").fill("victim")
        expect(page.get_by_role("status")).to_contain_text("1 down of 1 target matching “victim”")
        expect(page).to_have_title(re.compile("^1 down, 0 up"))
        assert page.locator(".chips a").all_inner_texts() == ["all 1", "down 1", "unknown 0", "up 0"]

        # The button pauses updates and resumes them.
        page.goto(probe.web)
        pause = page.get_by_role("button", name="Pause")
        pause.click()
        # The response to an earlier request may still come, but no new request is sent.
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.wait_for_timeout(4000)
        assert not requests, requests
        pause.click()
        updated(page)


def a_target_lives(browser, probe):
    with looking(browser, probe.web, viewport={"width": 1280, "height": 1000}) as page:
        page.goto(probe.web)
        # With the keyboard, go from the filter to the first target and open it.
        page.keyboard.press("/")
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.closest('tbody th') !== null"):
                break
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", "focus is not visible"
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="victim")).to_be_visible()
        assert page.url.endswith("/targets/victim")
        expect(page.get_by_text("Just before it went down")).to_be_visible()
        recorded = page.locator(".frozen .ribbon li").evaluate_all("all => all.map(li => li.className)")
        assert len(recorded) <= 16 and recorded.count("lost") >= 3 and "received" in recorded, recorded
        page.get_by_role("link", name="All targets").click()
        expect(page.get_by_role("row")).to_have_count(11)

        page.goto(f"{probe.web}/targets/lossy%201")
        details = page.locator("details").last
        details.locator("summary").click()
        expect(details.locator("tbody tr")).to_have_count(16)
        # The ribbon keeps heartbeats that the probe no longer has, and open details stay open.
        wait_for("the ribbon grows", lambda: page.locator(".ribbon").first.locator("li").count() > 30)
        fates = page.locator(".ribbon").first.locator("li[data-key]")
        keys = [int(key) for key in fates.evaluate_all("all => all.map(li => li.dataset.key)")]
        assert keys == sorted(set(keys)), keys
        assert {"received", "lost"} <= set(fates.evaluate_all("all => all.map(li => li.className)"))
        expect(details).to_have_attribute("open", "")
        expect(page.locator(".histogram tbody tr").first).to_be_visible()
        expect(page.locator(".chart .line").first).to_be_visible()
        page.get_by_role("link", name="As JSON").click()
        document = json.loads(page.locator("body").inner_text())
        assert document["target"] == "lossy 1" and len(document["heartbeats"]) == 16

        page.goto(probe.web)
        page.get_by_role("link", name=HOSTILE).click()
        expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
        updated(page)
        assert page.locator("img").count() == 0


def every_width_and_scheme(browser, probe):
    papers = set()
    for scheme in ("light", "dark"):
        for name, width, height in (("phone", 390, 844), ("small", 320, 600), ("tablet", 800, 800),
                                    ("narrow", 1100, 800), ("desktop", 1280, 800)):
            size = {"width": width, "height": height}
            motion = "reduce" if name == "phone" else "no-preference"
            with looking(browser, probe.web, viewport=size, color_scheme=scheme,
                         reduced_motion=motion) as page:
                page.goto(probe.web)
                expect(page.get_by_role("row")).to_have_count(11)
                fits(page)
                whole(page)
                row, head = (page.locator(f"tr.down{cell}").first.bounding_box()["width"]
                             for cell in ("", " th"))
                assert head > row * (0.5 if width < 1000 else 0.15), f"{head} of {row} px"
                legible(page, ".soft", "tr.up td.state b", "tr.down td.state b", ".some", "th small",
                        ".why", ".changes .up", ".changes .down", ".chips a", ".lead b")
                papers.add((scheme, page.evaluate("getComputedStyle(document.body).backgroundColor")))
                duration = page.locator("td.state b").first.evaluate(
                    "element => getComputedStyle(element).transitionDuration")
                assert (duration == "0s") == (motion == "reduce"), duration
                shot(page, f"list-{name}-{scheme}")
                page.goto(f"{probe.web}/targets/victim")
                updated(page)
                fits(page)
                whole(page)
                legible(page, "dt", "dd", ".legend", "figcaption", "h2", ".lead b", ".head .why")
                shot(page, f"target-{name}-{scheme}", full_page=name == "phone")
    assert len(papers) == 2, papers


def without_a_script(browser, probe):
    with looking(browser, probe.web, java_script_enabled=False) as page:
        page.goto(probe.web)
        assert page.locator("tbody tr").count() == 10
        page.get_by_role("link", name="p99").click()
        assert "sort=p99" in page.url and page.locator("th[aria-sort]").inner_text() == "p99"
        page.locator("#q").fill("victim")
        page.get_by_role("button", name="Filter").click()
        assert "sort=p99" in page.url and names(page) == ["victim"]
        page.get_by_role("link", name="victim").click()
        expect(page.get_by_role("heading", name="victim")).to_be_visible()


def a_responder_is_shown(browser, responder):
    with looking(browser, responder.web) as page:
        page.goto(responder.web)
        expect(page.get_by_text(responder.udp)).to_be_visible()
        expect(page).to_have_title("impaired · heartbeat-responder")


def a_refusal_leads_back(browser, probe):
    # Not `looking`, since these pages are not found on purpose.
    context = browser.new_context()
    page = context.new_page()
    for path in ("nowhere", "targets/none", "api/v1/targets/none/heartbeats"):
        page.goto(f"{probe.web}/{path}")
        expect(page).to_have_title("404 Not Found · heartbeat-probe")
        fits(page)
        page.get_by_role("link", name="All targets").click()
        expect(page.get_by_role("row")).to_have_count(11)
    context.close()


GREY = "getComputedStyle(document.querySelector('main')).filter"


def a_page_says_when_it_is_stale(browser, probe):
    # Not `looking`, since failed requests cause console messages.
    # All times of the page are of one clock, whatever the browser's time zone is.
    context = browser.new_context(timezone_id="Asia/Kolkata")
    page = context.new_page()
    page.goto(probe.web)
    updated(page)
    assert page.evaluate(GREY) == "none"
    probe.child.send_signal(signal.SIGSTOP)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("the probe does not answer")
    since = re.search(r"since (\d\d:\d\d):\d\d UTC", alert.inner_text())[1]
    minutes = {time.strftime("%H:%M", time.gmtime(time.time() - ago)) for ago in range(120)}
    assert since in minutes, since
    expect(page).to_have_title(re.compile("^stale: 3 down"))
    assert page.evaluate(GREY) == "grayscale(1)"
    shot(page, "list-stale")
    probe.child.send_signal(signal.SIGCONT)
    expect(alert).to_be_hidden(timeout=1000 * PATIENCE)
    expect(page).to_have_title(re.compile("^3 down"))
    assert page.evaluate(GREY) == "none"
    probe.end()
    expect(alert).to_contain_text("the probe cannot be reached")
    expect(page).to_have_title(re.compile("^stale: "))
    context.close()


def ten_targets(browser):
    with running("heartbeat-responder", "--listen=127.0.0.1:0") as steady, \
            running("heartbeat-responder", "--listen=127.0.0.1:0", "--loss=30%", "--seed=1") as lossy, \
            running("heartbeat-responder", "--listen=127.0.0.1:0") as victim:
        alive = {"labels": {"site": "fra"}, "protocol": "stamp"}
        # With 100 misses, neither 30 % of loss nor a busy machine makes a target down.
        sturdy = {"misses": 100, **alive}
        targets = [{"name": f"steady {n}", "address": steady.udp, **sturdy} for n in range(4)]
        targets.append({"name": HOSTILE, "address": steady.udp, **sturdy})
        targets.append({"name": "victim", "address": victim.udp, **alive})
        targets += [{"name": f"lossy {n}", "address": lossy.udp, **sturdy} for n in range(2)]
        targets.append({"name": "absent", "address": "127.0.0.2:9"})
        targets.append({"name": "nameless", "address": "no.such.host.invalid"})
        with probe_of(targets, {"interval": "250ms", "timeout": "1s"}) as probe:
            a_list_lives(browser, probe, victim)
            a_target_lives(browser, probe)
            every_width_and_scheme(browser, probe)
            without_a_script(browser, probe)
            a_responder_is_shown(browser, lossy)
            a_refusal_leads_back(browser, probe)
            a_page_says_when_it_is_stale(browser, probe)


def sent(probe):
    with urllib.request.urlopen(f"{probe.web}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines
               if line.startswith("heartbeat_sent_total"))


def ten_thousand_targets(browser):
    # The probe is one source with a thousand requests per second.
    with running("heartbeat-responder", "--listen=127.0.0.1:0", "--rate-limit=0") as responder:
        targets = [{"name": f"host {n:05}", "address": responder.udp, "labels": {"rack": f"r{n % 97}"}}
                   for n in range(10_000)]
        with probe_of(targets, {"interval": "10s", "protocol": "stamp"}) as probe, \
                looking(browser, probe.web, viewport={"width": 1280, "height": 800}) as page:
            sizes = []

            def weigh(response):
                # The bodies of responses are gone after a navigation.
                with suppress(Error):
                    sizes.append(len(response.body()))

            page.on("response", weigh)
            began = time.monotonic()
            page.goto(probe.web)
            print(f"10,000 targets: the list is loaded after {time.monotonic() - began:.2f} s")
            expect(page.locator("tbody tr")).to_have_count(50)
            wait_for("all are up", lambda: page.title().startswith("0 down, 10\u202f000 up"))
            before = sent(probe)
            updated(page, 3)
            nodes = page.evaluate("document.getElementsByTagName('*').length")
            largest = max(sizes)
            print(f"10,000 targets: {nodes} elements, responses of at most {largest} octets")
            assert nodes < 5_000 and largest < 200_000
            page.get_by_role("link", name="Last", exact=True).last.click()
            expect(page.get_by_text("9\u202f951–10\u202f000 of 10\u202f000")).to_be_visible()
            page.get_by_role("link", name="Target", exact=True).click()
            expect(page.locator("tbody tr").first).to_have_attribute("data-key", "host 00000")
            page.locator("#q").fill("rack=r77")
            expect(page.get_by_text("1–50 of 103")).to_be_visible()
            assert names(page) == [f"host {n:05}" for n in range(77, 10_000, 97)][:50]
            page.locator("#q").fill("host 07777")
            expect(page.locator("tbody tr")).to_have_count(1)
            page.get_by_role("link", name="host 07777").click()
            expect(page.get_by_role("heading", name="host 07777")).to_be_visible()
            updated(page)
            assert sent(probe) > before, "no more heartbeats are sent"
            page.goto(f"{probe.web}/?sort=p99")
            updated(page)
            shot(page, "list-10000")


with sync_playwright() as playwright:
    # Containers allow no namespaces for Chromium's sandbox. The pages are all on loopback.
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    ten_targets(chromium)
    ten_thousand_targets(chromium)
    chromium.close()
