//! The walk through all permissions: who, with which token, before which room, under which options, may do what. What is expected
//! is said here once more, in other words than the code has.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Harness, entered};
use crate::auth::Tokens;
use crate::auth::tools::make_claims;
use crate::callbacks::Answer;
use crate::config::{Config, NamespaceOptions, Secret, TokenOptions};
use crate::session::access::permitting;
use crate::session::settings::ByNamespace;
use crate::session::{Action, MembershipGrant, Settings};
use roomcast_protocol::HistoryResult;

const NOW_S: u64 = 1_800_000_000;
const ROOMS: [&str; 4] = ["walk:r", "$walk:r", "walk:r#42,43", "$walk:r#42,43"];
/// Nobody, two whom the limited rooms are for, and one whom they are not.
const USERS: [&str; 4] = ["", "42", "43", "7"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Brings {
    Nothing,
    Good,
    Expired,
    OfAnotherSigner,
    OfAnotherRoom,
    OfAnotherUser,
}

const TOKENS: [Brings; 6] = [
    Brings::Nothing,
    Brings::Good,
    Brings::Expired,
    Brings::OfAnotherSigner,
    Brings::OfAnotherRoom,
    Brings::OfAnotherUser,
];

/// Who may do something: the three options of it.
#[derive(Clone, Copy, Debug)]
struct Allowed {
    client: bool,
    subscriber: bool,
    anonymous: bool,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    subscribe: bool,
    subscribe_anonymous: bool,
    limited: bool,
    allowed: Allowed,
    room: &'static str,
    user: &'static str,
    brings: Brings,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    In,
    Error(u64),
    Closed(u16),
}

impl Case {
    fn options(&self) -> NamespaceOptions {
        let Allowed { client, subscriber, anonymous } = self.allowed;
        NamespaceOptions {
            join_leave: true,
            allow_user_limited_channels: self.limited,
            allow_subscribe_for_client: self.subscribe,
            allow_subscribe_for_anonymous: self.subscribe_anonymous,
            ..permitting(client, subscriber, anonymous)
        }
    }

    /// What `subscribe` comes to.
    fn expected(&self) -> Outcome {
        match self.brings {
            Brings::Good => return Outcome::In,
            Brings::Expired => return Outcome::Error(109),
            Brings::OfAnotherSigner => return Outcome::Error(103),
            Brings::OfAnotherRoom | Brings::OfAnotherUser => return Outcome::Closed(3500),
            Brings::Nothing => {}
        }
        if self.room.starts_with('$') {
            return Outcome::Error(103);
        }
        let is_one_of_them = ["42", "43"].contains(&self.user);
        let is_known = !self.user.is_empty();
        let enters = match self.limited && self.room.contains('#') {
            true => is_one_of_them,
            false if is_known => self.subscribe,
            false => self.subscribe && self.subscribe_anonymous,
        };
        if enters { Outcome::In } else { Outcome::Error(103) }
    }

    /// Whether it may publish, read the history and see who is there.
    fn may(&self, is_inside: bool) -> bool {
        let Allowed { client, subscriber, anonymous } = self.allowed;
        let is_kept_out =
            self.room.starts_with('$') || self.limited && self.room.contains('#') && !["42", "43"].contains(&self.user);
        match (self.user, is_inside) {
            ("", true) => anonymous && (client || subscriber),
            (_, true) => client || subscriber,
            (_, false) if is_kept_out => false,
            ("", false) => anonymous && client,
            (_, false) => client,
        }
    }
}

fn keys(secret: &str) -> TokenOptions {
    let mut options = Config::default().client.token;
    options.hmac_secret_key = Some(Secret::new(secret));
    options
}

fn token(secret: &str, claims: &Value) -> String {
    make_claims(&keys(secret), claims.as_object().cloned().unwrap_or_else(Map::new)).expect("a secret")
}

/// The token that is brought for a room.
fn brought(case: &Case) -> String {
    let good = json!({"sub": case.user, "channel": case.room});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    match case.brings {
        Brings::Nothing => String::new(),
        Brings::Good => token("secret", &good),
        Brings::Expired => token("secret", &with("exp", json!(NOW_S))),
        Brings::OfAnotherSigner => token("another", &good),
        Brings::OfAnotherRoom => token("secret", &with("channel", json!("walk:other"))),
        Brings::OfAnotherUser => token("secret", &with("sub", json!("another"))),
    }
}

fn unconnected(case: &Case) -> Harness {
    unconnected_with(case, |_| {})
}

fn unconnected_with(case: &Case, change: impl FnOnce(&mut Settings)) -> Harness {
    unconnected_where(case.options(), change)
}

fn unconnected_where(walk: NamespaceOptions, change: impl FnOnce(&mut Settings)) -> Harness {
    let mut client = Config::default().client;
    client.token = keys("secret");
    let rooms = HashMap::from([("walk", walk)]);
    let options = Box::new(ByNamespace { rooms, others: NamespaceOptions::default() });
    let mut settings = Settings::new("n1".to_owned(), options, Tokens::new(&client, || NOW_S * 1_000));
    change(&mut settings);
    Harness::opening(settings)
}

/// A connected client.
fn client(case: &Case) -> Harness {
    connected(unconnected(case), case)
}

fn connected(mut harness: Harness, case: &Case) -> Harness {
    let connect = json!({"id": 1, "connect": {"token": token("secret", &json!({"sub": case.user}))}});
    harness.send(&connect.to_string());
    assert!(harness.heard().last().is_some_and(|said| said.contains("connect")), "{case:?}");
    harness
}

/// Asks for everything that can be granted, and answers for the world.
fn subscribe(client: &mut Harness, case: &Case) -> (Outcome, Option<(Value, MembershipGrant)>) {
    let request = json!({"id": 2, "subscribe": {
        "channel": case.room, "token": brought(case), "recoverable": true, "positioned": true, "join_leave": true,
    }});
    client.send(&request.to_string());
    if let Some(Action::Subscribe { ticket, .. }) = client.actions.last() {
        let ticket = *ticket;
        client.session.subscribed(ticket, Ok(entered(3, &[])), &mut client.actions);
        let actions = client.actions();
        let [_, Action::Reply(_), Action::Activate { membership, .. }] = &actions[..] else { panic!("{actions:?}") };
        let reply: Value = serde_json::from_str(&super::describe(&actions[1])).expect("JSON");
        return (Outcome::In, Some((reply["subscribe"].clone(), *membership)));
    }
    let actions = client.actions();
    match &actions[..] {
        [Action::Close(code)] => (Outcome::Closed(code.code()), None),
        [reply] => {
            let reply: Value = serde_json::from_str(&super::describe(reply)).expect("JSON");
            (Outcome::Error(reply["error"]["code"].as_u64().expect("an error")), None)
        }
        other => panic!("{other:?}"),
    }
}

/// Whether each of the operations is done, or refused with 103.
fn does(client: &mut Harness, room: &str) -> Vec<bool> {
    let commands = [
        json!({"publish": {"channel": room, "data": 1}}),
        json!({"history": {"channel": room}}),
        json!({"presence": {"channel": room}}),
        json!({"presence_stats": {"channel": room}}),
    ];
    let mut done = Vec::new();
    for mut command in commands {
        command["id"] = json!(7);
        client.send(&command.to_string());
        let action = client.actions().pop().expect("something");
        let out = &mut client.actions;
        match &action {
            Action::Publish { ticket, .. } => client.session.published(*ticket, Ok(()), out),
            Action::History { ticket, .. } => client.session.history(*ticket, Ok(HistoryResult::default()), out),
            Action::Presence { ticket, .. } => client.session.presence(*ticket, Ok(Vec::new()), out),
            Action::PresenceStats { ticket, .. } => client.session.presence_stats(*ticket, Ok(Default::default()), out),
            refused => assert!(super::describe(refused).contains("\"code\":103"), "{refused:?}"),
        }
        done.push(!matches!(action, Action::Reply(_)));
        client.actions();
    }
    done
}

/// Names the room in its `connect` command; whether it is in it then.
fn connect_into(case: &Case, claims: &Value) -> bool {
    let mut client = unconnected(case);
    let connect = json!({"token": token("secret", claims), "subs": {case.room: {}}});
    client.send(&json!({"id": 1, "connect": connect}).to_string());
    if let Some(Action::Subscribe { ticket, .. }) = client.actions.last() {
        let ticket = *ticket;
        client.session.subscribed(ticket, Ok(entered(3, &[])), &mut client.actions);
    }
    let said = client.heard();
    let reply = said.iter().find(|said| said.starts_with('{')).expect("a reply");
    let reply: Value = serde_json::from_str(reply).expect("JSON");
    let is_in = reply["connect"]["subs"].get(case.room).is_some();
    assert_eq!(said.contains(&format!("activate {}", case.room)), is_in, "{case:?}");
    is_in
}

/// A client that names a room when it connects is in it where it might have subscribed to it without a token; one whose token puts
/// it there is in it whatever the room allows.
#[test]
fn who_connects_into_a_room_may_do_no_more_than_who_subscribes_to_it() {
    let allowed = Allowed { client: false, subscriber: true, anonymous: false };
    for bits in 0..8_u8 {
        let bit = |n: u8| bits & (1 << n) != 0;
        for (room, user) in ROOMS.iter().flat_map(|room| USERS.map(|user| (*room, user))) {
            let (subscribe, subscribe_anonymous, limited) = (bit(0), bit(1), bit(2));
            let brings = Brings::Nothing;
            let case = Case { subscribe, subscribe_anonymous, limited, allowed, room, user, brings };
            let may = case.expected() == Outcome::In;
            assert_eq!(connect_into(&case, &json!({"sub": user})), may, "{case:?}");
            assert!(connect_into(&case, &json!({"sub": user, "channels": [room]})), "{case:?}");
        }
    }
}

/// The room of a user is entered by its clients whatever the room allows, and by others as any room of users is.
#[test]
fn the_room_of_a_user_opens_to_others_as_the_options_say() {
    let allowed = Allowed { client: false, subscriber: true, anonymous: false };
    for bits in 0..8_u8 {
        let bit = |n: u8| bits & (1 << n) != 0;
        for user in USERS {
            let (subscribe_too, subscribe_anonymous, limited) = (bit(0), bit(1), bit(2));
            let (brings, room) = (Brings::Nothing, "walk:#42");
            let case = Case { subscribe: subscribe_too, subscribe_anonymous, limited, allowed, room, user, brings };
            let mut client = unconnected_with(&case, |settings| settings.personal_rooms = Some("walk:#".to_owned()));
            client.send(&json!({"id": 1, "connect": {"token": token("secret", &json!({"sub": user}))}}).to_string());
            let entering = client.actions.iter().any(|action| matches!(action, Action::Subscribe { .. }));
            assert_eq!(entering, !user.is_empty(), "{case:?}");
            if let Some(Action::Subscribe { ticket, room, .. }) = client.actions.last().cloned() {
                assert_eq!(room.as_str(), format!("walk:#{user}"));
                client.session.subscribed(ticket, Ok(entered(3, &[])), &mut client.actions);
            }
            client.actions();
            let outcome = subscribe(&mut client, &case).0;
            let expected = match user {
                // It is there.
                "42" => Outcome::Error(105),
                // The limit is to one user here.
                "43" if limited => Outcome::Error(103),
                _ => case.expected(),
            };
            assert_eq!(outcome, expected, "{case:?}");
        }
    }
}

#[test]
fn everybody_may_do_what_the_options_and_tokens_say_and_nothing_else() {
    let mut walked = 0;
    for bits in 0..64_u8 {
        let bit = |n: u8| bits & (1 << n) != 0;
        let allowed = Allowed { client: bit(0), subscriber: bit(1), anonymous: bit(2) };
        for (room, user) in ROOMS.iter().flat_map(|room| USERS.map(|user| (*room, user))) {
            for brings in TOKENS {
                let (subscribe_too, subscribe_anonymous, limited) = (bit(3), bit(4), bit(5));
                let case = Case { subscribe: subscribe_too, subscribe_anonymous, limited, allowed, room, user, brings };
                let mut client = client(&case);
                let (outcome, granted) = subscribe(&mut client, &case);
                assert_eq!(outcome, case.expected(), "{case:?}");
                walked += 1;
                if let Outcome::Closed(_) = outcome {
                    continue;
                }
                let is_inside = outcome == Outcome::In;
                assert_eq!(does(&mut client, room), [case.may(is_inside); 4], "{case:?}");
                if let Some((reply, membership)) = granted {
                    let may = case.may(true);
                    let told = [reply["recoverable"] == true, reply["positioned"] == true, membership.hears_join_leave];
                    assert_eq!(told, [may; 3], "{case:?}");
                }
            }
        }
    }
    assert_eq!(walked, 64 * 4 * 4 * 6);
}

/// Where the backend is asked, no option lets anybody in or has anybody publish, and it is asked of nobody whom a token or the name of
/// the room has let in or kept out.
#[test]
fn where_the_backend_is_asked_tokens_and_names_come_first_and_options_do_not_count() {
    let open = Allowed { client: true, subscriber: true, anonymous: true };
    for (room, user) in ROOMS.iter().flat_map(|room| USERS.map(|user| (*room, user))) {
        for (brings, limited) in TOKENS.into_iter().flat_map(|brings| [(brings, false), (brings, true)]) {
            let case = Case { subscribe: true, subscribe_anonymous: true, limited, allowed: open, room, user, brings };
            let asks =
                NamespaceOptions { subscribe_proxy_enabled: true, publish_proxy_enabled: true, ..case.options() };
            let mut client = connected(unconnected_where(asks.clone(), |_| {}), &case);
            let said_before = brings != Brings::Nothing || room.starts_with('$') || limited && room.contains('#');
            let request = json!({"id": 2, "subscribe": {"channel": room, "token": brought(&case)}});
            client.send(&request.to_string());
            let Some(Action::Ask { ticket, question }) = client.actions().pop() else {
                assert!(said_before, "{case:?}");
                let mut client = connected(unconnected_where(asks, |_| {}), &case);
                assert_eq!(subscribe(&mut client, &case).0, case.expected(), "{case:?}");
                continue;
            };
            assert!(!said_before, "{case:?}");
            assert_eq!(question.user.as_deref(), Some(user), "{case:?}");
            client.session.answered(ticket, Answer::Failed, &mut client.actions);
            assert!(super::describe(&client.actions().pop().expect("an error")).contains("\"code\":100"), "{case:?}");
            client.send(&json!({"id": 3, "publish": {"channel": room, "data": 1}}).to_string());
            let asked = client.actions().pop();
            assert!(matches!(asked, Some(Action::Ask { .. })), "{case:?}: {asked:?}");
        }
    }
}
