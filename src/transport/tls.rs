//! Certificates and TLS configuration.
