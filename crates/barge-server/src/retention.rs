//! How much of the past is kept. Without a limit every release would make the database, and with it the registry, larger for good.

/// How much of the past is kept. Releases that are over go when another one is made; records of the audit go once a day.
///
/// Whatever runs stays, and so does what a rollback may need: see `served`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Of each service the latest releases, whatever became of them: so many, at least one.
    pub releases: u32,
    /// Of each service the different definitions that served last: so many, at least the one that serves and the one before it.
    /// However many releases have come to nothing since, or were the same once more, these can be gone back to.
    pub served: u32,
    /// Records of the audit for so many days.
    pub audit_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { releases: 100, served: 100, audit_days: 400 }
    }
}
