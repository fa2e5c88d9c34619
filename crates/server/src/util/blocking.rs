//! Work that may wait for a disk or for others, beside the turns of a shard.

/// Does it on a thread that may wait; nothing when it panicked.
///
/// # Cancel safety
/// Whoever asked may go: what has begun is done to its end.
pub(crate) async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    #[cfg(test)]
    if let Some(threads) = super::stepped::threads() {
        let (done, is_done) = tokio::sync::oneshot::channel();
        // Whoever asked may have gone.
        let _ = threads.send(Box::new(move || drop(done.send(work()))));
        return is_done.await.ok();
    }
    tokio::task::spawn_blocking(work).await.ok()
}
