"use strict";
// The run over time: what the model took, what code took, which calls ran at once, and what waited for what.

class Timeline {
  constructor({ select }) {
    this.select = select;
    this.canvas = dom.el("canvas", { tabindex: "0", role: "img" });
    this.scroller = dom.el("div", { class: "lanes" }, this.canvas);
    this.note = dom.el("div", { class: "note" });
    const zoom = (by, name, title) => dom.el("button", { type: "button", title, onclick: () => this.zoom(by, 0.5) }, name);
    const keys = [["start", "start"], ["model", "model replies"], ["code", "code runs"], ["waits", "code waits for its calls"], ["llm", "model call"], ["rlm", "RLM call"], ["queued", "call waits for its turn"], ["error", "failed"]];
    this.legend = dom.el("div", { class: "legend" }, keys.map(([kind, name]) => dom.el("span", {}, dom.el("i", { class: `key-${kind}` }), name)));
    const bar = dom.el("div", { class: "zoom" }, zoom(0.5, "+", "Closer"), zoom(2, "−", "Further"), zoom(Infinity, "All", "The whole run"));
    this.element = dom.el("div", { class: "timeline" }, dom.el("div", { class: "bar" }, this.note, bar), this.scroller, this.legend);
    this.lanes = [];
    this.selected = null;
    this.window = null;
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  show(model) {
    this.model = model;
    this.window = null;
    this.layout();
  }

  // A run is a lane of its replies and cells, lanes of calls below it, and the same for each RLM it called.
  layout() {
    const { model } = this;
    this.lanes = [];
    this.most = 0;
    if (!model || !model.root) return;
    const now = model.live ? model.end : 0;
    this.place(model.root, 0, now);
    this.inFlight = flight(model, now);
    this.most = this.inFlight.numbers.reduce((most, number) => Math.max(most, number), 0);
    this.cut = this.lanes.length > LANES;
    this.lanes.length = Math.min(this.lanes.length, LANES);
    this.note.textContent = this.most ? `At most ${dom.plural(this.most, "model call")} at once` : "No model calls yet";
    if (this.cut) this.note.textContent += `; the first ${dom.count(LANES)} lanes are shown`;
    this.draw();
  }

  place(run, level, now) {
    if (this.lanes.length > LANES) return;
    const main = { level, run, bars: [] };
    this.lanes.push(main);
    const lanes = [];
    const room = new Room();
    const children = [];
    if (run.line && run.turns.length && run.turns[0].start - run.start > 0.005) main.bars.push({ kind: "start", node: run, start: run.start, end: run.turns[0].start });
    for (const turn of run.turns) {
      for (const said of [turn.summary, turn.reply]) if (said) main.bars.push({ kind: "model", node: turn, start: said.end - said.seconds, end: said.end });
      for (const cell of turn.cells) {
        const end = cell.end ?? Math.max(now, cell.start);
        main.bars.push({ kind: cell.error !== null ? "error" : "code", node: turn, start: cell.start, end });
        for (const [start, stop] of together(cell.calls, now)) main.bars.push({ kind: "waits", node: turn, start, end: Math.min(stop, end) });
      }
      for (const call of turn.calls) {
        const end = call.end ?? Math.max(now, call.start);
        const place = room.take(call.start + 1e-6, end);
        if (place <= LANES) {
          const { bars } = (lanes[place] ||= { level: level + 1, run: null, bars: [] });
          bars.push({ kind: call.error !== null ? "error" : call.kind, node: call, start: call.start, end });
          const sent = sentAt(call);
          if (sent - call.start > 0.005) bars.push({ kind: "queued", node: call, start: call.start, end: Math.min(sent, end) });
        }
        if (call.child && call.child.start !== null) children.push(call.child);
      }
    }
    this.lanes.push(...lanes);
    for (const child of children) if (child.line) this.place(child, level + 1, now);
  }

  get span() {
    if (this.window) return this.window;
    const { begin, end } = this.model;
    return [begin, Math.max(end, begin + 0.001)];
  }

  zoom(by, at) {
    if (!this.model || !this.model.root) return;
    const [begin, end] = this.span;
    const whole = [this.model.begin, Math.max(this.model.end, this.model.begin + 0.001)];
    const size = (end - begin) * by;
    if (size >= whole[1] - whole[0]) this.window = null;
    else if (size > 0.0005) {
      const pivot = begin + at * (end - begin);
      this.window = within([pivot - at * size, pivot + (1 - at) * size], whole);
    }
    this.draw();
  }

  pan(by) {
    if (!this.window) return;
    const [begin, end] = this.window;
    this.window = within([begin + by, end + by], [this.model.begin, this.model.end]);
    this.draw();
  }

  draw() {
    const width = this.scroller.clientWidth;
    if (!width || !this.model || !this.model.root) return;
    const ratio = window.devicePixelRatio || 1;
    const height = TOP + this.lanes.length * LANE + 12;
    this.canvas.width = width * ratio;
    this.canvas.height = Math.min(height * ratio, 32000);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const paint = this.canvas.getContext("2d");
    paint.scale(ratio, ratio);
    const style = getComputedStyle(this.element);
    const colours = new Map(); // a style is slow to ask, and there are as many bars as calls
    const colour = (name) => {
      if (!colours.has(name)) colours.set(name, style.getPropertyValue(`--${name}`).trim());
      return colours.get(name);
    };
    const [begin, end] = this.span;
    const scale = (width - 2 * EDGE) / (end - begin);
    const x = (time) => EDGE + (time - begin) * scale;
    this.axis(paint, colour, width, height, begin, end, x);
    this.area(paint, colour, x, width);
    paint.font = "11px system-ui, sans-serif";
    paint.textBaseline = "middle";
    this.lanes.forEach((lane, index) => this.lane(paint, colour, lane, TOP + index * LANE, x, width));
    const summary = `Timeline of ${dom.plural(this.model.calls, "call")}; ${this.note.textContent}`;
    this.canvas.setAttribute("aria-label", summary);
  }

  axis(paint, colour, width, height, begin, end, x) {
    const raw = (end - begin) / Math.max(2, width / 110);
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    paint.font = "11px system-ui, sans-serif";
    paint.textBaseline = "top";
    for (let number = Math.ceil((begin - this.model.begin) / step); ; number++) {
      const time = this.model.begin + number * step;
      if (time > end) break;
      paint.fillStyle = colour("line");
      paint.fillRect(x(time), 0, 1, height);
      paint.fillStyle = colour("faint");
      const name = `${(number * step).toFixed(digits)} s`;
      if (x(time) + 4 + paint.measureText(name).width < width) paint.fillText(name, x(time) + 4, 2);
    }
  }

  // How many model calls were in flight, over time.
  area(paint, colour, x, width) {
    if (!this.most) return;
    paint.fillStyle = colour("flight");
    const bottom = TOP - 8;
    const step = (bottom - 18) / this.most;
    const { times, numbers } = this.inFlight;
    let [from, number] = [x(times[0]), 0];
    let peak = 0;
    for (let at = 0; at < times.length; at++) {
      const to = x(times[at]);
      peak = Math.max(peak, number);
      if (to - from >= 1 || to > width) {
        if (peak && to > 0 && from < width) paint.fillRect(from, bottom - peak * step, to - from, peak * step);
        from = to;
        peak = 0;
        if (to > width) break;
      }
      number = numbers[at];
    }
  }

  lane(paint, colour, lane, y, x, width) {
    let covered = -1;
    const first = lane.bars[0];
    if (lane.run && lane.run.call && first) {
      const name = nameOf(lane.run.call);
      const left = x(first.start) - 6 - paint.measureText(name).width;
      paint.fillStyle = colour("faint");
      if (left > EDGE) paint.fillText(name, left, y + LANE / 2);
    }
    for (const bar of lane.bars) {
      const left = Math.max(-4, x(bar.start));
      const right = Math.min(width + 4, x(bar.end));
      if (right < 0) continue;
      if (left > width) break;
      const inner = bar.kind === "waits" || bar.kind === "queued";
      if (!inner && right <= covered && bar.node !== this.selected && bar.kind !== "error") continue;
      const size = Math.max(1.5, right - left - 0.5);
      paint.fillStyle = colour(`bar-${bar.kind}`);
      if (bar.kind === "queued") hatch(paint, colour("surface"), left, y + 3, size, LANE - 6);
      else if (bar.kind === "waits") paint.fillRect(left, y + LANE - 7, size, 3);
      else paint.fillRect(left, y + 3, size, LANE - 6);
      if (bar.node === this.selected && !inner) {
        paint.strokeStyle = colour("ink");
        paint.lineWidth = 2;
        paint.strokeRect(left, y + 3, size, LANE - 6);
      }
      const name = inner ? "" : lane.run ? (bar.kind === "model" ? nameOf(bar.node) : bar.kind === "start" ? "start" : "code") : nameOf(bar.node);
      const begin = bar.node.type === "call" ? Math.max(left, x(sentAt(bar.node))) : left; // behind the hatching
      if (name && right - begin > 16 + 6 * name.length) {
        paint.fillStyle = colour("bar-ink");
        paint.fillText(name, Math.max(begin, 0) + 5, y + LANE / 2 + (bar.kind === "code" ? -1 : 0));
      }
      covered = Math.max(covered, right);
    }
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const lane = this.lanes[Math.floor((event.clientY - box.top - TOP) / LANE)];
    if (!lane) return null;
    const [begin, end] = this.span;
    const scale = (end - begin) / (box.width - 2 * EDGE);
    const time = begin + (event.clientX - box.left - EDGE) * scale;
    let nearest = null;
    let distance = 4 * scale;
    for (const bar of lane.bars) {
      const away = time < bar.start ? bar.start - time : time > bar.end ? time - bar.end : 0;
      if (away < distance || (away === 0 && distance === 0)) [nearest, distance] = [bar, away];
      if (bar.start > time + distance) break;
    }
    return nearest;
  }

  listen() {
    let held = null;
    this.canvas.addEventListener("pointerdown", (event) => (held = { x: event.clientX, moved: false }));
    window.addEventListener("pointerup", () => setTimeout(() => (held = null)));
    this.canvas.addEventListener("pointermove", (event) => {
      if (held && event.buttons && Math.abs(event.clientX - held.x) > 3) {
        const [begin, end] = this.span;
        this.pan(((held.x - event.clientX) * (end - begin)) / this.canvas.clientWidth);
        held = { x: event.clientX, moved: true };
        return;
      }
      const bar = this.at(event);
      this.canvas.title = bar ? `${nameOf(bar.node)}: ${NAMES[bar.kind]}, ${dom.seconds(bar.end - bar.start)}` : "";
    });
    this.canvas.addEventListener("click", (event) => {
      if (held && held.moved) return;
      const bar = this.at(event);
      if (bar) this.select(bar.node);
    });
    this.canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, event.offsetX / this.canvas.clientWidth);
    }, { passive: false });
  }
}

const LANES = 2000;
const TOP = 64;
const LANE = 22;
const EDGE = 8;
const NAMES = { start: "starting, and loading the input", model: "the model's reply", code: "code", waits: "waiting for calls", llm: "model call", rlm: "RLM", queued: "waiting for its turn", error: "failed" };

function within([begin, end], [first, last]) {
  const shift = begin < first ? first - begin : end > last ? last - end : 0;
  return [begin + shift, end + shift];
}

// The times in which at least one of the calls was under way.
function together(calls, now) {
  const out = [];
  for (const call of calls) {
    const end = call.end ?? Math.max(now, call.start);
    const last = out[out.length - 1];
    if (last && call.start <= last[1]) last[1] = Math.max(last[1], end);
    else out.push([call.start, end]);
  }
  return out;
}

// When a call had stood in line: an RLM until it began, a call to a model as its end tells.
function sentAt(call) {
  if (call.child) return call.child.start ?? call.start;
  return call.start + Math.min(call.waited, call.seconds ?? 0);
}

// Which lane is free at a time, the first of them, when there may be as many as calls: a tree, in which each node is
// when the first of the lanes below it is free. The lanes are its last half.
class Room {
  constructor() {
    this.free = [Infinity, Infinity];
    this.lanes = 0;
  }

  // The number of the first lane that is free at `start`, or of another, taken until `end`.
  take(start, end) {
    let size = this.free.length / 2;
    let at = 1;
    if (this.free[1] <= start) {
      while (at < size) at = this.free[2 * at] <= start ? 2 * at : 2 * at + 1;
    } else {
      if (this.lanes === size) size = this.grow();
      at = size + this.lanes++;
    }
    const lane = at - size;
    this.free[at] = end;
    while (at > 1) {
      at >>= 1;
      this.free[at] = Math.min(this.free[2 * at], this.free[2 * at + 1]);
    }
    return lane;
  }

  grow() {
    const size = this.free.length;
    const free = new Array(2 * size).fill(Infinity);
    for (let lane = 0; lane < this.lanes; lane++) free[size + lane] = this.free[size / 2 + lane];
    for (let at = size - 1; at; at--) free[at] = Math.min(free[2 * at], free[2 * at + 1]);
    this.free = free;
    return size;
  }
}

// How many model calls are in flight from each time on, of turns and of code; a call that is an RLM counts as those it
// makes.
function flight(model, now) {
  const [begun, ended] = [[], []];
  for (const run of model.runs.values())
    for (const turn of run.turns) {
      for (const said of [turn.summary, turn.reply])
        if (said) {
          begun.push(said.end - said.seconds);
          ended.push(said.end);
        }
      for (const call of turn.calls)
        if (!call.child) {
          begun.push(sentAt(call));
          ended.push(call.end ?? Math.max(now, call.start));
        }
    }
  const [starts, ends] = [Float64Array.from(begun).sort(), Float64Array.from(ended).sort()];
  const times = new Float64Array(2 * starts.length);
  const numbers = new Int32Array(2 * starts.length);
  let [start, end] = [0, 0];
  for (let at = 0; at < times.length; at++) {
    const begins = end === ends.length || (start < starts.length && starts[start] < ends[end]);
    times[at] = begins ? starts[start++] : ends[end++];
    numbers[at] = start - end;
  }
  return { times, numbers };
}

function hatch(paint, background, left, top, width, height) {
  paint.save();
  const stripes = paint.fillStyle;
  paint.beginPath();
  paint.rect(left, top, width, height);
  paint.clip();
  paint.fillStyle = background;
  paint.fillRect(left, top, width, height);
  paint.strokeStyle = stripes;
  paint.lineWidth = 1.5;
  for (let x = left - height; x < left + width; x += 5) {
    paint.beginPath();
    paint.moveTo(x, top + height);
    paint.lineTo(x + height, top);
    paint.stroke();
  }
  paint.strokeRect(left, top, width, height);
  paint.restore();
}
