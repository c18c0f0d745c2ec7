"use strict";
// A run as a tree, folded from rows (see rows.py for their columns) in the order they come, and as they come.

class Model {
  constructor() {
    this.runs = new Map();
    this.root = null;
    this.errors = [];
    this.owners = []; // the node that a line of the file belongs to
    this.count = 0;
    this.calls = 0;
    this.begin = Infinity;
    this.end = 0;
  }

  add(rows) {
    for (const row of rows) {
      const [kind, line, path, time] = row;
      this.count++;
      if (time < this.begin) this.begin = time;
      if (time > this.end) this.end = time;
      let run = this.runs.get(path);
      if (!run) run = this.makeRun(path);
      if (run.start === null) run.start = time;
      const node = this[kind](run, row, time);
      if (node) this.owners[line] = node;
    }
  }

  makeRun(path) {
    const run = {
      type: "run", path, line: 0, endLine: 0, start: null, end: null, depth: 0, model: "", question: null,
      contextType: "", contextSize: 0, environment: "", turns: [], call: null, turn: null,
      seenLine: 0, status: "running", limit: null, error: null, seconds: null, response: "", open: new Map(), numbers: new Map(),
      notes: [],
    };
    this.runs.set(path, run);
    if (!this.root) this.root = run;
    return run;
  }

  turnOf(run, number, time) {
    const known = run.numbers.get(number);
    if (known) return known;
    run.turn = {
      type: "turn", run, number, line: 0, endLine: 0, start: time, end: null, seconds: null, reply: null, summary: null,
      cells: [], calls: [], error: null, answered: false, seenLine: 0,
    };
    run.turns.push(run.turn);
    run.numbers.set(number, run.turn);
    return run.turn;
  }

  R(run, row) {
    const [, line, , time, depth, model, question, contextType, contextSize, environment] = row;
    Object.assign(run, { line, depth, model, question, contextType, contextSize, environment, start: time });
    return run;
  }

  T(run, row, time) {
    const turn = this.turnOf(run, row[4], time);
    turn.line = row[1];
    return turn;
  }

  P(run, row, time) {
    const [, line, , , number, seconds, tokensIn, tokensOut, dollars, finish, preview] = row;
    const turn = this.turnOf(run, number, time - seconds);
    turn.reply = { line, end: time, seconds, tokensIn, tokensOut, dollars, finish, preview };
    this.told(run, turn, line);
    return turn;
  }

  K(run, row, time) {
    const [, line, , , number, seconds, tokensIn, tokensOut, dollars, preview] = row;
    const turn = this.turnOf(run, number, time - seconds);
    run.notes.push({ time, text: `turn ${number + 1}: a summary takes the place of the turns before` });
    turn.summary = { line, end: time, seconds, tokensIn, tokensOut, dollars, preview };
    this.told(run, turn, line);
    return turn;
  }

  // A model's reply says what it had been given of the input: in the first message, or after the turn before.
  told(run, turn, line) {
    const node = run.turns[run.turns.indexOf(turn) - 1] || run;
    node.seenLine ||= line;
  }

  C(run, row, time) {
    const [, line, , , number, block, preview] = row;
    const turn = this.turnOf(run, number, time);
    turn.cells.push({ line, endLine: 0, block, start: time, end: null, seconds: null, error: null, size: 0, preview, output: "", calls: [] });
    return turn;
  }

  D(run, row, time) {
    const [, line, , , number, block, seconds, error, size, answered, output] = row;
    const turn = this.turnOf(run, number, time);
    const cell = turn.cells.findLast((cell) => cell.block === block);
    if (cell) Object.assign(cell, { endLine: line, end: time, seconds, error, size, output });
    if (error !== null) this.failed(turn, error);
    turn.answered ||= answered;
    return turn;
  }

  S(run, row, time) {
    const [, line, , , number, turnNumber, kind, model, child, preview] = row;
    const turn = this.turnOf(run, turnNumber, time);
    const call = {
      type: "call", run, turn, number, line, endLine: 0, start: time, end: null, seconds: null, kind, model,
      child: null, prompt: preview, reply: "", error: null, tokensIn: 0, tokensOut: 0, dollars: 0, waited: 0,
    };
    turn.calls.push(call);
    const cell = turn.cells[turn.cells.length - 1];
    if (cell) cell.calls.push(call);
    run.open.set(number, call);
    this.calls++;
    if (child !== null) {
      call.child = this.runs.get(child) || this.makeRun(child);
      call.child.call = call;
    }
    return call;
  }

  F(run, row, time) {
    const [, line, , , number, seconds, tokensIn, tokensOut, dollars, error, preview, waited] = row;
    const call = run.open.get(number);
    if (!call) return null;
    run.open.delete(number);
    Object.assign(call, { endLine: line, end: time, seconds, tokensIn, tokensOut, dollars, reply: preview, waited });
    if (error !== null) this.failed(call, error);
    return call;
  }

  E(run, row, time) {
    const turn = this.turnOf(run, row[4], time);
    Object.assign(turn, { endLine: row[1], end: time, seconds: row[5] });
    return turn;
  }

  W(run, row, time) {
    run.notes.push({ time, text: row[4] });
    return run;
  }

  L(run, row, time) {
    const [, , , , limit, used, allowed, booked, waiting] = row;
    const amount = limit === "max_budget" ? dom.money : limit === "max_timeout" ? dom.seconds : dom.count;
    const share = `${amount(used)} of the ${amount(allowed)} of ${limit} used`;
    run.notes.push({ time, text: waiting ? `${share}, ${amount(booked)} booked: calls wait for room` : share });
    return run;
  }

  Z(run, row, time) {
    const [, endLine, , , status, limit, error, seconds, response] = row;
    Object.assign(run, { endLine, end: time, status: error === null ? status || "answered" : "failed", limit, seconds, response });
    if (run.start === null) run.start = time - seconds;
    const turn = run.turn;
    if (turn && turn.end === null) {
      turn.end = time;
      turn.error ??= error;
    }
    if (error !== null) this.failed(run, error);
    return run;
  }

  // The node through which something was given to a model: a call, a turn, or a run.
  find(path, turn, call) {
    const run = this.runs.get(path);
    if (!run || turn === null) return run;
    const node = run.numbers.get(turn);
    return call === null || !node ? node : node.calls.find((one) => one.number === call);
  }

  failed(node, text) {
    if (node.error === null) this.errors.push(node);
    node.error = text;
  }

  get live() {
    return this.root !== null && this.root.endLine === 0;
  }
}

// What a node opens into: a run its turns, a turn its calls, a call the turns of its child.
function childrenOf(node) {
  if (node.type === "run") return node.turns;
  if (node.type === "turn") return node.calls;
  return node.child ? node.child.turns : [];
}

function parentOf(node) {
  if (node.type === "call") return node.turn;
  if (node.type === "turn") return node.run.call || (node.run.path.includes("/") ? null : node.run);
  return node.call ? node.call : null;
}
