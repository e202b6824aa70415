// The picture of one cell with zoom and pan, its outline, a heat map, and its field.
import { session } from "./api.js";
import { el } from "./shell.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST = 24; // screen pixels for one of the picture
const STEP = 1.25; // of the zoom

export class Stage {
  constructor() {
    this.inner = el("div", { class: "stage-inner" });
    this.note = el("p", { class: "stage-note", hidden: true });
    const toggle = (name, key, run) => el("button", { type: "button", "aria-pressed": "false", title: key, onclick: run }, name);
    this.outline = toggle("Outline", "o", () => this.#flip(this.outline));
    this.heat = toggle("Heat map", "h", () => this.#flip(this.heat));
    this.field = toggle("In its field", "f", () => this.#flip(this.field, true));
    const zoom = (name, label, by) => el("button", { type: "button", class: "zoom", "aria-label": label, onclick: () => this.zoom(by) }, name);
    this.node = el("div", { class: "stage" }, this.inner, this.note,
      el("div", { class: "stage-tools" }, this.outline, this.heat, this.field, zoom("+", "Larger", STEP), zoom("−", "Smaller", 1 / STEP),
        el("button", { type: "button", title: "0", onclick: () => this.fit() }, "Fit")));
    this.outline.setAttribute("aria-pressed", "true");
    this.pointers = new Map();
    this.node.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? STEP : 1 / STEP, event.clientX, event.clientY);
    }, { passive: false });
    this.node.addEventListener("pointerdown", (event) => this.#down(event));
    this.node.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) this.node.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    new ResizeObserver(() => this.size && this.fit()).observe(this.node);
  }

  clear() {
    this.inner.replaceChildren();
    this.note.hidden = true;
    this.size = null;
  }

  /** Show a cell: the answer of /api/v1/cells/ID. */
  show(cell) {
    this.cell = cell;
    this.field.hidden = !cell.around;
    this.outline.hidden = !cell.outline;
    this.heat.hidden = !session.heat;
    this.heat.setAttribute("aria-pressed", "false");
    if (!cell.around) this.field.setAttribute("aria-pressed", "false");
    this.#draw();
  }

  #isOn(button) {
    return !button.hidden && button.getAttribute("aria-pressed") === "true";
  }

  #flip(button) {
    button.setAttribute("aria-pressed", !this.#isOn(button));
    this.#draw();
  }

  #say(text) {
    this.note.textContent = text;
    this.note.hidden = false;
  }

  #draw() {
    const { cell } = this;
    const at = `/api/v1/cells/${cell.id}`;
    const isField = this.#isOn(this.field);
    const picture = el("img", { alt: isField ? "The cell in its field" : "The cell", draggable: "false" });
    this.note.hidden = true;
    picture.addEventListener("load", () => {
      const size = [picture.naturalWidth, picture.naturalHeight];
      if (String(size) === String(this.size)) return;
      this.size = size;
      this.fit();
    });
    picture.addEventListener("error", () => this.#say(`The image is missing: ${cell.path}`));
    picture.src = `${at}/${isField ? "around" : "full"}`;
    this.inner.replaceChildren(picture);
    if (this.#isOn(this.heat) && !isField) {
      const heat = el("img", { class: "heat", alt: "Where the model looked", draggable: "false", src: `${at}/heat` });
      heat.addEventListener("error", () => this.#say("The model gives no heat map for this cell."));
      this.inner.append(heat);
    }
    if (this.#isOn(this.outline) && !isField && cell.size) this.inner.append(this.#drawOutline(cell));
  }

  #drawOutline({ outline, size }) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
    svg.setAttribute("aria-hidden", "true");
    for (const name of ["under", "over"]) {
      const line = document.createElementNS(SVG, "polygon");
      line.setAttribute("points", outline.map((point) => point.join(",")).join(" "));
      line.setAttribute("class", name);
      svg.append(line);
    }
    return svg;
  }

  fit() {
    if (!this.size) return;
    const [w, h] = this.size;
    const { clientWidth, clientHeight } = this.node;
    this.scale = Math.min(clientWidth / w, clientHeight / h) * 0.94;
    this.x = (clientWidth - w * this.scale) / 2;
    this.y = (clientHeight - h * this.scale) / 2;
    this.#apply();
  }

  /** Zoom about a point of the window, or about the middle. */
  zoom(by, clientX = null, clientY = null) {
    if (!this.size) return;
    const box = this.node.getBoundingClientRect();
    const px = clientX === null ? box.width / 2 : clientX - box.left;
    const py = clientY === null ? box.height / 2 : clientY - box.top;
    const scale = Math.min(MOST, Math.max(0.05, this.scale * by));
    this.x = px - ((px - this.x) * scale) / this.scale;
    this.y = py - ((py - this.y) * scale) / this.scale;
    this.scale = scale;
    this.#apply();
  }

  #apply() {
    const { style } = this.inner;
    style.width = `${this.size[0]}px`;
    style.height = `${this.size[1]}px`;
    style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
  }

  #down(event) {
    if (event.target.closest("button")) return;
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    this.node.setPointerCapture(event.pointerId);
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before || !this.size) return;
    const now = [event.clientX, event.clientY];
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const apart = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]) || 1;
      this.zoom(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    } else {
      this.x += now[0] - before[0];
      this.y += now[1] - before[1];
      this.#apply();
    }
    this.pointers.set(event.pointerId, now);
  }

  /** Returns whether a key is one of these. */
  key(key) {
    const run = {
      "+": () => this.zoom(STEP), "-": () => this.zoom(1 / STEP), 0: () => this.fit(),
      o: () => !this.outline.hidden && this.#flip(this.outline),
      h: () => !this.heat.hidden && this.#flip(this.heat),
      f: () => !this.field.hidden && this.#flip(this.field),
    }[key];
    run?.();
    return run !== undefined;
  }
}
