//! The words of a story: steps `who does what`, separated by `;`. `then` lets everything settle first.
//!
//! alice, bob, carol and dave may write, erin maintains, frank is an administrator, tina triages, mallory
//! reads; renovate[bot] is an app that may write; nobody is an e-mail that no account has. The branch of the pull
//! request is `topic`. Every row has an organisation and people of its own: their names get its number.

const NAMES: &[&str] =
    &["alice", "bob", "carol", "dave", "erin", "frank", "tina", "mallory", "renovate", "ivan", "octo-org"];

/// Who may do what at first.
pub const PEOPLE: &[(&str, &str)] = &[
    ("alice", "write"),
    ("bob", "write"),
    ("carol", "write"),
    ("dave", "write"),
    ("erin", "maintain"),
    ("frank", "admin"),
    ("tina", "triage"),
    ("mallory", "read"),
    ("ivan", "write"),
    ("renovate[bot]", "write"),
];

#[derive(Clone, Debug)]
pub struct Step {
    pub who: String,
    pub verb: String,
    pub words: Vec<String>,
}

/// Every phase of a story, step by step.
pub fn read(story: &str, n: &str) -> Vec<Vec<Step>> {
    let story = local(story, n);
    let mut phases = vec![vec![]];
    for step in story.split(';').map(str::trim).filter(|s| !s.is_empty()) {
        if step == "then" {
            phases.push(vec![]);
            continue;
        }
        let mut words = step.split_whitespace().map(str::to_owned);
        let (who, verb) =
            (words.next().unwrap(), words.next().unwrap_or_else(|| panic!("{step}: does what?")));
        phases.last_mut().unwrap().push(Step { who, verb, words: words.collect() });
    }
    phases
}

/// The text with the names of row `n`.
pub fn local(text: &str, n: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        out.push_str(word);
        if NAMES.contains(&word) {
            out.push_str(n);
        }
        let other = after.find(is_word).unwrap_or(after.len());
        out.push_str(&after[..other]);
        rest = &after[other..];
    }
    out
}

pub fn organization(n: &str) -> String {
    format!("octo-org{n}")
}

pub fn repository(n: &str) -> String {
    format!("{}/app", organization(n))
}

/// A commit as a step describes it.
#[derive(Clone, Debug, Default)]
pub struct Described {
    pub author: String,
    pub committer: Option<String>,
    pub co_authors: Vec<String>,
    pub signature: Signature,
    pub written: Vec<String>,
    pub renamed: Option<(String, String)>,
    pub removed: Option<String>,
    /// Whose Signed-off-by line the message has.
    pub signed_off: Option<String>,
    /// A workflow of this kind, at `.github/workflows/ci.yml`.
    pub workflow: Option<String>,
}

pub const WORKFLOW: &str = ".github/workflows/ci.yml";

/// The text of a workflow.
pub fn workflow(kind: &str) -> String {
    let pinned = "actions/checkout@0123456789012345678901234567890123456789";
    let of = |on: &str, uses: &str| {
        format!("on: {on}\njobs:\n  a:\n    runs-on: x\n    steps:\n      - uses: {uses}\n")
    };
    match kind {
        "pinned" => of("push", pinned),
        "by-tag" => of("push", "actions/checkout@v5"),
        "for-anyone" => of("pull_request_target", pinned),
        "broken" => "on: [".to_owned(),
        other => panic!("no workflow is {other}"),
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Signature {
    /// The author's own.
    #[default]
    Own,
    By(String),
    None,
    Bad(String),
}

impl Described {
    /// `a.txt b.txt [as WHO] [with WHO] [committed-by WHO] [signed-by WHO | unsigned | bad STATE] [renames A B]
    /// [removes A] [off-by WHO] [workflow KIND]`
    pub fn of(who: &str, words: &[String]) -> Self {
        let mut d = Self { author: who.to_owned(), ..Self::default() };
        let mut words = words.iter().cloned();
        while let Some(word) = words.next() {
            let mut next = || words.next().unwrap_or_else(|| panic!("{word} what?"));
            match word.as_str() {
                "as" => d.author = next(),
                "with" => d.co_authors.push(next()),
                "committed-by" => d.committer = Some(next()),
                "signed-by" => d.signature = Signature::By(next()),
                "unsigned" => d.signature = Signature::None,
                "bad" => d.signature = Signature::Bad(next()),
                "renames" => d.renamed = Some((next(), next())),
                "workflow" => d.workflow = Some(next()),
                "off-by" => d.signed_off = Some(next()),
                "removes" => d.removed = Some(next()),
                path => d.written.push(path.to_owned()),
            }
        }
        d
    }
}
