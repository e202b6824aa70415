// What every page has: theme, log out, progress, short messages.
import { post, session } from "./api.js";

const THEMES = { "": ["◐", "as the system"], light: ["○", "light"], dark: ["●", "dark"] };

function showTheme(button) {
  const [sign, name] = THEMES[document.documentElement.dataset.theme ?? ""];
  button.textContent = sign;
  button.title = `Theme: ${name}`;
  button.setAttribute("aria-label", `Theme: ${name}. Change`);
}

const themeButton = document.getElementById("theme");
if (themeButton) {
  showTheme(themeButton);
  themeButton.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    const now = names.indexOf(document.documentElement.dataset.theme ?? "");
    const next = names[(now + 1) % names.length];
    if (next) {
      document.documentElement.dataset.theme = next;
      localStorage.setItem("nz-theme", next);
    } else {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem("nz-theme");
    }
    showTheme(themeButton);
  });
}

document.getElementById("logout")?.addEventListener("click", async () => {
  await post("logout").catch(() => {});
  location.assign("/login");
});

export const count = (n) => n.toLocaleString("en");
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** Is a cell of an atlas one of this review, because it has no reference cells? */
export const isOwn = ({ url }) => Number(url.split("/").pop()) > 1e9; // service.pictures.OWN

/** Make an element: `el("a", { class: "x", href: "/" }, "text", child)`. Text is never HTML. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/** Set a text where it is another: what stays the same costs the browser nothing. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set an attribute where it is another. */
export function set(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** Show in the head what is still to be done before the reading can be signed. */
export function showProgress({ total, unidentified, unseen }) {
  const place = document.getElementById("progress");
  if (!place) return;
  const isSigned = session.reading.status === "signed";
  const open = [];
  if (unidentified) open.push(`${count(unidentified)} unidentified`);
  if (unseen) open.push(`${count(unseen)} unseen`);
  const text = isSigned
    ? `signed by ${session.reading.signed_by}`
    : open.join(" · ") || "ready to sign";
  const done = total ? Math.floor((100 * (total - unseen)) / total) : 100;
  const bar = el("progress", { max: 100, value: done, "aria-label": "Cells seen" });
  place.replaceChildren(el("a", { href: "/sign-off" }, bar, el("span", {}, text)));
}

/** Say something to a screen reader. */
export function announce(text) {
  document.getElementById("announce").textContent = text;
}

/** Show a short message; `action` is a button's text and what it does. Errors stay until closed. */
export function toast(text, { kind = "done", action = null, seconds = 6 } = {}) {
  const place = document.getElementById("toasts");
  const line = el("div", { class: `toast toast-${kind}` }, el("span", {}, text));
  const close = () => line.remove();
  if (action) {
    const [name, run] = action;
    line.append(el("button", { type: "button", class: "plain", onclick: () => (close(), run()) }, name));
  }
  line.append(el("button", { type: "button", class: "icon", "aria-label": "Close", onclick: close }, "×"));
  if (kind === "error") line.setAttribute("role", "alert");
  else {
    for (const old of place.querySelectorAll(".toast-done")) old.remove();
    announce(text);
    setTimeout(close, seconds * 1000);
  }
  place.append(line);
  while (place.children.length > 4) place.firstElementChild.remove();
}

if (session) showProgress(session.progress);
