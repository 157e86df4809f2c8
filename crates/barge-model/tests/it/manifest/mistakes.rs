//! What mistakes in `barge.yaml` say: each row is a text and what its writer reads, with line and column.

use barge_model::manifest::parse;

/// The fields of a whole `barge.yaml`, which many a message lists.
const FIELDS: &str = "name, kind, build, command, healthcheck, templates, replicas, env, resources, rollout, drain, start_deadline, environments";

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = parse(text.as_bytes()).unwrap_err();
    let hint = error.meant().map(|meant| format!(" | {meant}")).unwrap_or_default();
    let expected = format!("barge.yaml:{}", expected.replace("{FIELDS}", FIELDS));
    assert_eq!(format!("{error}{hint}"), expected, "of {text:?}");
}

#[test]
fn mistakes_in_the_file_as_a_whole() {
    let rows = [
        ("kind: web\n", "1:1: `name` is missing | add `name: my-service`"),
        (
            "name: greeter\n",
            "1:1: `kind` is missing | add `kind: web` for HTTP, or `kind: rpc` for a protocol of your own",
        ),
        (
            "name: Greeter\nkind: web\n",
            "1:7: service name \"Greeter\" is not valid: only lower-case letters a-z, digits and '-' are allowed | did you mean `greeter`?",
        ),
        ("name: ''\nkind: web\n", "1:7: service name \"\" is not valid: it is empty"),
        ("name: 5\nkind: web\n", "1:7: service name \"5\" is not valid: it must start with a letter"),
        ("name: [a]\nkind: web\n", "1:7: expected a single value"),
        ("name:\nkind: web\n", "1:5: expected a text, found nothing"),
        (
            "name: greeter\nkind: http\n",
            "2:7: `http` is not known here; the values here are web, rpc | web is for HTTP behind the gateway, rpc for any other protocol",
        ),
        (
            "name: greeter\nkind: Web\n",
            "2:7: `Web` is not known here; the values here are web, rpc | did you mean `web`?",
        ),
        (
            "name: greeter\nkind: wbe\n",
            "2:7: `wbe` is not known here; the values here are web, rpc | did you mean `web`?",
        ),
        ("name: greeter\nkind: 5\n", "2:7: `5` is not known here; the values here are web, rpc"),
        ("name: greeter\nkind: [web]\n", "2:7: expected one word"),
        ("name: greeter\nkind:\n", "2:5: nothing is given here; the values here are web, rpc"),
        ("just text\n", "1:1: expected fields such as `name: value`, each on a line of its own"),
        ("- a\n- b\n", "1:1: expected fields such as `name: value`, each on a line of its own"),
        ("5\n", "1:1: expected fields such as `name: value`, each on a line of its own"),
        ("name: greeter\n\tkind: web\n", "1:7: a tab stands where YAML allows spaces only | indent with spaces"),
        ("name: 'greeter\nkind: web\n", "1:7: a quote is opened here and never closed"),
        (
            "name: greeter\n kind: web\n",
            "1:7: service name \"greeter kind\" is not valid: only lower-case letters a-z, digits and '-' are allowed | did you mean `greeter-kind`?",
        ),
        ("{}\n", "1:1: `name` is missing | add `name: my-service`"),
        ("null\n", "1:1: expected fields such as `name: value`, each on a line of its own"),
        ("--- \n", "1:4: expected fields such as `name: value`, each on a line of its own"),
        (
            "name: *x\nkind: web\n",
            "1:7: `*x` refers to nothing; to give a text that starts with '*', put it into quotes",
        ),
        (
            "name: greeter\nkind: web: x\n",
            "2:10: a second ': ' in one line; to give a text with ': ' in it, put it into quotes",
        ),
        (
            "name: \"\\x00\"\nkind: web\n",
            "1:7: service name \"\\0\" is not valid: only lower-case letters a-z, digits and '-' are allowed",
        ),
    ];
    for (text, expected) in rows {
        check_error(text, expected);
    }
}

/// Each behind `name` and `kind`, from line 3 on.
#[test]
fn mistakes_in_a_field() {
    let rows = [
        ("build:\n\tpath: x", "4:2: a tab stands where YAML allows spaces only | indent with spaces"),
        ("name: again", "3:1: `name` is given twice"),
        ("---\nname: b\nkind: rpc", "4:1: a second document begins here; barge.yaml has one"),
        ("env: {A: 1", "3:6: a bracket is opened here and never closed"),
        ("? [a]\n: b", "3:3: expected a single value"),
        ("5: b", "3:1: unknown field `5`; the fields here are {FIELDS}"),
        ("\"\\x1b[31m\": b", "3:1: unknown field `\\u{1b}[31m`; the fields here are {FIELDS}"),
        ("name : x", "3:1: `name` is given twice"),
        ("replcas: 3", "3:1: unknown field `replcas`; the fields here are {FIELDS} | did you mean `replicas`?"),
        ("replicas: many", "3:11: `many` is not a whole number of 0 or more"),
        ("replicas: -1", "3:11: `-1` is not a whole number of 0 or more"),
        ("replicas: 1.5", "3:11: `1.5` is not a whole number of 0 or more"),
        ("replicas: 99999999999", "3:11: `99999999999` is too large"),
        ("replicas: [1]", "3:11: expected a single value"),
        ("replicas: true", "3:11: `true` is not a whole number of 0 or more"),
        ("build: files", "3:8: expected fields such as `name: value`, each on a line of its own"),
        (
            "build: {typ: files}",
            "3:9: unknown field `typ`; the fields here are type, path, base, platforms, context_path, jvm, sbom, provenance | did you mean `type`?",
        ),
        ("build: {type: docker}", "3:15: `docker` is not known here; the only value here is `files`"),
        ("build: {path: [a]}", "3:15: expected a single value"),
        ("build: {jvm: -Xss1m}", "3:14: expected a list such as `[one, two]`"),
        (
            "build: {contextPath: /shop}",
            "3:9: unknown field `contextPath`; the fields here are type, path, base, platforms, context_path, jvm, sbom, provenance | did you mean `context_path`?",
        ),
        ("command: ''", "3:10: the command is empty"),
        ("command: []", "3:10: the command is empty"),
        ("command: {a: b}", "3:10: expected a command line, or a list of a program and its arguments, found fields"),
        ("command: \"a 'b\"", "3:10: the command has a quote that is not closed"),
        ("command: [a, {b: c}]", "3:14: expected a single value"),
        ("command: 5", "3:1: expected a command line, or a list of a program and its arguments, found `5`"),
        ("healthcheck: [a]", "3:14: expected a single value"),
        ("templates: a.template", "3:12: expected a list such as `[one, two]`"),
        ("templates: {a: b}", "3:12: expected a list such as `[one, two]`"),
        ("env: [A]", "3:6: expected fields such as `name: value`, each on a line of its own"),
        ("env: A=1", "3:6: expected fields such as `name: value`, each on a line of its own"),
        ("env:\n  - A=1", "4:3: expected fields such as `name: value`, each on a line of its own"),
        ("env: {A: [1]}", "3:7: expected a text, a number, true or false, or {secret: NAME}, found a list"),
        (
            "env: {A: {secrt: x}}",
            "3:11: unknown field `secrt`; the only field here is `secret` | did you mean `secret`?",
        ),
        ("env: {A: {secret: [x]}}", "3:19: expected a single value"),
        ("env: {A: {}}", "3:10: `secret` is missing"),
        ("env: {A: {secret: a, secret: b}}", "3:22: `secret` is given twice"),
        ("env: {A: {secret: {secret: x}}}", "3:19: expected a single value"),
        ("env:\n  A: 1\n  A: 2", "5:3: `A` is given twice"),
        ("env: {A: }", "3:7: expected a text, a number, true or false, or {secret: NAME}, found nothing"),
        ("resources: {cpus: 2}", "3:13: unknown field `cpus`; the fields here are cpu, memory | did you mean `cpu`?"),
        ("resources: {cpu: many}", "3:18: \"many\" is not a number of cores: write it like 2, 0.5 or 250m"),
        ("resources: {cpu: -1}", "3:18: \"-1\" is not a number of cores: write it like 2, 0.5 or 250m"),
        ("resources: {cpu: 0}", "3:18: \"0\" is not a number of cores: write it like 2, 0.5 or 250m"),
        ("resources: {cpu: [1]}", "3:13: expected a number of cores such as 0.5 or 250m, found a list"),
        ("resources: {memory: 512}", "3:21: \"512\" is not an amount of memory: write it like 512MiB or 2GiB"),
        ("resources: {memory: 512mb}", "3:21: \"512mb\" is not an amount of memory: write it like 512MiB or 2GiB"),
        ("resources: {memory: -1MiB}", "3:21: \"-1MiB\" is not an amount of memory: write it like 512MiB or 2GiB"),
        (
            "resources: {memory: 99999999999999GiB}",
            "3:21: \"99999999999999GiB\" is not an amount of memory: write it like 512MiB or 2GiB",
        ),
        (
            "rollout: {first_bach: 2}",
            "3:11: unknown field `first_bach`; the fields here are first_batch, gate, batches, max_surge, max_unavailable, progress_deadline | did you mean `first_batch`?",
        ),
        ("rollout: {first_batch: none}", "3:24: `none` is not a whole number of 0 or more"),
        ("rollout: {gate: approved}", "3:17: expected fields such as `name: value`, each on a line of its own"),
        (
            "rollout: {gate: {until: aproved}}",
            "3:25: `aproved` is not known here; the only value here is `approved` | did you mean `approved`?",
        ),
        ("rollout: {gate: {for: soon}}", "3:23: \"soon\" is not a duration: write it like 30s, 5m, 1h30m or 7d"),
        (
            "rollout: {gate: {fro: 5m}}",
            "3:18: unknown field `fro`; the fields here are until, for | did you mean `for`?",
        ),
        ("rollout: {gate: {for: -5}}", "3:23: a duration cannot be negative"),
        ("rollout: {batches: 25%}", "3:20: expected a list such as `[one, two]`"),
        (
            "rollout: {batches: [25 percent]}",
            "3:21: \"25 percent\" is not a count: write a number such as 2, or a share such as 25%",
        ),
        (
            "rollout: {batches: [{sze: 2}]}",
            "3:22: unknown field `sze`; the fields here are size, pause | did you mean `size`?",
        ),
        ("rollout: {batches: [{pause: 5m}]}", "3:22: `size` is missing"),
        (
            "rollout: {batches: [{size: 2, pause: later}]}",
            "3:38: \"later\" is not a duration: write it like 30s, 5m, 1h30m or 7d",
        ),
        (
            "rollout: {batches: [[2]]}",
            "3:21: expected a count such as 2 or 25%, or {size: 25%, pause: 5m}, found a list",
        ),
        ("rollout: {batches: [-2]}", "3:21: expected a count such as 2 or 25%, or {size: 25%, pause: 5m}, found `-2`"),
        (
            "rollout: {batches: [1.5]}",
            "3:21: expected a count such as 2 or 25%, or {size: 25%, pause: 5m}, found `1.5`",
        ),
        (
            "rollout: {max_surge: 120%}",
            "3:22: \"120%\" is not a count: write a number such as 2, or a share such as 25%",
        ),
        (
            "rollout: {max_surge: lots}",
            "3:22: \"lots\" is not a count: write a number such as 2, or a share such as 25%",
        ),
        (
            "rollout: {progress_deadline: 5 minutes}",
            "3:30: \"5 minutes\" is not a duration: write it like 30s, 5m, 1h30m or 7d",
        ),
        (
            "rollout: {progress_deadline: 99999999999999999999}",
            "3:11: expected a duration such as 30s, 5m or 1h30m, found `100000000000000000000.0`",
        ),
        ("rollout: 5", "3:10: expected fields such as `name: value`, each on a line of its own"),
        (
            "drain: {quite: 1s}",
            "3:9: unknown field `quite`; the fields here are quiet, limit, grace | did you mean `quiet`?",
        ),
        ("drain: {quiet: fast}", "3:16: \"fast\" is not a duration: write it like 30s, 5m, 1h30m or 7d"),
        ("start_deadline: [5m]", "3:1: expected a duration such as 30s, 5m or 1h30m, found a list"),
        ("start_deadline: 5x", "3:17: \"5x\" is not a duration: write it like 30s, 5m, 1h30m or 7d"),
        ("start_deadline: 1.5", "3:1: expected a duration such as 30s, 5m or 1h30m, found `1.5`"),
        (
            "environments: {Test: {}}",
            "3:16: environment name \"Test\" is not valid: only lower-case letters a-z, digits and '-' are allowed | did you mean `test`?",
        ),
        (
            "environments: {test: {replica: 3}}",
            "3:23: unknown field `replica`; the fields here are replicas, env, resources, rollout | did you mean `replicas`?",
        ),
        ("environments: {test: {replicas: three}}", "3:33: `three` is not a whole number of 0 or more"),
        (
            "environments: {test: {env: {A: {secrt: x}}}}",
            "3:33: unknown field `secrt`; the only field here is `secret` | did you mean `secret`?",
        ),
        (
            "environments: {test: {resources: {memori: 1GiB}}}",
            "3:35: unknown field `memori`; the fields here are cpu, memory | did you mean `memory`?",
        ),
        (
            "environments: {test: {rollout: {batches: [x]}}}",
            "3:43: \"x\" is not a count: write a number such as 2, or a share such as 25%",
        ),
        ("environments: [test]", "3:15: expected fields such as `name: value`, each on a line of its own"),
        ("environments:\n  test: {}\n  test: {}", "5:3: `test` is given twice"),
        ("environments: {test: }", "3:20: expected fields such as `name: value`, each on a line of its own"),
        (
            "enviroments: {test: {}}",
            "3:1: unknown field `enviroments`; the fields here are {FIELDS} | did you mean `environments`?",
        ),
        (
            "health-check: /x",
            "3:1: unknown field `health-check`; the fields here are {FIELDS} | did you mean `healthcheck`?",
        ),
        (
            "port: 8080",
            "3:1: unknown field `port`; the fields here are {FIELDS} | Barge chooses the port and gives it to the service as $PORT",
        ),
        ("REPLICAS: 3", "3:1: unknown field `REPLICAS`; the fields here are {FIELDS} | did you mean `replicas`?"),
        (
            "environment: {A: b}",
            "3:1: unknown field `environment`; the fields here are {FIELDS} | did you mean `environments`?",
        ),
        (
            "image: x",
            "3:1: unknown field `image`; the fields here are {FIELDS} | Barge makes the image itself; `build` says from which files",
        ),
        ("version: 1", "3:1: unknown field `version`; the fields here are {FIELDS}"),
    ];
    for (text, expected) in rows {
        check_error(&format!("name: greeter\nkind: web\n{text}\n"), expected);
    }
}

#[test]
fn a_tag_of_another_type_is_no_text() {
    for text in ["env: {A: !!int 5}", "environments: {test: {env: {A: !!bool true}}}", "command: [./run, !!float 1.10]"]
    {
        let error = parse(format!("name: greeter\nkind: web\n{text}\n").as_bytes()).unwrap_err();
        let expected = "a YAML tag gives this text another type; leave the tag out";
        assert!(error.to_string().ends_with(expected), "{text}: {error}");
    }
}
