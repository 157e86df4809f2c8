//! The schema, step by step. A step that was released is never changed.

// The trait's own signatures are written so.
#![allow(elided_lifetimes_in_paths)]

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, string, string_null, text, text_null};

pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First), Box::new(Second)]
    }
}

/// Everything that version 0.1 stores.
struct First;

impl MigrationName for First {
    fn name(&self) -> &str {
        "m0001_first"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [service(), release(), approval(), token(), audit(), idempotency()] {
            manager.create_table(table).await?;
        }
        let by_service = Index::create()
            .name("release_by_service")
            .table("release")
            .col("environment")
            .col("service")
            .col("number")
            .unique()
            .to_owned();
        manager.create_index(by_service).await?;
        manager.create_index(Index::create().name("token_by_hash").table("token").col("hash").unique().to_owned()).await
    }
}

/// What is asked for often is found without reading the whole of every release.
struct Second;

impl MigrationName for Second {
    fn name(&self) -> &str {
        "m0002_found_by_index"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Second {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let digest = Table::alter().table("release").add_column(string("digest").default("").take()).to_owned();
        manager.alter_table(digest).await?;
        // Where a release cannot be understood its digest stays empty, which whoever needs to know them all finds out.
        let fill = "UPDATE release SET digest = COALESCE(json_extract(definition, '$.digest'), '') \
                    WHERE json_valid(definition)";
        manager.get_connection().execute_unprepared(fill).await?;
        let by_digest = Index::create().name("release_by_digest").table("release").col("digest").to_owned();
        manager.create_index(by_digest).await?;
        let open = Index::create()
            .name("release_open")
            .table("release")
            .col("id")
            .and_where(Expr::col("finished").is_null())
            .to_owned();
        manager.create_index(open).await?;
        let by_age = Index::create().name("idempotency_by_age").table("idempotency").col("created_at").to_owned();
        manager.create_index(by_age).await
    }
}

fn service() -> TableCreateStatement {
    Table::create()
        .table("service")
        .col(string("environment"))
        .col(string("service"))
        .col(big_integer("version"))
        .col(big_integer("replicas"))
        .col(string_null("target"))
        .col(text_null("withdrawn"))
        .col(big_integer("created_at"))
        .primary_key(Index::create().col("environment").col("service"))
        .to_owned()
}

fn release() -> TableCreateStatement {
    Table::create()
        .table("release")
        .col(string("id").primary_key())
        .col(string("environment"))
        .col(string("service"))
        .col(big_integer("number"))
        .col(text("definition"))
        .col(text_null("finished"))
        .col(text_null("failure"))
        .to_owned()
}

fn approval() -> TableCreateStatement {
    Table::create()
        .table("approval")
        .col(string("release").primary_key())
        .col(string("digest"))
        .col(string("by"))
        .col(big_integer("at"))
        .to_owned()
}

fn token() -> TableCreateStatement {
    Table::create()
        .table("token")
        .col(string("id").primary_key())
        .col(string("name"))
        .col(string("role"))
        .col(string_null("environment"))
        .col(string_null("service"))
        .col(string("hash"))
        .col(big_integer("created_at"))
        .col(big_integer_null("revoked_at"))
        .to_owned()
}

fn audit() -> TableCreateStatement {
    Table::create()
        .table("audit")
        .col(string("id").primary_key())
        .col(big_integer("at"))
        .col(string("actor"))
        .col(string("action"))
        .col(string_null("environment"))
        .col(string_null("service"))
        .col(string_null("release"))
        .col(text("detail"))
        .to_owned()
}

fn idempotency() -> TableCreateStatement {
    Table::create()
        .table("idempotency")
        .col(string("token"))
        .col(string("key"))
        .col(string("request"))
        .col(text("answer"))
        .col(big_integer("created_at"))
        .primary_key(Index::create().col("token").col("key"))
        .to_owned()
}
