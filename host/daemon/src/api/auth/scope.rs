//! What a token allows, and what each path asks for.

use std::fmt;

use axum::http::Method;
use postrider_core::suggest;

/// One thing that a token may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To hand notifications in.
    Ingest,
    /// To look at everything but tokens and the audit.
    Read,
    /// Everything.
    Admin,
}

/// What a token allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    ingest: bool,
    read: bool,
    admin: bool,
}

const ALL: [Scope; 3] = [Scope::Ingest, Scope::Read, Scope::Admin];

/// Paths that take notifications in, each by a POST.
const INTAKE: [&str; 5] = [
    "/v1/notifications",
    "/v1/notifications/batch",
    "/v1/cloudevents",
    "/v1/alertmanager",
    "/v1/notify",
];
/// A POST that changes nothing.
const QUESTIONS: [&str; 1] = ["/v1/explain"];
/// What a supervisor, and a page before it has a token, may see.
const OPEN: [&str; 8] =
    ["/", "/healthz", "/livez", "/readyz", "/openapi.json", "/docs", "/login", "/logout"];
/// The page's own files.
const ASSETS: &str = "/assets/";

/// What a request must be allowed; none where anybody may send it. A path that is not known here asks for all.
pub fn needed(method: &Method, path: &str) -> Option<Scope> {
    let looks = matches!(*method, Method::GET | Method::HEAD);
    let is_under = |root: &str| {
        path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match () {
        () if OPEN.contains(&path) || (looks && path.starts_with(ASSETS)) => None,
        () if is_under("/v1/tokens") || is_under("/v1/audit") => Some(Scope::Admin),
        () if *method == Method::POST && INTAKE.contains(&path) => Some(Scope::Ingest),
        () if looks || QUESTIONS.contains(&path) => Some(Scope::Read),
        () => Some(Scope::Admin),
    }
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        ALL.into_iter().find(|scope| scope.name() == text).ok_or_else(|| {
            let names = ALL.map(Self::name);
            let near = suggest::nearest(text, names);
            let near = near.map(|name| format!(" did you mean \"{name}\"?")).unwrap_or_default();
            format!(
                "\"{}\" is no scope;{near} known here: {}",
                text.escape_debug(),
                names.join(", ")
            )
        })
    }
}

impl Scopes {
    /// All there are.
    pub fn all() -> Self {
        Self { ingest: true, read: true, admin: true }
    }

    /// Reads names. Errors name the one that is no scope.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut scopes = Self::default();
        for name in names {
            scopes.add(Scope::parse(name)?);
        }
        if scopes == Self::default() {
            return Err(format!(
                "is empty; write one or more of {}",
                ALL.map(Scope::name).join(", ")
            ));
        }
        Ok(scopes)
    }

    /// Reads names that a store keeps. One that a newer postrider wrote allows nothing here.
    pub fn kept(names: &str) -> Self {
        let mut scopes = Self::default();
        for scope in names.split_whitespace().filter_map(|name| Scope::parse(name).ok()) {
            scopes.add(scope);
        }
        scopes
    }

    pub fn allow(self, scope: Scope) -> bool {
        self.admin
            || match scope {
                Scope::Ingest => self.ingest,
                Scope::Read => self.read,
                Scope::Admin => false,
            }
    }

    pub fn names(self) -> Vec<&'static str> {
        let has = |scope: &Scope| match scope {
            Scope::Ingest => self.ingest,
            Scope::Read => self.read,
            Scope::Admin => self.admin,
        };
        ALL.iter().filter(|scope| has(scope)).map(|scope| scope.name()).collect()
    }

    fn add(&mut self, scope: Scope) {
        match scope {
            Scope::Ingest => self.ingest = true,
            Scope::Read => self.read = true,
            Scope::Admin => self.admin = true,
        }
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_asks_for_what_it_does() {
        for (method, path, scope) in [
            (Method::POST, "/v1/notifications", Some(Scope::Ingest)),
            (Method::POST, "/v1/alertmanager", Some(Scope::Ingest)),
            (Method::GET, "/v1/notifications", Some(Scope::Read)),
            (Method::GET, "/v1/deliveries/7", Some(Scope::Read)),
            (Method::GET, "/metrics", Some(Scope::Read)),
            (Method::POST, "/v1/explain", Some(Scope::Read)),
            (Method::POST, "/v1/deliveries/7/redeliver", Some(Scope::Admin)),
            (Method::POST, "/v1/notifications/x", Some(Scope::Admin)),
            (Method::DELETE, "/v1/cloudevents", Some(Scope::Admin)),
            (Method::GET, "/v1/tokens", Some(Scope::Admin)),
            (Method::GET, "/v1/audit", Some(Scope::Admin)),
            (Method::GET, "/v1/auditors", Some(Scope::Read)),
            (Method::GET, "/healthz", None),
            (Method::POST, "/login", None),
            (Method::PUT, "/assets/x", Some(Scope::Admin)),
            (Method::GET, "/v1/tokens/", Some(Scope::Admin)),
            (Method::GET, "//v1/tokens", Some(Scope::Read)),
        ] {
            assert_eq!(needed(&method, path), scope, "{method} {path}");
        }
    }

    #[test]
    fn admin_is_everything_and_the_others_are_themselves() {
        let scopes = |names: &str| Scopes::kept(names);
        assert!(ALL.into_iter().all(|scope| scopes("admin").allow(scope)));
        assert!(scopes("ingest").allow(Scope::Ingest) && !scopes("ingest").allow(Scope::Read));
        assert!(scopes("read").allow(Scope::Read) && !scopes("read").allow(Scope::Admin));
        assert_eq!(scopes("read future ingest").to_string(), "ingest read");
        assert!(!scopes("future").allow(Scope::Ingest));
    }

    #[test]
    fn a_name_that_is_no_scope_is_refused() {
        let error = Scopes::parse(["raed"]).unwrap_err();
        assert!(error.contains("\"raed\" is no scope; did you mean \"read\"?"), "{error}");
        let error = Scopes::parse(["bogus"]).unwrap_err();
        assert!(
            error.ends_with("\"bogus\" is no scope; known here: ingest, read, admin"),
            "{error}"
        );
        assert!(Scopes::parse([]).unwrap_err().contains("is empty"));
    }
}
