"use strict";
// Elements, numbers and texts for the page. Whatever comes from a log becomes text nodes here, never markup.

const dom = (() => {
  const LONGEST = 20000;
  // What would act on a reader rather than be read: C0 and C1 controls, and marks that reorder text.
  const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/;

  function el(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "class") element.className = value;
      else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : String(value));
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return element;
  }

  function picture(character) {
    const code = character.charCodeAt(0);
    if (code < 32) return String.fromCharCode(0x2400 + code);
    if (code === 127) return "\u2421";
    return "U+" + code.toString(16).toUpperCase().padStart(4, "0");
  }

  // Appends a text, its controls shown as pictures, and what was searched for marked.
  function appendText(parent, text, words) {
    let at = 0;
    const wanted = words ? words.toLowerCase() : "";
    const lower = wanted ? text.toLowerCase() : "";
    while (wanted && lower.length === text.length) {
      const found = lower.indexOf(wanted, at);
      if (found < 0) break;
      appendVisible(parent, text.slice(at, found));
      const mark = el("mark");
      appendVisible(mark, text.slice(found, found + wanted.length));
      parent.append(mark);
      at = found + wanted.length;
    }
    appendVisible(parent, text.slice(at));
  }

  function appendVisible(parent, text) {
    if (!CONTROLS.test(text)) {
      if (text) parent.append(text);
      return;
    }
    for (const piece of text.replaceAll("\r\n", "\n").split(new RegExp("(" + CONTROLS.source + ")"))) {
      if (piece.length === 1 && CONTROLS.test(piece)) parent.append(el("span", { class: "control", title: "a control character" }, picture(piece)));
      else if (piece) parent.append(piece);
    }
  }

  // A text of the log: a string, or a list of strings and spans of the context.
  function text(value, words) {
    const holder = el("div", { class: "text" });
    const parts = Array.isArray(value) ? value : [String(value ?? "")];
    let shown = 0;
    for (let index = 0; index < parts.length; index++) {
      const part = parts[index];
      if (typeof part !== "string") {
        holder.append(span(part));
        continue;
      }
      const room = LONGEST - shown;
      if (part.length > room) {
        appendText(holder, part.slice(0, room), words);
        const more = el("button", { class: "more", type: "button" }, `Show all ${count(sizeOf(value))} characters`);
        more.addEventListener("click", () => {
          more.remove();
          appendText(holder, part.slice(room), words);
          for (const rest of parts.slice(index + 1)) {
            if (typeof rest === "string") appendText(holder, rest, words);
            else holder.append(span(rest));
          }
        });
        holder.append(more);
        return holder;
      }
      appendText(holder, part, words);
      shown += part.length;
    }
    if (!shown && parts.every((part) => typeof part === "string")) holder.append(el("span", { class: "faint" }, "(empty)"));
    return holder;
  }

  function span(part) {
    const chip = el("span", { class: "span", title: "a slice of the context, which the log does not copy" });
    appendVisible(chip, place(part));
    return chip;
  }

  function place(part) {
    const keys = (part.path || []).map((key) => `[${JSON.stringify(key)}]`).join("");
    return `context${keys}[${count(part.at)}\u2009:\u2009${count(part.at + part.n)}]`;
  }

  // Places in the context, each `[at, n, path]`, the first few at once; those that follow each other are one.
  function places(found, total, most) {
    const list = [];
    for (const [at, n, path] of found) {
      const last = list[list.length - 1];
      if (last && last[0] + last[1] === at && String(last[2]) === String(path)) last[1] += n;
      else list.push([at, n, path]);
    }
    const holder = el("div", { class: "places" }, list.slice(0, most).flatMap((one) => [chip(one), " "]));
    if (list.length > most) {
      const more = el("button", { class: "more", type: "button" }, `Show ${count(list.length - most)} more`);
      more.addEventListener("click", () => more.replaceWith(...list.slice(most).flatMap((one) => [chip(one), " "])));
      holder.append(more);
    }
    if (total > found.length) holder.append(`and ${count(total - found.length)} more`);
    return holder;
  }

  // What a record says that a model had been given of the input.
  function seen(record) {
    const list = (record.seen && record.seen.spans) || [];
    return list.length ? places(list.map(([start, n, at, ...path]) => [at ?? start, n, path]), list.length, 12) : null;
  }

  function chip([at, n, path]) {
    return el("span", { class: "span" }, label(place({ at, n, path })));
  }

  function sizeOf(value) {
    if (typeof value === "string") return value.length;
    return value.reduce((size, part) => size + (typeof part === "string" ? part.length : part.n), 0);
  }

  function label(value) {
    const holder = document.createDocumentFragment();
    appendVisible(holder, String(value ?? ""));
    return holder;
  }

  function count(number) {
    return number.toLocaleString("en-US");
  }

  function plural(number, noun) {
    return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
  }

  function seconds(value) {
    if (value === null || value === undefined) return "";
    if (value < 0.0995) return `${(1000 * value).toFixed(value < 0.00995 ? 1 : 0)} ms`;
    if (value < 9.95) return `${value.toFixed(2)} s`;
    if (value < 120) return `${value.toFixed(1)} s`;
    if (value < 7200) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
    return `${(value / 3600).toFixed(1)} h`;
  }

  function money(value) {
    if (value === null || value === undefined) return "unknown";
    if (value === 0) return "$0";
    return value < 0.1 ? `$${value.toPrecision(3)}` : `$${value.toFixed(2)}`;
  }

  function date(unix) {
    if (!unix) return "";
    const when = new Date(1000 * unix);
    const two = (number) => String(number).padStart(2, "0");
    return `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())} ${two(when.getHours())}:${two(when.getMinutes())}`;
  }

  function percent(share) {
    const value = 100 * share;
    if (value > 0 && value < 0.1) return "<0.1%";
    if (value > 99.9 && value < 100) return ">99.9%";
    return `${value < 10 || value > 90 ? Number(value.toFixed(1)) : Math.round(value)}%`;
  }

  return { el, text, label, place, places, chip, seen, sizeOf, count, plural, seconds, money, date, percent };
})();
