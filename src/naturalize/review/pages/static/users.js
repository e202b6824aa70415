// Users of the review; administrators only.
import { call, post } from "./api.js";
import { el, toast } from "./shell.js";

const ROLES = ["reader", "reviewer", "admin"];
const place = (id) => document.getElementById(id);

async function change(user, values, said) {
  try {
    await call("users", { method: "PATCH", body: { name: user.name, ...values } });
    toast(said);
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
  await show();
}

function line(user) {
  const role = el("select", { "aria-label": `Role of ${user.name}`, onchange: (event) => change(user, { role: event.target.value }, `${user.name} is ${event.target.value} now.`) },
    ...ROLES.map((name) => el("option", { selected: name === user.role }, name)));
  const active = el("input", { type: "checkbox", checked: user.active, "aria-label": `${user.name} may log in`, onchange: (event) => change(user, { active: event.target.checked }, `${user.name} ${event.target.checked ? "may log in again" : "may not log in any more"}.`) });
  const password = el("input", { type: "password", required: true, autocomplete: "new-password", "aria-label": `New password of ${user.name}` });
  const form = el("form", { class: "row", onsubmit: (event) => {
    event.preventDefault();
    change(user, { password: password.value }, `${user.name} has a new password.`);
  } }, password, el("button", { type: "submit" }, "Set"));
  return el("tr", {}, el("th", { scope: "row" }, user.name), el("td", {}, role), el("td", {}, active), el("td", {}, form));
}

async function show() {
  try {
    const { users } = await call("users");
    place("users").replaceChildren(...users.map(line));
    place("said").textContent = "";
  } catch (error) {
    place("said").textContent = error.message;
  }
}

place("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = Object.fromEntries(["name", "role", "password"].map((id) => [id, place(id).value]));
  try {
    await post("users", body);
    toast(`${body.name} is added.`);
    event.target.reset();
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
  await show();
});

await show();
