//! Tokens: stored as hashes. A token has 256 random bits, so a plain SHA-256 is as good as a slow hash.

use barge_api::{NewToken, TokenRole, TokenView};
use barge_model::{EnvironmentName, ServiceName, Timestamp};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder};

use super::audit::{NewAudit, record};
use super::entity::token;
use super::records::damaged;
use super::{Store, StoreError, query};

/// A token as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredToken {
    pub(crate) view: TokenView,
    pub(crate) hash: String,
}

impl Store {
    /// Every token, oldest first, the revoked ones too.
    pub(crate) async fn tokens(&self) -> Result<Vec<StoredToken>, StoreError> {
        let rows = token::Entity::find()
            .order_by_asc(token::Column::Id)
            .all(&self.database)
            .await
            .map_err(query("read the tokens"))?;
        rows.into_iter().map(understand).collect()
    }

    /// Stores a new token, and who made it.
    pub(crate) async fn add_token(
        &self,
        new: &NewToken,
        hash: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<TokenView, StoreError> {
        let row = token::Model {
            id: self.next_id(now),
            name: new.name.clone(),
            role: role_text(new.role).to_owned(),
            environment: new.environment.as_ref().map(ToString::to_string),
            service: new.service.as_ref().map(ToString::to_string),
            hash: hash.to_owned(),
            created_at: now.as_millis(),
            revoked_at: None,
        };
        let transaction = self.begin().await?;
        let row = row.into_active_model().insert(&transaction).await.map_err(query("store the token"))?;
        let detail = format!("{} ({}) as {}", new.name, row.id, role_text(new.role));
        let entry = NewAudit { actor, action: "token.create", key: None, release: None, detail: &detail };
        record(&transaction, self.next_id(now), &entry, now).await?;
        transaction.commit().await.map_err(query("commit the token"))?;
        Ok(understand(row)?.view)
    }

    /// Revokes a token and stores who did; false when there is no valid one with that id.
    pub(crate) async fn revoke_token(&self, id: &str, actor: &str, now: Timestamp) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        let done = token::Entity::update_many()
            .col_expr(token::Column::RevokedAt, Expr::value(now.as_millis()))
            .filter(token::Column::Id.eq(id))
            .filter(token::Column::RevokedAt.is_null())
            .exec(&transaction)
            .await
            .map_err(query("revoke the token"))?;
        if done.rows_affected == 0 {
            return Ok(false);
        }
        let entry = NewAudit { actor, action: "token.revoke", key: None, release: None, detail: id };
        record(&transaction, self.next_id(now), &entry, now).await?;
        transaction.commit().await.map_err(query("commit the revocation"))?;
        Ok(true)
    }
}

const ROLES: [(TokenRole, &str); 4] = [
    (TokenRole::Viewer, "viewer"),
    (TokenRole::Developer, "developer"),
    (TokenRole::Releaser, "releaser"),
    (TokenRole::Admin, "admin"),
];

fn role_text(role: TokenRole) -> &'static str {
    // A role that is missing in the table would be the least one; the table has all.
    ROLES.iter().find(|(known, _)| *known == role).map_or("viewer", |(_, text)| text)
}

fn understand(row: token::Model) -> Result<StoredToken, StoreError> {
    let role = ROLES.iter().find(|(_, text)| *text == row.role).map(|(role, _)| *role);
    let unknown = || std::io::Error::other(format!("the role {:?} is unknown", row.role));
    Ok(StoredToken {
        view: TokenView {
            role: role.ok_or_else(unknown).map_err(damaged("token"))?,
            id: row.id,
            name: row.name,
            service: row.service.map(ServiceName::new).transpose().map_err(damaged("service name"))?,
            environment: row.environment.map(EnvironmentName::new).transpose().map_err(damaged("environment name"))?,
            created_at: Timestamp::from_millis(row.created_at),
            revoked_at: row.revoked_at.map(Timestamp::from_millis),
        },
        hash: row.hash,
    })
}
