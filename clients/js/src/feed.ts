// Events as an iterator, for `for await`.

import type { FanfareEvent } from './frames.js';

type Next = IteratorResult<FanfareEvent, undefined>;

const OVER: Next = { done: true, value: undefined };

/** A queue between handlers and one loop, of at most so many events. */
export class Feed implements AsyncIterableIterator<FanfareEvent, undefined> {
  readonly #most: number;
  readonly #behind: () => Error;
  readonly #ended: () => void;
  #waiting: FanfareEvent[] = [];
  #asked: ((next: Next) => void)[] = [];
  #error: Error | null = null;
  #over = false;

  /** `behind` makes the error of a loop that has fallen behind; `ended` is called once, when nothing more is wanted. */
  constructor(most: number, behind: () => Error, ended: () => void) {
    this.#most = most;
    this.#behind = behind;
    this.#ended = ended;
  }

  push(event: FanfareEvent): void {
    if (this.#over) return;
    const asked = this.#asked.shift();
    if (asked !== undefined) asked({ done: false, value: event });
    else if (this.#waiting.push(event) > this.#most) {
      this.#error = this.#behind();
      this.end();
    }
  }

  /** Nothing comes any more, and nothing that waits is given out. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#waiting = [];
    for (const asked of this.#asked.splice(0)) asked(OVER);
    this.#ended();
  }

  next(): Promise<Next> {
    const event = this.#waiting.shift();
    if (event !== undefined) return Promise.resolve({ done: false, value: event });
    const error = this.#error;
    this.#error = null;
    if (error !== null) return Promise.reject(error);
    if (this.#over) return Promise.resolve(OVER);
    return new Promise((resolve) => this.#asked.push(resolve));
  }

  return(): Promise<Next> {
    this.end();
    return Promise.resolve(OVER);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
