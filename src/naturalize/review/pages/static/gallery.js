// The gallery: puts its parts together, and says what keys and buttons do.
import { call, session } from "./api.js";
import { Bins } from "./bins.js";
import { Cells } from "./cells.js";
import { Choice } from "./choice.js";
import { Compare } from "./compare.js";
import { Keyboard } from "./keyboard.js";
import { Large } from "./large.js";
import { Menu } from "./menu.js";
import { Pointer } from "./pointer.js";
import { SeenWatch } from "./seen.js";
import { count, plural, showProgress, toast } from "./shell.js";
import { Surface } from "./surface.js";
import { sizeFor, View } from "./view.js";

const SIZES = { least: 40, usual: 96, most: 192, step: 8 }; // pixels of a picture
const PHONE_COLUMNS = 4;
const FILTERS = ["unseen", "unidentified", "flagged"]; // that an address may ask for

const $ = (id) => document.getElementById(id);
const kept = (name, usual) => localStorage.getItem(`nz-gallery-${name}`) ?? usual;
const keep = (name, value) => localStorage.setItem(`nz-gallery-${name}`, value);

/** What is to be shown: as the address asks for, in the order that was chosen last. */
function chosen(cells) {
  const choice = new Choice(cells);
  const asked = new URLSearchParams(location.search);
  choice.order = kept("order", "doubt");
  choice.filter = FILTERS.find((name) => name === asked.get("only")) ?? "all";
  if (asked.has("cells")) {
    choice.only = new Set(asked.get("cells").split(",").map((id) => cells.index.get(Number(id))).filter((i) => i !== undefined));
  }
  return choice;
}

/** What may be done to cells; each says what it did, or why it did not. */
function actions(cells, shown) {
  /** Is there a reason why nothing can be changed? Says it. */
  function isClosed() {
    if (cells.canChange) return false;
    toast(session.role === "reader" ? "Readers look; they do not change." : "This reading is signed.", { kind: "error" });
    return true;
  }

  function done(text) {
    shown.select([]);
    toast(text, { action: ["Undo", () => cells.undo()] });
  }

  /** Put cells into a bin. */
  function put(indices, bin) {
    if (isClosed() || !indices.length) return;
    cells.change(indices, "label", bin - 1);
    done(`${plural(indices.length, "cell")} → ${cells.binName(bin)}`);
  }

  function accept(indices) {
    if (isClosed()) return;
    const settled = indices.filter((i) => cells.label[i] >= 0);
    const open = indices.length - settled.length;
    if (open) toast(`${plural(open, "unidentified cell")} cannot be accepted: choose a class.`, { kind: "error" });
    if (!settled.length) return;
    cells.change(settled, "accept");
    done(`Accepted: ${plural(settled.length, "cell")}`);
  }

  /** Accept what is unseen in a group of like cells. */
  const acceptGroup = (group) => accept(shown.view.members(group).filter((i) => !cells.seen[i]));
  return { put, accept, acceptGroup, undo: () => cells.undo(), redo: () => cells.redo() };
}

/** Pass on what happens to cells. */
function listen(cells, shown, bins, large) {
  let isCounted = false;
  cells.onChange = (i, before, after, wasSeen) => {
    shown.changed(i, before, after, wasSeen);
    if (isCounted) return;
    isCounted = true;
    requestAnimationFrame(() => {
      isCounted = false;
      bins.update();
      showProgress(cells.progress);
    });
  };
  cells.onProblem = (text) => toast(text, { kind: "error" });
  cells.onOthers = (n, users) => toast(`${users.join(", ")} changed ${plural(n, "cell")}.`);
  cells.onDone = ({ kind }, { cells: done, lost }) => {
    large.confirmed();
    if (kind !== "undo" && kind !== "redo") return;
    const word = kind === "undo" ? "Undone" : "Done again";
    if (done.length) {
      const first = cells.index.get(done[0][0]);
      toast(`${word}: ${plural(done.length, "cell")}.`, { action: ["Show", () => show(first)] });
    } else if (!lost.length) toast(`Nothing to ${kind}.`);
  };

  /** Bring a cell into sight. */
  function show(i) {
    const place = shown.view.placeOf(i);
    if (!place) return;
    shown.setActive(place);
    shown.list.focus({ preventScroll: true });
  }
}

/** Buttons and lists above and below the surface. */
function controls(cells, shown, act) {
  const { view } = shown;
  const { choice } = view;
  const on = (id, run) => $(id).addEventListener("click", run);
  for (const id of ["undo", "redo"]) {
    on(id, act[id]);
    $(id).disabled = !cells.canChange;
  }
  on("keys", act.help);
  for (const id of ["clear", "bar-clear"]) on(id, () => shown.select([]));
  for (const id of ["accept", "bar-accept"]) on(id, () => act.accept([...shown.selection]));
  for (const id of ["compare-them", "bar-compare"]) on(id, () => act.compare([...shown.selection]));
  on("bar-open", () => act.open(view.placeOf([...shown.selection].at(-1))));
  on("all", () => {
    choice.only = null;
    $("all").hidden = true;
    history.replaceState(null, "", location.pathname);
    shown.rebuild();
  });
  $("all").hidden = !choice.only;
  for (const id of ["order", "filter"]) {
    $(id).value = choice[id];
    $(id).addEventListener("change", ({ target }) => {
      choice[id] = target.value;
      if (id === "order") keep(id, target.value);
      shown.rebuild();
    });
  }
  const { least, most, step } = SIZES;
  Object.assign($("size"), { min: least, max: most, step, value: view.size });
  $("size").addEventListener("input", ({ target }) => act.resize(Number(target.value)));
  $("empty").hidden = cells.n > 0;
  const hint = matchMedia("(pointer: coarse)").matches ? "A tap opens a cell, a long press selects it." : "Go to";
  shown.onSelection = () => {
    const n = shown.selection.size;
    $("selected").textContent = n ? `${count(n)} selected` : "";
    $("bar").classList.toggle("has-selection", n > 0);
    $("bar-text").textContent = n ? `Put ${plural(n, "cell")} into` : hint;
    for (const id of ["accept", "clear", "bar-accept", "bar-open", "bar-clear"]) $(id).hidden = !n;
    for (const id of ["compare-them", "bar-compare"]) $(id).hidden = !Compare.takes(n);
  };
  shown.onSelection();
}

function start(columns) {
  const cells = new Cells(columns);
  const view = new View(cells, chosen(cells));
  const shown = new Surface({ surface: $("surface"), canvas: $("canvas"), list: $("cells") }, cells, view);
  const keys = ["Del", ...cells.classes.map(({ key }) => key)];
  const act = {
    ...actions(cells, shown),
    keys,
    binOfKey: new Map(cells.classes.map(({ key }, c) => [key, c + 1]).filter(([key]) => key)),
    open: (place) => place && large.open(place),
    compare: (indices) => compare.open(indices),
    help: () => $("help").showModal(),
    zoom: (step) => act.resize(view.size + step * SIZES.step),
    resize(size) {
      const to = Math.min(SIZES.most, Math.max(SIZES.least, size));
      $("size").value = to;
      keep("size", to);
      shown.relayout(to);
    },
  };

  /** Go to a bin: the keyboard is at its first cell. */
  function enter(bin) {
    shown.jump(bin);
    const group = view.bins[bin].groups.find(({ slots }) => slots.length);
    shown.setActive(group ? view.next(group, -1, 1) : null, { reveal: false });
    shown.list.focus({ preventScroll: true });
  }

  const bins = new Bins([$("bins"), $("bar-bins")], cells, {
    total: $("total"),
    beside: $("gallery").dataset.beside.split(" "),
    keys,
    act: (bin, list) => {
      if (list === $("bar-bins") && shown.selection.size) act.put([...shown.selection], bin);
      else enter(bin);
    },
  });
  const isNarrow = matchMedia("(max-width: 48rem)").matches;
  const width = $("surface").clientWidth;
  const abreast = Math.max(PHONE_COLUMNS, Math.floor(width / SIZES.usual));
  view.size = isNarrow ? sizeFor(width, abreast) : Number(kept("size", SIZES.usual));
  shown.addHeads(bins.heads.map(({ node }) => node));
  shown.rebuild();
  const large = new Large($("large"), shown, act);
  const compare = new Compare($("compare"), shown, act);
  const menu = new Menu($("menu"), shown, act);
  const pointer = new Pointer(shown, { open: act.open, menu: (...at) => menu.open(...at), drop: act.put });
  new Keyboard(shown, pointer, act);
  const seen = new SeenWatch(shown);
  shown.onIdle = () => seen.start();
  shown.onAcceptGroup = act.acceptGroup;
  listen(cells, shown, bins, large);
  controls(cells, shown, act);
  cells.watch();
  document.documentElement.dataset.ready = "gallery"; // for tests and benchmarks
}

call(`cells?reading=${session.reading.number}`)
  .then(start)
  .catch((error) => {
    if (!error.code) throw error;
    toast(error.message, { kind: "error" });
  });
