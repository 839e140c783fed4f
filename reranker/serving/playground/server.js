// What the page asks of its server. Addresses are relative, so that it also works below a path.

/** An answer that is not the one asked for; `status` is 0 where there was none. */
export class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const KEY = "playground-key";

/** Send this key from now on, until the tab is closed. */
export const useKey = (key) => sessionStorage.setItem(KEY, key);

async function ask(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key ? { "x-api-key": key } : {}) };
  let answer;
  try {
    answer = await fetch(`playground/${path}`, { ...options, headers });
  } catch {
    throw new ServerError("The server does not answer.", 0);
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  const detail = typeof told.detail === "string" ? told.detail : null;
  throw new ServerError(told.error ?? detail ?? `The server answered ${answer.status}.`, answer.status);
}

const json = async (path, options) => (await ask(path, options)).json();

const post = (path, body) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

export const policies = () => json("policies");
export const policy = async (arm) => (await post("policy", arm)).json();
export const policyToml = async (arm) => (await post("policy.toml", arm)).text();
export const feed = (id) => json(`feeds/${encodeURIComponent(id)}`);
export const posts = async (id, request) =>
  (await json(`feeds/${encodeURIComponent(id)}/requests/${request}`)).posts;
export const compare = async (body) => (await post("compare", body)).json();
export const explain = async (body) => (await post("explain", body)).json();
export const sweep = async (body) => (await post("sweep", body)).json();

/** Send a file; the id of the feed in it. */
export async function load(file, replaces) {
  const query = new URLSearchParams({ name: file.name, replaces });
  return (await json(`feeds?${query}`, { method: "POST", body: file })).id;
}

/** Calls `work` with the latest arguments only, one call at a time. */
export function latest(work) {
  let running = false;
  let waiting = null;
  const run = async (...given) => {
    waiting = given;
    if (running) return;
    running = true;
    try {
      while (waiting) {
        const now = waiting;
        waiting = null;
        await work(...now);
      }
    } finally {
      running = false;
    }
  };
  return run;
}
