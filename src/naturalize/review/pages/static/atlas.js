// Typical reference cells of each class.
import { call } from "./api.js";
import { el, isOwn } from "./shell.js";

const OWN = "No reference cells were named (--reference): these are cells of this review of which the model is surest.";

for (const section of document.querySelectorAll("#atlas section")) {
  const { code } = section.dataset;
  const [list, note] = [section.querySelector("ul"), section.querySelector("p")];
  call(`atlas/${encodeURIComponent(code)}`)
    .then(({ cells }) => {
      list.append(...cells.map(({ url }) => el("li", {}, el("img", { src: url, alt: `Reference cell, ${code}`, loading: "lazy" }))));
      note.textContent = "There is no cell of this class to show.";
      note.hidden = cells.length > 0;
      if (cells.some(isOwn)) document.getElementById("origin").textContent = OWN;
    })
    .catch((error) => (note.textContent = error.message));
}
