// The two wires, behind one small interface. A wire knows bytes of frames and nothing of their meaning.

export type TransportName = 'webtransport' | 'websocket';

/** What a wire tells. */
export interface Listener {
  /** A whole frame has come. */
  frame(bytes: Uint8Array): void;
  /** The wire is gone; `code` is 0 if it told none. Called once. */
  closed(code: number, reason: string): void;
}

export interface Wire {
  readonly name: TransportName;
  send(frame: Uint8Array): void;
  /** Sends a frame on a stream of its own and gives what comes back; null where the transport has no streams. */
  replay: ((frame: Uint8Array, onFrame: (bytes: Uint8Array) => void) => Promise<void>) | null;
  close(code: number, reason: string): void;
}

export interface Endpoint {
  url: string;
  /** SHA-256 of the certificates to trust, in hex; empty: the ordinary way. */
  certificateHashes?: string[];
}

export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocket;
export type WebTransportConstructor = new (url: string, options?: WebTransportOptions) => WebTransport;

/** Opens a WebSocket. Resolves when it is open, which proves nothing yet: the first welcome does. */
export function openWebSocket(Constructor: WebSocketConstructor, endpoint: Endpoint, listener: Listener, signal: AbortSignal): Promise<Wire> {
  return new Promise((resolve, reject) => {
    const socket = new Constructor(endpoint.url, ['fanfare.v1.msgpack']);
    socket.binaryType = 'arraybuffer';
    signal.addEventListener('abort', () => socket.close(), { once: true });
    let open = false;
    socket.onopen = () => {
      open = true;
      resolve({
        name: 'websocket',
        send: (frame) => socket.send(frame as Uint8Array<ArrayBuffer>),
        replay: null,
        // Browsers allow an application 3000 to 4999 here.
        close: (code, reason) => socket.close(code, reason),
      });
    };
    socket.onmessage = ({ data }) => listener.frame(new Uint8Array(data as ArrayBuffer));
    socket.onclose = ({ code, reason }) => (open ? listener.closed(code, reason) : reject(new Error(reason || 'the WebSocket could not be opened')));
  });
}

/** Opens a WebTransport session and its main stream. */
export async function openWebTransport(Constructor: WebTransportConstructor, endpoint: Endpoint, listener: Listener, signal: AbortSignal): Promise<Wire> {
  const hashes = (endpoint.certificateHashes ?? []).map((hex) => ({ algorithm: 'sha-256', value: fromHex(hex) }));
  const session = new Constructor(endpoint.url, hashes.length > 0 ? { serverCertificateHashes: hashes } : {});
  signal.addEventListener('abort', () => quietly(() => session.close()), { once: true });
  await session.ready;
  const stream = await session.createBidirectionalStream();
  const writer = stream.writable.getWriter();
  let gone = false;
  const closed = (code: number, reason: string) => {
    if (gone) return;
    gone = true;
    listener.closed(code, reason);
  };
  session.closed.then((info) => closed(info?.closeCode ?? 0, info?.reason ?? ''), (error: unknown) => closed(0, String(error)));
  const end = () => closed(0, 'the main stream has ended');
  readFrames(stream.readable, listener.frame).then(end, end);
  const send = (frame: Uint8Array) => void writer.write(prefixed(frame)).catch(() => {});
  return {
    name: 'webtransport',
    send,
    replay: async (frame, onFrame) => {
      const own = await session.createBidirectionalStream();
      const ownWriter = own.writable.getWriter();
      await ownWriter.write(prefixed(frame));
      void ownWriter.close().catch(() => {});
      await readFrames(own.readable, onFrame);
    },
    close: (code, reason) => quietly(() => session.close({ closeCode: code, reason })),
  };
}

/** Reads a stream to its end and cuts it into frames. */
async function readFrames(readable: ReadableStream<Uint8Array>, onFrame: (bytes: Uint8Array) => void): Promise<void> {
  const reader = readable.getReader();
  let rest: Uint8Array = new Uint8Array(0);
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest = rest.length === 0 ? value : concat(rest, value);
    for (;;) {
      const prefix = readPrefix(rest);
      if (prefix === null || rest.length < prefix.width + prefix.length) break;
      const end = prefix.width + prefix.length;
      onFrame(rest.subarray(prefix.width, end));
      rest = rest.subarray(end);
    }
  }
}

/** A variable-length integer (RFC 9000, section 16), or null if it is not whole. */
export function readPrefix(bytes: Uint8Array): { width: number; length: number } | null {
  const first = bytes[0];
  if (first === undefined) return null;
  const width = 1 << (first >> 6);
  if (bytes.length < width) return null;
  let length = first & 0x3f;
  for (let at = 1; at < width; at++) length = length * 256 + (bytes[at] ?? 0);
  return { width, length };
}

/** A frame after its length. */
export function prefixed(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  const length = frame.length;
  const width = length < 0x40 ? 1 : length < 0x4000 ? 2 : 4;
  const out = new Uint8Array(width + length);
  for (let at = width - 1, left = length; at >= 0; at--, left = Math.floor(left / 256)) out[at] = left & 0xff;
  out[0] = (out[0] ?? 0) | ([0, 0, 0x40, 0, 0x80][width] ?? 0);
  out.set(frame, width);
  return out;
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

function fromHex(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function quietly(act: () => void): void {
  try {
    act();
  } catch {
    // A wire that is gone can't be closed once more.
  }
}
