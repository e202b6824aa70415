// Which cells are shown, and in what order.

/** Orders: a number for each cell, the least first. */
const KEYS = {
  doubt: (cells) => cells.doubt.map((x) => -x),
  similarity: (cells) => cells.rank,
  size: (cells) => cells.area.map((x) => -x), // what has none (−1) comes last
  time: (cells) => cells.taken,
};

export class Choice {
  constructor(cells) {
    this.cells = cells;
    this.order = "doubt";
    this.filter = "all";
    this.only = null; // a set of cells, or null
    this.sorted = {}; // order → cells: nothing that they are sorted by ever changes
  }

  /** Is a cell one of those asked for? */
  passes(i) {
    const { cells } = this;
    if (this.only && !this.only.has(i)) return false;
    if (this.filter === "unseen") return !cells.seen[i];
    if (this.filter === "unidentified") return cells.label[i] < 0;
    if (this.filter === "flagged") return cells.flagOf(i) !== "";
    if (this.filter === "changed") return cells.label[i] !== cells.model[i];
    return true;
  }

  /** All cells in order, whether they pass or not. */
  all() {
    if (!this.sorted[this.order]) {
      const key = KEYS[this.order](this.cells);
      const cells = Uint32Array.from({ length: this.cells.n }, (_, i) => i);
      this.sorted[this.order] = cells.sort((a, b) => key[a] - key[b] || a - b);
    }
    return this.sorted[this.order];
  }
}
