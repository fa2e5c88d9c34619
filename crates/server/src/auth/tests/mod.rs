//! Tokens that are good, and all the ways in which they are not.

pub(crate) mod issuer;
mod vectors;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{ConnectionToken, Expiry, Overrides, RoomClaims, TokenError, Tokens};
use crate::config::Echo;
use crate::config::{Client, Config, PublicKey, Secret};
use crate::util::signature::Algorithm;

const NOW_S: u64 = 1_800_000_000;
const SECRET: &str = "a secret that both know";

fn client() -> Client {
    let mut client = Config::default().client;
    client.token.hmac_secret_key = Some(Secret::new(SECRET));
    client
}

fn tokens(client: &Client) -> Tokens {
    Tokens::new(client, || NOW_S * 1_000)
}

fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token whose header and claims are these texts, signed by `secret`.
fn signed(header: &str, claims: &str, algorithm: Algorithm, secret: impl AsRef<[u8]>) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = Secret::new(secret).sign(algorithm, message.as_bytes()).expect("an HMAC");
    format!("{message}.{}", encode(signature))
}

fn token(claims: &Value) -> String {
    token_of(&claims.to_string())
}

fn token_of(claims: &str) -> String {
    signed(r#"{"alg":"HS256"}"#, claims, Algorithm::Hs256, SECRET)
}

fn connect(claims: &Value) -> Result<ConnectionToken, TokenError> {
    tokens(&client()).connection(&token(claims))
}

#[test]
fn a_good_token_says_who_somebody_is() {
    let token = connect(&json!({
        "sub": "42", "exp": NOW_S + 60, "iat": NOW_S, "nbf": NOW_S, "jti": "1", "aud": ["a", "b"], "iss": "x",
        "info": {"name": "Ann"}, "meta": {"role": "admin"}, "unheard_of": [1, 2],
    }));
    let expected = ConnectionToken {
        user: "42".to_owned(),
        info: Some(r#"{"name":"Ann"}"#.into()),
        meta: Some(r#"{"role":"admin"}"#.into()),
        expiry: Expiry::InMs(60_000),
        rooms: Vec::new(),
    };
    assert_eq!(token, Ok(expected));
    let anonymous = connect(&json!({})).expect("good");
    assert_eq!((anonymous.user.as_str(), anonymous.info, anonymous.expiry), ("", None, Expiry::Never));
}

#[test]
fn each_algorithm_is_verified_by_its_own_key_alone() {
    let claims = encode(json!({"sub": "42"}).to_string());
    let random = SystemRandom::new();
    let mut made: BTreeMap<&str, (String, PublicKeyOf)> = BTreeMap::new();
    for (name, algorithm) in [("HS256", Algorithm::Hs256), ("HS384", Algorithm::Hs384), ("HS512", Algorithm::Hs512)] {
        let header = format!(r#"{{"alg":"{name}"}}"#);
        made.insert(name, (signed(&header, r#"{"sub":"42"}"#, algorithm, SECRET), PublicKeyOf::None));
    }
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let rsa = pem(pair.public_key().as_der().expect("it is one").as_ref());
    for (name, how) in [("RS256", &RSA_PKCS1_SHA256), ("RS384", &RSA_PKCS1_SHA384), ("RS512", &RSA_PKCS1_SHA512)] {
        let message = format!("{}.{claims}", encode(format!(r#"{{"alg":"{name}"}}"#)));
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(how, &random, message.as_bytes(), &mut signature).expect("a signature");
        made.insert(name, (format!("{message}.{}", encode(signature)), PublicKeyOf::Rsa(rsa.clone())));
    }
    for (name, how) in [
        ("ES256", &ECDSA_P256_SHA256_FIXED_SIGNING),
        ("ES384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ("ES512", &ECDSA_P521_SHA512_FIXED_SIGNING),
    ] {
        let pair = EcdsaKeyPair::generate(how).expect("a key");
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("it is one");
        let message = format!("{}.{claims}", encode(format!(r#"{{"alg":"{name}"}}"#)));
        let signature = pair.sign(&random, message.as_bytes()).expect("a signature");
        made.insert(name, (format!("{message}.{}", encode(signature)), PublicKeyOf::Ecdsa(pem(der.as_ref()))));
    }
    assert_eq!(made.len(), 9);
    for (name, (token, key)) in &made {
        let mut client = Config::default().client;
        match key {
            PublicKeyOf::None => client.token.hmac_secret_key = Some(Secret::new(SECRET)),
            PublicKeyOf::Rsa(pem) => client.token.rsa_public_key = Some(PublicKey::rsa(pem).expect("a key")),
            PublicKeyOf::Ecdsa(pem) => client.token.ecdsa_public_key = Some(PublicKey::ecdsa(pem).expect("a key")),
        }
        let tokens = tokens(&client);
        assert_eq!(tokens.connection(token).map(|token| token.user), Ok("42".to_owned()), "{name}");
        for (other, (foreign, foreign_key)) in &made {
            if foreign_key != key {
                assert_eq!(tokens.connection(foreign), Err(TokenError::Invalid), "{other} with the key of {name}");
            }
        }
        // What an attacker has who knows the public key: it is no secret, and no algorithm is none.
        if let PublicKeyOf::Rsa(pem) | PublicKeyOf::Ecdsa(pem) = key {
            for secret in [pem.as_bytes(), pem.trim().as_bytes(), &[]] {
                let forged = signed(r#"{"alg":"HS256"}"#, r#"{"sub":"42"}"#, Algorithm::Hs256, secret);
                assert_eq!(tokens.connection(&forged), Err(TokenError::Invalid), "{name}");
            }
        }
        for alg in ["none", "None", "NONE", "", "HS1", "RS1", "PS256", "ES256K", "EdDSA", "hs256"] {
            let (message, signature) = token.rsplit_once('.').expect("three parts");
            let (_, claims) = message.split_once('.').expect("three parts");
            let header = encode(format!(r#"{{"alg":"{alg}"}}"#));
            for forged in [format!("{header}.{claims}."), format!("{header}.{claims}.{signature}")] {
                assert_eq!(tokens.connection(&forged), Err(TokenError::Invalid), "{alg}");
            }
        }
        let cut = &token[..token.rfind('.').expect("three parts") + 1];
        assert_eq!(tokens.connection(cut), Err(TokenError::Invalid), "{name} without a signature");
    }
}

#[derive(Debug, PartialEq)]
enum PublicKeyOf {
    None,
    Rsa(String),
    Ecdsa(String),
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

#[test]
fn a_header_that_is_not_understood_opens_nothing() {
    for (header, good) in [
        (r#"{"alg":"HS256","typ":"JWT","kid":"unknown","jku":"https://evil.example"}"#, true),
        (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, false),
        (r#"{"alg":"HS256","crit":[]}"#, false),
        (r#"{"alg":"HS256","alg":"none"}"#, false),
        (r#"{"typ":"JWT"}"#, false),
        (r#"{"alg":null}"#, false),
        (r#"{"alg":["HS256"]}"#, false),
        (r#"{"alg":"HS256"} "#, true),
        (r#"{"alg":"HS256"}x"#, false),
        ("[]", false),
        (r#"["HS256"]"#, false),
        ("", false),
    ] {
        let token = signed(header, r#"{"sub":"42"}"#, Algorithm::Hs256, SECRET);
        assert_eq!(tokens(&client()).connection(&token).is_ok(), good, "{header}");
    }
}

#[test]
fn what_is_no_token_is_invalid() {
    let good = token(&json!({"sub": "42"}));
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("three parts") };
    let flipped: String =
        signature.chars().enumerate().map(|(n, c)| if n == 3 { if c == 'A' { 'B' } else { 'A' } } else { c }).collect();
    for wrong in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "x.y.z".to_owned(),
        "ü.ü.ü".to_owned(),
        format!("{header}.{claims}"),
        format!("{good}.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}.{}.{signature}", encode(r#"{"sub":"43"}"#)),
        format!("{header}.{claims}.{flipped}"),
        format!("{header}.{claims}.{signature}="),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{header}=.{claims}.{signature}"),
        // The same bits with other letters behind them.
        format!("{header}.{claims}.{}B", &signature[..signature.len() - 1]),
    ] {
        assert_eq!(tokens(&client()).connection(&wrong), Err(TokenError::Invalid), "{wrong:?}");
    }
}

#[test]
fn a_token_is_bounded_before_it_is_looked_at() {
    let info = |bytes: usize| json!({"sub": "42", "info": "x".repeat(bytes)});
    assert!(connect(&info(40_000)).is_ok());
    let long = token(&info(64 * 1024));
    assert!(long.len() > 64 * 1024);
    assert_eq!(tokens(&client()).connection(&long), Err(TokenError::Invalid));
    let deep = format!(r#"{{"info":{}{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    assert!(tokens(&client()).connection(&token_of(&deep)).is_ok(), "what is deep is not gone into");
}

#[test]
fn claims_of_another_type_make_a_token_invalid() {
    for claims in [
        r#"{"sub":42}"#,
        r#"{"sub":["42"]}"#,
        r#"{"sub":true}"#,
        r#"{"sub":"42","sub":"43"}"#,
        r#"{"exp":"1900000000"}"#,
        r#"{"exp":true}"#,
        r#"{"exp":[1900000000]}"#,
        r#"{"exp":1e400}"#,
        r#"{"exp":NaN}"#,
        r#"{"nbf":"0"}"#,
        r#"{"iat":"now"}"#,
        r#"{"jti":1}"#,
        r#"{"aud":1}"#,
        r#"{"aud":["a",1]}"#,
        r#"{"iss":["a"]}"#,
        r#"{"expire_at":"0"}"#,
        r#"{"expire_at":-1}"#,
        r#"{"b64info":"***"}"#,
        r#"{"b64info":"bm90IGpzb24="}"#,
        r#"{"b64info":1}"#,
        r#"{"channel":"hall"}"#,
        r#"{"channel":1}"#,
        "[]",
        r#"["42"]"#,
        "null",
        "42",
        "",
        r#"{"sub":"42"}{"#,
    ] {
        assert_eq!(tokens(&client()).connection(&token_of(claims)), Err(TokenError::Invalid), "{claims}");
    }
}

#[test]
fn a_token_has_its_time_without_any_leeway() {
    for (claims, expected) in [
        (json!({"exp": NOW_S + 1}), Ok(Expiry::InMs(1_000))),
        (json!({"exp": NOW_S}), Err(TokenError::Expired)),
        (json!({"exp": NOW_S - 1}), Err(TokenError::Expired)),
        (json!({"exp": NOW_S as f64 + 0.5}), Ok(Expiry::InMs(500))),
        (json!({"exp": NOW_S as f64 - 0.5}), Err(TokenError::Expired)),
        (json!({"exp": 0}), Err(TokenError::Expired)),
        (json!({"exp": -5}), Err(TokenError::Expired)),
        (json!({"exp": 1e300}), Ok(Expiry::InMs(365 * 24 * 60 * 60 * 1_000))),
        (json!({"exp": null}), Ok(Expiry::Never)),
        (json!({"nbf": NOW_S}), Ok(Expiry::Never)),
        (json!({"nbf": NOW_S + 1}), Err(TokenError::Expired)),
        (json!({"iat": NOW_S + 1_000}), Ok(Expiry::Never)),
        (json!({"exp": NOW_S + 1, "expire_at": 0}), Ok(Expiry::Never)),
        (json!({"exp": NOW_S + 1, "expire_at": NOW_S + 9}), Ok(Expiry::InMs(9_000))),
        (json!({"expire_at": NOW_S}), Ok(Expiry::Past)),
        (json!({"exp": NOW_S - 1, "expire_at": NOW_S + 9}), Err(TokenError::Expired)),
    ] {
        assert_eq!(connect(&claims).map(|token| token.expiry), expected, "{claims}");
    }
}

#[test]
fn the_secret_before_is_good_until_its_time() {
    let now = Arc::new(AtomicU64::new(NOW_S * 1_000));
    let mut client = client();
    client.token.hmac_previous_secret_key = Some(Secret::new("the one before"));
    client.token.hmac_previous_secret_key_valid_until = NOW_S as usize + 10;
    let clock = Arc::clone(&now);
    let tokens = Tokens::new(&client, move || clock.load(Relaxed));
    let old = signed(r#"{"alg":"HS256"}"#, r#"{"sub":"42"}"#, Algorithm::Hs256, "the one before");
    assert!(tokens.connection(&old).is_ok());
    now.store((NOW_S + 10) * 1_000, Relaxed);
    assert_eq!(tokens.connection(&old), Err(TokenError::Invalid));
    assert!(tokens.connection(&token(&json!({}))).is_ok(), "the new one is good for ever");
    client.token.hmac_previous_secret_key_valid_until = 0;
    assert!(Tokens::new(&client, move || now.load(Relaxed)).connection(&old).is_ok(), "as long as it stands there");
}

#[test]
fn a_token_is_for_somebody_and_from_somebody() {
    let regex = |text| Some(regex::Regex::new(text).expect("an expression"));
    let mut audience = client();
    audience.token.audience = Some("shop".to_owned());
    let mut like = client();
    (like.token.audience_regex, like.token.issuer_regex) = (regex("^shop-[0-9]+$"), regex("^https://"));
    let mut issuer = client();
    issuer.token.issuer = Some("me".to_owned());
    for (client, claims, good) in [
        (&audience, json!({"aud": "shop"}), true),
        (&audience, json!({"aud": ["x", "shop"]}), true),
        (&audience, json!({"aud": ["shops"]}), false),
        (&audience, json!({"aud": []}), false),
        (&audience, json!({}), false),
        (&like, json!({"aud": "shop-7", "iss": "https://a"}), true),
        (&like, json!({"aud": "shop-7"}), false),
        (&like, json!({"iss": "https://a"}), false),
        (&issuer, json!({"iss": "me"}), true),
        (&issuer, json!({"iss": "you"}), false),
        (&issuer, json!({}), false),
    ] {
        let said = tokens(client).connection(&token(&claims)).map(drop);
        assert_eq!(said, if good { Ok(()) } else { Err(TokenError::Invalid) }, "{claims}");
    }
    // Whom it is not for learns nothing of its time.
    let late = token(&json!({"aud": "other", "exp": 1}));
    assert_eq!(tokens(&audience).connection(&late), Err(TokenError::Invalid));
}

#[test]
fn another_claim_may_name_the_user() {
    let mut client = client();
    client.token.user_id_claim = Some("user_id".to_owned());
    for (claims, user) in [
        (r#"{"sub":"a","user_id":"b"}"#, Ok("b")),
        (r#"{"sub":"a"}"#, Ok("")),
        (r#"{"user_id":null}"#, Ok("")),
        (r#"{"user_id":7}"#, Ok("7")),
        (r#"{"user_id":-9007199254740993}"#, Ok("-9007199254740993")),
        (r#"{"user_id":7.5}"#, Err(TokenError::Invalid)),
        (r#"{"user_id":1e30}"#, Err(TokenError::Invalid)),
        (r#"{"user_id":true}"#, Err(TokenError::Invalid)),
        (r#"{"user_id":["7"]}"#, Err(TokenError::Invalid)),
    ] {
        let said = tokens(&client).connection(&token_of(claims)).map(|token| token.user);
        assert_eq!(said, user.map(str::to_owned), "{claims}");
    }
}

#[test]
fn a_subscription_token_names_its_room_and_may_say_more() {
    let tokens = tokens(&client());
    let full = tokens.subscription(&token(&json!({
        "sub": "42", "channel": "$hall", "client": "c", "info": {"role":  "host"}, "b64data": STANDARD.encode("[1, 2]"),
        "data": 7, "exp": NOW_S + 5,
        "override": {
            "presence": {"value": false}, "force_recovery": {"value": true}, "join_leave": null, "echo": {"value": "not_user"},
        },
    })));
    let full = full.expect("good");
    assert_eq!((full.user.as_str(), full.room.as_str(), full.client.as_deref()), ("42", "$hall", Some("c")));
    assert_eq!(full.says.info.as_deref(), Some(&br#"{"role":"host"}"#[..]));
    assert_eq!(full.says.data.as_deref(), Some(&b"[1,2]"[..]), "what is in base64 wins");
    assert_eq!(full.expiry, Expiry::InMs(5_000));
    let overrides = Overrides {
        presence: Some(false),
        force_recovery: Some(true),
        echo: Some(Echo::NotUser),
        ..Overrides::default()
    };
    assert_eq!(full.says.overrides, overrides);
    for wrong in [
        r#"{"sub":"42"}"#,
        r#"{"channel":""}"#,
        r#"{"channel":7}"#,
        r#"{"channel":"a","override":{"presence":true}}"#,
        r#"{"channel":"a","override":{"presence":{"value":"all"}}}"#,
        r#"{"channel":"a","override":{"echo":{"value":true}}}"#,
        r#"{"channel":"a","override":{"echo":{"value":"nobody"}}}"#,
        r#"{"channel":"a","override":[]}"#,
        r#"{"channel":"a","client":7}"#,
    ] {
        assert_eq!(tokens.subscription(&token_of(wrong)).err(), Some(TokenError::Invalid), "{wrong}");
    }
}

#[test]
fn a_connection_token_may_name_rooms_and_say_something_of_each() {
    let rooms = |claims: &Value| connect(claims).map(|token| token.rooms);
    let names = |claims: &Value| rooms(claims).map(|rooms| rooms.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    assert_eq!(names(&json!({"channels": ["b", "a"]})), Ok(vec!["b".to_owned(), "a".to_owned()]));
    let both = json!({"channels": ["a"], "subs": {"b": {"info": [1, 2], "override": {"presence": {"value": true}}}, "c": null}});
    let said = rooms(&both).expect("good");
    assert_eq!(said.len(), 2, "what is said by room wins");
    assert_eq!((said[0].0.as_str(), said[0].1.info.as_deref()), ("b", Some(&b"[1,2]"[..])));
    assert_eq!(said[0].1.overrides.presence, Some(true));
    assert_eq!(said[1], ("c".to_owned(), RoomClaims::default()));
    for wrong in [
        json!({"channels": "a"}),
        json!({"channels": [1]}),
        json!({"subs": []}),
        json!({"subs": {"a": [1]}}),
        json!({"subs": {"a": {"info": 1, "b64data": "*"}}}),
    ] {
        assert_eq!(rooms(&wrong), Err(TokenError::Invalid), "{wrong}");
    }
}

#[test]
fn subscription_tokens_may_have_keys_of_their_own() {
    let connection = token(&json!({"sub": "42"}));
    let subscription = signed(r#"{"alg":"HS256"}"#, r#"{"channel":"a"}"#, Algorithm::Hs256, "another");
    let shared = tokens(&client());
    assert!(shared.subscription(&subscription).is_err());
    assert!(shared.subscription(&token_of(r#"{"channel":"a"}"#)).is_ok());
    let mut client = client();
    client.subscription_token_enabled = true;
    client.subscription_token.hmac_secret_key = Some(Secret::new("another"));
    let apart = tokens(&client);
    assert!(apart.subscription(&subscription).is_ok() && apart.connection(&connection).is_ok());
    assert!(apart.subscription(&token_of(r#"{"channel":"a"}"#)).is_err());
    client.subscription_token.hmac_secret_key = None;
    assert!(!tokens(&client).takes_subscriptions());
    assert!(tokens(&client).subscription(&subscription).is_err(), "without a key nothing is good");
}

#[test]
fn without_a_key_no_token_is_good_unless_all_are_believed() {
    let none = Tokens::none();
    assert!(!none.takes_connections());
    assert_eq!(none.connection(&token(&json!({"sub": "42"}))).err(), Some(TokenError::Invalid));
    let empty = signed(r#"{"alg":"HS256"}"#, r#"{"sub":"42"}"#, Algorithm::Hs256, "");
    assert_eq!(none.connection(&empty).err(), Some(TokenError::Invalid));
    let mut client = Config::default().client;
    client.insecure_skip_token_signature_verify = true;
    let believing = tokens(&client);
    assert_eq!(believing.connection(&empty).map(|token| token.user), Ok("42".to_owned()));
    assert_eq!(believing.connection(&token(&json!({"exp": 1}))), Err(TokenError::Expired));
}
