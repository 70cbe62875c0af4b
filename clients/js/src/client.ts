// The client: what the application wants to follow, and a connection that comes and goes underneath.

import { Backoff, type ReconnectOptions } from './backoff.js';
import { connect, type Won } from './choose.js';
import { discover } from './discover.js';
import { Emitter, type Handler, type OnOptions, type Undo } from './emitter.js';
import { FanfareError, isFinal, wantsToken } from './errors.js';
import * as wireFormat from './frames.js';
import { type FanfareEvent, type Frame, type Gap, number, type Position } from './frames.js';
import { Group, Subscription, type GroupHost, type PublishOptions, type Receipt } from './group.js';
import { rememberOutcome } from './memory.js';
import { isHidden, watchPage } from './page.js';
import { Positions } from './positions.js';
import { Attendance, type Presence, type PresenceOptions } from './presence.js';
import { Requests } from './requests.js';
import { isExpired } from './token.js';
import type { Endpoint, TransportName, WebSocketConstructor, WebTransportConstructor, Wire } from './transport.js';

export type State = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'failed';

/** Why a token is asked for. */
export type TokenReason = 'initial' | 'expiring' | 'rejected';

export interface ClientOptions {
  /** The server's HTTP address; default: the page's own origin. */
  url?: string;
  /** Endpoints, if they are not to be asked for at `url`. */
  webtransport?: Endpoint | null;
  websocket?: Endpoint;
  /** Who this is; default: anonymous. */
  token?: string;
  /** Asked for a token when there is none, when its time is over by its own word, or when the server has rejected it. */
  getToken?: (request: { reason: TokenReason; signal: AbortSignal }) => Promise<string>;
  /** In order of preference; default both. */
  transports?: TransportName[];
  reconnect?: ReconnectOptions;
  /** Keeps positions in this tab, so that a page that is loaded anew gets what it missed meanwhile, and nothing that its handlers have had. */
  persistPositions?: boolean;
  WebTransport?: WebTransportConstructor;
  WebSocket?: WebSocketConstructor;
  fetch?: typeof fetch;
}

const NAME = 'fanfare-js/0.1.0';
/** How long the server has to answer a subscribe, in ms, and when a refused one is repeated if the server names no time. */
const SUBSCRIBE_MS = 10_000;
const RETRY_MS = 1000;
/** A page that wakes asks whether its connection lives: how long the answer may take, in ms. */
const PROBE_MS = 2000;
/** A stream that catches up has failed when nothing came on it for so long, in ms. */
const REPLAY_SILENCE_MS = 5000;
/** Events and gaps that wait to learn which group they belong to; the rest is in history and comes again, or is told as a gap. */
const EARLY = 1000;

/** What a group's number stands for on this connection. Each stream has its own epoch: a new one on the main stream is not that of a replay under way. */
interface Numbered {
  readonly name: string;
  live: number;
  replay: number;
}

export class Client implements GroupHost {
  readonly #options: ClientOptions;
  readonly #emitter = new Emitter((error) => this.failed(error));
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #requests = new Requests((frame) => this.#send(frame));
  readonly #groups = new Map<number, Numbered>();
  readonly #backoff: Backoff;
  readonly #positions: Positions | null;
  #state: State = 'idle';
  #wire: Wire | null = null;
  #abort: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  /** Streams on which groups catch up. */
  #replays = 0;
  /** Events and gaps whose group number is not known yet. */
  #early: Frame[] = [];
  #since = 0;
  #token: string | undefined;
  #pingInterval = 25_000;
  #unwatch: Undo | null = null;
  /** Disconnected on purpose: only `connect` begins anew. */
  #final = false;
  /** A page that nobody sees comes back once by itself, and does not loop. */
  #triedHidden = false;
  /** When the server lets this client come back at the earliest, in ms since 1970. */
  #notBefore = 0;
  #renewing = false;
  /** The server has rejected the token that is there. */
  #rejected = false;
  #failing = false;
  /** How long the last ping took, in ms. */
  rtt: number | null = null;
  /** Why it is not WebTransport; null while it is. */
  fallbackReason: string | null = null;
  /** When the next attempt comes while it is `reconnecting` (`Infinity`: when the page wakes), or why it has `failed`. */
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
    this.#positions = options.persistPositions === true ? new Positions(options.url ?? '') : null;
  }

  get state(): State { return this.#state; }
  get transport(): TransportName | null { return this.#wire?.name ?? null; }

  /** Calls `handler` for events of a kind in any group, for `*`, `state`, `error`, `gap`, `interrupted` or `resumed`. Returns its undo. */
  on(type: string, handler: Handler, options: OnOptions = {}): Undo {
    return this.#emitter.on(type, handler, options);
  }

  /** The group with this name; it is followed until every holder has left. Connects if nothing has yet, unless `disconnect` was called. */
  group(name: string, options: { since?: Position } = {}): Group {
    let subscription = this.#subscriptions.get(name);
    if (subscription === undefined) {
      subscription = new Subscription(name, this, options.since ?? this.#positions?.get(name) ?? null);
      this.#subscriptions.set(name, subscription);
      if (this.#state === 'connected') this.#subscribe(subscription);
      else if (this.#state === 'idle' && !this.#final) this.connect().catch(() => {});
    } else if (subscription.holders === 0 && subscription.state === 'joining' && this.#state === 'connected') {
      // Nobody held it, so it has not been asked for since the last loss.
      this.#subscribe(subscription);
    }
    return new Group(subscription);
  }

  /** Connects, and stays connected until `disconnect`. While it is `reconnecting`: tries at once. */
  connect(): Promise<void> {
    this.#final = false;
    if (this.#state === 'idle' || this.#state === 'failed') {
      this.#backoff.attempt = 0;
      this.#unwatch ??= watchPage({ sleep: () => this.#sleep(), wake: () => this.#wake() });
      void this.#attempt('connecting');
    } else if (this.#state === 'reconnecting' && this.retry !== null) {
      void this.#attempt('reconnecting');
    }
    return this.ready();
  }

  /** Ends the connection for good: nothing comes back by itself. */
  disconnect(): void {
    this.#final = true;
    clearTimeout(this.#timer);
    this.#unwatch?.();
    this.#unwatch = null;
    this.#drop();
    this.#positions?.store();
    this.retry = null;
    this.#become('idle');
  }

  /** Resolves when connected, rejects when it has failed for good or the time is over. */
  ready({ timeout = 30_000 }: { timeout?: number } = {}): Promise<void> {
    if (this.#state === 'connected') return Promise.resolve();
    if (this.#state === 'failed') return Promise.reject(new FanfareError(0, this.retry?.reason ?? 'failed'));
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
    this.#rejected = false;
    if (this.#state === 'connected') void this.#ask(wireFormat.REFRESH, [token], 5000).catch((error) => this.#emitter.emit('error', error));
  }

  async publish(group: string, kind: string, content: unknown, options: PublishOptions): Promise<Receipt> {
    const fields: unknown[] = [group, wireFormat.kindToWire(kind), wireFormat.bodyToWire(kind, content), options.data ?? null];
    if (options.key !== undefined) fields.push({ key: options.key });
    const answer = await this.#ask(wireFormat.PUBLISH, fields, options.timeout ?? 5000);
    return { id: wireFormat.eventId(answer[2]), position: [number(answer[3]), number(answer[4])] };
  }

  async who(group: string, { after, limit, timeout = 5000 }: PresenceOptions): Promise<Presence> {
    const options = { ...(after !== undefined && { after }), ...(limit !== undefined && { limit }) };
    const answer = await this.#ask(wireFormat.WHO, [group, options], timeout);
    const attendance = this.#subscriptions.get(group)?.attendance ?? new Attendance();
    const { missed: _, ...presence } = attendance.answered(answer);
    return presence;
  }

  moved(group: string, position: Position): void {
    this.#positions?.note(group, position);
  }

  release(name: string): void {
    this.#subscriptions.delete(name);
    this.#positions?.forget(name);
    this.#unsubscribe(name);
  }

  failed(error: unknown): void {
    if (typeof reportError === 'function') reportError(error);
    else console.error(error);
    // A handler of `error` that throws is not told of itself.
    if (this.#failing) return;
    this.#failing = true;
    this.#emitter.emit('error', error);
    this.#failing = false;
  }

  dispatch(event: FanfareEvent): void {
    this.#emitter.emit(event.kind.startsWith('task.') ? 'task' : event.kind, event);
    this.#emitter.emit('*', event);
  }

  missed(gap: Gap): void {
    this.#emitter.emit('gap', gap);
  }

  interrupted(group: string, interrupted: boolean): void {
    this.#emitter.emit(interrupted ? 'interrupted' : 'resumed', { group });
  }

  #become(state: State): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#emitter.emit('state', state);
  }

  async #attempt(state: 'connecting' | 'reconnecting'): Promise<void> {
    clearTimeout(this.#timer);
    this.retry = null;
    this.#become(state);
    const abort = (this.#abort = new AbortController());
    try {
      const reason = this.#tokenLack();
      if (this.#options.getToken !== undefined && reason !== null) {
        this.#token = await this.#options.getToken({ reason, signal: abort.signal });
        abort.signal.throwIfAborted();
        this.#rejected = false;
      }
      const choice = await discover(this.#options, abort.signal);
      abort.signal.throwIfAborted();
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

  /** What is wrong with the token that is there; null if nothing is. */
  #tokenLack(): TokenReason | null {
    if (this.#token === undefined) return 'initial';
    if (this.#rejected) return 'rejected';
    return isExpired(this.#token, Date.now()) ? 'expiring' : null;
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
    this.#notBefore = 0;
    this.#become('connected');
    this.#listenFor(2 * this.#pingInterval);
    for (const subscription of this.#subscriptions.values()) {
      // What nobody here holds was the server's own: if it still is, the server says so, and then the past is asked for.
      if (subscription.holders > 0) this.#subscribe(subscription);
      else subscription.state = 'joining';
    }
    this.ping().catch(() => {});
  }

  /** Nothing for two ping intervals: the connection is dead, whatever the browser thinks. */
  #listenFor(ms: number): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lost(4002, 'nothing was received for two ping intervals'), ms);
  }

  /** Measures the round trip, in ms; `rtt` keeps it. Rejects when the connection is lost before the answer. */
  async ping(): Promise<number> {
    if (this.#state !== 'connected') throw new FanfareError(0, 'not connected');
    this.rtt = await this.#requests.ping();
    this.#emitter.emit('rtt', this.rtt);
    return this.rtt;
  }

  /** Finds out whether the connection still lives. A page that has slept is no reason to avoid a transport. */
  #probe(): void {
    const wire = this.#wire;
    const timer = setTimeout(() => this.#wire === wire && this.#lost(0, 'a ping was not answered'), PROBE_MS);
    this.ping().catch(() => {}).finally(() => clearTimeout(timer));
  }

  #send(frame: unknown[]): void {
    if (this.debug) console.debug('fanfare →', frame);
    this.#wire?.send(wireFormat.encodeFrame(frame));
  }

  #ask(op: number, fields: unknown[], timeout: number): Promise<Frame> {
    if (this.#state !== 'connected') return Promise.reject(new FanfareError(0, 'not connected'));
    return this.#requests.ask(op, fields, timeout);
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
      if (!error.retryable) {
        subscription.release();
        return subscription.denied(error);
      }
      setTimeout(() => this.#wire === wire && this.#subscriptions.get(name) === subscription && this.#subscribeInOrder(subscription), error.retryAfter ?? RETRY_MS);
    });
  }

  #unsubscribe(name: string): void {
    if (this.#state === 'connected') void this.#ask(wireFormat.UNSUBSCRIBE, [name], 5000).catch(() => {});
  }

  /** Catching up has a stream of its own, and live events and gaps wait until it has ended. A stream that fails or falls silent does not count: the main stream is asked for all of it again. */
  async #catchUp(subscription: Subscription, position: Position, wire: Wire, replay: NonNullable<Wire['replay']>): Promise<void> {
    const request = this.#requests.next();
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
    // What is held stays so until the answer: a live event would move the position past what is still to come.
    if (this.#subscriptions.get(subscription.name) === subscription) this.#subscribeInOrder(subscription);
  }

  #received(bytes: Uint8Array, replayed: boolean): void {
    this.#listenFor(2 * this.#pingInterval);
    let frame: Frame;
    try {
      frame = wireFormat.decodeFrame(bytes);
    } catch (error) {
      return this.#lost(0, `the server sent what is no frame: ${error}`);
    }
    if (this.debug) console.debug('fanfare ←', frame);
    switch (frame[0]) {
      case wireFormat.EVENT:
      case wireFormat.INTERRUPTED:
      case wireFormat.RESUMED:
      case wireFormat.GAP: return this.#told(frame, replayed);
      case wireFormat.SUBSCRIBED: return this.#subscribed(frame, replayed);
      case wireFormat.PRESENCE: return this.#presence(frame);
      case wireFormat.PING: return this.#send([wireFormat.PONG, number(frame[1])]);
      case wireFormat.PONG: return this.#requests.answer(-number(frame[1]), frame);
      case wireFormat.GOODBYE: return this.#lost(number(frame[1]), String(frame[2] ?? ''), frame[3] === true, number(frame[4]));
      case wireFormat.ERROR: {
        const error = new FanfareError(number(frame[2]), String(frame[3] ?? ''), typeof frame[4] === 'number' ? frame[4] : null);
        return this.#requests.refuse(number(frame[1]), error);
      }
      case wireFormat.UNSUBSCRIBED:
        if (frame[1] === 0) this.#ended(String(frame[2]), number(frame[3]));
        return this.#requests.answer(number(frame[1]), frame);
      default: return this.#requests.answer(number(frame[1]), frame);
    }
  }

  #subscribed(frame: Frame, replayed: boolean): void {
    const [, request, groupNumber, name] = frame;
    const group = String(name);
    const told = number(groupNumber);
    // Of a connection that is new the server tells if it is interrupted: after this, or on the main stream meanwhile.
    if (!this.#groups.has(told)) this.#subscriptions.get(group)?.interrupt(false);
    this.#groups.set(told, { name: group, live: number(frame[4]), replay: number(frame[4]) });
    const subscription = this.#subscriptions.get(group);
    if (request === 0) this.#followed(group, subscription, frame);
    else if (subscription !== undefined) this.#joined(subscription, frame, replayed);
    // It was left meanwhile, and the unsubscribe may have overtaken the subscribe, which had a stream of its own.
    else if (replayed) this.#unsubscribe(group);
    this.#requests.answer(number(request), frame);
    const early = this.#early.filter((frame) => number(frame[1]) === told);
    this.#early = this.#early.filter((frame) => number(frame[1]) !== told);
    for (const frame of early) this.#told(frame, false);
  }

  /** The server lets the session follow a group without being asked, and without knowing what the page has missed: that is asked for, and live events wait for the answer. */
  #followed(group: string, known: Subscription | undefined, frame: Frame): void {
    const subscription = known ?? new Subscription(group, this, this.#positions?.get(group) ?? null);
    if (known === undefined) this.#subscriptions.set(group, subscription);
    const resumes = subscription.state === 'joining' && subscription.position !== null && subscription.position[0] !== 0;
    if (!resumes) return this.#joined(subscription, frame, true);
    subscription.hold();
    if (subscription.holders === 0) this.#subscribe(subscription);
  }

  #joined(subscription: Subscription, [, , , , epoch, offset, recovered, missed]: Frame, replayed: boolean): void {
    // On the stream of live events the past comes in order, and with it what had to wait.
    if (!replayed) subscription.drop();
    subscription.state = 'joined';
    if (recovered === null || recovered === undefined) subscription.move([number(epoch), number(offset)]);
    subscription.emitter.emit('joined', { recovered: recovered !== false, missed: number(missed) });
    if (subscription.attendance.known && subscription.emitter.has('presence')) this.#lookWho(subscription);
  }

  #presence(frame: Frame): void {
    const subscription = this.#subscriptions.get(this.#groups.get(number(frame[1]))?.name ?? '');
    const change = subscription?.attendance.changed(subscription.name, frame);
    if (change === 'lost') this.#lookWho(subscription as Subscription);
    else if (change) subscription?.emitter.emit('presence', change);
  }

  /** Changes may have been lost: asks how many there are, and tells if that is news. */
  #lookWho({ name, attendance, emitter }: Subscription): void {
    this.#ask(wireFormat.WHO, [name, { limit: 0 }], SUBSCRIBE_MS).then((answer) => {
      const { list: _, next: __, missed, ...census } = attendance.answered(answer);
      if (missed) emitter.emit('presence', { group: name, joined: [], left: [], ...census, missed });
    }, () => {}); // The next change, or the next connection, finds out as well.
  }

  /** An event, a gap, or that events may not come and come again. */
  #told(frame: Frame, replayed: boolean): void {
    const group = this.#groups.get(number(frame[1]));
    const subscription = group && this.#subscriptions.get(group.name);
    // What is live may overtake the answer that tells its group's number, when that comes by another stream.
    if (group === undefined && this.#replays > 0 && this.#early.length < EARLY) this.#early.push(frame);
    if (group === undefined || subscription === undefined) return;
    if (frame[0] === wireFormat.INTERRUPTED || frame[0] === wireFormat.RESUMED) return subscription.interrupt(frame[0] === wireFormat.INTERRUPTED);
    const stream = replayed ? 'replay' : 'live';
    if (frame[0] === wireFormat.GAP) {
      const gap = wireFormat.gapFromWire(frame, group.name);
      group[stream] = gap.epoch;
      return subscription.take(gap, replayed);
    }
    const event = wireFormat.eventFromWire(frame, group.name, group[stream]);
    if (event !== null) subscription.take(event, replayed);
  }

  /** The server has ended a subscription. One that nobody here holds was the server's own: it is not asked for again. */
  #ended(group: string, code: number): void {
    const subscription = this.#subscriptions.get(group);
    if (subscription?.holders === 0) this.#subscriptions.delete(group);
    subscription?.denied(new FanfareError(code, 'the server ended the subscription'));
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
    this.#notBefore = Date.now() + delay;
    this.#rejected ||= tokenCure;
    if (isHidden() && this.#triedHidden) return this.#pause(error.reason);
    this.#triedHidden = isHidden();
    this.#waitUntil(Date.now() + wait, error.reason);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#attempt('reconnecting'), wait);
  }

  /** Nothing more is tried until the page wakes. */
  #pause(reason: string): void {
    clearTimeout(this.#timer);
    this.#waitUntil(Infinity, reason);
  }

  #waitUntil(nextAt: number, reason: string): void {
    this.retry = { attempt: this.#backoff.attempt, nextAt, reason };
    this.#become('reconnecting');
    this.#emitter.emit('state', this.#state);
  }

  /** The page goes to sleep: the server sees a leave and not a timeout. */
  #sleep(): void {
    if (this.#state === 'idle' || this.#state === 'failed') return;
    this.#drop();
    this.#positions?.store();
    this.#pause('the page is asleep');
  }

  /** The page is looked at, awake or online: no use in waiting longer than the server asked for, and a connection may be dead without anybody having been told. */
  #wake(): void {
    this.#triedHidden = false;
    if (this.#state === 'connected') {
      this.#renewExpired();
      this.#probe();
    } else if (this.#state === 'reconnecting' && this.retry !== null) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => void this.#attempt('reconnecting'), Math.max(0, this.#notBefore - Date.now()));
    }
  }

  /** A token whose time has passed while the page slept. */
  #renewExpired(): void {
    const { getToken } = this.#options;
    if (getToken === undefined || this.#token === undefined || this.#renewing || !isExpired(this.#token, Date.now())) return;
    this.#renewing = true;
    const signal = this.#abort?.signal ?? AbortSignal.abort();
    getToken({ reason: 'expiring', signal })
      .then((token) => void (signal.aborted ? (this.#token = token) : this.setToken(token)))
      .catch((error: unknown) => this.#emitter.emit('error', error))
      .finally(() => (this.#renewing = false));
  }

  #drop(): void {
    clearTimeout(this.#watchdog);
    this.#abort?.abort();
    const wire = this.#wire;
    this.#wire = null;
    this.#groups.clear();
    this.#replays = 0;
    this.#early = [];
    this.#requests.drop();
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
