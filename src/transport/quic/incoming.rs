//! Clients whose first packet has come, and what can be answered to it.

use std::{fmt, rc::Rc};

use super::{connection::Connection, endpoint::Shared};
use crate::transport::now;

/// A client that wants to connect. Dropping it ignores the client.
pub struct Incoming {
    /// Taken by whatever decides. Boxed, because the task of the connection keeps room for it to the end.
    incoming: Option<Box<quinn_proto::Incoming>>,
    endpoint: Rc<Shared>,
}

impl Incoming {
    pub(super) fn new(incoming: Box<quinn_proto::Incoming>, endpoint: Rc<Shared>) -> Self {
        Self { incoming: Some(incoming), endpoint }
    }

    /// Whether the client is known to be where it says it is (RFC 9000, section 8.1).
    #[must_use]
    pub fn remote_address_validated(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| incoming.remote_address_validated())
    }

    /// Begins the handshake.
    ///
    /// # Errors
    /// The client's first packet was wrong; it has been told.
    pub fn accept(mut self) -> Result<Connection, quinn_proto::ConnectionError> {
        let Some(incoming) = self.incoming.take() else { unreachable!("only deciding takes it, and that consumes this") };
        let mut answer = Vec::new();
        let accepted = self.endpoint.proto.borrow_mut().accept(*incoming, now(), &mut answer, None);
        let (handle, proto) = accepted.map_err(|refused| {
            if let Some(transmit) = refused.response {
                self.endpoint.answer(transmit, answer);
            }
            refused.cause
        })?;
        let connection = Connection::new(handle, proto, self.endpoint.clone());
        self.endpoint.insert(connection.clone());
        connection.mark();
        Ok(connection)
    }

    /// Says no.
    pub fn refuse(mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        let mut answer = Vec::new();
        let transmit = self.endpoint.proto.borrow_mut().refuse(*incoming, &mut answer);
        self.endpoint.answer(transmit, answer);
    }

    /// Lets the client prove its address first, at the cost of a round trip. A client that has done so already is ignored.
    pub fn retry(mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        let mut answer = Vec::new();
        let retried = self.endpoint.proto.borrow_mut().retry(*incoming, &mut answer);
        match retried {
            Ok(transmit) => self.endpoint.answer(transmit, answer),
            Err(error) => self.incoming = Some(Box::new(error.into_incoming())),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            self.endpoint.proto.borrow_mut().ignore(*incoming);
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}
