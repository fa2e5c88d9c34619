//! Waking: wakers in cells, lock-free stacks of those who wait, and the armed word that tells a publisher whether anybody
//! does.

mod doorbell;
mod stack;
mod waker_cell;

pub(crate) use self::doorbell::{Doorbell, Waiter, take_some, wake_each, wake_safely, wake_some};
pub(crate) use self::stack::{Chain, Link, Linked, Stack};
pub(crate) use self::waker_cell::WakerCell;
