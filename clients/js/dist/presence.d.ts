import { type Frame } from './frames.js';
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
    list: {
        user: string;
        connections: number;
    }[];
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
/** What is known of one group. */
export declare class Attendance {
    #private;
    /** Something has been told or answered. */
    known: boolean;
    /** Takes an answer to `who`; `missed` says whether it is news. */
    answered(frame: Frame): Presence & {
        missed: boolean;
    };
    /** Takes a change: the news in it, null if there is none, or `lost` if the server has to be asked. */
    changed(group: string, frame: Frame): PresenceChange | 'lost' | null;
}
