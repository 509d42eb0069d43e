//! Before the story: people, teams and a repository on the simulated GitHub; configuration, secrets
//! and policies in the demo's folder.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::super::{Failure, init};
use crate::simulated_github::{Impossible, Role, SimulatedGithub, World, commit};

pub const ORG: &str = "octo-org";
pub const REPO: &str = "octo-org/shop";

/// Stands in the policies' data where a repository of one's own would stand.
const NO_REPOSITORIES: &str = "  repositories: {}";

/// What the demo asks of its repository: two approvals, and only the release team pushes to main.
const REPOSITORIES: &str = r#"  repositories:
    "octo-org/shop":
      required_reviews: {required_approving_review_count: 2}
      restricted_branches:
        rules:
          - type: branch
            pattern: main
            restrict: [updates, deletions, force_pushes]
            allow: {users: [], teams: ["octo-org/release"], apps: []}"#;

pub struct Prepared {
    pub listen: SocketAddr,
}

/// # Errors
/// A file cannot be written, or there is no free port.
pub fn prepare(dir: &Path, github: &SimulatedGithub) -> Result<Prepared, Failure> {
    github.with(people_and_code).map_err(|e| Failure::could_not_run(e.to_string()))?;
    let (listen, internal) = free_ports()?;
    let secret = random_hex::<32>()?;
    let config = format!(
        "# Written by `gatelog demo`.\n\
         [server]\nlisten = \"{listen}\"\ninternal_listen = \"{internal}\"\n\
         [github]\napi_url = \"{}\"\napp_id = {}\nprivate_key_file = \"app.pem\"\n\
         webhook_secret_file = \"webhook.secret\"\n\
         [policies]\npath = \"policies\"\n\
         [ledger]\npath = \"data\"\n\
         # The story tells every webhook; a sweep would only make its numbers differ from run to run.\n\
         [reconcile]\nminutes = 0\n",
        github.api_url(),
        github.app_id(),
    );
    write(&dir.join("gatelog.toml"), &config)?;
    write(&dir.join("app.pem"), &github.app_key_pem())?;
    write(&dir.join("webhook.secret"), &secret)?;
    policies(&dir.join("policies"))?;
    github.set_hook(&format!("http://{listen}/webhook"), &secret);
    Ok(Prepared { listen })
}

fn people_and_code(w: &mut World) -> Result<(), Impossible> {
    w.add_organization(ORG);
    for login in ["alice", "bob", "carol", "dana", "eve"] {
        w.add_user(login);
        w.add_org_member(ORG, login, false)?;
    }
    let first = commit("dana", "A shop").write("README.md", "# Shop\n").write("src/cart.rs", "// items\n");
    w.add_repository_with(REPO, &first.signed())?;
    for login in ["alice", "bob", "carol", "eve"] {
        w.grant(login, REPO, Role::Write)?;
    }
    let release = w.add_team(ORG, "release", None, &["dana"])?;
    w.grant_team(release, REPO, Role::Maintain)
}

fn policies(dir: &Path) -> Result<(), Failure> {
    let cannot = |e: std::io::Error| Failure::could_not_run(format!("cannot write {}: {e}", dir.display()));
    init::write_policies(dir).map_err(cannot)?;
    let data = dir.join("data.yaml");
    let text = fs::read_to_string(&data).map_err(cannot)?;
    if !text.contains(NO_REPOSITORIES) {
        return Err(Failure::could_not_run("the embedded data.yaml has no place for the demo's repository"));
    }
    fs::write(&data, text.replace(NO_REPOSITORIES, REPOSITORIES)).map_err(cannot)
}

/// A file that only its owner may read.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.and_then(|mut f| f.write_all(text.as_bytes()))
        .map_err(|e| Failure::could_not_run(format!("cannot write {}: {e}", path.display())))
}

/// Two ports that nobody listens on now; held together so that they differ.
fn free_ports() -> Result<(SocketAddr, SocketAddr), Failure> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let ports = || -> std::io::Result<_> {
        let (a, b) = (bind()?, bind()?);
        Ok((a.local_addr()?, b.local_addr()?))
    };
    ports().map_err(|e| Failure::could_not_run(format!("no free loopback port: {e}")))
}

/// `N` random bytes in hex.
///
/// # Errors
/// The system gives no randomness.
pub fn random_hex<const N: usize>() -> Result<String, Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Failure::could_not_run(format!("no randomness: {e}")))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_policies_have_a_place_for_the_demos_repository() {
        let data = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/data.yaml"));
        assert_eq!(data.matches(super::NO_REPOSITORIES).count(), 1);
    }
}
