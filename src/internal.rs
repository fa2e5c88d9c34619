//! What the other packages of this workspace share with the library, and nobody else is promised: it may change with any version.

#[cfg(feature = "store")]
pub use crate::store::internal::*;
#[cfg(feature = "store")]
pub use crate::striped::Striped;
#[cfg(all(feature = "store", feature = "failpoint"))]
pub use crate::striped::wait_for_locks_by;
pub use crate::sync::Stage;
#[cfg(all(any(test, feature = "failpoint"), not(any(roomcast_loom, roomcast_shuttle))))]
pub use crate::sync::stop_at;
