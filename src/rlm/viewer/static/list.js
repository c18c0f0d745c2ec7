"use strict";
// A list of which only the rows in sight are elements, so that its length costs nothing.

class VirtualList {
  // `draw(item, index)` makes a row's element; `pick(item)` is told when one is clicked.
  constructor({ rowHeight, draw, label, role }) {
    this.rowHeight = rowHeight;
    this.draw = draw;
    this.items = [];
    this.inner = dom.el("div", { class: "inner", role: "presentation" });
    this.element = dom.el("div", { class: "list", role: role || "listbox", tabindex: "0", "aria-label": label }, this.inner);
    this.element.addEventListener("scroll", () => this.later());
    this.resizes = new ResizeObserver(() => this.later());
    this.resizes.observe(this.element);
    this.pending = false;
  }

  set(items) {
    this.items = items;
    this.inner.style.height = `${items.length * this.rowHeight}px`;
    this.render();
  }

  later() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.render();
    });
  }

  render() {
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, Math.floor(scrollTop / this.rowHeight) - 8);
    const last = Math.min(this.items.length, Math.ceil((scrollTop + clientHeight) / this.rowHeight) + 8);
    const rows = [];
    for (let index = first; index < last; index++) {
      const row = this.draw(this.items[index], index);
      row.style.top = `${index * this.rowHeight}px`;
      row.style.height = `${this.rowHeight}px`;
      rows.push(row);
    }
    this.inner.replaceChildren(...rows);
  }

  reveal(index) {
    const top = index * this.rowHeight;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = Math.max(0, top - this.rowHeight);
    else if (top + 2 * this.rowHeight > scrollTop + clientHeight) this.element.scrollTop = top + 2 * this.rowHeight - clientHeight;
    this.render();
  }
}
