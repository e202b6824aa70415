// The bins: a list beside the surface, one below it on phones, and their headings on it; each with
// its count and share.
import { count, el, plural, write } from "./shell.js";

/** A spot in the colour of a bin; an empty one for unidentified. */
export function swatch({ classes }, bin) {
  const made = el("span", { class: "swatch" });
  if (bin) made.style.background = classes[bin - 1].colour;
  return made;
}

export class Bins {
  /** `lists` and `total`: elements to fill; `beside`: codes that are no white cells; `act(bin, list)`. */
  constructor(lists, cells, { total, beside, keys, act }) {
    Object.assign(this, { cells, total });
    const codes = cells.classes.map(({ code }) => code);
    this.isWhite = [false, ...codes.map((code) => !beside.includes(code))];
    this.isPer100 = [false, ...codes.map((code) => beside.includes(code) && !/^(PLT|platelet)$/.test(code))];
    const bins = [...this.isWhite.keys()];
    this.heads = bins.map((bin) => this.#head(bin, keys[bin]));
    this.tabs = lists.map((list) => bins.map((bin) => this.#tab(bin, keys[bin] || "–", () => act(bin, list))));
    lists.forEach((list, i) => list.append(...this.tabs[i].map(({ node }) => el("li", {}, node))));
    this.update();
  }

  #tab(bin, key, onclick) {
    const { cells } = this;
    const made = { count: el("span", { class: "tab-count" }), share: el("span", { class: "tab-share" }) };
    made.node = el("button", { type: "button", class: "tab", "data-bin": bin, onclick },
      swatch(cells, bin), el("span", { class: "tab-code" }, cells.binCode(bin)),
      el("span", { class: "tab-name" }, cells.binName(bin)), el("kbd", { class: "tab-key" }, key), made.count, made.share);
    return made;
  }

  /** A box as high as a bin, in which its heading sticks to the top. */
  #head(bin, key) {
    const { cells } = this;
    const name = cells.binName(bin);
    const made = { count: el("span", { class: "bin-count" }), share: el("span", { class: "bin-share" }) };
    made.node = el("section", { class: "bin", "data-bin": bin, "aria-label": name },
      el("h2", { class: "bin-head" }, swatch(cells, bin),
        bin ? el("span", { class: "bin-code" }, cells.binCode(bin)) : null,
        el("span", { class: "bin-name" }, name), key ? el("kbd", {}, key) : null, made.count, made.share));
    return made;
  }

  get white() {
    return this.cells.counts.reduce((sum, n, bin) => sum + (this.isWhite[bin] ? n : 0), 0);
  }

  /** Return the share of a bin as text: per cent of white cells, or of erythroblasts per 100. */
  share(bin) {
    const { white } = this;
    if (!white) return "";
    const value = ((100 * this.cells.counts[bin]) / white).toFixed(1);
    if (this.isWhite[bin]) return `${value} %`;
    return this.isPer100[bin] ? `${value} / 100` : "";
  }

  update() {
    const { counts, unseenIn } = this.cells;
    write(this.total, plural(this.white, "white cell"));
    this.heads.forEach((head, bin) => {
      const [number, share] = [count(counts[bin]), this.share(bin)];
      for (const tabs of this.tabs) {
        const tab = tabs[bin];
        write(tab.count, number);
        write(tab.share, share);
        tab.node.classList.toggle("is-unseen", unseenIn[bin] > 0);
        tab.node.classList.toggle("is-empty", counts[bin] === 0);
      }
      const open = unseenIn[bin] ? `${count(unseenIn[bin])} unseen` : "";
      write(head.count, number);
      write(head.share, [share, open].filter(Boolean).join(" · "));
    });
  }
}
