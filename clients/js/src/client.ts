// The client: what the application wants to follow, and a connection that comes and goes underneath.

import { Backoff, type ReconnectOptions } from './backoff.js';
import { connect, type Rule, type Won } from './choose.js';
import { Emitter, type Handler, type OnOptions, type Undo } from './emitter.js';
import { FanfareError, isFinal, wantsToken } from './errors.js';
import * as wireFormat from './frames.js';
import { type FanfareEvent, type Frame, number, type Position } from './frames.js';
import { Group, Subscription, type GroupHost, type PublishOptions, type Receipt } from './group.js';
import { watchPage } from './page.js';
import { isCold, rememberOutcome } from './memory.js';
import type { Endpoint, TransportName, WebSocketConstructor, WebTransportConstructor, Wire } from './transport.js';

export type State = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'failed';

export interface ClientOptions {
  /** The server's HTTP address; default: the page's own origin. */
  url?: string;
  /** Endpoints, if they are not to be asked for at `url`. */
  webtransport?: Endpoint | null;
  websocket?: Endpoint;
  /** Who this is; default: anonymous. */
  token?: string;
  /** Asked for a token before a connection that needs one; never twice at a time. */
  getToken?: (request: { reason: 'initial' | 'rejected'; signal: AbortSignal }) => Promise<string>;
  /** In order of preference; default both. */
  transports?: TransportName[];
  reconnect?: ReconnectOptions;
  WebTransport?: WebTransportConstructor;
  WebSocket?: WebSocketConstructor;
  fetch?: typeof fetch;
}

interface Pending {
  resolve(value: Frame): void;
  reject(error: FanfareError): void;
}

const NAME = 'fanfare-js/0.1.0';
/** Browser promises may never settle: how long the server has to tell where it listens, in ms. */
const DISCOVERY_MS = 4000;
/** How long the server has to answer a subscribe, in ms, and when a refused one is repeated if the server names no time. */
const SUBSCRIBE_MS = 10_000;
const RETRY_MS = 1000;
/** A stream that catches up has failed when nothing came on it for so long, in ms. */
const REPLAY_SILENCE_MS = 5000;
/** Events that wait to learn which group they belong to; the rest is in history and comes again, or is told as a gap. */
const EARLY = 1000;
const GAP_REASONS = ['', 'expired', 'epoch', 'slow', 'broker'];

export class Client implements GroupHost {
  readonly #options: ClientOptions;
  readonly #emitter = new Emitter((error) => this.failed(error));
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #pending = new Map<number, Pending>();
  readonly #groups = new Map<number, { name: string; epoch: number }>();
  readonly #backoff: Backoff;
  #state: State = 'idle';
  #wire: Wire | null = null;
  #abort: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #request = 0;
  /** Streams on which groups catch up. */
  #replays = 0;
  /** Events whose group number is not known yet. */
  #early: Frame[] = [];
  #since = 0;
  #token: string | undefined;
  #pingInterval = 25_000;
  #unwatch: Undo | null = null;
  /** How long the last ping took, in ms. */
  rtt: number | null = null;
  /** Why it is not WebTransport; null while it is. */
  fallbackReason: string | null = null;
  /** When the next attempt comes, while it is `reconnecting`. */
  retry: { attempt: number; nextAt: number; reason: string } | null = null;
  /** Who the server takes this client for. */
  user: string | null = null;
  session: string | null = null;
  node: string | null = null;
  /** Prints decoded frames. */
  debug = false;

  constructor(options: ClientOptions = {}) {
    this.#options = options;
    this.#token = options.token;
    this.#backoff = new Backoff(options.reconnect);
  }

  get state(): State { return this.#state; }
  get transport(): TransportName | null { return this.#wire?.name ?? null; }

  /** Calls `handler` for events of a kind in any group, for `*`, `state`, `error` or `gap`. Returns its undo. */
  on(type: string, handler: Handler, options: OnOptions = {}): Undo {
    return this.#emitter.on(type, handler, options);
  }

  /** The group with this name; it is followed until every holder has left. Connects if nothing has yet. */
  group(name: string, options: { since?: Position } = {}): Group {
    let subscription = this.#subscriptions.get(name);
    if (subscription === undefined) {
      subscription = new Subscription(name, this, options.since ?? null);
      this.#subscriptions.set(name, subscription);
      if (this.#state === 'connected') this.#subscribe(subscription);
      else if (this.#state === 'idle') void this.connect();
    }
    return new Group(subscription);
  }

  /** Connects, and stays connected until `disconnect`. */
  connect(): Promise<void> {
    if (this.#state === 'idle' || this.#state === 'failed') {
      this.#unwatch ??= watchPage({ probe: () => this.#probe(), leave: () => this.#sleep(), wake: () => this.#wake() });
      void this.#attempt('connecting');
    }
    return this.ready();
  }

  /** Ends the connection for good: nothing comes back by itself. */
  disconnect(): void {
    clearTimeout(this.#timer);
    this.#unwatch?.();
    this.#unwatch = null;
    this.#drop();
    this.retry = null;
    this.#become('idle');
  }

  /** Resolves when connected, rejects when it has failed for good or the time is over. */
  ready({ timeout = 30_000 }: { timeout?: number } = {}): Promise<void> {
    if (this.#state === 'connected') return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => settle(new FanfareError(0, `not connected in ${timeout} ms`)), timeout);
      const settle = (error: FanfareError | null) => {
        clearTimeout(timer);
        undo();
        if (error === null) resolve();
        else reject(error);
      };
      const undo = this.on('state', () => {
        if (this.#state === 'connected') settle(null);
        else if (this.#state === 'failed' || this.#state === 'idle') settle(new FanfareError(0, this.retry?.reason ?? 'disconnected'));
      });
    });
  }

  /** The token of the next hello, and of the session that is there. */
  setToken(token: string): void {
    this.#token = token;
    if (this.#state === 'connected') void this.#ask(wireFormat.REFRESH, [token], 5000).catch((error) => this.#emitter.emit('error', error));
  }

  async publish(group: string, kind: string, content: unknown, options: PublishOptions): Promise<Receipt> {
    const fields: unknown[] = [group, wireFormat.kindToWire(kind), wireFormat.bodyToWire(kind, content), options.data ?? null];
    if (options.key !== undefined) fields.push({ key: options.key });
    const answer = await this.#ask(wireFormat.PUBLISH, fields, options.timeout ?? 5000);
    return { id: wireFormat.eventId(answer[2]), position: [number(answer[3]), number(answer[4])] };
  }

  release(name: string): void {
    this.#subscriptions.delete(name);
    if (this.#state === 'connected') void this.#ask(wireFormat.UNSUBSCRIBE, [name], 5000).catch(() => {});
  }

  failed(error: unknown): void {
    if (typeof reportError === 'function') reportError(error);
    else console.error(error);
    this.#emitter.emit('error', error);
  }

  dispatch(event: FanfareEvent): void {
    this.#emitter.emit(event.kind.startsWith('task.') ? 'task' : event.kind, event);
    this.#emitter.emit('*', event);
  }

  #become(state: State): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#emitter.emit('state', state);
  }

  async #attempt(state: 'connecting' | 'reconnecting', reason: 'initial' | 'rejected' = 'initial'): Promise<void> {
    clearTimeout(this.#timer);
    this.retry = null;
    this.#become(state);
    const abort = (this.#abort = new AbortController());
    try {
      if (this.#options.getToken !== undefined && (this.#token === undefined || reason === 'rejected')) {
        this.#token = await this.#options.getToken({ reason, signal: abort.signal });
      }
      const choice = await this.#discover(abort.signal);
      const hello = (why: string) => wireFormat.encodeFrame([wireFormat.HELLO, 1, this.#token ?? null, { client: NAME, transport: why }]);
      const adopt = (won: Won) => {
        if (this.#wire !== null || abort.signal.aborted) return null;
        const { wire } = won;
        this.#opened(won);
        return {
          frame: (bytes: Uint8Array) => void (this.#wire === wire && this.#received(bytes, false)),
          closed: (code: number, text: string) => void (this.#wire === wire && this.#lost(code, text)),
        };
      };
      const won = await connect(choice, hello, adopt, abort.signal);
      rememberOutcome(won.wire.name, won.reason);
    } catch (error) {
      if (!abort.signal.aborted) this.#again(error instanceof FanfareError ? error : new FanfareError(0, String(error)));
    }
  }

  async #discover(signal: AbortSignal) {
    const own = this.#options;
    let webtransport = own.webtransport ?? null;
    let websocket = own.websocket;
    let rules: Rule[] = [];
    if (websocket === undefined) {
      const base = (own.url ?? globalThis.location?.origin ?? '').replace(/\/$/, '');
      const answer = await (own.fetch ?? fetch)(`${base}/.well-known/fanfare`, { signal: AbortSignal.any([signal, AbortSignal.timeout(DISCOVERY_MS)]) });
      if (!answer.ok) throw new FanfareError(0, `${base} answers ${answer.status}`);
      const told = (await answer.json()) as { webtransport: Endpoint | null; websocket: Endpoint; rules?: Rule[] };
      webtransport = own.webtransport === undefined ? told.webtransport : webtransport;
      websocket = told.websocket;
      rules = told.rules ?? [];
    }
    return {
      webtransport,
      websocket,
      rules,
      transports: own.transports ?? (['webtransport', 'websocket'] as TransportName[]),
      WebTransport: own.WebTransport ?? globalThis.WebTransport,
      WebSocket: own.WebSocket ?? globalThis.WebSocket,
      userAgent: globalThis.navigator?.userAgent ?? '',
      cold: isCold(),
    };
  }

  #opened({ wire, welcome, reason }: Won): void {
    this.#wire = wire;
    this.#since = Date.now();
    this.session = String(welcome[2] ?? '');
    const options = (welcome[3] ?? {}) as { [key: string]: wireFormat.Frame[number] };
    this.user = (options['user'] ?? null) as string | null;
    this.node = (options['node'] ?? null) as string | null;
    this.#pingInterval = number(options['ping']) || this.#pingInterval;
    this.fallbackReason = wire.name === 'webtransport' ? null : reason;
    this.#become('connected');
    this.#listenFor(2 * this.#pingInterval);
    for (const subscription of this.#subscriptions.values()) this.#subscribe(subscription);
    this.#probe();
  }

  /** Nothing for two ping intervals: the connection is dead, whatever the browser thinks. */
  #listenFor(ms: number): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lost(4002, 'nothing was received for two ping intervals'), ms);
  }

  #probe(): void {
    if (this.#state !== 'connected') return;
    const sent = performance.now();
    const wire = this.#wire;
    const timer = setTimeout(() => this.#wire === wire && this.#lost(4002, 'a ping was not answered'), 2000);
    const id = (this.#request = (this.#request % 0x7fffffff) + 1);
    this.#pending.set(-id, {
      resolve: () => {
        clearTimeout(timer);
        this.rtt = performance.now() - sent;
        this.#emitter.emit('rtt', this.rtt);
      },
      reject: () => clearTimeout(timer),
    });
    this.#send([wireFormat.PING, id]);
  }

  #send(frame: unknown[]): void {
    if (this.debug) console.debug('fanfare →', frame);
    this.#wire?.send(wireFormat.encodeFrame(frame));
  }

  #ask(op: number, fields: unknown[], timeout: number): Promise<Frame> {
    if (this.#state !== 'connected') return Promise.reject(new FanfareError(0, 'not connected'));
    const request = (this.#request = (this.#request % 0x7fffffff) + 1);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => settle(() => reject(new FanfareError(0, `no answer in ${timeout} ms`))), timeout);
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#pending.delete(request);
        act();
      };
      this.#pending.set(request, { resolve: (frame) => settle(() => resolve(frame)), reject: (error) => settle(() => reject(error)) });
      this.#send([op, request, ...fields]);
    });
  }

  #subscribe(subscription: Subscription): void {
    subscription.state = 'joining';
    const { position } = subscription;
    const wire = this.#wire;
    if (position !== null && position[0] !== 0 && wire?.replay) void this.#catchUp(subscription, position, wire, wire.replay);
    else this.#subscribeInOrder(subscription);
  }

  #subscribeInOrder(subscription: Subscription): void {
    const { name, position } = subscription;
    const fields = position === null ? [name] : [name, { since: [...position] }];
    const wire = this.#wire;
    this.#ask(wireFormat.SUBSCRIBE, fields, SUBSCRIBE_MS).catch((error: FanfareError) => {
      if (this.#wire !== wire || this.#subscriptions.get(name) !== subscription) return;
      if (!error.retryable) return subscription.denied(error);
      setTimeout(() => this.#wire === wire && this.#subscriptions.get(name) === subscription && this.#subscribeInOrder(subscription), error.retryAfter ?? RETRY_MS);
    });
  }

  /** Catching up has a stream of its own, and live events wait until it has ended. A stream that fails or falls silent does not count: the main stream is asked for all of it again. */
  async #catchUp(subscription: Subscription, position: Position, wire: Wire, replay: NonNullable<Wire['replay']>): Promise<void> {
    const request = (this.#request = (this.#request % 0x7fffffff) + 1);
    const frame = wireFormat.encodeFrame([wireFormat.SUBSCRIBE, request, subscription.name, { since: [...position] }]);
    subscription.hold();
    this.#replays += 1;
    let open = true;
    const whole = await withinSilence(REPLAY_SILENCE_MS, (heard) =>
      replay(frame, (bytes) => {
        if (!open || this.#wire !== wire) return;
        heard();
        this.#received(bytes, true);
      }),
    );
    open = false;
    if (this.#wire !== wire) return;
    this.#replays -= 1;
    if (this.#replays === 0) this.#early = [];
    if (whole && subscription.state === 'joined') return subscription.release();
    subscription.drop();
    if (this.#subscriptions.get(subscription.name) === subscription) this.#subscribeInOrder(subscription);
  }

  #received(bytes: Uint8Array, replayed: boolean): void {
    this.#listenFor(2 * this.#pingInterval);
    const frame = wireFormat.decodeFrame(bytes);
    if (this.debug) console.debug('fanfare ←', frame);
    switch (frame[0]) {
      case wireFormat.EVENT: return this.#event(frame, replayed);
      case wireFormat.SUBSCRIBED: return this.#subscribed(frame);
      case wireFormat.GAP: return this.#gap(frame);
      case wireFormat.PING: return this.#send([wireFormat.PONG, number(frame[1])]);
      case wireFormat.PONG: return this.#settle(-number(frame[1]), (pending) => pending.resolve(frame));
      case wireFormat.GOODBYE: return this.#lost(number(frame[1]), String(frame[2] ?? ''), frame[3] === true, number(frame[4]));
      case wireFormat.ERROR: {
        const error = new FanfareError(number(frame[2]), String(frame[3] ?? ''), typeof frame[4] === 'number' ? frame[4] : null);
        return this.#settle(number(frame[1]), (pending) => pending.reject(error));
      }
      case wireFormat.UNSUBSCRIBED:
        if (frame[1] === 0) this.#subscriptions.get(String(frame[2]))?.denied(new FanfareError(number(frame[3]), 'the server ended the subscription'));
        return this.#settle(number(frame[1]), (pending) => pending.resolve(frame));
      default: return this.#settle(number(frame[1]), (pending) => pending.resolve(frame));
    }
  }

  #settle(request: number, act: (pending: Pending) => void): void {
    const pending = this.#pending.get(request);
    this.#pending.delete(request);
    if (pending !== undefined) act(pending);
  }

  #subscribed(frame: Frame): void {
    const [, request, groupNumber, name, epoch, offset, recovered, missed] = frame;
    const group = String(name);
    const told = number(groupNumber);
    this.#groups.set(told, { name: group, epoch: number(epoch) });
    let subscription = this.#subscriptions.get(group);
    if (subscription === undefined && request === 0) {
      // The server follows the user's own group without being asked.
      subscription = new Subscription(group, this, null);
      this.#subscriptions.set(group, subscription);
    }
    if (subscription !== undefined) {
      subscription.state = 'joined';
      if (recovered === null || recovered === undefined) subscription.position = [number(epoch), number(offset)];
      subscription.emitter.emit('joined', { recovered: recovered !== false, missed: number(missed) });
    }
    this.#settle(number(request), (pending) => pending.resolve(frame));
    const early = this.#early.filter((event) => number(event[1]) === told);
    this.#early = this.#early.filter((event) => number(event[1]) !== told);
    for (const event of early) this.#event(event, false);
  }

  #event(frame: Frame, replayed: boolean): void {
    const group = this.#groups.get(number(frame[1]));
    const subscription = group && this.#subscriptions.get(group.name);
    // Live events may overtake the answer that tells their group's number, when that comes by another stream.
    if (group === undefined && this.#replays > 0 && this.#early.length < EARLY) this.#early.push(frame);
    if (group === undefined || subscription === undefined) return;
    const event = wireFormat.eventFromWire(frame, group.name, group.epoch);
    if (event !== null) subscription.take(event, replayed);
  }

  #gap(frame: Frame): void {
    const group = this.#groups.get(number(frame[1]));
    const subscription = group && this.#subscriptions.get(group.name);
    if (group === undefined || subscription === undefined) return;
    group.epoch = number(frame[2]);
    const [from, to] = [number(frame[3]), number(frame[4])];
    subscription.position = [group.epoch, to];
    const gap = { group: group.name, from, to, count: typeof frame[5] === 'number' ? frame[5] : null, reason: GAP_REASONS[number(frame[6])] ?? 'unknown' };
    subscription.emitter.emit('gap', gap);
    this.#emitter.emit('gap', gap);
  }

  /** The connection is gone, or about to go. */
  #lost(code: number, text: string, reconnect = true, delay = 0): void {
    const was = this.#wire;
    if (was === null) return;
    this.#backoff.lived(Date.now() - this.#since);
    this.#drop();
    if (code === 4002 && was.name === 'webtransport') rememberOutcome('websocket', 'stalled');
    this.#again(new FanfareError(code, text), reconnect, delay);
  }

  #again(error: FanfareError, reconnect = true, delay = 0): void {
    const tokenCure = wantsToken(error.code) && this.#options.getToken !== undefined;
    if (!reconnect || isFinal(error.code) || (wantsToken(error.code) && !tokenCure) || this.#backoff.attempt >= this.#backoff.giveUpAfter) {
      this.retry = { attempt: this.#backoff.attempt, nextAt: 0, reason: error.reason };
      this.#become('failed');
      this.#emitter.emit('error', error);
      return;
    }
    const wait = delay + this.#backoff.next();
    this.retry = { attempt: this.#backoff.attempt, nextAt: Date.now() + wait, reason: error.reason };
    this.#become('reconnecting');
    this.#emitter.emit('state', this.#state);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#attempt('reconnecting', tokenCure ? 'rejected' : 'initial'), wait);
  }

  /** The page goes to sleep: the server sees a leave and not a timeout, and nothing is tried until the page wakes. */
  #sleep(): void {
    if (this.#state !== 'connected') return;
    this.#drop();
    this.retry = { attempt: 0, nextAt: Infinity, reason: 'the page is asleep' };
    this.#become('reconnecting');
  }

  /** The page is awake or online again: no use in waiting longer. */
  #wake(): void {
    if (this.#state === 'reconnecting' && this.#wire === null && this.retry !== null) void this.#attempt('reconnecting');
    else this.#probe();
  }

  #drop(): void {
    clearTimeout(this.#watchdog);
    this.#abort?.abort();
    const wire = this.#wire;
    this.#wire = null;
    this.#groups.clear();
    this.#replays = 0;
    this.#early = [];
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(new FanfareError(0, 'the connection was lost'));
    for (const subscription of this.#subscriptions.values()) if (subscription.state === 'joined') subscription.state = 'joining';
    if (wire !== null) {
      wire.send(wireFormat.encodeFrame([wireFormat.GOODBYE, 4000]));
      wire.close(4000, 'going_away');
    }
  }
}

/** Whether the work was done; not if it failed, or `heard` was not called for `ms`. */
function withinSilence(ms: number, work: (heard: () => void) => Promise<void>): Promise<boolean> {
  return new Promise((resolve) => {
    let timer = setTimeout(() => resolve(false), ms);
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => resolve(false), ms);
    };
    work(heard).then(() => resolve(true), () => resolve(false)).finally(() => clearTimeout(timer));
  });
}

/** A client that connects when it is asked to, or with its first group. */
export function createClient(options: ClientOptions = {}): Client {
  const client = new Client(options);
  try {
    client.debug = globalThis.localStorage?.getItem('fanfare') === 'debug';
  } catch {
    // Storage may be forbidden; then there is no such switch.
  }
  return client;
}
