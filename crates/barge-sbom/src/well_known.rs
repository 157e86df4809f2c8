//! Groups of well-known libraries whose builds leave no word of Maven in their jars, most of them Gradle's, or a manifest that names another
//! group. Without the group no scanner would find Spring itself.
//!
//! A name alone is not believed: the jar has to hold the package as well.

/// What a library is told by, and its group.
struct Known {
    /// Its name, or with a `*` how its name begins.
    name: &'static str,
    /// The first major version of this group.
    since: u32,
    /// The directory of a package that is in it.
    package: &'static str,
    group: &'static str,
}

const fn known(name: &'static str, package: &'static str, group: &'static str) -> Known {
    Known { name, since: 0, package, group }
}

/// The modules of the Spring Framework, which share the beginning of their names with many others.
const SPRING: [&str; 22] = [
    "aop",
    "aspects",
    "beans",
    "context",
    "context-indexer",
    "context-support",
    "core",
    "core-test",
    "expression",
    "instrument",
    "jdbc",
    "jms",
    "messaging",
    "orm",
    "oxm",
    "r2dbc",
    "test",
    "tx",
    "web",
    "webflux",
    "webmvc",
    "websocket",
];

const KNOWN: [Known; 36] = [
    known("spring-boot*", "org/springframework/boot/", "org.springframework.boot"),
    known("spring-security-*", "org/springframework/security/", "org.springframework.security"),
    known("spring-integration-*", "org/springframework/integration/", "org.springframework.integration"),
    known("spring-batch-*", "org/springframework/batch/", "org.springframework.batch"),
    known("spring-session-*", "org/springframework/session/", "org.springframework.session"),
    known("spring-jcl", "org/apache/commons/logging/", "org.springframework"),
    known("spring-kafka", "org/springframework/kafka/", "org.springframework.kafka"),
    known("spring-rabbit", "org/springframework/amqp/", "org.springframework.amqp"),
    known("micrometer-*", "io/micrometer/", "io.micrometer"),
    known("reactor-core", "reactor/core/", "io.projectreactor"),
    known("reactor-netty-*", "reactor/netty/", "io.projectreactor.netty"),
    known("reactive-streams", "org/reactivestreams/", "org.reactivestreams"),
    Known { name: "hibernate-core", since: 6, package: "org/hibernate/", group: "org.hibernate.orm" },
    known("hibernate-commons-annotations", "org/hibernate/", "org.hibernate.common"),
    known("tomcat-embed-*", "org/apache/", "org.apache.tomcat.embed"),
    known("jna*", "com/sun/jna/", "net.java.dev.jna"),
    known("h2", "org/h2/", "com.h2database"),
    known("lucene-*", "org/apache/lucene/", "org.apache.lucene"),
    known("kafka-clients", "org/apache/kafka/", "org.apache.kafka"),
    known("elasticsearch-java", "co/elastic/clients/", "co.elastic.clients"),
    known("grpc-*", "io/grpc/", "io.grpc"),
    known("okhttp*", "okhttp3/", "com.squareup.okhttp3"),
    known("okio*", "okio/", "com.squareup.okio"),
    known("retrofit", "retrofit2/", "com.squareup.retrofit2"),
    known("caffeine", "com/github/benmanes/caffeine/", "com.github.ben-manes.caffeine"),
    known("kotlin-*", "kotlin/", "org.jetbrains.kotlin"),
    known("kotlinx-coroutines-*", "kotlinx/coroutines/", "org.jetbrains.kotlinx"),
    known("checker-qual", "org/checkerframework/", "org.checkerframework"),
    known("aopalliance", "org/aopalliance/", "aopalliance"),
    Known { name: "asm*", since: 4, package: "org/objectweb/asm/", group: "org.ow2.asm" },
    Known { name: "groovy*", since: 4, package: "groovy/", group: "org.apache.groovy" },
    known("mockito-core", "org/mockito/", "org.mockito"),
    known("junit-jupiter-*", "org/junit/jupiter/", "org.junit.jupiter"),
    known("junit-platform-*", "org/junit/platform/", "org.junit.platform"),
    known("opentest4j", "org/opentest4j/", "org.opentest4j"),
    known("apiguardian-api", "org/apiguardian/", "org.apiguardian"),
];

/// The group of a library, where it is one of those; `holds` says whether anything in the jar is below a directory.
pub(crate) fn group(name: &str, version: Option<&str>, holds: impl Fn(&str) -> bool) -> Option<&'static str> {
    let spring = name.strip_prefix("spring-").is_some_and(|module| SPRING.contains(&module));
    if spring && holds("org/springframework/") {
        return Some("org.springframework");
    }
    let named = |known: &&Known| match known.name.strip_suffix('*') {
        Some(begins) => name.starts_with(begins),
        None => name == known.name,
    };
    let major = version.and_then(|version| version.split(['.', '-']).next()?.parse::<u32>().ok()).unwrap_or_default();
    let fits = |known: &&Known| major >= known.since && holds(known.package);
    KNOWN.iter().filter(named).find(fits).map(|known| known.group)
}

#[cfg(test)]
mod tests {
    use super::group;

    #[test]
    fn a_name_alone_is_not_believed() {
        let spring = |package: &str| "org/springframework/core/Ordered.class".starts_with(package);
        assert_eq!(group("spring-core", Some("6.2.1"), spring), Some("org.springframework"));
        assert_eq!(group("spring-core", Some("6.2.1"), |_| false), None);
        assert_eq!(group("spring-something", None, spring), None);
        assert_eq!(group("spring-boot-autoconfigure", None, spring), None, "the package is another one");
    }

    #[test]
    fn a_group_may_begin_with_a_version() {
        let hibernate = |package: &str| package == "org/hibernate/";
        assert_eq!(group("hibernate-core", Some("6.4.0.Final"), hibernate), Some("org.hibernate.orm"));
        assert_eq!(group("hibernate-core", Some("5.6.15.Final"), hibernate), None);
        assert_eq!(group("hibernate-core", None, hibernate), None);
    }
}
