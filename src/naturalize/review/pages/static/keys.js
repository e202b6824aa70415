// An administrator's own keys and classes: a form over the help; the page is read anew after a change.
import { call } from "./api.js";

const place = (id) => document.getElementById(id);

place("change-keys").addEventListener("click", () => {
  place("help").close();
  place("own-keys").showModal();
});
place("own-keys-cancel").addEventListener("click", () => place("own-keys").close());

place("own-keys-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const inputs = [...place("own-keys-list").querySelectorAll("input")];
  const keys = Object.fromEntries(inputs.filter(({ value }) => value).map(({ dataset, value }) => [dataset.code, value]));
  const further = place("further").value.trim();
  const bins = inputs.map(({ dataset }) => dataset.code);
  try {
    // the keys first: a further class then gets one that is free
    await call("settings", { method: "PUT", body: { keys } });
    if (further) await call("settings", { method: "PUT", body: { bins: [...bins, further] } });
    location.reload();
  } catch (error) {
    place("own-keys-said").textContent = error.message;
  }
});
