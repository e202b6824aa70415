// What blocks a signature, the signature, and what may follow it.
import { call, session } from "./api.js";
import { count, el, plural, showProgress, toast } from "./shell.js";

const NAMES = { 1: "first", 2: "second", 3: "adjudicated" };
const place = (id) => document.getElementById(id);
const when = (at) => (at ? `${at.slice(0, 10)} ${at.slice(11, 16)} UTC` : "");
const may = { sign: session.role !== "reader", reopen: session.role === "admin" };

function asked(id) {
  const dialog = place(id);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

async function act(path, body, said, method = "POST") {
  try {
    await call(path, { method, body });
    toast(said);
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
  await show();
}

function button(text, run, primary = false) {
  return el("button", { type: "button", class: primary && "primary", onclick: run }, text);
}

async function sign(now) {
  const cells = plural(now.progress.total, "cell");
  place("sign-text").textContent =
    `${now.user} signs the ${NAMES[now.reading.number]} reading: ${cells}, each seen and named. ` +
    "No label can be changed after that unless an administrator opens the reading again.";
  if (await asked("sign-dialog")) await act("sign", { reading: now.reading.number }, "The reading is signed.");
}

async function reopen(now) {
  place("reason").value = "";
  if (!(await asked("reopen-dialog"))) return;
  await act("reopen", { reading: now.reading.number, reason: place("reason").value }, "The reading is open again.");
}

async function replace(now) {
  place("replaced").textContent = now.second;
  for (const id of ["reader", "replace-reason"]) place(id).value = "";
  if (!(await asked("replace-dialog"))) return;
  const body = { reader: place("reader").value.trim(), reason: place("replace-reason").value };
  await act("second", body, `${body.reader} reads second.`, "PUT");
}

function block(n, what, why, only) {
  return el("li", {},
    el("b", {}, `${count(n)} ${what}`),
    el("span", {}, why),
    el("a", { href: `/gallery?only=${only}` }, "Show just these cells"));
}

async function show() {
  const now = await call("session");
  session.reading = now.reading;
  showProgress(now.progress);
  const { unidentified, unseen } = now.progress;
  const signed = now.reading.status === "signed";
  const name = NAMES[now.reading.number];
  const blocks = [];
  if (!signed && unidentified) blocks.push(block(unidentified, "unidentified", "A class must be chosen for each.", "unidentified"));
  if (!signed && unseen) blocks.push(block(unseen, "not seen", "A person must see, accept or rename each.", "unseen"));
  place("lead").textContent = signed
    ? `The ${name} reading is signed by ${now.reading.signed_by}, ${when(now.reading.signed_at)}.`
    : blocks.length
      ? `The ${name} reading cannot be signed yet.`
      : `Every cell of the ${name} reading is seen and named. It can be signed.`;
  place("blocks").replaceChildren(...blocks);
  const by = new Map(now.readings.map((reading) => [reading.number, reading]));
  const actions = [];
  if (!signed && may.sign) {
    const made = button("Sign", () => sign(now), true);
    made.disabled = blocks.length > 0;
    actions.push(made);
  }
  if (signed && may.reopen) actions.push(button("Open again …", () => reopen(now)));
  if (by.get(1)?.status === "signed" && !by.has(2) && !now.second && may.sign) {
    actions.push(button("Begin a second, blind reading", () => act("second", {}, "The second reading is open.").then(() => location.reload())));
  }
  if (now.second) actions.push(button("Replace the second reader …", () => replace(now)));
  if (by.get(1)?.status === "signed" && by.get(2)?.status === "signed") {
    actions.push(el("a", { class: "button", href: "/agreement" }, "Compare the two readings"));
  }
  place("actions").replaceChildren(...actions);
  place("readings").replaceChildren(
    ...now.readings.map((reading) =>
      el("tr", {},
        el("th", { scope: "row" }, `${NAMES[reading.number]}${reading.blind ? ", blind" : ""}`),
        el("td", {}, el("span", { class: `badge ${reading.status === "signed" ? "badge-good" : ""}` }, reading.status)),
        el("td", {}, reading.signed_by ?? "–"),
        el("td", {}, when(reading.signed_at) || "–"),
        el("td", {}, el("a", { href: `/report?reading=${reading.number}` }, "Report")))),
  );
}

await show();
