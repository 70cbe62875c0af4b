export type Handler = (detail: never) => void;
/** How a handler is taken away again. */
export type Undo = () => void;
export interface OnOptions {
    /** Takes the handler away when it is aborted. */
    signal?: AbortSignal;
}
export declare class Emitter {
    #private;
    constructor(failed: (error: unknown) => void);
    on(type: string, handler: Handler, options?: OnOptions): Undo;
    /** Whether anybody would be told. */
    has(type: string): boolean;
    emit(type: string, detail: unknown): void;
}
