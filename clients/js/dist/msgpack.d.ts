export type Value = null | boolean | number | string | Uint8Array | Value[] | {
    [key: string]: Value;
};
/** Bytes of one value. */
export declare function encode(value: unknown): Uint8Array;
/** The one value that the bytes are. Throws on anything else. */
export declare function decode(bytes: Uint8Array): Value;
