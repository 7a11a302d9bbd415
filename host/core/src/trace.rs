//! The trace that a producer's notification belongs to: W3C Trace Context, kept and handed on as it came.
//!
//! Postrider records no spans, so what the receiver sees as its parent is the producer's span.

/// Longest `tracestate` that is kept: what the recommendation asks everyone to carry.
pub const MAX_STATE: usize = 512;
/// Longest `traceparent` of a version later than 00.
const MAX_PARENT: usize = 200;

/// A `traceparent` and its `tracestate`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    parent: String,
    state: Option<String>,
}

impl TraceContext {
    /// Reads what a producer sent; none where the parent is not one. A state that cannot be carried is left out, as
    /// the recommendation says: a trace is never worth a notification.
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let parent = parent.trim_matches([' ', '\t']);
        if !is_parent(parent) {
            return None;
        }
        let state =
            state.map(|state| state.trim_matches([' ', '\t'])).filter(|state| is_state(state));
        Some(Self { parent: parent.to_owned(), state: state.map(str::to_owned) })
    }

    /// The header `traceparent`.
    pub fn parent(&self) -> &str {
        &self.parent
    }

    /// The header `tracestate`.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The trace's id: 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        self.parent.get(3..35).unwrap_or("")
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`; later versions may go on behind another dash.
fn is_parent(text: &str) -> bool {
    let mut fields = text.split('-');
    let mut next = |digits: usize| fields.next().filter(|field| is_hex(field, digits));
    let (Some(version), Some(trace), Some(span), Some(_flags)) =
        (next(2), next(32), next(16), next(2))
    else {
        return false;
    };
    let more = fields.next().is_some();
    let is_zero = |field: &str| field.bytes().all(|b| b == b'0');
    version != "ff"
        && !is_zero(trace)
        && !is_zero(span)
        && (version != "00" || !more)
        && text.len() <= MAX_PARENT
        && text.bytes().all(|b| b.is_ascii_graphic())
}

fn is_hex(field: &str, digits: usize) -> bool {
    field.len() == digits && field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_state(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_STATE
        && text.bytes().all(|b| b.is_ascii_graphic() || matches!(b, b' ' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_is_kept_as_it_came() {
        let trace = TraceContext::parse(PARENT, Some("congo=t61rcWkgMzE,rojo=00f067")).unwrap();
        assert_eq!(trace.parent(), PARENT);
        assert_eq!(trace.state(), Some("congo=t61rcWkgMzE,rojo=00f067"));
        assert_eq!(trace.id(), "0af7651916cd43dd8448eb211c80319c");
        let later = format!("cc{}-what-comes", PARENT.trim_start_matches("00"));
        assert_eq!(TraceContext::parse(&later, None).unwrap().parent(), later);
    }

    #[test]
    fn what_is_no_parent_is_none() {
        for parent in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-a\r\nb: c",
        ] {
            assert_eq!(TraceContext::parse(parent, None), None, "{parent}");
        }
    }

    #[test]
    fn a_state_that_cannot_be_carried_costs_no_trace() {
        let long = "a".repeat(MAX_STATE + 1);
        for state in ["", "a=b\r\nx: y", "a=ü", &long] {
            assert_eq!(TraceContext::parse(PARENT, Some(state)).unwrap().state(), None, "{state}");
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_is_a_header(parent in ".{0,80}", state in ".{0,600}") {
            for parent in [parent.as_str(), PARENT, &format!("01{}-{parent}", &PARENT[2..])] {
                if let Some(trace) = TraceContext::parse(parent, Some(&state)) {
                    for text in [Some(trace.parent()), trace.state()].into_iter().flatten() {
                        prop_assert!(text.bytes().all(|b| b == b'\t' || (b' '..0x7f).contains(&b)));
                        prop_assert!(text.len() <= MAX_STATE);
                    }
                    prop_assert_eq!(trace.id().len(), 32);
                }
            }
        }
    }
}
