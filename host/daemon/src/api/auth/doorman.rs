//! Lets a request through, or not: by its token, its cookie, or the connection that it came over.
//!
//! *Invariant:* whatever is wrong with a token, the answer is the same 401.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postrider_queue::{Access, LAST_USE, QueueError, TokenRecord};
use tokio::time::Instant;

use super::caller::Caller;
use super::scope::{Scope, Scopes, needed};
use super::session::{self, Sessions};
use super::strangers::Strangers;
use super::token::Token;
use crate::api::problem::Problem;
use crate::listen::peer::{Peer, Who};

/// How long a token that was looked up is believed: one that another host revokes works here for as long at most.
const BELIEVED: Duration = Duration::from_secs(5);

/// Keeps the door. Cheap to clone.
#[derive(Clone)]
pub struct Doorman(Arc<Inner>);

struct Inner {
    access: Arc<dyn Access>,
    sessions: Sessions,
    known: Mutex<HashMap<String, Known>>,
    strangers: Strangers,
}

/// A token that exists, as it was looked up.
struct Known {
    record: TokenRecord,
    looked: Instant,
    /// When its use was last noted.
    noted: Option<Instant>,
}

impl Doorman {
    pub fn new(access: Arc<dyn Access>, sessions: Sessions) -> Self {
        let (known, strangers) = (Mutex::default(), Strangers::default());
        Self(Arc::new(Inner { access, sessions, known, strangers }))
    }

    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// The caller that a token is for; none where it is wrong in whatever way.
    pub async fn by_token(&self, text: &str) -> Result<Option<Caller>, QueueError> {
        let Some(token) = Token::parse(text) else { return Ok(None) };
        let record = self.look_up(&token.id).await?;
        // Compared also where there is nothing to compare with, so that an id is not told by the time it takes.
        let kept = record.as_ref().map_or([0; 32], |record| record.hash);
        let is_right = token.is(&kept);
        Ok(record.filter(|record| is_right && !record.expired).map(|record| self.used(&record)))
    }

    /// The caller of a web page that has shown its token before.
    pub async fn by_cookie(&self, value: &str) -> Result<Option<Caller>, QueueError> {
        let Some(id) = self.0.sessions.token_of(value) else { return Ok(None) };
        let record = self.look_up(&id).await?;
        Ok(record.filter(|record| !record.expired).map(|record| self.used(&record)))
    }

    /// Forgets what it knows of a token that is no more.
    pub fn forget(&self, id: &str) {
        self.known().remove(id);
    }

    async fn look_up(&self, id: &str) -> Result<Option<TokenRecord>, QueueError> {
        let mut is_known = false;
        if let Some(known) = self.known().get(id) {
            if known.looked.elapsed() < BELIEVED {
                return Ok(Some(known.record.clone()));
            }
            is_known = true;
        }
        if !is_known && self.is_absent(id).await? {
            return Ok(None);
        }
        let record = self.0.access.token(id).await?;
        let mut known = self.known();
        match &record {
            None => {
                known.remove(id);
                self.0.strangers.note(id);
            }
            Some(record) => {
                let noted = known.get(id).and_then(|known| known.noted);
                let entry = Known { record: record.clone(), looked: Instant::now(), noted };
                known.insert(id.to_owned(), entry);
            }
        }
        Ok(record)
    }

    /// Waits for the turn of an id that never opened; true where it is found absent meanwhile, by whoever asked.
    async fn is_absent(&self, id: &str) -> Result<bool, QueueError> {
        let strangers = &self.0.strangers;
        if strangers.knows(id) {
            return Ok(true);
        }
        let many = || QueueError::Unavailable("too many unknown tokens are tried".to_owned());
        tokio::time::sleep_until(strangers.turn().ok_or_else(many)?).await;
        Ok(strangers.knows(id))
    }

    /// Notes the use, now and then, while the request goes on.
    fn used(&self, record: &TokenRecord) -> Caller {
        let id = record.id.clone();
        let due = self.known().get_mut(&id).is_some_and(|known| {
            let due = known.noted.is_none_or(|at| at.elapsed() >= LAST_USE);
            if due {
                known.noted = Some(Instant::now());
            }
            due
        });
        if due {
            let inner = self.0.clone();
            tokio::spawn(async move {
                if let Err(error) = inner.access.use_token(&id).await {
                    tracing::debug!(%error, token.id = id, "the use of a token could not be noted");
                }
            });
        }
        Caller {
            actor: format!("token {} ({})", record.name, record.id),
            scopes: Scopes::kept(&record.scopes),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The check before every handler.
pub async fn check(
    door: &Doorman,
    mut request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let Some(scope) = needed(request.method(), request.uri().path()) else {
        return next(request).await;
    };
    // Without a listener's word it is a stranger.
    let who = request.extensions().get::<Peer>().map_or(Who::Network, |peer| peer.who);
    let caller = match find(door, request.headers(), who).await {
        Ok(Some(caller)) => caller,
        Ok(None) => return Problem::unauthorized().into_response(),
        Err(error) => return Problem::from(error).into_response(),
    };
    if !caller.scopes.allow(scope) {
        return lacking(&caller, scope).into_response();
    }
    request.extensions_mut().insert(caller);
    next(request).await
}

/// A token that is shown counts, also where none is needed; a cookie that is worth nothing is none.
async fn find(door: &Doorman, headers: &HeaderMap, who: Who) -> Result<Option<Caller>, QueueError> {
    if let Some(shown) = headers.get(header::AUTHORIZATION) {
        let text = shown.to_str().ok().and_then(|text| text.split_once(' '));
        return match text.filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer")) {
            Some((_, token)) => door.by_token(token.trim()).await,
            None => Ok(None),
        };
    }
    if let Some(cookie) = session::cookie(headers)
        && let Some(caller) = door.by_cookie(cookie).await?
    {
        return Ok(Some(caller));
    }
    Ok(match who {
        Who::Owner { uid } => Some(Caller::trusted(format!("uid {uid}"))),
        Who::Loopback => Some(Caller::trusted("loopback".to_owned())),
        Who::OtherUser { .. } | Who::Network => None,
    })
}

fn lacking(caller: &Caller, scope: Scope) -> Problem {
    let detail = format!(
        "this takes a token with the scope \"{}\"; this one has \"{}\"",
        scope.name(),
        caller.scopes
    );
    Problem::new(StatusCode::FORBIDDEN, detail)
}

#[cfg(test)]
mod tests {
    use postrider_queue::{MemoryQueue, NewToken};

    use super::*;

    fn new(token: &Token, name: &str) -> NewToken {
        NewToken {
            id: token.id.clone(),
            name: name.to_owned(),
            scopes: "ingest".to_owned(),
            hash: token.hash(),
            expires_after: None,
        }
    }

    fn door() -> (Arc<MemoryQueue>, Doorman) {
        let store = Arc::new(MemoryQueue::new(jiff::Timestamp::UNIX_EPOCH));
        let sessions = Sessions::new([7; 64], || jiff::Timestamp::UNIX_EPOCH);
        (store.clone(), Doorman::new(store, sessions))
    }

    async fn actor(door: &Doorman, headers: &[(&'static str, String)], who: Who) -> Option<String> {
        let header = |(name, value): &(&'static str, String)| {
            (name.parse().unwrap(), value.parse().unwrap())
        };
        let headers = headers.iter().map(header).collect();
        find(door, &headers, who).await.unwrap().map(|caller| caller.actor)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_counts_and_a_wrong_one_is_worse_than_none() {
        let (store, door) = door();
        let token = Token::new([1; 8], [1; 32]);
        store.create_token(&new(&token, "ops")).await.unwrap();
        let right = [("authorization", format!("Bearer {}", token.reveal()))];
        let named = Some("token ops (0101010101010101)".to_owned());
        for who in [Who::Network, Who::Loopback, Who::OtherUser { uid: 5 }, Who::Owner { uid: 0 }] {
            assert_eq!(actor(&door, &right, who).await, named);
        }
        let other = Token::new([1; 8], [2; 32]).reveal();
        for wrong in [format!("Bearer {other}"), "Basic eDp5".to_owned(), "Bearer".to_owned()] {
            let shown = [("authorization", wrong)];
            assert_eq!(actor(&door, &shown, Who::Owner { uid: 0 }).await, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_token_the_connection_counts() {
        let (_, door) = door();
        assert_eq!(actor(&door, &[], Who::Loopback).await.as_deref(), Some("loopback"));
        assert_eq!(actor(&door, &[], Who::Owner { uid: 7 }).await.as_deref(), Some("uid 7"));
        assert_eq!(actor(&door, &[], Who::OtherUser { uid: 7 }).await, None);
        assert_eq!(actor(&door, &[], Who::Network).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_another_host_revoked_ends_within_seconds() {
        let (store, door) = door();
        let token = Token::new([1; 8], [1; 32]);
        store.create_token(&new(&token, "ops")).await.unwrap();
        assert!(door.by_token(&token.reveal()).await.unwrap().is_some());
        store.revoke_token(&token.id).await.unwrap();
        tokio::time::advance(BELIEVED).await;
        assert!(door.by_token(&token.reveal()).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_another_host_made_works_within_a_second() {
        let (store, door) = door();
        let token = Token::new([1; 8], [1; 32]);
        assert!(door.by_token(&token.reveal()).await.unwrap().is_none());
        store.create_token(&new(&token, "ops")).await.unwrap();
        assert!(door.by_token(&token.reveal()).await.unwrap().is_none(), "it was just asked");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(door.by_token(&token.reveal()).await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_tries_unknown_tokens_waits_and_who_has_opened_before_does_not() {
        let (store, door) = door();
        let token = Token::new([0xff; 8], [1; 32]);
        store.create_token(&new(&token, "ops")).await.unwrap();
        assert!(door.by_token(&token.reveal()).await.unwrap().is_some());
        let began = Instant::now();
        let guesses = (0..2_000_u64).map(|guess| Token::new(guess.to_be_bytes(), [1; 32]).reveal());
        let tries = guesses.map(|guess| {
            let door = door.clone();
            tokio::spawn(async move { door.by_token(&guess).await.map(|caller| caller.is_some()) })
        });
        let tries: Vec<_> = tries.collect();
        tokio::task::yield_now().await;
        tokio::time::advance(BELIEVED).await;
        assert!(door.by_token(&token.reveal()).await.unwrap().is_some());
        assert_eq!(began.elapsed(), BELIEVED, "it waited for nobody");
        let mut told = (0, 0);
        for tried in tries {
            match tried.await.unwrap() {
                Ok(opened) => told.0 += usize::from(!opened),
                Err(QueueError::Unavailable(_)) => told.1 += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(told.0 + told.1, 2_000);
        assert!((1_000..1_100).contains(&told.0), "five hundred a second: {told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_use_of_a_token_is_noted() {
        let (store, door) = door();
        let token = Token::new([1; 8], [1; 32]);
        store.create_token(&new(&token, "ops")).await.unwrap();
        door.by_token(&token.reveal()).await.unwrap();
        while store.token(&token.id).await.unwrap().unwrap().last_used.is_none() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cookie_is_worth_its_token() {
        let (store, door) = door();
        let token = Token::new([1; 8], [1; 32]);
        store.create_token(&new(&token, "ops")).await.unwrap();
        let cookie = door.sessions().open(&token.id);
        let shown = [("cookie", format!("a=b; {}={cookie}", session::COOKIE))];
        assert!(actor(&door, &shown, Who::Network).await.is_some());
        store.revoke_token(&token.id).await.unwrap();
        door.forget(&token.id);
        assert_eq!(actor(&door, &shown, Who::Network).await, None);
    }
}
