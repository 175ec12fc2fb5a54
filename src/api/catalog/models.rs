//! `GET /catalog/models`: what each model is, and every way to call it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::price::Told;
use super::query::{Query, Reach};
use super::{Page, Reached, Rights, answer, check_scope, reached, scope_name};
use crate::api::formats;
use crate::api::openai::error::ErrorBody;
use crate::catalog::{Abilities, Apis, Batch, Catalog, Lifecycle, Model, Offered, Place, PromptCaching};
use crate::error::Result;
use crate::gateway::Gateway;
use crate::tenancy::Caller;

/// List models with every way to call them
///
/// The models that this key may name, with each Region of the gateway that offers them: by which id, where the call may be
/// answered, at what price, and whether this key may call it so. Naming a `region`, or `all_regions=true`, also shows
/// Regions that this gateway does not call.
#[utoipa::path(
    get,
    path = "/catalog/models",
    operation_id = "list_catalog_models",
    tag = "Catalog",
    params(
        ("region" = Option<String>, Query, description = "Offered in this Region; only its offers are listed."),
        ("provider" = Option<String>, Query, description = "By its name or the beginning of its ids, in any case."),
        ("batch" = Option<bool>, Query, description = "Whether it takes batch jobs in one of the Regions that are listed."),
        ("modality" = Option<String>, Query, description = "Goes in or comes out: TEXT, IMAGE, EMBEDDING, ..., in any case."),
        ("q" = Option<String>, Query, description = "Words that are all in its id, short id, name or provider."),
        ("all_regions" = Option<bool>, Query, description = "Also Regions that this gateway does not call."),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses(
        (status = 200, description = "The models, by id.", body = Page<CatalogModel>),
        (status = 304, description = "They are those that `If-None-Match` names."),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["inference"]), ("key" = ["batch"]), ("key" = ["admin"]))
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    caller: Caller,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    check_scope(&caller)?;
    let catalog = gateway.catalog();
    let query = Query::read(query.as_deref(), Reach::Gateway, &catalog)?;
    let view = View { gateway: &gateway, rights: Rights { catalog: &catalog, caller: &caller }, query: &query };
    let (models, next) = query.page(view.models(), |(offered, _)| offered.model.id.to_string());
    let data = models.iter().map(|(offered, regions)| view.tell(offered.model, offered, regions)).collect();
    answer(&headers, &Page { data, next })
}

/// What one caller sees of the catalog by one query.
pub(super) struct View<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) rights: Rights<'a>,
    pub(super) query: &'a Query,
}

impl<'a> View<'a> {
    /// The models that are wanted, by id, each with the Regions to list of those that offer it.
    pub(super) fn models(&self) -> impl Iterator<Item = (Offered<'a>, Vec<&'a Arc<str>>)> {
        let offered = self.rights.catalog.offered().filter(|offered| offered.model.is_callable());
        let wanted = offered.filter(|offered| self.query.wants(offered.model) && self.query.finds_model(offered.model));
        let may_name = |offered: &Offered<'_>, regions: &[&Arc<str>]| {
            regions.iter().any(|region| self.rights.may_name(offered.model, offered.in_region(region)))
        };
        wanted.filter_map(move |offered| {
            let regions = self.regions(&offered);
            let has_batch = |batch: &Batch| regions.iter().any(|region| batch.is_in(region));
            let takes_batch = self.rights.catalog.batch(&offered.model.id).is_some_and(has_batch);
            let is_wanted = self.query.batch.is_none_or(|wanted| wanted == takes_batch);
            (is_wanted && may_name(&offered, &regions)).then_some((offered, regions))
        })
    }

    /// The Regions that offer it and are to be listed.
    fn regions(&self, offered: &Offered<'a>) -> Vec<&'a Arc<str>> {
        let mut regions = offered.regions();
        match &self.query.region {
            Some(only) => regions.retain(|region| *region == only),
            None if self.query.all_regions => {}
            None => regions.retain(|region| self.gateway.regions().contains(region)),
        }
        regions
    }

    fn tell(&self, model: &Model, offered: &Offered<'_>, regions: &[&Arc<str>]) -> CatalogModel {
        let catalog = self.rights.catalog;
        let places = regions.iter().flat_map(|region| offered.in_region(region));
        let batch = catalog.batch(&model.id);
        CatalogModel {
            id: model.id.to_string(),
            short_id: offered.short_id(catalog).map(str::to_owned),
            aliases: self.rights.aliases(model),
            name: model.name.clone(),
            provider: model.provider.clone(),
            kind: model.kind.into(),
            input_modalities: model.input_modalities.clone(),
            output_modalities: model.output_modalities.clone(),
            context_window: model.context_window,
            max_output_tokens: model.max_output_tokens,
            abilities: abilities(&model.abilities),
            apis: apis(model.apis),
            routes: formats::of(model).into_iter().map(|(route, format)| (route, format.into())).collect(),
            lifecycle: ModelLifecycle::of(&model.lifecycle, model.created),
            prompt_caching: model.prompt_caching.as_ref().map(Caching::of),
            batch: batch.map(BatchRegions::of).unwrap_or_default(),
            offers: places.map(|place| self.offer(catalog, model, place)).collect(),
        }
    }

    fn offer(&self, catalog: &Catalog, model: &Model, place: &Place) -> Offer {
        let reason = self.rights.objection(self.gateway, model, place);
        Offer {
            region: place.region.to_string(),
            id: place.id.to_string(),
            scope: scope_name(&place.scope).to_owned(),
            destinations: reached(&place.destinations),
            price: place.price.as_deref().map(Told::of),
            source: place.source.into(),
            batch: catalog.batch(&model.id).is_some_and(|batch| batch.takes(&place.region, &place.scope)),
            configured: self.gateway.regions().contains(&place.region),
            callable: reason.is_none(),
            reason,
        }
    }
}

/// A model. What is not known is null, or absent from a map.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CatalogModel {
    /// Bedrock's id.
    id: String,
    /// The id without provider, version and date; null where that stands for another model.
    short_id: Option<String>,
    /// The aliases that stand for it and that this key may use. An alias may be limited to Regions of its own.
    aliases: Vec<String>,
    /// Its name for people.
    name: String,
    provider: String,
    /// `chat`, `embedding`, `image`, `image_edit`, `video`, `rerank`, `realtime` or `other`.
    kind: &'static str,
    /// In AWS's words: `TEXT`, `IMAGE`, `VIDEO`, `AUDIO`, `SPEECH`.
    input_modalities: Vec<String>,
    output_modalities: Vec<String>,
    /// Tokens of prompt and answer together.
    context_window: Option<u64>,
    /// The most tokens of one answer.
    max_output_tokens: Option<u64>,
    /// What it can and cannot, as far as that is known.
    abilities: BTreeMap<&'static str, bool>,
    /// Which of the runtime's APIs take it, as far as that is known.
    apis: BTreeMap<&'static str, bool>,
    /// The routes of this gateway that take it: `native`, as the body is, or `translated`.
    routes: BTreeMap<&'static str, &'static str>,
    lifecycle: ModelLifecycle,
    prompt_caching: Option<Caching>,
    /// The Regions in which it is known to take batch jobs, whether or not this gateway calls them.
    batch: BatchRegions,
    /// The ways to call it, by Region; those of one Region best first.
    offers: Vec<Offer>,
}

/// Where a model stands between launch and end; RFC 3339.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogLifecycle)]
struct ModelLifecycle {
    /// `active`, `legacy` or `end_of_life`.
    stage: &'static str,
    /// When it was launched on Bedrock.
    launched_at: Option<String>,
    /// When new customers were or will be shut out.
    legacy_at: Option<String>,
    /// When all calls fail.
    end_of_life_at: Option<String>,
}

impl ModelLifecycle {
    fn of(lifecycle: &Lifecycle, created: Option<i64>) -> Self {
        let moment = |seconds: i64| Timestamp::from_second(seconds).ok().map(|moment| moment.to_string());
        Self {
            stage: lifecycle.stage.into(),
            launched_at: created.and_then(moment),
            legacy_at: lifecycle.legacy.and_then(moment),
            end_of_life_at: lifecycle.end.and_then(moment),
        }
    }
}

/// How a model caches prompts; null where that is not known.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogPromptCaching)]
struct Caching {
    /// Takes cache points.
    explicit: Option<bool>,
    /// The fewest tokens of a prefix that is cached.
    min_tokens: Option<u64>,
    /// The most cache points of a request.
    max_checkpoints: Option<usize>,
    /// How long a prefix may be kept.
    ttl: Option<Vec<String>>,
}

impl Caching {
    fn of(caching: &PromptCaching) -> Self {
        let PromptCaching { explicit, min_tokens, max_checkpoints, ttl } = caching.clone();
        Self { explicit, min_tokens, max_checkpoints, ttl }
    }
}

/// Where a model takes batch jobs.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = CatalogBatchRegions)]
struct BatchRegions {
    /// By its own id.
    in_region: Vec<String>,
    /// By an inference profile.
    via_profile: Vec<String>,
}

impl BatchRegions {
    fn of(batch: &Batch) -> Self {
        let codes = |regions: &[Arc<str>]| regions.iter().map(ToString::to_string).collect();
        Self { in_region: codes(&batch.in_region), via_profile: codes(&batch.via_profile) }
    }
}

/// One way to call a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogOffer)]
struct Offer {
    /// The Region that the call is sent to.
    region: String,
    /// By what it is called there: the model's id, or an inference profile's.
    id: String,
    /// `in-region`, or the geography of the inference profile: `us`, `eu`, `global`, ...
    scope: String,
    /// The Regions that may answer, `any`, or null: not known.
    destinations: Option<Reached>,
    /// US dollars by AWS's list; null: not known.
    price: Option<Told>,
    /// Who says so: `compiled` (the gateway's data), `assumed` (concluded from other models, and may be wrong), or `aws`.
    source: &'static str,
    /// Whether it takes batch jobs so.
    batch: bool,
    /// Whether this gateway calls the Region.
    configured: bool,
    /// Whether this key may call it so.
    callable: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

fn abilities(abilities: &Abilities) -> BTreeMap<&'static str, bool> {
    known([
        ("streaming", abilities.streaming),
        ("system", abilities.system),
        ("vision", abilities.vision),
        ("documents", abilities.documents),
        ("tools", abilities.tools),
        ("tool_choice", abilities.tool_choice),
        ("forced_tool_use", abilities.forced_tool_use),
        ("parallel_tool_config", abilities.parallel_tool_config),
        ("structured_output", abilities.structured_output),
        ("reasoning", abilities.reasoning),
        ("thinking_always_on", abilities.thinking_always_on),
        ("sampling_params", abilities.sampling_params),
        ("assistant_prefill", abilities.assistant_prefill),
    ])
}

fn apis(apis: Apis) -> BTreeMap<&'static str, bool> {
    known([
        ("converse", apis.converse),
        ("invoke", apis.invoke),
        ("chat_completions", apis.chat_completions),
        ("responses", apis.responses),
        ("messages", apis.messages),
    ])
}

fn known<const N: usize>(facts: [(&'static str, Option<bool>); N]) -> BTreeMap<&'static str, bool> {
    facts.into_iter().filter_map(|(name, fact)| Some((name, fact?))).collect()
}
