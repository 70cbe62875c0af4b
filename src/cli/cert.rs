//! `fanfare cert`: makes and shows the development certificate.

use std::{path::PathBuf, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Failure, serve::hex};
use crate::transport::tls::{development, development_certificate_path, development_key_path, rfc3339};

/// Makes one if there is none, or if the one that is there ends within two days.
#[derive(Debug, clap::Args)]
pub struct Cert {
    /// Where it is kept
    #[arg(long, value_name = "DIRECTORY", default_value = "certs")]
    dir: PathBuf,
    /// Make a new one in any case
    #[arg(long)]
    renew: bool,
}

impl Cert {
    #[expect(clippy::disallowed_methods, reason = "the shell reads the clock")]
    pub(super) fn run(&self) -> Result<(), Failure> {
        let certificate = development(&self.dir, SystemTime::now(), self.renew).map_err(Failure::usage)?;
        let hash = certificate.sha256();
        println!("certificate  {}", development_certificate_path(&self.dir).display());
        println!("key          {}", development_key_path(&self.dir).display());
        println!("valid        {} to {}", rfc3339(certificate.not_before), rfc3339(certificate.not_after));
        println!("SHA-256      {} (hex)", hex(&hash));
        println!("             {} (base64)", STANDARD.encode(hash));
        Ok(())
    }
}
