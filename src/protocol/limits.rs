//! Bounds of the protocol. Each is what `docs/protocol.md` section 10 promises; a server may be configured to less, never to more than the hard ones.

use std::time::Duration;

/// Longest frame that a server accepts unless configured otherwise, in bytes.
///
/// 64 KiB: large enough for a token and any chat message, small enough that 10,000 peers that each begin one hold 640 MiB at the very most.
pub const FRAME_BYTES: usize = 64 * 1024;

/// Numbers are below this unless said otherwise: up to here JavaScript holds them exactly.
pub const NUMBERS: u64 = 1 << 53;

/// Deepest nesting of arrays and maps, the frame itself being the first level.
pub const DEPTH: usize = 16;

/// Longest token in `hello` and `refresh`, in bytes. Larger JWTs do not pass common proxies as headers either.
pub const TOKEN_BYTES: usize = 8 * 1024;

/// Largest body and data of an event together, in bytes of MessagePack: what fits in a frame with 4 KiB to spare for names and options.
pub const EVENT_BYTES: usize = 60 * 1024;

/// Longest group name in characters. Django Channels wants names shorter than 100.
pub const GROUP_NAME_CHARS: usize = 99;

/// Longest user id in characters: Django's own bound for a username.
pub const USER_ID_CHARS: usize = 150;

/// Longest name of an application's own kind, in characters.
pub const KIND_CHARS: usize = 64;

/// Longest idempotency key, in characters.
pub const KEY_CHARS: usize = 100;

/// Longest `client` and `transport` option of hello, in characters; the rest is cut off.
pub const HELLO_OPTION_CHARS: usize = 100;

/// Idempotency keys that a node without Redis remembers of one group; about 200 bytes each.
pub const KEYS: usize = 10_000;

/// How long an idempotency key is remembered.
pub const KEY_TTL: Duration = Duration::from_secs(300);

/// Groups that one session may follow unless configured otherwise.
pub const GROUPS_PER_SESSION: usize = 200;

/// Groups that the server may let one session follow without being asked: by its token, by what stands for its user, and for this session alone.
pub const GRANTED_GROUPS: usize = 200;

/// Groups that a token may name.
pub const TOKEN_GROUPS: usize = 100;

/// Patterns that the rights of a session may have for each thing that they grant.
pub const RIGHTS: usize = 100;

/// Groups that may stand for one user.
pub const STANDING_GROUPS: usize = 100;

/// How long what stands for a user is remembered after it was changed, or one of the user's sessions was opened, for the last time.
pub const STANDING_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Longest reason that an application may give for a disconnect, in bytes: what fits a WebSocket close frame (RFC 6455, section 5.5).
pub const REASON_BYTES: usize = 123;

/// From acceptance of the connection to the whole hello.
pub const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// For TLS, the WebSocket upgrade, CONNECT, or the first frame of a stream; each in total.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long one TCP connection may carry HTTP requests. Whoever takes no answers, or asks without end, holds nothing for longer.
pub const HTTP_LIFETIME: Duration = Duration::from_secs(600);

/// The server pings a connection from which nothing came for so long, and closes it after twice the time.
///
/// 25 s: below the 30 s after which common NATs and proxies forget an idle flow.
pub const PING_INTERVAL: Duration = Duration::from_secs(25);

/// Users in one answer to `who` unless the client asks for another number, and at most: with the longest ids 155 KiB.
pub const ROSTER: usize = 100;
/// See [`ROSTER`].
pub const ROSTER_MOST: usize = 1000;
