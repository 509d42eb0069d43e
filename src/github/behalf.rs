//! On whose behalf GitHub is called, and the place that is given up while GitHub's limits are waited for.
//!
//! Both belong to a piece of work and not to each of its calls, which are many and deep: so they are said once,
//! around it ([`in_place`]), and found by the queue of [`super::budget`].

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::event::RepoName;

tokio::task_local! {
    static WORK: Work;
}

/// A repository where turns are given. One that was renamed is another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Lane(u64);

impl Lane {
    pub(super) fn of(name: &RepoName) -> Self {
        Self::named(name.owner(), name.name())
    }

    /// Names of GitHub do not tell case apart.
    fn named(owner: &str, name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (owner.to_ascii_lowercase(), name.to_ascii_lowercase()).hash(&mut hasher);
        // 0 stands for what is of no repository.
        Self(hasher.finish() | 1)
    }

    /// Of the work that is done; outside of any, of what a query asks for.
    pub(super) fn of_query(variables: &serde_json::Value) -> Self {
        let asked = || Some(Self::named(variables["owner"].as_str()?, variables["repo"].as_str()?));
        current().unwrap_or_else(|| asked().unwrap_or_default())
    }

    /// Of the work that is done; outside of any, `/repos/{owner}/{name}/…` names one.
    pub(super) fn of_path(path: &str) -> Self {
        let mut parts = path.split(['/', '?']).skip(1);
        let asked = || match (parts.next(), parts.next(), parts.next()) {
            (Some("repos"), Some(owner), Some(name)) => Self::named(owner, name),
            _ => Self::default(),
        };
        current().unwrap_or_else(asked)
    }

    #[cfg(test)]
    pub(super) const fn numbered(number: u64) -> Self {
        Self(number)
    }
}

fn current() -> Option<Lane> {
    WORK.try_with(|work| work.lane).ok()
}

struct Work {
    lane: Lane,
    place: Arc<Place>,
    /// It holds what others need: it is tried again later rather than to wait.
    hurries: AtomicBool,
}

/// One of a number of places to work in.
struct Place {
    places: Arc<Semaphore>,
    held: Mutex<Option<OwnedSemaphorePermit>>,
    /// Calls of this work that wait.
    waiting: AtomicUsize,
}

impl Place {
    async fn take(&self) {
        // Never closed.
        let permit = self.places.clone().acquire_owned().await.ok();
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }

    fn leave(&self) -> Away<'_> {
        if self.waiting.fetch_add(1, Ordering::SeqCst) == 0 {
            self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        Away(self)
    }

    /// The work goes on once none of its calls waits, and there is a place for it.
    async fn come_back(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            self.take().await;
        }
    }
}

/// Counted as waiting until it is dropped.
struct Away<'p>(&'p Place);

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Works for a repository in one of these places, once there is one. While a call waits for GitHub's limits,
/// another has the place.
pub async fn in_place<W: Future>(
    places: &Arc<Semaphore>,
    repository: Option<&RepoName>,
    work: W,
) -> W::Output {
    let place =
        Arc::new(Place { places: places.clone(), held: Mutex::default(), waiting: AtomicUsize::default() });
    place.take().await;
    let lane = repository.map(Lane::of).unwrap_or_default();
    WORK.scope(Work { lane, place, hurries: AtomicBool::default() }, work).await
}

/// From here on, this work waits for no limit of GitHub's: a call that would is refused as one over the limit.
pub(crate) fn wait_no_more() {
    // Outside of any work nothing is held.
    let _ = WORK.try_with(|work| work.hurries.store(true, Ordering::Relaxed));
}

pub(super) fn hurries() -> bool {
    WORK.try_with(|work| work.hurries.load(Ordering::Relaxed)).unwrap_or(false)
}

/// Waits without holding a place.
pub(crate) async fn aside<W: Future>(waiting: W) -> W::Output {
    let Ok(place) = WORK.try_with(|work| work.place.clone()) else { return waiting.await };
    let away = place.leave();
    let done = waiting.await;
    drop(away);
    place.come_back().await;
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_one_lane_whatever_asks() {
        let name: RepoName = "Octo-Org/App".parse().unwrap();
        let lane = Lane::of(&name);
        assert_eq!(Lane::of_path("/repos/octo-org/app/check-runs/7?x=/repos/a/b"), lane);
        assert_eq!(Lane::of_path("/repos/octo-org/app"), lane);
        let query = |owner: &str, repo: &str| serde_json::json!({"owner": owner, "repo": repo, "number": 1});
        assert_eq!(Lane::of_query(&query("octo-org", "app")), lane);
        assert_ne!(Lane::of_query(&query("octo-org", "other")), lane);
        for none in ["/orgs/octo-org/members", "/repos/octo-org", "/app"] {
            assert_eq!(Lane::of_path(none), Lane::default(), "{none}");
        }
        assert_eq!(Lane::of_query(&serde_json::json!({"org": "octo-org"})), Lane::default());
    }

    #[tokio::test]
    async fn what_is_asked_for_a_repository_is_asked_in_its_name() {
        let (places, name) = (Arc::new(Semaphore::new(1)), "octo-org/app".parse::<RepoName>().unwrap());
        let of_team = || Lane::of_path("/orgs/octo-org/teams/pay/repos/octo-org/app");
        let lanes = in_place(&places, Some(&name), async { (of_team(), Lane::of_query(&"".into())) }).await;
        assert_eq!(lanes, (Lane::of(&name), Lane::of(&name)));
        assert_eq!(of_team(), Lane::default());
    }

    #[tokio::test]
    async fn who_waits_holds_no_place_and_comes_back_to_one() {
        let places = Arc::new(Semaphore::new(1));
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let (there, arrived) = tokio::sync::oneshot::channel::<()>();
        let of_first = places.clone();
        let first = tokio::spawn(async move {
            let work = async {
                there.send(()).unwrap();
                aside(wait).await.unwrap();
                of_first.available_permits()
            };
            in_place(&of_first, None, work).await
        });
        arrived.await.unwrap();
        // The only place is free while the first waits; and the first goes on only when there is one.
        let second = in_place(&places, None, async { go.send(()).unwrap() });
        tokio::time::timeout(std::time::Duration::from_secs(10), second).await.expect("a place");
        assert_eq!(first.await.unwrap(), 0, "it has a place again");
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test]
    async fn two_calls_of_one_work_wait_together() {
        let places = Arc::new(Semaphore::new(1));
        let work = async {
            tokio::join!(aside(tokio::task::yield_now()), aside(tokio::task::yield_now()));
            places.available_permits()
        };
        assert_eq!(in_place(&places, None, work).await, 0);
        assert_eq!(places.available_permits(), 1);
    }
}
