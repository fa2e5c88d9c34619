//! A handle that does not keep its broker.

use std::fmt;
use std::sync::{Arc, Weak};

use super::{Broker, Inner};

/// A handle on a broker that does not keep it running.
///
/// For handlers and tasks that open rooms but are not to be the reason why the broker lives on.
///
/// # Examples
/// ```
/// use roomcast::Broker;
///
/// let broker = Broker::<u32>::new();
/// let weak = broker.downgrade();
/// assert!(weak.upgrade().is_some());
/// drop(broker);
/// assert!(weak.upgrade().is_none());
/// ```
pub struct WeakBroker<T> {
    inner: Weak<Inner<T>>,
}

impl<T> WeakBroker<T> {
    pub(super) fn new(inner: &Arc<Inner<T>>) -> Self {
        Self { inner: Arc::downgrade(inner) }
    }

    /// The broker, while somebody else keeps it.
    pub fn upgrade(&self) -> Option<Broker<T>> {
        self.inner.upgrade().map(|inner| Broker { inner })
    }
}

impl<T> Clone for WeakBroker<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T> fmt::Debug for WeakBroker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakBroker").finish_non_exhaustive()
    }
}
