// MessagePack, fitted to the frames of fanfare.v1: whole values in, whole values out. Integers are numbers up to 2^53; larger ones become text,
// because only event ids are that large and those are text to an application anyway (see `eventIdAt` in frames.ts).

export type Value = null | boolean | number | string | Uint8Array | Value[] | { [key: string]: Value };

const text = new TextEncoder();
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Bytes of one value. */
export function encode(value: unknown): Uint8Array {
  const out = new Writer();
  out.value(value, 0);
  return out.finish();
}

/** The one value that the bytes are. Throws on anything else. */
export function decode(bytes: Uint8Array): Value {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.at !== bytes.length) throw new RangeError('bytes after the value');
  return value;
}

const DEPTH = 16;

class Writer {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  value(value: unknown, depth: number): void {
    if (depth > DEPTH) throw new RangeError(`nested deeper than ${DEPTH}`);
    if (value === null || value === undefined) this.#byte(0xc0);
    else if (value === true || value === false) this.#byte(value ? 0xc3 : 0xc2);
    else if (typeof value === 'number') this.#number(value);
    else if (typeof value === 'string') this.#text(value);
    else if (value instanceof Uint8Array) this.#sized(0xc4, 0xc5, 0xc6, -1, 0, value.length, value);
    else if (Array.isArray(value)) {
      this.#items(0x90, 0xdc, value.length);
      for (const item of value) this.value(item, depth + 1);
    } else if (typeof value === 'object') {
      const entries = Object.entries(value).filter(([, item]) => item !== undefined);
      this.#items(0x80, 0xde, entries.length);
      for (const [key, item] of entries) {
        this.#text(key);
        this.value(item, depth + 1);
      }
    } else throw new TypeError(`a ${typeof value} can't be sent`);
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#at);
  }

  #room(bytes: number): number {
    if (this.#at + bytes > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + bytes));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    const at = this.#at;
    this.#at += bytes;
    return at;
  }

  #byte(byte: number): void {
    const at = this.#room(1);
    this.#bytes[at] = byte;
  }

  /** A marker and an integer of so many bytes. */
  #marked(marker: number, width: 1 | 2 | 4, n: number): void {
    const at = this.#room(1 + width);
    this.#bytes[at] = marker;
    if (width === 1) this.#view.setUint8(at + 1, n);
    else if (width === 2) this.#view.setUint16(at + 1, n);
    else this.#view.setUint32(at + 1, n);
  }

  #number(n: number): void {
    if (!Number.isSafeInteger(n)) {
      const at = this.#room(9);
      this.#bytes[at] = 0xcb;
      this.#view.setFloat64(at + 1, n);
    } else if (n >= 0) {
      if (n < 0x80) this.#byte(n);
      else if (n < 0x100) this.#marked(0xcc, 1, n);
      else if (n < 0x10000) this.#marked(0xcd, 2, n);
      else if (n < 0x100000000) this.#marked(0xce, 4, n);
      else this.#wide(0xcf, n);
    } else if (n >= -32) this.#byte(n & 0xff);
    else if (n >= -0x80) this.#marked(0xd0, 1, n);
    else if (n >= -0x8000) this.#marked(0xd1, 2, n);
    else if (n >= -0x80000000) this.#marked(0xd2, 4, n);
    else this.#wide(0xd3, n);
  }

  #wide(marker: number, n: number): void {
    const at = this.#room(9);
    this.#bytes[at] = marker;
    this.#view.setBigInt64(at + 1, BigInt(n));
  }

  #text(value: string): void {
    const bytes = text.encode(value);
    this.#sized(0xd9, 0xda, 0xdb, 0xa0, 32, bytes.length, bytes);
  }

  #sized(m8: number, m16: number, m32: number, fix: number, fixBelow: number, length: number, bytes: Uint8Array): void {
    if (length < fixBelow) this.#byte(fix | length);
    else if (length < 0x100) this.#marked(m8, 1, length);
    else if (length < 0x10000) this.#marked(m16, 2, length);
    else this.#marked(m32, 4, length);
    // Room first: making it may replace the buffer.
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }

  #items(fix: number, m16: number, length: number): void {
    if (length < 16) this.#byte(fix | length);
    else if (length < 0x10000) this.#marked(m16, 2, length);
    else this.#marked(m16 + 1, 4, length);
  }
}

class Reader {
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  value(depth: number): Value {
    if (depth > DEPTH) throw new RangeError(`nested deeper than ${DEPTH}`);
    const marker = this.#uint(1);
    if (marker < 0x80) return marker;
    if (marker < 0x90) return this.#map(marker & 0x0f, depth);
    if (marker < 0xa0) return this.#array(marker & 0x0f, depth);
    if (marker < 0xc0) return this.#text(marker & 0x1f);
    if (marker >= 0xe0) return marker - 0x100;
    switch (marker) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return this.#take(this.#uint(1 << (marker - 0xc4))).slice();
      case 0xc7: case 0xc8: case 0xc9: return this.#extension(this.#uint(1 << (marker - 0xc7)));
      case 0xca: return this.#view.getFloat32(this.#skip(4));
      case 0xcb: return this.#view.getFloat64(this.#skip(8));
      case 0xcc: case 0xcd: case 0xce: return this.#uint(1 << (marker - 0xcc));
      case 0xcf: return narrow(this.#view.getBigUint64(this.#skip(8)));
      case 0xd0: return this.#view.getInt8(this.#skip(1));
      case 0xd1: return this.#view.getInt16(this.#skip(2));
      case 0xd2: return this.#view.getInt32(this.#skip(4));
      case 0xd3: return narrow(this.#view.getBigInt64(this.#skip(8)));
      case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return this.#extension(1 << (marker - 0xd4));
      case 0xd9: case 0xda: case 0xdb: return this.#text(this.#uint(1 << (marker - 0xd9)));
      case 0xdc: case 0xdd: return this.#array(this.#uint(2 << (marker - 0xdc)), depth);
      case 0xde: case 0xdf: return this.#map(this.#uint(2 << (marker - 0xde)), depth);
      default: throw new RangeError(`0x${marker.toString(16)} begins no value`);
    }
  }

  #skip(bytes: number): number {
    const at = this.at;
    if (at + bytes > this.#bytes.length) throw new RangeError('the value is cut off');
    this.at += bytes;
    return at;
  }

  #take(bytes: number): Uint8Array {
    const at = this.#skip(bytes);
    return this.#bytes.subarray(at, at + bytes);
  }

  #uint(width: number): number {
    const at = this.#skip(width);
    return width === 1 ? this.#view.getUint8(at) : width === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  #text(length: number): string {
    return utf8.decode(this.#take(length));
  }

  /** Application bytes of a numbered type: the type is dropped, as nothing here gives it a meaning. */
  #extension(length: number): Value {
    this.#skip(1);
    return this.#take(length).slice();
  }

  #array(length: number, depth: number): Value[] {
    const items: Value[] = [];
    for (let left = length; left > 0; left--) items.push(this.value(depth + 1));
    return items;
  }

  #map(length: number, depth: number): { [key: string]: Value } {
    const map: { [key: string]: Value } = Object.create(null);
    for (let left = length; left > 0; left--) {
      const key = this.value(depth + 1);
      map[typeof key === 'string' ? key : JSON.stringify(key)] = this.value(depth + 1);
    }
    return { ...map };
  }
}

function narrow(n: bigint): number | string {
  const number = Number(n);
  return Number.isSafeInteger(number) ? number : n.toString();
}
