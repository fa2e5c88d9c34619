//! Asking an authority for a certificate.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use instant_acme::{
    Account, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, Error, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use tokio::runtime::Handle;

use super::cache::{StoredAccount, held};
use super::{Answered, Autocert};
use crate::backend::{Call, HttpClient};
use crate::config;
use crate::util::panics::lock;

/// How long all of it may take, for one name.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How long the authority may take for one answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to look whether the name leads here, and to sign.
const POLL: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(Duration::from_secs(2 * 60));
/// The longest that an authority can make us wait: as long as the longest of the times over which they count.
const TOLD_WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What is waited for an authority that says that it was asked too often, and not for how long.
const TOLD_WAIT: Duration = Duration::from_secs(60 * 60);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// An authority.
pub(super) struct Authority {
    options: config::Autocert,
    calls: Calls,
}

/// How it is called: with our own client, which has bounds for all that comes back.
#[derive(Clone)]
struct Calls {
    client: HttpClient,
    /// Until when, since 1970, it wants to hear nothing of us.
    not_before: Arc<Mutex<Duration>>,
}

impl Authority {
    /// # Errors
    /// What of the options cannot be used; the configuration has been checked for it.
    pub(super) fn new(options: &config::Autocert, runtime: Handle) -> Result<Self, String> {
        let client = HttpClient::new(runtime, &options.directory_tls())?;
        Ok(Self { options: options.clone(), calls: Calls { client, not_before: Arc::default() } })
    }

    /// Until when, since 1970, it is not to be asked.
    pub(super) fn not_before(&self) -> Duration {
        *lock(&self.calls.not_before)
    }

    /// Fetches a certificate for a name, keeps it and puts it to use.
    ///
    /// # Errors
    /// Why there is none, for a person.
    pub(super) async fn certificate(&self, all: &Arc<Autocert>, name: &str) -> Result<(), String> {
        let ordered = tokio::time::timeout(ORDER_TIMEOUT, self.order(all, name)).await;
        let pem = ordered.map_err(|_| "the authority took too long".to_owned())??;
        all.take(name, held(name, &pem)?);
        let kept_name = name.to_owned();
        if let Err(error) = blocking(all, move |all| all.cache.keep_certificate(&kept_name, &pem)).await {
            tracing::error!(name, error, "cannot keep the new certificate; it is in use until the server ends");
        }
        Ok(())
    }

    /// The key, and behind it the chain of certificates.
    async fn order(&self, all: &Arc<Autocert>, name: &str) -> Result<String, String> {
        blocking(all, |all| all.cache.try_out()).await?;
        let account = self.account(all).await?;
        let identifiers = [Identifier::Dns(name.to_owned())];
        let ordered = account.new_order(&NewOrder::new(&identifiers)).await;
        let mut order = ordered.map_err(|error| {
            if kind_of(&error).is_some_and(|kind| kind.ends_with(":accountDoesNotExist")) {
                all.cache.forget_account();
            }
            words(&error)
        })?;
        // They are answered until the order is done with.
        let _answered = self.prove(all, name, &mut order).await?;
        match order.poll_ready(&POLL).await {
            Ok(OrderStatus::Ready) => {}
            Ok(_) => {
                return Err(refusal(&mut order).await.unwrap_or_else(|| "the authority refused the name".to_owned()));
            }
            Err(error) => {
                let why = if matches!(error, Error::Api(_)) { refusal(&mut order).await } else { None };
                return Err(why.unwrap_or_else(|| words(&error)));
            }
        }
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let mut parameters = CertificateParams::new([name.to_owned()]).map_err(|error| error.to_string())?;
        parameters.distinguished_name = DistinguishedName::new();
        let request = parameters.serialize_request(&key).map_err(|error| error.to_string())?;
        order.finalize_csr(request.der()).await.map_err(|error| words(&error))?;
        let chain = order.poll_certificate(&POLL).await.map_err(|error| words(&error))?;
        Ok(key.serialize_pem() + &chain)
    }

    /// Answers what the authority asks to see that the name leads here.
    async fn prove<'a>(&self, all: &'a Autocert, name: &str, order: &mut Order) -> Result<Vec<Answered<'a>>, String> {
        let kind = if self.options.http { ChallengeType::Http01 } else { ChallengeType::TlsAlpn01 };
        let mut answered = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| words(&error))?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                status => return Err(format!("the authority begins with a name that is {status:?}")),
            }
            let named = authorization.identifier();
            if *named.identifier != Identifier::Dns(name.to_owned()) || named.wildcard {
                return Err("the authority asks for a name that is not the one in question".to_owned());
            }
            let Some(mut challenge) = authorization.challenge(kind.clone()) else {
                return Err(format!("the authority does not offer {kind:?}; see `http_server.tls_autocert.http`"));
            };
            let proof = challenge.key_authorization();
            answered.push(match self.options.http {
                true => all.answer_http(&challenge.token, proof.as_str()),
                false => {
                    let mut parameters =
                        CertificateParams::new([name.to_owned()]).map_err(|error| error.to_string())?;
                    let digest = proof.digest();
                    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
                    let key = KeyPair::generate().map_err(|error| error.to_string())?;
                    let shown = parameters.self_signed(&key).map_err(|error| error.to_string())?;
                    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
                    let key = any_supported_type(&key).map_err(|error| error.to_string())?;
                    // Nobody but an authority reads such a one; rustls would refuse it.
                    all.answer_tls(name, Arc::new(CertifiedKey::new(vec![shown.der().clone()], key)))
                }
            });
            challenge.set_ready().await.map_err(|error| words(&error))?;
        }
        Ok(answered)
    }

    /// The account that is kept, or a new one.
    async fn account(&self, all: &Arc<Autocert>) -> Result<Account, String> {
        let builder = Account::builder_with_http(Box::new(self.calls.clone()));
        let email = self.options.email.clone();
        let contact = email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.as_deref().into_iter().collect();
        let stored = blocking(all, |all| all.cache.account()).await?;
        let (account, credentials) = match stored {
            Some(stored) => {
                let is_same = stored.email == email;
                // The account does not give back what it was made of.
                let credentials = copy(&stored)?;
                let account = builder.from_credentials(stored.credentials).await.map_err(|error| words(&error))?;
                if is_same {
                    return Ok(account);
                }
                account.update_contacts(&contact).await.map_err(|error| words(&error))?;
                (account, credentials)
            }
            None => {
                let wanted =
                    NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
                let made = builder.create(&wanted, self.options.directory_url.clone(), None).await;
                made.map_err(|error| words(&error))?
            }
        };
        let made = StoredAccount { email, credentials };
        blocking(all, move |all| all.cache.keep_account(&made)).await?;
        Ok(account)
    }
}

fn copy(stored: &StoredAccount) -> Result<instant_acme::AccountCredentials, String> {
    let copied = serde_json::to_value(&stored.credentials).and_then(serde_json::from_value);
    copied.map_err(|_| "the account cannot be read".to_owned())
}

/// Does what waits for the disk beside everything else.
async fn blocking<T: Send + 'static>(
    all: &Arc<Autocert>,
    work: impl FnOnce(&Autocert) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let all = Arc::clone(all);
    tokio::task::spawn_blocking(move || work(&all)).await.map_err(|_| "the server is ending".to_owned())?
}

/// What the authority says of the challenge that it was not content with.
async fn refusal(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let seen = authorization.refresh().await.ok()?;
        if let Some(problem) = seen.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return Some(cut(problem.to_string()));
        }
    }
    None
}

fn kind_of(error: &Error) -> Option<&str> {
    match error {
        Error::Api(problem) => problem.r#type.as_deref(),
        _ => None,
    }
}

fn words(error: &Error) -> String {
    cut(error.to_string())
}

/// So much of what somebody else says as belongs into a log.
fn cut(said: String) -> String {
    said.chars().take(500).map(|it| if it.is_control() { ' ' } else { it }).collect()
}

impl Calls {
    /// Heeds what an answer says of when to come again.
    fn heed(&self, status: StatusCode, headers: &HeaderMap) {
        if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return;
        }
        let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let wait = match seconds {
            Some(seconds) => Duration::from_secs(seconds).min(TOLD_WAIT_MAX),
            None if status == StatusCode::TOO_MANY_REQUESTS => TOLD_WAIT,
            None => return,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut not_before = lock(&self.not_before);
        *not_before = (*not_before).max(now + wait);
    }

    async fn make(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await;
        let body = body.to_bytes();
        let mut headers = parts.headers;
        // It is ours that authorities want to see.
        headers.remove(header::USER_AGENT);
        let call = Call {
            method: parts.method,
            headers,
            body,
            answer_bytes_max: ANSWER_BYTES_MAX,
            ..Call::get(parts.uri, CALL_TIMEOUT)
        };
        let answer = self.client.call(call).await.map_err(|error| Error::Other(Box::new(error)))?;
        self.heed(answer.status, &answer.headers);
        let mut response = Response::new(Full::new(answer.body));
        (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
        Ok(response.into())
    }
}

impl instant_acme::HttpClient for Calls {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().make(request))
    }
}
