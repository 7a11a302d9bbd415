//! The trace that a request belongs to, for the notifications that it makes.

use axum::http::HeaderMap;
use postrider_core::{Draft, TraceContext};

/// Names of the two headers, and of the fields that say the same.
pub(super) const PARENT: &str = "traceparent";
pub(super) const STATE: &str = "tracestate";

/// What the headers say. A `tracestate` may be spread over several.
pub(super) fn of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all(PARENT).iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
    let states: Option<Vec<&str>> =
        headers.get_all(STATE).iter().map(|value| value.to_str().ok()).collect();
    let state = states.map(|states| states.join(",")).filter(|state| !state.is_empty());
    TraceContext::parse(parent.to_str().ok()?, state.as_deref())
}

/// Gives the request's trace to a draft that has none of its own.
pub(super) fn onto(draft: &mut Draft, headers: &HeaderMap) {
    if draft.trace.is_none() {
        draft.trace = of(headers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_state_in_two_headers_is_one() {
        let trace = of(&headers(&[(PARENT, ONE), (STATE, "a=1"), (STATE, "b=2")])).unwrap();
        assert_eq!((trace.parent(), trace.state()), (ONE, Some("a=1,b=2")));
    }

    #[test]
    fn two_parents_are_none() {
        assert_eq!(of(&headers(&[(PARENT, ONE), (PARENT, ONE)])), None);
        assert_eq!(of(&headers(&[(STATE, "a=1")])), None);
    }

    #[test]
    fn a_drafts_own_trace_stays() {
        let own = TraceContext::parse(&ONE.replace("0af7", "1111"), None);
        let mut draft = Draft { trace: own.clone(), ..Draft::default() };
        onto(&mut draft, &headers(&[(PARENT, ONE)]));
        assert_eq!(draft.trace, own);
    }
}
