export type TransportName = 'webtransport' | 'websocket';
/** What a wire tells. */
export interface Listener {
    /** A whole frame has come. */
    frame(bytes: Uint8Array): void;
    /** The wire is gone; `code` is 0 if it told none. Called once. */
    closed(code: number, reason: string): void;
}
export interface Wire {
    readonly name: TransportName;
    send(frame: Uint8Array): void;
    /** Sends a frame on a stream of its own and gives what comes back; null where the transport has no streams. */
    replay: ((frame: Uint8Array, onFrame: (bytes: Uint8Array) => void) => Promise<void>) | null;
    close(code: number, reason: string): void;
}
export interface Endpoint {
    url: string;
    /** SHA-256 of the certificates to trust, in hex; empty: the ordinary way. */
    certificateHashes?: string[];
}
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocket;
export type WebTransportConstructor = new (url: string, options?: WebTransportOptions) => WebTransport;
/** Opens a WebSocket. Resolves when it is open, which proves nothing yet: the first welcome does. */
export declare function openWebSocket(Constructor: WebSocketConstructor, endpoint: Endpoint, listener: Listener, signal: AbortSignal): Promise<Wire>;
/** Opens a WebTransport session and its main stream. */
export declare function openWebTransport(Constructor: WebTransportConstructor, endpoint: Endpoint, listener: Listener, signal: AbortSignal): Promise<Wire>;
/** A variable-length integer (RFC 9000, section 16), or null if it is not whole. */
export declare function readPrefix(bytes: Uint8Array): {
    width: number;
    length: number;
} | null;
/** A frame after its length. */
export declare function prefixed(frame: Uint8Array): Uint8Array<ArrayBuffer>;
