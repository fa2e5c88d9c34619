//! A message that contains a room of its own kind, as an invitation does.

use futures::executor::block_on;
use roomcast::{Broker, Room};

enum Message {
    Text(&'static str),
    Invitation(Room<Self>),
}

#[test]
fn a_message_may_carry_a_room_of_its_kind() {
    let broker = Broker::<Message>::new();
    let (lobby, parlour) = (broker.room("lobby").unwrap(), broker.room("parlour").unwrap());
    let mut guest = lobby.subscribe().now().unwrap();
    lobby.publish(Message::Invitation(parlour.clone())).ok().unwrap();
    let invited = match &*block_on(guest.recv_ref()).unwrap() {
        Message::Invitation(room) => room.clone(),
        Message::Text(text) => panic!("an invitation was expected, not {text}"),
    };
    assert_eq!(invited, parlour);
    let mut inside = invited.subscribe().now().unwrap();
    parlour.publish(Message::Text("welcome")).ok().unwrap();
    assert!(matches!(*inside.try_recv_ref().unwrap(), Message::Text("welcome")));
}
