//! Whose turn it is to run a query: fair between owners, whatever number of queries each of them starts.
//!
//! Of four turns and more, one owner leaves one to others, and there are as many again for owners who have none running: so long
//! queries of a few owners, or of one who is known by several names, do not keep another one waiting. Of those that wait, the
//! owner with the fewest running queries is next; of one owner's, the one that has waited longest.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// Queries that may wait; further ones are refused at once.
const MAX_WAITING: usize = 64;

/// With fewer turns, each is worth more than fairness.
const FEW: usize = 4;

/// Turns in all, where `most` are for everybody, and the others for owners who have none.
pub(crate) fn with_firsts(most: NonZeroUsize) -> usize {
    if most.get() < FEW { most.get() } else { 2 * most.get() }
}

/// The turns of all queries that may run at a time.
pub(crate) struct Turns {
    most: Most,
    state: Mutex<State>,
}

/// How many queries may run at a time.
#[derive(Clone, Copy)]
struct Most {
    /// Of all owners.
    all: usize,
    /// Of one of them.
    of_one: usize,
    /// Of all, where the last one is the only one of its owner.
    with_firsts: usize,
}

#[derive(Default)]
struct State {
    running: BTreeMap<String, usize>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    owner: String,
    turn: oneshot::Sender<Turn>,
}

/// A turn; dropping it makes it the next one's.
pub(crate) struct Turn {
    owner: String,
    turns: Arc<Turns>,
}

impl Turns {
    /// `most` at a time, and of owners who have none running as many again.
    pub(crate) fn new(most: NonZeroUsize) -> Arc<Self> {
        let all = most.get();
        let of_one = if all < FEW { all } else { all - 1 };
        Arc::new(Self { most: Most { all, of_one, with_firsts: with_firsts(most) }, state: Mutex::default() })
    }

    /// A turn of `owner`; `None` when that takes longer than `patience`, or too many wait already.
    pub(crate) async fn take(self: &Arc<Self>, owner: &str, patience: Duration) -> Option<Turn> {
        let turn = {
            let mut state = self.lock();
            state.waiting.retain(|waiting| !waiting.turn.is_closed());
            // Whoever waits may not run, or would have a turn by now.
            if state.may_run(owner, self.most) {
                return Some(self.begin(&mut state, owner.to_owned()));
            }
            if state.waiting.len() >= MAX_WAITING {
                state.make_room(owner)?;
            }
            let (turn, given) = oneshot::channel();
            state.waiting.push_back(Waiting { owner: owner.to_owned(), turn });
            self.give(&mut state);
            given
        };
        tokio::time::timeout(patience, turn).await.ok()?.ok()
    }

    /// Whether somebody waits who could have a turn of `owner`.
    pub(crate) fn others_wait(&self, owner: &str) -> bool {
        let state = self.lock();
        let could_run = |waiting: &Waiting| waiting.owner == owner || state.of(&waiting.owner) < self.most.of_one;
        state.waiting.iter().any(|waiting| !waiting.turn.is_closed() && could_run(waiting))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, state: &mut State, owner: String) -> Turn {
        *state.running.entry(owner.clone()).or_default() += 1;
        Turn { owner, turns: Arc::clone(self) }
    }

    /// Gives turns to those that wait, as far as there are any.
    fn give(self: &Arc<Self>, state: &mut State) {
        while let Some(place) = state.next(self.most) {
            let Some(Waiting { owner, turn }) = state.waiting.remove(place) else { return };
            // Whoever left meanwhile gives it back; not here, where the state is locked.
            if let Err(mut unused) = turn.send(self.begin(state, owner)) {
                state.end(&unused.owner);
                unused.owner.clear();
            }
        }
    }
}

impl State {
    fn of(&self, owner: &str) -> usize {
        self.running.get(owner).copied().unwrap_or_default()
    }

    fn may_run(&self, owner: &str, most: Most) -> bool {
        let (running, own) = (self.running.values().sum::<usize>(), self.of(owner));
        (running < most.all && own < most.of_one) || (running < most.with_firsts && own == 0)
    }

    /// The place of the one whose turn is next.
    fn next(&self, most: Most) -> Option<usize> {
        let may_run = |(_, waiting): &(usize, &Waiting)| self.may_run(&waiting.owner, most);
        let places = self.waiting.iter().enumerate().filter(may_run);
        places.min_by_key(|(place, waiting)| (self.of(&waiting.owner), *place)).map(|(place, _)| place)
    }

    /// Refuses the last one of the owner who has the most waiting, for one of `owner`; `None` when that is `owner`.
    fn make_room(&mut self, owner: &str) -> Option<()> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        self.waiting.iter().for_each(|waiting| *counts.entry(&waiting.owner).or_default() += 1);
        let own = counts.get(owner).copied().unwrap_or_default();
        let (greedy, _) = counts.into_iter().filter(|(_, count)| *count > own + 1).max_by_key(|(_, count)| *count)?;
        let last = self.waiting.iter().rposition(|waiting| waiting.owner == greedy)?;
        self.waiting.remove(last).map(drop)
    }

    fn end(&mut self, owner: &str) {
        if let Some(running) = self.running.get_mut(owner) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(owner);
            }
        }
    }
}

impl Turn {
    /// Whether somebody waits who could have it, to be asked from anywhere.
    pub(crate) fn is_wanted(&self) -> impl Fn() -> bool + Send + 'static {
        let (turns, owner) = (Arc::clone(&self.turns), self.owner.clone());
        move || turns.others_wait(&owner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.owner.is_empty() {
            return;
        }
        let turns = Arc::clone(&self.turns);
        let mut state = turns.lock();
        state.end(&self.owner);
        turns.give(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(240);

    fn turns(most: usize) -> Arc<Turns> {
        Turns::new(NonZeroUsize::new(most).unwrap())
    }

    #[tokio::test]
    async fn an_owner_does_not_keep_another_waiting() {
        let turns = turns(4);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(turns.take("a", LONG).await.unwrap());
        }
        assert!(turns.take("a", Duration::ZERO).await.is_none(), "one turn is left for others");
        let waiting = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take("a", LONG).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(turns.others_wait("a") && !turns.others_wait("b"), "a turn of b is of no use to a");
        waiting.abort();
        held.push(turns.take("b", Duration::ZERO).await.unwrap());
        assert!(turns.take("b", Duration::ZERO).await.is_none(), "all turns are taken");
        for other in ["c", "d", "e", "f"] {
            held.push(turns.take(other, Duration::ZERO).await.unwrap());
        }
        assert!(turns.take("g", Duration::ZERO).await.is_none(), "also those for owners who have none");
    }

    #[tokio::test]
    async fn the_owner_with_the_fewest_is_next() {
        let turns = turns(2);
        let first = turns.take("a", LONG).await.unwrap();
        let second = turns.take("a", LONG).await.unwrap();
        let wait = |owner: &'static str| {
            let turns = Arc::clone(&turns);
            let task = tokio::spawn(async move { turns.take(owner, LONG).await.map(|turn| turn.owner.clone()) });
            async move { task.await.unwrap() }
        };
        let (a, b) = (wait("a"), wait("b"));
        tokio::task::yield_now().await;
        assert!(turns.others_wait("a") && turns.others_wait("b") && first.is_wanted()());
        drop(first);
        assert_eq!(b.await.as_deref(), Some("b"));
        drop(second);
        assert_eq!(a.await.as_deref(), Some("a"));
        assert!(turns.lock().running.is_empty() && !turns.others_wait("a"));
    }

    #[tokio::test]
    async fn a_full_queue_has_room_for_whoever_has_fewer_in_it() {
        let turns = turns(1);
        let running = turns.take("a", LONG).await.unwrap();
        let waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move { turns.take("a", LONG).await.is_some() })
            })
            .collect();
        while turns.lock().waiting.len() < MAX_WAITING {
            tokio::task::yield_now().await;
        }
        assert!(turns.take("a", LONG).await.is_none(), "refused at once");
        let other = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take("b", LONG).await.is_some() }
        });
        while !turns.lock().waiting.iter().any(|waiting| waiting.owner == "b") {
            tokio::task::yield_now().await;
        }
        drop(running);
        let mut answered = 0;
        for task in waiting {
            answered += usize::from(task.await.unwrap());
        }
        assert_eq!((answered, other.await.unwrap()), (MAX_WAITING - 1, true));
    }
}
