//! Rooms with a database, which goes from one process to the other.

use std::path::PathBuf;
use std::time::Duration;

use super::{Time, WITHIN, config, give, history, hub, name, recover, say, with_key};
use crate::config::Storage;

fn folder(of: &str) -> PathBuf {
    std::env::temp_dir().join(format!("roomcast-handing-over-{of}-{}", std::process::id()))
}

#[tokio::test]
async fn what_is_stored_is_released_to_another_process_in_its_epoch() {
    for storage in [Storage::Stored, Storage::Async] {
        let time = Time::new();
        let mut config = config();
        config.data_dir = folder(&format!("{storage:?}"));
        config.channel.without_namespace.storage = storage;
        let old = hub(config.clone(), &time);
        old.start_storing().expect("a database");
        say(&old, "hall", "before").await.expect("it is stored");
        let key = with_key(&old, "hall", 1).await;
        let new = hub(config.clone(), &time);
        assert!(new.start_storing().is_err(), "one process has it");
        old.settle().await;
        old.release(Duration::from_secs(5)).expect("everything is stored");
        new.start_storing().expect("it is free");
        give(&old, &new, WITHIN);
        let again = with_key(&new, "hall", 1).await;
        assert_eq!(again, key, "it was published before");
        let next = say(&new, "hall", "after").await.expect("it is stored");
        assert_eq!((next.epoch, next.offset), (key.epoch, 3));
        assert_eq!(history(&new, "hall").await.publications.len(), 3);
        new.stored_rooms().expect("a database").archive.close().expect("all is stored");
        let _ = std::fs::remove_dir_all(&config.data_dir);
    }
}

#[tokio::test]
async fn who_is_in_a_stored_room_in_which_nothing_was_said_recovers_in_it() {
    let time = Time::new();
    let mut config = config();
    config.data_dir = folder("unsaid");
    config.channel.without_namespace.storage = Storage::Stored;
    let old = hub(config.clone(), &time);
    old.start_storing().expect("a database");
    let enter = async |room: &str| {
        let engine = old.engine(&name(room)).expect("an engine");
        engine.enter(&name(room), None, 0).wait().await.expect("it is entered")
    };
    let members = [enter("hall").await, enter("yard").await];
    let [hall, yard] = [0, 1].map(|member| members[member].subscribed.top.clone());
    say(&old, "yard", "before").await.expect("it is stored");
    old.settle().await;
    old.release(Duration::from_secs(5)).expect("everything is stored");
    let new = hub(config.clone(), &time);
    new.start_storing().expect("it is free");
    give(&old, &new, WITHIN);
    say(&new, "hall", "after").await.expect("it is stored");
    for (room, left_at) in [("hall", hall), ("yard", yard)] {
        let (top, has_all, found) = recover(&new, room, left_at.clone()).await;
        assert_eq!((top.epoch, top.offset, has_all, found.len()), (left_at.epoch, 1, true, 1), "{room}");
    }
    assert_eq!(new.rooms.dormant.len(), 0, "it goes on there once");
    new.stored_rooms().expect("a database").archive.close().expect("all is stored");
    let _ = std::fs::remove_dir_all(&config.data_dir);
}
