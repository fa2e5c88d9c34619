//! The client before backends that speak TLS.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::Pem;

const CA: &str = include_str!("tls/ca.pem");
const SERVER: &str = include_str!("tls/server.pem");
const SERVER_KEY: &str = include_str!("tls/server.key");
const CLIENT: &str = include_str!("tls/client.pem");
const CLIENT_KEY: &str = include_str!("tls/client.key");

/// A backend named `backend.test` that says "ok", to those with a certificate alone if it `asks_back`.
pub(crate) async fn serve_tls(asks_back: bool) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = if asks_back {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate(CA)).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_slice(SERVER_KEY.as_bytes()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate(SERVER)], key).unwrap()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let mut asked = [0; 4096];
            let _ = socket.read(&mut asked).await;
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            let _ = socket.shutdown().await;
        }
    });
    address
}

fn pem(text: &str) -> Option<Pem> {
    Some(Pem::read(text).unwrap())
}

pub(crate) fn trusting() -> TlsOptions {
    TlsOptions {
        enabled: true,
        server_ca_pem: pem(CA),
        server_name: Some("backend.test".to_owned()),
        ..TlsOptions::default()
    }
}

async fn ask_by(tls: &TlsOptions, address: SocketAddr) -> Result<Bytes, CallError> {
    let client = HttpClient::new(Handle::current(), tls).unwrap();
    let url = format!("https://{address}/").parse().unwrap();
    client.call(Call::get(url, LONG)).await.and_then(Answer::ok)
}

#[tokio::test]
async fn a_server_is_believed_by_its_authority_and_its_name() {
    let address = serve_tls(false).await;
    assert_eq!(ask_by(&trusting(), address).await.unwrap(), "ok");
    let refused = [
        ("nobody vouches for it", TlsOptions::default()),
        ("it is another's", TlsOptions { server_name: Some("other.test".to_owned()), ..trusting() }),
        ("it has no such address", TlsOptions { server_name: None, ..trusting() }),
        ("the options are off", TlsOptions { enabled: false, ..trusting() }),
    ];
    for (why, tls) in refused {
        let error = ask_by(&tls, address).await.unwrap_err();
        assert!(matches!(&error, CallError::Unreachable(text) if text.contains("certificate")), "{why}: {error:?}");
    }
    let any = TlsOptions { enabled: true, insecure_skip_verify: true, ..TlsOptions::default() };
    assert_eq!(ask_by(&any, address).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_server_that_asks_back_is_shown_our_certificate() {
    let address = serve_tls(true).await;
    let error = ask_by(&trusting(), address).await.unwrap_err();
    assert!(matches!(error, CallError::Broken(_) | CallError::Unreachable(_)), "{error:?}");
    let known = TlsOptions { cert_pem: pem(CLIENT), key_pem: pem(CLIENT_KEY), ..trusting() };
    assert_eq!(ask_by(&known, address).await.unwrap(), "ok");
    assert!(!format!("{known:?}").contains("BEGIN"), "keys show nowhere");
}

#[tokio::test]
async fn what_cannot_be_used_says_which_option_it_is() {
    let key_of_another = TlsOptions { cert_pem: pem(CLIENT), key_pem: pem(SERVER_KEY), ..trusting() };
    let alone = TlsOptions { cert_pem: pem(CLIENT), ..trusting() };
    let no_certificate = TlsOptions { server_ca_pem: pem(CLIENT_KEY), ..trusting() };
    let no_key = TlsOptions { cert_pem: pem(CLIENT), key_pem: pem(CLIENT), ..trusting() };
    for (tls, named) in [
        (key_of_another, "`key_pem` is not the key"),
        (alone, "go together"),
        (no_certificate, "`server_ca_pem`"),
        (no_key, "`key_pem`"),
    ] {
        let error = HttpClient::new(Handle::current(), &tls).unwrap_err();
        assert!(error.contains(named), "{error}");
        let off = TlsOptions { enabled: false, ..tls };
        assert!(HttpClient::new(Handle::current(), &off).is_ok(), "what is off is not looked at");
    }
}

#[test]
fn pem_is_text_base64_or_a_path() {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(CA);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/tests/tls/ca.pem");
    for written in [CA, encoded.as_str(), path] {
        let tls = TlsOptions { server_ca_pem: pem(written), enabled: true, ..TlsOptions::default() };
        assert!(tls.client().is_ok(), "{written}");
    }
    for wrong in ["", "no/such/file.pem", "c2VjcmV0"] {
        let error = Pem::read(wrong).unwrap_err();
        assert!(error.starts_with("expected PEM"), "{error}");
    }
}
