//! Why a Deployment cannot be adopted as it is: what nobody can say yes to.

/// What stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing that serves.
    #[error("it has no instances, so that nothing shows what runs well")]
    NothingRuns,
    /// Tomorrow it runs something else.
    #[error("a rollout of it is under way: {0}")]
    UnderWay(String),
    /// Two versions under one name.
    #[error("its pods run different images: {}", .0.join(", "))]
    Images(Vec<String>),
    /// Nobody could pull the image again.
    #[error("the pod {pod} runs the image {image:?}, which no registry has a digest of")]
    NoDigest {
        /// Which pod.
        pod: String,
        /// What its node says of the image.
        image: String,
    },
    /// The image has a name that Barge does not take.
    #[error("its image {0:?} has no name that Barge can release")]
    ImageName(String),
    /// One of several has to be the service.
    #[error("its pods have several containers: {}", .0.join(", "))]
    Containers(Vec<String>),
    /// The container that was named.
    #[error("its pods have no container {asked:?}, but {}", .there.join(", "))]
    NoContainer {
        /// Which one was asked for.
        asked: String,
        /// Those that there are.
        there: Vec<String>,
    },
    /// Neither the Deployment nor the image says what starts it.
    #[error("neither the Deployment nor its image says which program is started")]
    NoCommand,
    /// Nobody says where it listens.
    #[error("it does not say on which port it listens")]
    NoPort,
    /// Several ports, and any of them may be the one.
    #[error("it listens on several ports: {}", .0.iter().map(u16::to_string).collect::<Vec<_>>().join(", "))]
    Ports(Vec<u16>),
    /// barge-init's.
    #[error("it listens on port {0}, where Barge's own readiness is asked")]
    OwnPort(u16),
    /// Another port than the service's has a name of ours.
    #[error("its port {number} has the name {name:?}, which Barge gives to another one")]
    PortName {
        /// The name.
        name: String,
        /// The port.
        number: i32,
    },
    /// An autoscaler would bring back what is taken.
    #[error("the HorizontalPodAutoscaler {0} scales it, and would bring back what is taken from it")]
    Autoscaler(String),
    /// Somebody was first.
    #[error("{0} has taken its place already")]
    Adopted(String),
    /// Something that no release can have.
    #[error("no release can be like this: {0}")]
    Config(String),
}

impl Refusal {
    /// What to run next.
    pub fn hint(&self, deployment: &str) -> String {
        match self {
            Self::NothingRuns => format!("kubectl scale deployment {deployment} --replicas=1"),
            Self::UnderWay(_) => format!("kubectl rollout status deployment {deployment}"),
            Self::Images(_) => format!("kubectl rollout restart deployment {deployment}"),
            Self::NoDigest { .. } | Self::ImageName(_) => {
                "push the image to a registry that the nodes can pull from, and have the Deployment use that one"
                    .to_owned()
            }
            Self::Containers(there) | Self::NoContainer { there, .. } => {
                let first = there.first().map_or("NAME", String::as_str);
                format!("say which one is the service, such as --container {first}")
            }
            Self::NoCommand => "say it with --command 'PROGRAM ARGUMENTS'".to_owned(),
            Self::NoPort => "say it with --port NUMBER".to_owned(),
            Self::Ports(ports) => {
                format!("say which one is the service's, such as --port {}", ports.first().copied().unwrap_or(8080))
            }
            Self::OwnPort(_) | Self::PortName { .. } => "the Deployment has to be changed first".to_owned(),
            Self::Autoscaler(name) => format!(
                "kubectl delete hpa {name}, and make one for the service after the adoption: it has a scale of its own"
            ),
            Self::Adopted(_) => "barge adopt --help says how to give a place back".to_owned(),
            Self::Config(_) => "options of barge adopt take the place of what the Deployment says".to_owned(),
        }
    }
}
