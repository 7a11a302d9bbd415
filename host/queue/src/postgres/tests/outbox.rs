//! A producer's program that enqueues in its own transaction.

use sqlx::{Connection as _, PgConnection};

use super::*;
use crate::Queue as _;
use crate::outbox::tests::{a_producers_day, paid};
use crate::outbox::{Outbox as _, OutboxError};

#[tokio::test]
async fn a_row_is_a_notification() {
    let Some(stand) = PostgresStand::new() else { return };
    let queue = stand.open(PostgresOptions::default()).await;
    let mut mine = PgConnection::connect(&stand.url()).await.unwrap();
    let mut other = PgConnection::connect(&stand.url()).await.unwrap();
    a_producers_day(&queue, &mut mine, &mut other).await;
    let mut transaction = mine.begin().await.unwrap();
    transaction.enqueue(&paid(3)).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(queue.arrived(10).await.unwrap().len(), 2, "what is rolled back never was");
}

#[tokio::test]
async fn a_key_of_a_later_transaction_asks_for_another_try() {
    let Some(stand) = PostgresStand::new() else { return };
    drop(stand.open(PostgresOptions::default()).await);
    let mut mine = PgConnection::connect(&stand.url()).await.unwrap();
    let mut other = PgConnection::connect(&stand.url()).await.unwrap();
    let mut transaction = mine.begin().await.unwrap();
    let level = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";
    sqlx::query(level).execute(&mut *transaction).await.unwrap();
    // The snapshot is of this statement: it sees neither the other's row nor room for its own.
    sqlx::query("SELECT 1 FROM notifications").fetch_all(&mut *transaction).await.unwrap();
    other.enqueue(&paid(4)).await.unwrap();
    let refused = transaction.enqueue(&paid(4)).await.unwrap_err();
    let again = match &refused {
        OutboxError::Unseen => true,
        OutboxError::Database(error) => {
            let code = error.as_database_error().and_then(|error| error.code());
            code.as_deref() == Some("40001")
        }
        OutboxError::Invalid(_) | OutboxError::Conflict(_) => false,
    };
    assert!(again, "{refused}");
}
