// Several cells side by side, whole, at one scale.
import { el, plural } from "./shell.js";

const MOST = 12; // of which each can still be judged
const [GAP, CAPTION] = [12, 44]; // pixels between cells, and below one

export class Compare {
  /** `act` = {open}. */
  constructor(dialog, shown, act) {
    Object.assign(this, { dialog, shown, act });
    this.title = el("h2", { id: "compare-title" });
    this.list = el("ul");
    dialog.append(
      el("div", { class: "large-head" }, this.title, el("span", { class: "tool-gap" }),
        el("button", { type: "button", class: "icon", "aria-label": "Close", onclick: () => dialog.close() }, "×")),
      this.list);
    dialog.addEventListener("close", () => this.list.replaceChildren());
  }

  /** Can so many cells be compared? */
  static takes(n) {
    return n > 1 && n <= MOST;
  }

  open(cells) {
    this.title.textContent = `${plural(cells.length, "cell")} at one scale`;
    this.list.replaceChildren(...cells.map((i) => this.#item(i)));
    this.dialog.showModal();
    const [columns, side] = this.#largest(cells.length);
    this.list.style.gridTemplateColumns = `repeat(${columns}, ${side}px)`;
  }

  /** How many abreast, and how large, so that all are in sight and as large as can be. */
  #largest(n) {
    const { clientWidth, clientHeight } = this.list;
    let best = [1, 0];
    for (let columns = 1; columns <= n; columns++) {
      const side = Math.min(clientWidth / columns - GAP, clientHeight / Math.ceil(n / columns) - CAPTION);
      if (side > best[1]) best = [columns, Math.floor(side)];
    }
    return best;
  }

  #item(i) {
    const { cells, view } = this.shown;
    const bin = cells.label[i] + 1;
    const picture = el("img", { alt: `Cell ${cells.ids[i]}`, src: `/api/v1/cells/${cells.ids[i]}/full` });
    picture.addEventListener("load", () => this.#scale());
    const look = () => (this.dialog.close(), this.act.open(view.placeOf(i)));
    return el("li", {}, el("button", { type: "button", title: "Look closer", onclick: look },
      picture, el("span", {}, el("b", {}, cells.binCode(bin)), ` ${cells.sizeOf(i)} · ${cells.binName(bin)}`)));
  }

  #scale() {
    const pictures = [...this.list.querySelectorAll("img")];
    const most = Math.max(...pictures.map((one) => Math.max(one.naturalWidth, one.naturalHeight)));
    for (const one of pictures) one.style.width = `${(100 * one.naturalWidth) / most}%`;
  }
}
