//! What may cross threads, be moved between polls and survive a panic, in one table. (That a payload which is not `Send`
//! and `Sync` is refused, B1, is shown by the `compile_fail` examples of [`roomcast::Broker`] and `docs/misuse.md`.)

use std::cell::Cell;
use std::error::Error;
use std::fmt::Debug;
use std::hash::Hash;
use std::marker::{PhantomData, PhantomPinned};
use std::panic::UnwindSafe;
use std::rc::Rc;
use std::sync::MutexGuard;

use roomcast::{
    Accounting, Batch, Broker, BrokerStats, Builder, CloseReason, Closed, Epoch, HandlerSubscription, PassedOver,
    PatternSubscription, Policy, Position, PublishByNameError, PublishError, PublishWait, Publisher, Recv, RecvBatch,
    RecvError, RecvRef, RecvTimeoutError, Ref, Resumption, Room, RoomError, RoomKey, RoomOptions, RoomSet, RoomSink,
    RoomStats, ShardStats, Start, Subscribe, SubscribeError, SubscribeWith, Subscription, TryRecvError, Unsubscribe,
    Vacated, WeakBroker, WeakRoom,
};

/// `Send` and `Sync` and nothing else: not `Clone`, not `Debug`, not `Unpin`.
struct Bare(PhantomPinned);

/// Asks whether a type has a trait: the methods of its own answer where the bound holds, else those of [`Otherwise`].
struct Probe<T: ?Sized>(PhantomData<T>);

/// What holds where no bound does.
trait Otherwise {
    fn is_send(&self) -> bool {
        false
    }
    fn is_sync(&self) -> bool {
        false
    }
    fn is_unpin(&self) -> bool {
        false
    }
    fn is_clone(&self) -> bool {
        false
    }
    fn is_unwind_safe(&self) -> bool {
        false
    }
}

impl<T: ?Sized> Otherwise for Probe<T> {}

impl<T: Send> Probe<T> {
    fn is_send(&self) -> bool {
        true
    }
}

impl<T: Sync> Probe<T> {
    fn is_sync(&self) -> bool {
        true
    }
}

impl<T: Unpin> Probe<T> {
    fn is_unpin(&self) -> bool {
        true
    }
}

impl<T: Clone> Probe<T> {
    fn is_clone(&self) -> bool {
        true
    }
}

impl<T: UnwindSafe> Probe<T> {
    fn is_unwind_safe(&self) -> bool {
        true
    }
}

macro_rules! probe {
    ($type:ty) => {
        Probe::<$type>(PhantomData)
    };
}

/// One row for each type: its name and whether it is `Send`, `Sync`, `Unpin`, `Clone`.
macro_rules! rows {
    ($($type:ty),* $(,)?) => {
        [$((
            stringify!($type),
            probe!($type).is_send(),
            probe!($type).is_sync(),
            probe!($type).is_unpin(),
            probe!($type).is_clone(),
        )),*]
    };
}

#[track_caller]
fn all<const N: usize>(rows: [(&str, bool, bool, bool, bool); N], expected: (bool, bool, bool, bool)) {
    for (name, send, sync, unpin, clone) in rows {
        assert_eq!((send, sync, unpin, clone), expected, "(Send, Sync, Unpin, Clone) of {name}");
    }
}

#[test]
fn the_table_of_what_goes_anywhere_b1() {
    // The table can say no.
    all(rows![std::rc::Rc<u8>], (false, false, true, true));
    // Shared handles.
    all(rows![Broker<Bare>, Room<Bare>], (true, true, true, true));
    // Handles with one owner.
    let owned = rows![
        Subscription<Bare>,
        HandlerSubscription<Bare>,
        Publisher<u8>,
        RoomSet<Bare>,
        PatternSubscription<Bare>,
        // Futures; a join has a handler in it, which is `Send` and no more.
        Subscribe<Bare>,
        Recv<'static, Bare>,
        RecvRef<'static, Bare>,
        RecvBatch<'static, Bare>,
        PublishWait<'static, Bare>,
    ];
    all(owned, (true, true, true, false));
    all(rows![SubscribeWith<Bare>], (true, false, true, false));
    all(rows![Unsubscribe], (true, true, true, true));
    // What is lent.
    all(rows![Ref<'static, Bare>], (true, true, true, true));
    all(rows![Batch<'static, Bare>], (true, true, true, false));
    // A builder has a weigher in it, which is shared, and a clock, which is not cloned.
    all(rows![Builder<Bare>], (true, true, true, false));
    // Plain values and errors.
    let plain = rows![
        Accounting,
        BrokerStats,
        CloseReason,
        Epoch,
        Policy,
        Position,
        Resumption,
        RoomKey,
        RoomOptions,
        RoomStats,
        ShardStats,
        Start,
        PassedOver,
        RecvError,
        RecvTimeoutError,
        TryRecvError,
        SubscribeError,
        RoomError,
        PublishError<u8>,
        PublishByNameError<u8>,
    ];
    all(plain, (true, true, true, true));
    // An error has the message in it.
    all(rows![PublishError<Bare>], (true, true, false, false));
}

/// A room hands messages to any thread, by reference and to be dropped there; whatever leads to one goes where they may.
#[test]
fn what_leads_to_messages_goes_no_further_than_they_may() {
    fn neither<const N: usize>(rows: [(&str, bool, bool, bool, bool); N]) {
        for (name, send, sync, ..) in rows {
            assert_eq!((send, sync), (false, false), "(Send, Sync) of {name}");
        }
    }
    macro_rules! leading_to {
        ($message:ty) => {
            neither(rows![
                Broker<$message>,
                WeakBroker<$message>,
                Room<$message>,
                WeakRoom<$message>,
                Subscription<$message>,
                HandlerSubscription<$message>,
                Publisher<$message>,
                RoomSet<$message>,
                RoomSink<$message>,
                PatternSubscription<$message>,
                Subscribe<$message>,
                SubscribeWith<$message>,
                Closed<$message>,
                Vacated<$message>,
                Recv<'static, $message>,
                RecvRef<'static, $message>,
                RecvBatch<'static, $message>,
                PublishWait<'static, $message>,
            ])
        };
    }
    // Neither; `Send` alone; `Sync` alone.
    leading_to!(Rc<Cell<u8>>);
    leading_to!(Cell<u8>);
    leading_to!(MutexGuard<'static, u8>);
    // What is lent is a reference: it may go where the message may be shared.
    neither(rows![Ref<'static, Cell<u8>>, Batch<'static, Cell<u8>>]);
    for (name, send, sync, ..) in rows![Ref<'static, MutexGuard<'static, u8>>, Batch<'static, MutexGuard<'static, u8>>]
    {
        assert!(send && sync, "{name}");
    }
}

#[test]
fn plain_values_and_errors_may_be_kept_after_a_panic() {
    fn safe<T: UnwindSafe>() {}
    safe::<(Accounting, BrokerStats, CloseReason, Epoch, Policy, Position, Resumption)>();
    safe::<(RoomKey, RoomOptions, RoomStats, ShardStats, Start)>();
    safe::<(RecvError, TryRecvError, SubscribeError, RoomError, PublishError<u8>, PublishByNameError<u8>)>();
    // What reads or writes a ring may hold foreign wakers and messages, and asks for a word of its user's.
    assert!(!probe!(Subscription<u8>).is_unwind_safe() && !probe!(Room<u8>).is_unwind_safe());
    assert!(!probe!(Broker<u8>).is_unwind_safe() && probe!(Ref<'_, u8>).is_unwind_safe());
}

#[test]
fn plain_values_are_plain() {
    fn plain<T: Copy + Send + Sync + Debug + PartialEq>() {}
    fn key<T: Copy + Eq + Hash>() {}
    plain::<Accounting>();
    plain::<CloseReason>();
    plain::<Epoch>();
    plain::<Policy>();
    plain::<Position>();
    plain::<Resumption>();
    plain::<RoomKey>();
    plain::<RoomOptions>();
    plain::<RoomStats>();
    plain::<ShardStats>();
    plain::<Start>();
    key::<RoomKey>();
    key::<Epoch>();
    key::<Position>();
}

#[test]
fn errors_are_errors_and_need_nothing_of_the_message() {
    fn error<T: Error + Send + Sync + 'static>() {}
    error::<PublishError<Bare>>();
    error::<PublishByNameError<Bare>>();
    error::<RecvTimeoutError>();
    error::<RecvError>();
    error::<RoomError>();
    error::<SubscribeError>();
    error::<TryRecvError>();
    let text = format!("{:?} {}", PublishError::Full(()), PublishError::Full(()));
    assert_eq!(text, "Full(..) the room is full: a blocking subscriber has not read far enough");
}
