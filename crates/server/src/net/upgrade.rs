//! A connection that leaves HTTP: its socket becomes a client's, and what HTTP would have answered is its first line.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use crate::client::connection::Takeover;

/// Where a request says that its socket is to be taken over.
#[derive(Clone, Debug, Default)]
pub(crate) struct UpgradeSlot {
    takeover: Rc<RefCell<Option<Takeover>>>,
    /// Where a proxy has said that the client comes from.
    address: Rc<Cell<Option<IpAddr>>>,
}

impl UpgradeSlot {
    /// Says that the socket of this request goes on as a client's; never returns, as HTTP has nothing to answer.
    pub(crate) async fn make<T>(self, takeover: Takeover) -> T {
        self.takeover.replace(Some(takeover));
        std::future::pending().await
    }

    pub(crate) fn take(&self) -> Option<Takeover> {
        self.takeover.take()
    }

    /// Notes where the client of the request comes from.
    pub(crate) fn came_from(&self, address: Option<IpAddr>) {
        self.address.set(address);
    }

    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address.get()
    }
}
