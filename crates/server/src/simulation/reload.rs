//! The configuration is read again while everything goes on.

use std::rc::Rc;
use std::time::Duration;

use super::server::Server;
use super::temper::Temper;
use super::world::World;
use crate::config::Config;

/// What may be otherwise for a while.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// Clients may not publish into a room.
    NoPublishing,
    /// A room is not declared any more.
    NoRoom,
    /// Messages gather before they are delivered.
    Delay,
    /// Clients are asked oftener whether they are there.
    Pings,
    /// All is as it was.
    Nothing,
}

impl World {
    /// Has the server go by another configuration.
    pub(super) fn reload(&mut self, server: &Rc<Server>) {
        let room = self.room();
        let change = self.dice.weighed(&[
            (3, Change::NoPublishing),
            (if self.plan.temper == Temper::Epochs { 8 } else { 3 }, Change::NoRoom),
            (2, Change::Delay),
            (2, Change::Pings),
            (4, Change::Nothing),
        ]);
        self.detail(format_args!("{change:?} of {room}"));
        let mut config = self.plan.config.clone();
        let asks = self.model.rooms[&room].asks;
        let at = self.model.tick();
        let forbids = &mut self.model.forbids;
        forbids.begin(at);
        let namespace = room.split(':').next().unwrap_or_default();
        match change {
            Change::NoRoom => {
                config.channel.namespaces.remove(namespace);
                forbids.rooms.insert(room.clone());
                forbids.has_rooms.insert(room.clone());
                self.model.has_ended(&room);
            }
            Change::Pings => config.client.ping_interval /= 2,
            Change::NoPublishing => {
                // Elsewhere the backend says who may.
                if !asks.publishing {
                    forbids.publishing.insert(room.clone());
                    forbids.has_publishing.insert(room.clone());
                }
                if let Some(options) = config.channel.namespaces.get_mut(namespace) {
                    (options.allow_publish_for_client, options.allow_publish_for_subscriber) = (false, false);
                }
            }
            Change::Delay => {
                if let Some(options) = config.channel.namespaces.get_mut(namespace) {
                    options.delivery_delay = Duration::from_millis(self.dice.between(0, 200));
                }
            }
            Change::Nothing => {}
        }
        self.take_over(server, config);
    }

    /// Has the server go by the configuration that it began with.
    pub(super) fn reload_first(&mut self, server: &Rc<Server>) {
        let at = self.model.tick();
        self.model.forbids.begin(at);
        self.take_over(server, self.plan.config.clone());
    }

    fn take_over(&mut self, server: &Rc<Server>, config: Config) {
        let rng = self.dice.rng();
        server.hub.take_over(config, rng).expect("it is like the first one");
    }
}
