//! Tokens at the command line.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::{Refused as _, TempFile, roomcast, text};

fn config() -> TempFile {
    TempFile::new(
        "tokens.toml",
        "[client.token]\nhmac_secret_key = \"hush\"\naudience = \"chat\"\nuser_id_claim = \"user\"\n\
         [client.subscription_token]\nenabled = true\nhmac_secret_key = \"hush, too\"\n",
    )
}

fn said(arguments: &[&str]) -> String {
    let output = roomcast(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_token_that_is_made_is_good() {
    let config = config();
    let made = said(&["gentoken", "--config", config.path(), "-u", "42"]);
    assert!(made.starts_with("HMAC SHA-256 JWT for user \"42\" with expiration TTL 7days:\n"), "{made}");
    let token = said(&["gentoken", "-c", config.path(), "-u", "42", "-t", "-1", "-q"]);
    let checked = said(&["checktoken", "-c", config.path(), &token]);
    assert_eq!(checked, "valid token for user \"42\"\n");
    let token = said(&["gensubtoken", "-c", config.path(), "-u", "42", "-s", "$hall", "-q"]);
    let checked = said(&["checksubtoken", "-c", config.path(), token.trim()]);
    assert_eq!(checked, "valid subscription token for user \"42\" and channel \"$hall\"\n");
    let refused = roomcast(&["checktoken", "-c", config.path(), token.trim()]);
    assert_eq!(refused.status.code(), Some(1), "it is one for a room");
    let anonymous = said(&["gentoken", "-c", config.path(), "-t", "60"]);
    assert!(anonymous.starts_with("HMAC SHA-256 JWT for anonymous user with expiration TTL 1m:\n"), "{anonymous}");
}

#[test]
fn a_token_cannot_be_made_without_a_secret_or_for_no_time() {
    let said = roomcast(&["gentoken", "-u", "42"]).refused();
    assert!(said.contains("hmac_secret_key"), "{said}");
    for seconds in ["0", "-2"] {
        let said = roomcast(&["gentoken", "-c", config().path(), "-t", seconds]).refused();
        assert!(said.contains("expected seconds"), "{said}");
    }
    let output = roomcast(&["checktoken", "-c", config().path(), "x.y.z"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the token is invalid"), "{}", text(&output.stderr));
}

#[test]
fn a_token_is_checked_by_the_keys_that_its_issuer_publishes() {
    // RFC 8037, appendix A.4: what it signs is no claims, and that is seen by who has the key.
    let token = "eyJhbGciOiJFZERTQSIsImtpZCI6ImsifQ.e30.AAAA";
    let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let signed_by_none = "publishes no key by the name in the token that has signed it";
    for (body, expected) in [
        (set, signed_by_none),
        (r#"{"keys":[]}"#, signed_by_none),
        ("nonsense", "the keys of the issuer cannot be had"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // It ends with the process.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.read(&mut [0; 1024]);
                let length = body.len();
                let _ =
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            }
        });
        let file =
            TempFile::new("jwks.toml", &format!("[client.token]\njwks_public_endpoint = \"http://{address}/\"\n"));
        let output = roomcast(&["checktoken", "-c", file.path(), token]);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(expected), "{said}");
    }
}

#[test]
fn an_address_of_keys_that_a_token_could_choose_is_refused() {
    let check = |options: &str| {
        let endpoint = "jwks_public_endpoint = \"https://id.example/{{t}}/keys\"";
        let file = TempFile::new("jwks.toml", &format!("[client.token]\n{endpoint}\n{options}\n"));
        let output = roomcast(&["config", "check", file.path()]);
        (output.status.code(), text(&output.stderr))
    };
    assert_eq!(check("issuer_regex = \"^(?P<t>shop|forum)$\"").0, Some(0));
    assert_eq!(check("issuer_regex = \"(?P<t>.*)\"\ninsecure_skip_jwks_endpoint_safety_check = true").0, Some(0));
    for (options, expected) in [("", "is no group of"), ("issuer_regex = \"(?P<t>.*)\"", "choose among texts")] {
        let (code, said) = check(options);
        assert!(code == Some(2) && said.contains(expected) && said.contains("jwks.toml:2"), "{said}");
    }
}
