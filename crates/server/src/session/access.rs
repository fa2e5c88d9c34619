//! Who may do what in a room, as Centrifugo decides it.

use std::sync::Arc;

use super::View;
use super::action::MembershipGrant;
use crate::auth::Overrides;
use crate::config::{ChannelSyntax, NamespaceOptions, RecoveryMode};
use roomcast_protocol::{ErrorCode, FilterWish, SubscribeRequest};

/// One client in front of one room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access<'a> {
    pub(super) options: &'a NamespaceOptions,
    /// What the room's name says.
    pub(super) syntax: &'a ChannelSyntax,
    pub(super) room: &'a str,
    /// The client's user id; empty for an anonymous one.
    pub(super) user: &'a str,
    /// Whether the client is in the room.
    pub(super) is_subscribed: bool,
    /// Whether private rooms open with a token only, as they do outside development mode.
    pub(super) needs_token: bool,
    /// Whether everybody may do everything.
    pub(super) is_insecure: bool,
}

/// What a subscription is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) recoverable: bool,
    pub(super) recovery_mode: RecoveryMode,
    /// The newest publication is recovered without having been asked for.
    pub(super) recovers_newest: bool,
    pub(super) positioned: bool,
    pub(super) membership: MembershipGrant,
    pub(super) view: View,
}

impl Access<'_> {
    /// Whether the client may enter, and what of its wishes is granted, without anybody being asked.
    pub(super) fn subscribe(self, request: &SubscribeRequest) -> Result<Grant, ErrorCode> {
        self.enter(request)?.ok_or(ErrorCode::PermissionDenied)
    }

    /// The same; nothing where the backend is to be asked.
    pub(super) fn enter(self, request: &SubscribeRequest) -> Result<Option<Grant>, ErrorCode> {
        self.is_served(request)?;
        let options = self.options;
        let may_enter = if self.is_insecure && !options.subscribe_proxy_enabled {
            true
        } else if !self.is_insecure && self.is_private() {
            // Only a subscription token opens it.
            false
        } else if let Some(is_one_of_them) = self.is_one_of_its_users().filter(|_| !self.is_insecure) {
            is_one_of_them
        } else if options.subscribe_proxy_enabled {
            return Ok(None);
        } else {
            options.allow_subscribe_for_client && (self.is_known() || options.allow_subscribe_for_anonymous)
        };
        if may_enter { Ok(Some(self.grant(request))) } else { Err(ErrorCode::PermissionDenied) }
    }

    /// The same for a client whose token opens the room.
    pub(super) fn subscribe_by_token(
        self,
        request: &SubscribeRequest,
        overrides: Overrides,
    ) -> Result<Grant, ErrorCode> {
        self.is_served(request)?;
        Ok(self.grant_with(request, overrides))
    }

    fn is_served(self, request: &SubscribeRequest) -> Result<(), ErrorCode> {
        if request.kind != 0 {
            return Err(ErrorCode::NotAvailable);
        }
        match request.filter {
            FilterWish::None => Ok(()),
            FilterWish::Tags(_) if self.options.allow_tags_filter => Ok(()),
            FilterWish::Tags(_) | FilterWish::Malformed => Err(ErrorCode::BadRequest),
        }
    }

    /// What of its wishes is granted to a client that may enter.
    pub(super) fn grant(self, request: &SubscribeRequest) -> Grant {
        self.grant_with(request, Overrides::default())
    }

    /// The same, with options that a token or a backend sets otherwise.
    pub(super) fn grant_with(self, request: &SubscribeRequest, overrides: Overrides) -> Grant {
        let options = self.options;
        let force_recovery = overrides.force_recovery.unwrap_or(options.force_recovery);
        let force_positioning = overrides.force_positioning.unwrap_or(options.force_positioning);
        let force_push_join_leave = overrides.force_push_join_leave.unwrap_or(options.force_push_join_leave);
        let announced = overrides.join_leave.unwrap_or(options.join_leave);
        // Who is not told of hears of the others all the same.
        let is_told = options.join_leave || announced || overrides.force_push_join_leave == Some(true);
        // The client is about to be in the room.
        let inside = Self { is_subscribed: true, ..self };
        let keeps_history = options.history_size > 0;
        let may_read = inside.history().is_ok();
        let recoverable =
            keeps_history && (force_recovery || request.recoverable && (options.allow_recovery || may_read));
        let positioned = recoverable
            || keeps_history && (force_positioning || request.positioned && (options.allow_positioning || may_read));
        let may_ask = request.join_leave && inside.may_see_presence();
        let membership = MembershipGrant {
            presence: overrides.presence.unwrap_or(options.presence),
            announced,
            hears_join_leave: is_told && (force_push_join_leave || may_ask),
        };
        let recovery_mode = options.force_recovery_mode;
        let recovers_newest = options.auto_cache_recover && recoverable && recovery_mode == RecoveryMode::Cache;
        let view = self.view(request, overrides);
        Grant { recoverable, recovery_mode, recovers_newest, positioned, membership, view }
    }

    /// How the client is given what is published.
    fn view(self, request: &SubscribeRequest, overrides: Overrides) -> View {
        let options = self.options;
        let filter = match &request.filter {
            FilterWish::Tags(filter) if options.allow_tags_filter => Some(Arc::clone(filter)),
            _ => None,
        };
        // Of what a client is not given nothing is a base: filters and deltas exclude each other.
        let is_delta = filter.is_none() && options.allowed_delta_types.contains(&request.delta);
        View { filter, echo: overrides.echo.unwrap_or(options.echo), is_delta, has_newest: false }
    }

    pub(super) fn publish(self) -> Result<(), ErrorCode> {
        let options = self.options;
        self.permit(
            options.allow_publish_for_client,
            options.allow_publish_for_subscriber,
            options.allow_publish_for_anonymous,
        )
    }

    pub(super) fn history(self) -> Result<(), ErrorCode> {
        let options = self.options;
        if options.history_size == 0 {
            return Err(ErrorCode::NotAvailable);
        }
        self.permit(
            options.allow_history_for_client,
            options.allow_history_for_subscriber,
            options.allow_history_for_anonymous,
        )
    }

    pub(super) fn presence(self) -> Result<(), ErrorCode> {
        let options = self.options;
        if !options.presence {
            return Err(ErrorCode::NotAvailable);
        }
        if self.may_see_presence() { Ok(()) } else { Err(ErrorCode::PermissionDenied) }
    }

    /// Whether the client may know who is in the room, where the server does.
    fn may_see_presence(self) -> bool {
        let options = self.options;
        let permitted = self.permit(
            options.allow_presence_for_client,
            options.allow_presence_for_subscriber,
            options.allow_presence_for_anonymous,
        );
        permitted.is_ok()
    }

    fn permit(self, for_client: bool, for_subscriber: bool, for_anonymous: bool) -> Result<(), ErrorCode> {
        let here = match self.is_subscribed {
            true => for_client || for_subscriber,
            // What is not open to everybody is not for those who could not enter either.
            false => for_client && !self.is_private() && self.is_one_of_its_users().unwrap_or(true),
        };
        if self.is_insecure || here && (self.is_known() || for_anonymous) {
            Ok(())
        } else {
            Err(ErrorCode::PermissionDenied)
        }
    }

    /// Whether only a token opens the room.
    fn is_private(self) -> bool {
        self.needs_token && self.syntax.is_private(self.room)
    }

    /// Whether the client is of the users whom the room is limited to, behind its name; nothing where it is limited to none.
    fn is_one_of_its_users(self) -> Option<bool> {
        let mut users = self.options.allow_user_limited_channels.then(|| self.syntax.users_of(self.room))??;
        Some(self.is_known() && users.any(|user| user == self.user))
    }

    fn is_known(self) -> bool {
        !self.user.is_empty()
    }
}

/// For tests: rooms with history and presence, in which publishing and both of these are permitted to the same clients.
#[cfg(test)]
pub(super) fn permitting(client: bool, subscriber: bool, anonymous: bool) -> NamespaceOptions {
    NamespaceOptions {
        history_size: 10,
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
        ..NamespaceOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    fn access<'a>(options: &'a NamespaceOptions, room: &'a str, user: &'a str, is_subscribed: bool) -> Access<'a> {
        static SYNTAX: LazyLock<ChannelSyntax> = LazyLock::new(ChannelSyntax::default);
        Access { options, syntax: &SYNTAX, room, user, is_subscribed, needs_token: true, is_insecure: false }
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let options = NamespaceOptions::default();
        let access = access(&options, "r", "42", true);
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
            let rules = permitting(client, subscriber, anonymous);
            let access = access(&rules, "r", if known { "42" } else { "" }, inside);
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
            let rules = NamespaceOptions {
                allow_subscribe_for_client: client,
                allow_subscribe_for_anonymous: anonymous,
                ..NamespaceOptions::default()
            };
            assert_eq!(
                access(&rules, "r", user, false).subscribe(&request).is_ok(),
                enters,
                "{client} {anonymous} {user}"
            );
        }
    }

    #[test]
    fn private_rooms_need_a_token_and_limited_rooms_their_users() {
        let request = SubscribeRequest::default();
        let open = NamespaceOptions {
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            ..NamespaceOptions::default()
        };
        for name in ["$r", "$ns:r"] {
            let private = access(&open, name, "42", false);
            assert_eq!(private.subscribe(&request), Err(ErrorCode::PermissionDenied));
            assert!(Access { needs_token: false, ..private }.subscribe(&request).is_ok(), "{name} in development mode");
        }
        assert!(access(&open, "r#42", "7", false).subscribe(&request).is_ok(), "the option is off");
        let limited = NamespaceOptions { allow_user_limited_channels: true, ..open.clone() };
        for (user, enters) in [("42", true), ("43", true), ("4", false), ("", false)] {
            assert_eq!(access(&limited, "dialog#42,43", user, false).subscribe(&request).is_ok(), enters, "{user:?}");
        }
        assert!(access(&limited, "r#", "", false).subscribe(&request).is_err());
    }

    #[test]
    fn rooms_are_private_and_limited_by_the_signs_of_the_configuration() {
        let syntax = ChannelSyntax {
            private_prefix: "~".to_owned(),
            user_boundary: "@@".to_owned(),
            user_separator: ";".to_owned(),
            ..ChannelSyntax::default()
        };
        let options = NamespaceOptions {
            allow_subscribe_for_client: true,
            allow_publish_for_client: true,
            allow_user_limited_channels: true,
            ..NamespaceOptions::default()
        };
        for (room, enters) in [
            ("~r", false),
            ("$r", true),
            ("r@@42", true),
            ("r@@7;42", true),
            ("r@@7", false),
            ("r@@42,7", false),
            ("r@@", false),
            ("r#7", true),
            ("r@7", true),
        ] {
            let access = Access { syntax: &syntax, ..access(&options, room, "42", false) };
            assert_eq!(access.subscribe(&SubscribeRequest::default()).is_ok(), enters, "{room}");
            assert_eq!(access.publish().is_ok(), enters, "{room}");
        }
    }

    #[test]
    fn recovery_positions_and_joins_are_granted_when_forced_or_allowed_and_asked_for() {
        let open = NamespaceOptions { allow_subscribe_for_client: true, ..NamespaceOptions::default() };
        let asks =
            SubscribeRequest { recoverable: true, positioned: true, join_leave: true, ..SubscribeRequest::default() };
        let silent = SubscribeRequest::default();
        let grant = |options: &NamespaceOptions, request: &SubscribeRequest| {
            let grant = access(options, "r", "42", false).subscribe(request).unwrap();
            (grant.recoverable, grant.positioned, grant.membership.hears_join_leave)
        };
        assert_eq!(grant(&open, &asks), (false, false, false));
        let allowed = NamespaceOptions {
            history_size: 1,
            allow_recovery: true,
            allow_positioning: true,
            join_leave: true,
            allow_presence_for_subscriber: true,
            ..open.clone()
        };
        assert_eq!(grant(&allowed, &asks), (true, true, true));
        assert_eq!(grant(&allowed, &silent), (false, false, false));
        let forced = NamespaceOptions { force_recovery: true, force_push_join_leave: true, ..allowed.clone() };
        assert_eq!(grant(&forced, &silent), (true, true, true));
        let no_history = NamespaceOptions { history_size: 0, ..forced.clone() };
        assert_eq!(grant(&no_history, &asks), (false, false, true));
    }

    #[test]
    fn who_may_read_the_history_may_recover_and_be_told_its_position() {
        let asks = SubscribeRequest { recoverable: true, positioned: true, ..SubscribeRequest::default() };
        let keeps =
            NamespaceOptions { history_size: 1, allow_subscribe_for_client: true, ..NamespaceOptions::default() };
        let (subscriber, client) = (
            NamespaceOptions { allow_history_for_subscriber: true, ..keeps.clone() },
            NamespaceOptions { allow_history_for_client: true, ..keeps.clone() },
        );
        for (rules, granted) in [(&keeps, false), (&subscriber, true), (&client, true)] {
            let grant = access(rules, "r", "42", false).grant(&asks);
            assert_eq!((grant.recoverable, grant.positioned), (granted, granted), "{rules:?}");
            let silent = access(rules, "r", "42", false).grant(&SubscribeRequest::default());
            assert!(!silent.recoverable && !silent.positioned, "nothing was asked for: {rules:?}");
            let anonymous = access(rules, "r", "", false).grant(&asks);
            assert!(
                !anonymous.recoverable && !anonymous.positioned,
                "the history is not for anonymous ones: {rules:?}"
            );
        }
        let nothing_to_read = NamespaceOptions { history_size: 0, ..subscriber.clone() };
        assert!(!access(&nothing_to_read, "r", "42", false).grant(&asks).recoverable);
    }

    #[test]
    fn who_may_not_see_presence_hears_nobody_come_and_go_unless_everybody_does() {
        let asks = SubscribeRequest { join_leave: true, ..SubscribeRequest::default() };
        let told = NamespaceOptions {
            presence: true,
            join_leave: true,
            allow_subscribe_for_client: true,
            ..NamespaceOptions::default()
        };
        let hears = |options: &NamespaceOptions, user: &str| {
            access(options, "r", user, false).grant(&asks).membership.hears_join_leave
        };
        assert!(!hears(&told, "42"));
        for seen in [
            NamespaceOptions { allow_presence_for_client: true, ..told.clone() },
            NamespaceOptions { allow_presence_for_subscriber: true, ..told.clone() },
        ] {
            assert!(hears(&seen, "42"));
            assert!(!hears(&seen, ""), "presence is not for anonymous ones");
            assert!(hears(&NamespaceOptions { allow_presence_for_anonymous: true, ..seen.clone() }, ""));
        }
        assert!(
            hears(&NamespaceOptions { force_push_join_leave: true, ..told.clone() }, ""),
            "the room tells everybody"
        );
    }

    #[test]
    fn who_is_not_to_be_told_of_hears_of_others() {
        let told = NamespaceOptions { join_leave: true, force_push_join_leave: true, ..NamespaceOptions::default() };
        let quiet = NamespaceOptions { join_leave: false, ..told.clone() };
        let [off, on] = [false, true].map(|is_told| Overrides { join_leave: Some(is_told), ..Overrides::default() });
        for (options, overrides, expected) in [
            (&told, Overrides::default(), (true, true)),
            (&told, off, (false, true)),
            (&quiet, Overrides::default(), (false, false)),
            (&quiet, on, (true, true)),
            (&quiet, Overrides { force_push_join_leave: Some(true), ..Overrides::default() }, (false, true)),
        ] {
            let request = SubscribeRequest::default();
            let granted = access(options, "r", "42", false).grant_with(&request, overrides).membership;
            assert_eq!((granted.announced, granted.hears_join_leave), expected, "{options:?} {overrides:?}");
        }
    }

    #[test]
    fn what_is_outside_the_subset_is_refused() {
        let open = NamespaceOptions { allow_subscribe_for_client: true, ..NamespaceOptions::default() };
        let ask = |request: SubscribeRequest| access(&open, "r", "42", false).subscribe(&request).map(drop);
        assert_eq!(ask(SubscribeRequest { kind: 1, ..SubscribeRequest::default() }), Err(ErrorCode::NotAvailable));
        assert_eq!(
            ask(SubscribeRequest { filter: FilterWish::Malformed, ..SubscribeRequest::default() }),
            Err(ErrorCode::BadRequest)
        );
    }
}
