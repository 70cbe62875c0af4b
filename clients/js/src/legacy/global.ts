// The script for a page: defines `taskNotifications`. `data-url` and `data-token` of its tag say where the server is and who the user is;
// `data-token-url` is an address of the page's own site that gives tokens, as `{"token": "…"}` to whoever is signed in there.

import { TaskNotifications } from './index.js';

async function fetchToken(address: string, signal: AbortSignal): Promise<string> {
  const answer = await fetch(address, { credentials: 'same-origin', cache: 'no-store', signal });
  if (!answer.ok) throw new Error(`${address} gives no token: ${answer.status}`);
  const { token } = (await answer.json()) as { token?: unknown };
  if (typeof token !== 'string') throw new Error(`${address} gives no token: there is no text under "token"`);
  return token;
}

const tag = document.currentScript as HTMLScriptElement | null;
const url = tag?.dataset['url'] ?? (tag?.src ? new URL(tag.src).origin : location.origin);
const { token, tokenUrl } = tag?.dataset ?? {};
(globalThis as { taskNotifications?: TaskNotifications }).taskNotifications = new TaskNotifications({
  url,
  ...(token === undefined ? {} : { token }),
  ...(tokenUrl === undefined ? {} : { getToken: ({ signal }: { signal: AbortSignal }) => fetchToken(tokenUrl, signal) }),
});
