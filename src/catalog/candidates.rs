//! From what a name stands for to where it is called: the places inside the fence, in order, or why there is none.

use std::sync::Arc;

use super::{Catalog, Fence, Order, Place, Resolved, Target, listed};
use crate::error::{Error, Kind, Result};

impl Catalog {
    /// Where it can be called so that it stays inside `fence` and the fence of its alias: one place for each of `regions`
    /// at most, in their order or by price.
    ///
    /// # Errors
    /// `ModelNotFound` when none of `regions` offers it, `Forbidden` when the fence leaves none: both say why.
    pub fn candidates(
        &self,
        resolved: &Resolved,
        regions: &[Arc<str>],
        fence: &Fence,
        order: Order,
    ) -> Result<Vec<Arc<Place>>> {
        let fence = fence.and(&resolved.fence);
        let offers = regions.iter().filter_map(|region| resolved.target.places.get(region));
        let best = offers.filter_map(|offers| {
            let mut inside = offers.iter().filter(|place| fence.permits(place));
            match order {
                Order::Preference => inside.next(),
                Order::Price => inside.min_by_key(|place| place.dearness()),
            }
        });
        let mut candidates: Vec<Arc<Place>> = best.cloned().collect();
        if candidates.is_empty() {
            return Err(no_candidate(resolved, regions, &fence));
        }
        if order == Order::Price {
            candidates.sort_by_key(|place| place.dearness());
        }
        Ok(candidates)
    }
}

/// Why there is no candidate: not offered, or not inside the fence.
fn no_candidate(resolved: &Resolved, regions: &[Arc<str>], fence: &Fence) -> Error {
    let offers = regions.iter().filter_map(|region| resolved.target.places.get(region)).flatten();
    let mut offers = offers.peekable();
    if offers.peek().is_none() {
        return unavailable(resolved, regions);
    }
    // Of the ways out the one of a place that is called from inside says most.
    let inside = offers.clone().find(|place| fence.holds(&place.region));
    let message = match inside.and_then(|place| Some((place, fence.leaves(&place.destinations)?))) {
        Some((place, exit)) if resolved.target.is_arn => {
            format!("The ARN belongs to {}, from where a call {exit}; it must stay in {fence}.", place.region)
        }
        Some((place, exit)) => format!(
            "The model `{}` cannot be called within {fence}: from {} it is called as `{}`, which {exit}.",
            resolved.name, place.region, place.id
        ),
        None => {
            let mut from: Vec<&str> = offers.map(|place| &*place.region).collect();
            from.dedup();
            let from = listed(from.into_iter());
            format!("The model `{}` cannot be called within {fence}; this gateway calls it from {from}.", resolved.name)
        }
    };
    Error::new(Kind::Forbidden, message).param("model").reason("region")
}

/// Why none of `regions` offers it, and where it would be offered.
fn unavailable(resolved: &Resolved, regions: &[Arc<str>]) -> Error {
    let tried = listed(regions.iter().map(|region| &**region));
    let Target { places, is_arn } = &resolved.target;
    let mut offers: Vec<&str> = places.keys().map(|region| &**region).collect();
    offers.sort_unstable();
    let message = match &resolved.model {
        _ if *is_arn => format!(
            "The ARN belongs to {}, which this gateway does not call (it calls {tried}).",
            listed(offers.into_iter())
        ),
        Some(model) if !model.on_runtime => format!(
            "The model `{}` is offered on the bedrock-mantle endpoint only, which this gateway does not call.",
            model.id
        ),
        _ if offers.is_empty() => {
            format!("The model `{}` is not known to be offered in any Region.", resolved.name)
        }
        _ => {
            let offers = listed(offers.into_iter());
            format!("The model `{}` cannot be called from {tried} by this name, but from {offers}.", resolved.name)
        }
    };
    Error::new(Kind::ModelNotFound, message).param("model")
}
