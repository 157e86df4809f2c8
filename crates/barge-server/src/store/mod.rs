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

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use barge_model::Timestamp;
use sea_orm::sqlx::sqlite::SqliteConnection;
use sea_orm::sqlx::{self, Connection};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;

pub(crate) use audit::NewAudit;
pub(crate) use change::{ChangeError, RequestIdentity};
pub(crate) use records::{StoredRelease, StoredService};
pub(crate) use tokens::StoredToken;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be read and written.
    #[error("read and write the database file {path}")]
    File {
        /// Which file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{path} is not a database: it does not begin as an SQLite file does")]
    NotADatabase {
        /// Which file.
        path: String,
    },
    /// It cannot be opened.
    #[error("open the database {path}")]
    Open {
        /// Which file.
        path: String,
        /// Why not.
        source: Cause,
    },
    /// What is in it contradicts itself.
    #[error("the database {path} is damaged: {told}")]
    Broken {
        /// Which file.
        path: String,
        /// What SQLite says of it.
        told: String,
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
        source: Cause,
    },
    /// A question or a change failed.
    #[error("{doing}")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: Cause,
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

/// What the database said. Its own error tells its causes in its text as well, so it stands for the whole chain.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cause(DbErr);

pub(crate) fn query(doing: &'static str) -> impl Fn(DbErr) -> StoreError {
    move |source| StoreError::Query { doing, source: Cause(source) }
}

/// How long a change waits for another one to end.
const BUSY_LIMIT: Duration = Duration::from_secs(5);
/// Between two tries to open the database.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// The database.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    database: DatabaseConnection,
    last_id: Arc<Mutex<ulid::Ulid>>,
}

impl Store {
    /// Opens the SQLite file at `path`, making it where it is missing, and brings its schema up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        prepare(path)?;
        Self::open_prepared(path).await.map_err(|error| unless_read_only(path, error))
    }

    async fn open_prepared(path: &Path) -> Result<Self, StoreError> {
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
            })
            .map_sqlx_sqlite_before_acquire(|connection, _| Box::pin(is_between_changes(connection)));
        let open = |source| StoreError::Open { path: shown.clone(), source: Cause(source) };
        let database = connect(options).await.map_err(open)?;
        let store = Self { database, last_id: Arc::default() };
        store.check(&shown).await?;
        store.bring_up_to_date(&shown).await?;
        store.go_on_from_the_last_id().await?;
        Ok(store)
    }

    /// An id that sorts after every one that was given before, also within a millisecond and when the clock goes back.
    fn next_id(&self, now: Timestamp) -> String {
        let fresh = ulid::Ulid::from_parts(now.as_millis().max(0).cast_unsigned(), rand::random());
        let mut last = self.last_id.lock().unwrap_or_else(PoisonError::into_inner);
        *last = if fresh > *last { fresh } else { last.increment().unwrap_or(fresh) };
        last.to_string()
    }

    /// An earlier run may have given ids while the clock was ahead.
    async fn go_on_from_the_last_id(&self) -> Result<(), StoreError> {
        let newest = self.audit_entries(1).await?;
        let last = newest.first().and_then(|entry| ulid::Ulid::from_string(&entry.id).ok());
        *self.last_id.lock().unwrap_or_else(PoisonError::into_inner) = last.unwrap_or_default();
        Ok(())
    }

    /// Looks for damage before anything is built on it: what a torn disk has left would otherwise show in the middle of a change.
    async fn check(&self, shown: &str) -> Result<(), StoreError> {
        let broken = |told: String| StoreError::Broken { path: shown.to_owned(), told };
        let question = Statement::from_string(DbBackend::Sqlite, "PRAGMA quick_check(1)");
        let answer = self.database.query_one_raw(question).await.map_err(|error| broken(error.to_string()))?;
        let told = answer.and_then(|row| row.try_get_by_index::<String>(0).ok()).unwrap_or_default();
        if told == "ok" { Ok(()) } else { Err(broken(told)) }
    }

    /// All steps at once or none, and not beside another server that begins.
    async fn bring_up_to_date(&self, shown: &str) -> Result<(), StoreError> {
        let path = || shown.to_owned();
        let fail = |source: DbErr| match source.to_string() {
            text if text.contains("has been applied but its file is missing") => StoreError::Newer { path: path() },
            _ => StoreError::Migrate { path: path(), source: Cause(source) },
        };
        let transaction = self.begin().await?;
        migration::Migrator::up(&transaction, None).await.map_err(fail)?;
        transaction.commit().await.map_err(fail)
    }

    /// Begins a change; nobody else changes anything until it is committed or given up.
    async fn begin(&self) -> Result<DatabaseTransaction, StoreError> {
        self.begin_as(SqliteTransactionMode::Immediate).await.map_err(query("begin a change"))
    }

    /// Begins to read what belongs together as it is at one moment; holds up nobody.
    async fn begin_to_read(&self) -> Result<DatabaseTransaction, StoreError> {
        self.begin_as(SqliteTransactionMode::Deferred).await.map_err(query("begin to read"))
    }

    async fn begin_as(&self, mode: SqliteTransactionMode) -> Result<DatabaseTransaction, sea_orm::DbErr> {
        let options = TransactionOptions { sqlite_transaction_mode: Some(mode), ..TransactionOptions::default() };
        self.database.begin_with_options(options).await
    }

    /// Closes the database, so that everything is in its file.
    pub(crate) async fn close(self) {
        if let Err(error) = self.database.close().await {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }
}

/// A COMMIT that fails, as on a full disk, leaves a connection for which every later change would be a part of the one that failed, and
/// would be lost with it. Such a connection is closed instead of being used again.
async fn is_between_changes(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // What was dropped is being rolled back; the answer comes after that.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// Connects. Two servers that begin on a new file at the same moment are in each other's way only for that moment, and SQLite does not
/// wait for the other one by itself there.
async fn connect(options: ConnectOptions) -> Result<DatabaseConnection, DbErr> {
    let deadline = Instant::now() + BUSY_LIMIT;
    loop {
        match Database::connect(options.clone()).await {
            Err(error) if error.to_string().contains("database is locked") && Instant::now() < deadline => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            other => return other,
        }
    }
}

/// How every SQLite file begins.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Makes the file where it is missing, for its owner alone (SQLite gives its other files the same mode), and finds out what would
/// otherwise only show in the middle of a change, in words that say less.
fn prepare(path: &Path) -> Result<(), StoreError> {
    let shown = || path.display().to_string();
    let file = |source| StoreError::File { path: shown(), source };
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut begin = Vec::new();
    opened.and_then(|opened| opened.take(MAGIC.len() as u64).read_to_end(&mut begin)).map_err(file)?;
    if begin.is_empty() || begin == MAGIC { Ok(()) } else { Err(StoreError::NotADatabase { path: shown() }) }
}

/// What SQLite says where it may not write: to the file itself, or to those that it needs beside it.
const READ_ONLY: &str = "attempt to write a readonly database";

/// A database that may not be written is not a damaged one, whatever was being done when that came out: nobody has to give it up.
fn unless_read_only(path: &Path, error: StoreError) -> StoreError {
    if !barge_runtime::chain(&error).contains(READ_ONLY) {
        return error;
    }
    let source = std::io::Error::new(std::io::ErrorKind::ReadOnlyFilesystem, READ_ONLY);
    StoreError::File { path: path.display().to_string(), source }
}
