//! The site's backend as far as it is asked: about who enters rooms, and what is published there. It is slow, it fails, it says no.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::dice::Dice;
use crate::backend::double::Asked;
use crate::backend::{Answer, CallError};

/// The code that it says no with.
pub(super) const NO: u64 = 1_000;

const YES: &str = "{\"result\":{}}";

/// What it has said.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The messages that clients may publish.
    messages: BTreeSet<u64>,
    /// Whether a client may enter a room, as it was asked last.
    clients: BTreeMap<(String, String), bool>,
    /// It answers at once, and says yes.
    pub(super) is_well: bool,
}

impl Said {
    pub(super) fn allows_message(&self, number: u64) -> bool {
        self.messages.contains(&number)
    }

    pub(super) fn allows_client(&self, client: &str, room: &str) -> bool {
        self.clients.get(&(client.to_owned(), room.to_owned())).copied().unwrap_or(false)
    }

    fn note(&mut self, question: &Value, is_allowed: bool) {
        let text = |name: &str| question[name].as_str().unwrap_or_default().to_owned();
        match question["data"]["n"].as_u64() {
            Some(number) if is_allowed => drop(self.messages.insert(number)),
            Some(_) => {}
            None => drop(self.clients.insert((text("client"), text("channel")), is_allowed)),
        }
    }
}

/// Answers all that is asked, each in its time or never.
pub(super) async fn answer_forever(mut calls: UnboundedReceiver<Asked>, said: Rc<RefCell<Said>>, mut dice: Dice) {
    while let Some((call, answer)) = calls.recv().await {
        let question: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let late = Duration::from_millis(dice.weighed(&[(10, 0), (5, 3), (3, 200), (1, 990), (1, 5_000)]));
        let (status, text) = dice.weighed(&[
            (14, (StatusCode::OK, YES)),
            (4, (StatusCode::OK, "{\"error\":{\"code\":1000,\"message\":\"no\"}}")),
            (1, (StatusCode::INTERNAL_SERVER_ERROR, "")),
            (1, (StatusCode::OK, "not what was asked for")),
        ]);
        let is_broken = dice.percent(5);
        let said = Rc::clone(&said);
        let (late, status, text, is_broken) = match said.borrow().is_well {
            true => (Duration::ZERO, StatusCode::OK, YES, false),
            false => (late, status, text, is_broken),
        };
        said.borrow_mut().note(&question, false);
        spawn_local(async move {
            sleep(late).await;
            let is_allowed = !is_broken && text.contains("result");
            // Before anybody is told: who comes too late was not heard.
            if answer.is_closed() {
                return;
            }
            said.borrow_mut().note(&question, is_allowed);
            let body = text.into();
            // It may have been given up.
            let _ = answer.send(match is_broken {
                true => Err(CallError::Broken("in the midst".to_owned())),
                false => Ok(Answer { status, headers: HeaderMap::new(), body, _memory: None }),
            });
        });
    }
}
