// When to come back.

export interface ReconnectOptions {
  /** The first ceiling, in ms; default 250. */
  min?: number;
  /** The highest ceiling, in ms; default 20,000. */
  max?: number;
  /** After how many attempts to give up; default never. */
  giveUpAfter?: number;
}

/** A connection that lived so long was a good one: the next loss begins at the first ceiling again. In ms. */
const GOOD_UPTIME = 5000;

export class Backoff {
  attempt = 0;
  readonly #min: number;
  readonly #max: number;
  readonly giveUpAfter: number;

  constructor(options: ReconnectOptions = {}) {
    this.#min = options.min ?? 250;
    this.#max = options.max ?? 20_000;
    this.giveUpAfter = options.giveUpAfter ?? Infinity;
  }

  /** How long to wait before the next attempt, in ms: full jitter below a ceiling that doubles. */
  next(random: () => number = Math.random): number {
    const ceiling = Math.min(this.#max, this.#min * 2 ** Math.min(this.attempt, 30));
    this.attempt += 1;
    return random() * ceiling;
  }

  /** A connection has ended after so many ms. */
  lived(ms: number): void {
    if (ms >= GOOD_UPTIME) this.attempt = 0;
  }
}
