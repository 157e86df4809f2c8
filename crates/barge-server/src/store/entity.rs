//! The tables as SeaORM entities. Names and ids are text, points in time whole milliseconds, documents JSON: the same on every
//! database. What fills new columns of existing tables is SQLite's.

// The derive makes public items of its own in these private modules.
#![allow(unreachable_pub)]

pub(crate) mod service {
    use sea_orm::entity::prelude::*;

    /// What is wanted of a service in an environment.
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "service")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub environment: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub service: String,
        pub version: i64,
        pub replicas: i64,
        pub target: Option<String>,
        #[sea_orm(column_type = "Text", nullable)]
        pub withdrawn: Option<String>,
        pub created_at: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod release {
    use sea_orm::entity::prelude::*;

    /// A release; of its columns only `finished` and `failure` ever change, once, from nothing to something.
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "release")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub environment: String,
        pub service: String,
        pub number: i64,
        #[sea_orm(column_type = "Text")]
        pub definition: String,
        #[sea_orm(column_type = "Text", nullable)]
        pub finished: Option<String>,
        #[sea_orm(column_type = "Text", nullable)]
        pub failure: Option<String>,
        // The one in the definition, so that it is found without reading that.
        pub digest: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod approval {
    use sea_orm::entity::prelude::*;

    /// A positive record that a release may go on. Its absence means "not approved".
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "approval")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub release: String,
        pub digest: String,
        pub by: String,
        pub at: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod token {
    use sea_orm::entity::prelude::*;

    /// A token; of its secret only the hash.
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "token")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub name: String,
        pub role: String,
        pub environment: Option<String>,
        pub service: Option<String>,
        pub hash: String,
        pub created_at: i64,
        pub revoked_at: Option<i64>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod audit {
    use sea_orm::entity::prelude::*;

    /// A change or an opened terminal.
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "audit")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub at: i64,
        pub actor: String,
        pub action: String,
        pub environment: Option<String>,
        pub service: Option<String>,
        pub release: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub detail: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod idempotency {
    use sea_orm::entity::prelude::*;

    /// An answer that is given again when the same request comes again.
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "idempotency")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub token: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub key: String,
        pub request: String,
        #[sea_orm(column_type = "Text")]
        pub answer: String,
        pub created_at: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}
