//! What was waited for is there: how the session goes on.

use std::rc::Rc;

use crate::client::connection::Connection;
use crate::client::deferred::Done;
use crate::client::driver::SessionDriver;
use crate::client::shard::Shard;

impl SessionDriver {
    /// Goes on with what was waited for.
    pub(crate) fn complete(connection: &Rc<Connection>, shard: &Shard, done: Done) {
        Self::turn(connection, shard, |this, turn| {
            if this.departed {
                return Ok(());
            }
            this.take_up(turn);
            this.session.notice_time(shard.now_ms());
            match done {
                Done::Entered(ticket, room, mut entered) => {
                    if let Ok(entered) = &mut entered {
                        turn.shard.hub.hide_erased(&room, &mut entered.subscribed.found);
                    }
                    this.entered(turn, ticket, room, entered);
                }
                Done::Published(ticket, published) => {
                    if published.is_ok() {
                        turn.shard.metrics.messages_in.inc();
                    }
                    this.published(turn, ticket, published);
                }
                Done::Read(ticket, room, mut read) => {
                    if let Ok(read) = &mut read {
                        turn.shard.hub.hide_erased(&room, &mut read.publications);
                    }
                    this.read_history(turn, ticket, room, read);
                }
                Done::Members(ticket, members) => this.session.presence(ticket, members, &mut turn.out),
                Done::Counted(ticket, stats) => this.session.presence_stats(ticket, stats, &mut turn.out),
                Done::Keys(ticket, fetched) => this.session.keys_fetched(ticket, fetched, &mut turn.out),
                Done::Answered(ticket, answer) => this.session.answered(ticket, answer, &mut turn.out),
                Done::Fetched(room, from, past) => {
                    connection.is_fetching.set(false);
                    // Of rooms that are another process's by now, the database may have answered with nothing.
                    if let Some(member_key) = this.rooms.member_key(&room).filter(|_| !shard.hub.is_released()) {
                        shard.delivery.deliver_stored(member_key, from, &past);
                    }
                }
            }
            this.run_actions(turn)
        });
    }
}
