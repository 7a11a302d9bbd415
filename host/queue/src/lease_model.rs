//! An exhaustive model of the lease protocol: two hosts, one delivery, one receiver.
//!
//! Time is a small number that the database holds; each host has a clock with a skew. A host may stand still at any
//! point for any time, crash, shut down, or lose an answer and ask again. Every reachable state is visited.
//!
//! Safety: a write is taken only from the holder of the newest claim, and once; delivered means that the send of the
//! attempt that said so succeeded. Liveness: from every reachable state one healthy host brings the delivery to its
//! end.
//!
//! The variants that postrider does not use are here to show that the model finds what is wrong with them.

use std::collections::{HashMap, VecDeque};

/// A lease's length.
const LEASE: i8 = 2;
/// Where time ends: late enough for every lease below to expire.
const END: i8 = 6;
const MAX_ATTEMPTS: u8 = 3;
/// Bounds the states.
const MAX_CLAIMS: u8 = 4;
const MAX_CRASHES: u8 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Row {
    Live,
    Delivered,
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Host {
    Idle,
    Sending {
        token: u8,
    },
    Succeeded {
        token: u8,
    },
    Failed {
        token: u8,
    },
    /// Settled as failed and lost the answer.
    Unsure {
        token: u8,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    now: i8,
    row: Row,
    due: i8,
    token: u8,
    owner: Option<usize>,
    attempts: u8,
    hosts: [Host; 2],
    crashes: u8,
    /// Bit set of the tokens whose send succeeded, and of those that were settled.
    succeeded: u8,
    settled: u8,
    wrong: Option<&'static str>,
}

/// What a write compares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fence {
    /// Token, liveness, and that the lease was not settled: the design.
    Token,
    /// The token alone: a settlement does not end the lease.
    TokenOnly,
    /// The owner's id, as queues do that have no token.
    Owner,
    Nothing,
}

#[derive(Clone, Copy)]
struct Rules {
    fence: Fence,
    release_fenced: bool,
    expires: bool,
    /// Both hosts go by one id: an id used again after a restart, or two tasks of a host.
    same_owner: bool,
    /// Whether a host that lost an answer asks again.
    asks_again: bool,
    /// How far each host's clock is off; none where the database's clock decides.
    skew: Option<[i8; 2]>,
}

const DESIGN: Rules = Rules {
    fence: Fence::Token,
    release_fenced: true,
    expires: true,
    same_owner: false,
    asks_again: true,
    skew: None,
};

const START: State = State {
    now: 0,
    row: Row::Live,
    due: 0,
    token: 0,
    owner: None,
    attempts: 0,
    hosts: [Host::Idle; 2],
    crashes: 0,
    succeeded: 0,
    settled: 0,
    wrong: None,
};

impl Rules {
    fn owner(self, host: usize) -> usize {
        if self.same_owner { 0 } else { host }
    }

    fn claim(self, state: &State, host: usize) -> Option<State> {
        let now = state.now + self.skew.map_or(0, |skew| skew[host]);
        let free = state.due <= now && (self.expires || state.owner.is_none());
        let may = state.row == Row::Live && state.hosts[host] == Host::Idle;
        if !may || !free || state.token >= MAX_CLAIMS {
            return None;
        }
        let mut next = *state;
        next.token += 1;
        next.attempts += 1;
        next.owner = Some(self.owner(host));
        next.due = (now + LEASE).max(0);
        next.hosts[host] = Host::Sending { token: next.token };
        Some(next)
    }

    fn takes(self, state: &State, host: usize, token: u8) -> bool {
        state.row == Row::Live
            && match self.fence {
                Fence::Token => state.token == token && state.owner.is_some(),
                Fence::TokenOnly => state.token == token,
                Fence::Owner => state.owner == Some(self.owner(host)),
                Fence::Nothing => true,
            }
    }

    /// Everything that can happen next.
    fn steps(self, state: &State) -> Vec<(String, State)> {
        let mut steps = Vec::new();
        if state.wrong.is_some() {
            return steps;
        }
        if state.now < END {
            steps.push(("tick".to_owned(), State { now: state.now + 1, ..*state }));
        }
        for host in 0..2 {
            let mut step = |what: &str, next| steps.push((format!("host {host} {what}"), next));
            if let Some(next) = self.claim(state, host) {
                step("claims", next);
            }
            match state.hosts[host] {
                Host::Idle => {}
                Host::Sending { token } => {
                    step("sends", succeed(state, host, token));
                    step("fails", state.with(host, Host::Failed { token }));
                    if state.due < state.now + LEASE && self.takes(state, host, token) {
                        let next = State { due: state.now + LEASE, ..*state };
                        step("extends", next.check(state, token));
                    }
                    step("shuts down", self.release(state, host, token));
                }
                Host::Succeeded { token } => step("settles", self.deliver(state, host, token)),
                Host::Failed { token } => {
                    step("settles", self.fail(state, host, token, Host::Idle));
                    if self.asks_again {
                        let unsure = Host::Unsure { token };
                        step("settles, loses the answer", self.fail(state, host, token, unsure));
                    }
                }
                Host::Unsure { token } => {
                    step("settles again", self.fail(state, host, token, Host::Idle));
                }
            }
            if state.crashes < MAX_CRASHES && state.hosts[host] != Host::Idle {
                let next = state.with(host, Host::Idle);
                step("crashes", State { crashes: state.crashes + 1, ..next });
            }
        }
        steps
    }

    fn release(self, state: &State, host: usize, token: u8) -> State {
        let next = state.with(host, Host::Idle);
        let taken = match self.release_fenced {
            true => self.takes(state, host, token),
            false => state.row == Row::Live,
        };
        if !taken {
            return next;
        }
        let attempts = state.attempts.saturating_sub(1);
        State { due: state.now, owner: None, attempts, ..next }.settle(state, token)
    }

    fn deliver(self, state: &State, host: usize, token: u8) -> State {
        let next = state.with(host, Host::Idle);
        match self.takes(state, host, token) {
            true => State { row: Row::Delivered, owner: None, ..next }.settle(state, token),
            false => next,
        }
    }

    fn fail(self, state: &State, host: usize, token: u8, then: Host) -> State {
        let next = state.with(host, then);
        if !self.takes(state, host, token) {
            return next;
        }
        let row = if state.attempts >= MAX_ATTEMPTS { Row::Dead } else { Row::Live };
        State { row, due: state.now + 1, owner: None, ..next }.settle(state, token)
    }

    /// Whether host 0, alone with a perfect receiver, brings the delivery to its end.
    fn can_end(self, state: &State) -> bool {
        let mut state = State { hosts: [Host::Idle; 2], ..*state };
        for _ in 0..40 {
            if state.row != Row::Live {
                return true;
            }
            state = match state.hosts[0] {
                Host::Sending { token } => succeed(&state, 0, token),
                Host::Succeeded { token } => self.deliver(&state, 0, token),
                Host::Idle | Host::Failed { .. } | Host::Unsure { .. } => {
                    // The bound on claims is the search's, not the protocol's.
                    let unbound = State { token: state.token.min(MAX_CLAIMS - 1), ..state };
                    let later = State { now: state.now + 1, ..state };
                    self.claim(&unbound, 0).unwrap_or(later)
                }
            };
        }
        false
    }

    /// Visits every reachable state. Answers how many there are, or the way to one that is wrong.
    fn explore(self) -> Result<usize, String> {
        let mut came_from = HashMap::from([(START, None)]);
        let mut queue = VecDeque::from([START]);
        while let Some(state) = queue.pop_front() {
            let stuck = state.row == Row::Live && !self.can_end(&state);
            if let Some(wrong) = state.wrong.or(stuck.then_some("the delivery is stuck")) {
                return Err(format!("{wrong}: {}", way_to(state, &came_from)));
            }
            for (step, next) in self.steps(&state) {
                came_from.entry(next).or_insert_with(|| {
                    queue.push_back(next);
                    Some((state, step))
                });
            }
        }
        Ok(came_from.len())
    }
}

impl State {
    fn with(&self, host: usize, then: Host) -> Self {
        let mut next = *self;
        next.hosts[host] = then;
        next
    }

    /// After a write by the holder of `token` was taken.
    fn check(self, before: &Self, token: u8) -> Self {
        let wrong = if before.token != token {
            Some("a write of a stale holder was taken")
        } else if self.row == Row::Delivered && self.succeeded & (1 << token) == 0 {
            Some("delivered without a send")
        } else {
            None
        };
        Self { wrong, ..self }
    }

    fn settle(self, before: &Self, token: u8) -> Self {
        let next = Self { settled: self.settled | 1 << token, ..self }.check(before, token);
        let twice = before.settled & (1 << token) != 0;
        let wrong = next.wrong.or(twice.then_some("a lease was settled twice"));
        Self { wrong, ..next }
    }
}

fn succeed(state: &State, host: usize, token: u8) -> State {
    let next = state.with(host, Host::Succeeded { token });
    State { succeeded: state.succeeded | 1 << token, ..next }
}

fn way_to(state: State, came_from: &HashMap<State, Option<(State, String)>>) -> String {
    let mut steps = Vec::new();
    let mut at = state;
    while let Some(Some((before, step))) = came_from.get(&at) {
        steps.push(step.as_str());
        at = *before;
    }
    steps.reverse();
    steps.join(", ")
}

fn finds(rules: Rules, wrong: &str) {
    let found = rules.explore().unwrap_err();
    assert!(found.starts_with(wrong), "{found}");
}

#[test]
fn the_design_holds() {
    let states = DESIGN.explore().unwrap();
    assert!(states > 10_000, "the model lost its states: {states}");
}

#[test]
fn the_design_holds_where_hosts_share_an_id() {
    Rules { same_owner: true, ..DESIGN }.explore().unwrap();
}

#[test]
fn the_design_holds_with_skewed_clocks() {
    Rules { skew: Some([0, 3]), ..DESIGN }.explore().unwrap();
}

#[test]
fn without_a_fence_a_stale_write_is_taken() {
    finds(
        Rules { fence: Fence::Nothing, asks_again: false, ..DESIGN },
        "a write of a stale holder",
    );
}

#[test]
fn an_owner_is_no_fence_where_hosts_share_an_id() {
    let rules = Rules { fence: Fence::Owner, same_owner: true, ..DESIGN };
    finds(rules, "a write of a stale holder");
}

#[test]
fn an_unfenced_release_at_shutdown_is_found() {
    finds(Rules { release_fenced: false, ..DESIGN }, "a write of a stale holder");
}

#[test]
fn a_settlement_that_does_not_end_the_lease_is_found() {
    finds(Rules { fence: Fence::TokenOnly, ..DESIGN }, "a lease was settled twice");
}

#[test]
fn a_lease_that_does_not_expire_is_stuck() {
    finds(Rules { expires: false, ..DESIGN }, "the delivery is stuck");
}
