//! Who a part is to the cluster, and what it may do there.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::metadata;
use crate::NAMESPACE;
use crate::object::{Object, WriteError};
use crate::permissions::{Permission, Reach, permissions};
use crate::settings::{Component, Settings};

/// Its account, its roles and what joins them.
pub(super) fn of(component: Component, settings: &Settings) -> Result<Vec<Object>, WriteError> {
    let account = ServiceAccount {
        metadata: metadata(component),
        // A pod that needs its token asks for it.
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    let mut objects = vec![Object::new(&account)?];
    let rules: Vec<PolicyRule> = permissions(component, Reach::Services).map(rule).collect();
    let own: Vec<PolicyRule> = permissions(component, Reach::Own).map(rule).collect();
    match &settings.services {
        _ if rules.is_empty() => {}
        Some(namespace) => objects.extend(role(component, "services", namespace, rules)?),
        None => objects.extend(cluster_role(component, rules)?),
    }
    if !own.is_empty() {
        objects.extend(role(component, "own", NAMESPACE, own)?);
    }
    Ok(objects)
}

fn rule(permission: &Permission) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![permission.group.to_owned()]),
        resources: Some(vec![permission.resource.to_owned()]),
        resource_names: permission.name.map(|name| vec![name.to_owned()]),
        verbs: permission.verbs.iter().map(|(verb, _)| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    }
}

fn cluster_role(component: Component, rules: Vec<PolicyRule>) -> Result<[Object; 2], WriteError> {
    let metadata = ObjectMeta { namespace: None, ..metadata(component) };
    let role = ClusterRole { metadata: metadata.clone(), rules: Some(rules), ..ClusterRole::default() };
    let role_ref = reference("ClusterRole", component.name());
    let binding = ClusterRoleBinding { metadata, role_ref, subjects: Some(vec![account(component)]) };
    Ok([Object::new(&role)?, Object::new(&binding)?])
}

fn role(component: Component, what: &str, namespace: &str, rules: Vec<PolicyRule>) -> Result<[Object; 2], WriteError> {
    let name = format!("{}-{what}", component.name());
    let metadata =
        ObjectMeta { name: Some(name.clone()), namespace: Some(namespace.to_owned()), ..metadata(component) };
    let role = Role { metadata: metadata.clone(), rules: Some(rules) };
    let binding =
        RoleBinding { metadata, role_ref: reference("Role", &name), subjects: Some(vec![account(component)]) };
    Ok([Object::new(&role)?, Object::new(&binding)?])
}

fn reference(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: "rbac.authorization.k8s.io".to_owned(), kind: kind.to_owned(), name: name.to_owned() }
}

fn account(component: Component) -> Subject {
    Subject {
        kind: "ServiceAccount".to_owned(),
        name: component.name().to_owned(),
        namespace: Some(NAMESPACE.to_owned()),
        api_group: None,
    }
}
