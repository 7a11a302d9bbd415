//! One delivery of a trial, and what came of it.

use std::time::Duration;

use anyhow::Result;
use postrider_core::{Destination, Draft, Outcome, Scope};

use super::super::script::{Answer, Scripted, Seen};
use super::super::stage::{Stage, accept};

/// A module that is tried.
pub(super) struct Trial<'a> {
    pub(super) stage: &'a Stage,
    /// What a receiver says that has taken a notification.
    taken: Vec<Answer>,
}

/// What came of one delivery.
pub(super) struct Came {
    pub(super) outcome: Outcome,
    pub(super) seen: Vec<Seen>,
    pub(super) log: Vec<String>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(stage: &'a Stage, taken: Vec<Answer>) -> Self {
        Self { stage, taken }
    }

    /// A delivery that the receiver takes. The error is what `configure` says.
    pub(super) async fn taken(&self, draft: Draft) -> Result<Result<Came, String>> {
        self.send(&self.stage.destination, self.taken.clone(), draft, 1).await
    }

    /// A delivery of the project's own notification that is answered so.
    pub(super) async fn answered(&self, answer: Answer) -> Result<Result<Came, String>> {
        self.send(&self.stage.destination, vec![answer], self.stage.draft.clone(), 1).await
    }

    /// One more attempt of the project's own notification.
    pub(super) async fn again(&self, attempt: u32) -> Result<Result<Came, String>> {
        let draft = self.stage.draft.clone();
        self.send(&self.stage.destination, self.taken.clone(), draft, attempt).await
    }

    pub(super) async fn send(
        &self,
        destination: &Destination,
        answers: Vec<Answer>,
        draft: Draft,
        attempt: u32,
    ) -> Result<Result<Came, String>> {
        let mut came = self.send_often(destination, answers, draft, attempt, 1).await?;
        Ok(came.pop().unwrap_or_else(|| Err("nothing was sent".to_owned())))
    }

    /// Several deliveries of one notifier, one after the other. `seen` holds the requests of all before, too.
    pub(super) async fn send_often(
        &self,
        destination: &Destination,
        answers: Vec<Answer>,
        draft: Draft,
        attempt: u32,
        times: u32,
    ) -> Result<Vec<Result<Came, String>>> {
        let mut secrets = self.stage.secrets.clone();
        // Whatever it can use, so that it has something to give away.
        for name in &self.stage.plugin.description().secrets {
            secrets.entry(name.clone()).or_insert_with(|| format!("value-of-{name}"));
        }
        let receiver = Scripted::new(answers, &secrets);
        let notification = accept(draft)?;
        self.stage.words.take();
        let notifier = match self.stage.bind_to(destination, &secrets, receiver.clone()).await {
            Ok(notifier) => notifier,
            Err(error) => return Ok(vec![Err(error.to_string())]),
        };
        let mut all = Vec::new();
        for _ in 0..times {
            let outcome = notifier.send(&notification, attempt, 0).await.outcome;
            all.push(Ok(Came { outcome, seen: receiver.seen(), log: self.stage.words.take() }));
        }
        Ok(all)
    }
}

impl Came {
    /// What is wrong where the outcome is another.
    pub(super) fn not(&self, wanted: &str) -> Option<String> {
        self.none_of(&[wanted])
    }

    /// What is wrong where the outcome is none of these.
    pub(super) fn none_of(&self, wanted: &[&str]) -> Option<String> {
        let label = self.outcome.label();
        (!wanted.contains(&label)).then(|| format!("it answers {label}: {}", self.outcome.reason()))
    }

    /// How long it asks to wait, and for what.
    pub(super) fn wait(&self) -> (Option<Duration>, Option<Scope>) {
        match &self.outcome {
            Outcome::Retry { after, scope, .. } => (*after, Some(*scope)),
            Outcome::Delivered(_)
            | Outcome::Rejected { .. }
            | Outcome::Gone { .. }
            | Outcome::Fault { .. } => (None, None),
        }
    }
}

/// What is wrong with a delivery: what `configure` says, or what `wrong` finds.
pub(super) fn judge(
    what: &str,
    came: &Result<Came, String>,
    wrong: impl FnOnce(&Came) -> Option<String>,
) -> Option<String> {
    match came {
        Err(problem) => Some(format!("{what}: configure refuses: {problem}")),
        Ok(came) => wrong(came).map(|wrong| format!("{what}: {wrong}")),
    }
}
