// Handlers by type. One that throws hurts nobody else.

export type Handler = (detail: never) => void;

/** How a handler is taken away again. */
export type Undo = () => void;

export interface OnOptions {
  /** Takes the handler away when it is aborted. */
  signal?: AbortSignal;
}

export class Emitter {
  readonly #handlers = new Map<string, Set<Handler>>();
  readonly #failed: (error: unknown) => void;

  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
  }

  on(type: string, handler: Handler, options: OnOptions = {}): Undo {
    // A handler of its own for each call, so that the same function can be registered twice and taken away once.
    const own: Handler = (detail) => handler(detail);
    const set = this.#handlers.get(type) ?? new Set();
    this.#handlers.set(type, set.add(own));
    const undo = () => void set.delete(own);
    options.signal?.addEventListener('abort', undo, { once: true });
    return undo;
  }

  /** Whether anybody would be told. */
  has(type: string): boolean {
    return (this.#handlers.get(type)?.size ?? 0) > 0;
  }

  emit(type: string, detail: unknown): void {
    for (const handler of [...(this.#handlers.get(type) ?? [])]) {
      try {
        handler(detail as never);
      } catch (error) {
        this.#failed(error);
      }
    }
  }
}
