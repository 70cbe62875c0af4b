// Frames of fanfare.v1 (docs/protocol.md section 5): opcodes, kinds, and the way from arrays to what an application sees.

import { decode, encode, type Value } from './msgpack.js';

export const HELLO = 0x01;
export const SUBSCRIBE = 0x02;
export const UNSUBSCRIBE = 0x03;
export const PUBLISH = 0x04;
export const REFRESH = 0x05;
export const WHO = 0x06;
export const WELCOME = 0x11;
export const SUBSCRIBED = 0x12;
export const UNSUBSCRIBED = 0x13;
export const PUBLISHED = 0x14;
export const REFRESHED = 0x15;
export const ERROR = 0x16;
export const PRESENT = 0x17;
export const EVENT = 0x20;
export const GAP = 0x21;
export const PRESENCE = 0x22;
export const INTERRUPTED = 0x23;
export const RESUMED = 0x24;
export const PING = 0x30;
export const PONG = 0x31;
export const GOODBYE = 0x32;

/** A place in a group's history: `[epoch, offset]`. */
export type Position = readonly [epoch: number, offset: number];

/** A frame: opcode and fields; missing ones are null. */
export type Frame = Value[];

const GAP_REASONS = ['', 'expired', 'epoch', 'slow', 'broker'];
const KINDS = ['message', 'notification', 'file', 'task.update', 'task.complete', 'task.error'];

/** One event, as handlers get it. */
export interface FanfareEvent {
  /** Unique; `1764042123456-77`. */
  id: string;
  group: string;
  kind: string;
  /** Its place in the group; 0 if the group keeps no history. */
  offset: number;
  epoch: number;
  /** When the server accepted it. */
  timestamp: Date;
  data: { [key: string]: Value } | null;
  /** The user who published it; null for the application. */
  sender: string | null;
  /** The body as it came. */
  body: Value;
  /** Text of a message, notification or file. */
  message?: string;
  /** Of a notification: `success`, `error`, `info`, `warning`. */
  type?: string;
  /** Of a notification; may be empty. */
  title?: string;
  /** Of a file. */
  url?: string;
  name?: string;
  /** Of a file, in bytes. */
  size?: number | null;
}

/** Events that will not come, as handlers get it. */
export interface Gap {
  group: string;
  /** The group's epoch from here on. */
  epoch: number;
  /** First and last offset; both 0 if nobody knows which. */
  from: number;
  to: number;
  /** How many; null if nobody knows. */
  count: number | null;
  /** `expired`, `epoch`, `slow` or `broker`; `unknown` if this version does not know it. */
  reason: string;
}

/** Bytes of a frame. */
export function encodeFrame(frame: unknown[]): Uint8Array {
  return encode(frame);
}

/** The frame that the bytes are; its opcode is the first element. Throws if they are none. */
export function decodeFrame(bytes: Uint8Array): Frame {
  const frame = decode(bytes);
  if (!Array.isArray(frame) || typeof frame[0] !== 'number') throw new TypeError('the bytes are no frame');
  return frame;
}

/** A kind as it goes over the wire. */
export function kindToWire(kind: string): number | string {
  const number = KINDS.indexOf(kind);
  return number < 0 ? kind : number;
}

/** A kind as applications call it. */
export function kindFromWire(kind: Value | undefined): string | null {
  return typeof kind === 'number' ? (KINDS[kind] ?? null) : typeof kind === 'string' ? kind : null;
}

/** An event id as text: milliseconds in the upper 42 bits, a suffix in the lower 22. */
export function eventId(id: Value | undefined): string {
  const n = BigInt(typeof id === 'number' || typeof id === 'string' ? id : 0);
  return `${n >> 22n}-${n & 0x3fffffn}`;
}

/** What goes into a publish frame for the content that an application gives. */
export function bodyToWire(kind: string, content: unknown): unknown {
  if (typeof content === 'object' && content !== null && !Array.isArray(content)) {
    const field = content as Record<string, unknown>;
    if (kind === 'notification') return [field['type'] ?? 'info', field['title'] ?? '', field['message'] ?? ''];
    if (kind === 'file') return [field['url'], field['name'] ?? null, field['message'] ?? null, field['size'] ?? null];
    if (kind === 'message') return field['message'];
  }
  return content;
}

/** The event of an event frame, or null if this version does not know its kind. */
export function eventFromWire(frame: Frame, group: string, epoch: number): FanfareEvent | null {
  const kind = kindFromWire(frame[4]);
  if (kind === null) return null;
  const id = eventId(frame[3]);
  const body = frame[5] ?? null;
  const event: FanfareEvent = {
    id,
    group,
    kind,
    offset: number(frame[2]),
    epoch,
    timestamp: new Date(Number(id.split('-', 1)[0])),
    data: (frame[6] ?? null) as FanfareEvent['data'],
    sender: (frame[7] ?? null) as string | null,
    body,
  };
  const part = (at: number) => String((Array.isArray(body) ? body[at] : null) ?? '');
  if (kind === 'message') event.message = String(body ?? '');
  if (kind === 'notification') [event.type, event.title, event.message] = [part(0), part(1), part(2)];
  if (kind === 'file') {
    [event.url, event.name, event.message] = [part(0), part(1), part(2)];
    event.size = Array.isArray(body) && typeof body[3] === 'number' ? body[3] : null;
  }
  return event;
}

/** The gap of a gap frame. */
export function gapFromWire(frame: Frame, group: string): Gap {
  return {
    group,
    epoch: number(frame[2]),
    from: number(frame[3]),
    to: number(frame[4]),
    count: typeof frame[5] === 'number' ? frame[5] : null,
    reason: GAP_REASONS[number(frame[6])] ?? 'unknown',
  };
}

/** A field as a number; 0 if it is none. */
export function number(value: Value | undefined): number {
  return typeof value === 'number' ? value : 0;
}
