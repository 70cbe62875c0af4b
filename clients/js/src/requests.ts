// Requests and their answers, pings and their pongs, on one connection after the other.

import { FanfareError } from './errors.js';
import { PING, type Frame } from './frames.js';

interface Pending {
  resolve(frame: Frame): void;
  reject(error: FanfareError): void;
}

export class Requests {
  readonly #send: (frame: unknown[]) => void;
  /** By request number; pings under the negative of theirs. */
  readonly #pending = new Map<number, Pending>();
  #last = 0;

  constructor(send: (frame: unknown[]) => void) {
    this.#send = send;
  }

  /** A number that no request under way has. */
  next(): number {
    return (this.#last = (this.#last % 0x7fffffff) + 1);
  }

  /** The answer to a request; rejects with the server's error, or when nothing has come for so many ms. */
  ask(op: number, fields: unknown[], timeout: number): Promise<Frame> {
    const request = this.next();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.refuse(request, new FanfareError(0, `no answer in ${timeout} ms`)), timeout);
      this.#wait(request, resolve, reject, () => clearTimeout(timer));
      this.#send([op, request, ...fields]);
    });
  }

  /** How long a ping takes, in ms. */
  ping(): Promise<number> {
    const number = this.next();
    const sent = performance.now();
    return new Promise((resolve, reject) => {
      this.#wait(-number, () => resolve(performance.now() - sent), reject);
      this.#send([PING, number]);
    });
  }

  answer(request: number, frame: Frame): void {
    this.#pending.get(request)?.resolve(frame);
  }

  refuse(request: number, error: FanfareError): void {
    this.#pending.get(request)?.reject(error);
  }

  /** The connection is gone, and all answers with it. */
  drop(): void {
    for (const request of [...this.#pending.keys()]) this.refuse(request, new FanfareError(0, 'the connection was lost'));
  }

  #wait(request: number, resolve: (frame: Frame) => void, reject: (error: FanfareError) => void, settled: () => void = () => {}): void {
    const settle = () => {
      settled();
      this.#pending.delete(request);
    };
    this.#pending.set(request, {
      resolve: (frame) => (settle(), resolve(frame)),
      reject: (error) => (settle(), reject(error)),
    });
  }
}
