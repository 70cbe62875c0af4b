export interface ReconnectOptions {
    /** The first ceiling, in ms; default 250. */
    min?: number;
    /** The highest ceiling, in ms; default 20,000. */
    max?: number;
    /** After how many attempts to give up; default never. */
    giveUpAfter?: number;
}
export declare class Backoff {
    #private;
    attempt: number;
    readonly giveUpAfter: number;
    constructor(options?: ReconnectOptions);
    /** How long to wait before the next attempt, in ms: full jitter below a ceiling that doubles. */
    next(random?: () => number): number;
    /** A connection has ended after so many ms. */
    lived(ms: number): void;
}
