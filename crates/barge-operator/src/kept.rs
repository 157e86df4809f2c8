//! The objects of one kind as the watch tells them, by service: what a reconcile asks costs as much as its own service has, not as the cluster has.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use barge_model::ServiceKey;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use tokio::sync::watch;

use crate::names;

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The namespace.
    pub namespace: String,
    /// The service's name, as the label says it.
    pub service: String,
    /// Its environment's.
    pub environment: String,
}

impl Place {
    /// Where a service is in a namespace.
    pub fn new(namespace: &str, key: &ServiceKey) -> Self {
        let (service, environment) = (key.service.to_string(), key.environment.to_string());
        Self { namespace: namespace.to_owned(), service, environment }
    }

    /// Whose an object is; nothing where it does not say so.
    pub fn of(object: &impl ResourceExt) -> Option<Self> {
        let label = |name: &str| object.labels().get(name).cloned();
        let (service, environment) = (label(names::SERVICE)?, label(names::ENVIRONMENT)?);
        Some(Self { namespace: object.namespace()?, service, environment })
    }
}

/// An object's namespace and name.
type Name = (String, String);

/// All objects of one kind.
#[derive(Debug)]
pub struct Kept<K> {
    objects: Mutex<Objects<K>>,
    known: watch::Sender<bool>,
}

#[derive(Debug)]
struct Objects<K> {
    places: HashMap<Place, BTreeMap<String, Arc<K>>>,
    by_name: HashMap<Name, Place>,
    /// What a watch that begins anew has told so far. What was there before stays until it has told all.
    anew: Option<Vec<Arc<K>>>,
}

impl<K> Default for Kept<K> {
    fn default() -> Self {
        let objects = Objects { places: HashMap::new(), by_name: HashMap::new(), anew: None };
        Self { objects: Mutex::new(objects), known: watch::channel(false).0 }
    }
}

impl<K: ResourceExt> Kept<K> {
    /// Takes in what the watch tells; the services that it concerns.
    pub fn take(&self, event: Event<K>) -> Vec<Place> {
        let mut objects = self.lock();
        match event {
            Event::Apply(object) => objects.put(Arc::new(object)),
            Event::Delete(object) => objects.remove(&name(&object)).into_iter().collect(),
            Event::Init => {
                objects.anew = Some(Vec::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                objects.anew.get_or_insert_default().push(Arc::new(object));
                Vec::new()
            }
            Event::InitDone => {
                let before: Vec<Place> = std::mem::take(&mut objects.places).into_keys().collect();
                objects.by_name.clear();
                for object in objects.anew.take().unwrap_or_default() {
                    objects.put(object);
                }
                let mut concerned: Vec<Place> = objects.places.keys().cloned().chain(before).collect();
                concerned.sort();
                concerned.dedup();
                drop(objects);
                self.known.send_replace(true);
                concerned
            }
        }
    }

    /// Ends once everything that there is was told.
    pub async fn known(&self) {
        // The sender lives as long as `self`.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }

    /// A service's objects, by name.
    pub fn of(&self, place: &Place) -> Vec<Arc<K>> {
        self.lock().places.get(place).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let objects = self.lock();
        let place = objects.by_name.get(&(namespace.to_owned(), name.to_owned()))?;
        objects.places.get(place)?.get(name).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.lock().places.values().flat_map(|objects| objects.values().cloned()).collect()
    }

    /// All services that have any.
    pub fn places(&self) -> Vec<Place> {
        self.lock().places.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Objects<K>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: ResourceExt> Objects<K> {
    /// Somebody may have changed whose it is.
    fn put(&mut self, object: Arc<K>) -> Vec<Place> {
        let key = name(object.as_ref());
        let place = Place::of(object.as_ref());
        let before = self.remove(&key).filter(|before| Some(before) != place.as_ref());
        if let Some(place) = place.clone() {
            self.by_name.insert(key.clone(), place.clone());
            self.places.entry(place).or_default().insert(key.1, object);
        }
        place.into_iter().chain(before).collect()
    }

    fn remove(&mut self, name: &Name) -> Option<Place> {
        let place = self.by_name.remove(name)?;
        if let Some(objects) = self.places.get_mut(&place) {
            objects.remove(&name.1);
            if objects.is_empty() {
                self.places.remove(&place);
            }
        }
        Some(place)
    }
}

fn name(object: &impl ResourceExt) -> Name {
    (object.namespace().unwrap_or_default(), object.name_any())
}
