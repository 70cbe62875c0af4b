import { type Frame } from './frames.js';
export declare class Early {
    #private;
    add(frame: Frame): void;
    /** What has waited for this number, oldest first. `epoch`: that of the group when its number was told. */
    take(group: number, epoch: number): Frame[];
    forget(group: number): void;
    clear(): void;
}
