//! The same room over every transport and encoding.

use harness::measure::{Cases, Effort, Figure};

use super::{Spent, each};
use crate::contenders::{Contender, ROOMCAST};
use crate::fault::Fault;
use crate::load::Load;
use crate::wire::Wire;

const ROWS: [(&str, Wire); 5] = [
    ("WebSocket, JSON", Wire::Centrifugo),
    ("WebSocket, Protobuf", Wire::Protobuf),
    ("HTTP stream, JSON", Wire::Stream),
    ("HTTP stream, Protobuf", Wire::ProtobufStream),
    ("server-sent events", Wire::Events),
];

const MEMBERS: usize = 100;
const BYTES: usize = 128;
const IN_FLIGHT: usize = 32;

pub(super) fn add(cases: &mut Cases) {
    for (name, wire) in ROWS {
        each(cases, "transports", name, &[ROOMCAST], move |contender, effort| measure(contender, effort, wire));
    }
}

fn measure(contender: Contender, effort: Effort, wire: Wire) -> Result<Vec<Figure>, Fault> {
    let server = contender.start()?;
    // Commands of emulated connections take another way, which is not what is measured.
    let mut load = Load::new(server.address(), wire)?.published_over(contender.wire);
    load.add_room("room", BYTES, IN_FLIGHT, MEMBERS)?;
    let spent = Spent::steadily(&server, &mut load, effort)?;
    Ok(spent.figures())
}
