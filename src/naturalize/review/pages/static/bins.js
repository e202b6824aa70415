// The list of bins beside the surface, and below it on phones; counts and shares of all of them.
import { count, el } from "./shell.js";

export class Bins {
  /** `lists`: elements to fill; `beside`: codes that are not white cells; `act(bin)` on a press. */
  constructor(lists, shown, { beside, keys, act }) {
    this.shown = shown;
    this.cells = shown.cells;
    const { classes } = this.cells;
    this.isWhite = [false, ...classes.map(({ code }) => !beside.includes(code))];
    this.isPer100 = [false, ...classes.map(({ code }) => beside.includes(code) && !/^(PLT|platelet)$/.test(code))];
    this.parts = lists.map((list) =>
      [null, ...classes].map((one, bin) => {
        const made = { count: el("span", { class: "tab-count" }), share: el("span", { class: "tab-share" }) };
        const swatch = el("span", { class: "swatch" });
        if (one) swatch.style.background = one.colour;
        made.button = el("button", { type: "button", class: "tab", "data-bin": bin, onclick: () => act(bin, list) },
          swatch, el("span", { class: "tab-code" }, one ? one.code : "?"),
          el("span", { class: "tab-name" }, this.cells.binName(bin)),
          el("kbd", { class: "tab-key" }, keys[bin] || "–"), made.count, made.share);
        list.append(el("li", {}, made.button));
        return made;
      }),
    );
    this.update();
  }

  /** Return the share of a bin as text: per cent of white cells, or of erythroblasts per 100. */
  share(bin) {
    const { counts } = this.cells;
    const white = counts.reduce((sum, n, b) => sum + (this.isWhite[b] ? n : 0), 0);
    if (!white) return "";
    const value = ((100 * counts[bin]) / white).toFixed(1);
    if (this.isWhite[bin]) return `${value} %`;
    return this.isPer100[bin] ? `${value} / 100` : "";
  }

  update() {
    const { counts, unseenIn } = this.cells;
    for (let bin = 0; bin < counts.length; bin++) {
      const number = count(counts[bin]);
      const share = this.share(bin);
      for (const list of this.parts) {
        const { count: n, share: s, button } = list[bin];
        if (n.textContent !== number) n.textContent = number;
        if (s.textContent !== share) s.textContent = share;
        button.classList.toggle("is-unseen", unseenIn[bin] > 0);
        button.classList.toggle("is-empty", counts[bin] === 0);
      }
      const head = this.shown.heads[bin];
      if (!head) continue;
      const open = unseenIn[bin] ? `${count(unseenIn[bin])} unseen` : "";
      const text = [number, share, open].filter(Boolean);
      if (head.count.textContent !== text[0]) head.count.textContent = text[0];
      const rest = text.slice(1).join(" · ");
      if (head.share.textContent !== rest) head.share.textContent = rest;
    }
  }
}
