//! The places that members have listened at, numbered: the lifecycle knows them by number alone.

use crate::ipc::inbound::{Listening, QueryServer};
use crate::lifecycle::Address;

use super::address;

/// More places than this are not numbered: a member that listens at ever new ones must not have all memory of the master.
const MOST: usize = 1024;

/// One of them.
#[derive(Debug)]
pub struct Place {
    key: String,
    /// As it was asked for.
    pub asked: Listening,
    /// As it is, with the port that the kernel chose.
    pub listening: Listening,
}

/// All of them. The number of a place is its position.
#[derive(Debug, Default)]
pub struct Known(Vec<Place>);

impl Known {
    /// The number of the place that this question is about; none when there are too many.
    pub fn number(&mut self, query: &QueryServer<'_>) -> Option<Address> {
        let found = self.find(query);
        if found.is_some() || self.0.len() >= MOST {
            return found;
        }
        let asked =
            Listening { seq: 0, address: query.address.clone(), port: query.port, address_type: query.address_type };
        self.0.push(Place { key: address::key(query), listening: asked.clone(), asked });
        u32::try_from(self.0.len() - 1).ok().map(Address)
    }

    /// The number that it has already.
    pub fn find(&self, query: &QueryServer<'_>) -> Option<Address> {
        let key = address::key(query);
        let position = self.0.iter().position(|place| place.key == key)?;
        u32::try_from(position).ok().map(Address)
    }

    /// The place of this number.
    pub fn place(&self, Address(number): Address) -> Option<&Place> {
        self.0.get(number as usize)
    }

    /// A worker has said where it listens, with the real port.
    pub fn learn(&mut self, Address(number): Address, port: i64) {
        if let Some(place) = self.0.get_mut(number as usize) {
            place.listening.port = port;
        }
    }
}
