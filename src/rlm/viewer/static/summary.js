"use strict";
// The strip at the top: six questions that one asks of any run first.

const summary = (() => {
  const { el, label, count, plural, seconds, money, percent } = dom;

  function strip({ summary, evidence, model, select, showInput, showEvidence }) {
    const goTo = (line) => (model.owners[line] ? () => select(model.owners[line], true) : null);
    return el("div", { class: "strip" }, calls(summary), dollars(summary), slowest(summary, goTo), failing(summary, goTo), unread(summary, showInput), proof(evidence, summary, model, showEvidence));
  }

  function card(id, title, value, note, action, extra) {
    const full = typeof note === "string" ? note : note.textContent;
    const body = [el("h2", {}, title), el("p", { class: "value" }, value), extra, el("p", { class: "note", title: full }, note)];
    const properties = { class: "card", id: `q-${id}` };
    return action ? el("button", { ...properties, type: "button", onclick: action }, body) : el("div", properties, body);
  }

  function calls(s) {
    const made = (s.calls.llm || 0) + (s.calls.rlm || 0);
    const parts = [];
    if (s.calls.rlm) parts.push(`${count(s.calls.llm || 0)} to models, ${count(s.calls.rlm)} to RLMs`);
    if (s.calls.failed) parts.push(`${count(s.calls.failed)} failed`);
    if (s.calls.cancelled) parts.push(`${count(s.calls.cancelled)} cancelled`);
    if (s.running) parts.push(`${count(s.running)} under way`);
    parts.push(`${plural(s.model_calls, "model reply").replace("replys", "replies")} in all, with the turns`);
    return card("calls", "Calls from code", count(made), parts.join("; "));
  }

  function dollars(s) {
    const known = s.known_dollars ? `${money(s.known_dollars)} is known; ` : "";
    const [into, out] = s.tokens;
    const used = s.unmetered ? `tokens not told for ${plural(s.unmetered, "call")}` : `${count(into)} tokens in, ${count(out)} out`;
    return card("dollars", "Cost", s.dollars === null ? "unknown" : money(s.dollars), s.dollars === null ? `${known}${plural(s.unpriced, "call")} without a price; ${used}` : used);
  }

  function slowest(s, goTo) {
    const [first, second] = s.slowest;
    if (!first) return card("slowest", "Slowest part", "none", "nothing has ended yet");
    const what = { model: "the model's reply", code: "the code", summary: "the summary of the history" }[first.kind];
    const name = first.kind === "start" ? "The start" : `Turn ${first.turn + 1}: ${what}`;
    const share = s.seconds > 0 ? `${percent(Math.min(1, first.seconds / s.seconds))} of ${seconds(s.seconds)}` : "";
    const inside = first.kind === "start" ? ", until the input was in the environment" : !second ? "" : `; the longest of its ${plural(first.calls, "call")}, ${second.child ? "RLM" : "call"} ${second.number + 1}, took ${seconds(second.seconds)}`;
    return card("slowest", "Slowest part", `${name}, ${seconds(first.seconds)}`, share + inside, goTo(second ? second.line : first.line));
  }

  function failing(s, goTo) {
    const failed = s.first_failure;
    if (!failed) return card("failing", "First failing turn", "none", s.errors ? `but ${plural(s.errors, "call")} failed` : "no turn and no call failed");
    const where = failed.run === s.run ? "" : ` of ${failed.run}`;
    const note = el("span", {}, label(failed.text), s.failing_turns > 1 ? ` (and ${count(s.failing_turns - 1)} more)` : "");
    return card("failing", "First failing turn", label(`Turn ${failed.turn + 1}${where}`), note, goTo(failed.line));
  }

  function unread(s, showInput) {
    const found = s.coverage;
    if (!found) return card("unread", "Input never read", "unknown", s.context[1] ? "the log does not tell what models were given of it" : "there is no text to read", showInput);
    const [low, high] = found.unread;
    const same = percent(low) === percent(high);
    const value = same ? percent(high) : `${percent(low)} to ${percent(high)}`;
    const why = `${count(found.read)} of its ${plural(found.size, "character")} were given to models`;
    return card("unread", "Input never read", value, why, showInput, map(found));
  }

  // The input from its beginning to its end, with what was read of it.
  function map(found) {
    const bar = el("span", { class: "coverage", title: "The input from beginning to end: what models were given is filled" });
    for (const [begin, end] of found.ranges) {
      const mark = el("i");
      mark.style.left = `${(100 * begin) / found.size}%`;
      mark.style.width = `max(1px, ${(100 * (end - begin)) / found.size}%)`;
      bar.append(mark);
    }
    return bar;
  }

  function proof(evidence, s, model, showEvidence) {
    const title = "Evidence";
    if (s.status === "running") return card("evidence", title, "not yet", "the run goes on");
    if (!evidence) return card("evidence", title, "…", "looking through the replies");
    if (!evidence.answer) return card("evidence", title, "no answer", "the run ended without one");
    if (!evidence.calls) return card("evidence", title, "none", "it made no calls");
    const found = evidence.found;
    if (!found.length) return card("evidence", title, "none", `no reply of ${plural(evidence.calls, "call")} holds its text: code or the root model made it`);
    const total = found.length + evidence.more;
    const more = total > 1 ? `, and ${count(total - 1)} more` : "";
    return card("evidence", title, `${count(total)} of ${plural(evidence.calls, "reply").replace("replys", "replies")}`, label(`${callOf(found[0], s, model)} ${holds(found[0], evidence)}${more}`), showEvidence);
  }

  function callOf(passage, s, model) {
    const node = model.owners[passage.line];
    const name = node ? `${nameOf(node)}${node.turn ? ` of turn ${node.turn.number + 1}` : ""}` : `line ${passage.line}`;
    return passage.run === s.run ? name : `${name} of ${passage.run}`;
  }

  function holds({ how, pieces }, evidence) {
    return how === "whole" ? "holds the whole answer" : how === "pieces" ? `holds ${pieces} of its ${evidence.of} parts` : "stands in it word for word";
  }

  // The replies that hold the answer, and what of the input they were given.
  function passages({ summary: s, evidence, model, select, records }) {
    const rows = evidence.found.map((passage) => {
      const record = records[passage.line];
      const link = el("button", { type: "button", class: "plain", onclick: () => select(model.owners[passage.line], true) }, label(callOf(passage, s, model)));
      return el("tr", {}, el("td", {}, link, ` ${holds(passage, evidence)}`, record ? dom.seen(record) : null));
    });
    return [
      el("h2", {}, "Evidence of the answer"),
      el("p", {}, `Of ${plural(evidence.calls, "reply").replace("replys", "replies")} to calls, these hold the answer's text. Below each: what of the input was in its prompt. It shows where the text came through, not that it is true.`),
      ...section("", ["Call"], rows),
      evidence.more ? el("p", { class: "faint" }, `and ${count(evidence.more)} more`) : null,
    ].filter(Boolean);
  }

  // The input: what of it never was read, and what was, through what.
  function input(s, model, select) {
    const found = s.coverage;
    const [kind, size] = s.context;
    const head = el("h2", {}, "The input", el("small", {}, `${kind}, ${plural(found ? found.size : size, "character")}`));
    if (!found) return [head, el("p", {}, "The log does not tell what of it models were given.")];
    const gaps = (found.gaps || []).map((gap) => el("tr", {}, el("td", {}, dom.chip(gap)), el("td", { class: "number" }, count(gap[1]))));
    return [
      head,
      map(found),
      el("p", {}, `Models were given ${count(found.read)} of its characters, and ${count(found.other)} that are not known to be of it: questions, results, pieces too short to tell. From ${count(found.shortest)} characters on a piece is recognised, unless the input repeats itself. If all others were pieces of it, ${percent(found.unread[0])} of it was never read; if none was, ${percent(found.unread[1])}.`),
      ...section("Longest stretches never read", ["Where", "Characters"], gaps),
      found.gaps === null ? el("p", { class: "faint" }, "Which items of a list or dict were never read is known once the run has ended.") : null,
      ...section("What was read, and through what", ["Through", "Characters"], found.sources.map((source) => sourceRow(source, model, select))),
      found.more ? el("p", { class: "faint" }, `and through ${plural(found.more, "text")} more, which held less`) : null,
    ].filter(Boolean);
  }

  const FIRST = 10;

  function section(title, heads, rows) {
    if (!rows.length) return [];
    const body = el("tbody", {}, rows.slice(0, FIRST));
    const more = rows.length > FIRST ? el("button", { type: "button", class: "more" }, `Show ${count(rows.length - FIRST)} more`) : null;
    if (more) more.addEventListener("click", () => (body.append(...rows.slice(FIRST)), more.remove()));
    const head = el("tr", {}, heads.map((name) => el("th", { class: name === "Characters" ? "number" : "" }, name)));
    return [title ? el("h3", {}, title) : null, el("table", {}, title ? el("thead", {}, head) : null, body), more];
  }

  function sourceRow(source, model, select) {
    const { run, turn, call } = source;
    const node = model.find(run, turn, call);
    const inside = run === model.root.path ? "" : ` of ${run}`;
    const name = label(call !== null ? `prompt of call ${call + 1}, turn ${turn + 1}${inside}` : turn !== null ? `shown after turn ${turn + 1}${inside}` : `first message${inside}`);
    const through = node ? el("button", { type: "button", class: "plain", onclick: () => select(node, true) }, name) : name;
    return el("tr", {}, el("td", {}, through, dom.places(source.places, source.pieces, 4)), el("td", { class: "number" }, count(source.read)));
  }

  return { strip, input, passages };
})();
