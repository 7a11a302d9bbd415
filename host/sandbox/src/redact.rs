//! Hides known secret values in texts for people: plain, percent-encoded, base64 and JSON-escaped.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::secrets::Secrets;

/// Shortest text that is hidden: anything shorter also occurs in ordinary words.
const SHORTEST: usize = 5;

/// The forms of a destination's secrets, longest first, and what stands in their place.
#[derive(Default)]
pub(crate) struct Redactor(Vec<(String, String)>);

impl Redactor {
    pub(crate) fn new(secrets: &Secrets) -> Self {
        let mut forms = Vec::new();
        for (name, value) in secrets.iter() {
            let shown = format!("[secret:{name}]");
            for part in parts(value) {
                forms.extend(encodings(part).into_iter().map(|form| (form, shown.clone())));
            }
        }
        forms.retain(|(form, _)| form.len() >= SHORTEST);
        forms.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        forms.dedup_by(|a, b| a.0 == b.0);
        Self(forms)
    }

    /// `text` without the values that this redactor knows.
    pub(crate) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for (form, shown) in &self.0 {
            if text.contains(form.as_str()) {
                text = Cow::Owned(text.replace(form.as_str(), shown));
            }
        }
        text
    }
}

/// What of a value gives it away: the whole, each of several rotating keys, a key without its `whsec_` or `whsk_`,
/// and the path of a URL, which is where webhook services put the credential.
fn parts(value: &str) -> Vec<&str> {
    let mut parts = vec![value, value.trim()];
    for key in value.split_whitespace() {
        parts.push(key);
        parts.extend(key.strip_prefix("whsec_").or_else(|| key.strip_prefix("whsk_")));
        if let Some((_, rest)) = key.split_once("://")
            && let Some(slash) = rest.find('/')
        {
            parts.extend(rest.get(slash..).filter(|path| path.len() > SHORTEST));
        }
    }
    parts
}

fn encodings(part: &str) -> Vec<String> {
    let percent = percent_encode(part);
    let mut forms =
        vec![part.to_owned(), percent.replace("%20", "+"), percent.to_lowercase(), percent];
    forms.extend(serde_json::to_string(part).ok().map(|json| json.trim_matches('"').to_owned()));
    for start in 0..3 {
        forms.extend(base64_inside(part.as_bytes(), start));
    }
    forms
}

/// The base64 characters that depend on `bytes` alone when `start` unknown bytes stand before them, as the user
/// name does in basic authentication.
fn base64_inside(bytes: &[u8], start: usize) -> Vec<String> {
    let mut padded = vec![0; start];
    padded.extend_from_slice(bytes);
    let from = (start * 8).div_ceil(6);
    let until = padded.len() * 8 / 6;
    [STANDARD.encode(&padded), URL_SAFE.encode(&padded)]
        .iter()
        .filter_map(|text| text.get(from..until).map(str::to_owned))
        .collect()
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _infallible = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redactor(value: &str) -> Redactor {
        Redactor::new(&Secrets::from_iter([("token".to_owned(), value.to_owned())]))
    }

    #[test]
    fn every_form_of_a_value_is_hidden() {
        let hide = redactor("pa ss/wörd+1");
        for form in [
            "pa ss/wörd+1".to_owned(),
            "pa%20ss%2Fw%C3%B6rd%2B1".to_owned(),
            "pa+ss%2Fw%C3%B6rd%2B1".to_owned(),
            "pa%20ss%2fw%c3%b6rd%2b1".to_owned(),
        ] {
            assert_eq!(hide.redact(&format!("<{form}>")), "<[secret:token]>", "{form}");
        }
        let basic = STANDARD.encode("user:pa ss/wörd+1");
        assert!(hide.redact(&basic).contains("[secret:token]"), "{basic}");
    }

    #[test]
    fn the_path_of_a_secret_url_is_hidden_alone_too() {
        let hide = redactor("https://hooks.slack.com/services/T0/B0/xyz");
        assert_eq!(hide.redact("POST /services/T0/B0/xyz: 404"), "POST [secret:token]: 404");
        assert_eq!(hide.redact("hooks.slack.com is down"), "hooks.slack.com is down");
    }

    #[test]
    fn each_of_several_keys_is_hidden() {
        let hide = redactor("whsec_bmV3LWtleQ== whsec_b2xkLWtleQ==");
        assert_eq!(hide.redact("key b2xkLWtleQ== used"), "key [secret:token] used");
    }

    #[test]
    fn short_values_do_not_mask_words() {
        assert_eq!(redactor("a").redact("a banana"), "a banana");
    }

    proptest! {
        #[test]
        fn no_value_survives(value in "[ -~]{8,30}", before in "[a-z ]{0,9}", after in "[a-z ]{0,9}") {
            let shown = redactor(&value).redact(&format!("{before}{value}{after}")).into_owned();
            prop_assert!(!shown.contains(value.trim()), "{}", shown);
        }
    }
}
