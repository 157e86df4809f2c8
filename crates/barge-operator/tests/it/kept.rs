//! What is kept of a watch's news.

use barge_crds::names;
use barge_operator::kept::{Kept, Place};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use kube::runtime::watcher::Event;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn place(service: &str) -> Place {
    Place { namespace: "shop".to_owned(), service: service.to_owned(), environment: "test".to_owned() }
}

fn map(name: &str, service: Option<&str>) -> ConfigMap {
    let labels = service.map(|service| {
        let all = [(names::SERVICE, service), (names::ENVIRONMENT, "test")];
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    });
    let metadata =
        ObjectMeta { name: Some(name.to_owned()), namespace: Some("shop".to_owned()), labels, ..ObjectMeta::default() };
    ConfigMap { metadata, ..ConfigMap::default() }
}

fn names_of(kept: &Kept<ConfigMap>, service: &str) -> Vec<String> {
    kept.of(&place(service)).iter().filter_map(|map| map.metadata.name.clone()).collect()
}

#[tokio::test]
async fn a_watch_that_begins_anew_takes_nothing_away_before_it_has_told_all() {
    let kept = Kept::default();
    assert!(kept.take(Event::Init).is_empty());
    assert!(kept.take(Event::InitApply(map("a", Some("greeter")))).is_empty());
    let known = kept.known();
    assert!(futures_util::poll!(std::pin::pin!(known)).is_pending(), "half of it is not all");
    assert_eq!(kept.take(Event::InitDone), [place("greeter")]);
    kept.known().await;

    kept.take(Event::Init);
    assert_eq!(names_of(&kept, "greeter"), ["a"], "R4: an empty list is no news");
    kept.take(Event::InitApply(map("b", Some("other"))));
    assert_eq!(names_of(&kept, "greeter"), ["a"]);
    assert_eq!(kept.take(Event::InitDone), [place("greeter"), place("other")], "both hear of it");
    assert!(names_of(&kept, "greeter").is_empty());
    assert_eq!(names_of(&kept, "other"), ["b"]);
}

#[test]
fn one_that_changes_hands_is_news_for_both() {
    let kept = Kept::default();
    assert_eq!(kept.take(Event::Apply(map("a", Some("greeter")))), [place("greeter")]);
    assert_eq!(kept.take(Event::Apply(map("a", Some("other")))), [place("other"), place("greeter")]);
    assert!(names_of(&kept, "greeter").is_empty());
    assert_eq!(kept.take(Event::Apply(map("a", None))), [place("other")]);
    assert!(kept.get("shop", "a").is_none());
    assert!(kept.take(Event::Delete(map("a", None))).is_empty());
}

#[derive(Debug, Clone)]
enum News {
    Apply(u8, Option<u8>),
    Delete(u8),
    All(Vec<(u8, Option<u8>)>),
}

fn news() -> impl Strategy<Value = News> {
    let object = || (0..6u8, prop::option::weighted(0.9, 0..3u8));
    prop_oneof![
        6 => object().prop_map(|(name, service)| News::Apply(name, service)),
        3 => (0..6u8).prop_map(News::Delete),
        1 => prop::collection::vec(object(), 0..6).prop_map(News::All),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_what_a_plain_list_would_be(all in prop::collection::vec(news(), 0..40)) {
        let kept = Kept::default();
        let mut plain: BTreeMap<u8, Option<u8>> = BTreeMap::new();
        let object = |name: u8, service: Option<u8>| map(&name.to_string(), service.map(|s| s.to_string()).as_deref());
        for news in all {
            match news {
                News::Apply(name, service) => {
                    plain.insert(name, service);
                    kept.take(Event::Apply(object(name, service)));
                }
                News::Delete(name) => {
                    plain.remove(&name);
                    kept.take(Event::Delete(object(name, None)));
                }
                News::All(objects) => {
                    plain = objects.iter().copied().collect();
                    kept.take(Event::Init);
                    for (name, service) in objects {
                        kept.take(Event::InitApply(object(name, service)));
                    }
                    kept.take(Event::InitDone);
                }
            }
            for service in 0..3u8 {
                let expected: Vec<String> =
                    plain.iter().filter(|(_, of)| **of == Some(service)).map(|(name, _)| name.to_string()).collect();
                prop_assert_eq!(names_of(&kept, &service.to_string()), expected);
            }
            for (name, service) in &plain {
                prop_assert_eq!(kept.get("shop", &name.to_string()).is_some(), service.is_some());
            }
            prop_assert_eq!(kept.all().len(), plain.values().flatten().count());
        }
    }
}
