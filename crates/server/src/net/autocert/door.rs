//! Where an authority asks over HTTP whether a name leads here. Everybody else is sent to `https`; nothing else is answered.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::{Autocert, CHALLENGES};

/// Connections at once; of more, the oldest is given up: whoever asks in earnest is done at once.
const CONNECTIONS_MAX: usize = 256;
/// How long one may last.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes and lines of a request's head.
const HEAD_BYTES_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;
/// How long to wait when the process has no descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// How long until it is tried again to listen: the process before this one may still do so.
const BIND_PAUSE: Duration = Duration::from_secs(5);

/// Listens for as long as the server runs.
pub(super) async fn keep(address: SocketAddr, all: Arc<Autocert>) {
    let mut is_said = false;
    let listener = loop {
        match bind(address).await {
            Ok(listener) => break listener,
            Err(error) if !is_said => {
                is_said = true;
                tracing::error!(%address, %error, "cannot listen at `http_server.tls_autocert.http_addr`, where certificates are \
                    asked for; it is tried again");
            }
            Err(_) => {}
        }
        tokio::time::sleep(BIND_PAUSE).await;
    };
    tracing::info!(%address, "answering authorities that ask for names, and sending others to https");
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() >= CONNECTIONS_MAX
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                let all = Arc::clone(&all);
                let serving = tokio::spawn(async move { tokio::time::timeout(TIMEOUT, serve(stream, &all)).await });
                open.push_back(serving.abort_handle());
            }
            Err(_) => tokio::time::sleep(EXHAUSTED_PAUSE).await,
        }
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        // A machine without IPv6.
        Err(error)
            if address.ip().is_unspecified() && address.is_ipv6() && error.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await.map_err(|_| error)
        }
        bound => bound,
    }
}

async fn serve(mut stream: TcpStream, all: &Autocert) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let answer = loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        match answer(&head, all) {
            Some(answer) => break answer,
            None if head.len() > HEAD_BYTES_MAX => {
                break text("431 Request Header Fields Too Large", "", "that is too much\n");
            }
            None => {}
        }
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// What a request is answered with; nothing while its head is not whole.
fn answer(head: &[u8], all: &Autocert) -> Option<String> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return None,
        Err(_) => return Some(text("400 Bad Request", "", "that is no request\n")),
    }
    if !matches!(request.method, Some("GET" | "HEAD")) {
        return Some(text("405 Method Not Allowed", "allow: GET, HEAD\r\n", "use https\n"));
    }
    let path = request.path.unwrap_or_default();
    if path.starts_with(CHALLENGES) {
        return Some(match all.answer(path) {
            Some(proof) => text("200 OK", "", &proof),
            None => text("404 Not Found", "", "nothing is asked here now\n"),
        });
    }
    let host = request.headers.iter().find(|line| line.name.eq_ignore_ascii_case("host"));
    let host = host.and_then(|line| std::str::from_utf8(line.value).ok()).unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default();
    if !all.is_ours(name) || !path.starts_with('/') {
        return Some(text("404 Not Found", "", "there is nothing here\n"));
    }
    let location = format!("location: https://{}{path}\r\n", name.to_ascii_lowercase());
    Some(text("302 Found", &location, "use https\n"))
}

fn text(status: &str, more: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\n\
         content-length: {}\r\nconnection: close\r\n{more}\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn nothing_is_answered_but_what_an_authority_asks_and_where_to_go() {
        let names = vec!["chat.example".to_owned()];
        let options = config::Autocert { host_whitelist: names, ..config::Autocert::default() };
        let all = Autocert::new(&options, &std::env::temp_dir().join("roomcast-autocert-nowhere"));
        let asked = |path: &str, host: &str| {
            answer(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(), &all).unwrap()
        };
        let challenge = format!("{CHALLENGES}token");
        assert!(asked(&challenge, "chat.example").starts_with("HTTP/1.1 404 "));
        let answered = all.answer_http("token", "token.thumbprint");
        assert!(asked(&challenge, "chat.example").ends_with("\r\n\r\ntoken.thumbprint"));
        assert!(asked(&format!("{challenge}s"), "chat.example").starts_with("HTTP/1.1 404 "));
        drop(answered);
        assert!(
            asked(&challenge, "chat.example").starts_with("HTTP/1.1 404 "),
            "it is answered no longer than it is asked"
        );

        let sent = asked("/a?b=c", "Chat.Example:80");
        assert!(
            sent.starts_with("HTTP/1.1 302 ") && sent.contains("\r\nlocation: https://chat.example/a?b=c\r\n"),
            "{sent}"
        );
        for (path, host) in
            [("/", "evil.example"), ("/", ""), ("http://evil.example/", "chat.example"), ("*", "chat.example")]
        {
            assert!(asked(path, host).starts_with("HTTP/1.1 404 "), "{path} {host}");
        }
        assert_eq!(answer(b"GET / HTTP/1.1\r\nHost: chat.example\r\n", &all), None, "more may come");
        assert!(answer(b"\x16\x03\x01\x02\r\n\r\n", &all).unwrap().starts_with("HTTP/1.1 400 "));
        assert!(answer(b"POST / HTTP/1.1\r\n\r\n", &all).unwrap().starts_with("HTTP/1.1 405 "));
    }
}
