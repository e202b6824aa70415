// The report: printed, and given as FHIR with the patient and specimen that a person enters.
import { call, session } from "./api.js";
import { el, toast } from "./shell.js";

const $ = (id) => document.getElementById(id);
const dialog = $("fhir-dialog");
const reading = Number(dialog.dataset.reading);

async function exported() {
  session.csrf = (await call("session")).csrf; // a server that was started anew has another token
  const named = Object.fromEntries(["patient", "specimen"].map((id) => [id, $(id).value.trim() || null]));
  const answer = await fetch("/api/v1/exports/fhir", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": session.csrf },
    body: JSON.stringify({ reading, ...named }),
  });
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  const href = URL.createObjectURL(await answer.blob());
  const [, download] = answer.headers.get("Content-Disposition").match(/filename="(.+)"/);
  el("a", { href, download }).click();
  URL.revokeObjectURL(href);
}

$("print").addEventListener("click", () => window.print());
$("fhir").addEventListener("click", () => {
  dialog.returnValue = "";
  dialog.showModal();
});
dialog.addEventListener("close", () => {
  if (dialog.returnValue === "yes") exported().catch((error) => toast(error.message, { kind: "error" }));
});
