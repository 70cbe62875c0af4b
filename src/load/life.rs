//! Connections that come, stay, go and come back.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hdrhistogram::Histogram;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    Failure, Plan,
    connection::{Connection, Exit, Opener},
    member::{Member, Order, Reader},
    now,
    plan::in_share,
    profile::{Message, Place},
    tally::{Tally, histogram},
    way::{CONNECTIONS_A_SOURCE, Road},
    websocket,
};

/// How often a connection says that it lives, where the profile has words for it; below the ping intervals of servers, so that they never have to ask.
pub(super) const KEEP_ALIVE_S: usize = 15;

/// Between two attempts to find another server: at first, and at most. Each time it is half of that at least, by chance, so that those who
/// lost theirs at the same moment do not all come back at the same moment.
const PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// How long somebody who has lost its server looks for another.
const SEARCH: Duration = Duration::from_secs(60);

/// All connections of a run.
#[derive(Debug)]
pub(super) struct Crowd {
    opener: Opener,
    keep_alive: Option<Message>,
    permits: Semaphore,
    /// How many are on their way back.
    away: Cell<usize>,
    /// Those that were made, in the order in which they were.
    pub members: RefCell<Vec<Rc<Member>>>,
    /// From the first packet until the group was followed, in µs.
    pub connect_us: RefCell<Histogram<u64>>,
    /// Why some could not be made.
    pub failures: RefCell<Vec<Failure>>,
    /// Why some ended.
    pub ended: RefCell<Vec<Failure>>,
    /// How often one came back that was told to go.
    pub reconnected: Cell<u64>,
    /// From when a connection had lost its server until its group was followed again, in µs.
    pub back_us: RefCell<Histogram<u64>>,
}

/// A connection that is to be made.
#[derive(Debug)]
struct Seat {
    /// To its own server, and to those where it goes when it has lost one.
    roads: Rc<[Road]>,
    /// Which of them it is on.
    at: Cell<usize>,
    member: Rc<Member>,
}

impl Seat {
    fn road(&self) -> &Road {
        &self.roads[self.at.get()]
    }

    /// Turns to the next server.
    fn turn(&self) {
        self.at.set((self.at.get() + 1) % self.roads.len());
    }
}

impl Crowd {
    pub(super) fn new(plan: &Plan) -> Rc<Self> {
        let (profile, groups) = (plan.profile.clone(), plan.groups.clone());
        Rc::new(Self {
            keep_alive: profile.keep_alive(),
            opener: Opener { profile, groups, resumes: plan.resumes, scratch: websocket::scratch() },
            permits: Semaphore::new(plan.handshakes),
            away: Cell::new(0),
            members: RefCell::default(),
            connect_us: RefCell::new(histogram()),
            failures: RefCell::default(),
            ended: RefCell::default(),
            reconnected: Cell::new(0),
            back_us: RefCell::new(histogram()),
        })
    }

    /// Opens all connections at the pace of the ramp; each goes on in `tasks`.
    ///
    /// # Errors
    /// A way can't be taken at all.
    pub(super) async fn open(self: &Rc<Self>, plan: &Plan, tally: &Rc<Tally>, tasks: &RefCell<JoinSet<()>>) -> Result<(), Failure> {
        let begin = now();
        let mut attempts: FuturesUnordered<_> = seats(plan, tally)?
            .into_iter()
            .enumerate()
            .map(|(at, seat)| async move {
                tokio::time::sleep_until((begin + Duration::from_secs_f64(at as f64 / plan.ramp)).into()).await;
                let opened = self.enter(&seat, None).await;
                (seat, opened)
            })
            .collect();
        while let Some((seat, opened)) = attempts.next().await {
            match opened {
                Ok(connection) => {
                    self.members.borrow_mut().push(seat.member.clone());
                    tasks.borrow_mut().spawn_local(self.clone().live(seat, connection));
                }
                Err(failure) => self.failures.borrow_mut().push(failure),
            }
        }
        Ok(())
    }

    /// How many connections are there.
    pub(super) fn present(&self) -> usize {
        self.members.borrow().len() - self.ended.borrow().len() - self.away.get()
    }

    async fn enter(&self, seat: &Seat, since: Option<&Place>) -> Result<Connection, Failure> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let start = now();
        let connection = self.opener.open(seat.road(), &seat.member, since).await?;
        self.connect_us.borrow_mut().saturating_record(start.elapsed().as_micros() as u64);
        Ok(connection)
    }

    async fn live(self: Rc<Self>, seat: Seat, mut connection: Connection) {
        loop {
            let exit = connection.run(&seat.member, self.keep_alive.as_ref()).await;
            let failure = match exit {
                Exit::Ordered(Order::Reconnect) => None,
                Exit::Ordered(_) => return connection.close().await,
                Exit::Failed(failure) => Some(failure),
            };
            self.away.set(self.away.get() + 1);
            let again = self.again(&seat, connection, failure).await;
            self.away.set(self.away.get() - 1);
            match again {
                Ok(again) => connection = again,
                Err(failure) => return self.end(&seat, failure),
            }
        }
    }

    /// Follows again what `connection` followed: because it was told to go, or because it failed and there is another server.
    async fn again(&self, seat: &Seat, connection: Connection, failure: Option<Failure>) -> Result<Connection, Failure> {
        let lost = now();
        if seat.roads.len() == 1
            && let Some(failure) = failure
        {
            return Err(failure);
        }
        let place = if self.opener.resumes { connection.place() } else { None };
        match place {
            Some(_) => seat.member.pause(),
            None => seat.member.leave(),
        }
        let failure = match failure {
            Some(failure) => failure,
            None => {
                connection.close().await;
                match self.enter(seat, place.as_ref()).await {
                    Ok(connection) => {
                        self.reconnected.set(self.reconnected.get() + 1);
                        return Ok(connection);
                    }
                    Err(failure) => failure,
                }
            }
        };
        self.elsewhere(seat, place.as_ref(), lost, failure).await
    }

    /// Looks for another server since `lost`. With only one there is none.
    async fn elsewhere(&self, seat: &Seat, place: Option<&Place>, lost: Instant, mut failure: Failure) -> Result<Connection, Failure> {
        let mut pause = PAUSE[0];
        while seat.roads.len() > 1 && lost.elapsed() < SEARCH {
            seat.turn();
            match self.enter(seat, place).await {
                Ok(connection) => {
                    self.back_us.borrow_mut().saturating_record(lost.elapsed().as_micros() as u64);
                    return Ok(connection);
                }
                Err(again) => failure = again,
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(PAUSE[1]);
        }
        Err(failure)
    }

    fn end(&self, seat: &Seat, failure: Failure) {
        seat.member.end();
        self.ended.borrow_mut().push(failure);
    }

    /// Lets a part of the connections say that they live: called once a second, each has its turn in [`KEEP_ALIVE_S`].
    pub(super) fn keep_alive(&self, second: usize) {
        if self.keep_alive.is_some() {
            let members = self.members.borrow();
            members.iter().skip(second % KEEP_ALIVE_S).step_by(KEEP_ALIVE_S).for_each(|member| member.order(Order::KeepAlive));
        }
    }

    /// Sends connections away to come back, so many a second, one after the other; never ends.
    pub(super) async fn churn(&self, a_second: f64) {
        let begin = now();
        for nth in 1usize.. {
            tokio::time::sleep_until((begin + Duration::from_secs_f64(nth as f64 / a_second)).into()).await;
            let members = self.members.borrow();
            if let Some(member) = members.get(nth % members.len().max(1)) {
                member.order(Order::Reconnect);
            }
        }
    }

    /// Tells all to close.
    pub(super) fn stop(&self) {
        self.members.borrow().iter().for_each(|member| member.order(Order::Stop));
    }
}

fn seats(plan: &Plan, tally: &Rc<Tally>) -> Result<Vec<Seat>, Failure> {
    let mut random = fastrand::Rng::with_seed(plan.seed);
    // A row of groups that are followed together is dealt out as one.
    let dealt = plan.spread.deal(plan.following(), plan.groups.len() / plan.groups_each, &mut random);
    let sources = plan.sources.unwrap_or(plan.connections().div_ceil(CONNECTIONS_A_SOURCE));
    let mut seats: Vec<Seat> = Vec::with_capacity(plan.connections());
    let mut groups = dealt.into_iter();
    let following = plan.subscribers.iter().map(|ways| (ways, false));
    for ((way, count), idle) in following.chain(plan.idle.iter().map(|ways| (ways, true))) {
        let elsewhere = plan.failover.iter().filter(|other| other.transport == way.transport);
        let roads: Rc<[Road]> =
            std::iter::once(way).chain(elsewhere).map(|way| Road::new(way.clone(), sources)).collect::<Result<_, _>>()?;
        for _ in 0..*count {
            let nth = seats.len();
            let reader = if idle { Reader::Idle } else { reader(plan, nth) };
            let first = if idle { 0 } else { groups.next().unwrap_or(0) * plan.groups_each as u32 };
            let member = Rc::new(Member::new(tally.clone(), nth, first..first + plan.groups_each as u32, reader));
            seats.push(Seat { roads: roads.clone(), at: Cell::new(0), member });
        }
    }
    Ok(seats)
}

/// Slow and stopped readers stand among the others, never on one another's place.
fn reader(plan: &Plan, nth: usize) -> Reader {
    let odd = plan.slow + plan.stopped;
    if !in_share(nth, odd) {
        return Reader::Prompt;
    }
    // Which of the odd ones this is.
    let nth = (nth as f64 * odd).floor() as usize;
    if in_share(nth, plan.slow / odd) { Reader::Slow(plan.slow_rate) } else { Reader::Stopped }
}
