import { type Frame } from './frames.js';
import { type Endpoint, type Listener, type TransportName, type WebSocketConstructor, type WebTransportConstructor, type Wire } from './transport.js';
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
/** Engine and major version of a browser. */
export declare function engineOf(userAgent: string): {
    engine: string;
    version: number;
};
/** Why WebTransport is not even tried; null if it is. */
export declare function obstacle(choice: Choice): string | null;
/** Takes whichever wins, at once: more frames may stand right behind the welcome. Null if another one has won. */
export type Adopt = (won: Won) => Listener | null;
/** Connects by the best transport that answers. `hello` makes the first frame for a reason. */
export declare function connect(choice: Choice, hello: (reason: string) => Uint8Array, adopt: Adopt, signal: AbortSignal): Promise<Won>;
