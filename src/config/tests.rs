use super::*;

const MINIMAL: &str = r#"
[server]
listen = "127.0.0.1:8080"
[github]
api_url = "https://api.github.com"
app_id = 12345
private_key_file = "app.pem"
webhook_secret_file = "webhook.secret"
[policies]
path = "policies"
[ledger]
path = "data"
"#;

fn env(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn load(text: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::parse(Path::new("etc/gatelog.toml"), text, &env(pairs))
}

/// The minimal file with one line changed.
fn changed(from: &str, to: &str) -> String {
    assert!(MINIMAL.contains(from));
    load(&MINIMAL.replace(from, to), &[]).unwrap_err().to_string()
}

fn variable(name: &str, value: &str) -> String {
    load(MINIMAL, &[(name, value)]).unwrap_err().to_string()
}

#[test]
fn the_minimal_file_is_enough() {
    let c = load(MINIMAL, &[]).unwrap();
    assert_eq!(c.server.internal_listen, "127.0.0.1:9464".parse().unwrap());
    assert_eq!((c.github.app_id, c.github.check_name.as_str()), (12345, "gatelog"));
    assert_eq!(c.github.publish, Publish::Checks);
    assert_eq!(c.github.private_key_file, Path::new("etc/app.pem"));
    assert_eq!(c.github.webhook_secret_files, [Path::new("etc/webhook.secret")]);
    assert_eq!(c.log.format, LogFormat::Text);
}

#[test]
fn the_example_shows_every_key() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gatelog.toml"));
    let text = std::fs::read_to_string(path).unwrap();
    let c = Config::load(path, &Environment::new()).unwrap();
    assert!(c.warnings().is_empty());
    for key in KEYS {
        assert!(text.contains(&format!("{} = ", key.name)), "{key} is not in the example");
    }
    // The lines that are commented out are right, too.
    let all: String = text
        .lines()
        .map(|l| match l.strip_prefix("# ") {
            Some(rest) if KEYS.iter().any(|k| rest.starts_with(&format!("{} = ", k.name))) => rest,
            _ => l,
        })
        .filter(|l| !l.starts_with("webhook_secret_file ="))
        .flat_map(|l| [l, "\n"])
        .collect();
    let c = Config::parse(path, &all, &Environment::new()).unwrap();
    assert_eq!(c.github.webhook_secret_files.len(), 2);
    assert_eq!(c.ledger.origin.as_deref(), Some("gate.example.com/log/1"));
}

#[test]
fn holds_and_retention() {
    let more = "[ledger.retention]\nbodies = \"400d\"\n[[ledger.hold]]\nrepository = \"o/r\"\npull_request = 12\n\
                reason = \"a\"\n[[ledger.hold]]\nentries = \"3-9\"\nreason = \"b\"\n[[ledger.hold]]\n\
                repository = \"77\"\nreason = \"c\"\n";
    let c = load(&format!("{MINIMAL}\n{more}"), &[]).unwrap();
    assert_eq!(c.ledger.keep_bodies_days, Some(400));
    let hold = |repository: Option<&str>, pull_request, entries, reason: &str| Hold {
        repository: repository.map(str::to_owned),
        pull_request,
        entries,
        reason: reason.into(),
    };
    let expected = [
        hold(Some("o/r"), Some(12), None, "a"),
        hold(None, None, Some((3, 9)), "b"),
        hold(Some("77"), None, None, "c"),
    ];
    assert_eq!(c.ledger.holds, expected);
    let c = load(MINIMAL, &[("GATELOG__LEDGER_RETENTION__BODIES", "30d")]).unwrap();
    assert_eq!(c.ledger.keep_bodies_days, Some(30));
    let bad = [
        ("[ledger.retention]\nbodies = \"0d\"", "1d to 36500d"),
        ("[ledger.retention]\nbodies = \"1y\"", "1d to 36500d"),
        ("[ledger.retention]\nbodys = \"1d\"", "did you mean `bodies`?"),
        ("[ledger.retension]\nbodies = \"1d\"", "did you mean [ledger.retention]?"),
        ("[[ledger.holds]]\nreason = \"x\"", "did you mean [[ledger.hold]]?"),
        ("[ledger.xyz]\nbodies = \"1d\"", "[ledger.retention], [[ledger.witness]]"),
        ("[ledger.hold]\nrepository = \"o/r\"", "written as [[ledger.hold]]"),
        ("[[ledger.hold]]\nrepository = \"o/r\"", "needs a reason"),
        ("[[ledger.hold]]\nreason = \"x\"", "needs either repository or entries"),
        ("[[ledger.hold]]\npull_request = 3\nreason = \"x\"", "needs the repository"),
        ("[[ledger.hold]]\nrepositories = \"o/r\"\nreason = \"x\"", "no key `repositories`"),
        ("[[ledger.hold]]\nentries = \"9-3\"\nreason = \"x\"", "FIRST-LAST"),
        ("[[ledger.hold]]\nrepository = \"app\"\nreason = \"x\"", "owner/name"),
    ];
    for (text, expected) in bad {
        let error = load(&format!("{MINIMAL}\n{text}"), &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn witnesses_and_their_quorum() {
    let more = "[[ledger.witness]]\nvkey = \"a+1+b\"\nurl = \"https://a\"\n[[ledger.witness]]\nvkey = \"c\"\nurl = \"d\"\n";
    let witness = |vkey: &str, url: &str| Witness { vkey: vkey.into(), url: url.into() };
    let c = load(&format!("{MINIMAL}\n{more}"), &[]).unwrap();
    assert_eq!(c.ledger.witnesses, [witness("a+1+b", "https://a"), witness("c", "d")]);
    assert!(c.ledger.quorum_file.is_none() && !c.ledger.publish_only_with_quorum);
    for (wrong, said) in [
        ("[ledger.witness]\nvkey = \"a\"", "written as [[ledger.witness]]"),
        ("[[ledger.witness]]\nvkey = \"a\"", "needs a url"),
        ("[[ledger.witness]]\nurl = \"a\"", "needs a vkey"),
        ("[[ledger.witness]]\nurl = 1", "url must be a text"),
        ("[[ledger.witness]]\nname = \"a\"", "no key `name`"),
    ] {
        let e = load(&format!("{MINIMAL}\n{wrong}"), &[]).unwrap_err().to_string();
        assert!(e.contains(said), "{e}");
    }
    // Of several the one that is wrong is named.
    let second = format!("{MINIMAL}\n{more}[[ledger.witness]]\nvkey = \"e\"\n");
    let line = second.lines().count() - 1;
    let e = load(&second, &[]).unwrap_err().to_string();
    assert!(e.contains(&format!(":{line}: [[ledger.witness]] needs a url")), "{line}: {e}");
}

#[test]
fn a_pattern_that_could_never_match_is_refused_with_its_place() {
    let text = format!("{MINIMAL}\n[reconcile]\nbranches = [\"release/*\", \"release/[12]\"]\n");
    let line = text.lines().count();
    let e = load(&text, &[]).unwrap_err().to_string();
    assert!(
        e.contains(&format!(":{line}: ")) && e.contains("holds `release/[12]`, which has `?` or `[…]`"),
        "{e}"
    );
    assert!(e.contains("for example"), "{e}");
    let good = load(&format!("{MINIMAL}\n[reconcile]\nbranches = [\"release/*\"]\n"), &[]).unwrap();
    assert_eq!(good.reconcile.branches, ["release/*"]);
}

#[test]
fn the_environment_wins() {
    let c = load(
        MINIMAL,
        &[
            ("GATELOG__SERVER__LISTEN", "0.0.0.0:1"),
            ("GATELOG__GITHUB__APP_ID", "7"),
            ("GATELOG__GITHUB__WEBHOOK_SECRET_FILES", "/run/new, old"),
            ("GATELOG__GITHUB__PUBLISH", "observe"),
            ("GATELOG__LEDGER__PUBLIC", "true"),
            ("GATELOG_LOG", "debug"),
        ],
    )
    .unwrap();
    assert_eq!((c.server.listen.port(), c.github.app_id, c.ledger.public), (1, 7, true));
    assert_eq!(c.github.publish, Publish::Observe);
    assert_eq!(c.github.webhook_secret_files, [Path::new("/run/new"), Path::new("etc/old")]);
}

#[test]
fn all_values_and_where_they_come_from() {
    let c = load(MINIMAL, &[("GATELOG__GITHUB__APP_ID", "7")]).unwrap();
    let lines: Vec<_> = c
        .lines()
        .iter()
        .map(|l| format!("[{}] {} = {}  ({})", l.section, l.key, l.value, l.origin))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_error_names_the_value_its_place_and_an_example() {
    let listen = "listen = \"127.0.0.1:8080\"";
    let all = [
        changed("listen =", "lisen ="),
        changed("[server]", "[servr]"),
        changed("[server]\n", ""),
        changed("[ledger]", "colour = \"red\"\n[ledger]"),
        changed("app_id = 12345", "app_id = \"12345\""),
        changed("app_id = 12345", "app_id = -1"),
        changed("app_id = 12345", "app_id = 0"),
        changed("app_id = 12345\n", ""),
        changed("app_id = 12345", "app_id = 12345\napp_id = 2"),
        changed("app_id = 12345", "app_id = "),
        changed(listen, "listen = \"8080\""),
        changed(listen, "listen = \"127.0.0.1:9464\""),
        changed("https://api.github.com", "api.github.com"),
        changed("https://api.github.com", "https://me:pw@api.github.com"),
        changed("webhook_secret_file = \"webhook.secret\"", ""),
        changed("webhook_secret_file =", "webhook_secret_files = []\nwebhook_secret_file ="),
        changed("webhook_secret_file = \"webhook.secret\"", "webhook_secret_files = []"),
        changed("webhook_secret_file = \"webhook.secret\"", "webhook_secret_files = [1]"),
        changed("[policies]", "publish = \"checks!\"\n[policies]"),
        changed("[policies]", "check_name = \" gatelog\"\n[policies]"),
        changed("[ledger]", "[log]\nlevel = \"loud\"\n[ledger]"),
        changed("[ledger]", "[log]\nformat = \"xml\"\n[ledger]"),
        changed("path = \"data\"", "path = \"data\"\norigin = \"a b\""),
        variable("GATELOG__GITHUB__APP_IDD", "1"),
        variable("GATELOG__GITHUB__APP_ID", "abc"),
        variable("GATELOG__SERVER__LISTEN", "localhost"),
        variable("GATELOG__SERVER", "1"),
        variable("GATELOG__LEDGER__PUBLIC", "yes"),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    for e in [
        changed("webhook_secret_file = \"webhook.secret\"", "webhook_secret = \"hunter2\""),
        variable("GATELOG__GITHUB__WEBHOOK_SECRET", "hunter2"),
        variable("GATELOG__GITHUB__PRIVATE_KEY_FILE", "-----BEGIN RSA PRIVATE KEY-----\nhunter2"),
    ] {
        assert!(!e.contains("hunter2"), "{e}");
        assert!(e.contains("_file"), "{e}");
    }
}

#[test]
fn no_file() {
    let e = Config::load(Path::new("/nowhere/gatelog.toml"), &Environment::new()).unwrap_err().to_string();
    assert!(e.contains("/nowhere/gatelog.toml") && e.contains("gatelog init"), "{e}");
}

#[test]
fn warns_of_what_is_open() {
    let c = load(
        &MINIMAL.replace("https://api", "http://api"),
        &[("GATELOG__SERVER__INTERNAL_LISTEN", "0.0.0.0:9464")],
    );
    assert_eq!(c.unwrap().warnings().len(), 2);
    assert!(
        load(&MINIMAL.replace("https://api.github.com", "http://127.0.0.1:3"), &[])
            .unwrap()
            .warnings()
            .is_empty()
    );
}

mod secrets {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----\n";

    fn with(key: &str, secret: &str, mode: u32) -> (tempfile::TempDir, Result<Secrets, ConfigError>) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("app.pem", key), ("webhook.secret", secret)] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let c = Config::parse(&dir.path().join("gatelog.toml"), MINIMAL, &Environment::new()).unwrap();
        (dir, c.secrets())
    }

    #[test]
    fn lose_the_line_end_and_are_not_shown() {
        let (_dir, s) = with(KEY, "hunter2\r\n", 0o600);
        let s = s.unwrap();
        assert_eq!(s.webhook[0].expose(), b"hunter2");
        assert!(s.warnings.is_empty());
        assert!(!format!("{s:?}").contains("hunter2"));
    }

    #[test]
    fn that_others_can_read_are_warned_of() {
        let (_dir, s) = with(KEY, "hunter2", 0o644);
        let s = s.unwrap();
        assert_eq!(s.warnings.len(), 2);
        assert!(
            s.warnings[0].contains("mode 644") && s.warnings[0].contains("chmod 600"),
            "{}",
            s.warnings[0]
        );
    }

    #[test]
    fn that_are_empty_or_of_another_kind_are_refused() {
        for (key, secret, says) in [(KEY, "\n", "is empty"), ("", "s", "is empty"), ("hunter2", "s", "PEM")] {
            let (_dir, s) = with(key, secret, 0o600);
            let e = s.unwrap_err();
            assert!(matches!(e, ConfigError::Wrong(_)));
            assert!(e.to_string().contains(says) && !e.to_string().contains("hunter2"), "{e}");
        }
    }

    #[test]
    fn that_are_not_there_are_a_matter_of_configuration() {
        let (dir, _) = with(KEY, "s", 0o600);
        std::fs::remove_file(dir.path().join("app.pem")).unwrap();
        let c = Config::parse(&dir.path().join("gatelog.toml"), MINIMAL, &Environment::new()).unwrap();
        let e = c.secrets().unwrap_err();
        assert!(matches!(e, ConfigError::Wrong(_)));
        assert!(e.to_string().contains("private_key_file") && e.to_string().contains("app.pem"), "{e}");
    }
}
