import type { LegacyObject } from './index.js';
/** What a page may bring. */
export interface Ui {
    MsgInfo?(text: string): void;
    MsgSuccess?(text: string): void;
    MsgError?(text: string): void;
    MsgWarning?(text: string): void;
    MsgSwall?(options: {
        title: string;
        text: string;
        icon: string;
        confirmButtonText: string;
        url: string;
    }): void;
}
/** `[group] message`, or `[group] title: message`; without a group for what is for the user alone. */
export declare function displayText(object: LegacyObject): string;
/** A size in MB with two decimals, or nothing. */
export declare function megabytes(size: unknown): string;
export declare function show(object: LegacyObject, ui: Ui | undefined): void;
