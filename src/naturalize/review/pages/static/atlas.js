// Typical reference cells of each class.
import { call } from "./api.js";
import { el } from "./shell.js";

for (const section of document.querySelectorAll("#atlas section")) {
  const { code } = section.dataset;
  const [list, note] = [section.querySelector("ul"), section.querySelector("p")];
  call(`atlas/${encodeURIComponent(code)}`)
    .then(({ cells }) => {
      list.append(...cells.map(({ url }) => el("li", {}, el("img", { src: url, alt: `Reference cell, ${code}`, loading: "lazy" }))));
      note.textContent = "There is no reference cell of this class.";
      note.hidden = cells.length > 0;
    })
    .catch((error) => (note.textContent = error.message));
}
