// Mouse, pen and touch on the surface: select, rubber band, drag and drop, long press.
import { el } from "./shell.js";

const MOVED = 5; // pixels from which a press is a drag
const LONG_PRESS_MS = 500;
const EDGE = 48; // pixels from the edge of the surface where a drag scrolls

export class Pointer {
  /** `act` = {open(place), menu(place, x, y), drop(cells, bin)}. */
  constructor(shown, act) {
    Object.assign(this, { shown, act, surface: shown.surface, view: shown.view });
    this.mouse = null; // where the mouse is, in the window
    this.from = null; // where shift+click extends from
    const { canvas } = shown;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("click", (event) => event.pointerType === "touch" && this.#tap(event));
    canvas.addEventListener("dblclick", (event) => this.isTouch || this.#withCell(event, (place) => act.open(place)));
    canvas.addEventListener("contextmenu", (event) => this.#menu(event));
    this.surface.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") this.mouse = [event.clientX, event.clientY];
    });
    this.surface.addEventListener("pointerleave", () => (this.mouse = null));
    addEventListener("keydown", (event) => event.key === "Escape" && this.#end());
  }

  /** Return x and y on the canvas of a point of the window. */
  #point(x, y) {
    const box = this.shown.canvas.getBoundingClientRect();
    return [x - box.left, y - box.top];
  }

  #at(event) {
    if (event.target.closest("button, .bin-head, .group-head")) return null;
    return this.view.at(...this.#point(event.clientX, event.clientY));
  }

  #withCell(event, run) {
    const place = this.#at(event);
    if (place) run(place);
  }

  /** The cell under the mouse, also after the surface has moved below it. */
  hovered() {
    return this.mouse && this.view.at(...this.#point(...this.mouse));
  }

  #down(event) {
    this.isTouch = event.pointerType === "touch"; // a double click does not say so
    if (event.button !== 0 || event.target.closest("button")) return;
    const start = [event.clientX, event.clientY];
    const place = this.#at(event);
    if (this.isTouch) {
      if (place) this.#press(place, start);
      return;
    }
    event.preventDefault();
    this.shown.list.focus({ preventScroll: true });
    const origin = this.#point(...start);
    this.drag = { start, place, origin, kind: null, last: start };
    const stop = new AbortController();
    this.drag.stop = stop;
    addEventListener("pointermove", (e) => this.#move(e), { signal: stop.signal });
    addEventListener("pointerup", (e) => this.#up(e), { signal: stop.signal });
    addEventListener("pointercancel", () => this.#end(), { signal: stop.signal });
  }

  /** The menu of a cell: at the mouse, or of the menu key at the cell of the keyboard. */
  #menu(event) {
    event.preventDefault();
    if (event.pointerType === "touch") return; // a long press selects
    const place = event.button === 2 ? this.#at(event) : this.shown.active;
    if (!place) return;
    const box = this.shown.canvas.getBoundingClientRect();
    const [x, y] = event.button === 2 ? [event.clientX - box.left, event.clientY - box.top] : this.view.place(...place);
    this.act.menu(place, box.left + x, box.top + y);
  }

  #toggle([group, slot]) {
    this.shown.select([group.slots[slot]], { toggle: true });
  }

  /** Touch: a long press selects, or not. */
  #press(place, [x, y]) {
    this.pressed = false;
    const stop = new AbortController();
    const timer = setTimeout(() => {
      this.pressed = true;
      stop.abort();
      this.#toggle(place);
    }, LONG_PRESS_MS);
    const end = () => (clearTimeout(timer), stop.abort());
    addEventListener("pointermove", (e) => Math.hypot(e.clientX - x, e.clientY - y) > MOVED && end(), { signal: stop.signal });
    for (const name of ["pointerup", "pointercancel"]) addEventListener(name, end, { signal: stop.signal });
  }

  /** Touch: a tap looks closer, or selects one more where something is selected. */
  #tap(event) {
    if (this.pressed) this.pressed = false;
    else this.#withCell(event, (place) => (this.shown.selection.size ? this.#toggle(place) : this.act.open(place)));
  }

  #move(event) {
    const { drag } = this;
    drag.last = [event.clientX, event.clientY];
    if (!drag.kind) {
      if (Math.hypot(event.clientX - drag.start[0], event.clientY - drag.start[1]) < MOVED) return;
      const isCell = drag.place && this.view.isLive(...drag.place) && !event.shiftKey;
      if (isCell && this.shown.cells.canChange) this.#beginDrag(event);
      else this.#beginBand(event);
      this.#edges();
    }
    this.#follow();
  }

  #beginDrag() {
    const { drag, shown } = this;
    const cell = drag.place[0].slots[drag.place[1]];
    if (!shown.selection.has(cell)) shown.select([cell]);
    drag.kind = "drag";
    drag.cells = [...shown.selection];
    const picture = el("img", { alt: "", src: `/api/v1/cells/${shown.cells.ids[cell]}/thumbnail` });
    drag.node = el("div", { class: "dragged", "aria-hidden": "true" }, picture, el("b", {}, String(drag.cells.length)));
    document.body.append(drag.node);
    document.body.classList.add("is-dragging");
  }

  #beginBand(event) {
    const { drag, shown } = this;
    drag.kind = "band";
    drag.before = event.ctrlKey || event.metaKey ? [...shown.selection] : [];
    drag.node = el("div", { class: "band" });
    shown.canvas.append(drag.node);
  }

  /** The bin under a point of the window: on the surface, or its entry in a list of bins. */
  #binAt(x, y) {
    const under = document.elementFromPoint(x, y);
    const tab = under?.closest("[data-bin]");
    if (tab) return Number(tab.dataset.bin);
    if (!under || !this.surface.contains(under)) return null;
    return this.view.binAt(this.#point(x, y)[1]);
  }

  #follow() {
    const { drag } = this;
    const [x, y] = drag.last;
    if (drag.kind === "drag") {
      drag.node.style.transform = `translate(${x + 10}px, ${y + 10}px)`;
      const bin = this.#binAt(x, y);
      if (bin === drag.bin) return;
      drag.bin = bin;
      for (const node of document.querySelectorAll("[data-bin]")) {
        node.classList.toggle("is-target", bin !== null && Number(node.dataset.bin) === bin);
      }
      return;
    }
    const [px, py] = this.#point(x, y);
    const [ox, oy] = drag.origin;
    const box = [Math.min(px, ox), Math.min(py, oy), Math.max(px, ox), Math.max(py, oy)];
    drag.node.style.transform = `translate(${box[0]}px, ${box[1]}px)`;
    drag.node.style.width = `${box[2] - box[0]}px`;
    drag.node.style.height = `${box[3] - box[1]}px`;
    this.shown.select([...drag.before, ...this.view.within(...box)]);
  }

  /** Scroll while the pointer is held near an edge. */
  #edges() {
    const { drag } = this;
    const box = this.surface.getBoundingClientRect();
    const y = drag.last[1];
    const inside = drag.last[0] >= box.left && drag.last[0] <= box.right;
    const step = y < box.top + EDGE ? y - box.top - EDGE : Math.max(0, y - box.bottom + EDGE);
    if (inside && step) {
      this.surface.scrollTop += step / 3;
      this.#follow();
    }
    drag.frame = requestAnimationFrame(() => this.drag === drag && this.#edges());
  }

  #up(event) {
    const { drag } = this;
    if (drag.kind === "drag" && drag.bin != null) {
      const { cells } = this.shown;
      const bins = new Set(drag.cells.map((i) => cells.label[i] + 1));
      const { bin } = drag;
      const gone = drag.cells;
      this.#end();
      if (bins.size > 1 || !bins.has(bin)) this.act.drop(gone, bin);
      return;
    }
    const { place, kind } = drag;
    this.#end();
    if (!kind) this.#click(event, place);
  }

  #click(event, place) {
    const { shown } = this;
    if (!place) {
      shown.select([]);
      return;
    }
    const [group, slot] = place;
    shown.setActive(place, { reveal: false });
    if (event.shiftKey && this.from) shown.select(this.range(this.from, place), { add: event.ctrlKey || event.metaKey });
    else {
      const isMore = event.ctrlKey || event.metaKey;
      const isOnly = shown.selection.size === 1 && shown.selection.has(group.slots[slot]);
      shown.select(isOnly && !isMore ? [] : [group.slots[slot]], { toggle: isMore });
      this.from = place;
    }
  }

  /** Cells from one place to another, in the order of the surface. */
  range(a, b) {
    const groups = this.view.shown;
    const order = ([group, slot]) => groups.indexOf(group) * 1e7 + slot;
    const [first, last] = order(a) <= order(b) ? [a, b] : [b, a];
    const found = [];
    for (let g = groups.indexOf(first[0]); g >= 0 && g <= groups.indexOf(last[0]); g++) {
      const group = groups[g];
      const from = group === first[0] ? first[1] : 0;
      const to = group === last[0] ? last[1] : group.slots.length - 1;
      for (let slot = from; slot <= to; slot++) if (this.view.isLive(group, slot)) found.push(group.slots[slot]);
    }
    return found;
  }

  #end() {
    const { drag } = this;
    if (!drag) return;
    this.drag = null;
    drag.stop.abort();
    cancelAnimationFrame(drag.frame);
    drag.node?.remove();
    document.body.classList.remove("is-dragging");
    for (const node of document.querySelectorAll(".is-target")) node.classList.remove("is-target");
  }
}
