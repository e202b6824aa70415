// The one scrolling surface: only cells in sight are in the document.
import { Groups } from "./groups.js";
import { Tile } from "./tile.js";
import { HEAD } from "./view.js";

const OVERSCAN = 300; // pixels above and below what is in sight
const FAST = 6; // pixels a millisecond: faster than anybody can look, pictures are left out
const IDLE_MS = 180; // without scrolling: pictures come, empty slots go

export class Surface {
  /** `surface` scrolls, `canvas` has the height of all, `list` holds the cells in sight. */
  constructor({ surface, canvas, list }, cells, view) {
    Object.assign(this, { surface, canvas, list, cells, view });
    this.selection = new Set();
    this.active = null; // [group, slot]: where the keyboard is
    this.tiles = new Map(); // group → Map(slot → tile)
    this.groups = new Groups(canvas, cells, (group) => this.onAcceptGroup(group));
    this.heads = []; // a box for each bin
    this.isDirty = false;
    this.lastTime = 0;
    this.onIdle = () => {};
    this.onAcceptGroup = () => {};
    this.onSelection = () => {};
    // kept, not asked for: asking after a change makes the browser lay everything out at once
    this.top = 0;
    this.room = surface.clientHeight;
    surface.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.relayout()).observe(surface);
  }

  /** Take the headings of bins, a box each. */
  addHeads(boxes) {
    this.heads = boxes;
    this.list.before(...boxes);
  }

  /** Build the view anew; the cell at the keyboard, if it is in the view, stays in sight. */
  rebuild() {
    const here = this.active && this.view.isLive(...this.active) ? this.active[0].slots[this.active[1]] : null;
    this.#clear();
    this.view.build();
    this.#layout();
    this.active = here === null ? null : this.view.placeOf(here);
    if (this.active) this.reveal();
    else this.scrollTo(0);
    this.#refresh();
  }

  /** Sizes have changed: what is at the top, or at the keyboard, stays in sight. */
  relayout(size = this.view.size) {
    if (!this.view.shown || !this.surface.clientWidth) return;
    this.room = this.surface.clientHeight;
    if (size !== this.view.size || this.width !== this.surface.clientWidth) this.#held(() => this.#layout(size));
    this.#refresh();
  }

  #layout(size = this.view.size) {
    this.width = this.surface.clientWidth;
    this.view.layout(this.width, size);
    this.canvas.style.setProperty("--size", `${size}px`);
    this.canvas.style.height = `${this.view.height}px`;
    this.canvas.classList.toggle("is-small", size < 64);
    this.heads.forEach((box, bin) => {
      const { y, end } = this.view.bins[bin];
      box.style.top = `${y}px`; // what sticks in a box takes no notice of a transform
      box.style.height = `${end - y}px`;
    });
    for (const tiles of this.tiles.values()) for (const tile of tiles.values()) tile.put();
    this.groups.put();
  }

  scrollTo(y) {
    this.surface.scrollTop = y;
    this.top = this.surface.scrollTop;
  }

  #clear() {
    this.list.replaceChildren();
    this.groups.show([]);
    this.tiles.clear();
  }

  /** Change the geometry; the slot that must not move stays where it is in the window. */
  #held(change) {
    const [group, slot, below] = this.#anchor() ?? [];
    const pin = [group, slot];
    change(pin);
    if (!group?.slots.length) return;
    const y = this.view.place(group, Math.max(0, Math.min(pin[1], group.slots.length - 1)))[1];
    const top = Math.round(y - below);
    if (Math.abs(top - this.top) >= 1) this.scrollTo(top);
  }

  /** That slot, and how far below the top it is: at the keyboard if that is in sight, else the first. */
  #anchor() {
    const { top } = this;
    const bottom = top + this.room;
    if (this.active) {
      const y = this.view.place(...this.active)[1];
      if (y >= top && y < bottom) return [...this.active, y - top];
    }
    for (const [group, first, last] of this.view.between(top + HEAD, bottom)) {
      if (first < last) return [group, first, this.view.place(group, first)[1] - top];
    }
    return null;
  }

  /** A cell has changed: called for each, painted once in the next frame. */
  changed(i, before, after, wasSeen) {
    if (this.view.moved(i, before, after, wasSeen)) this.needsLayout = true;
    this.#repaint(i);
    if (this.isDirty) return;
    this.isDirty = true;
    requestAnimationFrame(() => {
      this.isDirty = false;
      if (this.needsLayout) this.#held(() => this.#layout());
      this.needsLayout = false;
      this.#refresh();
    });
  }

  #scrolled() {
    const now = performance.now();
    const top = this.surface.scrollTop;
    this.isFast = Math.abs(top - this.top) / Math.max(1, now - this.lastTime) > FAST;
    this.top = top;
    this.lastTime = now;
    this.#refresh();
  }

  /** Fill what is in sight now; the rest of the work waits until nobody scrolls. */
  #refresh() {
    this.render();
    clearTimeout(this.idle);
    this.idle = setTimeout(() => {
      this.isFast = false;
      this.#tidy();
      this.render();
      this.onIdle();
    }, IDLE_MS);
  }

  #tidy() {
    this.#held((pin) => {
      const pins = [pin, this.active].filter((one) => one?.[0]);
      if (!this.view.tidy(this.top - OVERSCAN, this.top + this.room + OVERSCAN, pins)) return;
      if (this.active?.[1] < 0) this.active = null;
      this.#clear(); // slots have other numbers
      this.#layout();
    });
  }

  /** Bring the cell at the keyboard into sight. */
  reveal() {
    if (!this.active) return;
    const y = this.view.place(...this.active)[1];
    const { top, room } = this;
    if (y < top + HEAD - 4) this.scrollTo(Math.max(0, y - HEAD - 8));
    else if (y + this.view.stepY > top + room) this.scrollTo(y + this.view.stepY - room + 4);
  }

  jump(bin) {
    this.scrollTo(this.view.bins[bin].y);
  }

  /** Fill what is in sight, and let go of what is not. */
  render() {
    if (!this.view.shown) return;
    const found = this.view.between(this.top - OVERSCAN, this.top + this.room + OVERSCAN);
    const wanted = new Map(found.map(([group, ...range]) => [group, range]));
    for (const [group, tiles] of this.tiles) {
      const [first, last] = wanted.get(group) ?? [0, 0];
      for (const [slot, tile] of tiles) {
        if (slot >= first && slot < last) continue;
        tile.remove();
        tiles.delete(slot);
      }
      if (!tiles.size) this.tiles.delete(group);
    }
    for (const [group, first, last] of found) {
      if (first < last && !this.tiles.has(group)) this.tiles.set(group, new Map());
      for (let slot = first; slot < last; slot++) {
        const tile = this.#tile(group, slot) ?? this.#make(group, slot);
        if (!this.isFast) tile.load();
      }
    }
    this.groups.show(found.map(([group]) => group));
    this.#showActive();
  }

  #tile(group, slot) {
    return this.tiles.get(group)?.get(slot);
  }

  #make(group, slot) {
    const tile = new Tile(this.cells, this.view, group, slot);
    this.tiles.get(group).set(slot, tile);
    tile.put();
    tile.paint(this.selection.has(tile.cell));
    this.list.append(tile.node);
    return tile;
  }

  /** Paint a cell wherever it is in sight: in its place, and in those that it has left. */
  #repaint(i) {
    for (const place of this.view.placesOf(i)) this.#tile(...place)?.paint(this.selection.has(i));
  }

  #showActive() {
    const node = this.active ? this.#tile(...this.active)?.node : undefined;
    if (this.shownActive !== node) this.shownActive?.classList.remove("is-active");
    this.shownActive = node;
    node?.classList.add("is-active");
    if (node) this.list.setAttribute("aria-activedescendant", node.id);
    else this.list.removeAttribute("aria-activedescendant");
  }

  setActive(place, { reveal = true } = {}) {
    this.active = place;
    if (reveal) this.reveal();
    this.render();
  }

  /** Select cells, instead of or beside those that are. */
  select(cells, { add = false, toggle = false } = {}) {
    const before = new Set(this.selection);
    if (!add && !toggle) this.selection.clear();
    for (const i of cells) {
      if (toggle && this.selection.has(i)) this.selection.delete(i);
      else this.selection.add(i);
    }
    for (const i of before) if (!this.selection.has(i)) this.#repaint(i);
    for (const i of this.selection) if (!before.has(i)) this.#repaint(i);
    this.onSelection();
  }

  /** Cells of which every pixel is in sight, with their picture. */
  inSight() {
    const top = this.top + HEAD;
    const bottom = this.top + this.room;
    const found = [];
    for (const [group, first, last] of this.view.between(top, bottom)) {
      for (let slot = first; slot < last; slot++) {
        const tile = this.#tile(group, slot);
        const y = this.view.place(group, slot)[1];
        const isWhole = y >= top && y + this.view.size <= bottom;
        if (isWhole && tile?.isLoaded && this.view.isLive(group, slot)) found.push(tile.cell);
      }
    }
    return found;
  }
}
