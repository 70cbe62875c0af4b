import { type Position } from './frames.js';
export declare class Positions {
    #private;
    /** Those of the server with this URL. */
    constructor(url: string);
    get(group: string): Position | null;
    note(group: string, position: Position): void;
    forget(group: string): void;
    /** Writes what is noted. */
    store(): void;
}
