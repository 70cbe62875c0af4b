// One group that the application follows: position, de-duplication, and what is held back while it catches up.

import { Emitter, type Handler, type OnOptions, type Undo } from './emitter.js';
import { type FanfareEvent, type Gap, type Position } from './frames.js';
import { FanfareError } from './errors.js';
import { Feed } from './feed.js';
import { Attendance, type Presence, type PresenceOptions } from './presence.js';

export type GroupState = 'joining' | 'joined' | 'left' | 'denied';

/** What a group needs of its client. */
export interface GroupHost {
  publish(group: string, kind: string, content: unknown, options: PublishOptions): Promise<Receipt>;
  who(group: string, options: PresenceOptions): Promise<Presence>;
  moved(group: string, position: Position): void;
  release(group: string): void;
  failed(error: unknown): void;
  dispatch(event: FanfareEvent): void;
  missed(gap: Gap): void;
  interrupted(group: string, interrupted: boolean): void;
}

export interface PublishOptions {
  data?: object;
  /** Idempotency key: repeating the publish within five minutes sends nothing. */
  key?: string;
  /** How long to wait for the answer, in ms; default 5000. */
  timeout?: number;
}

export interface Receipt {
  id: string;
  position: Position;
}

/** Ids that are remembered for each group, to recognise an event that comes twice. */
const REMEMBERED = 256;
/** Live events and gaps that are held back while a group catches up; beyond that the oldest go, and a gap tells. */
const HELD = 1000;
/** Events that wait for a loop that does not keep up; beyond that the loop fails. */
const BUFFERED = 1000;

/** The client's one record of a group, shared by all its holders. */
export class Subscription {
  state: GroupState = 'joining';
  position: Position | null;
  holders = 0;
  interrupted = false;
  readonly emitter: Emitter;
  readonly attendance = new Attendance();
  readonly #ids: string[] = [];
  #held: (FanfareEvent | Gap)[] | null = null;

  constructor(readonly name: string, readonly host: GroupHost, since: Position | null) {
    this.position = since;
    this.emitter = new Emitter((error) => host.failed(error));
  }

  /** From now on live events and gaps wait for `release`. */
  hold(): void {
    this.#held ??= [];
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const told of held) this.apply(told);
  }

  /** What waits comes again by another way. */
  drop(): void {
    this.#held = null;
  }

  /** An event or a gap, live or of a replay. A live one stands behind all of the replay: a gap that did not wait would skip what is still to come. */
  take(told: FanfareEvent | Gap, replayed: boolean): void {
    if (this.#held === null || replayed) return this.apply(told);
    this.#held.push(told);
    if (this.#held.length > HELD) this.tell(lost(this.#held.shift() as FanfareEvent | Gap));
  }

  private apply(told: FanfareEvent | Gap): void {
    if (isGap(told)) this.skip(told);
    else this.deliver(told);
  }

  private skip(gap: Gap): void {
    // A gap whose place nobody knows moves nothing back.
    const reached = this.position?.[0] === gap.epoch ? this.position[1] : 0;
    this.move([gap.epoch, Math.max(reached, gap.to)]);
    this.tell(gap);
  }

  private tell(gap: Gap): void {
    this.emitter.emit('gap', gap);
    this.host.missed(gap);
  }

  private deliver(event: FanfareEvent): void {
    if (this.#ids.includes(event.id)) return;
    if (event.offset > 0 && this.position !== null && this.position[0] === event.epoch) {
      if (event.offset <= this.position[1]) return;
      this.move([event.epoch, event.offset]);
    }
    this.#ids.push(event.id);
    if (this.#ids.length > REMEMBERED) this.#ids.shift();
    const type = event.kind.startsWith('task.') ? 'task' : event.kind;
    this.emitter.emit(type, event);
    this.emitter.emit('*', event);
    this.host.dispatch(event);
  }

  /** Everything up to there has been given to handlers, or will not come. */
  move(position: Position): void {
    this.position = position;
    this.host.moved(this.name, position);
  }

  /** The server may not get all events for the time being, or does again. */
  interrupt(interrupted: boolean): void {
    if (this.interrupted === interrupted) return;
    this.interrupted = interrupted;
    this.emitter.emit(interrupted ? 'interrupted' : 'resumed', { group: this.name });
    this.host.interrupted(this.name, interrupted);
  }

  denied(error: FanfareError): void {
    this.state = 'denied';
    this.interrupt(false);
    this.emitter.emit('denied', error);
  }
}

function isGap(told: FanfareEvent | Gap): told is Gap {
  return 'reason' in told;
}

/** The gap that is left of what there is no room for. */
function lost(told: FanfareEvent | Gap): Gap {
  if (isGap(told)) return told;
  return { group: told.group, epoch: told.epoch, from: told.offset, to: told.offset, count: 1, reason: 'slow' };
}

/** A holder's view of a group. Every `client.group(name)` gives one; the server is left when the last one leaves. */
export class Group {
  readonly #subscription: Subscription;
  readonly #undo = new Set<Undo>();
  readonly #feeds = new Set<Feed>();
  #left = false;

  constructor(subscription: Subscription) {
    this.#subscription = subscription;
    subscription.holders += 1;
  }

  get name(): string { return this.#subscription.name; }
  get state(): GroupState { return this.#left ? 'left' : this.#subscription.state; }
  /** The server is cut off from other servers, and events may not come for the time being; only where the group's policy tells. */
  get interrupted(): boolean { return this.#subscription.interrupted; }
  /** The last event that was given to handlers, `[epoch, offset]`; null before the first answer. */
  get position(): Position | null { return this.#subscription.position; }

  /** Calls `handler` for events of a kind (`task` for all of a task), for `joined`, `gap`, `interrupted`, `resumed`, `denied`, `presence`, or for every event (`*`). Returns its undo. */
  on(type: string, handler: Handler, options: OnOptions = {}): Undo {
    const undo = this.#subscription.emitter.on(type, handler, options);
    this.#undo.add(undo);
    return () => {
      this.#undo.delete(undo);
      undo();
    };
  }

  /** Sends an event to the group; resolves when the server has given it its place. */
  publish(kind: string, content: unknown, options: PublishOptions = {}): Promise<Receipt> {
    return this.#subscription.host.publish(this.name, kind, content, options);
  }

  /** Who is in the group, on all nodes; rejects where its policy does not say. */
  presence(options: PresenceOptions = {}): Promise<Presence> {
    return this.#subscription.host.who(this.name, options);
  }

  /** Stops this holder's handlers, and following when it was the last holder. */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    for (const undo of this.#undo) undo();
    for (const feed of this.#feeds) feed.end();
    this.#subscription.holders -= 1;
    if (this.#subscription.holders === 0) this.#subscription.host.release(this.name);
  }

  /** Every event from now on, until this holder leaves. A loop that falls 1,000 events behind fails: nothing is dropped silently. */
  [Symbol.asyncIterator](): AsyncIterableIterator<FanfareEvent, undefined> {
    const behind = () => new FanfareError(0, `${BUFFERED} events of ${this.name} wait for a loop that does not keep up`);
    const feed = new Feed(BUFFERED, behind, () => {
      this.#feeds.delete(feed);
      undo();
    });
    const undo = this.on('*', (event: FanfareEvent) => feed.push(event));
    this.#feeds.add(feed);
    if (this.#left) feed.end();
    return feed;
  }
}
