// What happens to the page: asleep, awake, offline, online.

import type { Undo } from './emitter.js';

export interface PageEvents {
  /** The page is put to sleep, or left. */
  sleep(): void;
  /** The page is looked at again, awake, or online. */
  wake(): void;
}

/** Whether nobody can see the page. */
export const isHidden = (): boolean => globalThis.document?.visibilityState === 'hidden';

export function watchPage({ sleep, wake }: PageEvents): Undo {
  const page = globalThis.document;
  const frame = globalThis.window;
  if (page === undefined || frame === undefined) return () => {};
  const own = new AbortController();
  const options = { signal: own.signal };
  page.addEventListener('visibilitychange', () => !isHidden() && wake(), options);
  page.addEventListener('freeze', sleep, options);
  page.addEventListener('resume', wake, options);
  frame.addEventListener('pagehide', sleep, options);
  frame.addEventListener('pageshow', (event) => event.persisted && wake(), options);
  frame.addEventListener('online', wake, options);
  frame.addEventListener('focus', wake, options);
  return () => own.abort();
}
