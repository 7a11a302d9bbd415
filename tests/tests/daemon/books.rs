//! Audits what several hosts did: the database's rows, a journal of all their changes, and what the receivers got.
//!
//! The journal is a trigger's, in the test's database: it tells who held a delivery when it was settled, and whether a
//! lease was taken that was still live. So a write that a stale worker got through is found even where its outcome
//! looks right.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::{BTreeSet, HashMap};

use postrider_test_postgres::Cluster;
use postrider_tests::receiver::Receiver;

use crate::fleet::DESTINATIONS;

const DATABASE: &str = "postgres";
const JOURNAL: &str = "
    create table journal (
      delivery bigint, token_before bigint, token_after bigint, owner_before uuid, owner_after uuid,
      state_before smallint, state_after smallint, due_before timestamptz, at timestamptz default now());
    create function journal() returns trigger language plpgsql as $$ begin
      insert into journal values (new.id, old.token, new.token, old.owner, new.owner, old.state, new.state, old.due);
      return null;
    end $$;
    create trigger journal after update on deliveries for each row execute function journal();";

/// What must never be, and a query for where it is.
const FLAWS: [(&str, &str); 8] = [
    ("a delivery was not delivered", "select id, state, reason from deliveries where state <> 1"),
    (
        "a notification has not one delivery for each destination",
        "select n.seq from notifications n left join deliveries d on d.notification = n.seq
         group by n.seq having count(d.id) <> 2",
    ),
    (
        "a delivery's attempts are not lost ones and then a delivered one",
        "select d.id, d.attempt, string_agg(a.number || ' ' || a.outcome, ', ' order by a.number)
         from deliveries d left join attempts a on a.delivery = d.id group by d.id
         having count(a.number) <> d.attempt or max(a.number) is distinct from d.attempt
         or count(*) filter (where a.outcome = 'delivered') <> 1
         or count(*) filter (where a.outcome = 'lost') <> d.attempt - 1
         or max(a.number) filter (where a.outcome = 'delivered') <> d.attempt",
    ),
    (
        "a stale write was accepted: a delivery was settled by another host than its holder",
        "select j.delivery, j.owner_before, a.host from journal j
         join attempts a on a.delivery = j.delivery and a.outcome = 'delivered'
         where j.state_before = 0 and j.state_after = 1 and j.owner_before is distinct from a.host",
    ),
    (
        "a settlement changed the token",
        "select * from journal where state_after <> 0 and token_after <> token_before",
    ),
    (
        "a live lease was taken, or a lease changed hands without a new token",
        "select * from journal where (token_after > token_before and owner_before is not null and due_before > at)
         or (owner_after is not null and owner_after is distinct from owner_before
             and token_after <> token_before + 1)",
    ),
    ("a token went back", "select * from journal where token_after < token_before"),
    ("a delivery changed after its end", "select * from journal where state_before <> 0"),
];

/// One try, as the attempts and the receivers both know it: destination, notification, number.
type Try = (String, String, String);

/// What an audit counted.
#[derive(Debug)]
pub(crate) struct Reckoning {
    /// Attempts that ended without a settlement.
    pub(crate) lost: usize,
    /// Requests that receivers got beyond the first of each notification.
    pub(crate) doubled: usize,
}

/// Begins the journal. Before anything is delivered.
pub(crate) fn open(cluster: &Cluster) {
    cluster.psql(DATABASE, JOURNAL).unwrap();
}

/// Checks that nothing was lost, that no stale write was accepted, and that what came twice were attempts of hosts
/// that were `disturbed`, which they did not live to settle.
pub(crate) fn audit(
    cluster: &Cluster,
    receivers: &[Receiver; 2],
    notifications: usize,
    disturbed: &BTreeSet<String>,
) -> Reckoning {
    let count = cluster.psql(DATABASE, "select count(*) from notifications").unwrap();
    assert_eq!(count, notifications.to_string(), "of the notifications");
    for (flaw, query) in FLAWS {
        let found = cluster.psql(DATABASE, &format!("{query} limit 5")).unwrap();
        assert_eq!(found, "", "{flaw}");
    }
    let attempts = attempts(cluster);
    let requests = requests(receivers);
    for (tried, times) in &requests {
        assert!(attempts.contains_key(tried), "{tried:?} came and is no attempt");
        assert_eq!(*times, 1, "{tried:?} came so often");
    }
    let lost = attempts.iter().filter(|(_, (outcome, _))| outcome == "lost");
    for (tried, (_, host)) in lost.clone() {
        assert!(disturbed.contains(host), "{tried:?} was lost by {host}, which nobody touched");
    }
    for (tried, _) in attempts.iter().filter(|(_, (outcome, _))| outcome == "delivered") {
        assert!(requests.contains_key(tried), "{tried:?} is delivered and never came");
    }
    let doubled = requests.len() - notifications * DESTINATIONS.len();
    let lost = lost.count();
    assert!(doubled <= lost, "{doubled} came again, and {lost} attempts were lost");
    Reckoning { lost, doubled }
}

/// The outcome and the host of each attempt.
fn attempts(cluster: &Cluster) -> HashMap<Try, (String, String)> {
    let query = "select d.destination, n.id, a.number, a.outcome, a.host from attempts a
         join deliveries d on d.id = a.delivery join notifications n on n.seq = d.notification";
    let rows = cluster.psql(DATABASE, query).unwrap();
    let parse = |line: &str| {
        let mut fields = line.split('|').map(str::to_owned);
        let tried = (fields.next()?, fields.next()?, fields.next()?);
        Some((tried, (fields.next()?, fields.next()?)))
    };
    rows.lines().map(|line| parse(line).unwrap()).collect()
}

/// How often each try came.
fn requests(receivers: &[Receiver; 2]) -> HashMap<Try, usize> {
    let mut requests = HashMap::new();
    for (name, receiver) in DESTINATIONS.into_iter().zip(receivers) {
        for request in receiver.received() {
            let text = request.text();
            let (id, number) = text.split_once(' ').unwrap();
            *requests.entry((name.to_owned(), id.to_owned(), number.to_owned())).or_default() += 1;
        }
    }
    requests
}
