"use strict";
// The list of runs of a directory: what each asked, how it ended, what it took.

class Runs {
  constructor({ open }) {
    this.open = open;
    this.selected = 0;
    this.found = [];
    this.body = dom.el("tbody");
    this.note = dom.el("p", { class: "faint" });
    const columns = ["Status", "Question", "Model", "Cost", "Time", "Turns", "Calls", "Errors", "Began"];
    const heads = columns.map((name, index) => dom.el("th", { class: index > 2 && index < 8 ? "number" : "" }, name));
    this.element = dom.el("main", { class: "runs" }, dom.el("h1", {}, "Runs"), this.note, dom.el("table", {}, dom.el("thead", {}, dom.el("tr", {}, heads)), this.body));
    this.words = "";
  }

  show({ place, runs }) {
    this.place = place;
    this.all = runs;
    this.draw();
  }

  find(words) {
    this.words = words.toLowerCase();
    this.draw();
  }

  draw() {
    const text = (run) => `${run.file} ${run.question} ${run.model} ${run.status} ${run.error}`.toLowerCase();
    this.found = (this.all || []).filter((run) => text(run).includes(this.words));
    this.selected = Math.max(0, Math.min(this.selected, this.found.length - 1));
    const known = this.found.reduce((sum, run) => sum + (run.known_dollars || 0), 0);
    const unknown = this.found.filter((run) => run.dollars === null).length;
    const cost = `${dom.money(known)}${unknown ? ` and what ${dom.plural(unknown, "run")} cost, which is not known` : ""}`;
    this.note.textContent = this.found.length ? `${dom.plural(this.found.length, "run")} in ${this.place} · ${cost}` : `No trajectory files (*.jsonl) in ${this.place}${this.words ? " with these words" : ""}`;
    this.body.replaceChildren(...this.found.map((run, index) => this.row(run, index)));
  }

  row(run, index) {
    const { el, label } = dom;
    const go = () => this.open(run.file);
    if (run.status === "reading") return el("tr", { class: "unreadable" }, el("td", {}, el("span", { class: "tag" }, "reading")), el("td", { colspan: 8 }, label(run.file)));
    if (run.status === "unreadable") {
      return el("tr", { class: "unreadable" }, el("td", {}, el("span", { class: "tag failed" }, "unreadable")), el("td", { colspan: 8 }, label(`${run.file}: ${run.error}`)));
    }
    const link = el("a", { href: `#${new URLSearchParams({ file: run.file })}` }, label(run.question ?? "(the question is in the context)"));
    const cell = (name, value) => el("td", { class: "number", "data-name": name }, value);
    const made = (run.calls.llm || 0) + (run.calls.rlm || 0);
    return el("tr", { class: index === this.selected ? "selected" : "", onclick: go },
      el("td", { class: "status" }, el("span", { class: `tag ${run.status}` }, run.status)),
      el("td", { class: "question" }, link, run.error ? el("div", { class: "error-line" }, label(run.error)) : null),
      el("td", { class: "model", "data-name": "model" }, label(run.model)),
      cell("cost", dom.money(run.dollars)), cell("time", dom.seconds(run.seconds)), cell("turns", dom.count(run.turns)),
      cell("calls", dom.count(made)), cell("errors", run.errors ? el("span", { class: "bad" }, dom.count(run.errors)) : "0"),
      el("td", { class: "date", "data-name": "began" }, dom.date(run.began)));
  }

  step(by) {
    this.selected = Math.max(0, Math.min(this.found.length - 1, this.selected + by));
    this.draw();
    const row = this.body.children[this.selected];
    if (row) row.scrollIntoView({ block: "nearest" });
  }
}
