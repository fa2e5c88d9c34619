//! Tokens of issuers that publish their keys: which are good, which are not, and when the keys are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::{NOW_S, SECRET, connect, encode, signed};
use crate::auth::key_sets::{Fetch, KeySets};
use crate::auth::{TokenError, Tokens, WantedKeys, jwk::Jwks};
use crate::config::{Client, Config, JwksEndpoint, Secret};
use crate::util::signature::{Algorithm, VerifyingKey};
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const URL: &str = "https://id.example/keys";

fn client() -> Client {
    let mut client = Config::default().client;
    client.token.jwks_public_endpoint = Some(JwksEndpoint::read(URL).expect("an address"));
    client
}

fn tokens() -> Tokens {
    Tokens::new(&client(), || NOW_S * 1_000)
}

/// Has `set` be what is published.
fn publish(tokens: &Tokens, token: &str, set: &Value) {
    let Err(TokenError::Unverified(Some(wanted))) = tokens.connection(token) else { panic!("it asks for no keys") };
    tokens.key_sets().expect("it asks an issuer").put(&wanted, &set.to_string(), NOW_S * 1_000);
}

/// A key of Ed25519, and what it is called.
fn pair(name: &str) -> (Ed25519KeyPair, Value) {
    let pair = Ed25519KeyPair::generate().expect("a key");
    let x = encode(pair.public_key().as_ref());
    (pair, json!({"kty": "OKP", "crv": "Ed25519", "kid": name, "x": x, "use": "sig"}))
}

/// A token that is signed by that key.
pub(crate) fn signed_by(pair: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = pair.sign(message.as_bytes());
    format!("{message}.{}", encode(signature.as_ref()))
}

/// What asks for the keys of one of many issuers.
fn numbered(number: usize) -> WantedKeys {
    WantedKeys { url: format!("https://id.example/{number}").into() }
}

/// Tokens of an issuer whose key is called `k1`, at a time that passes when it is told to.
struct Issued {
    tokens: Tokens,
    clock: Arc<AtomicU64>,
    pair: Ed25519KeyPair,
    key: Value,
}

impl Issued {
    fn new() -> Self {
        let clock = Arc::new(AtomicU64::new(NOW_S * 1_000));
        let of = Arc::clone(&clock);
        let (pair, key) = pair("k1");
        Self { tokens: Tokens::new(&client(), move || of.load(Relaxed)), clock, pair, key }
    }

    fn sets(&self) -> &KeySets {
        self.tokens.key_sets().expect("it asks an issuer")
    }

    fn now(&self) -> u64 {
        self.clock.load(Relaxed)
    }

    fn pass(&self, ms: u64) {
        self.clock.fetch_add(ms, Relaxed);
    }

    fn token(&self, key: &str) -> String {
        signed_by(&self.pair, &json!({"alg": "EdDSA", "kid": key}), &json!({}))
    }

    fn wanted(&self) -> WantedKeys {
        match self.tokens.connection(&self.token("k1")) {
            Err(TokenError::Unverified(Some(wanted))) => wanted,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn ed25519_of_rfc_8037_appendix_a_4() {
    let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("base64");
    let key = VerifyingKey::ed25519(&x).expect("a key");
    let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let mut signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
    assert!(key.verify(Algorithm::EdDsa, message.as_bytes(), &signature));
    assert!(!key.verify(Algorithm::Es256, message.as_bytes(), &signature));
    signature[0] ^= 1;
    assert!(!key.verify(Algorithm::EdDsa, message.as_bytes(), &signature));
    assert!(VerifyingKey::ed25519(&x[..31]).is_none());
}

/// The keys of RFC 7515, A.2 and A.3, as sets have them, and the tokens that they have signed there.
#[test]
fn keys_of_rsa_and_ecdsa_are_read_from_their_numbers() {
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-\
             pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2Cap\
             Hg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h\
             4FRWyuXpoQ";
    let claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let rs256 = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUA\
                 r7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--\
                 xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_Ioyp\
                 GlUPQGe77Rw";
    let es256 = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let set = json!({"keys": [
        {"kty": "RSA", "kid": "both", "n": n, "e": "AQAB"},
        {"kty": "EC", "kid": "both", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
         "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    ]});
    let set = Jwks::parse(set.to_string().as_bytes()).expect("a set");
    for (header, algorithm, signature) in
        [("eyJhbGciOiJSUzI1NiJ9", Algorithm::Rs256, rs256), ("eyJhbGciOiJFUzI1NiJ9", Algorithm::Es256, es256)]
    {
        let key = set.find("both", algorithm).expect("the one of that kind");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        assert!(key.verify(algorithm, format!("{header}.{claims}").as_bytes(), &signature), "{algorithm:?}");
        assert!(!key.verify(algorithm, format!("{header}.{claims}x").as_bytes(), &signature), "{algorithm:?}");
    }
    assert!(set.find("both", Algorithm::EdDsa).is_none() && set.find("other", Algorithm::Rs256).is_none());
}

#[test]
fn a_key_says_what_it_is_for() {
    let (_, key) = pair("k");
    for (change, is_there) in [
        (json!({}), true),
        (json!({"use": null}), true),
        (json!({"use": "enc"}), false),
        (json!({"key_ops": ["verify"]}), true),
        (json!({"key_ops": ["encrypt"]}), false),
        (json!({"alg": "EdDSA"}), true),
        (json!({"alg": "RS256"}), false),
        (json!({"alg": "none"}), false),
        (json!({"kid": null}), false),
        (json!({"kid": ""}), false),
        (json!({"kid": 7}), false),
        (json!({"crv": "Ed448"}), false),
        (json!({"kty": "oct", "k": "aHVzaA"}), false),
        (json!({"x": "AAAA"}), false),
        (json!({"x": "not base64!"}), false),
    ] {
        let mut key = key.clone();
        key.as_object_mut().expect("a key").extend(change.as_object().expect("changes").clone());
        let set = Jwks::parse(json!({"keys": [key, 7, "x", {}]}).to_string().as_bytes()).expect("a set");
        assert_eq!(set.find("k", Algorithm::EdDsa).is_some(), is_there, "{change}");
    }
    for wrong in ["", "[]", "{}", "{\"keys\":7}", "<html>", "null"] {
        assert!(Jwks::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let many = json!({"keys": vec![json!({}); 129]});
    assert!(Jwks::parse(many.to_string().as_bytes()).is_err());
}

#[test]
fn a_token_of_a_published_key_is_good_and_one_that_only_looks_like_it_is_not() {
    let tokens = tokens();
    let (pair, key) = pair("k1");
    let claims = json!({"sub": "42"});
    let good = signed_by(&pair, &json!({"alg": "EdDSA", "kid": "k1"}), &claims);
    publish(&tokens, &good, &json!({"keys": [key]}));
    assert_eq!(tokens.connection(&good).expect("good").user, "42");
    let expired = signed_by(&pair, &json!({"alg": "EdDSA", "kid": "k1"}), &json!({"sub": "42", "exp": NOW_S}));
    assert_eq!(tokens.connection(&expired), Err(TokenError::Expired));

    let public = URL_SAFE_NO_PAD.decode(key["x"].as_str().expect("a key")).expect("base64");
    let (other, _) = self::pair("k1");
    for bad in [
        signed_by(&pair, &json!({"alg": "EdDSA"}), &claims),
        signed_by(&pair, &json!({"alg": "EdDSA", "kid": ""}), &claims),
        signed_by(&pair, &json!({"alg": "EdDSA", "kid": "x".repeat(257)}), &claims),
        signed_by(&pair, &json!({"alg": "EdDSA", "kid": "k1", "crit": ["x"]}), &claims),
        signed_by(&pair, &json!({"alg": "ES256", "kid": "k1"}), &claims),
        signed_by(&pair, &json!({"alg": "none", "kid": "k1"}), &claims),
        signed_by(&other, &json!({"alg": "EdDSA", "kid": "k1"}), &json!({"sub": "42", "iat": NOW_S - 3_600})),
        signed(r#"{"alg":"HS256","kid":"k1"}"#, r#"{"sub":"42"}"#, Algorithm::Hs256, public),
        signed(r#"{"alg":"EdDSA","kid":"k1","kid":"k2"}"#, r#"{"sub":"42"}"#, Algorithm::Hs256, "x"),
    ] {
        assert_eq!(tokens.connection(&bad), Err(TokenError::Invalid), "{bad}");
    }
}

#[test]
fn no_other_key_counts_beside_those_of_an_issuer() {
    let mut client = client();
    client.token.hmac_secret_key = Some(Secret::new(SECRET));
    let tokens = Tokens::new(&client, || NOW_S * 1_000);
    let token = signed(r#"{"alg":"HS256","kid":"k1"}"#, "{}", Algorithm::Hs256, SECRET);
    assert_eq!(tokens.connection(&token), Err(TokenError::Invalid));
    assert!(connect(&json!({})).is_ok(), "without one it does");
    client.insecure_skip_token_signature_verify = true;
    let tokens = Tokens::new(&client, || NOW_S * 1_000);
    assert!(tokens.connection(&token).is_ok() && tokens.key_sets().is_none(), "who believes all asks nobody");
}

#[test]
fn only_an_issuer_that_is_believed_is_asked_and_no_token_says_where() {
    let mut client = Config::default().client;
    let options = &mut client.token;
    options.issuer_regex =
        Some(regex::Regex::new("^https://id.example/(?P<tenant>shop|forum)$").expect("an expression"));
    options.jwks_public_endpoint = Some(JwksEndpoint::read("https://id.example/{{tenant}}/keys").expect("an address"));
    let (pair, key) = pair("k1");
    let token = |issuer: &str| signed_by(&pair, &json!({"alg": "EdDSA", "kid": "k1"}), &json!({"iss": issuer}));
    let tokens = Tokens::new(&client, || NOW_S * 1_000);
    for foreign in ["https://evil.example/shop", "https://id.example/other", "https://id.example/shop/../x", ""] {
        assert_eq!(tokens.connection(&token(foreign)), Err(TokenError::Invalid), "{foreign}: nobody is asked");
    }
    let shop = token("https://id.example/shop");
    let Err(TokenError::Unverified(Some(wanted))) = tokens.connection(&shop) else { panic!("it asks for no keys") };
    assert_eq!(&*wanted.url, "https://id.example/shop/keys");
    publish(&tokens, &shop, &json!({"keys": [key]}));
    assert!(tokens.connection(&shop).is_ok());
    let forum = token("https://id.example/forum");
    assert!(matches!(tokens.connection(&forum), Err(TokenError::Unverified(Some(_)))), "each tenant has its own keys");

    client.token.issuer_regex = Some(regex::Regex::new("^https://id.example/(?P<tenant>.+)$").expect("an expression"));
    client.token.insecure_skip_jwks_endpoint_safety_check = true;
    let tokens = Tokens::new(&client, || NOW_S * 1_000);
    for forged in ["..", "a/b", "a?b=c", "a#b", "x@evil.example", "%2e%2e", "a b", "."] {
        let token = token(&format!("https://id.example/{forged}"));
        assert_eq!(tokens.connection(&token), Err(TokenError::Invalid), "{forged}");
    }
}

#[test]
fn a_key_of_ecdsa_signs_by_its_own_algorithm() {
    let tokens = tokens();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let point = pair.public_key().as_ref();
    let key = json!({"kty": "EC", "crv": "P-256", "kid": "e", "x": encode(&point[1..33]), "y": encode(&point[33..])});
    let message = format!("{}.{}", encode(r#"{"alg":"ES256","kid":"e"}"#), encode(r#"{"sub":"42"}"#));
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
    let token = format!("{message}.{}", encode(signature));
    publish(&tokens, &token, &json!({"keys": [key]}));
    assert_eq!(tokens.connection(&token).expect("good").user, "42");
}

#[test]
fn numbers_of_keys_may_be_padded_or_short_and_are_no_others() {
    // A point whose x begins with a zero, found by trying.
    let pair = loop {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        if matches!(pair.public_key().as_ref(), [_, 0, 1..=255, ..]) {
            break pair;
        }
    };
    let point = pair.public_key().as_ref();
    assert!(VerifyingKey::ec("P-256", &point[2..33], &point[33..]).is_some());
    assert!(VerifyingKey::ec("P-256", &point[1..33], &point[33..]).is_some());
    for (x, y) in
        [(&point[3..33], &point[33..]), (&point[1..33], &point[33..64]), (&point[0..33], &point[33..]), (&[], &[])]
    {
        assert!(VerifyingKey::ec("P-256", x, y).is_none(), "it is on no curve");
    }
    let (_, mut key) = self::pair("k");
    key["x"] = json!(format!("{}=", key["x"].as_str().expect("a text")));
    let set = Jwks::parse(json!({"keys": [key]}).to_string().as_bytes()).expect("a set");
    assert!(set.has("k"));
}

#[test]
fn a_set_is_fetched_when_it_is_needed_and_no_more_often_than_it_may_be() {
    let issued = Issued::new();
    let (tokens, sets) = (&issued.tokens, issued.sets());
    let first = issued.wanted();
    let Fetch::Begin(done) = sets.begin(&first, issued.now()) else { panic!("nobody fetches it") };
    assert!(matches!(sets.begin(&issued.wanted(), issued.now()), Fetch::Wait(_)), "one at a time");
    sets.fetched(&first, None, issued.now());
    drop(done);
    assert_eq!(tokens.connection(&issued.token("k1")), Err(TokenError::Unverified(None)), "not again at once");
    assert!(matches!(sets.begin(&first, issued.now()), Fetch::NotNow));
    issued.pass(1_000);
    sets.put(&issued.wanted(), &json!({"keys": [issued.key]}).to_string(), issued.now());
    assert!(tokens.connection(&issued.token("k1")).is_ok());

    assert!(matches!(sets.begin(&first, issued.now()), Fetch::Done), "who asked before it was there has it");
    for invented in ["a", "b", "c"] {
        let answer = tokens.connection(&issued.token(invented));
        assert_eq!(answer, Err(TokenError::Unverified(None)), "no invented key has it fetched");
    }
    issued.pass(10_000);
    assert!(
        matches!(tokens.connection(&issued.token("a")), Err(TokenError::Unverified(Some(_)))),
        "one in ten seconds does"
    );
    assert!(tokens.connection(&issued.token("k1")).is_ok(), "and the others stay good");
    issued.pass(60 * 60 * 1_000);
    let stale = issued.wanted();
    sets.put(&stale, &json!({"keys": []}).to_string(), issued.now());
    assert_eq!(
        tokens.connection(&issued.token("k1")),
        Err(TokenError::Unverified(None)),
        "one that was taken back is gone"
    );
    // A fetch of which nobody will tell holds up no other.
    issued.pass(10_000);
    drop(sets.begin(&stale, issued.now()));
    assert!(matches!(sets.begin(&issued.wanted(), issued.now()), Fetch::Begin(_)));
}

/// An issuer that is down when the hour of its keys ends locks nobody out, and not for good may a key be used that it has taken back.
#[test]
fn keys_whose_hour_is_over_are_good_while_their_issuer_cannot_be_asked_and_for_three_hours_at_most() {
    const HOUR_MS: u64 = 60 * 60 * 1_000;
    let issued = Issued::new();
    let (tokens, sets) = (&issued.tokens, issued.sets());
    let set = json!({"keys": [issued.key]}).to_string();
    let first = issued.wanted();
    sets.put(&first, &set, issued.now());
    issued.pass(HOUR_MS);
    for _ in 0..2 {
        let again = issued.wanted();
        let Fetch::Begin(done) = sets.begin(&again, issued.now()) else { panic!("nobody fetches it") };
        assert!(tokens.connection(&issued.token("k1")).is_ok(), "one waits for it, and no other");
        assert!(
            matches!(tokens.connection(&issued.token("k2")), Err(TokenError::Unverified(Some(_)))),
            "it may be new"
        );
        assert!(sets.fetched(&again, None, issued.now()), "there are keys to go by");
        drop(done);
        assert!(tokens.connection(&issued.token("k1")).is_ok(), "who has waited, too");
        assert_eq!(tokens.connection(&issued.token("k2")), Err(TokenError::Unverified(None)));
        assert!(matches!(sets.begin(&again, issued.now()), Fetch::Done), "and who came too late to be one of them");
        issued.pass(10_000);
    }
    // Others are fetched, as many as may be at once.
    let busy: Vec<_> = (0..8).map(|number| sets.begin(&numbered(number), issued.now())).collect();
    let again = issued.wanted();
    assert!(matches!(sets.begin(&again, issued.now()), Fetch::Done), "it is not our turn, and the keys do");
    assert!(tokens.connection(&issued.token("k1")).is_ok());
    drop(busy);
    issued.pass(3 * HOUR_MS);
    let again = issued.wanted();
    let Fetch::Begin(_done) = sets.begin(&again, issued.now()) else { panic!("nobody fetches it") };
    assert!(matches!(tokens.connection(&issued.token("k1")), Err(TokenError::Unverified(Some(_)))), "all wait now");
    assert!(!sets.fetched(&again, None, issued.now()));
    assert_eq!(tokens.connection(&issued.token("k1")), Err(TokenError::Unverified(None)));
    issued.pass(1_000);
    sets.put(&issued.wanted(), &set, issued.now());
    assert!(tokens.connection(&issued.token("k1")).is_ok(), "it is back");
}

#[test]
fn a_key_that_was_changed_under_its_name_is_fetched_again_and_no_more_often_than_it_may_be() {
    let issued = Issued::new();
    let (tokens, sets) = (&issued.tokens, issued.sets());
    let (_, before) = pair("k1");
    let by_new = issued.token("k1");
    let again = Err(TokenError::Unverified(None));
    sets.put(&issued.wanted(), &json!({"keys": [before]}).to_string(), issued.now());
    assert_eq!(tokens.connection(&by_new), again, "it was asked for a moment ago");
    issued.pass(10_000);
    let Err(TokenError::Unverified(Some(wanted))) = tokens.connection(&by_new) else { panic!("it may be new") };
    let Fetch::Begin(done) = sets.begin(&wanted, issued.now()) else { panic!("nobody fetches it") };
    assert!(matches!(tokens.connection(&by_new), Err(TokenError::Unverified(Some(_)))), "others wait for that");
    sets.fetched(
        &wanted,
        Some(Jwks::parse(json!({"keys": [before]}).to_string().as_bytes()).expect("a set")),
        issued.now(),
    );
    drop(done);
    assert_eq!(tokens.connection(&by_new), again, "it is still the one before");
    issued.pass(10_000);
    sets.put(&wanted, &json!({"keys": [issued.key]}).to_string(), issued.now());
    assert!(tokens.connection(&by_new).is_ok());
}

#[test]
fn a_token_that_was_issued_long_before_the_keys_were_fetched_is_by_none_of_them() {
    let issued = Issued::new();
    let (_, other) = pair("k1");
    let now_s = issued.now() / 1_000;
    issued.sets().put(&issued.wanted(), &json!({"keys": [other]}).to_string(), issued.now());
    let judged = |iat: Value| {
        let token = signed_by(&issued.pair, &json!({"alg": "EdDSA", "kid": "k1"}), &json!({"iat": iat}));
        issued.tokens.connection(&token)
    };
    assert_eq!(judged(json!(now_s - 3_600)), Err(TokenError::Invalid));
    assert_eq!(judged(json!(-1)), Err(TokenError::Invalid));
    for perhaps_new in [json!(now_s - 3_599), json!(now_s), json!(now_s + 1_000_000), Value::Null] {
        assert_eq!(judged(perhaps_new), Err(TokenError::Unverified(None)));
    }
    issued.pass(10_000);
    assert_eq!(judged(json!(now_s - 3_600)), Err(TokenError::Invalid), "nobody is asked for it");
}

#[test]
fn addresses_that_tokens_make_up_push_out_no_issuer_that_is_there() {
    let sets = KeySets::default();
    sets.put(&numbered(0), r#"{"keys":[]}"#, 0);
    for number in 1..1_000 {
        let Fetch::Begin(_done) = sets.begin(&numbered(number), number as u64) else { panic!("{number}") };
        assert!(!sets.fetched(&numbered(number), None, number as u64));
    }
    assert_eq!(sets.len(), 64);
    assert!(matches!(sets.begin(&numbered(0), 1_000), Fetch::Done));
}

#[test]
fn sets_are_few_and_so_are_fetches() {
    let sets = KeySets::default();
    let mut begun = Vec::new();
    for number in 0..8 {
        let Fetch::Begin(sender) = sets.begin(&numbered(number), 0) else { panic!("{number}") };
        begun.push(sender);
    }
    assert!(matches!(sets.begin(&numbered(8), 0), Fetch::NotNow), "eight at once");
    begun.clear();
    for number in 0..1_000 {
        sets.put(&numbered(number), r#"{"keys":[]}"#, number as u64);
    }
    assert_eq!(sets.len(), 64);
    assert!(matches!(sets.begin(&numbered(999), 1_000), Fetch::Done), "the newest are there");
    assert!(matches!(sets.begin(&numbered(1), 1_000), Fetch::Begin(_)), "the oldest are not");
}
