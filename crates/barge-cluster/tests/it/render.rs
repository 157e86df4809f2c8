//! What is rendered of settings.

use std::collections::BTreeSet;

use barge_cluster::permissions::PERMISSIONS;
use barge_cluster::{Component, NAMESPACE, Object, Settings, render, token, yaml};

pub(crate) fn plain() -> Settings {
    Settings {
        image: format!("registry.example/barge@sha256:{}", "a".repeat(64)),
        architecture: None,
        pull_secrets: Vec::new(),
        services: None,
        domain: "localhost".to_owned(),
    }
}

fn choosy() -> Settings {
    Settings {
        architecture: Some("amd64".to_owned()),
        pull_secrets: vec!["harbor".to_owned(), "second".to_owned()],
        services: Some("shop".to_owned()),
        domain: "apps.example.com".to_owned(),
        ..plain()
    }
}

/// All but the definitions, which have a file of their own.
fn told(settings: &Settings) -> String {
    let mut objects = render(settings).unwrap();
    objects.retain(|object| object.resource.kind != "CustomResourceDefinition");
    // A new version of Barge is no change of what is rendered.
    yaml(&objects).unwrap().replace(barge_cluster::VERSION, "VERSION")
}

fn of_kind<'a>(objects: &'a [Object], kind: &'a str) -> impl Iterator<Item = &'a Object> {
    objects.iter().filter(move |object| object.resource.kind == kind)
}

#[test]
fn everything_for_services_anywhere() {
    insta::assert_snapshot!("anywhere", told(&plain()));
}

#[test]
fn everything_for_services_in_one_namespace() {
    insta::assert_snapshot!("one_namespace", told(&choosy()));
}

#[test]
fn roles_say_what_the_table_says_and_nothing_else() {
    for settings in [plain(), choosy()] {
        let objects = render(&settings).unwrap();
        let mut rendered = BTreeSet::new();
        for role in of_kind(&objects, "Role").chain(of_kind(&objects, "ClusterRole")) {
            for rule in role.document["rules"].as_array().unwrap() {
                let texts = |name: &str| -> Vec<String> {
                    rule[name].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
                };
                let (group, resource) = (texts("apiGroups").concat(), texts("resources").concat());
                for verb in texts("verbs") {
                    let own = role.name().ends_with("-own");
                    rendered.insert((
                        role.document["metadata"]["labels"]["app.kubernetes.io/name"].as_str().unwrap().to_owned(),
                        own,
                        group.clone(),
                        resource.clone(),
                        texts("resourceNames").concat(),
                        verb,
                    ));
                }
            }
            assert!(!role.document.to_string().contains('*'), "{}", role.title());
        }
        let table: BTreeSet<_> = PERMISSIONS
            .iter()
            .flat_map(|one| {
                one.verbs.iter().map(move |(verb, _)| {
                    let own = one.reach == barge_cluster::permissions::Reach::Own;
                    (
                        one.component.name().to_owned(),
                        own,
                        one.group.to_owned(),
                        one.resource.to_owned(),
                        one.name.unwrap_or_default().to_owned(),
                        (*verb).to_owned(),
                    )
                })
            })
            .collect();
        assert_eq!(rendered, table);
    }
    for permission in PERMISSIONS {
        assert!(permission.verbs.iter().all(|(_, why)| !why.is_empty()), "{permission:?}");
    }
}

#[test]
fn for_one_namespace_nothing_is_allowed_in_others() {
    let objects = render(&choosy()).unwrap();
    assert_eq!(of_kind(&objects, "ClusterRole").chain(of_kind(&objects, "ClusterRoleBinding")).count(), 0);
    let places: BTreeSet<&str> = of_kind(&objects, "Role").map(|role| role.namespace().unwrap()).collect();
    assert_eq!(places, BTreeSet::from([NAMESPACE, "shop"]));
}

#[test]
fn pods_can_do_no_more_than_they_have_to() {
    let objects = render(&plain()).unwrap();
    let deployments: Vec<&Object> = of_kind(&objects, "Deployment").collect();
    assert_eq!(deployments.len(), Component::ALL.len());
    for deployment in deployments {
        let pod = &deployment.document["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["capabilities"]["drop"][0], "ALL");
            assert!(container["readinessProbe"].is_object() && container["livenessProbe"].is_null());
            assert!(container["resources"]["requests"]["memory"].is_string());
        }
    }
}

#[test]
fn no_token_is_shown() {
    let objects = render(&plain()).unwrap();
    assert_eq!(of_kind(&objects, "Secret").count(), 0);
    let secret = Object::new(&token::secret("swordfish".to_owned())).unwrap();
    assert_eq!(secret.document["stringData"][token::KEY], "swordfish");
    assert_eq!((secret.namespace(), secret.name()), (Some(NAMESPACE), token::SECRET));
}

#[test]
fn an_upgrade_that_changes_nothing_of_a_pod_restarts_none() {
    let objects = render(&plain()).unwrap();
    for deployment in of_kind(&objects, "Deployment") {
        let labels = deployment.document["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
        assert!(!labels.values().any(|value| value == barge_cluster::VERSION), "{labels:?}");
    }
}
