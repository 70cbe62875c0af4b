import { FanfareError } from './errors.js';
import { type Frame } from './frames.js';
export declare class Requests {
    #private;
    constructor(send: (frame: unknown[]) => void);
    /** A number that no request under way has. */
    next(): number;
    /** The answer to a request; rejects with the server's error, or when nothing has come for so many ms. */
    ask(op: number, fields: unknown[], timeout: number): Promise<Frame>;
    /** How long a ping takes, in ms. */
    ping(): Promise<number>;
    answer(request: number, frame: Frame): void;
    refuse(request: number, error: FanfareError): void;
    /** The connection is gone, and all answers with it. */
    drop(): void;
}
