// The menu at a cell: its classes, as the right button or the menu key opens it.
import { swatch } from "./bins.js";
import { Compare } from "./compare.js";
import { el } from "./shell.js";

const EDGE = 8; // pixels from the edge of the window

export class Menu {
  /** `node` is a popover; `act` = {put, accept, open, keys}. */
  constructor(node, shown, act) {
    Object.assign(this, { node, shown });
    const { cells } = shown;
    const item = (run, ...parts) => el("button", { type: "button", role: "menuitem", onclick: () => (node.hidePopover(), run()) }, ...parts);
    const key = (text) => (text ? el("kbd", {}, text) : null);
    node.append(item(() => act.open(this.place), "Look closer", key("Enter")));
    this.compare = item(() => act.compare([...shown.selection]), "Compare them");
    node.append(this.compare);
    if (cells.canChange) {
      node.append(item(() => act.accept([...shown.selection]), "Accept", key("x")));
      for (let bin = 0; bin <= cells.classes.length; bin++) {
        node.append(item(() => act.put([...shown.selection], bin), swatch(cells, bin), cells.binCode(bin),
          el("span", { class: "quiet" }, cells.binName(bin)), key(act.keys[bin])));
      }
    }
    node.addEventListener("keydown", (event) => this.#key(event));
    node.addEventListener("toggle", ({ newState }) => newState === "closed" && shown.list.focus({ preventScroll: true }));
  }

  /** Open at a point of the window, for what is selected; a cell that is not is selected alone. */
  open(place, x, y) {
    const { node, shown } = this;
    const cell = place[0].slots[place[1]];
    this.place = place;
    if (!shown.selection.has(cell)) shown.select([cell]);
    shown.setActive(place, { reveal: false });
    this.compare.hidden = !Compare.takes(shown.selection.size);
    node.showPopover();
    node.style.left = `${Math.max(0, Math.min(x, innerWidth - node.offsetWidth - EDGE))}px`;
    node.style.top = `${Math.max(0, Math.min(y, innerHeight - node.offsetHeight - EDGE))}px`;
    node.firstChild.focus();
  }

  #key(event) {
    const items = [...this.node.children].filter((one) => !one.hidden);
    const at = items.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (to !== undefined) {
      items.at(to % items.length).focus();
      event.preventDefault();
    } else if (event.key === "Tab" || event.key === "Escape") {
      this.node.hidePopover();
      event.preventDefault();
      event.stopPropagation(); // what is selected stays so
    } else if (event.key.length === 1 && event.key !== " ") this.node.hidePopover(); // a class key does what it says
  }
}
