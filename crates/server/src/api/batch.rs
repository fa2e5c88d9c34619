//! Several commands in one request.

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::spawn_local;

use super::answer::{ApiError, Failed, json, wrap};
use super::messages::{BatchRequest, Command};
use super::{ANSWER_BYTES_MAX, Api, COUNT_MAX};
use roomcast_protocol::ErrorCode;

/// Commands that are done at the same time. As many answers wait for each other.
const PARALLEL_MAX: usize = 64;

/// Methods whose answers are short, however much there is: only they are done at the same time.
const SHORT: [&str; 6] = ["publish", "broadcast", "subscribe", "unsubscribe", "disconnect", "refresh"];

pub(super) async fn batch(api: &Api, request: BatchRequest) -> Result<Vec<u8>, Failed> {
    let BatchRequest { commands, parallel } = request;
    if commands.len() > COUNT_MAX {
        return Err(ErrorCode::LimitExceeded.into());
    }
    let mut replies = Replies::default();
    let mut commands = commands.into_iter();
    loop {
        let together: Vec<_> = commands.by_ref().take(if parallel { PARALLEL_MAX } else { 1 }).collect();
        if together.is_empty() {
            break;
        }
        let mut begun = Vec::new();
        for command in together {
            let is_short = command.iter().flat_map(Command::keys).all(|method| SHORT.contains(&method.as_str()));
            if parallel && is_short && !replies.is_full() {
                let api = api.clone();
                begun.push(Begun::There(spawn_local(async move { reply(&api, command).await })));
            } else {
                begun.push(Begun::Here(command));
            }
        }
        for command in begun {
            let reply = match command {
                Begun::There(task) => task.await.unwrap_or_else(|_| error(ErrorCode::Internal)),
                Begun::Here(_) if replies.is_full() => error(ErrorCode::LimitExceeded),
                Begun::Here(command) => reply(api, command).await,
            };
            replies.push(reply);
        }
        tokio::task::yield_now().await;
    }
    Ok(wrap("replies", &[b"[", &replies.json[..], b"]"].concat()))
}

enum Begun {
    There(tokio::task::JoinHandle<Vec<u8>>),
    Here(Option<Command>),
}

/// Answers one behind the other, as many bytes as fit.
#[derive(Default)]
struct Replies {
    json: Vec<u8>,
}

impl Replies {
    /// Whether nothing more is to be asked.
    fn is_full(&self) -> bool {
        self.json.len() >= ANSWER_BYTES_MAX / 2
    }

    fn push(&mut self, reply: Vec<u8>) {
        if !self.json.is_empty() {
            self.json.push(b',');
        }
        let fits = self.json.len() + reply.len() <= ANSWER_BYTES_MAX / 4 * 3 || reply.len() <= 1_024;
        self.json.extend(if fits { reply } else { error(ErrorCode::LimitExceeded) });
    }
}

fn error(code: ErrorCode) -> Vec<u8> {
    wrap("error", &json(&ApiError::from(code)))
}

/// Does a command of a batch.
async fn reply(api: &Api, command: Option<Command>) -> Vec<u8> {
    let command = command.filter(|command| command.len() == 1).and_then(|mut command| command.pop_first());
    let Some((method, body)) = command.filter(|(method, _)| method != "batch") else {
        return error(ErrorCode::BadRequest);
    };
    match api.call(&method, body.get()).await {
        Ok(result) => wrap(&method, &result),
        Err(failed) => wrap("error", &json(&failed.error())),
    }
}

/// A command in the form that is older than methods in paths.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: u64,
    method: String,
    params: Option<Box<RawValue>>,
}

/// Does the commands of a body that has one behind the other.
///
/// # Errors
/// What is wrong with it; then nothing is done.
pub(super) async fn lines(api: &Api, body: &str) -> Result<Vec<u8>, String> {
    let mut commands = Vec::new();
    for line in serde_json::Deserializer::from_str(body).into_iter::<Box<RawValue>>() {
        let line = line.and_then(|line| super::shape::object::<Line>(line.get()));
        commands.push(line.map_err(|error| format!("send {{\"method\":…,\"params\":…}}, one a line: {error}\n"))?);
        if commands.len() > COUNT_MAX {
            return Err(format!("at most {COUNT_MAX} commands in one request\n"));
        }
    }
    if commands.is_empty() {
        return Err("send {\"method\":…,\"params\":…}, one a line\n".to_owned());
    }
    let mut answers = Vec::new();
    for Line { id, method, params } in commands {
        let done = match answers.len() >= ANSWER_BYTES_MAX {
            true => Err(Failed::TOO_LONG),
            false => api.call(&method, params.as_ref().map_or("{}", |params| params.get())).await,
        };
        let answer = match done {
            Ok(result) => wrap("result", &result),
            Err(failed) => wrap("error", &json(&failed.error())),
        };
        if id > 0 {
            answers.extend_from_slice(format!("{{\"id\":{id},").as_bytes());
            answers.extend_from_slice(&answer[1..]);
        } else {
            answers.extend(answer);
        }
        answers.push(b'\n');
    }
    Ok(answers)
}
