use super::*;

const WHO: As = As::Installation(7);

/// Long enough that a busy machine does not matter much.
const SHORT: Duration = Duration::from_millis(400);

fn lane(number: u64) -> Lane {
    Lane::numbered(number)
}

/// With a minute that is short, and an hour that is long.
fn budget() -> Budget {
    let scale = Scale { minute: SHORT, hour: MINUTES * SHORT, ..Scale::new() };
    Budget { scale, ..Budget::new(true) }
}

async fn used(budget: &Budget, limit: Limit, cost: u32) {
    budget.turn(WHO, limit, cost, lane(1), 0).await.begin();
}

#[tokio::test]
async fn no_minute_holds_more_than_the_limit() {
    let (budget, begun) = (budget(), Instant::now());
    let mut times = Vec::new();
    for n in 0..200_u64 {
        let mut turn = budget.turn(WHO, Limit::Writes, 1, lane(n % 5), n).await;
        turn.begin();
        times.push(begun.elapsed());
        if n % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    for (i, at) in times.iter().enumerate() {
        let within = times[i..].iter().filter(|t| **t < *at + SHORT).count();
        assert!(within <= 72, "{within} from {at:?}");
    }
    assert!(times[199] >= 2 * SHORT, "{:?}", times[199]);
}

#[tokio::test]
async fn what_is_under_way_counts_until_a_minute_after_its_answer() {
    let budget = budget();
    let mut slow = budget.turn(WHO, Limit::Writes, 72, lane(1), 0).await;
    slow.begin();
    tokio::time::sleep(2 * SHORT).await;
    assert!(budget.spare(WHO, Limit::Writes, lane(1)).is_none());
    let begun = Instant::now();
    drop(slow);
    used(&budget, Limit::Writes, 1).await;
    assert!(begun.elapsed() >= SHORT);
    // What was not used after all is free at once.
    drop(budget.turn(WHO, Limit::GraphQlPoints, 1_800, lane(1), 0).await);
    assert_eq!(budget.turn(WHO, Limit::GraphQlPoints, 1_800, lane(1), 0).await.cost, 1_800);
    assert!(begun.elapsed() < 2 * SHORT);
}

#[tokio::test]
async fn repositories_take_turns_and_the_newest_comes_first() {
    let budget = Arc::new(budget());
    used(&budget, Limit::GraphQlPoints, 1_800).await;
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut all = Vec::new();
    // One repository floods, two want little.
    for (repository, newest) in [(1, 10), (1, 13), (1, 11), (1, 12), (2, 3), (3, 1), (3, 2)] {
        let (budget, served) = (budget.clone(), served.clone());
        all.push(tokio::spawn(async move {
            let mut turn = budget.turn(WHO, Limit::GraphQlPoints, 1_800, lane(repository), newest).await;
            turn.begin();
            lock(&served).push((repository, newest));
        }));
        tokio::task::yield_now().await;
    }
    for one in all {
        one.await.unwrap();
    }
    // Repository 1 was served last, so the others come before it.
    let wanted = [(2, 3), (3, 2), (1, 13), (3, 1), (1, 12), (1, 11), (1, 10)];
    assert_eq!(*lock(&served), wanted);
}

#[tokio::test]
async fn who_gives_up_waiting_costs_nothing() {
    let budget = budget();
    used(&budget, Limit::Writes, 72).await;
    for _ in 0..50 {
        let gone = tokio::time::timeout(Duration::from_millis(1), used(&budget, Limit::Writes, 72)).await;
        assert!(gone.is_err());
    }
    let begun = Instant::now();
    used(&budget, Limit::Writes, 72).await;
    assert!(begun.elapsed() < 2 * SHORT);
    let usage: Vec<_> = budget.usage().iter().map(|u| (u.limit, u.window, u.used, u.waiting)).collect();
    assert_eq!(usage, [("writes", Window::Minute, 72, 0), ("writes", Window::Hour, 144, 0)]);
}

#[tokio::test]
async fn a_spare_turn_takes_nothing_from_those_who_need_one() {
    let budget = Budget::new(true);
    assert!(budget.spare(WHO, Limit::Writes, lane(1)).is_some());
    used(&budget, Limit::Writes, 36).await;
    assert!(budget.spare(WHO, Limit::Writes, lane(1)).is_none());
    assert!(budget.spare(As::Installation(8), Limit::Writes, lane(1)).is_some(), "each has its own");
    let off = Budget::new(false);
    for _ in 0..1_000 {
        used(&off, Limit::Writes, 72).await;
    }
    assert!(off.usage().is_empty());
}

#[tokio::test]
async fn what_the_process_before_wrote_still_counts() {
    let budget = budget();
    (0..72).for_each(|_| budget.used_before(WHO, Limit::Writes, 1, SHORT / 2));
    let begun = Instant::now();
    used(&budget, Limit::Writes, 1).await;
    assert!(begun.elapsed() >= SHORT / 2 - Duration::from_millis(1) && begun.elapsed() < SHORT);
}

#[tokio::test]
async fn no_hour_holds_more_than_its_limit_though_each_minute_does() {
    // GitHub's hour, in a second and a half: six full minutes fill it, and a seventh waits for its end.
    let (minute, hour) = (Duration::from_millis(30), Duration::from_millis(1_500));
    let budget = Budget { scale: Scale { minute, hour, ..Scale::new() }, ..Budget::new(true) };
    let begun = Instant::now();
    let mut times = Vec::new();
    for n in 0..451_u64 {
        let mut turn = budget.turn(WHO, Limit::Writes, 1, lane(n % 5), n).await;
        turn.begin();
        times.push(begun.elapsed());
    }
    for (i, at) in times.iter().enumerate() {
        let within = |span: Duration| times[i..].iter().filter(|t| **t < *at + span).count();
        assert!(within(minute) <= 72 && within(hour) <= 450, "from {at:?}: {times:?}");
    }
    assert!(times[450] >= hour, "{:?}", times[450]);
}

#[tokio::test]
async fn what_may_as_well_not_happen_leaves_half_of_the_hour_to_the_rest() {
    let scale = Scale { minute: Duration::from_millis(1), hour: Duration::from_secs(60), ..Scale::new() };
    let budget = Budget { scale, ..Budget::new(true) };
    (0..224).for_each(|_| budget.used_before(WHO, Limit::Writes, 1, SHORT));
    assert!(budget.spare(WHO, Limit::Writes, lane(1)).is_some());
    budget.used_before(WHO, Limit::Writes, 1, SHORT);
    assert!(budget.spare(WHO, Limit::Writes, lane(1)).is_none());
}

#[tokio::test]
async fn an_hour_of_the_process_before_still_counts() {
    let scale = Scale { minute: Duration::from_millis(1), hour: 2 * SHORT, ..Scale::new() };
    let budget = Budget { scale, ..Budget::new(true) };
    (0..450).for_each(|_| budget.used_before(WHO, Limit::Writes, 1, SHORT));
    let begun = Instant::now();
    used(&budget, Limit::Writes, 1).await;
    assert!(begun.elapsed() >= SHORT - Duration::from_millis(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn calls_under_way_are_limited_for_each_installation_whatever_they_ask() {
    let off = Budget::new(false);
    for budget in [budget(), off] {
        let mut under_way = Vec::new();
        for n in 0..90 {
            under_way.push(budget.turn(WHO, Limit::Calls, 1, lane(n % 3), 0).await);
        }
        let one_more = budget.turn(WHO, Limit::Calls, 1, lane(1), 0);
        assert!(tokio::time::timeout(SHORT / 8, one_more).await.is_err(), "it waits, and for no minute");
        let other = budget.turn(As::Installation(8), Limit::Calls, 1, lane(1), 0);
        tokio::time::timeout(10 * SHORT, other).await.expect("another installation has its own");
        let usage: Vec<_> = budget.usage();
        let own = usage.iter().find(|u| u.installation == Some(7)).unwrap();
        assert_eq!((own.limit, own.window, own.used, own.waiting), ("calls", Window::AtOnce, 90, 0));
        under_way.pop();
        let next = budget.turn(WHO, Limit::Calls, 1, lane(1), 0);
        tokio::time::timeout(10 * SHORT, next).await.expect("as soon as one has ended");
    }
}

#[tokio::test]
async fn one_repository_never_begins_all_judgements() {
    let budget = budget();
    let mut begun = Vec::new();
    for _ in 0..64 {
        begun.push(budget.turn(WHO, Limit::Judgements, 1, lane(1), 0).await);
    }
    let one_more = budget.turn(WHO, Limit::Judgements, 1, lane(1), 0);
    assert!(tokio::time::timeout(SHORT / 8, one_more).await.is_err());
    let other = budget.turn(WHO, Limit::Judgements, 1, lane(2), 0);
    tokio::time::timeout(10 * SHORT, other).await.expect("another repository begins at once");
    // Those that wait come as soon as one of their own ends.
    let waits = budget.turn(WHO, Limit::Judgements, 1, lane(1), 0);
    let (_, turn) = tokio::join!(async { drop(begun.pop()) }, tokio::time::timeout(10 * SHORT, waits));
    assert!(turn.is_ok());
}

#[tokio::test]
async fn what_is_urgent_comes_first_and_finds_room_where_the_others_have_none() {
    let scale = Scale { minute: SHORT, hour: MINUTES * MINUTE, writes_in_hour: 80, ..Scale::new() };
    let budget = Arc::new(Budget { scale, ..Budget::new(true) });
    used(&budget, Limit::Writes, 72).await;
    // The minute is full: 4 more may take a green away, and nothing else may.
    for _ in 0..4 {
        let urgent = budget.urgent_turn(WHO, Limit::Writes, lane(2), 0);
        tokio::time::timeout(SHORT / 8, urgent).await.expect("room that is kept").begin();
    }
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut all = Vec::new();
    for (repository, newest, urgent) in [(1, 20, false), (3, 30, false), (2, 1, true), (2, 2, true)] {
        let (budget, served) = (budget.clone(), served.clone());
        all.push(tokio::spawn(async move {
            let mut turn = match urgent {
                true => budget.urgent_turn(WHO, Limit::Writes, lane(repository), newest).await,
                false => budget.turn(WHO, Limit::Writes, 1, lane(repository), newest).await,
            };
            lock(&served).push((repository, newest));
            turn.begin();
        }));
        tokio::task::yield_now().await;
    }
    let last = all.split_off(2);
    for one in last {
        one.await.unwrap();
    }
    // Repository 2 was served last, and its newest is older; 78 of the hour's 80 are used.
    assert_eq!(lock(&served)[..2], [(2, 2), (2, 1)]);
    for one in all {
        one.await.unwrap();
    }
    // The hour is full too, for the next hour; of its 5 for what is urgent none is used.
    for _ in 0..5 {
        let urgent = budget.urgent_turn(WHO, Limit::Writes, lane(2), 0);
        tokio::time::timeout(4 * SHORT, urgent).await.expect("room that is kept").begin();
    }
    let more = budget.turn(WHO, Limit::Writes, 1, lane(3), 0);
    assert!(tokio::time::timeout(2 * SHORT, more).await.is_err());
    let urgent = budget.urgent_turn(WHO, Limit::Writes, lane(2), 0);
    assert!(tokio::time::timeout(2 * SHORT, urgent).await.is_err(), "85 are all");
}
