/** Everything that this client rejects with. */
export declare class FanfareError extends Error {
    /** The server's code, or 0 if it never came to that. */
    readonly code: number;
    /** A sentence for people. */
    readonly reason: string;
    /** Whether repeating it may help. */
    readonly retryable: boolean;
    /** After how many ms, if the server told. */
    readonly retryAfter: number | null;
    constructor(code: number, reason: string, retryAfter?: number | null);
}
/** Whether a connection that ended with this code wants a new token first. */
export declare const wantsToken: (code: number) => boolean;
/** Whether the server itself has answered: by another transport it would say the same. */
export declare const isAnswer: (error: unknown) => boolean;
/** Whether a connection that ended with this code must not be made again. */
export declare const isFinal: (code: number) => boolean;
