//! Calls of foreign code that may panic, and what it has panicked with.

use std::any::Any;
use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs foreign code, whose panic ends here. The caller does not use again what the code may have left half done.
#[inline(always)]
pub(crate) fn guard<R>(run: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| Panicked(Some(payload)))
}

/// What somebody has panicked with. It is foreign code as well: when its `Drop` panics, that ends here too.
pub(crate) struct Panicked(Option<Box<dyn Any + Send>>);

impl Panicked {
    /// What a thread that was joined has panicked with.
    pub(crate) fn from_join(payload: Box<dyn Any + Send>) -> Self {
        Self(Some(payload))
    }

    /// A short text of it.
    pub(crate) fn text(&self) -> &str {
        let payload = self.0.as_deref();
        let text = payload.and_then(|payload| payload.downcast_ref::<&str>().copied());
        text.or_else(|| payload?.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
    }
}

impl Drop for Panicked {
    fn drop(&mut self) {
        let payload = self.0.take();
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            // Never dropped: it might go on like this.
            let _kept = ManuallyDrop::new(second);
        }
    }
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panicked").field(&self.text()).finish()
    }
}

#[cfg(all(test, not(any(roomcast_loom, roomcast_shuttle))))]
mod tests {
    use std::panic::panic_any;

    use super::*;

    /// Panics in its drop with one more of its kind, so many times.
    struct Grenade(u32);

    impl Drop for Grenade {
        fn drop(&mut self) {
            if self.0 > 0 {
                panic_any(Self(self.0 - 1));
            }
        }
    }

    #[test]
    fn a_payload_that_panics_in_its_drop_ends_here() {
        for depth in 0..4 {
            let panicked = guard(|| panic_any(Grenade(depth))).unwrap_err();
            assert_eq!(panicked.text(), "no message");
            drop(panicked);
        }
    }

    #[test]
    fn a_panic_has_its_text() {
        assert_eq!(guard(|| panic!("in so many words")).unwrap_err().text(), "in so many words");
        assert_eq!(guard(|| panic!("with {} number", 1)).unwrap_err().text(), "with 1 number");
        assert_eq!(guard(|| 7).ok(), Some(7));
    }
}
