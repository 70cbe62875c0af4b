//! The one table of codes: reasons to close, to refuse, to end a subscription (`docs/protocol.md` section 9).

use std::fmt;

/// What a client should do about a code that it may not know; decided by the code's range alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Connect again with backoff, after the delay that was told, and resume.
    Reconnect,
    /// Get a new token, then connect again.
    NewToken,
    /// Do not connect again without being asked to.
    Stop,
    /// The request is wrong as it is.
    Abandon,
    /// The request may be repeated after the time that was told.
    Repeat,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $number:literal $name:literal $sentence:literal,)*) => {
        /// A reason, as it goes over the wire. Numbers are never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Code {
            $($(#[doc = $doc])* $variant = $number,)*
        }

        impl Code {
            /// Every code, in order of its number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code with this number, if this version knows it.
            #[must_use]
            pub fn from_number(number: u64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Its name in documents, logs and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// A sentence for people; at most 123 bytes, so that it fits a WebSocket close frame (RFC 6455, section 5.5).
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$variant => $sentence,)*
                }
            }
        }
    };
}

codes! {
    /// This end is leaving: the server drains, or the client disconnects.
    GoingAway = 4000 "going_away" "this end is leaving; connect again after the delay",
    /// The connection did not read what was sent to it.
    SlowConsumer = 4001 "slow_consumer" "the connection did not read fast enough; resume from your position",
    /// Nothing was received for two ping intervals.
    Timeout = 4002 "timeout" "nothing was received for two ping intervals",
    /// The server failed; it has been logged there.
    Internal = 4003 "internal" "the server failed; it has been logged there",
    /// No complete hello came in time.
    HelloTimeout = 4004 "hello_timeout" "no complete hello came in time",
    /// The server takes no more connections at the moment, or can't join the user's personal group.
    Overloaded = 4005 "overloaded" "the server can't take this connection at the moment; connect again after the delay",
    /// Anonymous sessions are not allowed here.
    TokenRequired = 4100 "token_required" "a token is needed here; anonymous sessions are not allowed",
    /// The token can't be accepted.
    TokenInvalid = 4101 "token_invalid" "the token can't be accepted",
    /// The token's time is over.
    TokenExpired = 4102 "token_expired" "the token's time is over",
    /// Bytes that are no frame of the connection's dialect, or an element of the wrong type.
    MalformedFrame = 4200 "malformed_frame" "the bytes are no frame of this protocol",
    /// A frame over the limit that welcome told.
    FrameTooLarge = 4201 "frame_too_large" "the frame is longer than allowed",
    /// Arrays or maps nested deeper than 16.
    TooDeep = 4202 "too_deep" "arrays or maps are nested deeper than 16",
    /// A frame that can't come here.
    UnexpectedFrame = 4203 "unexpected_frame" "this frame can't come here",
    /// The server doesn't speak the client's version.
    UnsupportedVersion = 4204 "unsupported_version" "this version of the protocol is not spoken here",
    /// RFC 6455 was violated.
    WebsocketViolation = 4205 "websocket_violation" "the WebSocket protocol was violated",
    /// The application disconnected this user.
    Disconnected = 4206 "disconnected" "the application disconnected this user",
    /// The name breaks the rule of section 4.
    BadGroupName = 4300 "bad_group_name" "the group name breaks a rule",
    /// An opcode that this server doesn't know, with a request number.
    UnknownRequest = 4301 "unknown_request" "this request is not known here",
    /// The policy of the group doesn't allow this to this session.
    NotAllowed = 4302 "not_allowed" "the policy of the group doesn't allow this",
    /// The session follows as many groups as it may, or the server grants it more than it may.
    TooManyGroups = 4303 "too_many_groups" "the session follows as many groups as it may",
    /// Kind, body, data or options break a rule of sections 4 to 6.
    BadEvent = 4304 "bad_event" "kind, body, data or options break a rule",
    /// Body and data are over the limit.
    EventTooLarge = 4305 "event_too_large" "body and data are longer than allowed",
    /// The application, or the user's new token, ended this subscription.
    Revoked = 4306 "revoked" "the application ended this subscription",
    /// The server or its broker can't do it at the moment.
    Unavailable = 4400 "unavailable" "this can't be done at the moment",
    /// Too many requests.
    RateLimited = 4401 "rate_limited" "too many requests",
    /// The group has as many members as it may.
    GroupFull = 4402 "group_full" "the group has as many members as it may",
}

impl Code {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// What a client does about it.
    #[must_use]
    pub const fn advice(self) -> Advice {
        match self.number() {
            4000..=4099 => Advice::Reconnect,
            4100..=4199 => Advice::NewToken,
            4200..=4299 => Advice::Stop,
            4300..=4399 => Advice::Abandon,
            _ => Advice::Repeat,
        }
    }

    /// Whether a client may come back by itself after a goodbye with this code.
    #[must_use]
    pub const fn may_reconnect(self) -> bool {
        matches!(self.advice(), Advice::Reconnect | Advice::NewToken)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_fit_a_websocket_close_frame_and_numbers_round_trip() {
        for &code in Code::ALL {
            assert!(code.sentence().len() <= 123, "{code}");
            assert_eq!(Code::from_number(u64::from(code.number())), Some(code));
        }
        assert_eq!(Code::from_number(4999), None);
    }
}
