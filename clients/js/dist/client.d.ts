import { type ReconnectOptions } from './backoff.js';
import { type Handler, type OnOptions, type Undo } from './emitter.js';
import { type FanfareEvent, type Gap, type Position } from './frames.js';
import { Group, type GroupHost, type PublishOptions, type Receipt } from './group.js';
import { type Presence, type PresenceOptions } from './presence.js';
import type { Endpoint, TransportName, WebSocketConstructor, WebTransportConstructor } from './transport.js';
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
    getToken?: (request: {
        reason: TokenReason;
        signal: AbortSignal;
    }) => Promise<string>;
    /** In order of preference; default both. */
    transports?: TransportName[];
    reconnect?: ReconnectOptions;
    /** Keeps positions in this tab, so that a page that is loaded anew gets what it missed meanwhile, and nothing that its handlers have had. */
    persistPositions?: boolean;
    WebTransport?: WebTransportConstructor;
    WebSocket?: WebSocketConstructor;
    fetch?: typeof fetch;
}
export declare class Client implements GroupHost {
    #private;
    /** How long the last ping took, in ms. */
    rtt: number | null;
    /** Why it is not WebTransport; null while it is. */
    fallbackReason: string | null;
    /** When the next attempt comes while it is `reconnecting` (`Infinity`: when the page wakes), or why it has `failed`. */
    retry: {
        attempt: number;
        nextAt: number;
        reason: string;
    } | null;
    /** Who the server takes this client for. */
    user: string | null;
    session: string | null;
    node: string | null;
    /** Prints decoded frames. */
    debug: boolean;
    constructor(options?: ClientOptions);
    get state(): State;
    get transport(): TransportName | null;
    /** Calls `handler` for events of a kind in any group, for `*`, `state`, `error`, `gap`, `interrupted` or `resumed`. Returns its undo. */
    on(type: string, handler: Handler, options?: OnOptions): Undo;
    /** The group with this name; it is followed until every holder has left. Connects if nothing has yet, unless `disconnect` was called. */
    group(name: string, options?: {
        since?: Position;
    }): Group;
    /** Connects, and stays connected until `disconnect`. While it is `reconnecting`: tries at once. */
    connect(): Promise<void>;
    /** Ends the connection for good: nothing comes back by itself. */
    disconnect(): void;
    /** Resolves when connected, rejects when it has failed for good or the time is over. */
    ready({ timeout }?: {
        timeout?: number;
    }): Promise<void>;
    /** The token of the next hello, and of the session that is there. */
    setToken(token: string): void;
    publish(group: string, kind: string, content: unknown, options: PublishOptions): Promise<Receipt>;
    who(group: string, { after, limit, timeout }: PresenceOptions): Promise<Presence>;
    moved(group: string, position: Position): void;
    release(name: string): void;
    failed(error: unknown): void;
    dispatch(event: FanfareEvent): void;
    missed(gap: Gap): void;
    interrupted(group: string, interrupted: boolean): void;
    /** Measures the round trip, in ms; `rtt` keeps it. Rejects when the connection is lost before the answer. */
    ping(): Promise<number>;
}
/** A client that connects when it is asked to, or with its first group. */
export declare function createClient(options?: ClientOptions): Client;
