// Who is in a group: what the server says, and which of its changes continue what is known.

import { type Frame, number } from './frames.js';
import type { Value } from './msgpack.js';

/** How many are in a group, on all nodes. */
export interface Census {
  /** Users, each once however many connections they have. */
  users: number;
  /** Connections without a user. */
  anonymous: number;
  /** All connections. */
  connections: number;
}

/** Who is in a group: exact numbers, and a part of the list. */
export interface Presence extends Census {
  /** In order of their ids. */
  list: { user: string; connections: number }[];
  /** Give this as `after` to get the next part; null if there is none. */
  next: string | null;
}

/** Who has come and who has gone. */
export interface PresenceChange extends Census {
  group: string;
  joined: string[];
  left: string[];
  /** Others have come or gone meanwhile, and nobody knows who: `presence()` tells who is there. */
  missed: boolean;
}

export interface PresenceOptions {
  /** The list begins after this user. */
  after?: string;
  /** How many users at most; default 100, never more than 1,000. */
  limit?: number;
  /** How long to wait for the answer, in ms; default 5000. */
  timeout?: number;
}

const texts = (value: Value | undefined) => (Array.isArray(value) ? value.map(String) : []);

/** What is known of one group. */
export class Attendance {
  #epoch = 0;
  #version = 0;
  /** Something has been told or answered. */
  known = false;

  /** Takes an answer to `who`; `missed` says whether it is news. */
  answered(frame: Frame): Presence & { missed: boolean } {
    const [epoch, version] = [number(frame[3]), number(frame[4])];
    const older = epoch === this.#epoch && version < this.#version;
    const missed = this.known && !older && (epoch !== this.#epoch || version > this.#version);
    if (!older) this.#become(epoch, version);
    const list = Array.isArray(frame[8]) ? frame[8].map((one) => (Array.isArray(one) ? { user: String(one[0]), connections: number(one[1]) } : { user: String(one), connections: 0 })) : [];
    return { ...census(frame, 5), list, next: typeof frame[9] === 'string' ? frame[9] : null, missed };
  }

  /** Takes a change: the news in it, null if there is none, or `lost` if the server has to be asked. */
  changed(group: string, frame: Frame): PresenceChange | 'lost' | null {
    const [epoch, version] = [number(frame[2]), number(frame[3])];
    if (version === 0) return 'lost';
    if (epoch === this.#epoch && version <= this.#version) return null;
    const missed = this.known && (epoch !== this.#epoch || version > this.#version + 1);
    this.#become(epoch, version);
    return { group, joined: texts(frame[4]), left: texts(frame[5]), ...census(frame, 6), missed };
  }

  #become(epoch: number, version: number): void {
    [this.#epoch, this.#version, this.known] = [epoch, version, true];
  }
}

function census(frame: Frame, at: number): Census {
  return { users: number(frame[at]), anonymous: number(frame[at + 1]), connections: number(frame[at + 2]) };
}
