//! The scenarios by name.

use anyhow::Result;

use crate::report::Report;
use crate::stage::Stage;
use crate::{drain, enqueue, fairness, idle, wakeup};

/// One question to the stores.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    SqliteDrain,
    SqliteEnqueue,
    SqliteWakeup,
    PostgresDrain,
    PostgresEnqueue,
    PostgresBurst,
    PostgresSize,
    PostgresSnapshot,
    PostgresFairness,
    PostgresWakeup,
    PostgresIdle,
}

impl Scenario {
    pub(crate) const ALL: [Self; 11] = [
        Self::SqliteDrain,
        Self::SqliteEnqueue,
        Self::SqliteWakeup,
        Self::PostgresDrain,
        Self::PostgresEnqueue,
        Self::PostgresBurst,
        Self::PostgresSize,
        Self::PostgresSnapshot,
        Self::PostgresFairness,
        Self::PostgresWakeup,
        Self::PostgresIdle,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SqliteDrain => "sqlite-drain",
            Self::SqliteEnqueue => "sqlite-enqueue",
            Self::SqliteWakeup => "sqlite-wakeup",
            Self::PostgresDrain => "postgres-drain",
            Self::PostgresEnqueue => "postgres-enqueue",
            Self::PostgresBurst => "postgres-burst",
            Self::PostgresSize => "postgres-size",
            Self::PostgresSnapshot => "postgres-snapshot",
            Self::PostgresFairness => "postgres-fairness",
            Self::PostgresWakeup => "postgres-wakeup",
            Self::PostgresIdle => "postgres-idle",
        }
    }

    pub(crate) fn needs_postgres(self) -> bool {
        !matches!(self, Self::SqliteDrain | Self::SqliteEnqueue | Self::SqliteWakeup)
    }

    pub(crate) async fn run(self, stage: &mut Stage, report: &mut Report) -> Result<()> {
        report.begin(self.name());
        match self {
            Self::SqliteDrain => drain::sqlite(stage, report).await,
            Self::SqliteEnqueue => enqueue::sqlite(stage, report).await,
            Self::SqliteWakeup => wakeup::sqlite(stage, report).await,
            Self::PostgresDrain => drain::postgres(stage, report).await,
            Self::PostgresEnqueue => enqueue::postgres(stage, report).await,
            Self::PostgresBurst => drain::burst(stage, report).await,
            Self::PostgresSize => drain::size(stage, report).await,
            Self::PostgresSnapshot => drain::snapshot(stage, report).await,
            Self::PostgresFairness => fairness::postgres(stage, report).await,
            Self::PostgresWakeup => wakeup::postgres(stage, report).await,
            Self::PostgresIdle => idle::postgres(stage, report).await,
        }
    }
}
