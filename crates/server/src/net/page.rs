//! The chat page, built into the binary.

use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use sha1::{Digest as _, Sha1};

/// A file of the page.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    etag: HeaderValue,
}

/// Names files below `page/` with their types.
macro_rules! assets {
    ($($name:literal => $content_type:ident),* $(,)?) => {
        [$((
            $name,
            $content_type,
            include_bytes!(concat!("../page/", $name)).as_slice(),
        )),*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let files = assets![
        "index.html" => HTML,
        "style.css" => CSS,
        "icon.svg" => SVG,
        "address.js" => JS,
        "app.js" => JS,
        "backoff.js" => JS,
        "chat.js" => JS,
        "client.js" => JS,
        "composer.js" => JS,
        "dom.js" => JS,
        "drawers.js" => JS,
        "keys.js" => JS,
        "pane.js" => JS,
        "people.js" => JS,
        "room.js" => JS,
        "rooms.js" => JS,
        "settings.js" => JS,
        "status.js" => JS,
        "text.js" => JS,
        "theme.js" => JS,
        "timeline.js" => JS,
    ];
    let asset = |(name, content_type, bytes)| Asset { name, content_type, bytes, etag: etag(bytes) };
    files.into_iter().map(asset).collect()
});

/// Whether a path is one of the page.
pub(crate) fn has(path: &str) -> bool {
    path == "/" || path.starts_with("/page/")
}

/// `GET /`
pub(crate) async fn index(headers: HeaderMap) -> Response<Body> {
    respond("index.html", &headers)
}

/// `GET /page/{name}`
pub(crate) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response<Body> {
    respond(&name, &headers)
}

fn respond(name: &str, request: &HeaderMap) -> Response<Body> {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        let mut response = Response::new(Body::from("there is no such file\n"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let known = request.get_all(header::IF_NONE_MATCH).iter().any(|etag| etag == asset.etag);
    let mut response = Response::new(match known {
        true => Body::empty(),
        false => Body::from(Bytes::from_static(asset.bytes)),
    });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(header::ETAG, asset.etag.clone());
    // Asks each time, so that a new version shows at once; the answer is mostly a short 304.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn etag(bytes: &[u8]) -> HeaderValue {
    let mut text = String::from("\"");
    for byte in Sha1::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text.push('"');
    // Hexadecimal digits and quotes are always a header value.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("\"0\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page");
        for entry in std::fs::read_dir(folder).expect("the page's folder") {
            let name = entry.expect("an entry").file_name();
            let name = name.to_str().expect("a plain name");
            assert!(ASSETS.iter().any(|asset| asset.name == name), "add {name} to the list in net/page.rs");
        }
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let first = respond("app.js", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CONTENT_TYPE], JS);
        let mut request = HeaderMap::new();
        request.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(respond("app.js", &request).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(respond("style.css", &request).status(), StatusCode::OK);
        assert_eq!(respond("../page.rs", &request).status(), StatusCode::NOT_FOUND);
    }
}
