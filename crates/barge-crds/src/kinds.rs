//! The two kinds, which differ in their names alone: what a service is to its callers is in every list and every event.

#![allow(unreachable_pub)] // The derive repeats each struct inside of a function.

use barge_model::manifest::Kind;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::ServiceSpec;
use crate::status::ServiceStatus;

macro_rules! service_kind {
    ($doc:literal, $kind:ident, $resource:ident, $name:ident, $text:literal, $plural:literal, $short:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
        #[kube(
            group = "barge.dev",
            version = "v1alpha1",
            kind = $text,
            doc = $doc,
            plural = $plural,
            shortname = $short,
            category = "barge",
            namespaced,
            status = "ServiceStatus",
            derive = "PartialEq",
            scale(
                spec_replicas_path = ".spec.replicas",
                status_replicas_path = ".status.replicas",
                label_selector_path = ".status.selector"
            ),
            printcolumn(name = "Wanted", type_ = "integer", json_path = ".spec.replicas", description = "Instances that there should be"),
            printcolumn(name = "Available", type_ = "integer", json_path = ".status.available", description = "Instances that are ready and online"),
            printcolumn(name = "Stable", type_ = "string", json_path = ".status.stable", description = "The release that serves"),
            printcolumn(name = "Candidate", type_ = "string", json_path = ".status.candidate", description = "The release on its way"),
            printcolumn(name = "Waiting", type_ = "string", json_path = ".status.waitingOn.message", description = "What the release waits for"),
            printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
            validation = kube::core::Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')")
                .message("the name is the service's: at most 40 lower-case letters, digits and '-', and it begins with a letter")
        )]
        pub struct $name {
            /// What the service is to be.
            #[serde(flatten)]
            pub service: ServiceSpec,
        }

        impl ServiceResource for $resource {
            const KIND: Kind = Kind::$kind;

            fn spec(&self) -> &ServiceSpec {
                &self.spec.service
            }

            fn status(&self) -> Option<&ServiceStatus> {
                self.status.as_ref()
            }

            fn with_status(self, status: ServiceStatus) -> Self {
                Self { status: Some(status), ..self }
            }
        }
    };
}

service_kind! {
    "A service that answers HTTP behind the gateway",
    Web, WebService, WebServiceSpec, "WebService", "webservices", "ws"
}
service_kind! {
    "A service with a protocol of its own, which its consumers find through a registry",
    Rpc, RpcService, RpcServiceSpec, "RpcService", "rpcservices", "rpcs"
}

/// What both kinds have, for whoever does the same with both.
pub trait ServiceResource: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> {
    /// Which of the two it is.
    const KIND: Kind;

    /// What the service is to be.
    fn spec(&self) -> &ServiceSpec;

    /// What the operator has stored last.
    fn status(&self) -> Option<&ServiceStatus>;

    /// The same resource with another status.
    #[must_use]
    fn with_status(self, status: ServiceStatus) -> Self;
}

/// The definitions to be applied to a cluster.
pub fn definitions() -> [CustomResourceDefinition; 2] {
    [WebService::crd(), RpcService::crd()]
}
