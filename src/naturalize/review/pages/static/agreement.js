// Two readers, and the model against the person.
import { call, post, session } from "./api.js";
import { announce, count, el, plural, toast } from "./shell.js";

const place = (id) => document.getElementById(id);
const codes = session.classes.map((each) => each.code);
const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;
const named = (code) => code ?? "unidentified";
const percent = (s) => (s.share == null ? "–" : `${(100 * s.share).toFixed(1)} (${(100 * s.low).toFixed(1)}–${(100 * s.high).toFixed(1)})`);
const spanned = (pair, digits = 2) => pair.map((v) => (v == null ? "∞" : v.toFixed(digits))).join(" to ");

/** Fill a table of counts; `of(row, column)` is a number. */
function matrix(table, rows, columns, of) {
  table.tHead.replaceChildren(
    el("tr", {}, el("td"), ...columns.map((code) => el("th", { scope: "col" }, code))),
  );
  table.tBodies[0].replaceChildren(
    ...rows.map((row) =>
      el("tr", {}, el("th", { scope: "row" }, row),
        ...columns.map((column) => {
          const n = of(row, column);
          return el("td", { class: n ? (row === column ? "same" : "other") : "quiet" }, n ? count(n) : "·");
        }))),
  );
}

// ---- two readers

const adjudicates = session.reading.number === 3 && session.reading.status === "open" && session.role !== "reader";
const state = new Map(); // cell → {label, version} in the adjudicated reading
const keyOf = new Map(session.classes.map((each) => [each.key, each.code]));

function tile([id, first, second]) {
  const now = state.get(id);
  const text = el("span", {}, `${named(first)} / ${named(second)}`);
  const verdict = now?.seen ? el("b", {}, ` → ${named(now.label)}`) : null;
  const made = el("button", { type: "button", "data-cell": id, class: now?.seen && "settled" },
    el("img", { src: `/api/v1/cells/${id}/thumbnail`, alt: `Cell ${id}`, loading: "lazy", width: 96, height: 96 }), text, verdict);
  if (!adjudicates) made.addEventListener("click", () => location.assign(`/gallery?cells=${id}`));
  return el("li", {}, made);
}

async function settle(id, label, entry) {
  try {
    const found = await post("changes", { reading: 3, cells: [id], versions: [state.get(id).version], label, kind: "label" });
    const [[, index, seen, version]] = found.cells;
    state.set(id, { label: codes[index] ?? null, seen: Boolean(seen), version });
    const old = document.querySelector(`[data-cell="${id}"]`).closest("li");
    const made = tile(entry);
    old.replaceWith(made);
    announce(`Cell ${id} is ${label}`);
    (made.nextElementSibling ?? made).querySelector("button").focus();
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
}

async function readers() {
  let found;
  try {
    found = await call("agreement");
  } catch (error) {
    place("readers-lead").textContent = sentence(error.message);
    return;
  }
  const { n, same, kappa, interval, disagreements } = found;
  const beyond = kappa == null ? "" : ` Cohen’s kappa: ${kappa.toFixed(3)}${interval ? ` (95 % interval ${interval.map((v) => v.toFixed(3)).join("–")})` : ""}.`;
  place("readers-lead").textContent = `They name ${count(same)} of ${plural(n, "cell")} alike.${beyond}`;
  const firsts = [...new Set(disagreements.map(([, a]) => named(a)))];
  const seconds = [...new Set(disagreements.map(([, , b]) => named(b)))];
  if (disagreements.length) {
    matrix(place("pairs"), firsts, seconds, (a, b) => disagreements.filter(([, x, y]) => named(x) === a && named(y) === b).length);
    place("pairs").hidden = false;
    place("readers-actions").append(el("a", { class: "button", href: `/gallery?cells=${disagreements.slice(0, 500).map(([id]) => id).join(",")}` }, "Show these in the gallery"));
  }
  if (session.role !== "reader" && !session.readings.some((reading) => reading.number === 3)) {
    place("readers-actions").append(el("button", { type: "button", class: "primary", onclick: async () => {
      try {
        await post("adjudicate", {});
        location.reload();
      } catch (error) {
        toast(error.message, { kind: "error" });
      }
    } }, "Adjudicate"));
  }
  if (adjudicates) {
    const columns = await call("cells?reading=3");
    columns.ids.forEach((id, i) => state.set(id, { label: codes[columns.label[i]] ?? null, seen: Boolean(columns.seen[i]), version: columns.version[i] }));
    place("keys").hidden = false;
    place("keys").append("Choose a cell, then press its class: ",
      ...session.classes.flatMap((each) => [el("kbd", {}, each.key), ` ${each.code}  `]));
    place("differ").addEventListener("keydown", (event) => {
      const id = Number(event.target.closest("[data-cell]")?.dataset.cell);
      const code = keyOf.get(event.key);
      if (!id || !code || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      settle(id, code, disagreements.find(([cell]) => cell === id));
    });
  }
  place("differ").replaceChildren(...disagreements.map(tile));
}

// ---- model and person

let compared;

function row(name, value) {
  return el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value));
}

async function plot(code) {
  const found = compared.regression.find((each) => each.code === code);
  const rows = [row("Samples beyond the limits of chance", `${found.beyond_chance} of ${found.person.length}`)];
  const line = found.passing_bablok;
  if (line) {
    rows.push(
      row("Passing–Bablok slope", `${line.slope.toFixed(3)} (${spanned(line.slope_interval, 3)})`),
      row("Passing–Bablok intercept", `${line.intercept.toFixed(2)} (${spanned(line.intercept_interval)})`));
  }
  const difference = found.bland_altman;
  if (difference) {
    rows.push(
      row("Bland–Altman bias, percentage points", `${difference.bias.toFixed(2)} (${spanned(difference.bias_interval)})`),
      row("Limits of agreement", `${spanned(difference.limits)} (lower ${spanned(difference.lower_interval)}, upper ${spanned(difference.upper_interval)})`));
  }
  place("fit").tBodies[0].replaceChildren(...rows);
  const figures = await Promise.all(["passing-bablok", "bland-altman"].map(async (kind) => {
    const answer = await fetch(`/api/v1/comparison/${encodeURIComponent(code)}/${kind}?reading=${session.reading.number}`);
    if (!answer.ok) return null;
    return document.importNode(new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement, true);
  }));
  place("plots").replaceChildren(...figures.filter(Boolean));
}

async function model() {
  try {
    compared = await call(`comparison?reading=${session.reading.number}`);
  } catch (error) {
    place("model-lead").textContent = sentence(error.message);
    return;
  }
  const c = compared;
  place("model-lead").textContent =
    `Of ${plural(c.cells, "confirmed cell")} the model named ${percent(c.accuracy)} % as the person did${c.unidentified ? `, and gave ${count(c.unidentified)} no class` : ""}. ` +
    (c.kappa.value == null ? "Cohen’s kappa is not defined for one class." : `Cohen’s kappa: ${c.kappa.value.toFixed(3)} (95 % interval ${c.kappa.interval.map((v) => v.toFixed(3)).join("–")}, by bootstrap over ${c.drawn}).`);
  place("classes").tBodies[0].replaceChildren(
    ...c.per_class.map((each) =>
      el("tr", {}, el("th", { scope: "row" }, each.code),
        ...[count(each.pre), count(each.post), percent(each.sensitivity), percent(each.specificity), percent(each.predictive)]
          .map((text) => el("td", { class: "n" }, text)))));
  const used = c.classes.filter((code, i) => c.confusion[i].some(Boolean) || c.confusion.some((line) => line[i]));
  const at = new Map(c.classes.map((code, i) => [code, i]));
  matrix(place("confusion"), used.filter((code) => c.confusion[at.get(code)].some(Boolean)), used, (a, b) => c.confusion[at.get(a)][at.get(b)]);
  const { sensitivity, specificity, samples } = c.immature;
  place("immature").textContent =
    `Any immature or blast-like cell in a sample (${plural(samples, "sample")}): sensitivity ${percent(sensitivity)} %, specificity ${percent(specificity)} %.`;
  place("samples").textContent = c.enough
    ? `${plural(c.samples.length, "sample")}: fields, or folders of single images.`
    : `${plural(c.samples.length, "sample")} (fields, or folders of single images): too few to compare two methods, which needs 40 (CLSI EP09c). What follows describes these samples only.`;
  const choice = place("class");
  choice.replaceChildren(...c.regression.map((each) => el("option", {}, each.code)));
  choice.addEventListener("change", () => plot(choice.value));
  place("model").hidden = false;
  if (c.regression.length) await plot(choice.value);
}

await Promise.all([readers(), model()]);
