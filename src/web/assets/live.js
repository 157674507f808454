"use strict";
// Keeps the page up to date: fetches its URL again, and applies the differences. The server escapes
// everything that is shown; nothing here turns text into markup.
(() => {
  // From an answer to the next request, and how long an answer may take, in milliseconds.
  const PERIOD = 2000;
  const PATIENCE = 10000;
  const live = document.getElementById("live");
  const stale = document.getElementById("stale");
  let asking = null;
  let timer = 0;
  // When the page was last up to date, by the server's clock, as all times of the page.
  let last = null;
  // The title of a page that is up to date.
  let title = document.title;
  let paused = false;
  let updates = 0;

  // Makes `old` equal to `fresh`, node by node, so that focus, selection and open elements stay.
  function morph(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes]) {
      // An element that the user has opened stays open.
      if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) {
        old.removeAttribute(name);
      }
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    children(old, fresh);
  }

  function children(old, fresh) {
    const keyed = new Map();
    for (const child of old.children) {
      if (child.dataset.key !== undefined) keyed.set(child.dataset.key, child);
    }
    let at = old.firstChild;
    if (old.dataset.keep > 0) at = kept(old, fresh, keyed);
    for (const child of [...fresh.childNodes]) {
      const key = child.dataset?.key;
      const same = key === undefined ? at : keyed.get(key);
      if (!same || (key === undefined && same.dataset?.key !== undefined)) {
        old.insertBefore(document.importNode(child, true), at);
        continue;
      }
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      keyed.delete(key);
      morph(same, child);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  // In a list in ascending order, keeps items that the server does not list any more, up to
  // data-keep items in all. Returns the first item that the server still lists.
  function kept(old, fresh, keyed) {
    const first = Number(fresh.firstElementChild?.dataset.key ?? 0);
    let at = old.firstElementChild;
    let before = null;
    while (at && (at.dataset.key === undefined || Number(at.dataset.key) < first)) {
      before = at;
      at = at.nextElementSibling;
    }
    if (before?.dataset.key !== undefined && Number(before.dataset.key) < first - 1) {
      const gap = document.createElement("li");
      gap.className = "gap";
      gap.title = "heartbeats not shown: this page was not updated";
      old.insertBefore(gap, at);
    }
    const spare = () => old.childElementCount > Number(old.dataset.keep);
    while (spare() && old.firstElementChild !== at) {
      keyed.delete(old.firstElementChild.dataset.key);
      old.firstElementChild.remove();
    }
    return at;
  }

  // Shows that the page is stale, and why; without a problem, that it is up to date.
  function say(problem) {
    document.body.classList.toggle("stale", Boolean(problem));
    stale.hidden = !problem;
    if (!problem) return;
    document.title = `stale: ${title}`;
    const since = last ? ` since ${new Date(last).toISOString().slice(11, 19)} UTC` : "";
    const text = `Not up to date${since}: ${problem}.`;
    if (stale.textContent !== text) stale.textContent = text;
  }

  async function refresh() {
    clearTimeout(timer);
    asking?.abort();
    const mine = (asking = new AbortController());
    const patience = setTimeout(
      () => mine.abort(new Error("the probe does not answer")), PATIENCE);
    try {
      const answer = await fetch(location.href, { signal: mine.signal, cache: "no-store" });
      if (!answer.ok) throw new Error((await answer.text()).trim() || `status ${answer.status}`);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (mine !== asking) return;
      show(fresh);
      last = Date.parse(answer.headers.get("date")) || last;
      say(null);
    } catch (error) {
      if (mine !== asking) return;
      say(error instanceof TypeError ? "the probe cannot be reached" : error.message);
    }
    clearTimeout(patience);
    asking = null;
    if (!paused) timer = setTimeout(refresh, PERIOD);
  }

  function show(fresh) {
    const focused = document.activeElement;
    const scrolled = document.querySelector(".ribbon")?.scrollLeft;
    morph(live, fresh.getElementById("live"));
    document.title = title = fresh.title;
    if (focused !== document.activeElement && focused?.isConnected) {
      focused.focus({ preventScroll: true });
    }
    if (scrolled !== undefined) newest();
    live.dataset.updates = ++updates;
  }

  // Scrolls to the newest heartbeat.
  function newest() {
    for (const ribbon of document.querySelectorAll(".ribbon")) {
      ribbon.scrollLeft = ribbon.scrollWidth;
    }
  }

  function go(url, replace) {
    if (replace) history.replaceState(null, "", url);
    else history.pushState(null, "", url);
    refresh();
  }

  // The URL that the form asks for.
  function asked(form) {
    const query = new URLSearchParams(new FormData(form));
    if (!query.get("q")) query.delete("q");
    return `?${query}`;
  }

  live.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-live]");
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey;
    if (!link || !plain || event.altKey) return;
    event.preventDefault();
    go(link.href, false);
    fill();
  });
  live.addEventListener("submit", (event) => {
    event.preventDefault();
    go(asked(event.target), false);
  });
  let typing = 0;
  live.addEventListener("input", (event) => {
    if (event.target.id !== "q") return;
    clearTimeout(typing);
    typing = setTimeout(() => go(asked(event.target.form), true), 200);
  });
  // Puts the words of the URL into the filter.
  function fill() {
    const words = document.getElementById("q");
    if (words) words.value = new URLSearchParams(location.search).get("q") ?? "";
  }

  addEventListener("popstate", () => {
    fill();
    refresh();
  });
  addEventListener("keydown", (event) => {
    const words = document.getElementById("q");
    if (!words || event.metaKey || event.ctrlKey || event.altKey) return;
    if (event.key === "/" && document.activeElement !== words) {
      event.preventDefault();
      words.focus();
      words.select();
    } else if (event.key === "Escape" && document.activeElement === words && words.value) {
      words.value = "";
      go(asked(words.form), true);
    }
  });
  // A hidden page sends no requests.
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden && !paused) refresh();
    if (document.hidden) {
      asking?.abort();
      asking = null;
    }
  });

  const pause = document.createElement("button");
  pause.type = "button";
  pause.id = "pause";
  pause.textContent = "Pause";
  pause.setAttribute("aria-pressed", "false");
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    clearTimeout(timer);
    if (!paused) refresh();
  });
  document.querySelector("header").append(pause);
  document.body.classList.add("live");
  newest();
  timer = setTimeout(refresh, PERIOD);
})();
