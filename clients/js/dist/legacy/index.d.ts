import { type Client, type ClientOptions, type FanfareEvent } from '../index.js';
import { type Ui } from './display.js';
type Callback = (data: LegacyObject) => void;
/** What old callbacks get: exactly the objects that the old server sent. */
export type LegacyObject = {
    type: string;
} & {
    [field: string]: unknown;
};
/** The old object for an event, or null for kinds that the old page never had. */
export declare function legacyObject(event: FanfareEvent): LegacyObject | null;
/** Connects as soon as it is made, as the old script did: what is for the user comes without asking. */
export declare class TaskNotifications {
    #private;
    /** The groups that are followed. */
    readonly subscribedGroups: Set<string>;
    readonly client: Client;
    constructor(options?: ClientOptions & {
        ui?: () => Ui | undefined;
    });
    /** Follows a group, now or as soon as there is a connection. */
    subscribeToGroup(name: string): void;
    unsubscribeFromGroup(name: string): void;
    /** Follows one task. */
    subscribe(taskId: string): void;
    unsubscribe(taskId: string): void;
    /** Calls back for objects of a type (`group_message` …), or for all (`*`). */
    on(type: string, callback: Callback): void;
    off(type: string, callback: Callback): void;
}
export {};
