//! The rows. See `story.rs` for the words, `docs/controls.md` for the parameters.

use super::Line;

// GitHub's documentation.
const REVIEWS: &str = "https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/reviewing-changes-in-pull-requests/about-pull-request-reviews";
const DISMISSAL: &str = "https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/reviewing-changes-in-pull-requests/dismissing-a-pull-request-review";
const PROTECTED: &str = "https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-protected-branches/about-protected-branches";
const RULES: &str = "https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/available-rules-for-rulesets";
const FNMATCH: &str = "https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/creating-rulesets-for-a-repository#using-fnmatch-syntax";
const OWNERS: &str = "https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners";
const SIGNATURES: &str = "https://docs.github.com/en/authentication/managing-commit-signature-verification/about-commit-signature-verification";
const STATES: &str = "https://docs.github.com/en/graphql/reference/enums#gitsignaturestate";
const ROLES: &str = "https://docs.github.com/en/organizations/managing-user-access-to-your-organizations-repositories/managing-repository-roles/repository-roles-for-an-organization";
const CO_AUTHORS: &str = "https://docs.github.com/en/pull-requests/committing-changes-to-your-project/creating-and-editing-commits/creating-a-commit-with-multiple-authors";
const QUEUE: &str = "https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/configuring-pull-request-merges/managing-a-merge-queue";
const UPDATE: &str = "https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/proposing-changes-to-your-work-with-pull-requests/keeping-your-pull-request-in-sync-with-the-base-branch";
const BASE: &str = "https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/proposing-changes-to-your-work-with-pull-requests/changing-the-base-branch-of-a-pull-request";
const DRAFTS: &str = "https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/proposing-changes-to-your-work-with-pull-requests/about-pull-requests#draft-pull-requests";
const GHOST: &str = "https://docs.github.com/en/account-and-profile/setting-up-and-managing-your-personal-account-on-github/managing-your-personal-account/deleting-your-personal-account";
const EMAIL: &str = "https://docs.github.com/en/account-and-profile/setting-up-and-managing-your-personal-account-on-github/managing-email-preferences/setting-your-commit-email-address";
const TEAMS: &str = "https://docs.github.com/en/organizations/organizing-members-into-teams/about-teams";
const KEYS: &str =
    "https://docs.github.com/en/authentication/connecting-to-github-with-ssh/managing-deploy-keys";
const PUSH: &str = "https://docs.github.com/en/webhooks/webhook-events-and-payloads#push";
const MERGES: &str = "https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/incorporating-changes-from-a-pull-request/about-pull-request-merges";

const TWO_PARTY: &str = "https://slsa.dev/spec/v1.2/source-requirements";
const UPDATES: &str = "https://docs.github.com/en/code-security/supply-chain-security/understanding-your-software-supply-chain/about-dependency-review";
const APP_AUTHORS: &str = "https://docs.github.com/en/apps/creating-github-apps/about-creating-github-apps/about-creating-github-apps";

const STRICT: &str = "https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-protected-branches/about-protected-branches#require-status-checks-before-merging";
const STATUS_CHECKS: &str = "https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/collaborating-on-repositories-with-code-quality-features/about-status-checks";
const BOUND_CHECKS: &str = "https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-protected-branches/troubleshooting-required-status-checks#required-status-checks-from-unexpected-sources";
const DCO: &str = "https://developercertificate.org/";

const PINNED: &str =
    "https://docs.github.com/en/actions/reference/security/secure-use#using-third-party-actions";
const PWN: &str = "https://securitylab.github.com/resources/github-actions-preventing-pwn-requests/";
const SECRET_SCANNING: &str = "https://docs.github.com/en/code-security/secret-scanning/managing-alerts-from-secret-scanning/resolving-alerts";
const DEPLOYING: &str = "https://docs.github.com/en/actions/how-tos/deploy/configure-and-manage-deployments/create-custom-protection-rules";

// What people complained of.
const WHY_IGNORED: &str = "https://github.com/palantir/policy-bot/issues/266";
const WHY_STALE: &str = "https://github.com/palantir/policy-bot/issues/239";
const UPDATE_MERGES: &str = "https://github.com/palantir/policy-bot/issues/336";
const HAND_WRITTEN: &str = "https://github.com/palantir/policy-bot/issues/120";
const BOT_PUSHES: &str = "https://github.com/palantir/policy-bot/issues/788";
const BORROWED: &str = "https://github.com/palantir/policy-bot/pull/156";
const UPDATED_AWAY: &str = "https://github.com/strands-labs/robots/issues/3190";
const STRICTER: &str = "https://github.com/Mergifyio/mergify/issues/5174";
const BASE_CHANGED: &str = "https://github.com/palantir/policy-bot/issues/818";
const GROUPS: &str = "https://github.com/palantir/policy-bot/issues/800";
const BY_PATH: &str = "https://github.com/palantir/policy-bot/issues/181";
const BOTS_SIGN: &str = "https://github.com/dependabot/feedback/issues/497";
const ONE_UNSIGNED: &str = "https://github.com/nearform/lastlight/issues/268";
const UNREVIEWED: &str = "https://github.com/sourcegraph/sourcegraph-public-snapshot/issues/30396";
const DIRECT: &str = "https://github.com/djust-org/djust/issues/1250";
const ON_DRAFTS: &str = "https://github.com/palantir/policy-bot/issues/741";

// Parameters.
const TWO: &str = "required_reviews: {required_approving_review_count: 2}";
const NONE: &str =
    "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}";
const KEEP: &str = "required_reviews: {dismiss_stale_reviews_on_push: false}";
const KEEP_ALL: &str =
    "required_reviews: {dismiss_stale_reviews_on_push: false, require_last_push_approval: false}";
const STRICT_UPDATES: &str = "required_reviews: {ignore_update_merges: false}";
const BY_OWNERS: &str = "required_reviews: {require_code_owner_review: true}";
const FOR_PAY: &str = "required_reviews: {required_reviewers: [{reviewers: [octo-org/pay], minimum_approvals: 1, file_patterns: [\"pay/**\"]}]}";
const IGNORE_BOT: &str = "required_reviews: {ignore_commits_by: [\"renovate[bot]\"]}";
const CONTRIBUTORS: &str = "required_reviews: {allow_contributor: true}";
const MAIN: &str = "restricted_branches: {rules: [{type: branch, pattern: main, restrict: [updates, deletions, force_pushes], allow: {users: [], teams: [], apps: []}}]}";
const BOB_ON_MAIN: &str = "restricted_branches: {rules: [{type: branch, pattern: main, restrict: [updates], allow: {users: [bob], teams: [], apps: []}}]}";
const PAY_ON_MAIN: &str = "restricted_branches: {rules: [{type: branch, pattern: main, restrict: [updates], allow: {users: [], teams: [octo-org/pay], apps: []}}]}";
const RELEASES: &str = "restricted_branches: {rules: [{type: branch, pattern: \"release/**/*\", restrict: [creations, updates, deletions], allow: {users: [bob], teams: [], apps: []}}]}";
const TAGS: &str = "restricted_branches: {rules: [{type: tag, pattern: \"v*\", restrict: [creations, updates, deletions], allow: {users: [bob], teams: [], apps: []}}]}";
const FROM_RELEASE: &str = "restricted_branches: {merge_from: [{base: main, head: [\"release/**/*\"]}]}";
const FROM_TOPIC: &str = "restricted_branches: {merge_from: [{base: main, head: [\"top*\"]}]}";
const UNSIGNED: &str = "signed_commits: {required: false}";
const OWN_SIGNATURE: &str = "signed_commits: {allow_github_signed: false}, required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}";
const SIGNER: &str = "signed_commits: {signer_must_be_author: true}, required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}";

const SENSITIVE: &str =
    "sensitive_paths: {enabled: true, paths: [\"pay/**\"], minimum_approvals: 2, reviewers: []}";
const DEPENDENCIES: &str = "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}, dependency_changes: {enabled: true}";
const DEPENDENCIES_APART: &str = "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}, dependency_changes: {enabled: true, minimum_approvals: 0, apart: true}";
const APPS: &str = "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}, app_authors: {enabled: true, apps: [{app: \"renovate[bot]\", paths: [\"*.lock\"]}]}";
const NO_APPS: &str = "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}, app_authors: {enabled: true, apps: []}";
const DRIFT: &str = "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}, branch_rules: {enabled: true}";
const UP_TO_DATE: &str = "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}, up_to_date: {enabled: true}";
const SIGN_OFF: &str = "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}, sign_off: {enabled: true}";
const CHECKS: &str = "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}, required_checks: {enabled: true, checks: [{name: build, app: ci}]}";
const BY_RENOVATE: &str = "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}, required_checks: {enabled: true, checks: [{name: build, app: \"renovate[bot]\"}]}";
const WORKFLOWS: &str = "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}, workflow_files: {enabled: true}";
const TRUSTING: &str = "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}, workflow_files: {enabled: true, trusted_owners: [actions]}";
const RELEASE_TAGS: &str = "release_tags: {enabled: true}";
const SECRETS: &str = "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}, secret_alerts: {enabled: true}";
const PATIENT: &str = "required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}, secret_alerts: {enabled: true, rotate_within_days: 36500}";
const DEPLOYMENTS: &str = "deployments: {enabled: true, environments: [{environment: production, branches: [main], on_default_branch: true, require_allowed: true, separate_deployer: true, deployers: []}]}";
const OPEN_DEPLOYMENTS: &str = "deployments: {enabled: true, allow_other_environments: true, environments: [{environment: production, branches: [main], on_default_branch: true, require_allowed: true, separate_deployer: true, deployers: []}]}";
const FROZEN: &str = "change_freeze: {enabled: true, environments: [\"prod*\"], windows: [{from: \"2020-01-01T00:00:00Z\", until: \"2099-01-01T00:00:00Z\", why: moving}]}, deployments: {enabled: true, allow_other_environments: true, environments: []}";
const DEPLOYERS: &str = "deployments: {enabled: true, environments: [{environment: production, branches: [main], on_default_branch: true, require_allowed: true, separate_deployer: true, deployers: [carol]}]}";

#[rustfmt::skip]
pub const ROWS: &[Line] = &[
    // -- how many, and who
    ("nobody approved", "", "alice pushes a; alice opens", "deny", "0 of 1 approvals", REVIEWS),
    ("one approval of one", "", "alice pushes a; alice opens; bob approves", "allow", "Allowed", REVIEWS),
    ("one approval of two", TWO, "alice pushes a; alice opens; bob approves", "deny", "1 of 2 approvals", REVIEWS),
    ("two approvals of two", TWO, "alice pushes a; alice opens; bob approves; carol approves", "allow", "Allowed", REVIEWS),
    ("one person twice is one", TWO, "alice pushes a; alice opens; bob approves; bob approves", "deny", "1 of 2 approvals", REVIEWS),
    ("no review wanted", NONE, "alice pushes a; alice opens", "allow", "Allowed", RULES),
    ("no count, but the last push needs somebody else", "required_reviews: {required_approving_review_count: 0}", "alice pushes a; alice opens", "deny", "is approved by nobody else", RULES),
    ("his own approval", "", "alice pushes a; alice opens; alice approves", "deny", "author of the pull request", REVIEWS),
    ("his own approval where that is wanted, with his own push", "required_reviews: {allow_author: true}", "alice pushes a; alice opens; alice approves", "deny", "is approved by nobody else", RULES),
    ("his own approval where that is wanted", "required_reviews: {allow_author: true, require_last_push_approval: false}", "alice pushes a; alice opens; alice approves", "allow", "Allowed", REVIEWS),
    ("a comment is no approval", "", "alice pushes a; alice opens; bob comments", "deny", "0 of 1 approvals", REVIEWS),
    ("a comment after an approval changes nothing", "", "alice pushes a; alice opens; bob approves; bob comments", "allow", "Allowed", REVIEWS),
    ("who may only read", "", "alice pushes a; alice opens; mallory approves", "deny", "@mallory, no write permission", ROLES),
    ("who may only triage", "", "alice pushes a; alice opens; tina approves", "deny", "@tina, no write permission", ROLES),
    ("who maintains", "", "alice pushes a; alice opens; erin approves", "allow", "Allowed", ROLES),
    ("write where maintain is wanted", "required_reviews: {minimum_permission: maintain}", "alice pushes a; alice opens; bob approves", "deny", "no maintain permission", ROLES),
    ("maintain where maintain is wanted", "required_reviews: {minimum_permission: maintain}", "alice pushes a; alice opens; erin approves", "allow", "Allowed", ROLES),
    ("admin where maintain is wanted", "required_reviews: {minimum_permission: maintain}", "alice pushes a; alice opens; frank approves", "allow", "Allowed", ROLES),
    ("maintain where admin is wanted", "required_reviews: {minimum_permission: admin}", "alice pushes a; alice opens; erin approves", "deny", "no admin permission", ROLES),
    ("admin where admin is wanted", "required_reviews: {minimum_permission: admin}", "alice pushes a; alice opens; frank approves", "allow", "Allowed", ROLES),
    ("who may not write any more", "", "alice pushes a; alice opens; bob approves; then; bob becomes read", "deny", "@bob, no write permission", ROLES),
    ("who may write only now", "", "alice pushes a; alice opens; mallory approves; then; mallory becomes write", "allow", "Allowed", ROLES),
    ("who is not there any more", "", "alice pushes a; alice opens; bob approves; bob vanishes", "deny", "0 of 1 approvals", GHOST),
    ("two who are not there any more are not two people", TWO, "alice pushes a; alice opens; bob approves; carol approves; bob vanishes; carol vanishes", "deny", "0 of 2 approvals", GHOST),
    ("a ghost opened it", "", "alice pushes a; alice opens; bob approves; alice vanishes", "allow", "Allowed", GHOST),
    ("an app approves", "", "alice pushes a; alice opens; renovate[bot] approves", "deny", "an app that count_apps does not name", RULES),
    ("an app that counts approves", "required_reviews: {count_apps: [renovate]}", "alice pushes a; alice opens; renovate[bot] approves", "allow", "Allowed", RULES),
    ("an app that counts, written as its account", "required_reviews: {count_apps: [\"renovate[bot]\"]}", "alice pushes a; alice opens; renovate[bot] approves", "allow", "Allowed", RULES),

    // -- named approvers
    ("an approver by name", "required_reviews: {approvers: {users: [bob], teams: [], organizations: []}}", "alice pushes a; alice opens; bob approves", "allow", "Allowed", RULES),
    ("an approver by name, in capitals", "required_reviews: {approvers: {users: [bob], teams: [], organizations: []}}", "alice pushes a; alice opens; bob approves; bob comments", "allow", "Allowed", RULES),
    ("not among the approvers", "required_reviews: {approvers: {users: [bob], teams: [], organizations: []}}", "alice pushes a; alice opens; carol approves", "deny", "not among the approvers", RULES),
    ("an approver who may only read", "required_reviews: {approvers: {users: [mallory], teams: [], organizations: []}}", "alice pushes a; alice opens; mallory approves", "deny", "no write permission", ROLES),
    ("an approver by team", "required_reviews: {approvers: {users: [], teams: [octo-org/pay], organizations: []}}", "pay has bob; alice pushes a; alice opens; bob approves", "allow", "Allowed", TEAMS),
    ("not in the team of approvers", "required_reviews: {approvers: {users: [], teams: [octo-org/pay], organizations: []}}", "pay has bob; alice pushes a; alice opens; carol approves", "deny", "not among the approvers", TEAMS),
    ("left the team of approvers", "required_reviews: {approvers: {users: [], teams: [octo-org/pay], organizations: []}}", "pay has bob carol; alice pushes a; alice opens; bob approves; then; bob quits pay", "deny", "not among the approvers", TEAMS),
    ("a team that is not there", "required_reviews: {approvers: {users: [], teams: [octo-org/pay], organizations: []}}", "alice pushes a; alice opens; bob approves", "error", "could not be read", TEAMS),
    ("an approver by organisation", "required_reviews: {approvers: {users: [], teams: [], organizations: [octo-org]}}", "octo-org employs bob; alice pushes a; alice opens; bob approves", "allow", "Allowed", RULES),
    ("not in the organisation", "required_reviews: {approvers: {users: [], teams: [], organizations: [octo-org]}}", "octo-org employs bob; alice pushes a; alice opens; carol approves", "deny", "not among the approvers", RULES),

    // -- contributors
    ("who wrote a commit", "", "alice pushes a; bob pushes b; alice opens; bob approves", "deny", "0 of 1 approvals", WHY_IGNORED),
    ("who wrote a commit that another pushed", "", "alice pushes a; alice pushes b as bob; alice opens; bob approves", "deny", "@bob, contributor", WHY_IGNORED),
    ("a co-author", "", "alice pushes a with bob; alice opens; bob approves", "deny", "@bob, contributor", CO_AUTHORS),
    ("a co-author, and somebody else approves", "", "alice pushes a with bob; alice opens; carol approves", "allow", "Allowed", CO_AUTHORS),
    ("who committed for somebody", "", "alice pushes a committed-by bob; alice opens; bob approves", "deny", "@bob, contributor", WHY_IGNORED),
    ("who pushed the commit of somebody", "", "bob pushes a as alice; alice opens; bob approves", "deny", "@bob, last pusher", STRICTER),
    ("who pushed an earlier commit of somebody", "", "bob pushes a as alice; alice pushes b; alice opens; bob approves", "deny", "@bob, contributor (pushed", STRICTER),
    ("an e-mail that no account has makes nobody a contributor", "", "alice pushes a as nobody signed-by alice; alice opens; bob approves", "allow", "Allowed", EMAIL),
    ("who pushed it is a contributor whatever e-mail it carries", "", "alice pushes a; bob pushes b as nobody signed-by bob; alice pushes c; alice opens; bob approves", "deny", "@bob, contributor (pushed", EMAIL),
    ("a contributor where that is wanted", CONTRIBUTORS, "bob pushes a; alice pushes b; alice opens; bob approves", "allow", "Allowed", STRICTER),
    ("a contributor under the name policy-bot has", "required_reviews: {allow_non_author_contributor: true}", "bob pushes a; alice pushes b; alice opens; bob approves", "allow", "Allowed", STRICTER),
    ("the last pusher where contributors may", CONTRIBUTORS, "alice pushes a; bob pushes b; alice opens; bob approves", "deny", "is approved by nobody else", RULES),
    ("the author where contributors may", CONTRIBUTORS, "alice pushes a; bob pushes b; alice opens; alice approves", "deny", "author of the pull request", REVIEWS),
    ("the last pusher where contributors may, and one more", CONTRIBUTORS, "alice pushes a; bob pushes b; alice opens; bob approves; carol approves", "allow", "Allowed", RULES),
    ("a contributor that a force push hid", "", "alice pushes a; bob pushes b as nobody signed-by alice; alice pushes c; alice opens; alice rewrites 2 d; bob approves", "deny", "@bob, contributor (pushed", STRICTER),
    ("a commit thrown away makes nobody a contributor", "", "alice pushes a; bob pushes b; alice opens; alice rewrites 1 c; bob approves", "allow", "Allowed", REVIEWS),
    ("put back what was there before", "", "alice pushes a; alice pushes b; alice opens; bob resets 1; bob resets 2; bob approves", "deny", "@bob, last pusher", STRICTER),
    ("put back what was there before, and somebody else approves", "", "alice pushes a; alice pushes b; alice opens; bob resets 1; bob resets 2; carol approves", "allow", "Allowed", STRICTER),

    // -- stale
    ("a push after the approval", "", "alice pushes a; alice opens; bob approves; alice pushes b", "deny", "stale", PROTECTED),
    ("approved again after the push", "", "alice pushes a; alice opens; bob approves; alice pushes b; bob approves", "allow", "Allowed", PROTECTED),
    ("the ignored one is named", "", "alice pushes a; alice opens; bob approves; alice pushes b", "deny", "@bob, stale: approved", WHY_STALE),
    ("the page of an older head approved after the push", "", "alice pushes a; alice opens; alice pushes b; bob approves 1", "deny", "stale", PROTECTED),
    ("a force push after the approval", "", "alice pushes a; alice opens; bob approves; alice rewrites 0 b", "deny", "not in the pull request any more", PROTECTED),
    ("a force push back to what was approved", "", "alice pushes a; alice pushes b; alice opens; bob approves 1; alice resets 1", "allow", "Allowed", PROTECTED),
    ("a stale one and a fresh one of two", TWO, "alice pushes a; alice opens; bob approves; alice pushes b; carol approves", "deny", "1 of 2 approvals", PROTECTED),
    ("old approvals kept, but nobody approved the last push", KEEP, "alice pushes a; alice opens; bob approves; alice pushes b", "deny", "is approved by nobody else", RULES),
    ("old approvals kept", KEEP_ALL, "alice pushes a; alice opens; bob approves; alice pushes b", "allow", "Allowed", PROTECTED),
    ("old approvals kept after a force push too", KEEP_ALL, "alice pushes a; alice opens; bob approves; alice rewrites 0 b", "allow", "Allowed", PROTECTED),
    ("one kept and one for the last push", "required_reviews: {dismiss_stale_reviews_on_push: false, required_approving_review_count: 2}", "alice pushes a; alice opens; bob approves; alice pushes b; carol approves", "allow", "Allowed", RULES),
    ("another base after the approval", "", "alice branches dev; alice pushes a; alice opens; bob approves; alice retargets dev", "deny", "before the base was changed", BASE_CHANGED),
    ("another base after the approval, seen by itself", "", "alice branches dev; alice pushes a; alice opens; bob approves; then; alice retargets dev", "deny", "before the base was changed", BASE_CHANGED),
    ("approved after the base was changed", "", "alice branches dev; alice pushes a; alice opens; alice retargets dev; bob approves", "allow", "Allowed", BASE),
    ("another base and back", "", "alice branches dev; alice pushes a; alice opens; bob approves; alice retargets dev; alice retargets main", "deny", "before the base was changed", BASE),
    ("another base where old approvals are kept", KEEP_ALL, "alice branches dev; alice pushes a; alice opens; bob approves; alice retargets dev", "allow", "Allowed", BASE),

    // -- "Update branch"
    ("the branch updated after the approval", "", "alice pushes a; alice opens; bob approves; frank lands z; alice updates", "allow", "Allowed", UPDATE_MERGES),
    ("the branch updated by the one who approved", "", "alice pushes a; alice opens; bob approves; frank lands z; bob updates", "allow", "Allowed", UPDATED_AWAY),
    ("who updated the branch may approve", "", "alice pushes a; alice opens; frank lands z; bob updates; bob approves", "allow", "Allowed", UPDATED_AWAY),
    ("conflicts resolved by hand after the approval", "", "alice pushes a; alice opens; bob approves; frank lands z; alice resolves z", "deny", "stale", HAND_WRITTEN),
    ("who resolved conflicts is a contributor", "", "alice pushes a; alice opens; frank lands z; bob resolves z; bob approves", "deny", "@bob, last pusher", HAND_WRITTEN),
    ("updated, where updates count as pushes", STRICT_UPDATES, "alice pushes a; alice opens; bob approves; frank lands z; alice updates", "deny", "stale", UPDATE),
    ("a commit under an update", "", "alice pushes a; alice opens; bob approves; alice pushes b; frank lands z; alice updates", "deny", "stale", UPDATE_MERGES),
    ("a commit on top of an update", "", "alice pushes a; alice opens; bob approves; frank lands z; alice updates; alice pushes b", "deny", "stale", UPDATE_MERGES),
    ("two updates", "", "alice pushes a; alice opens; bob approves; frank lands y; alice updates; frank lands z; alice updates", "allow", "Allowed", UPDATE_MERGES),

    // -- bots that push
    ("a bot's commit after the approval", "", "alice pushes a; alice opens; bob approves; renovate[bot] pushes b", "deny", "stale", BOT_PUSHES),
    ("a bot's commit after the approval, ignored", IGNORE_BOT, "alice pushes a; alice opens; bob approves; renovate[bot] pushes b", "allow", "Allowed", BOT_PUSHES),
    ("a commit that only says it is the bot's", IGNORE_BOT, "alice pushes a; alice opens; bob approves; alice pushes b as renovate[bot] signed-by alice", "deny", "stale", BORROWED),
    ("a commit of the bot with a person in it", IGNORE_BOT, "alice pushes a; alice opens; bob approves; renovate[bot] pushes b with alice", "deny", "stale", BORROWED),
    ("a commit that says it is the bot's and is signed by it", IGNORE_BOT, "alice pushes a; alice opens; bob approves; alice pushes b as renovate[bot] signed-by renovate[bot]", "allow", "Allowed", BORROWED),
    ("a bot's force push does not whitewash what a person pushed as the bot", IGNORE_BOT, "alice pushes a; alice opens; bob approves; alice pushes b as renovate[bot] signed-by alice; renovate[bot] pushes c; renovate[bot] rewrites 2 d", "deny", "stale", BORROWED),
    ("somebody with the name of the bot", "required_reviews: {ignore_commits_by: [ivan]}", "alice pushes a; alice opens; bob approves; renovate[bot] pushes b", "deny", "stale", BORROWED),

    // -- the last push
    ("a deploy key pushed, one approval", "", "alice pushes a; alice key-pushes b; alice opens; bob approves", "error", "who made the last push is not known", KEYS),
    ("a deploy key pushed, two approvals", "", "alice pushes a; alice key-pushes b; alice opens; bob approves; carol approves", "allow", "Allowed", KEYS),
    ("a deploy key pushed, and nobody asks who", "required_reviews: {require_last_push_approval: false}", "alice pushes a; alice key-pushes b; alice opens; bob approves", "allow", "Allowed", KEYS),

    // -- changes requested, dismissals
    ("changes requested", "", "alice pushes a; alice opens; bob requests-changes", "deny", "requested changes", REVIEWS),
    ("changes requested, another approves", "", "alice pushes a; alice opens; bob requests-changes; carol approves", "deny", "@bob requested changes", PROTECTED),
    ("changes requested, then approved", "", "alice pushes a; alice opens; bob requests-changes; bob approves", "allow", "Allowed", PROTECTED),
    ("changes requested after an approval", "", "alice pushes a; alice opens; carol approves; bob approves; bob requests-changes", "deny", "@bob requested changes", REVIEWS),
    ("a push does not lift requested changes", "", "alice pushes a; alice opens; bob requests-changes; alice pushes b; carol approves", "deny", "@bob requested changes", PROTECTED),
    ("requested changes dismissed", "", "alice pushes a; alice opens; bob requests-changes; carol approves; frank dismisses bob", "allow", "Allowed", DISMISSAL),
    ("requested changes from who may only read", "", "alice pushes a; alice opens; mallory requests-changes; bob approves", "allow", "no write permission", PROTECTED),
    ("requested changes do not block where that is switched off", "required_reviews: {request_changes_blocks: false}", "alice pushes a; alice opens; bob requests-changes; carol approves", "allow", "Allowed", REVIEWS),
    ("requested changes of who is not there any more", "", "alice pushes a; alice opens; bob requests-changes; carol approves; bob vanishes", "allow", "Allowed", GHOST),
    ("an approval dismissed", "", "alice pushes a; alice opens; bob approves; carol dismisses bob", "deny", "review dismissed", DISMISSAL),
    ("an approval dismissed, seen by itself", "", "alice pushes a; alice opens; bob approves; then; carol dismisses bob", "deny", "review dismissed", DISMISSAL),
    ("dismissed and approved again", "", "alice pushes a; alice opens; bob approves; carol dismisses bob; bob approves", "allow", "Allowed", DISMISSAL),
    ("a dismissal does not revive an older approval", "", "alice pushes a; alice opens; bob approves; bob requests-changes; carol dismisses bob", "deny", "review dismissed", DISMISSAL),

    // -- drafts, closing
    ("a draft is judged", "", "alice pushes a; alice drafts", "deny", "draft", ON_DRAFTS),
    ("an approved draft", "", "alice pushes a; alice drafts; bob approves", "allow", "draft", DRAFTS),
    ("closed and reopened keeps its approval", "", "alice pushes a; alice opens; bob approves; alice closes; alice reopens", "allow", "Allowed", REVIEWS),

    // -- code owners
    ("no code owner approved", BY_OWNERS, "frank owns * @carol; alice pushes a; alice opens; bob approves", "deny", "no approval by a code owner of a", OWNERS),
    ("a code owner approved", BY_OWNERS, "frank owns * @carol; alice pushes a; alice opens; carol approves", "allow", "Allowed", OWNERS),
    ("any one owner of a line is enough", BY_OWNERS, "frank owns * @bob @carol; alice pushes a; alice opens; carol approves", "allow", "Allowed", OWNERS),
    ("each path needs its own", BY_OWNERS, "frank owns /a @bob | /b @carol; alice pushes a b; alice opens; bob approves", "deny", "no approval by a code owner of b", OWNERS),
    ("each path has its own", BY_OWNERS, "frank owns /a @bob | /b @carol; alice pushes a b; alice opens; bob approves; carol approves", "allow", "Allowed", OWNERS),
    ("the last line that matches wins", BY_OWNERS, "frank owns * @bob | /a @carol; alice pushes a; alice opens; bob approves", "deny", "no approval by a code owner of a", OWNERS),
    ("a line without owners takes ownership away", BY_OWNERS, "frank owns * @carol | /a; alice pushes a; alice opens; bob approves", "allow", "Allowed", OWNERS),
    ("docs/* is one level", BY_OWNERS, "frank owns docs/* @carol; alice pushes docs/x/a; alice opens; bob approves", "allow", "Allowed", OWNERS),
    ("paths are case-sensitive", BY_OWNERS, "frank owns /docs/ @carol; alice pushes Docs/a; alice opens; bob approves", "allow", "Allowed", OWNERS),
    ("an owner who may not write", BY_OWNERS, "frank owns * @mallory; alice pushes a; alice opens; mallory approves; bob approves", "deny", "no approval by a code owner", OWNERS),
    ("the author is the only owner", BY_OWNERS, "frank owns * @alice; alice pushes a; alice opens; bob approves", "deny", "no approval by a code owner", OWNERS),
    ("an owning team", BY_OWNERS, "pay has carol; frank owns * @octo-org/pay; alice pushes a; alice opens; carol approves", "allow", "Allowed", OWNERS),
    ("an owning team that may only read", BY_OWNERS, "pay reads carol; frank owns * @octo-org/pay; alice pushes a; alice opens; carol approves", "deny", "no approval by a code owner", OWNERS),
    ("a file moved out of an owned folder", BY_OWNERS, "frank lands pay/a; frank owns /pay/ @carol; alice pushes renames pay/a b; alice opens; bob approves", "deny", "no approval by a code owner of pay/a", BY_PATH),
    ("a file removed from an owned folder", BY_OWNERS, "frank lands pay/a; frank owns /pay/ @carol; alice pushes removes pay/a; alice opens; bob approves", "deny", "no approval by a code owner of pay/a", OWNERS),
    ("the file on the head does not count", BY_OWNERS, "frank owns * @carol; alice pushes .github/CODEOWNERS; alice opens; bob approves", "deny", "no approval by a code owner of .github/CODEOWNERS", OWNERS),
    ("no file, nothing is owned", BY_OWNERS, "alice pushes a; alice opens; bob approves", "allow", "no CODEOWNERS file", OWNERS),
    ("a bad line that alone matches", BY_OWNERS, "frank owns !a @carol | /b @carol | a[x] @carol | /a nonsense; alice pushes a; alice opens; bob approves", "error", "cannot be used", OWNERS),
    ("a stale approval of an owner", BY_OWNERS, "frank owns * @carol; alice pushes a; alice opens; carol approves; alice pushes b; bob approves", "deny", "no approval by a code owner", OWNERS),

    // -- reviewers of paths
    ("a path without its reviewers", FOR_PAY, "pay has carol; alice pushes pay/x/a; alice opens; bob approves", "deny", "not in the required team", BY_PATH),
    ("a path with its reviewers", FOR_PAY, "pay has carol; alice pushes pay/x/a; alice opens; carol approves", "allow", "Allowed", BY_PATH),
    ("another path", FOR_PAY, "pay has carol; alice pushes b; alice opens; bob approves", "allow", "Allowed", BY_PATH),
    ("a path renamed away from its reviewers", FOR_PAY, "frank lands pay/a; pay has carol; alice pushes renames pay/a b; alice opens; bob approves", "deny", "because pay/a changed", BY_PATH),
    ("a required team that may only read", FOR_PAY, "pay reads carol; alice pushes pay/a; alice opens; carol approves", "deny", "0 of 1 approvals by", RULES),

    // -- signatures
    ("an unsigned commit", NONE, "alice pushes a unsigned; alice opens", "deny", "is not signed", SIGNATURES),
    ("one unsigned commit among signed ones", NONE, "alice pushes a; alice pushes b unsigned; alice pushes c; alice opens", "deny", "is not signed", ONE_UNSIGNED),
    ("signatures not required", UNSIGNED, "alice pushes a unsigned; alice opens; bob approves", "allow", "Allowed", SIGNATURES),
    ("an unknown key", NONE, "alice pushes a bad UNKNOWN_KEY; alice opens", "deny", "UNKNOWN_KEY", STATES),
    ("an e-mail that is not the key's", NONE, "alice pushes a bad BAD_EMAIL; alice opens", "deny", "BAD_EMAIL", STATES),
    ("an e-mail not verified", NONE, "alice pushes a bad UNVERIFIED_EMAIL; alice opens", "deny", "UNVERIFIED_EMAIL", STATES),
    ("an expired key", NONE, "alice pushes a bad EXPIRED_KEY; alice opens", "deny", "EXPIRED_KEY", STATES),
    ("a revoked certificate", NONE, "alice pushes a bad OCSP_REVOKED; alice opens", "deny", "OCSP_REVOKED", STATES),
    ("an invalid signature", NONE, "alice pushes a bad INVALID; alice opens", "deny", "INVALID", STATES),
    ("GitHub has not verified it yet", NONE, "alice pushes a bad GPGVERIFY_UNAVAILABLE; alice opens", "pending", "has not finished verifying", STATES),
    ("a certificate still being asked about", NONE, "alice pushes a bad OCSP_PENDING; alice opens", "pending", "has not finished verifying", STATES),
    ("GitHub's signature on an update", NONE, "alice pushes a; alice opens; frank lands z; alice updates", "allow", "Allowed", SIGNATURES),
    ("GitHub's signature where the author's own is wanted", OWN_SIGNATURE, "alice pushes a; alice opens; frank lands z; alice updates", "deny", "is signed by GitHub", SIGNATURES),
    ("signed by somebody else than the author", SIGNER, "alice pushes a as bob signed-by alice; alice opens", "deny", "signed by someone else", SIGNATURES),
    ("signed by the author", SIGNER, "alice pushes a; alice opens", "allow", "Allowed", SIGNATURES),
    ("a bot that need not sign", "signed_commits: {exempt_accounts: [\"renovate[bot]\"]}, required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}", "renovate[bot] pushes a unsigned; renovate[bot] opens", "allow", "needs no signature", BOTS_SIGN),
    ("who says to be a bot that need not sign", "signed_commits: {exempt_accounts: [\"renovate[bot]\"]}, required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}", "alice pushes a as renovate[bot] unsigned; alice opens", "deny", "is not signed", BORROWED),
    ("no key is allowed", "signed_commits: {allowed_key_ids: []}, required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}", "alice pushes a; alice opens", "deny", "key that is not allowed", SIGNATURES),

    // -- what may be merged into what
    ("a branch that may not be merged there", FROM_RELEASE, "alice pushes a; alice opens; bob approves", "deny", "may be merged into main", RULES),
    ("a branch that may be merged there", FROM_TOPIC, "alice pushes a; alice opens; bob approves", "allow", "Allowed", RULES),
    ("a base that no rule is about", FROM_RELEASE, "alice branches dev; alice pushes a; alice opens dev; bob approves", "allow", "Allowed", RULES),

    // -- parameters
    ("two for a release branch", "branches: [{pattern: \"release/**/*\", required_reviews: {required_approving_review_count: 2}}]", "alice branches release/1.0; alice pushes a; alice opens release/1.0; bob approves", "deny", "1 of 2 approvals", FNMATCH),
    ("one for the others", "branches: [{pattern: \"release/**/*\", required_reviews: {required_approving_review_count: 2}}]", "alice pushes a; alice opens; bob approves", "allow", "Allowed", FNMATCH),
    ("letters of branches are case-sensitive", "branches: [{pattern: \"release/**/*\", required_reviews: {required_approving_review_count: 2}}]", "alice branches Release/1.0; alice pushes a; alice opens Release/1.0; bob approves", "allow", "Allowed", FNMATCH),
    ("a control switched off", "required_reviews: {enabled: false}", "alice pushes a; alice opens", "allow", "Allowed by 2 controls", RULES),
    ("a parameter that nobody knows", "required_reviews: {required_aproving_review_count: 0}", "alice pushes a; alice opens; bob approves", "error", "is unknown", RULES),
    ("a number written as text", "required_reviews: {required_approving_review_count: \"none\"}", "alice pushes a; alice opens", "error", "must be a whole number", RULES),

    // -- sensitive paths
    ("a sensitive path and one approval", SENSITIVE, "alice pushes pay/a; alice opens; bob approves", "deny", "1 of 2 approvals for the sensitive pay/a", TWO_PARTY),
    ("a sensitive path and two approvals", SENSITIVE, "alice pushes pay/a; alice opens; bob approves; carol approves", "allow", "Allowed", TWO_PARTY),
    ("a sensitive path and the approval of who pushed", SENSITIVE, "alice pushes pay/a; bob pushes b as alice; alice opens; bob approves; carol approves", "deny", "1 of 2 approvals for the sensitive pay/a", TWO_PARTY),
    ("a sensitive path and a push after the approvals", SENSITIVE, "alice pushes pay/a; alice opens; bob approves; carol approves; alice pushes b", "deny", "0 of 2 approvals for the sensitive pay/a", TWO_PARTY),
    ("a sensitive path and who may only read", SENSITIVE, "alice pushes pay/a; alice opens; bob approves; mallory approves", "deny", "1 of 2 approvals for the sensitive pay/a", ROLES),
    ("a file moved away from a sensitive path", SENSITIVE, "frank lands pay/a; alice pushes renames pay/a b; alice opens; bob approves", "deny", "1 of 2 approvals for the sensitive pay/a", BY_PATH),
    ("a sensitive path and a key that pushed", SENSITIVE, "alice pushes pay/a; alice key-pushes pay/b; alice opens; bob approves; carol approves", "deny", "2 of 3 approvals for the sensitive", KEYS),
    ("another path than the sensitive ones", SENSITIVE, "alice pushes a; alice opens; bob approves", "allow", "Allowed", TWO_PARTY),

    // -- dependencies
    ("a lock file and no approval", DEPENDENCIES, "alice pushes Cargo.lock; alice opens", "deny", "0 of 1 approvals for changed dependencies", UPDATES),
    ("a lock file and an approval", DEPENDENCIES, "alice pushes Cargo.lock; alice opens; bob approves", "allow", "Allowed", UPDATES),
    ("no dependency changes", DEPENDENCIES, "alice pushes a; alice opens", "allow", "Allowed", UPDATES),
    ("dependencies among other changes", DEPENDENCIES_APART, "alice pushes x/go.mod a; alice opens", "deny", "dependencies change together with a", UPDATES),
    ("a lock file is taken away", DEPENDENCIES_APART, "frank lands Cargo.lock; alice pushes removes Cargo.lock; alice opens", "deny", "the lock file Cargo.lock is taken away", UPDATES),

    // -- apps as authors
    ("an app that may", APPS, "renovate[bot] pushes Cargo.lock; renovate[bot] opens", "allow", "Allowed", APP_AUTHORS),
    ("an app that may, for another path", APPS, "renovate[bot] pushes a; renovate[bot] opens", "deny", "may not change a", APP_AUTHORS),
    ("an app that may not", NO_APPS, "renovate[bot] pushes Cargo.lock; renovate[bot] opens", "deny", "may not open pull requests here", APP_AUTHORS),
    ("somebody pushes to the branch of an app", APPS, "renovate[bot] pushes Cargo.lock; alice pushes b.lock; renovate[bot] opens", "deny", "is not provably by", BORROWED),
    ("somebody commits in the name of an app", APPS, "alice pushes a as renovate[bot] unsigned; alice opens", "deny", "and nothing proves it", BORROWED),
    ("a person, where no app may", NO_APPS, "alice pushes a; alice opens", "allow", "Allowed", APP_AUTHORS),

    // -- rules of the branch
    ("the branch demands what it should", DRIFT, "frank demands check non_fast_forward deletion; alice pushes a; alice opens", "allow", "Allowed", RULES),
    ("the branch demands nothing", DRIFT, "alice pushes a; alice opens", "deny", "GitHub does not demand this check on main", RULES),
    ("the branch takes the check from anyone", DRIFT, "frank demands anyones-check non_fast_forward deletion; alice pushes a; alice opens", "deny", "may come from anyone", RULES),
    ("the branch lets force pushes in", DRIFT, "frank demands check deletion; alice pushes a; alice opens", "deny", "no ruleset blocks force pushes to main", RULES),
    ("a push to a branch that demands nothing", DRIFT, "bob pushes-to main a", "deny", "GitHub does not demand this check on main", RULES),

    // -- the newest base
    ("on the newest base", UP_TO_DATE, "frank lands z; alice pushes a; alice opens", "allow", "Allowed", STRICT),
    ("behind its base", UP_TO_DATE, "alice pushes a; alice opens; frank lands z", "deny", "1 commits of main are missing", STRICT),
    ("behind its base, seen by itself", UP_TO_DATE, "alice pushes a; alice opens; then; frank lands z; frank lands y", "deny", "2 commits of main are missing", STRICT),
    ("updated from its base", UP_TO_DATE, "alice pushes a; alice opens; frank lands z; alice updates", "allow", "Allowed", STRICT),
    ("in the queue", UP_TO_DATE, "alice pushes a; alice opens; frank lands z; alice queues", "allow", "Allowed", QUEUE),

    // -- signed off
    ("signed off", SIGN_OFF, "alice pushes a off-by alice; alice opens", "allow", "Allowed", DCO),
    ("not signed off", SIGN_OFF, "alice pushes a; alice opens", "deny", "is not signed off by its author", DCO),
    ("one commit of two signed off", SIGN_OFF, "alice pushes a off-by alice; alice pushes b; alice opens", "deny", "is not signed off by its author", DCO),
    ("signed off by somebody else", SIGN_OFF, "alice pushes a off-by bob; alice opens", "deny", "is not signed off by its author", DCO),
    ("an update needs no sign-off", SIGN_OFF, "alice pushes a off-by alice; alice opens; frank lands z; alice updates", "allow", "Allowed", DCO),

    // -- checks
    ("a check that has not reported", CHECKS, "alice pushes a; alice opens", "pending", "has not reported", STATUS_CHECKS),
    ("a check that passed", CHECKS, "alice pushes a; alice opens; ci reports build success", "allow", "Allowed", STATUS_CHECKS),
    ("a check that passes later", CHECKS, "alice pushes a; alice opens; ci reports build running; then; ci reports build success", "allow", "Allowed", STATUS_CHECKS),
    ("a check that is running", CHECKS, "alice pushes a; alice opens; ci reports build running", "pending", "is in_progress", STATUS_CHECKS),
    ("a check that failed", CHECKS, "alice pushes a; alice opens; then; ci reports build failure", "deny", "says failure", STATUS_CHECKS),
    ("a check that is run again", CHECKS, "alice pushes a; alice opens; ci reports build success; then; ci reports build running", "pending", "is in_progress", STATUS_CHECKS),
    ("a check run again that fails now", CHECKS, "alice pushes a; alice opens; ci reports build success; then; ci reports build running; ci reports build failure", "deny", "says failure", STATUS_CHECKS),
    ("a check of that name by another app", CHECKS, "alice pushes a; alice opens; evil reports build success", "pending", "counts for nothing", BOUND_CHECKS),
    ("a status of that name by a person", CHECKS, "alice pushes a; alice opens; bob sets build success", "pending", "counts for nothing", BOUND_CHECKS),
    ("a status of the app", BY_RENOVATE, "alice pushes a; alice opens; renovate[bot] sets build success", "allow", "Allowed", STATUS_CHECKS),
    ("a status of the app that turns", BY_RENOVATE, "alice pushes a; alice opens; renovate[bot] sets build success; then; renovate[bot] sets build failure", "deny", "says failure", STATUS_CHECKS),
    ("a push after the check passed", CHECKS, "alice pushes a; alice opens; ci reports build success; alice pushes b", "pending", "has not reported", STATUS_CHECKS),

    // -- workflow files
    ("a workflow with pinned actions", WORKFLOWS, "alice pushes a workflow pinned; alice opens", "allow", "Allowed", PINNED),
    ("a workflow with an action by its tag", WORKFLOWS, "alice pushes a workflow by-tag; alice opens", "deny", "is not pinned to a commit", PINNED),
    ("an action of an owner who is trusted", TRUSTING, "alice pushes a workflow by-tag; alice opens", "allow", "Allowed", PINNED),
    ("a workflow that runs anyone's code with secrets", WORKFLOWS, "alice pushes a workflow for-anyone; alice opens", "deny", "runs on pull_request_target and checks out code", PWN),
    ("a workflow that is no YAML", WORKFLOWS, "alice pushes a workflow broken; alice opens", "deny", "is not a workflow that can be read", PINNED),
    ("a workflow mended", WORKFLOWS, "alice pushes a workflow by-tag; alice opens; then; alice pushes b workflow pinned", "allow", "Allowed", PINNED),
    ("no workflow changed", WORKFLOWS, "alice pushes a; alice opens", "allow", "Allowed", PINNED),

    // -- leaked secrets
    ("a secret that was not rotated in time", SECRETS, "frank leaks 4000; alice pushes a; alice opens", "deny", "should have been rotated", SECRET_SCANNING),
    ("a secret found while it is open", SECRETS, "alice pushes a; alice opens; then; frank leaks 4000", "deny", "should have been rotated", SECRET_SCANNING),
    ("a secret rotated", SECRETS, "frank leaks 4000; alice pushes a; alice opens; then; frank rotates", "allow", "Allowed", SECRET_SCANNING),
    ("a secret that may still be rotated", PATIENT, "frank leaks 4000; alice pushes a; alice opens", "allow", "has to be rotated", SECRET_SCANNING),
    ("no secret", SECRETS, "alice pushes a; alice opens", "allow", "Allowed", SECRET_SCANNING),

    // -- deployments
    ("a deployment of what was allowed", DEPLOYMENTS, "alice pushes a; alice opens; bob approves; then; bob merges squash; then; bob deploys production", "allow", "Allowed", DEPLOYING),
    ("a deployment by who wrote it", DEPLOYMENTS, "alice pushes a; alice opens; bob approves; then; bob merges squash; then; alice deploys production", "deny", "wrote what is to be deployed", DEPLOYING),
    ("a deployment of what was not allowed", DEPLOYMENTS, "alice pushes a; alice opens; then; frank merges squash; then; bob deploys production", "deny", "did not come by a pull request that was allowed", DEPLOYING),
    ("a deployment to an environment that nobody wrote a rule for", DEPLOYMENTS, "alice pushes a; alice opens; bob approves; then; bob merges squash; then; bob deploys staging", "deny", "no rule is for the environment staging", DEPLOYING),
    ("a deployment to another environment, which is open", OPEN_DEPLOYMENTS, "alice pushes a; alice opens; then; frank merges squash; then; alice deploys staging", "allow", "Allowed", DEPLOYING),
    ("a deployment to an environment in another case", DEPLOYMENTS, "alice pushes a; alice opens; bob approves; then; bob merges squash; then; alice deploys PRODUCTION", "deny", "wrote what is to be deployed", DEPLOYING),
    ("a deployment to an environment that is frozen", FROZEN, "bob deploys Production", "deny", "deployments to Production are frozen until 2099", DEPLOYING),
    ("a deployment to one that is not, while others are frozen", FROZEN, "bob deploys staging", "allow", "Allowed", DEPLOYING),
    ("a deployment by who may not", DEPLOYERS, "alice pushes a; alice opens; bob approves; then; bob merges squash; then; bob deploys production", "deny", "may not deploy to production", DEPLOYING),

    // -- releases
    ("a release tag", RELEASE_TAGS, "bob tags v1.0.0", "allow", "Allowed", RULES),
    ("a release tag of another form", RELEASE_TAGS, "bob tags v1", "deny", "does not have the form of a release", RULES),
    ("a release tag of what was not merged", RELEASE_TAGS, "alice pushes a; bob tags v1.0.0 topic", "deny", "is not on the default branch", RULES),
    ("a release tag deleted", RELEASE_TAGS, "bob tags v1.0.0; bob untags v1.0.0", "deny", "the release tag v1.0.0 was deleted", RULES),
    ("a tag of no release", RELEASE_TAGS, "bob tags nightly", "allow", "Allowed", RULES),

    // -- merge queue
    ("a group of an approved one", "", "alice pushes a; alice opens; bob approves; alice queues", "allow", "Allowed", QUEUE),
    ("a group of one that nobody approved", "", "alice pushes a; alice opens; alice queues", "deny", "0 of 1 approvals", GROUPS),
    ("a group whose approval was dismissed", "", "alice pushes a; alice opens; bob approves; alice queues; then; carol dismisses bob", "deny", "review dismissed", GROUPS),

    // -- pushes
    ("a direct push", MAIN, "bob pushes-to main a", "deny", "@bob may not push directly to branch main", DIRECT),
    ("a direct push of who may", BOB_ON_MAIN, "bob pushes-to main a", "allow", "Allowed", RULES),
    ("a direct push of who may not", BOB_ON_MAIN, "carol pushes-to main a", "deny", "@carol may not push directly", RULES),
    ("a direct push by somebody of the team", PAY_ON_MAIN, "pay has bob; bob pushes-to main a", "allow", "Allowed", RULES),
    ("a direct push by a key of who may", BOB_ON_MAIN, "bob key-pushes-to main a", "deny", "a deploy key may not push", KEYS),
    ("an administrator is no exception", MAIN, "frank pushes-to main a", "deny", "@frank may not push directly", UNREVIEWED),
    ("a force push to main", MAIN, "bob pushes-to main a; bob force-pushes main", "deny", "@bob may not force-push branch main", RULES),
    ("an unsigned commit pushed to main", "", "bob pushes-to main a unsigned", "deny", "is not signed", SIGNATURES),
    ("a release branch made by who may not", RELEASES, "carol pushes-to release/1.0 a", "deny", "@carol may not create branch release/1.0", RULES),
    ("a release branch made by who may", RELEASES, "bob pushes-to release/1.0 a", "allow", "Allowed", RULES),
    ("a release branch deeper down", RELEASES, "carol pushes-to release/x/y a", "deny", "may not create branch release/x/y", FNMATCH),
    ("a branch that only looks like one", RELEASES, "carol pushes-to Release/1.0 a", "allow", "Allowed", FNMATCH),
    ("a release branch deleted", RELEASES, "bob pushes-to release/1.0 a; carol deletes release/1.0", "deny", "may not delete branch release/1.0", RULES),
    ("a tag made by who may not", TAGS, "carol tags v1", "deny", "@carol may not create tag v1", RULES),
    ("a tag made by who may", TAGS, "bob tags v1", "allow", "Allowed", RULES),
    ("a tag that no rule is about", TAGS, "carol tags x1", "allow", "Allowed", FNMATCH),
    ("a tag deleted", TAGS, "bob tags v1; carol untags v1", "deny", "may not delete tag v1", PUSH),
    ("a tag called as the branch", MAIN, "carol tags main", "allow", "Allowed", PUSH),
    ("merged as it was allowed", MAIN, "alice pushes a; alice opens; bob approves; then; alice merges merge", "allow", "Allowed", MERGES),
    ("squashed as it was allowed", MAIN, "alice pushes a; alice opens; bob approves; then; alice merges squash", "allow", "Allowed", MERGES),
    ("merged without being allowed", MAIN, "alice pushes a; alice opens; then; frank merges merge", "deny", "bypass", UNREVIEWED),
    ("squashed without being allowed", MAIN, "alice pushes a; alice opens; then; frank merges squash", "deny", "bypass", UNREVIEWED),
    ("merged after the approval was dismissed", MAIN, "alice pushes a; alice opens; bob approves; then; carol dismisses bob; then; frank merges merge", "deny", "bypass", UNREVIEWED),
];
