//! Who may do what in a room, as Centrifugo decides it.

use super::action::Membership;
use super::settings::RoomRules;
use crate::protocol::{ErrorCode, SubscribeRequest};
use crate::server::config::RecoveryMode;

/// Starts the names of rooms that only a subscription token opens.
const PRIVATE_PREFIX: char = '$';
/// Stands before the ids of the users a room is limited to.
const USERS_BOUNDARY: char = '#';
/// Stands between these ids.
const USERS_SEPARATOR: char = ',';

/// One client in front of one room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access<'a> {
    pub(super) rules: RoomRules,
    pub(super) room: &'a str,
    /// The client's user id; empty for an anonymous one.
    pub(super) user: &'a str,
    /// Whether the client is in the room.
    pub(super) is_subscribed: bool,
}

/// What a subscription is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) recoverable: bool,
    pub(super) recovery_mode: RecoveryMode,
    pub(super) positioned: bool,
    pub(super) membership: Membership,
}

impl Access<'_> {
    /// Whether the client may enter, and what of its wishes is granted.
    pub(super) fn subscribe(self, request: &SubscribeRequest) -> Result<Grant, ErrorCode> {
        if request.kind != 0 {
            return Err(ErrorCode::NotAvailable);
        }
        let rules = self.rules;
        let may_enter = if self.room.starts_with(PRIVATE_PREFIX) {
            // Only a subscription token opens it.
            false
        } else if let Some(users) = self.limited_users() {
            self.is_known() && users.split(USERS_SEPARATOR).any(|user| user == self.user)
        } else {
            rules.allow_subscribe_for_client && (self.is_known() || rules.allow_subscribe_for_anonymous)
        };
        if !may_enter {
            return Err(ErrorCode::PermissionDenied);
        }
        Ok(self.grant(request))
    }

    /// What of its wishes is granted to a client that may enter.
    pub(super) fn grant(self, request: &SubscribeRequest) -> Grant {
        let rules = self.rules;
        let keeps_history = rules.history_size > 0;
        let recoverable = keeps_history && (rules.force_recovery || rules.allow_recovery && request.recoverable);
        let positioned =
            recoverable || keeps_history && (rules.force_positioning || rules.allow_positioning && request.positioned);
        let membership = Membership {
            presence: rules.presence,
            announced: rules.join_leave,
            hears_join_leave: rules.join_leave && (rules.force_push_join_leave || request.join_leave),
        };
        Grant { recoverable, recovery_mode: rules.recovery_mode, positioned, membership }
    }

    pub(super) fn publish(self) -> Result<(), ErrorCode> {
        let rules = self.rules;
        self.permit(
            rules.allow_publish_for_client,
            rules.allow_publish_for_subscriber,
            rules.allow_publish_for_anonymous,
        )
    }

    pub(super) fn history(self) -> Result<(), ErrorCode> {
        let rules = self.rules;
        if rules.history_size == 0 {
            return Err(ErrorCode::NotAvailable);
        }
        self.permit(
            rules.allow_history_for_client,
            rules.allow_history_for_subscriber,
            rules.allow_history_for_anonymous,
        )
    }

    pub(super) fn presence(self) -> Result<(), ErrorCode> {
        let rules = self.rules;
        if !rules.presence {
            return Err(ErrorCode::NotAvailable);
        }
        self.permit(
            rules.allow_presence_for_client,
            rules.allow_presence_for_subscriber,
            rules.allow_presence_for_anonymous,
        )
    }

    fn permit(self, for_client: bool, for_subscriber: bool, for_anonymous: bool) -> Result<(), ErrorCode> {
        let here = for_client || for_subscriber && self.is_subscribed;
        if here && (self.is_known() || for_anonymous) { Ok(()) } else { Err(ErrorCode::PermissionDenied) }
    }

    /// The users the room is limited to, behind its name.
    fn limited_users(&self) -> Option<&str> {
        let (_, users) = self.room.rsplit_once(USERS_BOUNDARY)?;
        self.rules.allow_user_limited_channels.then_some(users)
    }

    fn is_known(self) -> bool {
        !self.user.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(rules: RoomRules, room: &'static str, user: &'static str, is_subscribed: bool) -> Access<'static> {
        Access { rules, room, user, is_subscribed }
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let access = access(RoomRules::default(), "r", "42", true);
        assert_eq!(access.subscribe(&SubscribeRequest::default()), Err(ErrorCode::PermissionDenied));
        assert_eq!(access.publish(), Err(ErrorCode::PermissionDenied));
        assert_eq!(access.history(), Err(ErrorCode::NotAvailable));
        assert_eq!(access.presence(), Err(ErrorCode::NotAvailable));
    }

    /// Every combination of the three permissions, for an anonymous and a known client, inside and outside.
    #[test]
    fn a_permission_needs_the_place_and_the_user() {
        for bits in 0..32_u8 {
            let bit = |n: u8| bits & (1 << n) != 0;
            let (client, subscriber, anonymous, known, inside) = (bit(0), bit(1), bit(2), bit(3), bit(4));
            let rules = RoomRules {
                history_size: 1,
                presence: true,
                allow_publish_for_client: client,
                allow_publish_for_subscriber: subscriber,
                allow_publish_for_anonymous: anonymous,
                allow_history_for_client: client,
                allow_history_for_subscriber: subscriber,
                allow_history_for_anonymous: anonymous,
                allow_presence_for_client: client,
                allow_presence_for_subscriber: subscriber,
                allow_presence_for_anonymous: anonymous,
                ..RoomRules::default()
            };
            let access = access(rules, "r", if known { "42" } else { "" }, inside);
            let expected = if (client || (subscriber && inside)) && (known || anonymous) {
                Ok(())
            } else {
                Err(ErrorCode::PermissionDenied)
            };
            assert_eq!(access.publish(), expected, "{access:?}");
            assert_eq!(access.history(), expected, "{access:?}");
            assert_eq!(access.presence(), expected, "{access:?}");
        }
    }

    #[test]
    fn an_anonymous_client_enters_only_where_both_permissions_stand() {
        let request = SubscribeRequest::default();
        for (client, anonymous, user, enters) in
            [(true, true, "", true), (true, false, "", false), (false, true, "", false), (true, false, "42", true)]
        {
            let rules = RoomRules {
                allow_subscribe_for_client: client,
                allow_subscribe_for_anonymous: anonymous,
                ..RoomRules::default()
            };
            assert_eq!(
                access(rules, "r", user, false).subscribe(&request).is_ok(),
                enters,
                "{client} {anonymous} {user}"
            );
        }
    }

    #[test]
    fn private_rooms_need_a_token_and_limited_rooms_their_users() {
        let request = SubscribeRequest::default();
        let open =
            RoomRules { allow_subscribe_for_client: true, allow_subscribe_for_anonymous: true, ..RoomRules::default() };
        assert_eq!(access(open, "$r", "42", false).subscribe(&request), Err(ErrorCode::PermissionDenied));
        assert!(access(open, "r#42", "7", false).subscribe(&request).is_ok(), "the option is off");
        let limited = RoomRules { allow_user_limited_channels: true, ..open };
        for (user, enters) in [("42", true), ("43", true), ("4", false), ("", false)] {
            assert_eq!(access(limited, "dialog#42,43", user, false).subscribe(&request).is_ok(), enters, "{user:?}");
        }
        assert!(access(limited, "r#", "", false).subscribe(&request).is_err());
    }

    #[test]
    fn recovery_positions_and_joins_are_granted_when_forced_or_allowed_and_asked_for() {
        let open = RoomRules { allow_subscribe_for_client: true, ..RoomRules::default() };
        let asks =
            SubscribeRequest { recoverable: true, positioned: true, join_leave: true, ..SubscribeRequest::default() };
        let silent = SubscribeRequest::default();
        let grant = |rules, request: &SubscribeRequest| {
            let grant = access(rules, "r", "42", false).subscribe(request).unwrap();
            (grant.recoverable, grant.positioned, grant.membership.hears_join_leave)
        };
        assert_eq!(grant(open, &asks), (false, false, false));
        let allowed =
            RoomRules { history_size: 1, allow_recovery: true, allow_positioning: true, join_leave: true, ..open };
        assert_eq!(grant(allowed, &asks), (true, true, true));
        assert_eq!(grant(allowed, &silent), (false, false, false));
        let forced = RoomRules { force_recovery: true, force_push_join_leave: true, ..allowed };
        assert_eq!(grant(forced, &silent), (true, true, true));
        let no_history = RoomRules { history_size: 0, ..forced };
        assert_eq!(grant(no_history, &asks), (false, false, true));
    }
}
