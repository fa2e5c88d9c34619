//! What a world is like. What needs several seldom things at once is played where these are frequent; in between, all is as it comes.

use super::actions::Action;
use super::dice::Dice;

/// What happens much in a world, and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temper {
    /// Everything, as it comes.
    Mixed,
    /// More is published at once than rings hold.
    Floods,
    /// One room with many members, of which something is erased that is on its way to them.
    Erasures,
    /// Rooms begin anew: the server is killed, namespaces go and come.
    Epochs,
    /// Members who come and go are given deltas.
    Deltas,
    /// Tokens of a few seconds, and times in which nothing else happens.
    Tokens,
    /// Sockets that take little, of members of several rooms.
    Slow,
    /// One server after the other gives its rooms to the next.
    Deploys,
}

impl Temper {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        dice.weighed(&[
            (5, Self::Mixed),
            (3, Self::Floods),
            (5, Self::Erasures),
            (3, Self::Epochs),
            (7, Self::Deltas),
            (5, Self::Tokens),
            (2, Self::Slow),
            (3, Self::Deploys),
        ])
    }

    /// How many times as often something happens as in a world of everything.
    fn times(self, action: Action) -> u64 {
        match (self, action) {
            (Self::Floods, Action::FloodBatch) => 10,
            (Self::Floods, Action::Flood) => 3,
            (Self::Erasures, Action::Regret) => 20,
            (Self::Erasures, Action::Erase | Action::Slow) => 2,
            (Self::Epochs, Action::Reload) => 6,
            (Self::Epochs, Action::Erase) => 4,
            (Self::Epochs, Action::PublishBatch) => 4,
            (Self::Epochs, Action::History) => 2,
            (Self::Epochs, Action::Subscribe) => 2,
            (Self::Epochs, Action::Clock | Action::Disk) => 0,
            (Self::Deltas, Action::PublishBatch) => 6,
            (Self::Deltas, Action::Unsubscribe) => 4,
            (Self::Deltas, Action::Subscribe | Action::Erase) => 2,
            (Self::Deltas, Action::Regret) => 6,
            (Self::Deltas, Action::Quiet) => 2,
            (Self::Tokens, Action::Doze) => 12,
            (Self::Tokens, Action::Subscribe) => 2,
            (Self::Tokens, Action::Clock | Action::Mute) => 0,
            (Self::Slow, Action::Stall) => 5,
            (Self::Slow, Action::Slow) => 3,
            (Self::Slow, Action::PublishBatch) => 2,
            // Those who are there stay, or come back.
            (Self::Erasures | Self::Deltas | Self::Tokens | Self::Slow, Action::Abandon | Action::Close) => 0,
            (Self::Mixed, _) => 1,
            (_, Action::Connect) => 2,
            _ => 1,
        }
    }

    /// What may happen next, and how often it does.
    pub(super) fn actions(self, all: &[(u64, Action)]) -> Vec<(u64, Action)> {
        all.iter().map(|(often, action)| (often * self.times(*action), *action)).collect()
    }
}
