// Which cell stands where: bins in order, groups in a bin, slots in a group, and their geometry.
//
// A cell that leaves its bin leaves its slot empty: nothing else moves under the hand of the person
// who works. Empty slots are taken out later, where that moves nothing that is in sight (`tidy`).

export const HEAD = 50; // pixels: the heading of a bin, and a little below it
const GROUP_HEAD = 38; // of a group in it
const GAP = 6; // between cells
const PAD = 12; // left and right of the cells
const CAPTION = 16; // below a picture
const AFTER = 14; // below a bin

/** Return the size of pictures of which so many fill a width. */
export const sizeFor = (width, columns) => Math.floor((width - 2 * PAD + GAP) / columns) - GAP;

/** Orders: a number for each cell, the least first. */
const KEYS = {
  doubt: (cells) => cells.doubt.map((x) => -x),
  similarity: (cells) => cells.rank,
  size: (cells) => cells.area.map((x) => -x), // what has none (−1) comes last
  time: (cells) => cells.taken,
};

export class View {
  constructor(cells) {
    this.cells = cells;
    this.order = "doubt";
    this.filter = "all";
    this.only = null; // a set of cells, or null
    this.sorted = {};
    this.stale = new Map(); // cell → slots that it left: [[group, slot]]
  }

  passes(i) {
    const { cells } = this;
    if (this.only && !this.only.has(i)) return false;
    if (this.filter === "unseen") return !cells.seen[i];
    if (this.filter === "unidentified") return cells.label[i] < 0;
    if (this.filter === "flagged") return cells.flagOf(i) !== "";
    if (this.filter === "changed") return cells.label[i] !== cells.model[i];
    return true;
  }

  #order() {
    if (!this.sorted[this.order]) {
      const key = KEYS[this.order](this.cells);
      const all = Uint32Array.from({ length: this.cells.n }, (_, i) => i);
      this.sorted[this.order] = all.sort((a, b) => key[a] - key[b] || a - b);
    }
    return this.sorted[this.order];
  }

  /** Put every cell into its place anew. */
  build() {
    const { cells } = this;
    const byCluster = this.order === "similarity";
    this.bins = Array.from(cells.counts, (_, bin) => ({ bin, groups: [], last: null }));
    this.group = new Array(cells.n).fill(null);
    this.slot = new Int32Array(cells.n).fill(-1);
    this.stale.clear();
    for (const i of this.#order()) {
      if (!this.passes(i)) continue;
      const place = this.bins[cells.label[i] + 1];
      const cluster = byCluster ? cells.cluster[i] : null;
      const { last } = place;
      const group = last?.cluster === cluster ? last : this.#addGroup(place, cluster);
      this.#append(group, i);
    }
    for (const place of this.bins) place.last = null; // what arrives now is "put here"
  }

  #addGroup(place, cluster, isMoved = false) {
    const group = { bin: place.bin, cluster, isMoved, slots: [], empty: 0, live: 0, open: 0, y: 0 };
    place.groups.push(group);
    place.last = group;
    return group;
  }

  #append(group, i) {
    this.group[i] = group;
    this.slot[i] = group.slots.push(i) - 1;
    this.#count(group, 1, this.cells.seen[i]);
  }

  /** Keep how many cells of a group are in it, and how many of them are unseen. */
  #count(group, step, seen) {
    group.live += step;
    if (!seen) group.open += step;
  }

  /** Cell `i` went from one bin to another, or was seen. Returns whether the geometry changed. */
  moved(i, before, after, wasSeen) {
    if (before === after) {
      if (this.group[i]) this.group[i].open += wasSeen - this.cells.seen[i] === 1 ? 1 : -1;
      if (this.group[i] && this.filter === "unseen") this.group[i].empty += this.cells.seen[i] ? 1 : -1;
      return false;
    }
    const left = this.stale.get(i) ?? [];
    if (this.group[i]) {
      left.push([this.group[i], this.slot[i]]);
      this.#count(this.group[i], -1, wasSeen);
      this.group[i].empty++;
    }
    this.group[i] = null;
    const back = left.findIndex(([group]) => group.bin === after);
    const [returned] = back >= 0 ? left.splice(back, 1) : [];
    if (left.length) this.stale.set(i, left);
    else this.stale.delete(i);
    if (returned) {
      [this.group[i], this.slot[i]] = returned;
      returned[0].empty--;
      this.#count(returned[0], 1, this.cells.seen[i]);
      return false;
    }
    if (!this.passes(i)) return false;
    const place = this.bins[after];
    const byCluster = this.order === "similarity";
    if (!byCluster && !place.last) place.last = place.groups[0] ?? null;
    const group = place.last ?? this.#addGroup(place, null, byCluster);
    this.#append(group, i);
    return (group.slots.length - 1) % this.columns === 0;
  }

  /** Set widths and heights for a surface of `width` pixels and pictures of `size` pixels. */
  layout(width, size) {
    this.size = size;
    this.stepX = size + GAP;
    this.stepY = size + CAPTION + GAP;
    this.columns = Math.max(1, Math.floor((width - 2 * PAD + GAP) / this.stepX));
    let y = 0;
    this.shown = []; // groups with slots, from the top
    for (const place of this.bins) {
      place.y = y;
      y += HEAD;
      for (const group of place.groups) {
        if (!group.slots.length) continue;
        group.head = group.cluster !== null || group.isMoved ? GROUP_HEAD : 0;
        group.y = y;
        y += group.head + Math.ceil(group.slots.length / this.columns) * this.stepY;
        group.end = y;
        this.shown.push(group);
      }
      y += AFTER;
      place.end = y;
    }
    this.height = y;
  }

  /** Return x and y of a slot. */
  place(group, slot) {
    const row = Math.floor(slot / this.columns);
    return [
      PAD + (slot - row * this.columns) * this.stepX,
      group.y + group.head + row * this.stepY,
    ];
  }

  /** Return the first group that ends below `y`, as an index of `shown`. */
  #from(y) {
    let low = 0;
    let high = this.shown.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.shown[middle].end > y) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Return [group, first slot, slot after the last] of what lies between two heights. */
  between(top, bottom) {
    const found = [];
    for (let g = this.#from(top); g < this.shown.length; g++) {
      const group = this.shown[g];
      if (group.y >= bottom) break;
      const inside = group.y + group.head;
      const first = Math.max(0, Math.floor((top - inside) / this.stepY)) * this.columns;
      const last = Math.ceil((bottom - inside) / this.stepY) * this.columns;
      found.push([group, Math.min(first, group.slots.length), Math.max(0, Math.min(last, group.slots.length))]);
    }
    return found;
  }

  /** Return the [group, slot] at a point of the surface, or null. */
  at(x, y) {
    const [found] = this.between(y, y + 1);
    if (!found || y < found[0].y + found[0].head) return null;
    const group = found[0];
    const column = Math.floor((x - PAD) / this.stepX);
    const row = Math.floor((y - group.y - group.head) / this.stepY);
    const slot = row * this.columns + column;
    const inGap = x - PAD - column * this.stepX > this.size || y - group.y - group.head - row * this.stepY > this.stepY - GAP;
    if (inGap || column < 0 || column >= this.columns || slot >= group.slots.length) return null;
    return [group, slot];
  }

  /** Return the cells whose picture a rectangle touches. */
  within(x0, y0, x1, y1) {
    const found = [];
    for (const [group, first, last] of this.between(y0, y1)) {
      for (let slot = first; slot < last; slot++) {
        const [x, y] = this.place(group, slot);
        const touches = x < x1 && x + this.size > x0 && y < y1 && y + this.size > y0;
        if (touches && this.isLive(group, slot)) found.push(group.slots[slot]);
      }
    }
    return found;
  }

  /** Is the cell of a slot still there, and not gone to another bin? */
  isLive(group, slot) {
    const i = group.slots[slot];
    return this.group[i] === group && this.slot[i] === slot;
  }

  binAt(y) {
    return this.bins.find((place) => y < place.end)?.bin ?? this.bins.length - 1;
  }

  /** Cells of a group that are in it now. */
  members(group) {
    return group.slots.filter((_, slot) => this.isLive(group, slot));
  }

  /** Return the live [group, slot] that is `step` cells on from one, over all bins; or null. */
  next(group, slot, step) {
    let g = this.shown.indexOf(group);
    let k = slot + step;
    while (g >= 0 && g < this.shown.length) {
      const here = this.shown[g];
      while (k >= 0 && k < here.slots.length) {
        if (this.isLive(here, k)) return [here, k];
        k += step;
      }
      g += step;
      k = step > 0 ? 0 : (this.shown[g]?.slots.length ?? 0) - 1;
    }
    return null;
  }

  /** Return the [group, slot] a row above (−1) or below (1), in the nearest column. */
  row(group, slot, step) {
    const column = slot % this.columns;
    const target = slot + step * this.columns;
    if (target >= 0 && target < group.slots.length) return [group, target];
    const lastRow = Math.floor((group.slots.length - 1) / this.columns);
    if (step > 0 && Math.floor(slot / this.columns) < lastRow) return [group, group.slots.length - 1];
    const beside = this.shown[this.shown.indexOf(group) + step];
    if (!beside) return null;
    const row = step > 0 ? 0 : Math.floor((beside.slots.length - 1) / this.columns);
    return [beside, Math.min(row * this.columns + column, beside.slots.length - 1)];
  }

  /**
   * Take empty slots out where nothing between `top` and `bottom` moves to another column.
   * `pins` are [group, slot] that get their new number, −1 where the slot is gone.
   */
  tidy(top, bottom, pins) {
    const inSight = new Map(this.between(top, bottom).map(([group, ...range]) => [group, range]));
    let changed = false;
    for (const group of this.shown) {
      if (!group.empty) continue;
      const [first, last] = inSight.get(group) ?? [group.slots.length, group.slots.length];
      const isKept = (slot) => this.isLive(group, slot) && this.passes(group.slots[slot]);
      const gone = [];
      for (let slot = 0; slot < group.slots.length; slot++) {
        if ((slot < first || slot >= last) && !isKept(slot)) gone.push(slot);
      }
      if (inSight.has(group)) {
        // above what is in sight only whole rows go: columns stay
        const above = gone.filter((slot) => slot < first).length;
        gone.splice(above - (above % this.columns), above % this.columns);
      }
      if (!gone.length) continue;
      changed = true;
      for (const slot of gone) this.#forget(group, slot);
      const out = new Set(gone);
      const moved = new Map(); // slot → slot
      const slots = [];
      group.slots.forEach((i, slot) => {
        if (!out.has(slot)) moved.set(slot, slots.push(i) - 1);
      });
      for (const [slot, now] of moved) {
        const i = group.slots[slot];
        if (this.group[i] === group) this.slot[i] = now;
        for (const one of this.stale.get(i) ?? []) if (one[0] === group) one[1] = now;
      }
      for (const pin of pins) if (pin[0] === group) pin[1] = moved.get(pin[1]) ?? -1;
      group.slots = slots;
      group.empty -= gone.length;
    }
    return changed;
  }

  #forget(group, slot) {
    const i = group.slots[slot];
    if (this.isLive(group, slot)) {
      this.group[i] = null;
      this.#count(group, -1, this.cells.seen[i]);
    }
    else {
      const left = (this.stale.get(i) ?? []).filter((one) => one[0] !== group || one[1] !== slot);
      if (left.length) this.stale.set(i, left);
      else this.stale.delete(i);
    }
  }
}
