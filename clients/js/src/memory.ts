// What was learnt about WebTransport in this tab: half an hour, never longer.

const KEY = 'fanfare.cold';
const REMEMBERED_MS = 30 * 60 * 1000;

/** Whether WebTransport has failed lately. */
export function isCold(): boolean {
  try {
    return Date.now() < Number(globalThis.sessionStorage?.getItem(KEY) ?? 0);
  } catch {
    return false;
  }
}

/** Notes how a choice ended. Only a transport that was tried and lost is a reason to wait with it. */
export function rememberOutcome(winner: string, reason: string): void {
  try {
    if (winner === 'webtransport') globalThis.sessionStorage?.removeItem(KEY);
    else if (['blocked', 'timeout', 'stalled'].includes(reason)) globalThis.sessionStorage?.setItem(KEY, String(Date.now() + REMEMBERED_MS));
  } catch {
    // Storage may be forbidden; then every connection begins with WebTransport.
  }
}
