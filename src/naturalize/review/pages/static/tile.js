// One cell in the document: its picture, and a line below it.
import { el, set, write } from "./shell.js";

export class Tile {
  constructor(cells, view, group, slot) {
    Object.assign(this, { cells, view, group, slot, cell: group.slots[slot] });
    this.picture = el("img", { alt: "", draggable: "false", decoding: "async" });
    this.text = el("span", { class: "cell-text" });
    this.node = el("div", { class: "cell", role: "option", id: `cell-${this.cell}-${group.bin}` }, this.picture, this.text);
    this.picture.addEventListener("load", () => this.node.classList.add("is-loaded"));
    this.picture.addEventListener("error", () => this.node.classList.add("is-missing"));
  }

  get isLoaded() {
    return this.node.classList.contains("is-loaded");
  }

  load() {
    if (!this.picture.src) this.picture.src = `/api/v1/cells/${this.cells.ids[this.cell]}/thumbnail`;
  }

  remove() {
    this.node.remove();
    if (!this.picture.complete) this.picture.src = ""; // what nobody looks at is not fetched
  }

  /** Stand where the view says. */
  put() {
    const [x, y] = this.view.place(this.group, this.slot);
    this.node.style.transform = `translate(${x}px, ${y}px)`;
  }

  /** Show the state of the cell. */
  paint(isSelected) {
    const { cells, view, node, cell: i } = this;
    const isGone = !view.isLive(this.group, this.slot);
    const [bin, model] = [cells.label[i] + 1, cells.model[i] + 1];
    const flag = cells.flagOf(i);
    node.classList.toggle("is-gone", isGone);
    node.classList.toggle("is-unseen", !cells.seen[i]);
    node.classList.toggle("is-flagged", flag !== "");
    set(node, "aria-selected", isSelected && !isGone);
    let text = flag ? `⚑ ${flag}` : "";
    if (isGone) text = `→ ${bin === this.group.bin ? "" : cells.binCode(bin)}`;
    else if (bin !== model) text = `was ${cells.binCode(model)}`;
    else if (view.choice.order === "size" && !flag) text = cells.sizeOf(i);
    write(this.text, text);
    const parts = [`Cell ${cells.ids[i]}`, cells.binName(bin), cells.seen[i] ? "seen" : "unseen"];
    if (flag) parts.push(`flag: ${flag}`);
    if (bin !== model) parts.push(`the model said ${cells.binName(model)}`);
    set(node, "aria-label", parts.join(", "));
  }
}
