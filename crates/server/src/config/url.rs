//! Where a backend is asked, or an issuer of keys: what all of these addresses have in common.

use axum::http::Uri;

/// The longest address, in bytes; more is a typing error.
pub(super) const URL_BYTES_MAX: usize = 2_048;

/// Why an address cannot be asked at. It does not show the address: there may be a key in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UrlError {
    /// It is none, not one of HTTP, too long, or has a fragment, which no server is told.
    NotHttp,
    /// It holds a user or a password, which would be in every log.
    HasPassword,
}

/// Reads an address of `http://` or `https://`, without a user, a password or a fragment.
pub(super) fn http_url(written: &str) -> Result<Uri, UrlError> {
    let uri: Uri = match written.len() <= URL_BYTES_MAX && !written.contains('#') {
        true => written.parse().map_err(|_| UrlError::NotHttp)?,
        false => return Err(UrlError::NotHttp),
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(UrlError::HasPassword);
    }
    let is_http = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    if is_http { Ok(uri) } else { Err(UrlError::NotHttp) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_http_without_a_password() {
        for good in ["http://127.0.0.1:3000", "https://backend.example/callbacks?site=1", "http://[::1]:80/x"] {
            assert_eq!(http_url(good).map(|uri| uri.to_string().contains("://")), Ok(true), "{good}");
        }
        let long = format!("http://a/{}", "x".repeat(URL_BYTES_MAX));
        for bad in
            ["", "backend:3000", "/callbacks", "ftp://a/b", "http://", "http:///x", "http://a/#x", "http://:80/", &long]
        {
            assert_eq!(http_url(bad), Err(UrlError::NotHttp), "{bad}");
        }
        for bad in ["http://ann:pass@a/b", "https://ann@a"] {
            assert_eq!(http_url(bad), Err(UrlError::HasPassword), "{bad}");
        }
    }
}
