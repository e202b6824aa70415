// The differential as it is now: asked for every two seconds while the page is seen.
import { ApiError, call, session } from "./api.js";
import { announce, count, el, plural, toast } from "./shell.js";

const EVERY = 2000;
const SVG = "http://www.w3.org/2000/svg";
const place = (id) => document.getElementById(id);
const percent = (share) => (share?.share == null ? "" : (100 * share.share).toFixed(1));
const span = (low, high) => `${(100 * low).toFixed(1)}–${(100 * high).toFixed(1)}`;
const interval = (share) => (share?.share == null ? "" : span(share.low, share.high));

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** A bar of a share with its interval; `top` is the share at the right end. */
function bar(share, top) {
  if (share?.share == null) return null;
  const x = (value) => ((100 * value) / top).toFixed(2);
  const made = shape("svg", { class: "share", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  made.append(
    shape("rect", { class: "share-track", width: 100, height: 10 }),
    shape("rect", { class: "share-bar", width: x(share.share), height: 10 }),
    shape("line", { class: "share-line", x1: x(share.low), x2: x(share.high), y1: 5, y2: 5 }),
  );
  return made;
}

function card(name, value, note) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value, el("span", { class: "note" }, note)));
}

function pair(name, value, attributes = {}) {
  return el("tr", {}, el("th", { scope: "row" }, name), el("td", attributes, value));
}

const SHIFT = [
  ["bands", "Bands"],
  ["immature_granulocytes", "Immature granulocytes"],
  ["immature_to_total", "Immature / total"],
];

function show(d) {
  const left = Math.max(0, d.target - d.confirmed_white_cells);
  place("lead").textContent = left
    ? `${count(d.confirmed_white_cells)} of ${count(d.target)} white cells are confirmed; ${count(left)} to go.`
    : `${plural(d.confirmed_white_cells, "white cell")} confirmed: the target of ${count(d.target)} is reached.`;
  const red = d.erythroblasts_per_100;
  const targets = d.targets.map((t) => `${t.confirmed}/${t.target}`).join(" · ");
  place("cards").replaceChildren(
    card("White cells", count(d.white_cells), `confirmed: ${targets}`),
    card("Erythroblasts per 100", red ? red.value.toFixed(1) : "–", red ? `95 % interval ${red.low.toFixed(1)}–${red.high.toFixed(1)}` : "no white cell"),
    card("Platelets", count(d.platelets), "counted apart"),
    card("Unidentified", count(d.unidentified), d.cut ? `${count(d.cut)} cut by an edge are not counted` : "not counted"),
  );
  place("at-target").textContent = `95 % at ${count(d.target)}`;
  const top = Math.max(0.1, ...d.rows.map((row) => row.white?.high ?? 0));
  place("rows").replaceChildren(
    ...d.rows.map((row) =>
      el("tr", {},
        el("th", { scope: "row" }, row.code),
        el("td", {}, row.name),
        el("td", { class: "out-wide" }, bar(row.white, top)),
        el("td", { class: "n" }, count(row.n)),
        el("td", { class: "n strong" }, percent(row.white)),
        el("td", { class: "n" }, interval(row.white)),
        el("td", { class: "n quiet" }, row.at_target ? span(...row.at_target) : ""),
        el("td", { class: "n" }, percent(row.nucleated)),
      ),
    ),
  );
  place("shift").replaceChildren(
    ...SHIFT.map(([key, name]) => {
      const share = d.left_shift[key];
      const known = share?.share != null;
      return pair(name, known ? `${percent(share)} % (${interval(share)}), ${share.n} of ${share.of}` : "–");
    }),
  );
  place("flags").replaceChildren(
    ...(d.flags.length
      ? d.flags.map((flag) => pair(el("code", {}, flag.rule), flag.said, flag.fired ? { class: "strong wrong" } : {}))
      : [el("tr", {}, el("td", {}, "No rule is set."))]),
  );
}

let last = "";
async function ask() {
  try {
    const answer = await call(`differential?reading=${session.reading.number}`);
    const text = JSON.stringify(answer);
    if (text === last) return;
    if (last) announce("The differential has changed.");
    last = text;
    show(answer);
  } catch (error) {
    if (!last) place("lead").textContent = error.message;
  }
}

place("settings")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const rules = place("rules").value.split("\n").map((line) => line.trim()).filter(Boolean);
  try {
    await call("settings", { method: "PUT", body: { rules, target: Number(place("target").value) } });
    toast("Rules and target are saved.");
    await ask();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, { kind: "error" });
  }
});

await ask();
setInterval(() => document.visibilityState === "visible" && ask(), EVERY);
