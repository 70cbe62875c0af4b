// Codes of docs/protocol.md section 9: a client that doesn't know one goes by its range.

const NAMES: { [code: number]: string } = {
  4000: 'going_away', 4001: 'slow_consumer', 4002: 'timeout', 4003: 'internal', 4004: 'hello_timeout', 4005: 'overloaded',
  4100: 'token_required', 4101: 'token_invalid', 4102: 'token_expired',
  4200: 'malformed_frame', 4201: 'frame_too_large', 4202: 'too_deep', 4203: 'unexpected_frame', 4204: 'unsupported_version',
  4205: 'websocket_violation', 4206: 'disconnected',
  4300: 'bad_group_name', 4301: 'unknown_request', 4302: 'not_allowed', 4303: 'too_many_groups', 4304: 'bad_event', 4305: 'event_too_large', 4306: 'revoked',
  4400: 'unavailable', 4401: 'rate_limited', 4402: 'group_full',
};

/** Everything that this client rejects with. */
export class FanfareError extends Error {
  /** The server's code, or 0 if it never came to that. */
  readonly code: number;
  /** A sentence for people. */
  readonly reason: string;
  /** Whether repeating it may help. */
  readonly retryable: boolean;
  /** After how many ms, if the server told. */
  readonly retryAfter: number | null;

  constructor(code: number, reason: string, retryAfter: number | null = null) {
    super(reason);
    this.name = NAMES[code] ?? (code === 0 ? 'offline' : `code_${code}`);
    this.code = code;
    this.reason = reason;
    this.retryable = code === 0 || (code >= 4400 && code < 4500) || (code >= 4000 && code < 4100);
    this.retryAfter = retryAfter;
  }
}

/** Whether a connection that ended with this code wants a new token first. */
export const wantsToken = (code: number): boolean => code >= 4100 && code < 4200;

/** Whether the server itself has answered: by another transport it would say the same. */
export const isAnswer = (error: unknown): boolean => error instanceof FanfareError && error.code >= 4000;

/** Whether a connection that ended with this code must not be made again. */
export const isFinal = (code: number): boolean => code >= 4200 && code < 4300;
