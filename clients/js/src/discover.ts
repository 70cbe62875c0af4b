// Where the server listens, and what this browser can do.

import type { Choice, Rule } from './choose.js';
import type { ClientOptions } from './client.js';
import { FanfareError } from './errors.js';
import { isCold } from './memory.js';
import type { Endpoint } from './transport.js';

/** Browser promises may never settle: how long the server has to tell where it listens, in ms. */
const DISCOVERY_MS = 4000;

interface Told {
  webtransport: Endpoint | null;
  websocket: Endpoint;
  rules?: Rule[];
}

/** What there is to choose from: as the options say, and the rest as the server says. */
export async function discover(own: ClientOptions, signal: AbortSignal): Promise<Choice> {
  const told = own.websocket === undefined ? await ask(own, signal) : { webtransport: null, websocket: own.websocket };
  return {
    webtransport: own.webtransport === undefined ? told.webtransport : own.webtransport,
    websocket: told.websocket,
    rules: told.rules ?? [],
    transports: own.transports ?? ['webtransport', 'websocket'],
    WebTransport: own.WebTransport ?? globalThis.WebTransport,
    WebSocket: own.WebSocket ?? globalThis.WebSocket,
    userAgent: globalThis.navigator?.userAgent ?? '',
    cold: isCold(),
  };
}

async function ask(own: ClientOptions, signal: AbortSignal): Promise<Told> {
  const base = (own.url ?? globalThis.location?.origin ?? '').replace(/\/$/, '');
  const answer = await (own.fetch ?? fetch)(`${base}/.well-known/fanfare`, { signal: AbortSignal.any([signal, AbortSignal.timeout(DISCOVERY_MS)]) });
  if (!answer.ok) throw new FanfareError(0, `${base} answers ${answer.status}`);
  return (await answer.json()) as Told;
}
