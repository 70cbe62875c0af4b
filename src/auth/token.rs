//! Identity by token: JSON Web Tokens (RFC 7519) signed with HMAC-SHA-256.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, errors::ErrorKind};
use serde::{Deserialize, Serialize};

use super::Secret;
use crate::{
    policy::Rights,
    protocol::{Code, GroupName, UserId, limits},
};

/// Clocks of two machines may differ by this, in seconds.
const LEEWAY_S: u64 = 30;

/// Who a peer is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// `None`: anonymous.
    pub user: Option<UserId>,
    /// Until when that holds, in seconds since 1970-01-01 UTC.
    pub expires_at_s: Option<u64>,
    /// The groups that the peer follows without asking.
    pub groups: Vec<GroupName>,
    /// What it may do beyond what policies let everybody do.
    pub rights: Rights,
}

/// Why a peer may not connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token, and anonymous sessions are not allowed.
    #[error("a token is needed")]
    TokenRequired,
    /// The signature, the algorithm or a claim is not right.
    #[error("the token can't be accepted")]
    TokenInvalid,
    /// Its time is over.
    #[error("the token has expired")]
    TokenExpired,
}

impl Refusal {
    /// The code that the client is told.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::TokenRequired => Code::TokenRequired,
            Self::TokenInvalid => Code::TokenInvalid,
            Self::TokenExpired => Code::TokenExpired,
        }
    }
}

/// Says who the holder of a token is.
pub struct Authenticator {
    anonymous: bool,
    key: Option<DecodingKey>,
    validation: Validation,
}

/// The claims that are used (RFC 7519, section 4.1).
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: Option<NumericDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<NumericDate>,
    /// The groups that the holder follows without asking; a claim of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
    /// What the holder may do; a claim of ours.
    #[serde(default, skip_serializing_if = "Rights::is_empty")]
    rights: Rights,
}

/// Seconds since 1970-01-01 UTC, perhaps with a fraction (RFC 7519, section 2): many libraries write the time of day as they have it.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct NumericDate(serde_json::Number);

impl NumericDate {
    /// Whole seconds. What lies before 1970 is 0, and after the year 280,000 so much as 2^43 s.
    fn seconds(&self) -> u64 {
        const LAST: u64 = 1 << 43;
        match (self.0.as_u64(), self.0.as_f64()) {
            (Some(seconds), _) => seconds.min(LAST),
            (None, Some(seconds)) if seconds >= 1.0 => Duration::try_from_secs_f64(seconds).map_or(LAST, |time| time.as_secs().min(LAST)),
            (None, _) => 0,
        }
    }
}

impl Authenticator {
    /// Accepts tokens that were signed with this secret, and anonymous peers if that is allowed. Without a secret no token is accepted.
    #[must_use]
    pub fn new(anonymous: bool, secret: Option<&Secret>) -> Self {
        // The algorithm is ours to say, never the token's. Times are checked below, against the time that is given.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["sub"]);
        Self { anonymous, key: secret.map(|secret| DecodingKey::from_secret(secret.expose().as_bytes())), validation }
    }

    /// Who this is, at `now_s` seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// Says why the peer may not connect.
    pub fn authenticate(&self, token: Option<&str>, now_s: u64) -> Result<Identity, Refusal> {
        let Some(token) = token else {
            return if self.anonymous { Ok(Identity::default()) } else { Err(Refusal::TokenRequired) };
        };
        let key = self.key.as_ref().ok_or(Refusal::TokenInvalid)?;
        let claims = decode::<Claims>(token, key, &self.validation).map_err(|error| refusal(error.kind()))?.claims;
        if claims.nbf.is_some_and(|from| from.seconds() > now_s + LEEWAY_S) {
            return Err(Refusal::TokenInvalid);
        }
        let expires_at_s = claims.exp.map(|until| until.seconds() + LEEWAY_S);
        if expires_at_s.is_some_and(|until| until <= now_s) {
            return Err(Refusal::TokenExpired);
        }
        let user = UserId::parse(&claims.sub).map_err(|_| Refusal::TokenInvalid)?;
        let groups = groups(claims.groups.as_deref().unwrap_or_default()).ok_or(Refusal::TokenInvalid)?;
        Ok(Identity { user: Some(user), expires_at_s, groups, rights: claims.rights })
    }
}

/// The groups that a token names; `None`: too many, no names, or a personal group, which nobody can be given.
fn groups(names: &[String]) -> Option<Vec<GroupName>> {
    let group = |name: &String| GroupName::parse(name).ok().filter(|group| group.owner().is_none());
    if names.len() > limits::TOKEN_GROUPS { None } else { names.iter().map(group).collect() }
}

fn refusal(kind: &ErrorKind) -> Refusal {
    if matches!(kind, ErrorKind::ExpiredSignature) { Refusal::TokenExpired } else { Refusal::TokenInvalid }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").field("anonymous", &self.anonymous).field("tokens", &self.key.is_some()).finish()
    }
}

/// A token for `user` that ends at `expires_at_s`; its holder follows these groups without asking, and has these rights.
///
/// # Errors
/// The provider of cryptography refuses the secret.
pub fn issue(
    secret: &Secret,
    user: &UserId,
    expires_at_s: u64,
    groups: &[GroupName],
    rights: &Rights,
) -> Result<String, jsonwebtoken::errors::Error> {
    let groups = Some(groups.iter().map(ToString::to_string).collect()).filter(|groups: &Vec<_>| !groups.is_empty());
    let claims = Claims { sub: user.to_string(), exp: Some(NumericDate(expires_at_s.into())), nbf: None, groups, rights: rights.clone() };
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret.expose().as_bytes()))
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_764_000_000;

    fn secret() -> Secret {
        Secret::new("a secret of more than thirty-two bytes")
    }

    fn authenticate(token: &str) -> Result<Identity, Refusal> {
        Authenticator::new(false, Some(&secret())).authenticate(Some(token), NOW)
    }

    fn signed(claims: &serde_json::Value) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret().expose().as_bytes())).unwrap()
    }

    #[test]
    fn a_good_token_names_its_user_until_its_end() {
        let token = issue(&secret(), &UserId::parse("john").unwrap(), NOW + 60, &[], &Rights::default()).unwrap();
        let identity = authenticate(&token).unwrap();
        assert_eq!((identity.user.unwrap().as_str(), identity.expires_at_s), ("john", Some(NOW + 90)));
        assert_eq!(authenticate(&signed(&json!({"sub": "ann"}))).unwrap().expires_at_s, None);
    }

    #[test]
    fn a_token_may_name_groups_that_are_groups_and_not_too_many() {
        let sales = GroupName::parse("sales").unwrap();
        let token = issue(&secret(), &UserId::parse("ann").unwrap(), NOW + 60, std::slice::from_ref(&sales), &Rights::default()).unwrap();
        assert_eq!(authenticate(&token).unwrap().groups, [sales]);
        let named =
            |groups: serde_json::Value| authenticate(&signed(&json!({"sub": "ann", "groups": groups}))).map(|found| found.groups.len());
        let many = |count: usize| json!((0..count).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(named(many(limits::TOKEN_GROUPS)), Ok(limits::TOKEN_GROUPS));
        assert_eq!(named(json!(null)), Ok(0));
        for wrong in [many(limits::TOKEN_GROUPS + 1), json!(["a b"]), json!(["user.bob"]), json!("sales"), json!([1])] {
            assert_eq!(named(wrong.clone()), Err(Refusal::TokenInvalid), "{wrong}");
        }
    }

    #[test]
    fn a_token_may_carry_rights_that_are_rights() {
        let rights = Rights::new(&["team_*"], &["team_7"], &[]).unwrap();
        let token = issue(&secret(), &UserId::parse("ann").unwrap(), NOW + 60, &[], &rights).unwrap();
        assert_eq!(authenticate(&token).unwrap().rights, rights);
        let found = |rights: serde_json::Value| authenticate(&signed(&json!({"sub": "ann", "rights": rights}))).map(|found| found.rights);
        assert_eq!(found(json!({"subscribe": ["team_*"], "publish": ["team_7"], "later": 1})), Ok(rights));
        for wrong in [json!({"subscribe": "team_*"}), json!({"publish": ["a b"]}), json!(["team_*"]), json!(true)] {
            assert_eq!(found(wrong.clone()), Err(Refusal::TokenInvalid), "{wrong}");
        }
    }

    #[test]
    fn times_are_checked_with_some_leeway() {
        assert!(authenticate(&signed(&json!({"sub": "ann", "exp": NOW - 29}))).is_ok());
        assert_eq!(authenticate(&signed(&json!({"sub": "ann", "exp": NOW - 30}))), Err(Refusal::TokenExpired));
        assert_eq!(authenticate(&signed(&json!({"sub": "ann", "nbf": NOW + 31}))), Err(Refusal::TokenInvalid));
    }

    #[test]
    fn times_may_have_fractions_and_lie_as_far_away_as_they_like() {
        let until =
            |exp: serde_json::Value| authenticate(&signed(&json!({"sub": "ann", "exp": exp}))).map(|identity| identity.expires_at_s);
        assert_eq!(until(json!(1_764_000_060.75)), Ok(Some(NOW + 90)));
        assert_eq!(until(json!(1_763_999_969.5)), Err(Refusal::TokenExpired));
        for long_ago in [json!(0), json!(-1), json!(-1e300), json!(i64::MIN)] {
            assert_eq!(until(long_ago), Err(Refusal::TokenExpired));
        }
        for far_away in [json!(u64::MAX), json!(1e300), json!(1_u64 << 43)] {
            assert_eq!(until(far_away), Ok(Some((1 << 43) + 30)));
        }
        for no_time in [json!("soon"), json!(true), json!([NOW])] {
            assert_eq!(until(no_time), Err(Refusal::TokenInvalid));
        }
    }

    #[test]
    fn whatever_is_not_signed_by_us_with_our_algorithm_is_refused() {
        let good = signed(&json!({"sub": "ann"}));
        let claims = good.split('.').nth(1).unwrap();
        let none = format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
        let other_secret = encode(&Header::new(Algorithm::HS256), &json!({"sub": "ann"}), &EncodingKey::from_secret(b"x")).unwrap();
        let hs512 = EncodingKey::from_secret(secret().expose().as_bytes());
        let other_algorithm = encode(&Header::new(Algorithm::HS512), &json!({"sub": "ann"}), &hs512).unwrap();
        let no_user = signed(&json!({"exp": NOW + 60}));
        let bad_user = signed(&json!({"sub": "a b"}));
        for token in [&none, &other_secret, &other_algorithm, &no_user, &bad_user, "", "a.b.c", "rubbish"] {
            assert_eq!(authenticate(token), Err(Refusal::TokenInvalid), "{token}");
        }
    }

    #[test]
    fn without_a_token_one_is_anonymous_where_that_is_allowed() {
        assert_eq!(Authenticator::new(true, None).authenticate(None, NOW), Ok(Identity::default()));
        assert_eq!(Authenticator::new(false, None).authenticate(None, NOW), Err(Refusal::TokenRequired));
        assert_eq!(Authenticator::new(true, None).authenticate(Some("a.b.c"), NOW), Err(Refusal::TokenInvalid));
    }
}
