//! Subscribing to many rooms at once, by their names, by a pattern, or as a function says.

use super::Broker;
use crate::config::Policy;
use crate::error::RoomError;
use crate::room::{Glob, Names, PatternSubscription, RoomSet};

impl<T: Send + Sync + 'static> Broker<T> {
    /// Subscribes to each of these rooms from now on, creating those that are missing: one handle, to which rooms can be
    /// added and from which they can be taken while it is read.
    ///
    /// # Errors
    /// As [`Broker::room`], for the first name that fails; no subscription is left behind then.
    ///
    /// # Examples
    /// ```
    /// # futures::executor::block_on(async {
    /// use roomcast::Broker;
    ///
    /// let broker = Broker::<u8>::new();
    /// let mut both = broker.subscribe_many(["kitchen", "garden"])?;
    /// broker.publish("garden", 7)?;
    /// let key = both.ready().await;
    /// let garden = both.get_mut(key).unwrap();
    /// assert_eq!((garden.room().name(), garden.try_recv()?), ("garden", 7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn subscribe_many<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<RoomSet<T>, RoomError> {
        let mut set = RoomSet::new();
        for name in names {
            // A room that ends between the two steps is opened afresh.
            let subscription = loop {
                if let Ok(subscription) = self.room(name)?.subscribe().now() {
                    break subscription;
                }
            };
            set.join(subscription);
        }
        Ok(set)
    }

    /// Subscribes to every room whose name matches `pattern`, in which `*` stands for any text. Rooms that exist are
    /// read from now on; rooms created later from their first message, which is never missed.
    ///
    /// # Examples
    /// ```
    /// # futures::executor::block_on(async {
    /// use roomcast::Broker;
    ///
    /// let broker = Broker::<u8>::new();
    /// let mut chats = broker.subscribe_pattern("chat.*");
    /// broker.publish("chat.1", 7)?;
    /// broker.publish("news", 8)?;
    /// let key = chats.ready().await.unwrap();
    /// let chat = chats.get_mut(key).unwrap();
    /// assert_eq!((chat.room().name(), chat.try_recv()?), ("chat.1", 7));
    /// assert_eq!(chats.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn subscribe_pattern(&self, pattern: &str) -> PatternSubscription<T> {
        self.subscribe_pattern_with(pattern, Policy::Lag)
    }

    /// [`Broker::subscribe_pattern`] with a policy, such as [`Policy::Block`] for a subscriber that must not miss a
    /// message even when it is slow.
    pub fn subscribe_pattern_with(&self, pattern: &str, policy: Policy) -> PatternSubscription<T> {
        self.subscribe_names(Names::Like(Glob::new(pattern)), policy)
    }

    /// [`Broker::subscribe_pattern`] for rooms that a function knows by their names, where no pattern describes them.
    ///
    /// The function is asked once per room, by whoever creates it: it must be quick, always say the same of the same name,
    /// and not call the broker.
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, Policy};
    ///
    /// let broker = Broker::<u8>::new();
    /// let mut short = broker.subscribe_where(|name| name.len() < 5, Policy::Lag);
    /// for name in ["hall", "garden", "loft"] {
    ///     broker.room(name)?;
    /// }
    /// assert_eq!(short.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe_where(
        &self,
        are_meant: impl Fn(&str) -> bool + Send + Sync + 'static,
        policy: Policy,
    ) -> PatternSubscription<T> {
        self.subscribe_names(Names::Those(Box::new(are_meant)), policy)
    }
}
