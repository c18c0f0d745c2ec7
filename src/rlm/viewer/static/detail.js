"use strict";
// One node in full: a turn with its code, output and calls; a call with its prompt and reply; a run with its answer.

class Detail {
  constructor({ select, records }) {
    this.select = select;
    this.records = records;
    this.words = "";
    this.shown = null;
    this.element = dom.el("section", { class: "detail", tabindex: "-1", "aria-label": "Details" });
  }

  async show(node) {
    const asked = (this.shown = { node, stamp: stampOf(node) });
    const found = await this.records(linesOf(node));
    if (this.shown !== asked) return; // another was selected meanwhile
    const make = { run: () => this.run(node, found), turn: () => this.turn(node, found), call: () => this.call(node, found) };
    this.element.replaceChildren(...make[node.type]().flat().filter(Boolean));
    this.element.scrollTop = 0;
  }

  // Shows the same node again if it grew.
  refresh() {
    if (this.shown && stampOf(this.shown.node) !== this.shown.stamp) {
      const { scrollTop } = this.element;
      this.show(this.shown.node).then(() => (this.element.scrollTop = scrollTop));
    }
  }

  run(run, found) {
    const started = found[run.line];
    const finished = found[run.endLine];
    const facts = [
      ["Status", statusOf(run)],
      ["Model", run.model],
      ["Environment", run.environment],
      ["Context", `${run.contextType}, ${dom.plural(run.contextSize, "character")}`],
      ["Turns", dom.count(run.turns.length)],
      ["Time", run.seconds === null ? "" : dom.seconds(run.seconds)],
      ["Run", run.path],
    ];
    for (const [model, usage] of finished ? finished.usage : []) facts.push([`Use of ${model}`, usageOf(usage)]);
    return [
      heading(run),
      table(facts),
      started && started.question !== undefined && started.question !== null ? this.part("Question", dom.text(started.question, this.words)) : null,
      finished && finished.error ? this.part("Error", this.error(finished.error)) : null,
      finished && finished.response !== undefined && finished.response !== null ? this.part("Answer", dom.text(finished.response, this.words), "answer") : null,
      started && started.preview ? this.folded("What the first message showed of the context", dom.text(started.preview, this.words)) : null,
      this.seen("Of the input, in the first message", found[run.seenLine]),
      run.notes.length ? this.part("Notes", dom.el("ul", {}, run.notes.map((note) => dom.el("li", {}, `${dom.seconds(note.time - run.start)}: `, dom.label(note.text))))) : null,
      started && started.options ? this.folded("Options", table(started.options.map(([name, value]) => [name, JSON.stringify(value)]))) : null,
    ];
  }

  turn(turn, found) {
    const reply = turn.reply && found[turn.reply.line];
    const ended = found[turn.endLine];
    const facts = [];
    if (turn.reply) facts.push(["The model's reply", `${dom.seconds(turn.reply.seconds)} · ${tokens(turn.reply)} · ${dom.money(turn.reply.dollars)}${turn.reply.finish === "stop" ? "" : ` · finish: ${turn.reply.finish}`}`]);
    if (turn.seconds !== null) facts.push(["The whole turn", dom.seconds(turn.seconds)]);
    const out = [heading(turn), table(facts)];
    const summary = turn.summary && found[turn.summary.line];
    if (summary) out.push(this.folded("Summary that took the place of the turns before", dom.text(summary.reply.text, this.words)));
    if (reply && reply.reply.reasoning) out.push(this.folded("Reasoning", dom.text(reply.reply.reasoning, this.words)));
    if (reply) out.push(this.part(turn.cells.length ? "What the model said" : "The model's reply, without code that could be run", dom.text(prose(reply.reply.text, turn, found), this.words)));
    for (const cell of turn.cells) out.push(...this.cell(cell, turn, found));
    if (ended && ended.shown) out.push(this.folded("What the model was shown next", dom.text(ended.shown, this.words)));
    out.push(this.seen("Of the input, in what the model was shown next", found[turn.seenLine]));
    return out;
  }

  cell(cell, turn, found) {
    const started = found[cell.line];
    const ended = found[cell.endLine];
    const many = turn.cells.length > 1 ? ` ${cell.block + 1}` : "";
    const out = [];
    if (started) out.push(this.part(`Code${many}`, highlight.code(flat(started.code), this.words)));
    if (!ended) return [...out, dom.el("p", { class: "running" }, "It is running."), ...this.calls(cell)];
    const result = ended.cell;
    const printed = result.output_size || 0;
    out.push(...this.calls(cell));
    if (result.output) out.push(this.part(`Output${many}`, dom.text(result.output, this.words), "output", dom.plural(printed, "character")));
    else if (!result.error) out.push(dom.el("p", { class: "faint" }, "It printed nothing."));
    if (result.error) out.push(this.part("Error", dom.el("div", { class: "error" }, dom.text(result.error.traceback || `${flat(result.error.type)}: ${flat(result.error.message)}`, this.words))));
    if (result.timed_out) out.push(dom.el("p", { class: "error" }, "It ran out of time."));
    for (const name of ["answer", "draft"]) if (name in result) out.push(this.part(name === "answer" ? "The answer it submitted" : "Its draft of the answer", dom.text(submitted(result[name]), this.words), "answer"));
    for (const notice of result.notices || []) out.push(dom.el("p", { class: "notice" }, dom.label(flat(notice))));
    if (result.lost) out.push(dom.el("p", { class: "notice" }, "Lost names: ", dom.label(result.lost.join(", "))));
    return out;
  }

  calls(cell) {
    if (!cell.calls.length) return [];
    const holder = dom.el("div", { class: "subcalls" });
    const add = (from) => {
      const some = cell.calls.slice(from, from + 100);
      holder.append(...some.map((call) => this.callLine(call)));
      const left = cell.calls.length - from - some.length;
      if (left > 0) {
        const more = dom.el("button", { type: "button", class: "more" }, `Show more of ${dom.count(left)}`);
        more.addEventListener("click", () => (more.remove(), add(from + 100)));
        holder.append(more);
      }
    };
    add(0);
    const failed = cell.calls.filter((call) => call.error !== null).length;
    const note = failed ? `${dom.count(failed)} failed` : "";
    return [this.part(dom.plural(cell.calls.length, "call"), holder, "", note)];
  }

  // A call that opens in its place; its texts are fetched then.
  callLine(call) {
    const body = dom.el("div", { class: "body" });
    const line = dom.el("details", { class: call.error !== null ? "failed" : "" }, dom.el("summary", {}, ...describe(call)), body);
    line.addEventListener("toggle", async () => {
      if (!line.open || body.childNodes.length) return;
      const found = await this.records(linesOf(call));
      body.replaceChildren(...this.callBody(call, found).filter(Boolean));
    });
    return line;
  }

  call(call, found) {
    return [heading(call), ...this.callBody(call, found)];
  }

  callBody(call, found) {
    const started = found[call.line];
    const ended = found[call.endLine];
    const facts = [["Model", call.model]];
    if (call.end === null) facts.push(["State", "under way"]);
    else facts.push(["Took", dom.seconds(call.seconds)], ["Tokens", tokens(call)], ["Cost", dom.money(call.dollars)]);
    const waited = sentAt(call) - call.start;
    if (waited > 0.005) facts.push(["Of that it waited for its turn", dom.seconds(waited)]);
    if (started && started.batch) facts.push(["Batch", `${started.batch[1] + 1} of ${started.batch[2]}`]);
    if (ended && ended.reply && ended.reply.finish && ended.reply.finish !== "stop") facts.push(["Finish", ended.reply.finish]);
    const child = call.child && call.child.line ? dom.el("button", { type: "button", class: "link", onclick: () => this.select(call.child, true) }, `Open its run: ${dom.plural(call.child.turns.length, "turn")}`) : null;
    return [
      table(facts),
      child,
      started ? this.part("Prompt", dom.text(started.prompt, this.words), "", dom.plural(dom.sizeOf(started.prompt), "character")) : null,
      this.seen("Of the input, in the prompt", ended),
      ended && ended.reply && ended.reply.reasoning ? this.folded("Reasoning", dom.text(ended.reply.reasoning, this.words)) : null,
      ended && ended.reply ? this.part("Reply", dom.text(ended.reply.text, this.words), "reply", dom.plural(dom.sizeOf(ended.reply.text), "character")) : null,
      ended && ended.error ? this.part("Error", this.error(ended.error)) : null,
    ];
  }

  // What a record says that a model had been given of the input.
  seen(title, record) {
    const spans = record && record.seen && record.seen.spans;
    if (!spans) return null;
    const total = spans.reduce((sum, [, n]) => sum + n, 0);
    return this.part(title, dom.seen(record), "", dom.plural(total, "character"));
  }

  error(pair) {
    return dom.el("div", { class: "error" }, dom.text(`${flat(pair[0])}: ${flat(pair[1])}`, this.words));
  }

  part(title, body, kind, note) {
    return dom.el("section", { class: `part ${kind || ""}` }, dom.el("h3", {}, title, note ? dom.el("small", {}, note) : null), body);
  }

  folded(title, body) {
    return dom.el("details", { class: "part folded" }, dom.el("summary", {}, title), body);
  }
}

function heading(node) {
  const title = node.type === "call" ? `${node.kind === "rlm" ? "RLM call" : "Model call"} ${node.number + 1}` : node.type === "turn" ? `Turn ${node.number + 1}` : node.path.includes("/") ? "A run of its own" : "The run";
  const where = node.type === "run" ? node.path : node.type === "turn" ? (node.run.path.includes("/") ? `of ${node.run.path}` : "") : `in turn ${node.turn.number + 1}${node.run.path.includes("/") ? ` of ${node.run.path}` : ""}`;
  const state = node.error !== null ? dom.el("span", { class: "tag failed" }, "failed") : null;
  return dom.el("h2", {}, title, where ? dom.el("small", {}, where) : null, state);
}

function table(rows) {
  return rows.length ? dom.el("dl", {}, rows.flatMap(([name, value]) => [dom.el("dt", {}, dom.label(name)), dom.el("dd", {}, dom.label(value))])) : null;
}

function linesOf(node) {
  const lines = [node.line, node.endLine, node.seenLine];
  if (node.type === "turn") {
    if (node.summary) lines.push(node.summary.line);
    if (node.reply) lines.push(node.reply.line);
    for (const cell of node.cells) lines.push(cell.line, cell.endLine);
  }
  return lines.filter((line) => line > 0);
}

function stampOf(node) {
  return node.type === "turn" ? `${linesOf(node)} ${node.calls.length}` : `${linesOf(node)} ${node.type === "run" ? [node.turns.length, node.notes.length] : ""}`;
}

function statusOf(run) {
  if (run.error !== null) return `failed: ${run.error}`;
  return run.status === "forced" ? `forced by ${run.limit || "a limit"}` : run.status;
}

function tokens({ tokensIn, tokensOut }) {
  return tokensIn === null ? "tokens not told" : `${dom.count(tokensIn)} tokens in, ${dom.count(tokensOut)} out`;
}

function usageOf(usage) {
  const parts = [dom.plural(usage.calls || 0, "call"), usage.unmetered ? "tokens not told" : tokens({ tokensIn: usage.input_tokens || 0, tokensOut: usage.output_tokens || 0 })];
  parts.push(usage.unpriced ? `cost unknown for ${dom.count(usage.unpriced)}` : dom.money(usage.dollars || 0));
  return parts.join(" · ");
}

function flat(value) {
  if (typeof value === "string") return value;
  return Array.isArray(value) ? value.map((part) => (typeof part === "string" ? part : dom.place(part))).join("") : String(value ?? "");
}

function submitted(value) {
  if (typeof value === "string" || Array.isArray(value)) return value;
  if (value && "repr" in value) return `${value.of}: ${value.repr}`;
  return JSON.stringify(value && value.json, null, 1);
}

// The reply without the code that is shown below it.
function prose(text, turn, found) {
  let rest = flat(text);
  for (const cell of turn.cells) {
    const code = found[cell.line] && flat(found[cell.line].code);
    if (code && rest.includes(code)) rest = rest.replace(code, () => "…");
  }
  return rest.replace(/```(?:repl|python|py)?[ \t]*\n…\n?[ \t]*```\n?/g, "").trim() || "(only code)";
}
