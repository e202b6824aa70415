// Headings of groups of like cells, and of cells that were put into a bin: only those in sight.
import { count, el, plural, write } from "./shell.js";

export class Groups {
  /** `accept(group)` accepts what is unseen in a group. */
  constructor(canvas, cells, accept) {
    Object.assign(this, { canvas, cells, accept });
    this.heads = new Map(); // group → {node, title, state, button}
  }

  /** Have headings of these groups, and of no others. */
  show(groups) {
    const wanted = new Set(groups.filter((group) => group.head));
    for (const [group, { node }] of this.heads) {
      if (wanted.has(group)) continue;
      node.remove();
      this.heads.delete(group);
    }
    for (const group of wanted) {
      if (!this.heads.has(group)) this.#make(group);
      this.#paint(group);
    }
  }

  put() {
    for (const [group, { node }] of this.heads) node.style.transform = `translateY(${group.y}px)`;
  }

  #make(group) {
    const made = { title: el("h3"), state: el("span", { class: "group-state" }) };
    made.button = el("button", { type: "button", onclick: () => this.accept(group) });
    made.node = el("div", { class: "group-head" }, made.title, made.state, made.button);
    made.node.style.transform = `translateY(${group.y}px)`;
    this.heads.set(group, made);
    this.canvas.append(made.node);
  }

  #paint(group) {
    const { title, state, button } = this.heads.get(group);
    const { open, live } = group;
    write(title, group.isMoved ? "Put here" : `${plural(live, "cell")} alike`);
    write(state, open ? `${count(open)} unseen` : "all seen");
    write(button, open === live ? `Accept all ${count(open)}` : `Accept the rest (${count(open)})`);
    button.hidden = !open || group.bin === 0 || !this.cells.canChange;
  }
}
