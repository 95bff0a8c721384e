// The API key: what the headers editor says, kept for every tab in this page's memory, never stored.
const WRITTEN = /"authorization"\s*:\s*"(bearer\s+[^"\s]+)\s*"/i;
const STILL_MS = 400; // typing has paused: a key is not tried letter by letter

let authorization = null;
let timer;
const listeners = new Set();

export const readAuthorization = () => authorization;

export function onAuthorization(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function remember(value) {
  if (value === authorization) return;
  authorization = value;
  for (const listener of [...listeners]) listener();
}

export function noteHeaders(text) {
  clearTimeout(timer);
  const found = WRITTEN.exec(text);
  if (found) timer = setTimeout(remember, STILL_MS, found[1]);
}

// The text of a headers editor, with the key where it names none.
const EMPTY = /("authorization"\s*:\s*")(?:bearer)?\s*"/i;

export const fillIn = (text, value) => text.replace(EMPTY, (_all, before) => `${before}${value}"`);

// A tab's own headers, with the remembered key where they name none.
export function completeHeaders(headers = {}) {
  const own = Object.entries(headers ?? {});
  const named = own.find(([name]) => name.toLowerCase() === 'authorization');
  const rest = Object.fromEntries(own.filter((entry) => entry !== named));
  if (named && /^bearer\s+\S/i.test(String(named[1]))) {
    clearTimeout(timer);
    remember(String(named[1]).trim());
  }
  return authorization === null ? rest : { ...rest, Authorization: authorization };
}

export const nextAuthorization = () =>
  new Promise((resolve) => {
    const stop = onAuthorization(() => {
      stop();
      resolve();
    });
  });
