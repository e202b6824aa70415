// Calls to the server, and who is asking: `session` is the answer of /api/v1/session.

const block = document.getElementById("session");
export const session = block ? JSON.parse(block.textContent) : null;

/** What the server, or the way to it, refused: `code`, `message`, `conflicts` where there are any. */
export class ApiError extends Error {
  constructor(code, message, more = {}) {
    super(message);
    this.code = code;
    this.more = more;
  }
}

async function once(path, method, body) {
  const headers = {};
  if (method !== "GET") headers["X-CSRF-Token"] = session?.csrf ?? "";
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(`/api/v1/${path}`, {
      method,
      headers,
      body: body === undefined || isForm ? body : JSON.stringify(body),
    });
  } catch {
    throw new ApiError("offline", "The server does not answer. Is naturalize review still running?");
  }
  const json = await answer.json().catch(() => ({}));
  if (answer.ok) return json;
  const error = json.error ?? { code: "internal", message: `The server answered ${answer.status}.` };
  throw new ApiError(error.code, error.message, error);
}

/** Return the answer of `path` below /api/v1 as an object; throws ApiError. */
export async function call(path, { method = "GET", body } = {}) {
  try {
    return await once(path, method, body);
  } catch (error) {
    if (error.code === "login" && session) location.assign("/login");
    if (error.code !== "csrf" || !session) throw error;
    // a server that was started anew has another token
    session.csrf = (await once("session", "GET")).csrf;
    return once(path, method, body);
  }
}

export const post = (path, body) => call(path, { method: "POST", body });
