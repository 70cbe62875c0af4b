import type { Undo } from './emitter.js';
export interface PageEvents {
    /** The page is put to sleep, or left. */
    sleep(): void;
    /** The page is looked at again, awake, or online. */
    wake(): void;
}
/** Whether nobody can see the page. */
export declare const isHidden: () => boolean;
export declare function watchPage({ sleep, wake }: PageEvents): Undo;
