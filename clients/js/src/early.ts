// What comes on the main stream for a group whose number is told on another stream, later.

import { EVENT, type Frame, GAP, number } from './frames.js';

/** Frames that wait; beyond that the oldest go, and a gap tells. With that gap they are as many as one group holds back. */
const WAITING = 999;
/** `slow`, of a gap frame. */
const SLOW = 3;
/** `epoch`. */
const EPOCH = 2;

export class Early {
  #frames: Frame[] = [];
  /** For each group's number the gap in the place of what went; its epoch is null as long as that is the one of `subscribed`. */
  readonly #gone = new Map<number, Frame>();

  add(frame: Frame): void {
    this.#frames.push(frame);
    if (this.#frames.length > WAITING) this.#lose(this.#frames.shift() as Frame);
  }

  /** What has waited for this number, oldest first. `epoch`: that of the group when its number was told. */
  take(group: number, epoch: number): Frame[] {
    const [gone, waited] = [this.#gone.get(group), this.#frames.filter((frame) => number(frame[1]) === group)];
    this.forget(group);
    return gone === undefined ? waited : [[gone[0] as number, group, gone[2] ?? epoch, ...gone.slice(3)], ...waited];
  }

  forget(group: number): void {
    this.#frames = this.#frames.filter((frame) => number(frame[1]) !== group);
    this.#gone.delete(group);
  }

  clear(): void {
    this.#frames = [];
    this.#gone.clear();
  }

  #lose(frame: Frame): void {
    const group = number(frame[1]);
    const before = this.#gone.get(group);
    if (frame[0] === EVENT) {
      const offset = number(frame[2]);
      const count = before === undefined ? 1 : typeof before[5] === 'number' ? before[5] + 1 : null;
      this.#gone.set(group, [GAP, group, before?.[2] ?? null, number(before?.[3]) || offset, offset, count, SLOW]);
    } else if (frame[0] === GAP) {
      // A gap in an epoch that goes on widens what went before it; a new epoch is a gap of all that was.
      const widens = before !== undefined && frame[6] !== EPOCH;
      this.#gone.set(group, widens ? [GAP, group, frame[2] ?? null, before[3] ?? 0, frame[4] ?? 0, null, SLOW] : frame);
    }
  }
}
