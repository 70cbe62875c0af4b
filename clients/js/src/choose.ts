// Which transport: gates, what was learnt before, and the race whose winner is the first welcome.

import { decodeFrame, GOODBYE, number, WELCOME, type Frame } from './frames.js';
import { FanfareError, isAnswer } from './errors.js';
import { openWebSocket, openWebTransport, type Endpoint, type Listener, type TransportName, type WebSocketConstructor, type WebTransportConstructor, type Wire } from './transport.js';

/** Which browser engines may use WebTransport; data from the server. */
export interface Rule {
  engine: string;
  minVersion: number;
  allow: boolean;
}

export interface Choice {
  webtransport: Endpoint | null;
  websocket: Endpoint;
  rules: Rule[];
  transports: TransportName[];
  WebTransport: WebTransportConstructor | undefined;
  WebSocket: WebSocketConstructor | undefined;
  userAgent: string;
  /** Whether WebTransport has failed here lately. */
  cold: boolean;
}

export interface Won {
  wire: Wire;
  welcome: Frame;
  /** Why this transport: a word of hello's `transport` option. */
  reason: string;
}

/** The head start of WebTransport, in ms. */
const HEAD_START = 500;
/** Browser promises may never settle; each attempt has this long for its welcome, in ms. */
const DEADLINE = 4000;

/** Engine and major version of a browser. */
export function engineOf(userAgent: string): { engine: string; version: number } {
  const version = (pattern: RegExp) => Number(pattern.exec(userAgent)?.[1] ?? 0);
  // Every browser on iOS is WebKit, whatever it calls itself.
  if (/iPhone|iPad|iPod/.test(userAgent)) return { engine: 'webkit', version: version(/Version\/(\d+)/) };
  if (/Firefox\//.test(userAgent)) return { engine: 'firefox', version: version(/Firefox\/(\d+)/) };
  if (/Chrom(e|ium)\//.test(userAgent)) return { engine: 'chromium', version: version(/Chrom(?:e|ium)\/(\d+)/) };
  if (/AppleWebKit\//.test(userAgent)) return { engine: 'webkit', version: version(/Version\/(\d+)/) };
  return { engine: '', version: 0 };
}

/** Why WebTransport is not even tried; null if it is. */
export function obstacle(choice: Choice): string | null {
  if (!choice.transports.includes('webtransport')) return 'forced';
  if (choice.WebTransport === undefined || choice.webtransport === null) return 'unsupported';
  const { engine, version } = engineOf(choice.userAgent);
  const rule = choice.rules.find((rule) => rule.engine === engine);
  if (rule !== undefined && (!rule.allow || version < rule.minVersion)) return 'gated';
  return choice.cold ? 'cold' : null;
}

/** Takes whichever wins, at once: more frames may stand right behind the welcome. Null if another one has won. */
export type Adopt = (won: Won) => Listener | null;

/** Connects by the best transport that answers. `hello` makes the first frame for a reason. */
export async function connect(choice: Choice, hello: (reason: string) => Uint8Array, adopt: Adopt, signal: AbortSignal): Promise<Won> {
  const websocketAllowed = choice.transports.includes('websocket') && choice.WebSocket !== undefined;
  const stop = obstacle(choice);
  const race = new AbortController();
  signal.addEventListener('abort', () => race.abort(), { once: true });
  const attempt = (name: TransportName, reason: string) => attemptOne(choice, name, hello(reason), reason, adopt, race.signal);
  if (stop === 'cold') {
    // Cold is a reason to begin with the other one, not to do without.
    const warm = websocketAllowed ? attempt('websocket', stop) : Promise.reject(new FanfareError(0, 'no WebSocket'));
    return await warm.catch((error: unknown) => (isAnswer(error) ? Promise.reject(error) : attempt('webtransport', 'preferred')));
  }
  if (stop !== null) {
    if (!websocketAllowed) throw new FanfareError(0, `no transport can be used (WebTransport: ${stop})`);
    return await attempt('websocket', stop);
  }
  const first = attempt('webtransport', 'preferred');
  if (!websocketAllowed) return await first;
  const failed = (error: unknown) => (isAnswer(error) ? Promise.reject(error) : ('blocked' as const));
  const outcome = await Promise.race([first.then((won) => won, failed), later(HEAD_START)]);
  if (typeof outcome === 'object') return outcome;
  const second = attempt('websocket', outcome);
  return await firstOf([first, second]);
}

/** The first that succeeds; the server's refusal, or else the last failure if none does. */
function firstOf(attempts: Promise<Won>[]): Promise<Won> {
  return new Promise((resolve, reject) => {
    let left = attempts.length;
    for (const attempt of attempts) attempt.then(resolve, (error: unknown) => (--left === 0 || isAnswer(error)) && reject(error));
  });
}

function later(ms: number): Promise<'timeout'> {
  return new Promise((resolve) => setTimeout(() => resolve('timeout'), ms));
}

function attemptOne(choice: Choice, name: TransportName, hello: Uint8Array, reason: string, adopt: Adopt, signal: AbortSignal): Promise<Won> {
  return new Promise((resolve, reject) => {
    const own = new AbortController();
    const fail = (error: unknown) => {
      clearTimeout(timer);
      own.abort();
      reject(error);
    };
    const timer = setTimeout(() => fail(new FanfareError(0, `${name}: no welcome in ${DEADLINE} ms`)), DEADLINE);
    signal.addEventListener('abort', () => fail(new FanfareError(0, 'given up')), { once: true });
    let wire: Wire | null = null;
    let adopted: Listener | null = null;
    const listener: Listener = {
      frame: (bytes) => {
        if (adopted !== null) return adopted.frame(bytes);
        const frame = decodeFrame(bytes);
        if (frame[0] === GOODBYE) return fail(new FanfareError(number(frame[1]), String(frame[2] ?? '')));
        if (frame[0] !== WELCOME || wire === null) return;
        clearTimeout(timer);
        const won = { wire, welcome: frame, reason };
        adopted = adopt(won);
        if (adopted !== null) return resolve(won);
        wire.close(4000, 'another transport was faster');
        fail(new FanfareError(0, `${name}: another transport was faster`));
      },
      closed: (code, text) => (adopted !== null ? adopted.closed(code, text) : fail(new FanfareError(code < 4000 ? 0 : code, text || `${name}: closed before welcome`))),
    };
    const opening = name === 'webtransport'
      ? openWebTransport(choice.WebTransport as WebTransportConstructor, choice.webtransport as Endpoint, listener, own.signal)
      : openWebSocket(choice.WebSocket as WebSocketConstructor, choice.websocket, listener, own.signal);
    opening.then((opened) => {
      wire = opened;
      if (own.signal.aborted) opened.close(4000, 'too late');
      else opened.send(hello);
    }, fail);
  });
}
