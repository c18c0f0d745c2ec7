"use strict";
// The page as a whole: what is shown, the keys, search, light and dark, and following a run that goes on.

class App {
  constructor(source) {
    this.source = source;
    this.file = null;
    this.model = null;
    this.summary = null;
    this.evidence = null;
    this.cache = new Map();
    const select = (node, open) => this.select(node, open);
    this.tree = new Tree({ select });
    this.timeline = new Timeline({ select });
    this.detail = new Detail({ select, records: (lines) => this.records(lines) });
    this.runs = new Runs({ open: (file) => this.go(file) });
    this.build();
    window.addEventListener("hashchange", () => this.route());
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("visibilitychange", () => this.later(0));
  }

  build() {
    const { el } = dom;
    const button = (name, title, action, more) => el("button", { type: "button", title, onclick: action, ...more }, name);
    this.back = button("‹ Runs", "All runs", () => (location.hash = ""), { class: "back", hidden: true });
    this.title = el("span", { class: "title" });
    this.state = el("span", { class: "state", "aria-live": "polite" });
    this.input = el("input", { type: "search", placeholder: "Search  /", "aria-label": "Search prompts, replies, code and output" });
    this.input.addEventListener("input", () => this.searchSoon());
    this.errors = button("", "Next failure (e)", () => this.nextError(), { class: "errors", hidden: true });
    this.theme = button("◐", "Light or dark", () => this.turnTheme(), { "aria-label": "Light or dark", class: "icon" });
    const help = button("?", "Keys (?)", () => this.help.showModal(), { class: "icon", "aria-label": "Keys" });
    this.warning = el("div", { class: "warning", hidden: true, role: "status" });
    this.strip = el("div", { class: "strip-holder" });
    this.tabs = ["tree", "timeline"].map((name) => button(name === "tree" ? "Tree" : "Timeline", `${name} (t)`, () => this.tab(name), { role: "tab", "data-tab": name }));
    this.found = el("span", { class: "found" });
    const close = button("‹ Back to the run", "Close (Esc)", () => this.close(), { class: "close" });
    this.pane = el("div", { class: "pane" }, el("div", { class: "tabs", role: "tablist" }, this.tabs, this.found), this.tree.element, this.timeline.element);
    this.side = el("div", { class: "side" }, close, this.detail.element);
    this.split = el("main", { class: "split" }, this.pane, this.side);
    this.help = this.makeHelp();
    const header = el("header", {}, this.back, el("span", { class: "brand" }, "rlm"), this.title, this.state, el("span", { class: "gap" }), this.input, this.errors, this.theme, help);
    document.getElementById("app").replaceChildren(header, this.warning, this.strip, this.split, this.runs.element, this.help);
    this.tab("tree");
  }

  makeHelp() {
    const keys = [["j, ↓", "next"], ["k, ↑", "previous"], ["l, →", "open"], ["h, ←", "close, or up"], ["Enter", "show it; open a run"], ["/", "search"], ["n", "next hit"], ["e", "next failure"], ["t", "tree or timeline"], ["+, −, 0", "zoom the timeline"], ["d", "light or dark"], ["g, G", "first, last"], ["Esc", "leave the search, the details, the run"], ["?", "this list"]];
    const dialog = dom.el("dialog", { class: "help" }, dom.el("h2", {}, "Keys"), dom.el("dl", {}, keys.flatMap(([key, does]) => [dom.el("dt", {}, dom.el("kbd", {}, key)), dom.el("dd", {}, does)])), dom.el("form", { method: "dialog" }, dom.el("button", {}, "Close")));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    return dialog;
  }

  async start() {
    try {
      const listed = await this.source.runs();
      this.directory = listed.directory;
      this.listed = listed;
      this.only = listed.directory ? null : listed.runs[0].file;
      if (listed.directory) this.runs.show(listed);
      await this.route();
    } catch (error) {
      this.trouble(error);
    }
  }

  async route() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const file = this.only || wanted.get("file");
    document.body.classList.toggle("listing", !file);
    this.back.hidden = !file || !this.directory;
    if (!file) {
      this.file = this.model = null;
      this.title.replaceChildren();
      this.state.replaceChildren();
      this.errors.hidden = this.warning.hidden = true;
      document.title = "rlm view";
      this.later(0);
    } else if (file !== this.file) await this.open(file, Number(wanted.get("line")));
  }

  go(file) {
    location.hash = new URLSearchParams({ file }).toString();
  }

  async open(file, line) {
    this.file = file;
    this.model = new Model();
    this.next = 0;
    this.summary = this.evidence = null;
    this.cache.clear();
    this.strip.replaceChildren();
    this.detail.element.replaceChildren();
    this.input.value = this.detail.words = "";
    this.found.textContent = "";
    this.close();
    this.title.replaceChildren(dom.label(file));
    document.title = `${file} · rlm view`;
    this.tree.show(this.model);
    const { model } = this;
    try {
      while (await this.more()) if (this.model !== model) return;
    } catch (error) {
      this.trouble(error);
      return;
    }
    if (this.model !== model) return;
    if (!this.tree.selected) {
      this.tree.openSome(60);
      const node = model.owners[line] || model.root;
      if (node) this.select(node, Boolean(line));
    }
    this.later(1000);
  }

  // Fetches the next rows; whether there are more at once.
  async more() {
    const { model, file } = this;
    const found = await this.source.rows(file, this.next);
    if (this.model !== model) return false;
    this.next = found.next;
    model.add(found.rows);
    if (found.summary) this.summary = found.summary;
    const waiting = found.more ? `reading, ${dom.percent(found.share)} of the file` : "";
    this.damage(found);
    if (found.rows.length || found.more || !this.drawn) this.redraw(waiting, found.more);
    if (!found.more && !model.live && !this.evidence) this.prove();
    return found.more;
  }

  redraw(waiting, more) {
    const { model } = this;
    this.drawn = true;
    this.tree.refresh();
    if (!more && !this.timeline.element.hidden) this.layoutTimeline();
    const failures = model.errors.length;
    this.errors.hidden = !failures;
    this.errors.textContent = dom.plural(failures, "failure");
    const live = model.live ? dom.el("span", { class: "tag running" }, this.source.live ? "running" : "not ended") : model.root ? dom.el("span", { class: `tag ${model.root.status}` }, model.root.status) : "";
    this.state.replaceChildren(...[waiting || live].flat());
    if (this.summary) this.drawStrip();
    this.detail.refresh();
  }

  layoutTimeline() {
    if (this.timeline.model === this.model) this.timeline.layout();
    else this.timeline.show(this.model);
  }

  drawStrip() {
    const { summary: folded, evidence, model } = this;
    const select = (node, open) => this.select(node, open);
    this.strip.replaceChildren(summary.strip({ summary: folded, evidence, model, select, showInput: () => this.showInput(), showEvidence: () => this.showEvidence() }));
  }

  showInput() {
    this.showAside(summary.input(this.summary, this.model, (node, open) => this.select(node, open)));
  }

  async showEvidence() {
    const { summary: folded, evidence, model } = this;
    const records = await this.records(evidence.found.map((passage) => passage.line));
    if (this.model === model) this.showAside(summary.passages({ summary: folded, evidence, model, records, select: (node, open) => this.select(node, open) }));
  }

  // In the place of the details: what belongs to the whole run.
  showAside(elements) {
    this.detail.shown = null;
    this.detail.element.replaceChildren(...elements);
    this.detail.element.scrollTop = 0;
    document.body.classList.add("looking");
  }

  async prove() {
    const { model, file } = this;
    try {
      const evidence = await this.source.evidence(file);
      if (this.model !== model) return;
      this.evidence = evidence;
      if (this.summary) this.drawStrip();
    } catch (error) {
      this.trouble(error);
    }
  }

  // Follows what goes on: the run that is open, or the list.
  later(wait) {
    clearTimeout(this.timer);
    if (!this.source.live || document.hidden) return;
    this.timer = setTimeout(async () => {
      try {
        if (!this.file) this.runs.show(await this.source.runs());
        else if (this.model && this.model.live) while (await this.more());
        this.lost = this.lost ? ((this.warning.hidden = true), false) : false;
      } catch (error) {
        this.lost = true;
        this.trouble(error);
      }
      const reading = !this.file && this.runs.all.some((run) => run.status === "reading");
      this.later(this.file ? 1000 : reading ? 50 : 2000);
    }, wait);
  }

  async records(lines) {
    const missing = lines.filter((line) => !this.cache.has(line));
    if (missing.length) {
      const found = await this.source.records(this.file, missing);
      if (this.cache.size > 2000) this.cache.clear();
      for (const line of lines) if (found[line] !== undefined) this.cache.set(line, found[line]);
      return { ...Object.fromEntries(lines.map((line) => [line, this.cache.get(line) ?? null])), ...found };
    }
    return Object.fromEntries(lines.map((line) => [line, this.cache.get(line)]));
  }

  select(node, open) {
    this.timeline.selected = node;
    this.tree.reveal(node);
    if (!this.timeline.element.hidden) this.timeline.draw();
    this.detail.show(node).catch((error) => this.trouble(error));
    if (open || open === undefined) document.body.classList.add("looking");
    this.tree.list.element.focus({ preventScroll: true });
  }

  close() {
    document.body.classList.remove("looking");
  }

  tab(name) {
    for (const tab of this.tabs) tab.setAttribute("aria-selected", tab.dataset.tab === name);
    this.tree.element.hidden = name !== "tree";
    this.timeline.element.hidden = name === "tree";
    document.body.classList.toggle("wide", name === "timeline");
    if (name === "timeline" && this.model) this.layoutTimeline();
  }

  turnTab() {
    this.tab(this.tree.element.hidden ? "tree" : "timeline");
  }

  searchSoon() {
    clearTimeout(this.searching);
    this.searching = setTimeout(() => this.search(), 200);
  }

  async search() {
    const words = this.input.value;
    if (!this.file) {
      this.runs.find(words);
      return;
    }
    this.detail.words = words.trim() ? words : "";
    if (!words.trim()) {
      this.found.textContent = "";
      this.tree.find(null);
      if (this.tree.selected) this.select(this.tree.selected, false);
      this.input.focus();
      return;
    }
    this.found.textContent = "searching …";
    try {
      const { lines, complete } = await this.source.search(this.file, words);
      if (words !== this.input.value) return;
      const owners = lines.map((line) => this.model.owners[line]).filter(Boolean);
      const hits = [...new Set(owners.map((node) => (node.type === "run" && node.call ? node.call : node)))];
      this.found.textContent = `${complete ? "" : "the first "}${dom.plural(hits.length, "hit")}`;
      this.tab("tree");
      this.tree.find(hits);
      this.tree.list.element.scrollTop = 0;
      if (this.detail.shown) await this.detail.show(this.detail.shown.node); // marks the words in what is shown
    } catch (error) {
      this.found.textContent = "";
      this.trouble(error);
    }
  }

  nextError() {
    const { errors } = this.model || { errors: [] };
    if (!errors.length) return;
    this.failure = this.failed === this.model ? (this.failure + 1) % errors.length : 0;
    this.failed = this.model;
    this.input.value = this.detail.words = "";
    this.found.textContent = `failure ${this.failure + 1} of ${dom.count(errors.length)}`;
    this.tree.hits = null;
    this.select(errors[this.failure], true);
  }

  damage({ damaged, first_damage: first, torn }) {
    const notes = [];
    if (damaged) notes.push(`${dom.plural(damaged, "line")} of the file could not be read and ${damaged === 1 ? "is" : "are"} left out; the first is line ${dom.count(first[0])}: ${first[1]}`);
    if (torn && !this.source.live) notes.push("the last line is cut off: the run was stopped while writing it");
    if (this.source.shortened) notes.push(`the log is too large for one page: of each text the first ${dom.count(this.source.shortened)} characters are here`);
    this.say(notes.join("; "));
  }

  trouble(error) {
    const lost = error instanceof TypeError && this.source.live;
    this.say(lost ? "the server does not answer: `rlm view` was ended" : `${error.message}`);
    if (!lost) console.error(error);
  }

  say(text) {
    this.warning.hidden = !text;
    this.warning.replaceChildren(dom.label(text));
  }

  turnTheme() {
    const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    if (!this.timeline.element.hidden) this.timeline.draw();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.help.open) return;
    if (event.target === this.input) {
      if (event.key === "Escape") {
        this.input.value = "";
        this.search();
        this.input.blur();
      } else if (event.key === "Enter") {
        this.input.blur();
        if (this.file) this.tree.step(1);
      } else return;
      event.preventDefault();
      return;
    }
    const inButton = event.target.closest("button, summary, a, dialog");
    if (inButton && (event.key === "Enter" || event.key === " ")) return;
    const action = this.file ? RUN_KEYS[event.key] : LIST_KEYS[event.key];
    if (!action) return;
    event.preventDefault();
    action(this);
  }
}

const COMMON_KEYS = {
  "/": (app) => (app.input.focus(), app.input.select()),
  "?": (app) => app.help.showModal(),
  d: (app) => app.turnTheme(),
};
const RUN_KEYS = {
  ...COMMON_KEYS,
  j: (app) => app.tree.step(1),
  ArrowDown: (app) => app.tree.step(1),
  k: (app) => app.tree.step(-1),
  ArrowUp: (app) => app.tree.step(-1),
  n: (app) => app.tree.step(1),
  g: (app) => app.tree.step(-Infinity),
  G: (app) => app.tree.step(Infinity),
  l: (app) => app.tree.toggle(app.tree.selected, true),
  ArrowRight: (app) => app.tree.toggle(app.tree.selected, true),
  h: (app) => leave(app),
  ArrowLeft: (app) => leave(app),
  Enter: (app) => app.tree.selected && app.select(app.tree.selected, true),
  e: (app) => app.nextError(),
  t: (app) => app.turnTab(),
  "+": (app) => app.timeline.zoom(0.5, 0.5),
  "-": (app) => app.timeline.zoom(2, 0.5),
  0: (app) => app.timeline.zoom(Infinity, 0.5),
  Escape: (app) => escape(app),
};
const LIST_KEYS = {
  ...COMMON_KEYS,
  j: (app) => app.runs.step(1),
  ArrowDown: (app) => app.runs.step(1),
  k: (app) => app.runs.step(-1),
  ArrowUp: (app) => app.runs.step(-1),
  Enter: (app) => app.runs.found.length && app.go(app.runs.found[app.runs.selected].file),
};

function leave(app) {
  const node = app.tree.selected;
  if (!node) return;
  if (app.tree.open.has(node)) app.tree.toggle(node, false);
  else if (parentOf(node)) app.select(parentOf(node), false);
}

function escape(app) {
  if (app.tree.hits) {
    app.input.value = "";
    app.search();
  } else if (document.body.classList.contains("looking")) app.close();
  else if (app.directory) location.hash = "";
}

const data = JSON.parse(document.getElementById("data").textContent);
new App(data === null ? new ServerSource() : new PageSource(data)).start();
