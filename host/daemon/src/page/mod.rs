//! The page: files that are part of the binary, and nothing from elsewhere.
//!
//! They hold no data: what the page shows, it asks the API for, by the caller's own token. Everything becomes text, never
//! markup: the browser is told so, too, and refuses whatever would be otherwise.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::api::extract::Named;
use crate::api::problem::Problem;

/// Scripts and styles of ours only, none within the page, and no way for a script to make markup of text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// One file of the page.
struct File {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($name:literal $kind:ident),* $(,)?) => {
        [$(File { name: $name, kind: $kind, text: include_str!($name) }),*]
    };
}

const INDEX: File = File { name: "/", kind: HTML, text: include_str!("index.html") };
const ASSETS: [File; 14] = files![
    "style.css" CSS,
    "icon.svg" SVG,
    "app.js" SCRIPT,
    "actions.js" SCRIPT,
    "api.js" SCRIPT,
    "chart.js" SCRIPT,
    "dead.js" SCRIPT,
    "dom.js" SCRIPT,
    "find.js" SCRIPT,
    "format.js" SCRIPT,
    "live.js" SCRIPT,
    "notification.js" SCRIPT,
    "overview.js" SCRIPT,
    "plugins.js" SCRIPT,
];

/// `GET /`.
pub async fn index(headers: HeaderMap) -> Response {
    INDEX.answer(&headers)
}

/// `GET /assets/{file}`.
pub async fn asset(Named(name): Named, headers: HeaderMap) -> Result<Response, Problem> {
    let file = ASSETS.iter().find(|file| file.name == name);
    let file = file.ok_or_else(|| Problem::not_found("the page has no such file"))?;
    Ok(file.answer(&headers))
}

impl File {
    /// The browser keeps it, and asks each time whether it is still the same: a newer daemon has newer files.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(self.text)));
        let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        let same = known.is_some_and(|known| known.contains(&tag));
        let Ok(tag) = HeaderValue::from_str(&tag) else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.kind)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (header::ETAG, tag),
        ];
        match same {
            true => (StatusCode::NOT_MODIFIED, headers).into_response(),
            false => (headers, self.text).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a whole load, the first answer of the API included.
    const LARGEST: usize = 100 << 10;

    fn all() -> impl Iterator<Item = &'static File> {
        std::iter::once(&INDEX).chain(&ASSETS)
    }

    #[test]
    fn a_load_of_the_page_is_small() {
        let bytes: usize = all().map(|file| file.text.len()).sum();
        assert!(bytes < LARGEST - (20 << 10), "{bytes} bytes");
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_makes_no_markup_of_text() {
        for file in all() {
            for word in
                ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "style="]
            {
                assert!(!file.text.contains(word), "{}: {word}", file.name);
            }
            let links = file.text.match_indices("://").map(|(at, _)| at);
            let namespace = "http://www.w3.org/";
            for at in links {
                let start = at.saturating_sub("http".len());
                let rest = file.text.get(start..).unwrap_or_default();
                assert!(rest.starts_with(namespace), "{}: {:.60}", file.name, rest);
            }
        }
    }

    #[test]
    fn every_file_that_the_page_names_is_there() {
        for file in all() {
            let named = file.text.split(['"', '\'']).filter_map(|word| {
                word.strip_prefix("/assets/").or_else(|| word.strip_prefix("./"))
            });
            for name in named {
                assert!(ASSETS.iter().any(|asset| asset.name == name), "{}: {name}", file.name);
            }
        }
    }

    #[test]
    fn a_browser_that_has_it_gets_it_once() {
        let mut headers = HeaderMap::new();
        let first = INDEX.answer(&headers);
        assert_eq!(first.status(), StatusCode::OK);
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(INDEX.answer(&headers).status(), StatusCode::NOT_MODIFIED);
    }
}
