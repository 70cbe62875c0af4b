import { Emitter, type Handler, type OnOptions, type Undo } from './emitter.js';
import { type FanfareEvent, type Gap, type Position } from './frames.js';
import { FanfareError } from './errors.js';
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
/** The client's one record of a group, shared by all its holders. */
export declare class Subscription {
    #private;
    readonly name: string;
    readonly host: GroupHost;
    state: GroupState;
    position: Position | null;
    holders: number;
    interrupted: boolean;
    readonly emitter: Emitter;
    readonly attendance: Attendance;
    constructor(name: string, host: GroupHost, since: Position | null);
    /** From now on live events and gaps wait for `release`. */
    hold(): void;
    release(): void;
    /** What waits comes again by another way. */
    drop(): void;
    /** An event or a gap, live or of a replay. A live one stands behind all of the replay: a gap that did not wait would skip what is still to come. */
    take(told: FanfareEvent | Gap, replayed: boolean): void;
    private apply;
    private skip;
    private tell;
    private deliver;
    /** Everything up to there has been given to handlers, or will not come. */
    move(position: Position): void;
    /** The server may not get all events for the time being, or does again. */
    interrupt(interrupted: boolean): void;
    denied(error: FanfareError): void;
}
/** A holder's view of a group. Every `client.group(name)` gives one; the server is left when the last one leaves. */
export declare class Group {
    #private;
    constructor(subscription: Subscription);
    get name(): string;
    get state(): GroupState;
    /** The server is cut off from other servers, and events may not come for the time being; only where the group's policy tells. */
    get interrupted(): boolean;
    /** The last event that was given to handlers, `[epoch, offset]`; null before the first answer. */
    get position(): Position | null;
    /** Calls `handler` for events of a kind (`task` for all of a task), for `joined`, `gap`, `interrupted`, `resumed`, `denied`, `presence`, or for every event (`*`). Returns its undo. */
    on(type: string, handler: Handler, options?: OnOptions): Undo;
    /** Sends an event to the group; resolves when the server has given it its place. */
    publish(kind: string, content: unknown, options?: PublishOptions): Promise<Receipt>;
    /** Who is in the group, on all nodes; rejects where its policy does not say. */
    presence(options?: PresenceOptions): Promise<Presence>;
    /** Stops this holder's handlers, and following when it was the last holder. */
    leave(): void;
    /** Every event from now on, until this holder leaves. A loop that falls 1,000 events behind fails: nothing is dropped silently. */
    [Symbol.asyncIterator](): AsyncIterableIterator<FanfareEvent, undefined>;
}
