// The one scrolling surface: only cells in sight are in the document.
import { count, el, plural } from "./shell.js";
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
    this.groupHeads = new Map();
    this.byCell = new Map(); // cell → tiles in sight
    this.heads = [];
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

  /** Build the view anew; the cell at the keyboard, if it is in the view, stays in sight. */
  rebuild() {
    const here = this.active && this.view.isLive(...this.active) ? this.active[0].slots[this.active[1]] : null;
    this.view.build();
    this.active = null;
    this.#clear();
    this.#layout();
    if (here !== null && this.view.group[here]) {
      this.active = [this.view.group[here], this.view.slot[here]];
      this.reveal();
    } else this.scrollTo(0);
    this.render();
    this.#idleSoon();
  }

  /** Sizes have changed: what is at the top, or at the keyboard, stays in sight. */
  relayout(size = this.view.size) {
    if (!this.view.shown || !this.surface.clientWidth) return;
    this.room = this.surface.clientHeight;
    if (size === this.view.size && this.width === this.surface.clientWidth) {
      this.render();
      return;
    }
    const anchor = this.#anchor();
    this.#clear();
    this.#layout(size);
    this.#hold(anchor);
    this.render();
    this.#idleSoon();
  }

  #layout(size = this.view.size) {
    this.width = this.surface.clientWidth;
    this.view.layout(this.width, size);
    this.canvas.style.setProperty("--size", `${size}px`);
    this.canvas.style.height = `${this.view.height}px`;
    this.canvas.classList.toggle("is-small", size < 64);
    this.#placeHeads();
  }

  scrollTo(y) {
    this.surface.scrollTop = y;
    this.top = this.surface.scrollTop;
  }

  #clear() {
    this.list.replaceChildren();
    for (const head of this.groupHeads.values()) head.remove();
    this.groupHeads.clear();
    this.tiles.clear();
    this.byCell.clear();
  }

  /** The slot that must not move, and how far below the top it is. */
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

  #hold(anchor) {
    if (!anchor) return;
    const [group, slot, below] = anchor;
    if (!group.slots.length) return;
    const y = this.view.place(group, Math.min(slot, group.slots.length - 1))[1];
    const top = Math.round(y - below);
    if (Math.abs(top - this.top) >= 1) this.scrollTo(top);
  }

  /** Cells have changed: called for each, painted once in the next frame. */
  changed(i, before, after, wasSeen) {
    if (this.view.moved(i, before, after, wasSeen)) this.needsLayout = true;
    for (const tile of this.byCell.get(i) ?? []) this.#paint(tile);
    if (this.isDirty) return;
    this.isDirty = true;
    requestAnimationFrame(() => this.flush());
  }

  flush() {
    this.isDirty = false;
    if (this.needsLayout) {
      this.needsLayout = false;
      const anchor = this.#anchor();
      this.#layout();
      this.#hold(anchor);
      this.#placeTiles();
    }
    this.render();
    this.#idleSoon();
  }

  #scrolled() {
    const now = performance.now();
    const top = this.surface.scrollTop;
    this.isFast = Math.abs(top - this.top) / Math.max(1, now - this.lastTime) > FAST;
    this.top = top;
    this.lastTime = now;
    this.render();
    this.#idleSoon();
  }

  #idleSoon() {
    clearTimeout(this.idle);
    this.idle = setTimeout(() => {
      this.isFast = false;
      this.#tidy();
      this.render();
      this.onIdle();
    }, IDLE_MS);
  }

  #tidy() {
    const { top } = this;
    const anchor = this.#anchor();
    const pins = [anchor, this.active].filter(Boolean);
    if (!this.view.tidy(top - OVERSCAN, top + this.room + OVERSCAN, pins)) return;
    if (this.active?.[1] < 0) this.active = null;
    this.#clear();
    this.#layout();
    this.#hold(anchor);
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
    const top = this.top - OVERSCAN;
    const bottom = this.top + this.room + OVERSCAN;
    const found = this.view.between(top, bottom);
    const wanted = new Map(found.map(([group, first, last]) => [group, [first, last]]));
    for (const [group, tiles] of this.tiles) {
      const [first, last] = wanted.get(group) ?? [0, 0];
      for (const [slot, tile] of tiles) {
        if (slot < first || slot >= last) this.#release(tiles, slot, tile);
      }
      if (!tiles.size) this.tiles.delete(group);
    }
    for (const [group, first, last] of found) {
      let tiles = this.tiles.get(group);
      if (!tiles) this.tiles.set(group, (tiles = new Map()));
      for (let slot = first; slot < last; slot++) {
        const tile = tiles.get(slot) ?? this.#make(tiles, group, slot);
        if (!tile.picture.src && !this.isFast) this.#load(tile);
      }
    }
    this.#groupHeadings(found);
    this.#showActive();
  }

  #make(tiles, group, slot) {
    const picture = el("img", { alt: "", draggable: "false", decoding: "async" });
    const node = el("div", { class: "cell", role: "option", id: `cell-${group.slots[slot]}-${group.bin}` },
      picture, el("span", { class: "cell-text" }));
    const tile = { node, picture, text: node.lastChild, group, slot, cell: group.slots[slot] };
    picture.addEventListener("load", () => node.classList.add("is-loaded"));
    picture.addEventListener("error", () => node.classList.add("is-missing"));
    tiles.set(slot, tile);
    const known = this.byCell.get(tile.cell);
    if (known) known.push(tile);
    else this.byCell.set(tile.cell, [tile]);
    this.#put(tile);
    this.#paint(tile);
    this.list.append(node);
    return tile;
  }

  #load(tile) {
    tile.picture.src = `/api/v1/cells/${this.cells.ids[tile.cell]}/thumbnail`;
  }

  #release(tiles, slot, tile) {
    tile.node.remove();
    if (!tile.picture.complete) tile.picture.src = ""; // what nobody looks at is not fetched
    tiles.delete(slot);
    const rest = this.byCell.get(tile.cell).filter((one) => one !== tile);
    if (rest.length) this.byCell.set(tile.cell, rest);
    else this.byCell.delete(tile.cell);
  }

  #put(tile) {
    const [x, y] = this.view.place(tile.group, tile.slot);
    tile.node.style.transform = `translate(${x}px, ${y}px)`;
  }

  #placeTiles() {
    for (const tiles of this.tiles.values()) for (const tile of tiles.values()) this.#put(tile);
    for (const [group, head] of this.groupHeads) head.style.transform = `translateY(${group.y}px)`;
  }

  /** Show the state of a cell. */
  #paint(tile) {
    const { cells, view } = this;
    const { node, cell: i, group, slot } = tile;
    const isGone = !view.isLive(group, slot);
    const bin = cells.label[i] + 1;
    const flag = cells.flagOf(i);
    const model = cells.model[i] + 1;
    node.classList.toggle("is-gone", isGone);
    node.classList.toggle("is-unseen", !cells.seen[i]);
    node.classList.toggle("is-flagged", flag !== "");
    const selected = this.selection.has(i) && !isGone;
    if (node.getAttribute("aria-selected") !== String(selected)) node.setAttribute("aria-selected", selected);
    let text = flag ? `⚑ ${flag}` : "";
    if (isGone) text = `→ ${bin === group.bin ? "" : cells.binCode(bin)}`;
    else if (bin !== model) text = `was ${cells.binCode(model)}`;
    else if (view.order === "size" && !flag) text = cells.sizeOf(i);
    if (tile.text.textContent !== text) tile.text.textContent = text;
    const parts = [`Cell ${cells.ids[i]}`, cells.binName(bin), cells.seen[i] ? "seen" : "unseen"];
    if (flag) parts.push(`flag: ${flag}`);
    if (bin !== model) parts.push(`the model said ${cells.binName(model)}`);
    const label = parts.join(", ");
    if (node.getAttribute("aria-label") !== label) node.setAttribute("aria-label", label);
  }

  repaint(i) {
    for (const tile of this.byCell.get(i) ?? []) this.#paint(tile);
  }

  /** Headings of bins, made once; each sticks to the top as long as its bin is in sight. */
  makeHeads(keys) {
    this.heads = this.view.bins.map(({ bin }) => {
      const made = {
        count: el("span", { class: "bin-count" }),
        share: el("span", { class: "bin-share" }),
      };
      const code = bin === 0 ? null : el("span", { class: "bin-code" }, this.cells.binCode(bin));
      const swatch = el("span", { class: "swatch" });
      if (bin) swatch.style.background = this.cells.classes[bin - 1].colour;
      const name = this.cells.binName(bin);
      made.box = el("section", { class: "bin", "data-bin": bin, "aria-label": name },
        el("h2", { class: "bin-head" }, swatch, code, el("span", { class: "bin-name" }, name),
          keys[bin] ? el("kbd", {}, keys[bin]) : null, made.count, made.share));
      this.canvas.insertBefore(made.box, this.list);
      return made;
    });
    this.#placeHeads();
  }

  #placeHeads() {
    this.heads.forEach(({ box }, bin) => {
      const place = this.view.bins[bin];
      box.style.top = `${place.y}px`; // what sticks in a box takes no notice of a transform
      box.style.height = `${place.end - place.y}px`;
    });
  }

  #groupHeadings(found) {
    const wanted = new Set(found.map(([group]) => group).filter((group) => group.head));
    for (const [group, head] of this.groupHeads) {
      if (wanted.has(group)) continue;
      head.remove();
      this.groupHeads.delete(group);
    }
    for (const group of wanted) {
      const { open, live: total } = group;
      const text = group.isMoved ? "Put here" : `${plural(total, "cell")} alike`;
      const state = open ? `${count(open)} unseen` : "all seen";
      let head = this.groupHeads.get(group);
      if (!head) {
        const accept = el("button", { type: "button", onclick: () => this.onAcceptGroup(group) });
        head = el("div", { class: "group-head" }, el("h3"), el("span", { class: "group-state" }), accept);
        head.style.transform = `translateY(${group.y}px)`;
        this.groupHeads.set(group, head);
        this.canvas.append(head);
      }
      const [title, note, accept] = head.children;
      if (title.textContent !== text) title.textContent = text;
      if (note.textContent !== state) note.textContent = state;
      accept.hidden = !open || group.bin === 0 || !this.cells.canChange;
      accept.textContent = open === total ? `Accept all ${count(open)}` : `Accept the rest (${count(open)})`;
    }
  }

  #showActive() {
    const tile = this.active && this.tiles.get(this.active[0])?.get(this.active[1]);
    if (this.shownActive !== tile?.node) {
      this.shownActive?.classList.remove("is-active");
      this.shownActive = tile?.node;
    }
    tile?.node.classList.add("is-active");
    if (tile) this.list.setAttribute("aria-activedescendant", tile.node.id);
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
    for (const i of before) if (!this.selection.has(i)) this.repaint(i);
    for (const i of this.selection) if (!before.has(i)) this.repaint(i);
    this.onSelection();
  }

  /** Cells of which every pixel is in sight, with their picture. */
  inSight() {
    const top = this.top + HEAD;
    const bottom = this.top + this.room;
    const found = [];
    for (const [group, first, last] of this.view.between(top, bottom)) {
      for (let slot = first; slot < last; slot++) {
        const tile = this.tiles.get(group)?.get(slot);
        const y = this.view.place(group, slot)[1];
        const isWhole = y >= top && y + this.view.size <= bottom;
        if (isWhole && tile?.node.classList.contains("is-loaded") && this.view.isLive(group, slot)) found.push(tile.cell);
      }
    }
    return found;
  }
}
