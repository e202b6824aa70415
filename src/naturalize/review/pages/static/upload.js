// Images and ZIPs are sent, then classified in the background; says how far it is.
import { call, session } from "./api.js";
import { count, el, plural, toast } from "./shell.js";

const ASK_MS = 700; // between two questions how far it is

const $ = (id) => document.getElementById(id);
const drop = $("drop");

/** Send files; `onProgress` gets the share sent. fetch cannot say how much was sent. */
function send(files, onProgress) {
  const body = new FormData();
  for (const file of files) body.append("files", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/v1/uploads");
    request.setRequestHeader("X-CSRF-Token", session.csrf);
    request.responseType = "json";
    request.upload.addEventListener("progress", ({ loaded, total }) => onProgress(loaded / total));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(request.response);
      else reject(request.response?.error ?? { message: `The server answered ${request.status}.` });
    });
    request.addEventListener("error", () => reject({ message: "The server ended the connection: too large, or no longer running." }));
    request.send(body);
  });
}

function showRefused(refused) {
  $("reasons").replaceChildren(...refused.map(({ name, reason }) =>
    el("tr", {}, el("th", { scope: "row", class: "path" }, name), el("td", {}, reason))));
  $("refused").hidden = !refused.length;
}

function say(text, share) {
  $("work").hidden = false;
  $("state").textContent = text;
  $("done").value = share;
}

const pause = () => new Promise((resolve) => setTimeout(resolve, ASK_MS));

/** Say how far an upload is until it has ended; a server that was started anew knows of it too. */
async function follow(upload) {
  for (;;) {
    const now = await call(`uploads/${upload}`).catch((error) => {
      if (error.code !== "offline") throw error;
    });
    if (!now) {
      say("The server does not answer. It is asked until it does …", 0);
      await pause();
      continue;
    }
    showRefused(now.refused);
    if (now.state === "failed") throw new Error(now.message ?? "It failed.");
    if (now.state === "done") {
      say(`${plural(now.cells, "cell")} added.`, 1);
      $("next").hidden = !now.cells;
      return;
    }
    const share = now.total ? now.done / now.total : 0;
    say(now.state === "waiting" ? "Waiting for other uploads …" : `Classified ${count(now.done)} of ${plural(now.total, "file")} …`, share);
    await pause();
  }
}

async function take(files) {
  if (!files.length) return;
  $("next").hidden = true;
  showRefused([]);
  try {
    await call("session").then(({ csrf }) => (session.csrf = csrf));
    const { upload } = await send(files, (share) => say(`Sending ${plural(files.length, "file")} …`, share));
    await follow(upload);
  } catch (error) {
    say("Nothing was added.", 0);
    showRefused(error.files ?? []);
    toast(error.message, { kind: "error" });
  }
  $("files").value = "";
}

$("files").addEventListener("change", ({ target }) => take([...target.files]));
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => (event.preventDefault(), drop.classList.add("is-over")));
}
drop.addEventListener("dragleave", () => drop.classList.remove("is-over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("is-over");
  take([...event.dataTransfer.files]);
});
