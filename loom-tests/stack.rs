//! The stack of waiters: pushed again while it is being taken.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::support::model;
use crate::wake::{Link, Linked, Stack};

struct Node {
    link: Link<Self>,
    said: AtomicUsize,
}

impl Linked for Node {
    fn link(&self) -> &Link<Self> {
        &self.link
    }
}

/// An owner says something and pushes its node, which may still be queued: whoever takes it afterwards has heard it.
#[test]
fn requeue_take() {
    model(3..=4, || {
        let stack = Arc::new(Stack::new());
        let node = Arc::new(Node { link: Link::new(), said: AtomicUsize::new(1) });
        stack.push(&node);
        let taker = {
            let stack = stack.clone();
            thread::spawn(move || stack.take_all().map(|node: Arc<Node>| node.said.load(Relaxed)).max())
        };
        node.said.store(2, Relaxed);
        stack.push(&node);
        let heard = taker.join().unwrap();
        let left = stack.take_all().reversed().map(|node| node.said.load(Relaxed)).max();
        assert_eq!(heard.max(left), Some(2), "what was said before the push was not heard");
        assert!(!node.link.is_queued());
    });
}

/// Two owners push while a third takes: each node is taken once.
#[test]
fn push_push_take() {
    model(2..=3, || {
        let stack = Arc::new(Stack::new());
        let owners: Vec<_> = [1, 2]
            .map(|name| {
                let stack = stack.clone();
                thread::spawn(move || {
                    assert!(stack.push(&Arc::new(Node { link: Link::new(), said: AtomicUsize::new(name) })));
                })
            })
            .into_iter()
            .collect();
        let mut taken: Vec<_> = stack.take_all().map(|node: Arc<Node>| node.said.load(Relaxed)).collect();
        for owner in owners {
            owner.join().unwrap();
        }
        taken.extend(stack.take_all().map(|node| node.said.load(Relaxed)));
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}
