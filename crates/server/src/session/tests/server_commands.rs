//! What the server wants of a session without the client having asked.

use super::{Harness, dev_settings, entered};
use crate::session::server_command::ServerCommand;
use roomcast_protocol::{CloseCode, ConnectResult, ErrorCode, RoomName, UnsubscribeCode};

pub(super) fn subscribe(room: &str) -> ServerCommand {
    ServerCommand::Subscribe { room: name(room), options: None }
}

pub(super) fn unsubscribe(room: &str) -> ServerCommand {
    ServerCommand::Unsubscribe { room: name(room), code: UnsubscribeCode::Server }
}

fn name(room: &str) -> RoomName {
    RoomName::parse(room, 255).expect("a name")
}

impl Harness {
    pub(super) fn command(&mut self, command: ServerCommand) {
        self.session.command(command, &mut self.actions);
    }
}

const OUT: &str = r#"{"push":{"channel":"hall","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#;

#[test]
fn a_client_is_put_into_a_room_and_taken_out_again() {
    let mut client = Harness::connected();
    client.command(subscribe("hall"));
    let ticket = client.ticket();
    client.assert_heard(&["subscribe hall"]);
    client.session.subscribed(ticket, Ok(entered(3, &[])), &mut client.actions);
    client.assert_heard(&[
        r#"{"push":{"channel":"hall","subscribe":{"recoverable":true,"positioned":true,"epoch":"e","offset":3}}}"#,
        "activate hall",
    ]);
    client.command(subscribe("hall"));
    client.assert_heard(&[]);
    client.command(unsubscribe("hall"));
    let ticket = client.ticket();
    client.assert_heard(&["unsubscribe hall"]);
    client.session.unsubscribed(ticket, &mut client.actions);
    client.assert_heard(&[OUT]);
    client.command(unsubscribe("hall"));
    client.assert_heard(&[]);
}

#[test]
fn the_server_opens_rooms_that_the_client_may_not_enter_by_itself() {
    let mut client = Harness::connected();
    client.assert_error(r#"{"id":2,"subscribe":{"channel":"shut:a"}}"#, ErrorCode::PermissionDenied);
    client.command(subscribe("shut:a"));
    client.assert_heard(&["subscribe shut:a"]);
    let mut client = Harness::connected();
    client.command(subscribe("none:a"));
    client.assert_heard(&[]);
}

#[test]
fn a_command_of_the_server_waits_behind_the_clients() {
    let mut client = Harness::connected();
    client.send("{\"id\":2,\"subscribe\":{\"channel\":\"hall\"}}");
    let ticket = client.ticket();
    client.command(unsubscribe("hall"));
    client.assert_heard(&["subscribe hall"]);
    assert!(!client.session.wants_frames(), "it waits for what was said before");
    client.session.subscribed(ticket, Ok(entered(0, &[])), &mut client.actions);
    let ticket = client.ticket();
    assert_eq!(client.heard()[1..], ["activate hall", "unsubscribe hall"]);
    client.session.unsubscribed(ticket, &mut client.actions);
    client.assert_heard(&[OUT]);
    assert!(client.session.wants_frames());
}

#[test]
fn a_client_that_cannot_be_put_in_hears_nothing_of_it() {
    let mut client = Harness::connected();
    client.command(subscribe("hall"));
    let ticket = client.ticket();
    client.command(subscribe("yard"));
    client.heard();
    client.session.subscribed(ticket, Err(ErrorCode::Internal), &mut client.actions);
    client.assert_heard(&["subscribe yard"]);
}

#[test]
fn only_a_connected_client_is_commanded() {
    let mut client = Harness::opening(dev_settings());
    client.command(subscribe("hall"));
    client.assert_heard(&[]);
    let mut client = Harness::connected();
    client.session.close(CloseCode::Closed, &mut Vec::new());
    client.command(subscribe("hall"));
    client.assert_heard(&[]);
}

#[test]
fn more_rooms_than_a_client_may_be_in_end_it() {
    let mut settings = dev_settings();
    settings.limits.rooms_per_client_max = 1;
    let mut client = Harness::connected_with(settings);
    client.join("hall");
    client.command(subscribe("yard"));
    client.assert_closed(CloseCode::RoomLimit);
}

#[test]
fn commands_that_wait_are_bounded() {
    let mut settings = dev_settings();
    settings.limits.commands_per_frame_max = 2;
    let mut client = Harness::connected_with(settings);
    client.command(subscribe("hall"));
    for _ in 0..2 + 64 {
        client.command(unsubscribe("hall"));
    }
    client.assert_heard(&["subscribe hall"]);
    client.command(unsubscribe("hall"));
    client.assert_closed(CloseCode::ServerError);
}

#[test]
fn a_client_with_a_user_is_made_known() {
    let mut client = Harness::opening(dev_settings());
    assert_eq!(client.session.user(), "");
    let result = ConnectResult::default();
    client.session.open(1, ("ann".to_owned(), None), result, Vec::new(), Vec::new(), &mut client.actions);
    assert_eq!(client.heard()[0], "identify");
    client.session.close(CloseCode::Closed, &mut Vec::new());
    assert_eq!(client.session.user(), "ann", "that it leaves is to be said");
}
