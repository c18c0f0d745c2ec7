"use strict";
// Where the page has its data from: the server it came from, or the page itself. Both answer the same questions.

class ServerSource {
  constructor() {
    this.live = true;
    this.shortened = null;
  }

  async ask(what, query) {
    const answer = await fetch(`api/${what}?${new URLSearchParams(query || {})}`, { cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.text()).trim() || `the server answered ${answer.status}`);
    return answer.json();
  }

  runs() {
    return this.ask("runs");
  }

  rows(file, from) {
    return this.ask("rows", { file, from });
  }

  async records(file, lines) {
    const found = {};
    for (let at = 0; at < lines.length; at += 200) {
      Object.assign(found, await this.ask("records", { file, lines: lines.slice(at, at + 200).join(",") }));
    }
    return found;
  }

  search(file, words) {
    return this.ask("search", { file, for: words });
  }

  evidence(file) {
    return this.ask("evidence", { file });
  }
}

class PageSource {
  constructor(data) {
    this.live = false;
    this.data = data;
    this.shortened = data.shortened;
  }

  async runs() {
    return { directory: false, place: this.data.file, runs: [{ file: this.data.file }] };
  }

  async rows(file, from) {
    const { rows, summary, state } = this.data;
    return { rows: rows.slice(from), next: rows.length, more: false, share: 1, summary, ...state };
  }

  async records(file, lines) {
    return Object.fromEntries(lines.map((line) => [line, this.data.records[line] ?? null]));
  }

  async search(file, words) {
    const wanted = words.toLowerCase();
    const lines = [];
    for (const [line, record] of Object.entries(this.data.records)) {
      if (record && holds(record, wanted)) lines.push(Number(line));
      if (lines.length === 1000) return { lines, complete: false };
    }
    return { lines, complete: true };
  }

  async evidence() {
    return this.data.evidence;
  }
}

const UNSEARCHED = new Set(["type", "run", "time", "depth", "sha", "usage", "seen", "unread"]);

function holds(value, wanted) {
  if (typeof value === "string") return value.toLowerCase().includes(wanted);
  if (Array.isArray(value)) return value.some((item) => holds(item, wanted));
  if (value === null || typeof value !== "object") return false;
  return Object.entries(value).some(([key, item]) => !UNSEARCHED.has(key) && holds(item, wanted));
}
