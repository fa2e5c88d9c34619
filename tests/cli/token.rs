//! Tokens at the command line.

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
