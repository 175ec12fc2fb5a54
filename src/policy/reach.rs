//! What the gateway calls to reach the models, as IAM names it: models, profiles, and where profiles lead.
//!
//! A profile needs its own ARN, the model's ARN in the source Region, and that in every destination Region; a global one
//! instead of the last the model's ARN without a Region.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/geographic-cross-region-inference.html>

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Account, Profiles, Selection};
use crate::catalog::{Catalog, Destinations, Fence, InferenceProfile, Kind, Model, Order, Place, Resolved, Scope};
use crate::config::Config;
use crate::error::Result;

/// Resources, each listed once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// By Region: the models and profiles called there, and what else has an ARN.
    pub(super) called: BTreeMap<Arc<str>, Vec<String>>,
    /// Models in Regions that only profiles lead to.
    pub(super) routed: Vec<String>,
    /// Models without a Region: where global profiles lead to.
    pub(super) anywhere: Vec<String>,
    /// Profiles that may lead to models which only AWS knows, or to Regions which only AWS knows.
    pub(super) hidden: Vec<String>,
    /// Prompt routers, likewise.
    pub(super) routers: Vec<String>,
    /// Prompts of the prompt management.
    pub(super) prompts: Vec<String>,
    /// Endpoints of Bedrock Marketplace.
    pub(super) endpoints: Vec<String>,
}

impl Reach {
    /// What it takes to call by these ARNs, wherever they lead.
    pub(super) fn add_team_profiles(&mut self, arns: &[String]) {
        for arn in arns {
            let region = Arc::from(arn.split(':').nth(3).unwrap_or_default());
            add_opaque(self, &region, arn);
        }
    }
}

/// What is collected from.
pub(super) struct Sources<'a> {
    catalog: &'a Catalog,
    regions: Vec<Arc<str>>,
    /// In which a place is chosen: by price as well where that is configured, since a fence may leave only the other.
    orders: Vec<Order>,
    account: &'a Account,
}

impl<'a> Sources<'a> {
    pub(super) fn new(config: &Config, catalog: &'a Catalog, account: &'a Account) -> Self {
        let regions = config.aws.regions.iter().map(|region| region.as_str().into()).collect();
        let mut orders = vec![Order::Preference];
        if config.aws.order == Order::Price {
            orders.push(Order::Price);
        }
        Self { catalog, regions, orders, account }
    }

    /// Everything that calls of the selected models need in the configured Regions.
    pub(super) fn reach(&self, selection: &Selection, profiles: Profiles) -> Result<Reach> {
        let mut reach = Reach::default();
        let mut selected: Vec<Arc<Model>> = Vec::new();
        for resolved in self.selected(selection)? {
            for place in self.places(&resolved)? {
                self.add(&mut reach, &resolved, &place);
            }
            selected.extend(resolved.model);
        }
        if profiles == Profiles::Every {
            for profile in self.catalog.profiles() {
                if selected.iter().any(|model| model.id == profile.model.id) {
                    self.add_profile_everywhere(&mut reach, profile);
                }
            }
        }
        let called: Vec<String> = reach.called.values().flatten().cloned().collect();
        reach.routed.retain(|arn| !called.contains(arn));
        Ok(reach)
    }

    /// What the selection stands for, aliases first, each with a place to be called.
    fn selected(&self, selection: &Selection) -> Result<Vec<Resolved>> {
        let aliases = self.catalog.aliases().map(|(_, resolved)| Ok(resolved.clone()));
        let anywhere = Fence::default();
        let is_called = |model: &&Arc<Model>| model.kind != Kind::Realtime;
        match selection {
            Selection::Aliases => aliases.collect(),
            Selection::Everything => {
                let models = self.catalog.models(&self.regions, &anywhere).filter(is_called);
                aliases.chain(models.map(|model| self.catalog.resolve(&model.id))).collect()
            }
            Selection::Named(names) => names.iter().map(|name| self.catalog.resolve(name)).collect(),
        }
    }

    /// Where a call may be sent: in each Region what the gateway would choose for a caller without a fence.
    fn places(&self, resolved: &Resolved) -> Result<Vec<Arc<Place>>> {
        let mut places: Vec<Arc<Place>> = Vec::new();
        for order in &self.orders {
            let found = self.catalog.candidates(resolved, &self.regions, &Fence::default(), *order)?;
            places.extend(found.into_iter().filter(|place| !places.contains(place)).collect::<Vec<_>>());
        }
        Ok(places)
    }

    fn add(&self, reach: &mut Reach, resolved: &Resolved, place: &Place) {
        let region = &place.region;
        let Some(model) = &resolved.model else {
            return add_opaque(reach, region, &place.id);
        };
        // An ARN ends with the id, and is called as it is.
        let id = place.id.rsplit('/').next().unwrap_or(&place.id);
        match &place.scope {
            Scope::InRegion => {
                let arn = self.model(region, &model.id);
                called(reach, region, arn);
            }
            Scope::Profile(_) => {
                let is_arn = place.id.starts_with("arn:");
                let arn = if is_arn { place.id.to_string() } else { self.profile(region, id) };
                self.add_profile(reach, region, (arn, model), &place.destinations);
            }
        }
    }

    fn add_profile_everywhere(&self, reach: &mut Reach, profile: &InferenceProfile) {
        for region in &self.regions {
            if let Some(destinations) = profile.destinations(region) {
                let arn = self.profile(region, &profile.id);
                self.add_profile(reach, region, (arn, &profile.model), destinations);
            }
        }
    }

    fn add_profile(
        &self,
        reach: &mut Reach,
        region: &Arc<str>,
        (arn, model): (String, &Model),
        destinations: &Destinations,
    ) {
        called(reach, region, arn.clone());
        called(reach, region, self.model(region, &model.id));
        match destinations {
            Destinations::Among(regions) => {
                for destination in &**regions {
                    push(&mut reach.routed, self.model(destination, &model.id));
                }
            }
            Destinations::Anywhere => {
                let partition = self.partition(region);
                push(&mut reach.anywhere, format!("arn:{partition}:bedrock:::foundation-model/{}", model.id));
            }
            Destinations::Unknown => push(&mut reach.hidden, arn),
        }
    }

    fn model(&self, region: &str, id: &str) -> String {
        format!("arn:{}:bedrock:{region}::foundation-model/{id}", self.partition(region))
    }

    fn profile(&self, region: &str, id: &str) -> String {
        format!("arn:{}:bedrock:{region}:{}:inference-profile/{id}", self.partition(region), self.account)
    }

    fn partition(&self, region: &str) -> &str {
        super::partition(self.catalog, region)
    }
}

/// An ARN that hides its model, by what it is of: `arn:partition:service:region:account:kind/id`.
fn add_opaque(reach: &mut Reach, region: &Arc<str>, arn: &str) {
    let mut parts = arn.splitn(6, ':').skip(1);
    let partition = parts.next().unwrap_or_default();
    let (service, account) = (parts.next(), parts.nth(1).unwrap_or_default());
    let kind = parts.next().and_then(|resource| resource.split('/').next()).unwrap_or_default();
    if service == Some("sagemaker") {
        push(&mut reach.endpoints, arn.to_owned());
        // By this name the reference of IAM knows all of them.
        let all = format!("arn:{partition}:bedrock:{region}:{account}:marketplace/model-endpoint/all-access");
        return called(reach, region, all);
    }
    let list = match kind {
        "application-inference-profile" => Some(&mut reach.hidden),
        "prompt-router" | "default-prompt-router" => Some(&mut reach.routers),
        "prompt" => Some(&mut reach.prompts),
        _ => None,
    };
    if let Some(list) = list {
        push(list, arn.to_owned());
    }
    if kind != "prompt" {
        called(reach, region, arn.to_owned());
    }
}

fn called(reach: &mut Reach, region: &Arc<str>, arn: String) {
    push(reach.called.entry(Arc::clone(region)).or_default(), arn);
}

fn push(list: &mut Vec<String>, arn: String) {
    if !list.contains(&arn) {
        list.push(arn);
    }
}
