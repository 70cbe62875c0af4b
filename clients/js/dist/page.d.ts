import type { Undo } from './emitter.js';
export interface PageEvents {
    /** Find out whether the connection still lives. */
    probe(): void;
    /** The page is put to sleep: leave cleanly, so that the server sees it. */
    leave(): void;
    /** The page is awake or online again. */
    wake(): void;
}
export declare function watchPage({ leave, wake }: PageEvents): Undo;
