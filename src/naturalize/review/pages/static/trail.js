// The trail, newest first, filtered here.
import { call } from "./api.js";
import { count, el, plural } from "./shell.js";

const PIECE = 5000;
const SHOWN = 300;
const OF_CELLS = new Set(["label", "seen", "accept", "undo", "redo"]);
const place = (id) => document.getElementById(id);
const events = [];
let shown = SHOWN;

async function load() {
  events.length = 0;
  for (;;) {
    const after = events.at(-1)?.id ?? 0;
    const found = (await call(`trail?reading=${place("of-reading").value}&after=${after}&limit=${PIECE}`)).events;
    events.push(...found);
    if (found.length < PIECE) return;
    place("said").textContent = `${count(events.length)} lines so far …`;
  }
}

function label(event, code) {
  return event.cell != null && OF_CELLS.has(event.kind) ? (code ?? "unidentified") : (code ?? "");
}

function line(event) {
  const cell = event.cell == null ? "" : el("a", { href: `/gallery?cells=${event.cell}` }, String(event.cell));
  return el("tr", {},
    el("td", { class: "n quiet" }, count(event.id)),
    el("td", {}, el("time", { datetime: event.at }, `${event.at.slice(0, 10)} ${event.at.slice(11, 19)}`)),
    el("td", {}, event.user),
    el("td", {}, el("span", { class: `badge ${event.kind === "refused" || event.kind === "login-failed" ? "badge-alert" : ""}` }, event.kind)),
    el("td", {}, cell),
    el("td", {}, label(event, event.before)),
    el("td", {}, label(event, event.after)),
    el("td", {}, event.reason ?? ""));
}

function show() {
  const user = place("user").value;
  const kind = place("kind").value;
  const cell = Number(place("cell").value);
  const text = place("text").value.toLowerCase();
  const found = [];
  for (let i = events.length - 1; i >= 0; i--) {
    const event = events[i];
    if (user && event.user !== user) continue;
    if (kind && event.kind !== kind) continue;
    if (cell && event.cell !== cell) continue;
    if (text && ![event.before, event.after, event.reason].some((each) => each?.toLowerCase().includes(text))) continue;
    found.push(event);
  }
  place("said").textContent = `${plural(found.length, "line")} of ${count(events.length)}${found.length > shown ? `; the latest ${count(shown)} are shown` : ""}.`;
  place("rows").replaceChildren(...found.slice(0, shown).map(line));
  place("more").hidden = found.length <= shown;
}

function choices(id, values) {
  const [every] = place(id).options;
  const names = [...new Set(values)].sort();
  place(id).replaceChildren(every, ...names.map((value) => el("option", { value }, value)));
}

async function begin() {
  try {
    await load();
    choices("user", events.map((event) => event.user));
    choices("kind", events.map((event) => event.kind));
    show();
  } catch (error) {
    place("said").textContent = error.message;
  }
}

await begin();
place("of-reading").addEventListener("change", begin);
place("filter").addEventListener("submit", (event) => event.preventDefault());
place("filter").addEventListener("input", () => {
  shown = SHOWN;
  show();
});
place("more").addEventListener("click", () => {
  shown += SHOWN;
  show();
});
