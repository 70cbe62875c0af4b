//! Every promise of the configuration: precedence, all mistakes at once, suggestions, units, refusals.

use std::io::Write as _;

use super::*;
use crate::{
    policy::{Interruption, Presence},
    protocol::GroupName,
};

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn errors(mode: Mode, text: &str, env: &[(&str, &str)]) -> Vec<String> {
    let file = file(text);
    let path = file.path().display().to_string();
    let errors = load(mode, Some(file.path()), pairs(env), []).map(|_| ()).unwrap_err();
    errors.iter().map(|error| error.to_string().replace(&path, "FILE")).collect()
}

const KEY: (&str, &str) = ("FANFARE_API__KEYS", "k");

#[test]
fn development_needs_nothing() {
    let config = load(Mode::Dev, None, [], []).unwrap();
    assert_eq!(config.http, "127.0.0.1:8080".parse().ok());
    assert_eq!((config.secure, config.quic, config.api), ("127.0.0.1:4433".parse().ok(), "127.0.0.1:4433".parse().ok(), None));
    assert!(config.anonymous && config.page && config.workers > 0);
    assert!(config.shown.iter().all(|shown| shown.origin == Origin::Default));
}

#[test]
fn flags_go_over_the_environment_and_that_over_the_file_and_that_over_defaults() {
    let file = file("node = 'file'\nworkers = 3\n[listen]\nhttp = '127.0.0.1:1'\nsecure = '127.0.0.1:2'\n");
    let env = pairs(&[("FANFARE_LISTEN__HTTP", "127.0.0.1:3"), ("FANFARE_NODE", "env"), ("PATH", "x")]);
    let flags = pairs(&[("node", "flag")]);
    let config = load(Mode::Dev, Some(file.path()), env, flags).unwrap();
    assert_eq!((config.session.node.as_str(), config.workers), ("flag", 3));
    assert_eq!((config.http.unwrap().port(), config.secure.unwrap().port(), config.quic.unwrap().port()), (3, 2, 2));
    let origin = |key: &str| config.shown.iter().find(|shown| shown.key == key).unwrap().origin.clone();
    assert_eq!(origin("node"), Origin::Flag);
    assert_eq!(origin("listen.http"), Origin::Environment("FANFARE_LISTEN__HTTP".into()));
    assert_eq!(origin("workers"), Origin::File(file.path().to_owned()));
    assert_eq!(origin("history.size"), Origin::Default);
}

#[test]
fn all_mistakes_are_told_at_once_with_key_value_origin_and_rule() {
    let text = "wokers = 2\n[limits]\nping_interval = 25\nframe = '64KB'\n[listen]\nhttp = 'localhost'\n[[groups]]\nmatch = 'a'\nslow = 'drop'\nsbscribe = 'anyone'\n";
    let mut found = errors(Mode::Dev, text, &[("FANFARE_NOD", "x")]);
    found.sort();
    assert_eq!(
        found,
        [
            "groups[0].sbscribe (FILE) is no key; did you mean `subscribe`?",
            "groups[0].slow = \"drop\" (FILE) has to be disconnect or drop_oldest",
            "limits.frame = \"64KB\" (FILE) has to be a size from 1024 to 1048576 bytes, such as 64KiB or 1MiB",
            "limits.ping_interval = \"25\" (FILE) has to be a time with its unit, such as 250ms, 30s, 5m or 1h",
            "listen.http = \"localhost\" (FILE) has to be an address with a port, such as 127.0.0.1:8080 or [::1]:8080, or off",
            "nod (environment FANFARE_NOD) is no key; did you mean `node`?",
            "wokers (FILE) is no key; did you mean `workers`?",
        ]
    );
}

#[test]
fn a_file_that_was_named_has_to_be_there_and_to_be_toml() {
    let errors_of = |path: &Path| load(Mode::Dev, Some(path), [], []).map(|_| ()).unwrap_err();
    assert!(errors_of(Path::new("/nowhere.toml"))[0].to_string().starts_with("the configuration file /nowhere.toml can't be read"));
    assert!(errors(Mode::Dev, "node = ", &[])[0].starts_with("FILE: "));
}

#[test]
fn production_refuses_what_is_unsafe_and_says_what_to_set() {
    let found = errors(Mode::Serve, "[listen]\nhttp = '0.0.0.0:80'\nsecure = '[::]:443'\nquic = 'off'\n", &[]);
    let has = |what: &str, cure: &str| assert!(found.iter().any(|error| error.contains(what) && error.contains(cure)), "{found:#?}");
    has("listen.http = 0.0.0.0:80 can be reached from other machines, and nothing says who may connect", "set auth.hmac_secret");
    has("and no page may use it", "set auth.origins");
    has("listen.secure = [::]:443 can be reached from other machines with a development certificate", "set tls.certificate and tls.key");
    has("there is no API key", "set api.keys");
    let good = "[listen]\nhttp = '0.0.0.0:80'\nsecure = 'off'\n[auth]\nanonymous = true\norigins = ['https://a.example']\n";
    let file = file(good);
    assert!(load(Mode::Serve, Some(file.path()), pairs(&[KEY]), []).is_ok());
    assert!(load(Mode::Serve, None, pairs(&[KEY]), []).is_ok());
}

#[test]
fn development_stays_on_loopback() {
    assert!(errors(Mode::Dev, "[listen]\nhttp = '0.0.0.0:80'\n", &[])[0].contains("`dev` listens on loopback only"));
}

#[test]
fn certificate_and_key_belong_together_and_something_has_to_listen() {
    assert!(errors(Mode::Dev, "[tls]\nkey = 'x'\n", &[])[0].contains("set both or neither"));
    let off = "[listen]\nhttp = 'off'\nsecure = 'off'\nquic = 'off'\n";
    assert!(errors(Mode::Dev, off, &[])[0].contains("all off"));
    assert!(errors(Mode::Dev, "[auth]\norigins = ['app.example.org']\n", &[])[0].contains("is no origin"));
}

#[test]
fn several_certificates_are_tables_and_the_first_is_the_default() {
    let certificates = |text: &str| {
        let file = file(text);
        load(Mode::Dev, Some(file.path()), [], []).unwrap().tls
    };
    let files = |name: &str| transport::tls::Source::Files { certificate: name.into(), key: format!("{name}.key").into() };
    assert_eq!(certificates("").certificates, []);
    assert_eq!(certificates("[tls]\ncertificate = 'a'\nkey = 'a.key'\n").certificates, [files("a")]);
    let table = |name: &str| format!("[[tls.certificates]]\ncertificate = '{name}'\nkey = '{name}.key'\n");
    let found = certificates(&format!("{}{}", table("a"), table("b")));
    assert_eq!(found.sources(), (files("a"), vec![files("b")]));
    let both = format!("[tls]\ncertificate = 'a'\nkey = 'a.key'\n{}", table("b"));
    assert!(errors(Mode::Dev, &both, &[])[0].contains("both set; put the pair under [[tls.certificates]]"));
    let found = errors(Mode::Dev, "[[tls.certificates]]\ncertificate = 'a'\nkay = 'b'\n", &[]);
    assert_eq!(found[0], "tls.certificates[0].key = \"\" (FILE) is missing: it has to be the path of its key in PEM form");
    assert_eq!(found[1], "tls.certificates[0].kay (FILE) is no key; did you mean `key`?");
}

#[test]
fn a_secret_for_quic_is_long_and_never_shown() {
    let long = "0123456789abcdef0123456789abcdef";
    let config = load(Mode::Dev, None, pairs(&[("FANFARE_QUIC__SECRET", long)]), []).unwrap();
    assert_eq!(config.kept.quic_secret.as_ref().unwrap().expose(), long);
    assert!(!format!("{config:?}").contains(long));
    let found = errors(Mode::Dev, "[quic]\nsecret = 'too short'\n", &[]);
    assert!(found[0].starts_with("quic.secret = \"***\" (FILE) has to be text of at least 32 characters"), "{found:?}");
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let secret = file("s3cret\n");
    let path = secret.path().display().to_string();
    let env = pairs(&[("FANFARE_AUTH__HMAC_SECRET_FILE", &path), ("FANFARE_API__KEYS", "['one', 'two']")]);
    let config = load(Mode::Serve, None, env, []).unwrap();
    assert_eq!(config.hmac_secret.as_ref().unwrap().expose(), "s3cret");
    assert_eq!(config.api_keys.len(), 2);
    let all = format!("{config:?}");
    assert!(!all.contains("s3cret") && !all.contains("\"one\""), "{all}");
    let missing = load(Mode::Dev, None, pairs(&[("FANFARE_AUTH__HMAC_SECRET_FILE", "/nowhere")]), []);
    assert!(missing.map(|_| ()).unwrap_err()[0].to_string().contains("/nowhere"));
}

#[test]
fn what_kubernetes_and_the_sending_commands_set_is_left_alone() {
    let env = pairs(&[
        ("FANFARE_PORT", "tcp://10.0.0.1:80"),
        ("FANFARE_SERVICE_HOST", "10.0.0.1"),
        ("FANFARE_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("FANFARE_API_KEY", "x"),
        ("FANFARE_URL", "http://x"),
    ]);
    assert!(load(Mode::Dev, None, env, []).is_ok());
}

#[test]
fn policies_are_read_in_order_with_the_defaults_of_history() {
    let text = "[history]\nsize = 7\n[[groups]]\nmatch = 'live_*'\nhistory_size = 0\n[[groups]]\nmatch = 'team_*'\nsubscribe = 'authenticated'\nhistory_ttl = '1h'\nslow = 'drop_oldest'\npresence = 'list'\ninterruption = 'tell'\n";
    let file = file(text);
    let config = load(Mode::Serve, Some(file.path()), pairs(&[KEY]), []).unwrap();
    let policy = |group: &str| config.policies.of(&GroupName::parse(group).unwrap()).clone();
    assert_eq!(policy("live_x").history, None);
    assert_eq!(policy("team_x").history.map(|kept| (kept.size, kept.ttl)), Some((7, Duration::from_secs(3600))));
    assert_eq!(policy("other").history.map(|kept| kept.size), Some(7));
    assert_eq!(policy("other").publish, crate::policy::Who::Server);
    assert_eq!((policy("team_x").presence, policy("other").presence), (Presence::List, Presence::Off));
    assert_eq!((policy("team_x").interruption, policy("other").interruption), (Interruption::Tell, Interruption::Quiet));
    let rule = "groups[0].presence = \"on\" (FILE) has to be off, list or live";
    assert_eq!(errors(Mode::Serve, "[[groups]]\nmatch = '*'\npresence = 'on'\n", &[KEY]), [rule]);
    let rule = "groups[0].interruption = \"loud\" (FILE) has to be quiet or tell";
    assert_eq!(errors(Mode::Serve, "[[groups]]\nmatch = '*'\ninterruption = 'loud'\n", &[KEY]), [rule]);
    assert!(errors(Mode::Serve, "[[groups]]\nslow = 'disconnect'\n", &[KEY])[0].contains("every policy needs a pattern"));
}

#[test]
fn a_policy_s_keys_each_have_their_rule() {
    let refused = |keys: &str| errors(Mode::Serve, &format!("[[groups]]\nmatch = 'desk.{{user}}'\n{keys}\n"), &[KEY]);
    for (keys, words) in [
        ("max_members = 0", "groups[0].max_members = \"0\" (FILE) has to be a number from 1 to 10000000"),
        ("max_payload = '70KiB'", "groups[0].max_payload = \"70KiB\" (FILE) has to be a size from 1 to 61440 bytes"),
        ("rate = '5'", "groups[0].rate = \"5\" (FILE) is no rate: a rate looks like 50/s"),
        ("max_member = 1", "groups[0].max_member (FILE) is no key; did you mean `max_members`?"),
    ] {
        assert!(refused(keys)[0].starts_with(words), "{:?}", refused(keys));
    }
    for (text, words) in [
        ("match = 'team a'", "groups[0].match = \"team a\" (FILE) contains ' ', which no group name has"),
        ("match = 'team_*'\nsubscribe = 'owner'", "groups[0].subscribe = \"owner\" (FILE) needs {user} in the pattern"),
        ("match = 'user.{user}'\nsubscribe = 'anyone'", "groups[0].subscribe = \"anyone\" (FILE) has to be owner"),
    ] {
        let found = errors(Mode::Serve, &format!("[[groups]]\n{text}\n"), &[KEY]);
        assert!(found[0].starts_with(words), "{found:?}");
    }
    let text = "[[groups]]\nmatch = 'desk.{user}'\nsubscribe = 'owner'\nmax_members = 2\nmax_payload = '1KiB'\nrate = '5/s burst 9'\n";
    let config = load(Mode::Serve, Some(file(text).path()), pairs(&[KEY]), []).unwrap();
    let policy = config.policies.of(&GroupName::parse("desk.ann").unwrap());
    assert_eq!((policy.max_members, policy.max_payload, policy.rate.unwrap().to_string().as_str()), (Some(2), 1024, "5/s burst 9"));
}

#[test]
fn the_page_about_policies_has_every_key_and_an_example_that_is_right() {
    let page = include_str!("../../docs/policies.md");
    for key in groups::KEYS {
        assert!(page.contains(&format!("\n| `{key}` |")), "{key}");
    }
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = load(Mode::Serve, Some(file(example).path()), pairs(&[KEY]), []).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    let policy = |group: &str| config.policies.of(&GroupName::parse(group).unwrap()).clone();
    assert_eq!(policy("project_7").rate.unwrap().to_string(), "20/s burst 60");
    assert_eq!(policy("user.ann@example.org").history.unwrap().size, 500);
    assert_eq!(policy("else").subscribe, crate::policy::Who::Server);
}

#[test]
fn a_policy_that_never_decides_is_a_warning() {
    let text = "[[groups]]\nmatch = '*'\n[[groups]]\nmatch = 'team_*'\n";
    let config = load(Mode::Serve, Some(file(text).path()), pairs(&[KEY]), []).unwrap();
    assert!(config.warnings[0].contains("groups[1].match = \"team_*\" never decides"), "{:?}", config.warnings);
}

#[test]
fn redis_is_off_until_it_has_an_address_whose_password_is_never_shown() {
    assert_eq!(load(Mode::Dev, None, [], []).unwrap().redis, []);
    let text = "[redis]\nprefix = 'shop'\nrequired = 'fail'\ntimeout = '2s'\n";
    let file = file(text);
    let secret = self::file("rediss://ann:s3cret@redis.example/2\n");
    let env = pairs(&[("FANFARE_REDIS__URL_FILE", secret.path().to_str().unwrap())]);
    let config = load(Mode::Dev, Some(file.path()), env, []).unwrap();
    let redis = &config.redis[0];
    assert_eq!((redis.url.to_string().as_str(), redis.prefix.as_str()), ("rediss://redis.example:6379/2", "shop"));
    assert_eq!((redis.required, redis.timeout), (broker::redis::Required::Fail, Duration::from_secs(2)));
    assert!(config.shown.iter().all(|shown| !shown.value.contains("s3cret")));
    let found = errors(Mode::Dev, "[redis]\nurl = 'http://ann:s3cret@x'\nprefix = 'a b'\nrequired = 'yes'\n", &[]);
    assert!(found[0].starts_with("redis.url = \"***\" (FILE) has to look like redis://host:6379"), "{found:?}");
    assert_eq!(found[1], "redis.prefix = \"a b\" (FILE) has to be 1 to 100 characters out of A-Z a-z 0-9 _ - . :");
    assert_eq!(found[2], "redis.required = \"yes\" (FILE) has to be one of wait, fail");
    let found = errors(Mode::Dev, "[redis]\nurl = 'redis://x'\ntimeout = '1ms'\n", &[]);
    assert_eq!(found, ["redis.timeout = 1ms leaves Redis no time to answer; set it to 10ms or more"]);
    let found = errors(Mode::Dev, "[redis]\nurl = 'redis://x'\nlease = '7s'\n", &[]);
    assert!(found.len() == 1 && found[0].starts_with("redis.lease = 7s is less than twice redis.timeout = 4s, "), "{found:?}");
    let enough = self::file("[redis]\nurl = 'redis://x'\nlease = '8s'\n");
    assert!(load(Mode::Dev, Some(enough.path()), [], []).is_ok());
}

#[test]
fn several_redis_are_a_list_and_one_source_overrides_another() {
    let names = |config: &Config| config.redis.iter().map(broker::redis::Config::name).collect::<Vec<_>>();
    let file = file("[redis]\nurls = ['redis://a', 'rediss://:s3cret@b:1/2']\nprefix = 'shop'\n");
    let config = load(Mode::Dev, Some(file.path()), [], []).unwrap();
    assert_eq!(names(&config), ["a:6379/0", "b:1/2"]);
    assert!(config.redis.iter().all(|redis| redis.prefix == "shop"));
    assert!(config.shown.iter().all(|shown| !shown.value.contains("s3cret")));
    let env = pairs(&[("FANFARE_REDIS__URL", "redis://c")]);
    assert_eq!(names(&load(Mode::Dev, Some(file.path()), env.clone(), []).unwrap()), ["c:6379/0"]);
    let flags = pairs(&[("redis.urls", "redis://d,redis://e")]);
    assert_eq!(names(&load(Mode::Dev, Some(file.path()), env, flags).unwrap()), ["d:6379/0", "e:6379/0"]);
    let found = errors(Mode::Dev, "[redis]\nurls = ['redis://a', 'redis://a:6379']\n", &[]);
    assert_eq!(found, ["redis.urls names a Redis twice; name each once: groups are spread over them"]);
    let found = errors(Mode::Dev, "[redis]\nurl = 'redis://a'\nurls = ['redis://b']\n", &[]);
    assert!(found[0].starts_with("redis.url and redis.urls are both set"), "{found:?}");
}

#[test]
fn sentinels_are_asked_for_a_name() {
    let redis = |text: &str| {
        let file = file(text);
        load(Mode::Dev, Some(file.path()), [], []).unwrap().redis
    };
    let sentinels = "[redis]\nsentinels = ['s1', 'rediss://watch:s3cret@s2:5000']\n";
    let found = redis(&format!("{sentinels}master = 'mymaster'\n"));
    assert_eq!((found.len(), found[0].name().as_str(), found[0].sentinels.len()), (1, "mymaster/0", 2));
    let found = redis(&format!("{sentinels}master = 'mymaster'\nurl = 'redis://ann:s3cret@mymaster/3'\n"));
    assert_eq!(found[0].name(), "mymaster/3");
    let found = redis(&format!("{sentinels}urls = ['redis://one', 'redis://two']\n"));
    assert_eq!((found[1].name().as_str(), found[1].sentinels.len()), ("two/0", 2));
    for (text, words) in [
        ("[redis]\nmaster = 'mymaster'\n", "nobody knows where that is"),
        (sentinels, "set redis.master"),
        ("[redis]\nsentinels = ['s1']\nmaster = 'a'\nurl = 'redis://b'\n", "another name"),
        ("[redis]\nsentinels = ['s1/3']\nmaster = 'a'\n", "redis.sentinels = \"***\""),
        ("[redis]\nsentinels = ['s1']\nmaster = 'a b'\n", "has to be the name by which"),
    ] {
        let found = errors(Mode::Dev, text, &[]);
        assert!(found[0].contains(words), "{found:?}");
    }
}
