//! The audit: who changed what, or opened a terminal, and when. Records are only ever added.

use barge_api::AuditEntry;
use barge_model::{EnvironmentName, ReleaseId, ServiceKey, ServiceName, Timestamp};
use sea_orm::{ActiveModelTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryOrder, QuerySelect};

use super::entity::audit;
use super::records::damaged;
use super::{Store, StoreError, query};

/// Something to be recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewAudit<'a> {
    pub(crate) actor: &'a str,
    pub(crate) action: &'static str,
    pub(crate) key: Option<&'a ServiceKey>,
    pub(crate) release: Option<&'a ReleaseId>,
    pub(crate) detail: &'a str,
}

impl Store {
    /// Records something that changes nothing in the database, such as an opened terminal.
    pub(crate) async fn audit(&self, entry: &NewAudit<'_>, now: Timestamp) -> Result<(), StoreError> {
        record(&self.database, self.next_id(now), entry, now).await
    }

    /// The latest records, newest first.
    pub(crate) async fn audit_entries(&self, limit: u64) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = audit::Entity::find()
            .order_by_desc(audit::Column::Id)
            .limit(limit)
            .all(&self.database)
            .await
            .map_err(query("read the audit"))?;
        rows.into_iter().map(understand).collect()
    }
}

pub(super) async fn record(
    database: &impl ConnectionTrait,
    id: String,
    entry: &NewAudit<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let row = audit::Model {
        id,
        at: now.as_millis(),
        actor: entry.actor.to_owned(),
        action: entry.action.to_owned(),
        environment: entry.key.map(|key| key.environment.to_string()),
        service: entry.key.map(|key| key.service.to_string()),
        release: entry.release.map(ToString::to_string),
        detail: entry.detail.to_owned(),
    };
    row.into_active_model().insert(database).await.map_err(query("record it in the audit"))?;
    Ok(())
}

fn understand(row: audit::Model) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        id: row.id,
        at: Timestamp::from_millis(row.at),
        actor: row.actor,
        action: row.action,
        environment: row.environment.map(EnvironmentName::new).transpose().map_err(damaged("environment name"))?,
        service: row.service.map(ServiceName::new).transpose().map_err(damaged("service name"))?,
        release: row.release.map(ReleaseId::new).transpose().map_err(damaged("release id"))?,
        detail: row.detail,
    })
}
