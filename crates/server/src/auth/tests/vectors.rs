//! The keys and tokens that RFC 7515 gives as its examples (appendix A).

use crate::util::signature::{Algorithm, PublicKey, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const RSA: &str = "-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAofgWCuLjybRlzo0tZWJj\n\
NiuSfb4p4fAkd/wWJcyQoTbji9k0l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEz\n\
P1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo\n\
9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTB\n\
EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxX\n\
FvUK+DWNmoudF8NAco9/h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp\n\
oQIDAQAB\n\
-----END PUBLIC KEY-----";

const RSA_PKCS1: &str = "-----BEGIN RSA PUBLIC KEY-----\n\
MIIBCgKCAQEAofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd/wWJcyQoTbji9k0l8W2\n\
6mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMs\n\
D1W/YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5\n\
z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxv\n\
b3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxXFvUK+DWNmoudF8NAco9/h9iaGNj8q2et\n\
hFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQIDAQAB\n\
-----END RSA PUBLIC KEY-----";

const P256: &str = "-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n\
6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n\
-----END PUBLIC KEY-----";

const P521: &str = "-----BEGIN PUBLIC KEY-----\n\
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQB6SkFDxJPxrxVx9U5M2Xfne9KsMIs\n\
sleY+TTrBOPGuuNwGlenkQ6dgb82MVno68sVXWNJ9L22zPipTFxZx6rBAaQANKZE\n\
DjdnUNI3H9G9wsjztx0vTuXqNDLIFcyjFWD+XZOH7HdLVYOGMOXLv1qMvgqR3QBk\n\
xpmaH25uZ/rd7eTIyPY=\n\
-----END PUBLIC KEY-----";

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64")
}

#[test]
fn hs256_of_appendix_a_1() {
    let secret =
        Secret::new(decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"));
    let message = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                   eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = decode("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert!(secret.verify(Algorithm::Hs256, message.as_bytes(), &signature));
    assert!(!secret.verify(Algorithm::Hs384, message.as_bytes(), &signature));
    assert!(!secret.verify(Algorithm::Rs256, message.as_bytes(), &signature));
    assert!(!secret.verify(Algorithm::Hs256, message.as_bytes(), &signature[..31]), "a part of it is not it");
    assert!(!secret.verify(Algorithm::Hs256, message.as_bytes(), &[]));
}

#[test]
fn rs256_of_appendix_a_2() {
    let message = "eyJhbGciOiJSUzI1NiJ9.\
                   eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = decode(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKB\
         YNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6Bf\
         I7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
    for pem in [RSA, RSA_PKCS1] {
        let key = PublicKey::rsa(pem).expect("a key");
        assert!(key.verify(Algorithm::Rs256, message.as_bytes(), &signature));
        assert!(!key.verify(Algorithm::Rs512, message.as_bytes(), &signature));
        assert!(!key.verify(Algorithm::Es256, message.as_bytes(), &signature));
        assert!(!key.verify(Algorithm::Rs256, &message.as_bytes()[1..], &signature));
    }
}

#[test]
fn es256_of_appendix_a_3() {
    let message = "eyJhbGciOiJFUzI1NiJ9.\
                   eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
    let key = PublicKey::ecdsa(P256).expect("a key");
    assert!(key.verify(Algorithm::Es256, message.as_bytes(), &signature));
    assert!(!key.verify(Algorithm::Es512, message.as_bytes(), &signature), "its curve is another's");
    assert!(!key.verify(Algorithm::Es256, message.as_bytes(), &[0; 64]), "zeros are no signature");
}

#[test]
fn es512_of_appendix_a_4() {
    let message = "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA";
    let signature = decode(
        "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdO\
         O8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
    );
    let key = PublicKey::ecdsa(P521).expect("a key");
    assert!(key.verify(Algorithm::Es512, message.as_bytes(), &signature));
    assert!(!key.verify(Algorithm::Es512, b"eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZB", &signature));
}

#[test]
fn a_key_of_another_kind_is_refused_without_being_shown() {
    let cut = &RSA[..RSA.len() - 40];
    for wrong in [P256, "", "secret", cut, &RSA.replace("PUBLIC KEY", "PRIVATE KEY")] {
        let said = PublicKey::rsa(wrong).expect_err("no key of RSA");
        assert!(said.contains("RSA") && !said.contains("MIIB"), "{said}");
    }
    for wrong in [RSA, RSA_PKCS1, "", &P256.replace("PUBLIC KEY", "EC PRIVATE KEY")] {
        assert!(PublicKey::ecdsa(wrong).is_err());
    }
    assert_eq!(format!("{:?}", Secret::new("hush")), "Secret(…)");
}
