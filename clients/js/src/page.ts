// What happens to the page: asleep, awake, offline, online.

import type { Undo } from './emitter.js';

export interface PageEvents {
  /** Find out whether the connection still lives. */
  probe(): void;
  /** The page is put to sleep: leave cleanly, so that the server sees it. */
  leave(): void;
  /** The page is awake or online again. */
  wake(): void;
}

export function watchPage({ leave, wake }: PageEvents): Undo {
  const target = globalThis.document;
  const windowTarget = globalThis.window;
  if (target === undefined || windowTarget === undefined) return () => {};
  const own = new AbortController();
  const options = { signal: own.signal };
  target.addEventListener('visibilitychange', () => target.visibilityState === 'visible' && wake(), options);
  target.addEventListener('freeze', leave, options);
  target.addEventListener('resume', wake, options);
  windowTarget.addEventListener('pagehide', leave, options);
  windowTarget.addEventListener('pageshow', (event) => event.persisted && wake(), options);
  windowTarget.addEventListener('online', wake, options);
  return () => own.abort();
}
