//! One change of a service: read, decide, write and record in a single transaction.

use barge_api::RolloutAnswer;
use barge_model::{ReleaseId, ServiceKey, Timestamp};
use sea_orm::{ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter, Set};

use super::audit::{NewAudit, record};
use super::entity::{approval, idempotency, release, service};
use super::records::{StoredRelease, StoredService, find_releases_to_decide, find_service, to_json};
use super::{Store, StoreError, query};
use crate::decide::{Change, Refusal};

/// So many releases are forgotten by one statement; it is seldom more than one, and each length is a statement of its own.
const FORGOTTEN_AT_ONCE: usize = 500;

/// How long an answer is remembered for a repeated request, in milliseconds.
const REMEMBERED_MS: i64 = 24 * 3600 * 1000;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("the change was refused")]
    Refused(#[from] Refusal),
    #[error("the change could not be stored")]
    Store(#[from] StoreError),
}

/// Who asks, and what tells a repetition of the same request from another one.
#[derive(Debug, Clone)]
pub(crate) struct RequestIdentity {
    /// The id of the caller's token.
    pub(crate) token: String,
    /// The caller's name, for the audit.
    pub(crate) actor: String,
    /// The caller's key, where there is one.
    pub(crate) key: Option<String>,
    /// A digest of the whole request.
    pub(crate) request: String,
}

impl Store {
    /// Lets `decide` say what is to change, on the state as it is now, and writes it. Nobody else changes anything in between.
    pub(crate) async fn change(
        &self,
        key: &ServiceKey,
        identity: &RequestIdentity,
        now: Timestamp,
        decide: impl FnOnce(Option<StoredService>, Vec<StoredRelease>) -> Result<Change, Refusal> + Send,
    ) -> Result<RolloutAnswer, ChangeError> {
        let transaction = self.begin().await?;
        if let Some(answer) = remembered(&transaction, identity).await? {
            return answer.map_err(ChangeError::Refused);
        }
        let service = find_service(&transaction, key).await?;
        let existed = service.is_some();
        let releases = find_releases_to_decide(&transaction, key).await?;
        let change = decide(service, releases)?;
        write(&transaction, &change, existed, now).await?;
        forget(&transaction, &change.forgotten).await?;
        let audit = NewAudit {
            actor: &identity.actor,
            action: change.action,
            key: Some(key),
            release: change.answer.release.as_ref(),
            detail: &change.detail,
        };
        record(&transaction, self.next_id(now), &audit, now).await?;
        remember(&transaction, identity, &change.answer, now).await?;
        transaction.commit().await.map_err(query("commit a change"))?;
        Ok(change.answer)
    }
}

async fn write(
    transaction: &DatabaseTransaction,
    change: &Change,
    existed: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let service = &change.service;
    let row = service::ActiveModel {
        environment: Set(service.key.environment.to_string()),
        service: Set(service.key.service.to_string()),
        version: Set(service.version.cast_signed()),
        replicas: Set(i64::from(service.replicas)),
        target: Set(service.target.as_ref().map(ToString::to_string)),
        withdrawn: Set(service.withdrawn.as_ref().map(to_json)),
        created_at: if existed { sea_orm::NotSet } else { Set(now.as_millis()) },
    };
    let written = if existed { row.update(transaction).await } else { row.insert(transaction).await };
    written.map_err(query("store the service"))?;
    if let Some((release, number)) = &change.release {
        let row = release::ActiveModel {
            id: Set(release.id.to_string()),
            environment: Set(service.key.environment.to_string()),
            service: Set(service.key.service.to_string()),
            number: Set(i64::from(*number)),
            definition: Set(to_json(release)),
            finished: Set(None),
            failure: Set(None),
            digest: Set(release.digest.to_string()),
        };
        row.insert(transaction).await.map_err(query("store the release"))?;
    }
    if let Some(approval) = &change.approval {
        let row = approval::ActiveModel {
            release: Set(approval.release.to_string()),
            digest: Set(approval.digest.to_string()),
            by: Set(approval.by.clone()),
            at: Set(approval.at.as_millis()),
        };
        row.insert(transaction).await.map_err(query("store the approval"))?;
    }
    Ok(())
}

/// Removes what is not kept any longer.
async fn forget(transaction: &DatabaseTransaction, releases: &[ReleaseId]) -> Result<(), StoreError> {
    for some in releases.chunks(FORGOTTEN_AT_ONCE) {
        let ids = || some.iter().map(ReleaseId::as_str);
        let approvals = approval::Entity::delete_many().filter(approval::Column::Release.is_in(ids()));
        approvals.exec(transaction).await.map_err(query("forget the approvals of old releases"))?;
        let releases = release::Entity::delete_many().filter(release::Column::Id.is_in(ids()));
        releases.exec(transaction).await.map_err(query("forget old releases"))?;
    }
    Ok(())
}

/// The answer that the same request got before, or a refusal when its key was used for another request.
async fn remembered(
    transaction: &DatabaseTransaction,
    identity: &RequestIdentity,
) -> Result<Option<Result<RolloutAnswer, Refusal>>, StoreError> {
    let Some(key) = &identity.key else { return Ok(None) };
    let row = idempotency::Entity::find_by_id((identity.token.clone(), key.clone()))
        .one(transaction)
        .await
        .map_err(query("look for the request's key"))?;
    let Some(row) = row else { return Ok(None) };
    if row.request != identity.request {
        return Ok(Some(Err(Refusal::KeyReused)));
    }
    serde_json::from_str(&row.answer)
        .map(|answer| Some(Ok(answer)))
        .map_err(super::records::damaged("answer to an earlier request"))
}

async fn remember(
    transaction: &DatabaseTransaction,
    identity: &RequestIdentity,
    answer: &RolloutAnswer,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(key) = &identity.key else { return Ok(()) };
    idempotency::Entity::delete_many()
        .filter(idempotency::Column::CreatedAt.lt(now.as_millis() - REMEMBERED_MS))
        .exec(transaction)
        .await
        .map_err(query("forget old requests"))?;
    let row = idempotency::Model {
        token: identity.token.clone(),
        key: key.clone(),
        request: identity.request.clone(),
        answer: to_json(answer),
        created_at: now.as_millis(),
    };
    row.into_active_model().insert(transaction).await.map_err(query("remember the request"))?;
    Ok(())
}
