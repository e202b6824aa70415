// The large view of one cell: its picture, what the model says, cells like it, what was done.
import { call } from "./api.js";
import { swatch } from "./bins.js";
import { Stage } from "./stage.js";
import { announce, el, isOwn } from "./shell.js";

const percent = (p) => (p >= 0.001 ? `${(100 * p).toFixed(1)} %` : "< 0.1 %");
const LEAST_SHOWN = 0.001; // probabilities below this are not listed
const LONG = 12; // lines of a history before it is cut

export class Large {
  /** `act` = {put, accept, undo, redo, binOfKey, keys}. */
  constructor(dialog, shown, act) {
    Object.assign(this, { dialog, shown, act, cells: shown.cells });
    this.place = null;
    this.title = el("h2");
    this.badge = el("span", { class: "badge" });
    this.path = el("span", { class: "path" });
    this.side = el("div", { class: "side", tabindex: "0", role: "region", "aria-label": "What is known of the cell" });
    this.stage = new Stage();
    const step = (by, name, key) => el("button", { type: "button", title: key, onclick: () => this.step(by) }, name);
    const foot = el("div", { class: "large-foot", role: "group", "aria-label": "Put into a class" },
      el("button", { type: "button", class: "primary", title: "x", onclick: () => this.#accept() }, "Accept"));
    for (let bin = 0; bin <= this.cells.classes.length; bin++) foot.append(this.#binButton(bin));
    dialog.append(
      el("div", { class: "large-head" }, this.title, this.badge, this.path, step(-1, "←", "Previous"), step(1, "→", "Next"),
        el("button", { type: "button", class: "icon", "aria-label": "Close", onclick: () => dialog.close() }, "×")),
      this.stage.node, this.side, foot);
    dialog.querySelector("[title=Previous]").setAttribute("aria-label", "Previous cell");
    dialog.querySelector("[title=Next]").setAttribute("aria-label", "Next cell");
    dialog.addEventListener("keydown", (event) => this.#key(event));
    dialog.addEventListener("close", () => this.#closed());
  }

  #binButton(bin) {
    const key = this.act.keys[bin];
    return el("button", { type: "button", "data-put": bin, title: this.cells.binName(bin), disabled: !this.cells.canChange,
      onclick: () => this.#put(bin) }, swatch(this.cells, bin), this.cells.binCode(bin), key ? el("kbd", {}, key) : null);
  }

  get cell() {
    return this.place[0].slots[this.place[1]];
  }

  open(place) {
    this.place = place;
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.focus();
    this.#show();
  }

  /** Go on to the cell before or after, over the bins as they are on the surface. */
  step(by) {
    const next = this.shown.view.next(...this.place, by);
    if (next) this.open(next);
    else announce(by > 0 ? "This is the last cell." : "This is the first cell.");
  }

  #put(bin) {
    const { place } = this;
    this.act.put([this.cell], bin);
    if (this.place === place) this.step(1);
  }

  #accept() {
    this.act.accept([this.cell]);
    if (this.cells.label[this.cell] >= 0) this.step(1);
  }

  #closed() {
    this.stage.clear();
    this.shown.setActive(this.place);
    this.shown.list.focus({ preventScroll: true });
  }

  #key(event) {
    const { key } = event;
    const isControl = event.ctrlKey || event.metaKey;
    const low = key.toLowerCase();
    if (isControl && low === "z") (event.shiftKey ? this.act.redo() : this.act.undo());
    else if (isControl && low === "y") this.act.redo();
    else if (isControl || event.altKey) return;
    else if (key === "ArrowRight" || key === "ArrowDown") this.step(1);
    else if (key === "ArrowLeft" || key === "ArrowUp") this.step(-1);
    else if (key === "Delete" || key === "Backspace") this.#put(0);
    else if (this.act.binOfKey.has(low)) this.#put(this.act.binOfKey.get(low));
    else if (low === "x") this.#accept();
    else if (low === "u") this.act.undo();
    else if (!this.stage.key(key)) return;
    event.preventDefault();
  }

  /** A change was confirmed: class and history of the cell in sight may be others now. */
  confirmed() {
    if (this.dialog.open) this.#show({ isSame: true });
  }

  async #show({ isSame = false } = {}) {
    const i = this.cell;
    const id = this.cells.ids[i];
    this.#head(i);
    if (!isSame) {
      this.side.replaceChildren(el("p", { class: "quiet" }, "…"));
      this.stage.clear();
    }
    let found;
    try {
      found = await call(`cells/${id}?reading=${this.cells.reading}`);
    } catch (error) {
      if (this.cell === i) this.side.replaceChildren(el("p", { class: "wrong", role: "alert" }, error.message));
      return;
    }
    if (!this.dialog.open || this.cell !== i) return;
    if (!isSame) {
      this.stage.show(found);
      this.cells.change(this.cells.seen[i] ? [] : [i], "seen");
      announce(`${this.title.textContent}, ${this.badge.textContent}`);
    }
    this.path.textContent = found.field ? `${found.field}, cell ${found.number}` : found.path;
    this.path.title = found.path;
    const isKept = isSame && this.likes;
    if (!isKept) this.likes = el("div");
    const size = el("p", { class: "quiet small" }, `Area of the cell: ${this.cells.sizeOf(i)}`);
    this.side.replaceChildren(...this.#model(found), size, this.likes, ...this.#history(found));
    if (!isKept) this.#references(id, i, found.references);
  }

  #head(i) {
    const bin = this.cells.label[i] + 1;
    this.title.textContent = `${bin ? `${this.cells.binCode(bin)} · ` : ""}${this.cells.binName(bin)}`;
    this.badge.textContent = this.cells.seen[i] ? "seen" : "unseen";
    for (const button of this.dialog.querySelectorAll("[data-put]")) {
      button.setAttribute("aria-pressed", Number(button.dataset.put) === bin);
    }
  }

  #model({ probabilities, candidates, flag, model_label: label }) {
    const rows = Object.entries(probabilities)
      .sort((a, b) => b[1] - a[1])
      .filter(([code, p]) => p >= LEAST_SHOWN || candidates.includes(code));
    const body = el("tbody");
    for (const [code, p] of rows) {
      const bar = el("i");
      bar.style.width = `${100 * p}%`;
      const row = el("tr", {}, el("th", { scope: "row" }, code), el("td", {}, el("span", { class: "bar", "aria-hidden": "true" }, bar)), el("td", { class: "n" }, percent(p)));
      if (candidates.includes(code)) {
        row.classList.add("in-set");
        row.firstChild.append(el("span", { class: "hidden" }, " (may well be)"));
      }
      body.append(row);
    }
    const parts = [el("h3", {}, `The model: ${label ?? "unidentified"}`)];
    if (flag) parts.push(el("p", { class: "small" }, `⚑ ${flag}`));
    if (rows.length) parts.push(el("table", { class: "probabilities" }, body));
    else parts.push(el("p", { class: "quiet small" }, "It gave no probabilities for this cell."));
    if (candidates.length) {
      const { set_share: share } = JSON.parse(document.getElementById("session").textContent);
      const text = `● may well be: ${candidates.join(", ")}`;
      const promise = share ? ` The true class is among the marked ones in ${Math.round(100 * share)} % of cells like those of training.` : "";
      parts.push(el("p", { class: "quiet small" }, text + (promise ? `.${promise}` : "")));
    }
    return parts;
  }

  async #references(id, i, hasReferences) {
    const place = this.likes;
    const code = this.cells.label[i] >= 0 ? this.cells.binCode(this.cells.label[i] + 1) : null;
    const lists = [
      hasReferences && ["Reference cells most like it", call(`cells/${id}/nearest`), true],
      code && [`Typical ${code}`, call(`atlas/${encodeURIComponent(code)}`), false],
    ].filter(Boolean);
    for (const [title, answer, isNear] of lists) {
      const { cells: found } = await answer.catch(() => ({ cells: [] }));
      if (!found.length) continue;
      const items = found.slice(0, 6).map(({ label, similarity, url }) =>
        el("li", {}, el("img", { src: url, alt: `${label ?? "unidentified"}, for comparison`, loading: "lazy" }),
          isNear ? el("span", {}, `${label ?? "?"} ${similarity.toFixed(2)}`) : null));
      const own = found.some(isOwn) ? " of this review" : "";
      place.append(el("h3", {}, title + own), el("ul", { class: "likes" }, ...items));
    }
  }

  #history({ history }) {
    const lines = history.slice(-LONG).reverse().map(({ at, user, kind, before, after }) => {
      const when = new Date(at).toLocaleString("en-GB", { dateStyle: "short", timeStyle: "short" });
      const what = before === after ? "" : `: ${before ?? "unidentified"} → ${after ?? "unidentified"}`;
      return el("li", {}, `${when}, ${user}: ${kind}${what}`);
    });
    return lines.length ? [el("h3", {}, "What was done"), el("ul", { class: "history" }, ...lines)] : [];
  }
}
