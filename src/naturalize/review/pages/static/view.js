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

export class View {
  constructor(cells, choice) {
    Object.assign(this, { cells, choice });
    this.left = new Map(); // cell → slots that it left: [[group, slot]]
  }

  /** Put every cell into its place anew. */
  build() {
    const { cells, choice } = this;
    const byCluster = choice.order === "similarity";
    this.bins = Array.from(cells.counts, (_, bin) => ({ bin, groups: [], last: null }));
    this.group = new Array(cells.n).fill(null);
    this.slot = new Int32Array(cells.n).fill(-1);
    this.left.clear();
    for (const i of choice.all()) {
      if (!choice.passes(i)) continue;
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

  /** Where a cell is: [group, slot], or null. */
  placeOf(i) {
    return this.group[i] && [this.group[i], this.slot[i]];
  }

  /** Where a cell is, and where it has left its slot empty. */
  placesOf(i) {
    return [...(this.left.get(i) ?? []), this.placeOf(i)].filter(Boolean);
  }

  /** Cell `i` went from one bin to another, or was seen. Returns whether the geometry changed. */
  moved(i, before, after, wasSeen) {
    const group = this.group[i];
    if (before === after) {
      const step = this.cells.seen[i] ? -1 : 1;
      if (group) group.open += step;
      if (group && this.choice.filter === "unseen") group.empty -= step;
      return false;
    }
    if (!this.left.has(i)) this.left.set(i, []);
    const left = this.left.get(i);
    if (group) {
      left.push(this.placeOf(i));
      this.#count(group, -1, wasSeen);
      group.empty++;
    }
    this.group[i] = null;
    const back = left.findIndex(([one]) => one.bin === after);
    if (back >= 0) {
      [[this.group[i], this.slot[i]]] = left.splice(back, 1);
      this.group[i].empty--;
      this.#count(this.group[i], 1, this.cells.seen[i]);
      return false;
    }
    return this.choice.passes(i) && this.#arrive(i, this.bins[after]);
  }

  /** Put a cell at the end of a bin; in the order by similarity, of a group of such. */
  #arrive(i, place) {
    const byCluster = this.choice.order === "similarity";
    if (!byCluster) place.last ??= place.groups[0] ?? null;
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
      const gone = group.empty ? this.#superfluous(group, inSight.get(group)) : [];
      if (!gone.length) continue;
      changed = true;
      for (const slot of gone) this.#forget(group, slot);
      this.#renumber(group, new Set(gone), pins);
      group.empty -= gone.length;
    }
    return changed;
  }

  /** Slots of a group that can go; `range`: first and last in sight, if any are. */
  #superfluous(group, range) {
    const [first, last] = range ?? [group.slots.length, group.slots.length];
    const gone = [];
    group.slots.forEach((i, slot) => {
      const isKept = this.isLive(group, slot) && this.choice.passes(i);
      if ((slot < first || slot >= last) && !isKept) gone.push(slot);
    });
    if (range) {
      // above what is in sight only whole rows go: columns stay
      const above = gone.filter((slot) => slot < first).length;
      gone.splice(above - (above % this.columns), above % this.columns);
    }
    return gone;
  }

  #forget(group, slot) {
    const i = group.slots[slot];
    if (this.isLive(group, slot)) {
      this.group[i] = null;
      this.#count(group, -1, this.cells.seen[i]);
    } else {
      this.left.set(i, this.left.get(i).filter((one) => one[0] !== group || one[1] !== slot));
    }
  }

  #renumber(group, gone, pins) {
    const now = new Map(); // slot → slot
    const slots = [];
    group.slots.forEach((i, slot) => {
      if (!gone.has(slot)) now.set(slot, slots.push(i) - 1);
    });
    for (const [slot, number] of now) {
      const i = group.slots[slot];
      if (this.group[i] === group) this.slot[i] = number;
      for (const one of this.left.get(i) ?? []) if (one[0] === group) one[1] = number;
    }
    for (const pin of pins) if (pin[0] === group) pin[1] = now.get(pin[1]) ?? -1;
    group.slots = slots;
  }
}
