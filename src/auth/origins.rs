//! Which web pages may connect (RFC 6454).

/// The origins whose pages may connect.
#[derive(Debug, Clone, Default)]
pub struct Origins(Vec<String>);

/// Text that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no origin; one looks like https://app.example.org or http://localhost:3000, without a path")]
pub struct OriginError(String);

impl Origins {
    /// A list of exact origins.
    ///
    /// # Errors
    /// One of them has no scheme, or more than host and port behind it.
    pub fn new(origins: impl IntoIterator<Item = String>) -> Result<Self, OriginError> {
        origins
            .into_iter()
            .map(|origin| if is_origin(&origin) { Ok(origin.to_ascii_lowercase()) } else { Err(OriginError(origin)) })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a page of this origin may connect. Without an origin it is no browser, whose user this check protects.
    #[must_use]
    pub fn allows(&self, origin: Option<&str>) -> bool {
        origin.is_none_or(|origin| self.0.iter().any(|known| known.eq_ignore_ascii_case(origin)))
    }
}

fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_exactly() {
        let origins = Origins::new(["https://App.example.org".to_owned(), "http://localhost:8080".to_owned()]).unwrap();
        assert!(origins.allows(None));
        assert!(origins.allows(Some("https://app.example.org")));
        assert!(origins.allows(Some("http://LOCALHOST:8080")));
        for other in
            ["http://app.example.org", "https://app.example.org:8443", "https://evil.org", "null", "https://app.example.org.evil.org"]
        {
            assert!(!origins.allows(Some(other)), "{other}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in ["app.example.org", "https://", "https://a/", "https://*.example.org", "*"] {
            assert!(Origins::new([bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
