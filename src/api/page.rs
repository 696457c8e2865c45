//! Files of this binary, served as they are.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A file as it is served.
pub(super) struct Page {
    /// Where.
    pub path: &'static str,
    /// Its type.
    pub media_type: &'static str,
    /// Its bytes.
    pub bytes: &'static [u8],
    /// Whether they are packed with gzip, which every browser unpacks.
    pub packed: bool,
}

/// Answers with a file, or says that the client has it.
pub(super) fn serve(page: &Page, policy: &'static str, request: &Request) -> Response {
    let tag = tag(page.bytes);
    let known = request.headers().get(header::IF_NONE_MATCH);
    let headers = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy.to_owned()),
        (header::CONTENT_TYPE, page.media_type.to_owned()),
    ];
    if known.is_some_and(|it| it.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let mut response = (headers, page.bytes).into_response();
    if page.packed {
        let gzip = HeaderValue::from_static("gzip");
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, gzip);
    }
    response
}

/// Names a version of a file: a new binary has other files.
fn tag(bytes: &[u8]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("\"{hash:016x}\"")
}
