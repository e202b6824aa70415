// The gallery: puts its parts together, and says what keys and buttons do.
import { call, session } from "./api.js";
import { Bins } from "./bins.js";
import { Cells } from "./cells.js";
import { Large } from "./large.js";
import { Pointer } from "./pointer.js";
import { SeenWatch } from "./seen.js";
import { announce, count, plural, showProgress, toast } from "./shell.js";
import { Surface } from "./surface.js";
import { HEAD, sizeFor, View } from "./view.js";

const SIZES = { least: 40, usual: 96, most: 192, step: 8 }; // pixels of a picture
const PHONE_COLUMNS = 4;
const UNIDENTIFIED_KEYS = ["Delete", "Backspace"];

const $ = (id) => document.getElementById(id);
const kept = (name, usual) => localStorage.getItem(`nz-gallery-${name}`) ?? usual;
const keep = (name, value) => localStorage.setItem(`nz-gallery-${name}`, value);

function start(columns) {
  const cells = new Cells(columns);
  const view = new View(cells);
  const asked = new URLSearchParams(location.search);
  view.order = kept("order", "doubt");
  view.filter = ["unseen", "unidentified", "flagged"].find((name) => name === asked.get("only")) ?? "all";
  if (asked.has("cells")) {
    view.only = new Set(asked.get("cells").split(",").map((id) => cells.index.get(Number(id))).filter((i) => i !== undefined));
    $("all").hidden = false;
  }
  const shown = new Surface({ surface: $("surface"), canvas: $("canvas"), list: $("cells") }, cells, view);
  const keys = ["Del", ...cells.classes.map(({ key }) => key)];
  const binOfKey = new Map(cells.classes.map(({ key }, c) => [key, c + 1]).filter(([key]) => key));
  const narrow = matchMedia("(max-width: 48rem)");
  let usesMouse = false;

  view.size = narrow.matches ? sizeFor($("surface").clientWidth, PHONE_COLUMNS) : Number(kept("size", SIZES.usual));
  shown.rebuild();
  shown.makeHeads(keys);
  const bins = new Bins([$("bins"), $("bar-bins")], shown, {
    beside: $("gallery").dataset.beside.split(" "),
    keys,
    act: (bin, list) => {
      if (list === $("bar-bins") && shown.selection.size) put([...shown.selection], bin);
      else enter(bin);
    },
  });
  const seen = new SeenWatch(shown);
  shown.onIdle = () => seen.start();

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
    if (!done.length) {
      if (!lost.length) toast(`Nothing to ${kind}.`);
      return;
    }
    const first = cells.index.get(done[0][0]);
    toast(`${word}: ${plural(done.length, "cell")}.`, { action: ["Show", () => show(first)] });
  };

  /** Go to a bin: the keyboard is at its first cell. */
  function enter(bin) {
    shown.jump(bin);
    const group = view.bins[bin].groups.find(({ slots }) => slots.length);
    shown.setActive(group ? view.next(group, -1, 1) : null, { reveal: false });
    $("cells").focus({ preventScroll: true });
  }

  /** Bring a cell into sight. */
  function show(i) {
    if (!view.group[i]) return;
    shown.setActive([view.group[i], view.slot[i]]);
    $("cells").focus({ preventScroll: true });
  }

  /** Is there a reason why nothing can be changed? Says it. */
  function isClosed() {
    if (cells.canChange) return false;
    toast(session.role === "reader" ? "Readers look; they do not change." : "This reading is signed.", { kind: "error" });
    return true;
  }

  /** The cells that a key is meant for. */
  function meant() {
    if (shown.selection.size) return [...shown.selection];
    const place = (usesMouse && pointer.hovered()) || (!usesMouse && shown.active);
    return place ? [place[0].slots[place[1]]] : [];
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
    const [settled, open] = [indices.filter((i) => cells.label[i] >= 0), indices.filter((i) => cells.label[i] < 0)];
    if (open.length) toast(`${plural(open.length, "unidentified cell")} cannot be accepted: choose a class.`, { kind: "error" });
    if (!settled.length) return;
    cells.change(settled, "accept");
    done(`Accepted: ${plural(settled.length, "cell")}`);
  }

  /** Accept what is unseen in a group of like cells. */
  const acceptGroup = (group) => accept(view.members(group).filter((i) => !cells.seen[i]));
  shown.onAcceptGroup = acceptGroup;

  /** From the keyboard: go on to the next cell once one is settled. */
  function advance() {
    if (usesMouse || !shown.active) return;
    shown.setActive(view.next(...shown.active, 1) ?? shown.active);
    say();
  }

  /** Tell a screen reader where the keyboard is, where the browser does not. */
  function say() {
    const node = shown.shownActive;
    if (node) announce(node.getAttribute("aria-label"));
  }

  const large = new Large($("large"), shown, { put, accept, undo: () => cells.undo(), redo: () => cells.redo(), binOfKey, keys });
  const open = (place) => place && large.open(place);
  const pointer = new Pointer(shown, { open, drop: put });

  shown.onSelection = () => {
    const n = shown.selection.size;
    $("selected").textContent = n ? `${count(n)} selected` : "";
    $("bar").classList.toggle("has-selection", n > 0);
    $("bar-text").textContent = n ? `Put ${plural(n, "cell")} into` : "Go to";
    for (const id of ["accept", "clear", "bar-accept", "bar-open", "bar-clear"]) $(id).hidden = !n;
  };
  shown.onSelection();

  /** Move the keyboard's place; with Shift the selection grows with it. */
  function go(place, event) {
    if (!place) return;
    const from = shown.active;
    shown.setActive(place);
    if (event.shiftKey && from) {
      pointer.from ??= from;
      shown.select(pointer.range(pointer.from, place));
    } else if (!event.ctrlKey) {
      pointer.from = place;
    }
  }

  const first = () => (view.shown.length ? view.next(view.shown[0], -1, 1) : null);
  const lastPlace = () => {
    const group = view.shown.at(-1);
    return group ? view.next(group, group.slots.length, -1) : null;
  };
  /** The first cell in sight. */
  function sight() {
    const found = view.between(shown.top + HEAD, shown.top + shown.room).find(([, from, to]) => from < to);
    return found ? view.next(found[0], found[1] - 1, 1) : null;
  }

  /** Where keys that move begin: at the keyboard's cell if it is in sight, else under the mouse. */
  function here() {
    const y = shown.active ? view.place(...shown.active)[1] : -1;
    if (y + view.stepY > shown.top && y < shown.top + shown.room) return shown.active;
    return (usesMouse && pointer.hovered()) || sight();
  }

  const page = () => Math.max(1, Math.floor(shown.room / view.stepY) - 1);
  const rows = (place, step, times) => {
    let now = place;
    for (let t = 0; t < times && now; t++) now = view.row(...now, step) ?? (t ? now : null);
    return now;
  };
  const MOVES = {
    ArrowRight: (at) => view.next(...at, 1),
    ArrowLeft: (at) => view.next(...at, -1),
    ArrowDown: (at) => view.row(...at, 1),
    ArrowUp: (at) => view.row(...at, -1),
    PageDown: (at) => rows(at, 1, page()),
    PageUp: (at) => rows(at, -1, page()),
    Home: first,
    End: lastPlace,
  };

  function resize(size) {
    const to = Math.min(SIZES.most, Math.max(SIZES.least, size));
    $("size").value = to;
    keep("size", to);
    shown.relayout(to);
  }

  const COMMANDS = {
    u: () => cells.undo(),
    x: () => (accept(meant()), advance()),
    X: () => {
      const [i = -1] = meant();
      const group = view.group[i] ?? here()?.[0];
      if (group) acceptGroup(group);
    },
    "?": () => $("help").showModal(),
    "+": () => resize(view.size + SIZES.step),
    "-": () => resize(view.size - SIZES.step),
    Escape: () => shown.select([]),
  };

  function withControl(event) {
    const key = event.key.toLowerCase();
    if (key === "z") (event.shiftKey ? cells.redo() : cells.undo());
    else if (key === "y") cells.redo();
    else if (key === "a") {
      const place = shown.active ?? pointer.hovered() ?? first();
      if (place) shown.select(view.bins[place[0].bin].groups.flatMap((group) => view.members(group)));
    } else if (key === " " && shown.active) shown.select([shown.active[0].slots[shown.active[1]]], { toggle: true });
    else return;
    event.preventDefault();
  }

  addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.altKey) return;
    const { target, key } = event;
    if (target.matches("input:not([type=range]), select, textarea")) return;
    if (event.ctrlKey || event.metaKey) {
      withControl(event);
      return;
    }
    const isList = target === $("cells") || target === document.body || target === $("main");
    if (key in MOVES && isList) {
      const from = here();
      usesMouse = false;
      // the first arrow only shows where the keyboard is
      const isFirst = from !== shown.active && key.startsWith("Arrow");
      if (from) go(isFirst ? from : MOVES[key](from), event);
      $("cells").focus({ preventScroll: true });
      event.preventDefault();
      return;
    }
    if ((key === "Enter" || key === " ") && isList) {
      open((usesMouse && pointer.hovered()) || shown.active);
      event.preventDefault();
      return;
    }
    const bin = UNIDENTIFIED_KEYS.includes(key) ? 0 : binOfKey.get(key) ?? binOfKey.get(key.toLowerCase());
    if (bin !== undefined && !(event.shiftKey && COMMANDS[key])) {
      put(meant(), bin);
      advance();
    } else if (COMMANDS[key]) COMMANDS[key]();
    else return;
    event.preventDefault();
  });
  let at = "";
  shown.surface.addEventListener("pointermove", ({ pointerType, clientX, clientY }) => {
    // a surface that scrolls under a mouse at rest sends this too
    if (pointerType !== "touch" && at !== `${clientX} ${clientY}`) usesMouse = true;
    at = `${clientX} ${clientY}`;
  });
  $("cells").addEventListener("focus", () => {
    if (!shown.active && !usesMouse) shown.setActive(sight(), { reveal: false });
  });

  const on = (id, run) => $(id).addEventListener("click", run);
  on("undo", () => cells.undo());
  on("redo", () => cells.redo());
  on("keys", () => $("help").showModal());
  for (const id of ["clear", "bar-clear"]) on(id, () => shown.select([]));
  for (const id of ["accept", "bar-accept"]) on(id, () => accept([...shown.selection]));
  on("bar-open", () => {
    const i = [...shown.selection].at(-1);
    if (view.group[i]) open([view.group[i], view.slot[i]]);
  });
  on("all", () => {
    view.only = null;
    $("all").hidden = true;
    history.replaceState(null, "", location.pathname);
    shown.rebuild();
  });
  $("order").value = view.order;
  $("order").addEventListener("change", ({ target }) => {
    view.order = target.value;
    keep("order", target.value);
    shown.rebuild();
  });
  $("filter").value = view.filter;
  $("filter").addEventListener("change", ({ target }) => {
    view.filter = target.value;
    shown.rebuild();
  });
  Object.assign($("size"), { min: SIZES.least, max: SIZES.most, step: SIZES.step, value: view.size });
  $("size").addEventListener("input", ({ target }) => resize(Number(target.value)));
  for (const id of ["undo", "redo"]) $(id).disabled = !cells.canChange;
  $("empty").hidden = cells.n > 0;
  cells.watch();
  document.documentElement.dataset.ready = "gallery"; // for tests and benchmarks
}

call(`cells?reading=${session.reading.number}`)
  .then(start)
  .catch((error) => {
    if (!error.code) throw error;
    toast(error.message, { kind: "error" });
  });
