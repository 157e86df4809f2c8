//! The only SQL of Barge: what is wanted, released, approved and audited.
//!
//! A change is one transaction ([`Store::change`]): read, decide purely, write, record. What it leaves out: what really runs, which
//! the engines observe and store themselves.

mod audit;
mod change;
mod entity;
mod migration;
mod records;
mod tokens;

use std::path::Path;
use std::time::Duration;

use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr};
use sea_orm_migration::MigratorTrait;

pub(crate) use audit::NewAudit;
pub(crate) use change::{ChangeError, RequestIdentity};
pub(crate) use records::{StoredRelease, StoredService};
pub(crate) use tokens::StoredToken;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("open the database {path}")]
    Open {
        /// Which file.
        path: String,
        /// Why not.
        source: DbErr,
    },
    /// It was written by a later version.
    #[error("the database {path} was written by a later version of Barge")]
    Newer {
        /// Which file.
        path: String,
    },
    /// Its schema could not be brought up to date.
    #[error("bring the database {path} up to date")]
    Migrate {
        /// Which file.
        path: String,
        /// Why not.
        source: DbErr,
    },
    /// A question or a change failed.
    #[error("{doing}")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: DbErr,
    },
    /// Something that is stored cannot be understood.
    #[error("understand the stored {what}")]
    Damaged {
        /// What.
        what: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

pub(crate) fn query(doing: &'static str) -> impl Fn(DbErr) -> StoreError {
    move |source| StoreError::Query { doing, source }
}

/// How long a change waits for another one to end.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

/// The database.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    database: DatabaseConnection,
}

impl Store {
    /// Opens the SQLite file at `path`, making it where it is missing, and brings its schema up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let file = path.to_owned();
        let mut options = ConnectOptions::new("sqlite::memory:");
        options
            .max_connections(4)
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(10))
            .sqlx_logging(false)
            .map_sqlx_sqlite_opts(move |options| {
                options
                    .filename(&file)
                    .in_memory(false)
                    .shared_cache(false)
                    .create_if_missing(true)
                    .busy_timeout(BUSY_LIMIT)
                    .pragma("journal_mode", "WAL")
                    // An approval that was acknowledged must outlive a power cut.
                    .pragma("synchronous", "FULL")
            });
        let open = |source| StoreError::Open { path: shown.clone(), source };
        let database = Database::connect(options).await.map_err(open)?;
        migration::Migrator::up(&database, None).await.map_err(|source| match source.to_string() {
            text if text.contains("has been applied but its file is missing") => {
                StoreError::Newer { path: shown.clone() }
            }
            _ => StoreError::Migrate { path: shown.clone(), source },
        })?;
        Ok(Self { database })
    }

    /// Closes the database, so that everything is in its file.
    pub(crate) async fn close(self) {
        if let Err(error) = self.database.close().await {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }
}
