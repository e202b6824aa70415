// Which cells were looked at. A cell counts as seen when it was acted on or opened, or when all of
// its picture stood still in sight, on a page in the foreground, long enough for every unseen cell
// beside it to be looked at too. Very small pictures never count.

const BASE_MS = 1000; // to find one's way after scrolling
const EACH_MS = 50; // for each unseen cell in sight; reading 16,000 cells an hour takes 225
const LEAST_PX = 48; // below this a nucleus cannot be judged

export class SeenWatch {
  constructor(shown) {
    this.shown = shown;
    this.surface = shown.surface;
    this.surface.addEventListener("scroll", () => this.stop(), { passive: true });
    document.addEventListener("visibilitychange", () => this.start());
  }

  stop() {
    clearTimeout(this.timer);
  }

  /** Begin to count time for what is in sight now. */
  start() {
    this.stop();
    const { cells, view } = this.shown;
    if (!cells.canChange || document.visibilityState !== "visible" || view.size < LEAST_PX) return;
    const waiting = this.shown.inSight().filter((i) => !cells.seen[i]);
    const isCovered = document.querySelector("dialog[open]") !== null;
    if (!waiting.length || isCovered) return;
    this.timer = setTimeout(() => {
      if (document.querySelector("dialog[open]")) return;
      const now = new Set(this.shown.inSight());
      cells.change(waiting.filter((i) => now.has(i) && !cells.seen[i]), "seen");
    }, BASE_MS + EACH_MS * waiting.length);
  }
}
