import { type Value } from './msgpack.js';
export declare const HELLO = 1;
export declare const SUBSCRIBE = 2;
export declare const UNSUBSCRIBE = 3;
export declare const PUBLISH = 4;
export declare const REFRESH = 5;
export declare const WHO = 6;
export declare const WELCOME = 17;
export declare const SUBSCRIBED = 18;
export declare const UNSUBSCRIBED = 19;
export declare const PUBLISHED = 20;
export declare const REFRESHED = 21;
export declare const ERROR = 22;
export declare const PRESENT = 23;
export declare const EVENT = 32;
export declare const GAP = 33;
export declare const PRESENCE = 34;
export declare const INTERRUPTED = 35;
export declare const RESUMED = 36;
export declare const PING = 48;
export declare const PONG = 49;
export declare const GOODBYE = 50;
/** A place in a group's history: `[epoch, offset]`. */
export type Position = readonly [epoch: number, offset: number];
/** A frame: opcode and fields; missing ones are null. */
export type Frame = Value[];
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
    data: {
        [key: string]: Value;
    } | null;
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
export declare function encodeFrame(frame: unknown[]): Uint8Array;
/** The frame that the bytes are; its opcode is the first element. Throws if they are none. */
export declare function decodeFrame(bytes: Uint8Array): Frame;
/** A kind as it goes over the wire. */
export declare function kindToWire(kind: string): number | string;
/** A kind as applications call it. */
export declare function kindFromWire(kind: Value | undefined): string | null;
/** An event id as text: milliseconds in the upper 42 bits, a suffix in the lower 22. */
export declare function eventId(id: Value | undefined): string;
/** What goes into a publish frame for the content that an application gives. */
export declare function bodyToWire(kind: string, content: unknown): unknown;
/** The event of an event frame, or null if this version does not know its kind. */
export declare function eventFromWire(frame: Frame, group: string, epoch: number): FanfareEvent | null;
/** The gap of a gap frame. */
export declare function gapFromWire(frame: Frame, group: string): Gap;
/** A field as a number; 0 if it is none. */
export declare function number(value: Value | undefined): number;
