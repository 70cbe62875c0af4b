// Positions that outlive a reload, in the tab's own storage: what handlers have been given is not given again, and what comes meanwhile is missed and comes.

import { type Position } from './frames.js';

/** Groups whose position is kept; beyond that the ones that were noted first go. */
const KEPT = 1000;
/** How long a position may be newer than what is stored, in ms: it only matters when a page ends without saying so. */
const LATE_MS = 500;

export class Positions {
  readonly #key: string;
  readonly #kept = new Map<string, Position>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Those of the server with this URL. */
  constructor(url: string) {
    this.#key = `fanfare.positions ${url}`;
    try {
      const stored: unknown = JSON.parse(globalThis.sessionStorage?.getItem(this.#key) ?? '{}');
      for (const [group, position] of Object.entries(stored as object)) if (isPosition(position)) this.#kept.set(group, position);
    } catch {
      // Storage may be forbidden, or hold something else; then every group begins now.
    }
  }

  get(group: string): Position | null {
    return this.#kept.get(group) ?? null;
  }

  note(group: string, position: Position): void {
    // At the end again, so that the first is the one that has been quiet for longest.
    this.#kept.delete(group);
    this.#kept.set(group, position);
    if (this.#kept.size > KEPT) for (const first of this.#kept.keys()) { this.#kept.delete(first); break; }
    this.#timer ??= setTimeout(() => this.store(), LATE_MS);
  }

  forget(group: string): void {
    this.#kept.delete(group);
    this.#timer ??= setTimeout(() => this.store(), LATE_MS);
  }

  /** Writes what is noted. */
  store(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    try {
      globalThis.sessionStorage?.setItem(this.#key, JSON.stringify(Object.fromEntries(this.#kept)));
    } catch {
      // Forbidden or full: after a reload groups begin then.
    }
  }
}

function isPosition(value: unknown): value is Position {
  return Array.isArray(value) && value.length === 2 && value.every((part) => Number.isSafeInteger(part) && part >= 0);
}
