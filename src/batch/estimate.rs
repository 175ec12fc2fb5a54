//! What a batch may cost at most, by what is known of its records before any of them is read again.
//!
//! On the safe side: what is held is given back shard by shard as it turns out to be less.

use std::sync::Arc;

use super::record::Kind as How;
use super::source::Load;
use crate::catalog::{Kind, Place, Tier};
use crate::gateway::{Asked, Gateway};
use crate::money::{MicroUsd, round_up};

/// Where records of one model can go.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// The model.
    pub(super) model: Asked,
    /// Where a job may be made of them, best first; none: they run online.
    pub(super) jobs: Vec<Arc<Place>>,
    /// Where they may run online, best first.
    pub(super) online: Vec<Arc<Place>>,
    /// Why they run online, where no job may be made of them.
    pub(super) why_online: &'static str,
}

impl Way {
    /// What such records may cost at most; none: there is no price.
    pub(super) fn worst(&self, gateway: &Gateway, load: &Load) -> Option<MicroUsd> {
        self.worst_as(gateway, if self.jobs.is_empty() { How::Online } else { How::Job }, load)
    }

    /// What they may cost at most, run in this way.
    pub(super) fn worst_as(&self, gateway: &Gateway, how: How, load: &Load) -> Option<MicroUsd> {
        let (places, tier) = match how {
            How::Online => (&self.online, Tier::Standard),
            How::Job => (&self.jobs, Tier::Batch),
        };
        let input = gateway.input_tokens(&self.model, load.bytes);
        let output = output_tokens(gateway, &self.model, load);
        let worst = places.iter().map(|place| worst(place, tier, load.records, (input, output)));
        worst.collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}

/// The most tokens that the answers may have.
fn output_tokens(gateway: &Gateway, model: &Asked, load: &Load) -> u64 {
    if model.resolved.model.as_ref().is_some_and(|model| model.kind != Kind::Chat) {
        return 0;
    }
    let most = gateway.longest_answer(model);
    load.max_output.saturating_add(load.unstated.saturating_mul(most))
}

/// What tokens cost at `place`, at the price of records of their average length.
fn worst(place: &Place, tier: Tier, records: u64, (input, output): (u64, u64)) -> Option<MicroUsd> {
    let price = place.price.as_ref()?;
    if price.by_unit.is_some() {
        return None;
    }
    let (per_input, per_output) = price.dearest(tier, input / records.max(1), false)?;
    if output > 0 && per_output.0 == 0 {
        return None;
    }
    Some(round_up(per_input.pico(input).saturating_add(per_output.pico(output))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Price, Rates};
    use crate::money::PerMillion;

    fn place(input: Option<u64>, output: Option<u64>) -> Place {
        let rates = Rates { input: input.map(PerMillion), output: output.map(PerMillion), ..Rates::default() };
        let price = Price { batch: rates, ..Price::default() };
        Place::in_region("us-east-1".into(), "m".into(), Some(Arc::new(price)))
    }

    #[test]
    fn the_worst_is_exact_at_the_price_of_the_tier_and_unknown_without_one() {
        let known = place(Some(500_000), Some(2_500_000));
        assert_eq!(worst(&known, Tier::Batch, 100, (1_000_000, 2_000_000)), Some(MicroUsd(5_500_000)));
        assert_eq!(worst(&known, Tier::Standard, 100, (1, 1)), None);
        assert_eq!(worst(&place(Some(1), None), Tier::Batch, 1, (5, 1)), None, "an answer without a price");
        assert_eq!(worst(&place(Some(20_000), None), Tier::Batch, 1, (1_000_000, 0)), Some(MicroUsd(20_000)));
        assert_eq!(worst(&Place { price: None, ..known }, Tier::Batch, 1, (1, 1)), None);
    }
}
