//! What is wanted of a service, and its releases, as the rest of the server knows them.

use std::collections::{BTreeSet, HashMap, HashSet};

use barge_api::FailureView;
use barge_engine::Desired;
use barge_model::rollout::{Finished, RolloutSpec, Withdrawal};
use barge_model::{Approval, Digest, EnvironmentName, Release, ReleaseId, ServiceKey, ServiceName, Timestamp};
use sea_orm::sea_query::{Expr, SelectStatement};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::entity::{approval, release, service};
use super::{Store, StoreError, query};

/// The most releases of one service that are listed.
const RELEASES_LISTED: u64 = 500;

/// What is wanted of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredService {
    pub(crate) key: ServiceKey,
    /// Grows with every change.
    pub(crate) version: u64,
    pub(crate) replicas: u32,
    pub(crate) target: Option<ReleaseId>,
    pub(crate) withdrawn: Option<Withdrawal>,
}

/// A release with what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRelease {
    pub(crate) release: Release,
    /// From 1, within the service and environment.
    pub(crate) number: u32,
    pub(crate) approval: Option<Approval>,
    pub(crate) finished: Option<Finished>,
    pub(crate) failure: Option<FailureView>,
}

impl Store {
    /// Every service, sorted by environment and name.
    pub(crate) async fn services(&self) -> Result<Vec<StoredService>, StoreError> {
        find_services(&self.database).await
    }

    /// One service.
    pub(crate) async fn service(&self, key: &ServiceKey) -> Result<Option<StoredService>, StoreError> {
        find_service(&self.database, key).await
    }

    /// A service's latest releases, newest first.
    pub(crate) async fn releases(&self, key: &ServiceKey) -> Result<Vec<StoredRelease>, StoreError> {
        let latest = of_service(key).order_by_desc(release::Column::Number).limit(RELEASES_LISTED);
        let rows = latest.all(&self.database).await.map_err(query("read the releases"))?;
        with_approvals(&self.database, rows, ids(of_service(key))).await
    }

    /// One release of a service.
    pub(crate) async fn release(&self, key: &ServiceKey, id: &ReleaseId) -> Result<Option<StoredRelease>, StoreError> {
        find_release(&self.database, key, id).await
    }

    /// Releases whose end is not stored.
    pub(crate) async fn open_releases(&self) -> Result<HashSet<String>, StoreError> {
        let ids = release::Entity::find()
            .select_only()
            .column(release::Column::Id)
            .filter(release::Column::Finished.is_null())
            .into_tuple()
            .all(&self.database)
            .await
            .map_err(query("read which releases have not ended"))?;
        Ok(ids.into_iter().collect())
    }

    /// The desired state of a service, as its engine is to be told.
    pub(crate) async fn desired(&self, key: &ServiceKey) -> Result<Option<Desired>, StoreError> {
        let moment = self.begin_to_read().await?;
        let Some(service) = find_service(&moment, key).await? else { return Ok(None) };
        let target = match &service.target {
            Some(id) => find_release(&moment, key, id).await?,
            None => None,
        };
        Ok(Some(desired(service, target)))
    }

    /// The desired states of all services, as their engines are to be told. A release that cannot be understood is the trouble of its
    /// own service alone.
    pub(crate) async fn desired_of_all(&self) -> Result<Vec<(ServiceKey, Result<Desired, StoreError>)>, StoreError> {
        // Of one moment: a service that changes in between would seem to have no release at all.
        let moment = self.begin_to_read().await?;
        let services = find_services(&moment).await?;
        let targets = || service::Entity::find().select_only().column(service::Column::Target).into_query();
        let rows = release::Entity::find().filter(release::Column::Id.in_subquery(targets())).all(&moment);
        let rows = rows.await.map_err(query("read the releases that should run"))?;
        let mut rows: HashMap<String, release::Model> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        let mut approvals = approvals(&moment, targets()).await?;
        let wanted = |service: StoredService| {
            let row = service.target.as_ref().and_then(|id| rows.remove(id.as_str()));
            let target = row.map(|row| {
                let approval = approvals.remove(&row.id);
                understand_release(row, approval)
            });
            (service.key.clone(), target.transpose().map(|target| desired(service, target)))
        };
        Ok(services.into_iter().map(wanted).collect())
    }

    /// Digests of all releases of all services: the images that rollbacks may need.
    pub(crate) async fn digests(&self) -> Result<BTreeSet<String>, StoreError> {
        let digests: Vec<String> = release::Entity::find()
            .select_only()
            .column(release::Column::Digest)
            .distinct()
            .into_tuple()
            .all(&self.database)
            .await
            .map_err(query("read which images releases name"))?;
        // One that cannot be understood might stand for an image that is needed.
        let known = |digest: String| Digest::new(digest).map(String::from).map_err(damaged("digest"));
        digests.into_iter().map(known).collect()
    }

    /// Stores how a release ended, once.
    pub(crate) async fn finish(&self, finished: &Finished, failure: Option<&FailureView>) -> Result<(), StoreError> {
        release::Entity::update_many()
            .col_expr(release::Column::Finished, Expr::value(to_json(finished)))
            .col_expr(release::Column::Failure, Expr::value(failure.map(to_json)))
            .filter(release::Column::Id.eq(finished.release.as_str()))
            .filter(release::Column::Finished.is_null())
            .exec(&self.database)
            .await
            .map_err(query("store how a release ended"))?;
        Ok(())
    }
}

pub(super) async fn find_service(
    database: &impl ConnectionTrait,
    key: &ServiceKey,
) -> Result<Option<StoredService>, StoreError> {
    service::Entity::find_by_id((key.environment.to_string(), key.service.to_string()))
        .one(database)
        .await
        .map_err(query("read the service"))?
        .map(understand_service)
        .transpose()
}

async fn find_release(
    database: &impl ConnectionTrait,
    key: &ServiceKey,
    id: &ReleaseId,
) -> Result<Option<StoredRelease>, StoreError> {
    let row = release::Entity::find_by_id(id.to_string())
        .filter(release::Column::Environment.eq(key.environment.as_str()))
        .filter(release::Column::Service.eq(key.service.as_str()))
        .one(database)
        .await
        .map_err(query("read the release"))?;
    let Some(row) = row else { return Ok(None) };
    let approval =
        approval::Entity::find_by_id(id.to_string()).one(database).await.map_err(query("read the approval"))?;
    understand_release(row, approval).map(Some)
}

/// The releases that a decision may be about: all that are kept, newest first. What was seen of failures is left out; it is the largest
/// part of them, and no decision looks at it.
pub(super) async fn find_releases_to_decide(
    database: &impl ConnectionTrait,
    key: &ServiceKey,
) -> Result<Vec<StoredRelease>, StoreError> {
    let columns = [
        release::Column::Id,
        release::Column::Number,
        release::Column::Definition,
        release::Column::Finished,
        release::Column::Digest,
    ];
    let rows: Vec<(String, i64, String, Option<String>, String)> = of_service(key)
        .select_only()
        .columns(columns)
        .order_by_desc(release::Column::Number)
        .into_tuple()
        .all(database)
        .await
        .map_err(query("read the releases"))?;
    let row = |(id, number, definition, finished, digest)| {
        let (environment, service) = (key.environment.to_string(), key.service.to_string());
        release::Model { id, environment, service, number, definition, finished, failure: None, digest }
    };
    with_approvals(database, rows.into_iter().map(row).collect(), ids(of_service(key))).await
}

fn of_service(key: &ServiceKey) -> Select<release::Entity> {
    release::Entity::find()
        .filter(release::Column::Environment.eq(key.environment.as_str()))
        .filter(release::Column::Service.eq(key.service.as_str()))
}

fn ids(releases: Select<release::Entity>) -> SelectStatement {
    releases.select_only().column(release::Column::Id).into_query()
}

/// The approvals of the releases whose ids `among` selects. A list of the ids themselves would be another statement for each number of
/// them, and the database's connections keep the statements that they know.
async fn approvals(
    database: &impl ConnectionTrait,
    among: SelectStatement,
) -> Result<HashMap<String, approval::Model>, StoreError> {
    let rows = approval::Entity::find().filter(approval::Column::Release.in_subquery(among)).all(database);
    let rows = rows.await.map_err(query("read the approvals"))?;
    Ok(rows.into_iter().map(|row| (row.release.clone(), row)).collect())
}

async fn with_approvals(
    database: &impl ConnectionTrait,
    rows: Vec<release::Model>,
    among: SelectStatement,
) -> Result<Vec<StoredRelease>, StoreError> {
    let mut approvals = approvals(database, among).await?;
    rows.into_iter()
        .map(|row| {
            let approval = approvals.remove(&row.id);
            understand_release(row, approval)
        })
        .collect()
}

/// What an engine is told of a service with this target.
async fn find_services(database: &impl ConnectionTrait) -> Result<Vec<StoredService>, StoreError> {
    let rows = service::Entity::find()
        .order_by_asc(service::Column::Environment)
        .order_by_asc(service::Column::Service)
        .all(database)
        .await
        .map_err(query("read the services"))?;
    rows.into_iter().map(understand_service).collect()
}

fn desired(service: StoredService, target: Option<StoredRelease>) -> Desired {
    let (target, approvals) = match target {
        Some(stored) => (Some(stored.release), stored.approval.into_iter().collect()),
        None => (None, Vec::new()),
    };
    let StoredService { key, version, replicas, withdrawn, .. } = service;
    Desired { key, version, rollout: RolloutSpec { replicas, target, approvals, withdrawn } }
}

fn understand_service(row: service::Model) -> Result<StoredService, StoreError> {
    let environment = EnvironmentName::new(row.environment).map_err(damaged("environment name"))?;
    let service = ServiceName::new(row.service).map_err(damaged("service name"))?;
    Ok(StoredService {
        key: ServiceKey::new(environment, service),
        version: row.version.cast_unsigned(),
        replicas: u32::try_from(row.replicas).map_err(damaged("number of instances"))?,
        target: row.target.map(ReleaseId::new).transpose().map_err(damaged("release id"))?,
        withdrawn: row.withdrawn.map(|text| from_json(&text, "withdrawal")).transpose()?,
    })
}

fn understand_release(row: release::Model, approval: Option<approval::Model>) -> Result<StoredRelease, StoreError> {
    let approval = approval.map(|row| {
        Ok(Approval {
            release: ReleaseId::new(row.release).map_err(damaged("release id"))?,
            digest: Digest::new(row.digest).map_err(damaged("digest"))?,
            by: row.by,
            at: Timestamp::from_millis(row.at),
        })
    });
    Ok(StoredRelease {
        release: from_json(&row.definition, "release")?,
        number: u32::try_from(row.number).map_err(damaged("release number"))?,
        approval: approval.transpose()?,
        finished: row.finished.map(|text| from_json(&text, "end of a release")).transpose()?,
        failure: row.failure.map(|text| from_json(&text, "failure of a release")).transpose()?,
    })
}

pub(super) fn damaged<E: std::error::Error + Send + Sync + 'static>(what: &'static str) -> impl Fn(E) -> StoreError {
    move |source| StoreError::Damaged { what: what.to_owned(), source: Box::new(source) }
}

fn from_json<T: DeserializeOwned>(text: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(damaged(what))
}

/// Documents of our own types: nothing in them can fail to be written as JSON.
pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
