//! A connection that leaves HTTP: its socket becomes a client's, and what HTTP would have answered is its first line.

use std::cell::RefCell;
use std::rc::Rc;

use crate::client::connection::Takeover;

/// Where a request says that its socket is to be taken over.
#[derive(Clone, Debug, Default)]
pub(crate) struct UpgradeSlot(Rc<RefCell<Option<Takeover>>>);

impl UpgradeSlot {
    /// Says that the socket of this request goes on as a client's; never returns, as HTTP has nothing to answer.
    pub(crate) async fn make<T>(self, takeover: Takeover) -> T {
        self.0.replace(Some(takeover));
        std::future::pending().await
    }

    pub(crate) fn take(&self) -> Option<Takeover> {
        self.0.take()
    }
}
