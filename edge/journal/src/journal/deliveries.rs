//! The way out: an outbox, tried again and again, one delivery at a time for each destination.

use std::{
    collections::{BTreeMap, HashSet},
    sync::PoisonError,
    time::Duration,
};

use super::{Journal, studies::leave_outbox};
use crate::{
    entries::{Delivery, DeliveryState, Hash, Study, StudyState},
    error::{JournalError, Result},
    tables::{Change, OUTBOX, STUDY_DELIVERIES},
};

/// A delivery in the program's hands. It stays there until [`Journal::delivered`], [`Journal::delivery_failed`],
/// [`Journal::delivery_refused`], [`Journal::postpone_delivery`] or [`Journal::hand_back_delivery`], or until the journal is
/// opened again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenDelivery {
    /// Its number.
    pub number: u64,
    /// Its record.
    pub delivery: Delivery,
}

impl Journal {
    /// Wants the result of a finished study delivered to one more destination. What is already wanted there is not wanted twice.
    /// Gives the delivery's number.
    ///
    /// # Errors
    /// [`JournalError::WrongState`] when the study has no result; what the database says.
    pub fn deliver(&self, study: u64, destination: &str) -> Result<u64> {
        check_destination(destination)?;
        self.change(|change| {
            let state = change.need::<Study>(study)?.state;
            if !matches!(state, StudyState::Finished { .. }) {
                return Err(JournalError::WrongState { what: "study", number: study, state: state.name() });
            }
            new_delivery(change, study, destination)
        })
    }

    /// Takes the first delivery that is due and whose destination is not being sent anything.
    ///
    /// # Errors
    /// What the database says.
    pub fn take_delivery(&self) -> Result<Option<TakenDelivery>> {
        let now = self.now().device_milliseconds;
        let snapshot = self.snapshot()?;
        let outbox = snapshot.outbox()?.into_iter().map(|number| Ok((number, snapshot.need(number)?)));
        // So that nothing is written where nothing is due.
        if next(outbox, now)?.is_none() {
            return Ok(None);
        }
        self.change(|change| {
            let outbox = change.listed(OUTBOX)?.into_iter().map(|number| Ok((number, change.need(number)?)));
            let Some((number, mut delivery)) = next(outbox, change.now.device_milliseconds)? else { return Ok(None) };
            delivery.state = DeliveryState::Sending;
            delivery.attempts += 1;
            change.put(number, &delivery)?;
            Ok(Some(TakenDelivery { number, delivery }))
        })
    }

    /// Takes the delivery to this destination that is due and was tried least often, the first of these, unless one is being sent
    /// there. So one that fails again and again keeps no other back.
    ///
    /// # Errors
    /// What the database says.
    pub fn take_delivery_to(&self, destination: &str) -> Result<Option<TakenDelivery>> {
        let due = |outbox: Vec<(u64, Delivery)>, now: u64| {
            let mut of: Vec<_> =
                outbox.into_iter().filter(|(_, delivery)| delivery.destination == destination).collect();
            if of.iter().any(|(_, delivery)| delivery.state == DeliveryState::Sending) {
                return None;
            }
            of.retain(|(_, delivery)| delivery.not_before_milliseconds <= now);
            of.into_iter().min_by_key(|(number, delivery)| (delivery.attempts, *number))
        };
        // So that nothing is written where nothing is due.
        if due(self.outbox()?, self.now().device_milliseconds).is_none() {
            return Ok(None);
        }
        self.change(|change| {
            let outbox = change.listed(OUTBOX)?.into_iter().map(|number| Ok((number, change.need(number)?)));
            let outbox = outbox.collect::<Result<_>>()?;
            let Some((number, mut delivery)) = due(outbox, change.now.device_milliseconds) else { return Ok(None) };
            delivery.state = DeliveryState::Sending;
            delivery.attempts += 1;
            change.put(number, &delivery)?;
            Ok(Some(TakenDelivery { number, delivery }))
        })
    }

    /// All deliveries that wait or are being sent, with their numbers, in the order in which they were wanted.
    ///
    /// # Errors
    /// What the database says.
    pub fn outbox(&self) -> Result<Vec<(u64, Delivery)>> {
        let snapshot = self.snapshot()?;
        snapshot.outbox()?.into_iter().map(|number| Ok((number, snapshot.need(number)?))).collect()
    }

    /// How many deliveries wait or are being sent, by destination.
    ///
    /// # Errors
    /// What the database says.
    pub fn waiting_deliveries(&self) -> Result<BTreeMap<String, u64>> {
        let mut waiting = BTreeMap::new();
        for (_, delivery) in self.outbox()? {
            *waiting.entry(delivery.destination).or_default() += 1;
        }
        Ok(waiting)
    }

    /// How long until a delivery to this destination is due; `None` where there is none.
    ///
    /// # Errors
    /// What the database says.
    pub fn next_delivery_to(&self, destination: &str) -> Result<Option<Duration>> {
        let now = self.now().device_milliseconds;
        let outbox = self.outbox()?;
        let waits =
            |delivery: &&Delivery| delivery.destination == destination && delivery.state == DeliveryState::Waiting;
        let first = outbox.iter().map(|(_, delivery)| delivery).filter(waits).map(|d| d.not_before_milliseconds).min();
        Ok(first.map(|due| Duration::from_millis(due.saturating_sub(now))))
    }

    /// Waits until the outbox has changed since it had the number `seen`, or for as long as `most`; gives its number now. Begin
    /// with 0.
    pub fn wait_for_outbox(&self, seen: u64, most: Duration) -> u64 {
        let changes = self.outbox_changes.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.outbox_changed.wait_timeout_while(changes, most, |changes| *changes == seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Wakes all who wait for the outbox, as at the program's end.
    pub fn wake_outbox(&self) {
        *self.outbox_changes.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.outbox_changed.notify_all();
    }

    /// The peer has this file of the result, which is not sent again.
    ///
    /// # Errors
    /// As [`Self::delivered`].
    pub fn delivery_arrived(&self, number: u64, sha256: &Hash) -> Result<()> {
        self.change(|change| {
            let mut delivery = sending(change, number)?;
            if !delivery.arrived.contains(sha256) {
                delivery.arrived.push(*sha256);
            }
            change.put(number, &delivery)
        })
    }

    /// It did not arrive, or not all of it, for a reason that may pass: it is tried again after a pause of the caller's choice.
    /// `lost`: files that the peer had, and says now that it has not.
    ///
    /// # Errors
    /// As [`Self::delivered`].
    pub fn postpone_delivery(&self, number: u64, cause: &str, pause: Duration, lost: &[Hash]) -> Result<()> {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.change(|change| {
            let mut delivery = sending(change, number)?;
            delivery.state = DeliveryState::Waiting;
            delivery.interrupted = false;
            delivery.not_before_milliseconds = change.now.device_milliseconds.saturating_add(pause);
            delivery.last_error = Some(cause.to_owned());
            delivery.arrived.retain(|sha256| !lost.contains(sha256));
            change.put(number, &delivery)
        })
    }

    /// Lets a delivery wait again as if it had not been tried, as at the program's end. What was being sent is sent again.
    ///
    /// # Errors
    /// As [`Self::delivered`].
    pub fn hand_back_delivery(&self, number: u64) -> Result<()> {
        self.change(|change| {
            let mut delivery = sending(change, number)?;
            delivery.state = DeliveryState::Waiting;
            delivery.attempts = delivery.attempts.saturating_sub(1);
            delivery.interrupted = true;
            change.put(number, &delivery)
        })
    }

    /// The peer has it. It is never sent again.
    ///
    /// # Errors
    /// [`JournalError::WrongState`] when it is not being sent; what the database says.
    pub fn delivered(&self, number: u64) -> Result<()> {
        self.change(|change| {
            let mut delivery = sending(change, number)?;
            delivery.state = DeliveryState::Delivered { at: change.now };
            leave_outbox(change, number, &delivery)
        })
    }

    /// It did not arrive, for a reason that may pass: it is tried again after a pause that doubles each time.
    ///
    /// # Errors
    /// As [`Self::delivered`].
    pub fn delivery_failed(&self, number: u64, cause: &str) -> Result<()> {
        let settings = &self.settings;
        self.change(|change| {
            let mut delivery = sending(change, number)?;
            let doublings = delivery.attempts.saturating_sub(1).min(32);
            let pause = settings.first_pause_seconds.saturating_mul(1 << doublings).min(settings.longest_pause_seconds);
            delivery.state = DeliveryState::Waiting;
            delivery.interrupted = false;
            delivery.not_before_milliseconds =
                change.now.device_milliseconds.saturating_add(pause.saturating_mul(1000));
            delivery.last_error = Some(cause.to_owned());
            change.put(number, &delivery)
        })
    }

    /// The peer will never take it: it is not tried again unless somebody asks.
    ///
    /// # Errors
    /// As [`Self::delivered`].
    pub fn delivery_refused(&self, number: u64, cause: &str) -> Result<()> {
        self.change(|change| {
            let mut delivery = sending(change, number)?;
            delivery.state = DeliveryState::GivenUp { at: change.now, cause: cause.to_owned() };
            leave_outbox(change, number, &delivery)
        })
    }

    /// Tries a delivery at once that waits for the end of its pause or was given up.
    ///
    /// # Errors
    /// [`JournalError::WrongState`] when it arrived or is being sent; what the database says.
    pub fn retry_delivery(&self, number: u64) -> Result<()> {
        self.change(|change| {
            let mut delivery: Delivery = change.need(number)?;
            match delivery.state {
                DeliveryState::Waiting | DeliveryState::GivenUp { .. } => {}
                state => return Err(JournalError::WrongState { what: "delivery", number, state: state.name() }),
            }
            delivery.state = DeliveryState::Waiting;
            delivery.attempts = 0;
            delivery.not_before_milliseconds = 0;
            change.wake = true;
            change.list(OUTBOX, number)?;
            change.put(number, &delivery)
        })
    }

    /// The deliveries of a study with their numbers, in the order in which they were wanted.
    ///
    /// # Errors
    /// What the database says.
    pub fn deliveries_of(&self, study: u64) -> Result<Vec<(u64, Delivery)>> {
        let snapshot = self.snapshot()?;
        snapshot.deliveries_of(study)?.into_iter().map(|number| Ok((number, snapshot.need(number)?))).collect()
    }
}

/// A destination is a word of the profile.
pub(super) fn check_destination(destination: &str) -> Result<()> {
    if destination.is_empty() {
        let evidence = "a destination without a name".into();
        return Err(JournalError::Damaged { what: "the list of destinations".into(), evidence });
    }
    Ok(())
}

/// A delivery of a study to a destination; the one that is there, if there is one.
pub(super) fn new_delivery(change: &mut Change, study: u64, destination: &str) -> Result<u64> {
    for number in change.deliveries_of(study)? {
        if change.need::<Delivery>(number)?.destination == destination {
            return Ok(number);
        }
    }
    let number = change.number();
    let delivery = Delivery {
        study,
        destination: destination.to_owned(),
        created: change.now,
        state: DeliveryState::Waiting,
        attempts: 0,
        not_before_milliseconds: 0,
        interrupted: false,
        last_error: None,
        arrived: vec![],
    };
    change.put(number, &delivery)?;
    change.pair(STUDY_DELIVERIES, (study, number))?;
    change.list(OUTBOX, number)?;
    change.wake = true;
    Ok(number)
}

fn sending(change: &Change, number: u64) -> Result<Delivery> {
    let delivery: Delivery = change.need(number)?;
    match delivery.state {
        DeliveryState::Sending => Ok(delivery),
        state => Err(JournalError::WrongState { what: "delivery", number, state: state.name() }),
    }
}

/// The first delivery that is due and whose destination is free.
fn next(outbox: impl Iterator<Item = Result<(u64, Delivery)>>, now: u64) -> Result<Option<(u64, Delivery)>> {
    let outbox: Vec<(u64, Delivery)> = outbox.collect::<Result<_>>()?;
    let busy: HashSet<String> = outbox
        .iter()
        .filter(|(_, delivery)| delivery.state == DeliveryState::Sending)
        .map(|(_, delivery)| delivery.destination.clone())
        .collect();
    let due = |delivery: &Delivery| {
        delivery.state == DeliveryState::Waiting
            && delivery.not_before_milliseconds <= now
            && !busy.contains(&delivery.destination)
    };
    Ok(outbox.into_iter().find(|(_, delivery)| due(delivery)))
}
