"use strict";
// The run as a tree: turns, the calls made in them, and the turns of the RLMs they called; or the hits of a search.

class Tree {
  constructor({ select }) {
    this.select = select;
    this.model = null;
    this.open = new Set();
    this.hits = null;
    this.selected = null;
    this.visible = [];
    this.list = new VirtualList({ rowHeight: 30, draw: (item, index) => this.row(item, index), label: "Turns and calls", role: "tree" });
    this.element = this.list.element;
  }

  show(model) {
    this.model = model;
    this.open = new Set();
    this.hits = null;
    this.selected = null;
    this.list.element.scrollTop = 0;
    this.refresh();
  }

  refresh() {
    const { model } = this;
    this.visible = [];
    if (model && this.hits) this.visible = this.hits.map((node) => ({ node, level: 0 }));
    else if (model && model.root) {
      this.visible.push({ node: model.root, level: 0 });
      this.walk(model.root, 1);
    }
    this.index = null;
    this.list.set(this.visible);
  }

  walk(node, level) {
    for (const child of childrenOf(node)) {
      this.visible.push({ node: child, level });
      if (this.open.has(child)) this.walk(child, level + 1);
    }
  }

  // Opens turns as long as the whole stays short enough to take in.
  openSome(most) {
    let rows = this.visible.length;
    for (const turn of this.model.root ? this.model.root.turns : []) {
      rows += turn.calls.length;
      if (rows > most) break;
      this.open.add(turn);
    }
    this.refresh();
  }

  find(hits) {
    this.hits = hits;
    this.refresh();
  }

  indexOf(node) {
    if (!this.index) this.index = new Map(this.visible.map((item, index) => [item.node, index]));
    return this.index.get(node) ?? -1;
  }

  reveal(node) {
    const target = node.type === "run" && node.call ? node.call : node;
    if (target !== node && !this.open.has(target)) this.toggle(target, true);
    if (!this.hits || this.indexOf(target) < 0) {
      this.hits = null;
      for (let above = parentOf(target); above; above = parentOf(above)) if (above.type !== "run") this.open.add(above);
      this.refresh();
    }
    this.selected = target;
    const index = this.indexOf(target);
    if (index >= 0) this.list.reveal(index);
  }

  step(by) {
    const now = this.selected ? this.indexOf(this.selected) : -1;
    const next = Math.max(0, Math.min(this.visible.length - 1, now + by));
    if (this.visible[next]) this.select(this.visible[next].node);
  }

  toggle(node, wanted) {
    if (!node || node.type === "run" || !childrenOf(node).length) return;
    const opened = wanted === undefined ? !this.open.has(node) : wanted;
    if (opened === this.open.has(node)) return;
    if (opened) this.open.add(node);
    else this.open.delete(node);
    this.refresh();
  }

  row({ node, level }, index) {
    const branches = this.hits || node.type === "run" ? 0 : childrenOf(node).length;
    const opened = this.open.has(node);
    const arrow = dom.el("span", { class: "arrow", "aria-hidden": "true" }, branches ? (opened ? "▾" : "▸") : "");
    const row = dom.el("div", {
      class: `row ${node.type}${node === this.selected ? " selected" : ""}${node.error !== null ? " failed" : ""}`,
      role: "treeitem", id: `row-${index}`, "aria-level": level + 1, "aria-selected": node === this.selected,
      "aria-expanded": branches ? opened : null,
    }, arrow, ...describe(node, this.hits !== null));
    row.style.paddingInlineStart = `${8 + 16 * Math.min(level, 8)}px`;
    if (node === this.selected) this.element.setAttribute("aria-activedescendant", `row-${index}`);
    row.addEventListener("click", (event) => {
      if (event.target === arrow) this.toggle(node);
      else this.select(node);
    });
    row.addEventListener("dblclick", () => this.toggle(node));
    return row;
  }
}

// The line that stands for a node: what it is, what it was about, what it took.
function describe(node, alone) {
  const { el, label, seconds, plural } = dom;
  const above = alone && node.run && node.run.call ? el("span", { class: "calls" }, `in ${nameOf(node.run.call)}`) : null;
  if (node.type === "run") {
    const asked = node.question === null ? "(the question is in the context)" : node.question;
    return [el("span", { class: "badge" }, "run"), el("span", { class: "about" }, label(asked)), el("span", { class: "took" }, seconds(node.seconds))];
  }
  if (node.type === "turn") {
    const about = node.error !== null ? node.error : node.cells.length ? node.cells[0].preview : node.reply ? node.reply.preview : node.run.endLine ? "no reply" : "the model is thinking";
    const calls = node.calls.length ? el("span", { class: "calls" }, plural(node.calls.length, "call")) : null;
    return [
      el("span", { class: "badge" }, nameOf(node)),
      el("span", { class: "about" }, label(about)),
      above,
      node.answered ? el("span", { class: "tag answer" }, "answer") : null,
      calls,
      el("span", { class: "took" }, node.end === null ? "…" : seconds(node.seconds ?? node.end - node.start)),
    ].filter(Boolean);
  }
  const about = node.error !== null ? node.error : node.prompt;
  return [
    el("span", { class: `badge ${node.kind}` }, nameOf(node)),
    el("span", { class: "about" }, label(about)),
    above,
    node.child && node.child.turns.length ? el("span", { class: "calls" }, plural(node.child.turns.length, "turn")) : null,
    el("span", { class: "took" }, node.end === null ? "…" : seconds(node.seconds)),
  ].filter(Boolean);
}

function nameOf(node) {
  if (node.type === "run") return node.path.includes("/") ? `RLM ${node.path.slice(node.path.indexOf("/") + 1)}` : "run";
  if (node.type === "turn") return `turn ${node.number + 1}`;
  return `${node.kind === "rlm" ? "RLM" : "call"} ${node.number + 1}`;
}
