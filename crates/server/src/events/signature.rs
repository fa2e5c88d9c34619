//! How a batch is signed: as Standard Webhooks has it, for which there are libraries in most languages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::WebhookSecret;
use crate::util::signature::Algorithm;

/// The header `webhook-signature` of a body that is sent under that id at that time, in seconds since 1970.
pub(super) fn sign(secret: &WebhookSecret, id: &str, timestamp_s: u64, body: &[u8]) -> String {
    let mut message = format!("{id}.{timestamp_s}.").into_bytes();
    message.extend_from_slice(body);
    // The algorithm takes a secret.
    let signature = secret.key().sign(Algorithm::Hs256, &message).unwrap_or_default();
    format!("v1,{}", STANDARD.encode(signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // The example of the specification.
        let secret = WebhookSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let signature = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
