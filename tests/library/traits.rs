//! What may cross threads. (That a payload which is not `Sync` is refused, B1, is shown by the `compile_fail` examples of
//! [`roomcast::Broker`].)

use std::error::Error;

use roomcast::{
    Accounting, Batch, Broker, BrokerStats, Builder, CloseReason, Epoch, PatternSubscription, Policy, Position,
    PublishByNameError, PublishError, PublishWait, Publisher, Recv, RecvBatch, RecvError, RecvRef, Ref, Resumption,
    Room, RoomError, RoomKey, RoomOptions, RoomSet, RoomStats, Served, ShardStats, Start, Subscribe, SubscribeError,
    SubscribeWith, Subscription, TryRecvError, Unsubscribe,
};

/// `Send` and `Sync` and nothing else: not `Clone`, not `Debug`, not `Unpin`.
struct Bare(std::marker::PhantomPinned);

fn send_sync<T: Send + Sync>() {}
fn send<T: Send>() {}
fn unpin<T: Unpin>() {}
fn error<T: Error + Send + Sync + 'static>() {}

#[test]
fn handles_go_anywhere_b1() {
    send_sync::<Broker<Bare>>();
    send_sync::<Room<Bare>>();
    send_sync::<Subscription<Bare>>();
    send_sync::<Served<Bare>>();
    send_sync::<Publisher<Bare>>();
    send_sync::<RoomSet<Bare>>();
    send_sync::<PatternSubscription<Bare>>();
    send::<Builder<Bare>>();
}

#[test]
fn futures_and_what_is_lent_go_anywhere() {
    send_sync::<Subscribe<Bare>>();
    send::<SubscribeWith<Bare>>();
    send_sync::<Recv<'_, Bare>>();
    send_sync::<RecvRef<'_, Bare>>();
    send_sync::<RecvBatch<'_, Bare>>();
    send_sync::<PublishWait<'_, Bare>>();
    send_sync::<Unsubscribe>();
    send_sync::<Ref<'_, Bare>>();
    send_sync::<Batch<'_, Bare>>();
}

#[test]
fn handles_and_futures_need_no_pinning() {
    unpin::<Subscription<Bare>>();
    unpin::<Subscribe<Bare>>();
    unpin::<SubscribeWith<Bare>>();
    unpin::<RecvRef<'_, Bare>>();
    unpin::<PublishWait<'_, Bare>>();
}

#[test]
fn plain_values_are_plain() {
    fn plain<T: Copy + Send + Sync + std::fmt::Debug + PartialEq>() {}
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
    send_sync::<BrokerStats>();
}

#[test]
fn errors_are_errors_and_need_nothing_of_the_message() {
    error::<PublishError<Bare>>();
    error::<PublishByNameError<String>>();
    error::<RecvError>();
    error::<RoomError>();
    error::<SubscribeError>();
    error::<TryRecvError>();
    let text = format!("{:?} {}", PublishError::Full(()), PublishError::Full(()));
    assert_eq!(text, "Full(..) the room is full: a blocking subscriber has not read far enough");
}
