// The keyboard in the gallery: which cells a key is meant for, and what it does.
import { announce } from "./shell.js";
import { HEAD } from "./view.js";

const UNIDENTIFIED_KEYS = ["Delete", "Backspace"];

export class Keyboard {
  /** `act` = {put, accept, acceptGroup, undo, redo, open, help, zoom, binOfKey}. */
  constructor(shown, pointer, act) {
    Object.assign(this, { shown, view: shown.view, pointer, act });
    this.usesMouse = false; // or the keyboard: whichever moved last says which cell is meant
    this.at = "";
    addEventListener("keydown", (event) => this.#key(event));
    shown.surface.addEventListener("pointermove", (event) => this.#pointed(event));
    shown.list.addEventListener("focus", () => {
      // a tap has the focus too, but means no cell
      if (!shown.active && !this.usesMouse && shown.list.matches(":focus-visible")) shown.setActive(this.#inSight(), { reveal: false });
    });
  }

  #pointed({ pointerType, clientX, clientY }) {
    // a surface that scrolls under a mouse at rest sends this too
    if (pointerType !== "touch" && this.at !== `${clientX} ${clientY}`) this.usesMouse = true;
    this.at = `${clientX} ${clientY}`;
  }

  #hovered() {
    return this.usesMouse ? this.pointer.hovered() : null;
  }

  /** The cells that a key is meant for. */
  #meant() {
    if (this.shown.selection.size) return [...this.shown.selection];
    const place = this.usesMouse ? this.#hovered() : this.shown.active;
    return place ? [place[0].slots[place[1]]] : [];
  }

  /** From the keyboard: go on to the next cell once one is settled. */
  #advance() {
    const { shown } = this;
    if (this.usesMouse || !shown.active) return;
    shown.setActive(this.view.next(...shown.active, 1) ?? shown.active);
    // a screen reader is told where the keyboard is, where the browser does not say it
    if (shown.shownActive) announce(shown.shownActive.getAttribute("aria-label"));
  }

  /** The first cell in sight. */
  #inSight() {
    const { top, room } = this.shown;
    const found = this.view.between(top + HEAD, top + room).find(([, from, to]) => from < to);
    return found ? this.view.next(found[0], found[1] - 1, 1) : null;
  }

  /** Where keys that move begin: at the keyboard's cell if it is in sight, else under the mouse. */
  #here() {
    const { active, top, room } = this.shown;
    const y = active ? this.view.place(...active)[1] : -1;
    if (y + this.view.stepY > top && y < top + room) return active;
    return this.#hovered() || this.#inSight();
  }

  #first() {
    return this.view.shown.length ? this.view.next(this.view.shown[0], -1, 1) : null;
  }

  #last() {
    const group = this.view.shown.at(-1);
    return group ? this.view.next(group, group.slots.length, -1) : null;
  }

  #page(place, step) {
    const rows = Math.max(1, Math.floor(this.shown.room / this.view.stepY) - 1);
    let now = place;
    for (let row = 0; row < rows; row++) {
      const next = this.view.row(...now, step);
      if (!next) return row ? now : null;
      now = next;
    }
    return now;
  }

  #moves = {
    ArrowRight: (at) => this.view.next(...at, 1),
    ArrowLeft: (at) => this.view.next(...at, -1),
    ArrowDown: (at) => this.view.row(...at, 1),
    ArrowUp: (at) => this.view.row(...at, -1),
    PageDown: (at) => this.#page(at, 1),
    PageUp: (at) => this.#page(at, -1),
    Home: () => this.#first(),
    End: () => this.#last(),
  };

  /** Move the keyboard's place; with Shift the selection grows with it. */
  #move(key, event) {
    const from = this.#here();
    this.usesMouse = false;
    // the first arrow only shows where the keyboard is
    const isFirst = from !== this.shown.active && key.startsWith("Arrow");
    const place = from && (isFirst ? from : this.#moves[key](from));
    if (place) this.#go(place, event);
    this.shown.list.focus({ preventScroll: true });
  }

  #go(place, event) {
    const { shown, pointer } = this;
    const from = shown.active;
    shown.setActive(place);
    if (event.shiftKey && from) {
      pointer.from ??= from;
      shown.select(pointer.range(pointer.from, place));
    } else if (!event.ctrlKey) pointer.from = place;
  }

  #commands = {
    u: () => this.act.undo(),
    x: () => {
      this.act.accept(this.#meant());
      this.#advance();
    },
    X: () => {
      const [i = -1] = this.#meant();
      const group = this.view.group[i] ?? this.#here()?.[0];
      if (group) this.act.acceptGroup(group);
    },
    "?": () => this.act.help(),
    "+": () => this.act.zoom(1),
    "-": () => this.act.zoom(-1),
    Escape: () => this.shown.select([]),
  };

  #withControl(event) {
    const { shown, view } = this;
    const key = event.key.toLowerCase();
    if (key === "z") (event.shiftKey ? this.act.redo() : this.act.undo());
    else if (key === "y") this.act.redo();
    else if (key === "a") {
      const place = shown.active ?? this.pointer.hovered() ?? this.#first();
      if (place) shown.select(view.bins[place[0].bin].groups.flatMap((group) => view.members(group)));
    } else if (key === " " && shown.active) shown.select([shown.active[0].slots[shown.active[1]]], { toggle: true });
    else return false;
    return true;
  }

  #key(event) {
    if (document.querySelector("dialog[open]") || event.altKey) return;
    if (event.target.matches("input:not([type=range]), select, textarea")) return;
    if (this.#done(event)) event.preventDefault();
  }

  /** Do what a key says; returns whether it says anything. */
  #done(event) {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey) return this.#withControl(event);
    const isList = target === this.shown.list || target === document.body || target.id === "main";
    if (key in this.#moves && isList) this.#move(key, event);
    else if ((key === "Enter" || key === " ") && isList) this.act.open(this.#hovered() || this.shown.active);
    else {
      const { binOfKey } = this.act;
      const bin = UNIDENTIFIED_KEYS.includes(key) ? 0 : binOfKey.get(key) ?? binOfKey.get(key.toLowerCase());
      if (bin !== undefined && !(event.shiftKey && this.#commands[key])) {
        this.act.put(this.#meant(), bin);
        this.#advance();
      } else if (this.#commands[key]) this.#commands[key]();
      else return false;
    }
    return true;
  }
}
