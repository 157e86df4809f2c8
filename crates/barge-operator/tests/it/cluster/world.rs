//! A namespace of a test's own, an operator, and a stand-in for the registrar.

use std::ops::{Deref, DerefMut};

use barge_operator::build::Settings;
use barge_world::{Greeter, Place, register};
use kube::client::ClientBuilder;
use tokio::task::JoinHandle;

use super::fuse::Fuse;
use super::refusals::Refusals;

pub(crate) struct World {
    greeter: Greeter,
    settings: Settings,
    operator: JoinHandle<()>,
    registrar: JoinHandle<()>,
}

impl Deref for World {
    type Target = Greeter;

    fn deref(&self) -> &Greeter {
        &self.greeter
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Greeter {
        &mut self.greeter
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.operator.abort();
        self.registrar.abort();
    }
}

impl World {
    /// None, said aloud, where there is no cluster.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        let place = Place::new(name).await?;
        let settings = Settings::new(&*place.barge_init);
        let operator = operate(&place, &settings);
        let registrar = tokio::spawn(register(place.api()));
        Some(Self { greeter: Greeter::new(place), settings, operator, registrar })
    }

    pub(crate) fn restart_operator(&mut self) {
        self.operator.abort();
        self.operator = operate(&self.greeter.place, &self.settings);
    }

    /// From now on an operator that dies with one of its writes, and another one after it.
    pub(crate) fn restart_operator_with(&mut self, fuse: Fuse) {
        self.operator.abort();
        let fused = ClientBuilder::try_from(self.greeter.place.config.clone()).unwrap().with_layer(&fuse).build();
        let (client, settings, namespace) =
            (self.greeter.place.client.clone(), self.settings.clone(), self.greeter.place.namespace.clone());
        self.operator = tokio::spawn(async move {
            tokio::select! {
                () = barge_operator::run(fused, settings.clone(), Some(namespace.clone())) => {}
                () = fuse.blown() => {}
            }
            barge_operator::run(client, settings, Some(namespace)).await;
        });
    }

    /// From now on an operator whose writes are refused now and then.
    pub(crate) fn restart_operator_behind(&mut self, refusals: &Refusals) {
        self.operator.abort();
        let builder = ClientBuilder::try_from(self.greeter.place.config.clone()).unwrap();
        let client = builder.with_layer(refusals).build();
        let (settings, namespace) = (self.settings.clone(), self.greeter.place.namespace.clone());
        self.operator = tokio::spawn(barge_operator::run(client, settings, Some(namespace)));
    }
}

/// An operator for one namespace, so that those of other tests are others' business.
fn operate(place: &Place, settings: &Settings) -> JoinHandle<()> {
    tokio::spawn(barge_operator::run(place.client.clone(), settings.clone(), Some(place.namespace.clone())))
}
