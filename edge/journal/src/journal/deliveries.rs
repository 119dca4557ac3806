//! The way out: an outbox, tried again and again, one delivery at a time for each destination.

use std::collections::HashSet;

use super::{Journal, studies::leave_outbox};
use crate::{
    entries::{Delivery, DeliveryState, Study, StudyState},
    error::{JournalError, Result},
    tables::{Change, OUTBOX, STUDY_DELIVERIES},
};

/// A delivery in the program's hands. It stays there until [`Journal::delivered`], [`Journal::delivery_failed`] or
/// [`Journal::delivery_refused`], or until the journal is opened again.
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
    };
    change.put(number, &delivery)?;
    change.pair(STUDY_DELIVERIES, (study, number))?;
    change.list(OUTBOX, number)?;
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
