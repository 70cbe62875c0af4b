import type { FanfareEvent } from './frames.js';
type Next = IteratorResult<FanfareEvent, undefined>;
/** A queue between handlers and one loop, of at most so many events. */
export declare class Feed implements AsyncIterableIterator<FanfareEvent, undefined> {
    #private;
    /** `behind` makes the error of a loop that has fallen behind; `ended` is called once, when nothing more is wanted. */
    constructor(most: number, behind: () => Error, ended: () => void);
    push(event: FanfareEvent): void;
    /** Nothing comes any more, and nothing that waits is given out. */
    end(): void;
    next(): Promise<Next>;
    return(): Promise<Next>;
    [Symbol.asyncIterator](): this;
}
export {};
