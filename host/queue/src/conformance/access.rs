//! Tokens and the audit.

use super::*;
use crate::{AUDIT_KEPT, AuditEntry, LAST_USE, NewToken, TokenRecord};

fn new(id: &str, name: &str) -> NewToken {
    NewToken {
        id: id.into(),
        name: name.into(),
        scopes: "ingest read".into(),
        hash: [7; 32],
        expires_after: None,
    }
}

fn entry(subject: &str) -> AuditEntry {
    AuditEntry {
        actor: "uid 1000".into(),
        action: "delivery.redeliver".into(),
        subject: subject.into(),
        details: r#"{"done":1}"#.into(),
    }
}

async fn token(stage: &Stage, id: &str) -> TokenRecord {
    stage.access.token(id).await.unwrap().unwrap()
}

async fn subjects(stage: &Stage, after: Option<i64>, limit: u32) -> Vec<(i64, String)> {
    let entries = stage.access.audit(&Page { after, limit }).await.unwrap();
    entries.into_iter().map(|record| (record.id, record.entry.subject)).collect()
}

pub(crate) async fn a_token_comes_back_as_it_was_kept(stage: &Stage) {
    assert!(stage.access.create_token(&new("a1", "ops")).await.unwrap());
    let kept = token(stage, "a1").await;
    let wanted = TokenRecord {
        id: "a1".into(),
        name: "ops".into(),
        scopes: "ingest read".into(),
        hash: [7; 32],
        created: EPOCH,
        expires: None,
        last_used: None,
        expired: false,
    };
    assert_eq!(kept, wanted);
    assert_eq!(stage.access.token("a2").await.unwrap(), None);
}

pub(crate) async fn names_and_ids_of_tokens_are_given_once(stage: &Stage) {
    assert!(stage.access.create_token(&new("a1", "ops")).await.unwrap());
    assert!(!stage.access.create_token(&new("a2", "ops")).await.unwrap());
    assert!(!stage.access.create_token(&new("a1", "other")).await.unwrap());
    assert!(stage.access.create_token(&new("a0", "zulu")).await.unwrap());
    assert!(stage.access.create_token(&new("a3", "Zulu")).await.unwrap());
    let names: Vec<String> =
        stage.access.tokens().await.unwrap().into_iter().map(|token| token.name).collect();
    assert_eq!(names, ["Zulu", "ops", "zulu"]);
}

pub(crate) async fn a_token_expires_by_the_stores_clock(stage: &Stage) {
    let expiring = NewToken { expires_after: Some(MINUTE), ..new("a1", "ops") };
    stage.access.create_token(&expiring).await.unwrap();
    stage.advance(MINUTE - Duration::from_millis(1));
    let kept = token(stage, "a1").await;
    assert_eq!((kept.expires, kept.expired), (Some(EPOCH + MINUTE), false));
    stage.advance(Duration::from_millis(1));
    assert!(token(stage, "a1").await.expired);
}

pub(crate) async fn the_last_use_is_kept_to_the_minute(stage: &Stage) {
    stage.access.create_token(&new("a1", "ops")).await.unwrap();
    stage.access.use_token("a1").await.unwrap();
    stage.advance(LAST_USE - Duration::from_millis(1));
    stage.access.use_token("a1").await.unwrap();
    assert_eq!(token(stage, "a1").await.last_used, Some(EPOCH));
    stage.advance(Duration::from_millis(1));
    stage.access.use_token("a1").await.unwrap();
    assert_eq!(token(stage, "a1").await.last_used, Some(EPOCH + LAST_USE));
    stage.access.use_token("unknown").await.unwrap();
}

pub(crate) async fn a_revoked_token_is_gone_and_its_name_free(stage: &Stage) {
    stage.access.create_token(&new("a1", "ops")).await.unwrap();
    assert!(stage.access.revoke_token("a1").await.unwrap());
    assert!(!stage.access.revoke_token("a1").await.unwrap());
    assert_eq!(stage.access.token("a1").await.unwrap(), None);
    assert!(stage.access.create_token(&new("a2", "ops")).await.unwrap());
}

pub(crate) async fn the_audit_pages_from_the_newest(stage: &Stage) {
    for number in 0..5 {
        stage.access.record(&entry(&number.to_string())).await.unwrap();
    }
    let first = subjects(stage, None, 2).await;
    let second = subjects(stage, first.last().map(|(id, _)| *id), 10).await;
    let names: Vec<String> = first.into_iter().chain(second).map(|(_, name)| name).collect();
    assert_eq!(names, ["4", "3", "2", "1", "0"]);
    let newest = stage.access.audit(&Page { after: None, limit: 1 }).await.unwrap().remove(0);
    assert_eq!((newest.at, newest.entry), (EPOCH, entry("4")));
}

pub(crate) async fn old_entries_of_the_audit_go_as_new_ones_come(stage: &Stage) {
    stage.access.record(&entry("old")).await.unwrap();
    stage.advance(AUDIT_KEPT);
    stage.access.record(&entry("young")).await.unwrap();
    assert_eq!(subjects(stage, None, 10).await.len(), 2);
    stage.advance(Duration::from_millis(1));
    stage.access.record(&entry("new")).await.unwrap();
    let left: Vec<String> =
        subjects(stage, None, 10).await.into_iter().map(|(_, name)| name).collect();
    assert_eq!(left, ["new", "young"]);
}
