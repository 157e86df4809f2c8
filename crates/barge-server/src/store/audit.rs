//! The audit: who changed what, or opened a terminal, and when. Records are added, and nothing but their age removes one.

use barge_api::AuditEntry;
use barge_model::{EnvironmentName, ReleaseId, ServiceKey, ServiceName, Timestamp};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait,
};

use super::entity::audit;
use super::records::damaged;
use super::{Store, StoreError, query};

/// So many records are forgotten by one change, so that others need not wait for it long.
const FORGOTTEN_AT_ONCE: u64 = 1000;

/// So many records have to be younger than what is forgotten.
const PASSED_BY: u64 = 100;

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

    /// A time that many of the newest records have passed; none where there are not so many. A few that were made while the clock was
    /// ahead do not count.
    pub(crate) async fn audited_time(&self) -> Result<Option<Timestamp>, StoreError> {
        let rows = audit::Entity::find().order_by_desc(audit::Column::Id).offset(PASSED_BY - 1).limit(1);
        let row = rows.one(&self.database).await.map_err(query("read the audit"))?;
        Ok(row.map(understand).transpose()?.map(|entry| entry.at))
    }

    /// Forgets some records from before a time, the oldest first; false when these were the last ones.
    pub(crate) async fn forget_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        // Ids sort by the time of their making.
        let first_kept = ulid::Ulid::from_parts(before.as_millis().max(0).cast_unsigned(), 0).to_string();
        let oldest = audit::Entity::find()
            .select_only()
            .column(audit::Column::Id)
            .filter(audit::Column::Id.lt(first_kept))
            .order_by_asc(audit::Column::Id)
            .limit(FORGOTTEN_AT_ONCE)
            .into_query();
        let forget = audit::Entity::delete_many().filter(audit::Column::Id.in_subquery(oldest));
        let done = forget.exec(&self.database).await.map_err(query("forget old records of the audit"))?;
        Ok(done.rows_affected == FORGOTTEN_AT_ONCE)
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
