//! What GitHub's documentation and people's complaints say must happen, as one table: each row is judged
//! from facts alone, and the same rows run through the real binary against a simulated GitHub.
//!
//! | file | what |
//! |---|---|
//! | `scenario/table.rs` | the rows: parameters, what happens, the decision, a piece of the reason, the source |
//! | `scenario/story.rs` | the words that rows are written in |
//! | `scenario/facts.rs` | what happens → the facts GitHub would show: a model of its own, without HTTP |
//! | `scenario/github.rs` | what happens → actions on the simulated GitHub |

use std::collections::BTreeMap;

use crate::common::{scene::Scene, schemas};
use crate::scenario::{Row, facts, github, story, table};
use gatelog::{policy::Bundle, verdict::Decision};

/// What is asked of GitHub and no row brings about.
const NEVER: &[&str] = &[
    "Codeowners: RepositoryCodeownersError.kind",
    "Codeowners: RepositoryCodeownersError.line",
    "Codeowners: RepositoryCodeownersError.message",
    "Codeowners: RepositoryCodeownersError.path",
    "PrFacts: AutomaticBaseChangeSucceededEvent.actor",
    "PrFacts: AutomaticBaseChangeSucceededEvent.createdAt",
    "PrFacts: AutomaticBaseChangeSucceededEvent.newBase",
    "PrFacts: AutomaticBaseChangeSucceededEvent.oldBase",
    "PrFacts: BaseRefForcePushedEvent.actor",
    "PrFacts: BaseRefForcePushedEvent.afterCommit",
    "PrFacts: BaseRefForcePushedEvent.beforeCommit",
    "PrFacts: BaseRefForcePushedEvent.createdAt",
    "PrFacts: Label.name",
    "PrFacts: Mannequin.databaseId",
    "PrFacts: Organization.databaseId",
];

fn rows() -> Vec<(String, Row)> {
    let rows: Vec<Row> = table::ROWS.iter().map(Row::of).collect();
    rows.into_iter().enumerate().map(|(n, row)| (n.to_string(), row)).collect()
}

/// Parameters of all rows, one repository each, as lines of YAML.
fn parameters() -> String {
    let line = |(n, row): &(String, Row)| {
        let parameters = story::local(row.parameters, n);
        (!parameters.is_empty()).then(|| format!("\"{}\": {{{parameters}}}\n", story::repository(n)))
    };
    rows().iter().filter_map(line).collect()
}

/// Letters and digits only: how a text is set, and escaped, is not what the rows are about.
fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn wrong(row: &Row, n: &str, decision: Option<Decision>, text: &str) -> Option<String> {
    let says = plain(&story::local(row.says, n));
    let fits = decision == Some(row.decision) && plain(text).contains(&says);
    let found = format!("{decision:?}: {text}");
    (!fits).then(|| format!("{}\n  wanted {:?}: {}\n  found  {found}\n", row.name, row.decision, row.says))
}

#[test]
fn every_row_has_its_source_and_says_something_of_its_own() {
    let rows = rows();
    assert!(rows.len() >= 120, "{} rows", rows.len());
    let mut names = BTreeMap::new();
    for (n, row) in &rows {
        assert!(row.source.starts_with("https://"), "{}: {}", row.name, row.source);
        assert!(names.insert(row.name, n).is_none(), "{} stands there twice", row.name);
        story::read(row.story, n);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_judged_from_facts() {
    let scene = Scene::set().await;
    scene.use_parameters(&parameters());
    let bundle = Bundle::load(&scene.service.dir.join("policies")).unwrap();
    let rows = rows();
    let judged = std::thread::scope(|threads| {
        let halves: Vec<_> = rows
            .chunks(rows.len().div_ceil(2))
            .map(|half| {
                threads
                    .spawn(|| half.iter().filter_map(|(n, row)| judge(&bundle, n, row)).collect::<Vec<_>>())
            })
            .collect();
        halves.into_iter().flat_map(|h| h.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(judged.is_empty(), "{} rows:\n{}", judged.len(), judged.join("\n"));
}

fn judge(bundle: &Bundle, n: &str, row: &Row) -> Option<String> {
    let verdict = facts::verdict(bundle, n, &story::read(row.story, n));
    let findings = verdict.controls.iter().flat_map(|c| &c.findings).map(|f| f.msg.as_str());
    let text = std::iter::once(verdict.reason.as_str()).chain(findings).collect::<Vec<_>>().join("\n    ");
    wrong(row, n, Some(verdict.decision), &text)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_through_the_real_thing() {
    let mut scene = Scene::set().await;
    scene.use_parameters(&parameters());
    let rows = rows();
    let mut played: Vec<_> =
        rows.iter().map(|(n, row)| github::Played::begin(&scene, n, row.story)).collect();
    scene.service.start().await;
    let mut told = Vec::new();
    loop {
        let hooks: Vec<_> = played.iter_mut().map(|p| p.go_on(&scene)).collect();
        if hooks.iter().all(Option::is_none) {
            break;
        }
        told.extend(hooks.iter().flatten().flatten().cloned());
        github::deliver(&scene, hooks.into_iter().flatten().collect()).await;
        scene.settle().await;
    }
    let view = scene.view();
    let wrongs: Vec<String> = rows
        .iter()
        .zip(&played)
        .filter_map(|((n, row), p)| {
            let (decision, text) = p.outcome(&scene, &view);
            wrong(row, n, decision, &text)
        })
        .collect();
    assert!(wrongs.is_empty(), "{} rows:\n{}", wrongs.len(), wrongs.join("\n"));
    scene.assert_runs_are_sound();
    assert_eq!(scene.service.stop().await.code(), Some(0), "{}", scene.service.log());
    scene.service.verify().await;

    // What was asked and answered on the way, and what came about our own check runs.
    told.extend(scene.gh.with(|w| w.deliveries.iter().map(|d| d.hook.clone()).collect::<Vec<_>>()));
    let Some(checked) = schemas::check(&scene.gh.requests(), &told) else { return };
    let never = |field: &&String| !NEVER.contains(&field.as_str());
    let empty: Vec<&String> = checked.empty.iter().filter(never).collect();
    assert!(empty.is_empty(), "asked for and never there: {empty:?}");
}
