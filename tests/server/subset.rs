//! What of the protocol is not served says so, and what is served goes as clients of the protocol know it.

use roomcast_server::config::NamespaceOptions;

use crate::harness::{Running, number, publish, text};

/// A server with a namespace for each thing that may be looked at.
fn server() -> Running {
    Running::with(|config| {
        let options = |change: &dyn Fn(&mut NamespaceOptions)| {
            let mut options = NamespaceOptions::dev();
            change(&mut options);
            options
        };
        let told = |options: &mut NamespaceOptions| {
            options.allow_presence_for_client = false;
            options.allow_presence_for_subscriber = false;
            options.force_push_join_leave = false;
        };
        let read = |options: &mut NamespaceOptions| {
            (options.allow_recovery, options.force_recovery) = (false, false);
            (options.allow_positioning, options.force_positioning) = (false, false);
        };
        let namespaces = [
            ("told", options(&told)),
            (
                "seen",
                options(&|options| {
                    told(options);
                    options.allow_presence_for_subscriber = true;
                }),
            ),
            ("read", options(&read)),
            (
                "shut",
                options(&|options| {
                    read(options);
                    options.allow_history_for_client = false;
                    options.allow_history_for_subscriber = false;
                }),
            ),
        ];
        config.channel.namespaces.extend(namespaces.map(|(name, options)| (name.to_owned(), options)));
    })
}

#[test]
fn comings_and_goings_are_told_to_those_who_may_see_presence() {
    let server = server();
    for (room, is_told) in [("told:1", false), ("seen:1", true)] {
        let mut ann = server.connected("Ann");
        ann.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"{room}","join_leave":true}}}}"#));
        assert!(ann.reply(2).get("subscribe").is_some());
        ann.send(&format!(r#"{{"id":3,"presence":{{"channel":"{room}"}}}}"#));
        assert_eq!(ann.reply(3).get("presence").is_some(), is_told, "{room}");
        let mut bob = server.member("Bob", room);
        bob.publish(3, room, "1");
        bob.send(&format!(r#"{{"id":4,"unsubscribe":{{"channel":"{room}"}}}}"#));
        bob.reply(4);
        bob.publish(5, room, "2");
        let mut told = Vec::new();
        let mut published = 0;
        while published < 2 || is_told && told.last() != Some(&("leave", bob.id.clone())) {
            let push = ann.push();
            published += usize::from(push.get("pub").is_some());
            let heard = ["join", "leave"].into_iter().filter_map(|what| Some((what, push.get(what)?)));
            told.extend(heard.map(|(what, event)| (what, text(&event["info"]["client"]).to_owned())));
        }
        // Whatever was said would come before this.
        ann.send(r#"{"id":4,"ping":{}}"#);
        ann.reply(4);
        assert!(ann.pushes.iter().all(|push| push.get("pub").is_some()), "{:?}", ann.pushes);
        assert_eq!(told.contains(&("join", bob.id.clone())), is_told, "{told:?}");
        assert_eq!(told.is_empty(), !is_told, "{told:?}");
    }
}

#[test]
fn who_may_read_the_history_may_recover() {
    let server = server();
    for (room, granted) in [("read:1", true), ("shut:1", false)] {
        let mut ann = server.connected("Ann");
        ann.send(&format!(
            r#"{{"id":2,"subscribe":{{"channel":"{room}","recoverable":true,"positioned":true,"recover":true,"offset":7,"epoch":"x"}}}}"#
        ));
        let reply = ann.reply(2)["subscribe"].clone();
        assert_eq!((reply["recoverable"] == true, reply["positioned"] == true), (granted, granted), "{reply}");
        assert_eq!((&reply["was_recovering"], reply.get("recovered")), (&true.into(), None), "{reply}");
    }
}

#[test]
fn a_private_room_is_one_of_its_namespace() {
    let server = server();
    let mut ann = server.connected("Ann");
    ann.send(r#"{"id":2,"subscribe":{"channel":"$shut:1","recoverable":true}}"#);
    let reply = ann.reply(2);
    assert_eq!(reply["subscribe"], serde_json::json!({}), "the options of its namespace: {reply}");
    ann.publish(3, "$shut:1", "1");
    assert_eq!(number(&ann.publication()["data"]), 1);

    // Only a token opens it where anything needs one.
    let strict = Running::with(|config| {
        config.dev = false;
        config.channel.namespaces.insert("chat".to_owned(), NamespaceOptions::dev());
    });
    let mut bob = strict.connected("Bob");
    for (room, code) in [("$chat:1", 103), ("$none:1", 102)] {
        bob.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"{room}"}}}}"#));
        assert_eq!(bob.reply(2)["error"]["code"], code, "{room}");
    }
    bob.subscribe(3, "chat:1");
}

/// A room that has to be looked up in the database: the answers take their time.
#[test]
fn what_stands_before_a_bad_line_is_answered() {
    let server = server();
    for bad in ["nonsense", "{}", r#"{"id":9,"connect":{}}"#] {
        let mut ann = server.connected("Ann");
        ann.send(&format!(
            "{}\n{}\n{bad}",
            r#"{"id":2,"subscribe":{"channel":"fresh"}}"#, r#"{"id":3,"history":{"channel":"fresher"}}"#
        ));
        assert!(ann.reply(2).get("subscribe").is_some(), "before {bad}");
        assert!(ann.reply(3).get("history").is_some(), "before {bad}");
        assert_eq!(ann.closed().0, 3501, "{bad}");
    }
}

#[test]
fn connect_and_a_subscribe_for_every_room_fit_into_one_message() {
    let server = Running::with(|config| config.client.channel_limit = 1_200);
    let mut ann = server.client();
    let subscribes = (2..1_202).map(|id| format!(r#"{{"id":{id},"subscribe":{{"channel":"{id}"}}}}"#));
    let commands: Vec<String> = std::iter::once(r#"{"id":1,"connect":{}}"#.to_owned()).chain(subscribes).collect();
    ann.send(&commands.join("\n"));
    for id in 1..1_202 {
        assert!(ann.reply(id).get("error").is_none(), "{id}");
    }
}

#[test]
fn half_an_emoji_spoils_its_command_alone() {
    let server = server();
    let mut ann = server.member("Ann", "hall");
    for command in [
        r#""subscribe":{"channel":"\ud83d"}"#,
        r#""publish":{"channel":"\ude00","data":1}"#,
        r#""rpc":{"method":"\ud83d"}"#,
        r#""history":{"channel":"hall","since":{"epoch":"\ud83d"}}"#,
    ] {
        ann.send(&format!(r#"{{"id":7,{command}}}"#));
        assert_eq!(ann.reply(7)["error"]["code"], 107, "{command}");
    }
    ann.publish(8, "hall", "1");
}

#[test]
fn rooms_bear_names_of_any_language() {
    let server = server();
    let mut ann = server.connected("Ann");
    for (id, room) in (2..).zip(["küche", "комната", "部屋", "🛋️"]) {
        ann.subscribe(id, room);
        ann.send(&publish(id + 10, room, "1"));
        let pushed = loop {
            let heard = ann.object();
            if heard["push"].get("pub").is_some() {
                break heard["push"]["channel"].clone();
            }
        };
        assert_eq!(pushed, room);
    }
}

/// However many of them stand in one frame.
#[test]
fn each_leaving_and_entering_is_told() {
    const CYCLES: u32 = 5;
    let server = server();
    let mut ann = server.member("Ann", "hall");
    let mut bob = server.member("Bob", "hall");
    let cycle = |at: u32| {
        let id = 10 + 2 * at;
        let leave = format!(r#"{{"id":{id},"unsubscribe":{{"channel":"hall"}}}}"#);
        format!("{leave}\n{}", format_args!(r#"{{"id":{},"subscribe":{{"channel":"hall"}}}}"#, id + 1))
    };
    bob.send(&(0..CYCLES).map(cycle).collect::<Vec<_>>().join("\n"));
    for id in 10..10 + 2 * CYCLES {
        assert!(bob.reply(id).get("error").is_none(), "{id}");
    }
    let mut told = Vec::new();
    while told.len() < 1 + 2 * CYCLES as usize {
        let push = ann.push();
        let heard = ["join", "leave"].into_iter().find_map(|what| Some((what, push.get(what)?)));
        let (what, event) = heard.unwrap_or_else(|| panic!("{push}"));
        if event["info"]["client"] == bob.id.as_str() {
            told.push(what);
        }
    }
    let expected: Vec<_> = std::iter::once("join").chain(["leave", "join"].repeat(CYCLES as usize)).collect();
    assert_eq!(told, expected);
}
