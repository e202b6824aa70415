// The cells of a reading: typed columns, counts that are kept as cells change, and the changes.
//
// A change is painted at once and sent in the order of its making. Until the server has confirmed
// it, what was confirmed last is held; a refusal puts that back.
import { call, post, session } from "./api.js";
import { count } from "./shell.js";

const POLL_MS = 2000; // the contract of /api/v1/events

export class Cells {
  /** `columns` is the answer of /api/v1/cells. `onChange(i, before, after, wasSeen)`: a cell's bins. */
  constructor(columns) {
    this.n = columns.ids.length;
    this.ids = columns.ids;
    this.label = Int16Array.from(columns.label);
    this.model = Int16Array.from(columns.model);
    this.seen = Uint8Array.from(columns.seen);
    this.version = Int32Array.from(columns.version);
    this.doubt = Float32Array.from(columns.doubt);
    this.cluster = Int32Array.from(columns.cluster);
    this.rank = Int32Array.from(columns.rank);
    this.area = Float32Array.from(columns.area, (x) => x ?? -1);
    this.taken = Float64Array.from(columns.taken, (x) => x ?? Infinity);
    this.flag = Int32Array.from(columns.flag);
    this.flags = columns.flags;
    this.event = columns.event;
    this.index = new Map(columns.ids.map((id, i) => [id, i]));
    this.news = new Set(); // cells that others changed, not yet announced
    this.classes = session.classes;
    this.reading = session.reading.number;
    this.canChange = session.role !== "reader" && session.reading.status === "open";
    // bin 0 is unidentified, bin b holds the class b − 1
    this.counts = new Int32Array(this.classes.length + 1);
    this.unseenIn = new Int32Array(this.classes.length + 1);
    for (let i = 0; i < this.n; i++) {
      this.counts[this.label[i] + 1]++;
      if (!this.seen[i]) this.unseenIn[this.label[i] + 1]++;
    }
    // how often others gave a cell another class: a change is decided on what was there to see
    this.foreign = new Int32Array(this.n);
    this.pending = new Map(); // cell → {count, label, seen}: what the server confirmed last
    this.queue = [];
    this.isSending = false;
    this.onChange = () => {};
    this.onDone = () => {}; // (change, answer) of an own change
    this.onProblem = () => {}; // (text)
    this.onOthers = () => {}; // (number of cells, users)
  }

  get unseen() {
    return this.unseenIn.reduce((sum, n) => sum + n, 0);
  }

  get progress() {
    const { unseen } = this;
    return { total: this.n, unidentified: this.counts[0], unseen, seen: this.n - unseen };
  }

  binName(bin) {
    return bin === 0 ? "unidentified" : this.classes[bin - 1].name;
  }

  binCode(bin) {
    return bin === 0 ? "?" : this.classes[bin - 1].code;
  }

  /** The area of a cell as text. */
  sizeOf(i) {
    return this.area[i] < 0 ? "size not known" : `${count(this.area[i])} px`;
  }

  flagOf(i) {
    return this.flags[this.flag[i]] ?? "";
  }

  #show(i, label, seen) {
    const before = this.label[i] + 1;
    const after = label + 1;
    const wasSeen = this.seen[i];
    if (before === after && wasSeen === seen) return;
    this.counts[before]--;
    this.counts[after]++;
    if (!wasSeen) this.unseenIn[before]--;
    if (!seen) this.unseenIn[after]++;
    this.label[i] = label;
    this.seen[i] = seen;
    this.onChange(i, before, after, wasSeen);
  }

  /** Change cells: `kind` is "label" (to `label`, −1 unidentified), "accept" or "seen". */
  change(indices, kind, label = null) {
    if (!this.canChange || !indices.length) return;
    const change = { kind, label, indices: [...indices], tried: false };
    change.marks = new Map(change.indices.map((i) => [i, this.foreign[i]]));
    for (const i of change.indices) {
      const held = this.pending.get(i);
      if (held) held.count++;
      else this.pending.set(i, { count: 1, label: this.label[i], seen: this.seen[i] });
      this.#show(i, kind === "label" ? label : this.label[i], 1);
    }
    this.#enqueue(change);
  }

  undo() {
    if (this.canChange) this.#enqueue({ kind: "undo", indices: [] });
  }

  redo() {
    if (this.canChange) this.#enqueue({ kind: "redo", indices: [] });
  }

  #enqueue(change) {
    this.queue.push(change);
    if (!this.isSending) this.#send();
  }

  async #send() {
    this.isSending = true;
    while (this.queue.length) {
      const change = this.queue.shift();
      try {
        const answer = await this.#post(change);
        this.#confirm(change, answer);
      } catch (error) {
        if (error.code === "conflict") this.#confirm(change, error.more);
        else {
          this.#settle(change.indices);
          this.onProblem(`Not saved: ${error.message}`);
        }
      }
    }
    this.isSending = false;
  }

  #post({ kind, label, indices, marks }) {
    if (kind === "undo" || kind === "redo") return post(kind, { reading: this.reading });
    return post("changes", {
      reading: this.reading,
      cells: indices.map((i) => this.ids[i]),
      // version 0 is refused where another has changed the cell: the answer says who and when
      versions: indices.map((i) => (marks.get(i) === this.foreign[i] ? this.version[i] : 0)),
      label: kind === "label" && label >= 0 ? this.classes[label].code : null,
      kind,
    });
  }

  #confirm(change, { cells = [], conflicts = [], action = null }) {
    const again = [];
    const lost = [];
    const states = [];
    for (const conflict of conflicts) {
      const i = this.index.get(conflict.id);
      const label = this.classes.findIndex(({ code }) => code === conflict.label);
      // somebody only touched it: the class on which this change was decided still stands
      const stands = this.pending.get(i)?.label === label && change.marks?.get(i) === this.foreign[i];
      this.version[i] = conflict.version;
      if (stands && !change.tried && change.kind !== "undo" && change.kind !== "redo") again.push(i);
      else {
        if (change.kind !== "seen") lost.push({ ...conflict, label });
        states.push([conflict.id, label, null, conflict.version]);
      }
    }
    if (again.length) this.queue.unshift({ ...change, indices: again, tried: true });
    const waiting = new Set(again);
    this.#take(states, false);
    this.#take(cells, change.kind !== "seen");
    this.#settle(change.indices.filter((i) => !waiting.has(i)));
    for (const { id } of lost) this.news.delete(this.index.get(id)); // that is said here
    if (lost.length) this.onProblem(this.#lostText(lost));
    this.onDone(change, { cells, action, lost });
  }

  #lostText(lost) {
    const { id, user, at, label } = lost[0];
    const when = new Date(at).toLocaleTimeString("en-GB");
    const more = lost.length > 1 ? `, and ${lost.length - 1} more` : "";
    return `Not changed: ${user} put cell ${id} into ${this.binName(label + 1)} at ${when}${more}.`;
  }

  /** Take over what the server says of cells; `isOwn`: by a change of this page. */
  #take(states, isOwn) {
    for (const [id, label, seen, version] of states) {
      const i = this.index.get(id);
      if (i === undefined) continue;
      this.version[i] = version;
      const held = this.pending.get(i);
      if (!isOwn && label !== (held ?? { label: this.label[i] }).label) {
        this.foreign[i]++;
        this.news.add(i); // who it was, the next poll says
      }
      if (held) Object.assign(held, { label, seen: seen ?? held.seen });
      else this.#show(i, label, seen ?? this.seen[i]);
    }
  }

  /** A request about cells has ended: what was confirmed last is shown, once none is under way. */
  #settle(indices) {
    for (const i of indices) {
      const held = this.pending.get(i);
      if (!held || --held.count > 0) continue;
      this.pending.delete(i);
      this.#show(i, held.label, held.seen);
    }
  }

  /** Ask for others' changes every two seconds while the page is looked at. */
  watch() {
    setInterval(() => document.visibilityState === "visible" && this.poll(), POLL_MS);
  }

  async poll() {
    let answer;
    try {
      answer = await call(`events?after=${this.event}&reading=${this.reading}`);
    } catch {
      return; // the next change says so
    }
    this.event = answer.event;
    const states = answer.cells.filter(([id, label, seen, version]) => {
      const i = this.index.get(id);
      if (i === undefined || version < this.version[i]) return false;
      const isNewer = version > this.version[i];
      if (isNewer && label !== this.label[i]) this.news.add(i);
      // the answer to a change or a mark that is under way brings the same
      if (this.pending.has(i)) return false;
      return isNewer || (seen > this.seen[i] && label === this.label[i]);
    });
    this.#take(states, false);
    const others = answer.users.filter((user) => user !== session.user);
    if (this.news.size && others.length) this.onOthers(this.news.size, others);
    this.news.clear();
  }
}
