//! Names: a file that was renamed is there for every later process, and gone after a power cut until its
//! folder is synced.

use crate::{
    common::{Random, long},
    shim,
};

use super::{
    SMALL, after_promises,
    lab::{
        Cut, Player, Task,
        disk::{Folders, Pages},
        trace::Step,
    },
    rounds,
};

/// Every file that gets its name by a rename: what is done, the name, and how often at least.
const NAMED: &[(Task, &str, u64)] = &[
    (Task { count: 3, segment: 3_000, ahead: 1_000, ..SMALL }, ".seg", 3),
    (SMALL, "=data/secret", 1),
    (Task { count: 2, close: true, ..SMALL }, "=data/journal/stopped", 1),
    (Task { count: 3, publish: true, ..SMALL }, "=data/signed", 3),
    // Made, then a second one beside it, then that one alone.
    (Task { count: 4, publish: true, rotate_after: Some(1), ..SMALL }, "=log.key", 3),
    (Task { count: 8, erase: true, ..SMALL }, "=data/erased", 2),
    // Segments that are replaced: what was compressed or erased in them is in the new file only.
    (Task { count: 8, erase: true, segment: 3_000, ahead: 1_000, ..SMALL }, ".seg", 5),
    (Task { count: 6, backup: true, ..SMALL }, "backup/journal/", 1),
    (Task { count: 6, backup: true, ..SMALL }, "=backup/backup.json", 2),
];

/// A process dies right after it gave a file its name, before the folder is synced: to every later process
/// the file is there, and yet the power takes it. What is built on it must not outlive it.
#[test]
fn a_power_cut_after_a_death_between_a_name_and_its_sync() {
    rounds("a death after a name", |random| {
        let mut survived = 0;
        for (task, part, least) in NAMED {
            let mut names = 0;
            loop {
                let mut player = Player::new();
                if !player.child(task, player.shim().die_named(part, names + 1)) {
                    break;
                }
                names += 1;
                let next = Task { first: player.acked.saturating_sub(1), count: 2, ..*task };
                player.child(&next, player.shim());
                let run = player.done(task.sizes());
                let second = run.steps.iter().rposition(|s| matches!(s, Step::Start)).unwrap();
                let last = &run.steps[second - 1];
                let whole = part.strip_prefix('=');
                let is_it = |to: &str| whole.map_or(to.contains(part), |whole| to == whole);
                assert!(matches!(last, Step::Rename(_, to) if is_it(to)), "{part}: {last:?} came last");
                let mut cuts = after_promises(&run, random);
                let mixed = if long() { 200 } else { 6 };
                cuts.extend((0..mixed).map(|_| {
                    let after = second + random.below(21.min((run.steps.len() - second + 1) as u64)) as usize;
                    Cut { after, rule: Folders::Strict, pages: Pages::Mixed(45), seed: random.next() }
                }));
                survived += run.all_survive("a death after a name", &cuts);
                if !long() && names == *least {
                    break;
                }
            }
            assert!(names >= *least, "{part} got its name {names} times, {least} were expected");
        }
        survived
    });
}

/// The same for what a death left: if the next process trusts a name that it only sees, the lab says so.
#[test]
fn a_name_that_is_never_synced_is_found_out() {
    if shim::library().is_none() {
        return;
    }
    let mut random = Random::new(1);
    for (part, folder, task) in [
        (".seg", "=data/journal", Task { count: 3, ..SMALL }),
        ("=log.key", "=", Task { count: 3, publish: true, ..SMALL }),
    ] {
        for lies in [false, true] {
            let mut player = Player::new();
            assert!(player.child(&task, player.shim().die_named(part, 1)), "{part} got no name");
            let mut shim = player.shim();
            if lies {
                shim = shim.fault(&format!("sync:{folder}:1:0:lie"));
            }
            player.child(&task, shim);
            assert_eq!(player.acked, 3);
            let run = player.done(SMALL.sizes());
            let (_, lost) = run.survivors("a name without a sync", &after_promises(&run, &mut random));
            assert_eq!(!lost.is_empty(), lies, "{part}: {lost:?}");
        }
    }
}
