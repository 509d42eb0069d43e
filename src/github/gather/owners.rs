//! Code owners: the file at the base commit, and who owns what was changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Holes, final_reason};
use crate::{
    event::Sha,
    facts::{
        Change, Codeowners, CodeownersError,
        codeowners::{self, Owner, Resolved, Rules, Work},
    },
    github::{Github, RepoAt, Trouble, TroubleKind},
};

const QUERY: &str = include_str!("../codeowners.graphql");
const EMAIL_QUERY: &str = include_str!("../email_owner.graphql");

/// Where GitHub looks, in this order; the alias of each in the query.
const PLACES: [(&str, &str); 3] =
    [("dotGithub", ".github/CODEOWNERS"), ("root", "CODEOWNERS"), ("docs", "docs/CODEOWNERS")];

/// GitHub does not load a larger file.
const MAX_SIZE: usize = 3 << 20;

/// GitHub lists 3,000 files on 30 pages.
const FILE_PAGES: usize = 30;

/// CODEOWNERS at one commit.
#[derive(Debug, Default)]
pub struct OwnersFile {
    path: Option<&'static str>,
    rules: Rules,
    /// GitHub's opinion when it was read.
    github: Vec<CodeownersError>,
    pub(super) size: usize,
}

impl OwnersFile {
    /// Ours, and GitHub's about lines that we find nothing wrong with.
    fn errors(&self) -> Vec<CodeownersError> {
        let own = self.rules.errors();
        let others = self.github.iter().filter(|e| !own.iter().any(|o| o.line == e.line));
        own.iter().chain(others).cloned().collect()
    }
}

/// Who owns the changed paths, before the owners are looked up.
pub(super) struct Owning {
    /// Path → the line that decides; absent: none does.
    decided: BTreeMap<String, Decided>,
    emails: BTreeMap<String, String>,
}

/// A [`codeowners::Decision`] that outlives the file.
struct Decided {
    line: u64,
    owners: Vec<Owner>,
    bad: Option<String>,
}

impl Owning {
    fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.decided.values().flat_map(|d| &d.owners)
    }

    /// Teams on the lines that decide.
    pub(super) fn teams(&self) -> BTreeSet<String> {
        let team = |o: &Owner| match o {
            Owner::Team(team) => Some(team.clone()),
            _ => None,
        };
        self.owners().filter_map(team).collect()
    }

    /// Fills `files[].owners`. `no_team`: teams that are not there.
    pub(super) fn apply(&self, change: &mut Change, no_team: &BTreeSet<String>) {
        let resolved = Resolved { emails: self.emails.clone(), no_team: no_team.clone() };
        for file in &mut change.files {
            let paths = std::iter::once(&file.filename).chain(&file.previous_filename);
            let owned = |path: &String| {
                let d = self.decided.get(path)?;
                let decision =
                    codeowners::Decision { line: d.line, owners: &d.owners, bad: d.bad.as_deref() };
                codeowners::owned(path, Some(decision), &resolved)
            };
            file.owners = Some(paths.filter_map(owned).collect());
        }
    }
}

/// Matches all changed paths, on a thread that may take its time.
async fn decide(file: Arc<OwnersFile>, change: &Change) -> Result<BTreeMap<String, Decided>, Trouble> {
    let changed = change.files.iter().flat_map(|f| std::iter::once(&f.filename).chain(&f.previous_filename));
    let paths: BTreeSet<String> = changed.cloned().collect();
    let matching = move || {
        let work = Work::new(Work::OF_A_CHANGE);
        let decided = |path: String| {
            let d = file.rules.decide_within(&path, &work)?;
            let (owners, bad) = (d.owners.to_vec(), d.bad.map(str::to_owned));
            Some((path, Decided { line: d.line, owners, bad }))
        };
        paths.into_iter().filter_map(decided).collect()
    };
    tokio::task::spawn_blocking(matching)
        .await
        .map_err(|e| Trouble::new(TroubleKind::Unavailable, format!("code owners could not be matched: {e}")))
}

impl Github {
    /// Fills `files[].previous_filename` from REST: GraphQL does not say where a file came from.
    pub(super) async fn add_old_paths(
        &self,
        at: &RepoAt,
        change: &mut Change,
        holes: &mut Holes<'_>,
    ) -> Result<(), Trouble> {
        if holes.has("files") {
            holes.add("old_paths", None, "the files of the pull request are missing");
            return Ok(());
        }
        if !change.files.iter().any(|f| f.status == "renamed") {
            return Ok(());
        }
        let number = change.pull_request.number;
        let old = match self.old_paths(at, number).await {
            Ok(old) => old,
            Err(trouble) => {
                holes.add("old_paths", None, final_reason(trouble)?);
                return Ok(());
            }
        };
        // The list names no commit. One of another head may have the same names, renamed from elsewhere.
        let listed_of = match self.head_now(at, number).await {
            Ok(head) => head,
            Err(trouble) => {
                holes.add("old_paths", None, final_reason(trouble)?);
                return Ok(());
            }
        };
        if change.pull_request.head.sha.as_ref() != Some(&listed_of) {
            holes.add("old_paths", None, "the pull request moved while its files were listed");
            return Ok(());
        }
        // Another set of files: the pull request moved since the query.
        let same = old.len() == change.files.len()
            && change.files.iter().all(|f| {
                let listed = old.get(&f.filename);
                listed.is_some_and(|(status, from)| {
                    *status == f.status && (f.status != "renamed" || from.is_some())
                })
            });
        if !same {
            holes.add("old_paths", None, "REST lists other files than GraphQL");
            return Ok(());
        }
        for file in &mut change.files {
            let from = old.get(&file.filename).and_then(|(_, from)| from.clone());
            file.previous_filename = from.filter(|_| file.status == "renamed");
        }
        Ok(())
    }

    /// The head of a pull request as REST says it.
    ///
    /// <https://docs.github.com/en/rest/pulls/pulls#get-a-pull-request>
    async fn head_now(&self, at: &RepoAt, number: u64) -> Result<Sha, Trouble> {
        #[derive(Deserialize)]
        struct Pull {
            head: Head,
        }
        #[derive(Deserialize)]
        struct Head {
            sha: Sha,
        }
        let path = at.path(&format!("/pulls/{number}"));
        let pull: Pull = self.get(at.installation, &path).await?.expect(&[200])?.json()?;
        Ok(pull.head.sha)
    }

    async fn old_paths(
        &self,
        at: &RepoAt,
        number: u64,
    ) -> Result<HashMap<String, (String, Option<String>)>, Trouble> {
        #[derive(Deserialize)]
        struct Listed {
            filename: String,
            status: String,
            previous_filename: Option<String>,
        }
        let mut old = HashMap::new();
        for page in 1..=FILE_PAGES {
            let path = at.path(&format!("/pulls/{number}/files?per_page=100&page={page}"));
            let files: Vec<Listed> = self.get(at.installation, &path).await?.expect(&[200])?.json()?;
            let last = files.len() < 100;
            old.extend(files.into_iter().map(|f| (f.filename, (f.status, f.previous_filename))));
            if last {
                break;
            }
        }
        Ok(old)
    }

    /// Reads the file and says who is to be looked up; `None`: it is missing, and `holes` says why.
    pub(super) async fn owning(
        &self,
        at: &RepoAt,
        change: &mut Change,
        holes: &mut Holes<'_>,
    ) -> Result<Option<Owning>, Trouble> {
        for needed in ["files", "old_paths"] {
            if holes.has(needed) {
                holes.add("codeowners", None, format!("`{needed}` is missing"));
                return Ok(None);
            }
        }
        let base = &change.pull_request.base;
        let Some(commit) = base.sha.clone() else {
            holes.add("codeowners", None, format!("the base branch `{}` is gone", base.name));
            return Ok(None);
        };
        let file = match self.owners_file(at, &commit, &base.name).await? {
            Ok(file) => file,
            Err(why) => {
                holes.add("codeowners", None, why);
                return Ok(None);
            }
        };
        let decided = decide(Arc::clone(&file), change).await?;
        let mut owning = Owning { decided, emails: BTreeMap::new() };
        let email = |o: &Owner| match o {
            Owner::Email(email) => Some(email.clone()),
            _ => None,
        };
        let emails: BTreeSet<String> = owning.owners().filter_map(email).collect();
        for email in emails {
            if let Some(login) = self.login_of(at, &commit, &email).await? {
                owning.emails.insert(email, login);
            }
        }
        let errors = file.errors();
        change.codeowners = Some(Codeowners { path: file.path.map(str::to_owned), sha: commit, errors });
        Ok(Some(owning))
    }

    async fn owners_file(
        &self,
        at: &RepoAt,
        commit: &Sha,
        base_ref: &str,
    ) -> Result<Result<Arc<OwnersFile>, String>, Trouble> {
        let key = (at.repository.id, commit.clone());
        if let Some(file) = self.inner.shas.owners.get(&key).await {
            return Ok(Ok(file));
        }
        match self.read_owners_file(at, commit, base_ref).await? {
            Ok(file) => {
                let file = Arc::new(file);
                self.inner.shas.owners.insert(key, Arc::clone(&file)).await;
                Ok(Ok(file))
            }
            Err(why) => Ok(Err(why)),
        }
    }

    async fn read_owners_file(
        &self,
        at: &RepoAt,
        commit: &Sha,
        base_ref: &str,
    ) -> Result<Result<OwnersFile, String>, Trouble> {
        let mut variables = json!({
            "owner": at.repository.name.owner(),
            "repo": at.repository.name.name(),
            "baseRef": base_ref,
            "commit": commit,
        });
        for (alias, path) in PLACES {
            variables[alias] = json!(format!("{commit}:{path}"));
        }
        let answer = match self.graphql(at.installation, QUERY, variables).await {
            Ok(answer) => answer,
            Err(trouble) => return final_reason(trouble).map(Err),
        };
        super::same_repository(at, &answer)?;
        for (alias, path) in PLACES {
            if let Some(error) = answer.touching(&["repository", alias]) {
                return Ok(Err(format!("{path} cannot be read: {}", error.short())));
            }
            let object = &answer.data["repository"][alias];
            if object["__typename"] != "Blob" {
                continue;
            }
            if let Err(why) = is_file(&answer.data["repository"]["modes"][alias], path) {
                return Ok(Err(why));
            }
            let text = match self.text(at, commit, path, object).await? {
                Ok(text) => text,
                Err(why) => return Ok(Err(why)),
            };
            let github = github_errors(&answer.data["repository"]["codeowners"], path);
            let (rules, size) = (Rules::parse(&text), text.len());
            return Ok(Ok(OwnersFile { path: Some(path), rules, github, size }));
        }
        Ok(Ok(OwnersFile::default()))
    }

    /// The text of the file, by REST where GraphQL gives it not at all or not whole.
    async fn text(
        &self,
        at: &RepoAt,
        commit: &Sha,
        path: &str,
        object: &Value,
    ) -> Result<Result<String, String>, Trouble> {
        let plain = object["isBinary"] == false && object["isTruncated"] == false;
        let text = match object["text"].as_str().filter(|_| plain) {
            Some(text) => text.to_owned(),
            None => {
                let asked = at.path(&format!("/contents/{path}?ref={commit}"));
                let raw = self.get_as(at.installation, &asked, "application/vnd.github.raw+json").await;
                let raw = match raw.and_then(|a| a.expect(&[200])) {
                    Ok(raw) => raw,
                    Err(trouble) => return final_reason(trouble).map(Err),
                };
                match String::from_utf8(raw.body.to_vec()) {
                    Ok(text) => text,
                    Err(_) => return Ok(Err(format!("{path} is not text"))),
                }
            }
        };
        if text.len() > MAX_SIZE {
            return Ok(Err(format!("{path} has more than 3 MB: GitHub does not load it")));
        }
        Ok(Ok(text))
    }

    /// The account behind an e-mail address, if a commit on the base shows it. Nothing else maps one
    /// to the other.
    async fn login_of(&self, at: &RepoAt, commit: &Sha, email: &str) -> Result<Option<String>, Trouble> {
        let cache = &self.inner.people;
        let key = cache.dated((at.repository.id, email.to_owned()));
        if let Some(known) = cache.email.get(&key).await {
            return Ok(known);
        }
        let variables = json!({
            "owner": at.repository.name.owner(),
            "repo": at.repository.name.name(),
            "base": commit,
            "emails": [email],
        });
        let answer = match self.graphql(at.installation, EMAIL_QUERY, variables).await {
            Ok(answer) => answer,
            Err(trouble) => return final_reason(trouble).map(|_| None),
        };
        if answer.touching(&["repository", "object"]).is_some() {
            return Ok(None);
        }
        let author = &answer.data["repository"]["object"]["history"]["nodes"][0]["author"];
        let own = author["email"].as_str().is_some_and(|e| e.eq_ignore_ascii_case(email));
        let login = author["user"]["login"].as_str().filter(|_| own).map(str::to_owned);
        cache.email.insert(key, login.clone()).await;
        Ok(login)
    }
}

/// The text of a symbolic link is the path it leads to, which read as rules would own nothing.
fn is_file(entry: &Value, path: &str) -> Result<(), String> {
    // As git writes modes: the highest bits are the kind.
    match entry["mode"].as_u64().map(|mode| mode & 0o170_000) {
        Some(0o100_000) => Ok(()),
        Some(0o120_000) => {
            Err(format!("{path} is a symbolic link, which is not followed: put the file itself there"))
        }
        _ => Err(format!("{path} cannot be read: GitHub does not say that it is a file")),
    }
}

/// What GitHub thinks is wrong with the file; nothing if it does not say.
fn github_errors(codeowners: &Value, path: &str) -> Vec<CodeownersError> {
    let errors = codeowners["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let own = errors.iter().filter(|e| e["path"].as_str().is_none_or(|p| p == path));
    let error = |e: &Value| {
        Some(CodeownersError { line: e["line"].as_u64()?, message: e["message"].as_str()?.to_owned() })
    };
    own.filter_map(error).collect()
}
