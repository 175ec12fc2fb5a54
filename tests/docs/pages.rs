//! The pages of `docs/catalog/`, written from the catalog that the gateway itself is made with: they cannot say anything
//! else. `UPDATE_DOCS=1 cargo test --test docs` writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use bedrock_gateway::api::formats::{self, Format};
use bedrock_gateway::catalog::{Catalog, Known, Model, Offered, Place, Quotas, Scope, Stage};
use bedrock_gateway::config::Config;
use bedrock_gateway::money::PerMillion;

use super::root;

/// What is at the top of every page.
fn head(title: &str, catalog: &Catalog) -> String {
    format!(
        "# {title}\n\n<!-- Written by tests/docs/pages.rs: UPDATE_DOCS=1 cargo test --test docs -->\n\n\
         As of {}, from the data that is compiled into the gateway; [`data/README.md`](../../data/README.md) tells its \
         sources. A running gateway asks AWS for what is newer: `GET /catalog/models` and its neighbours show that, for \
         the Regions of that gateway and the key that asks.\n\n[Models](MODELS.md) · [Regions](REGIONS.md) · \
         [Batch](BATCH.md) · [Quotas](QUOTAS.md) · [Formats](FORMATS.md)\n\n",
        catalog.as_of()
    )
}

/// The models that can be called, by provider, in the order of their ids.
fn by_provider(catalog: &Catalog) -> BTreeMap<&str, Vec<Offered<'_>>> {
    let mut all: BTreeMap<&str, Vec<Offered<'_>>> = BTreeMap::new();
    for offered in catalog.offered().filter(|offered| offered.model.is_callable()) {
        all.entry(&offered.model.provider).or_default().push(offered);
    }
    all
}

fn places<'a>(offered: &Offered<'a>) -> impl Iterator<Item = &'a Place> {
    let offered = *offered;
    offered.regions().into_iter().flat_map(move |region| offered.in_region(region)).map(AsRef::as_ref)
}

/// `1,048,576`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for at in (first..digits.len()).step_by(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&digits[at..at + 3]);
    }
    text
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

fn date(seconds: i64) -> String {
    let moment = jiff::Timestamp::from_second(seconds).unwrap();
    moment.to_string()[..10].to_owned()
}

fn codes<'a>(regions: impl IntoIterator<Item = &'a str>) -> String {
    or_dash(regions.into_iter().collect::<Vec<_>>().join(", "))
}

/// The geographies of the profiles among `places`.
fn geographies<'a>(places: impl IntoIterator<Item = &'a Place>) -> BTreeSet<&'a str> {
    let geo = |place: &'a Place| match &place.scope {
        Scope::InRegion => None,
        Scope::Profile(geo) => Some(&**geo),
    };
    places.into_iter().filter_map(geo).collect()
}

fn models(catalog: &Catalog) -> String {
    let mut page = head("Models", catalog);
    page += "In the order of their ids. *Regions* is how many take the model by its own id, *profiles* are the geographies \
             of the inference profiles that lead to it. Prices are US dollars for a million tokens read / written in the \
             standard tier, where it is cheapest; `-` is unknown, or not charged by tokens. Each model may be called by \
             its id, its short id, or the id of a profile.\n";
    for (provider, models) in by_provider(catalog) {
        write!(page, "\n## {provider}\n\n").unwrap();
        page += "| model | short id | takes → makes | context | answer | Regions | profiles | batch | price |\n";
        page += "|---|---|---|---|---|---|---|---|---|\n";
        for offered in models {
            page += &model_row(catalog, &offered);
        }
    }
    let others = |title: &str, of: &dyn Fn(&Model) -> bool| {
        let ids = catalog.offered().map(|offered| offered.model).filter(|model| of(model));
        let ids: Vec<String> = ids.map(|model| format!("`{}`", model.id)).collect();
        format!("\n## {title}\n\n{}\n", ids.join(", "))
    };
    page += &others("Ended, or withdrawn", &|model| model.lifecycle.stage == Stage::EndOfLife);
    page += &others("On the bedrock-mantle endpoint only, which this gateway does not call", &|model| {
        !model.on_runtime && model.lifecycle.stage != Stage::EndOfLife
    });
    page
}

fn model_row(catalog: &Catalog, offered: &Offered<'_>) -> String {
    let model = offered.model;
    let own = places(offered).filter(|place| place.scope == Scope::InRegion).count();
    let tokens = |count: Option<u64>| count.map_or("-".to_owned(), grouped);
    let lifecycle = match (&model.lifecycle.stage, model.lifecycle.end) {
        (Stage::Active, None) => String::new(),
        (Stage::Active, Some(end)) => format!("; ends {}", date(end)),
        (_, end) => format!("; **legacy**{}", end.map(|end| format!(", ends {}", date(end))).unwrap_or_default()),
    };
    let short = offered.short_id(catalog).map_or("-".to_owned(), |short| format!("`{short}`"));
    format!(
        "| {}<br>`{}`{lifecycle} | {short} | {} → {} | {} | {} | {own} | {} | {} | {} |\n",
        model.name,
        model.id,
        model.input_modalities.join(", ").to_lowercase(),
        model.output_modalities.join(", ").to_lowercase(),
        tokens(model.context_window),
        tokens(model.max_output_tokens),
        codes(geographies(places(offered))),
        if catalog.batch(&model.id).is_some() { "[yes](BATCH.md)" } else { "-" },
        cheapest(offered).unwrap_or_else(|| "-".to_owned()),
    )
}

fn cheapest(offered: &Offered<'_>) -> Option<String> {
    let prices = places(offered).filter_map(|place| {
        let rates = place.price.as_ref()?.standard;
        Some((rates.input?, rates.output.unwrap_or_default()))
    });
    let (input, output) = prices.filter(|(input, output)| input.0 + output.0 > 0).min_by_key(|(i, o)| i.0 + o.0)?;
    // What makes vectors writes no tokens.
    Some(if output.0 == 0 { dollars(input) } else { format!("{} / {}", dollars(input), dollars(output)) })
}

fn dollars(PerMillion(micros): PerMillion) -> String {
    let decimals = format!("{:06}", micros % 1_000_000);
    let kept = decimals.trim_end_matches('0').len().max(2);
    format!("{}.{}", micros / 1_000_000, &decimals[..kept])
}

fn regions(catalog: &Catalog) -> String {
    let mut page = head("Regions", catalog);
    page += "How many models can be called in each Region by their own id, by an inference profile, and in batch jobs; \
             where Bedrock has FIPS endpoints, and the bedrock-mantle endpoint, which this gateway does not call. An \
             account has to switch *opt-in* Regions on first.\n\n";
    page += "| Region | name | geographies | in Region | by profile | batch | opt-in | FIPS | mantle |\n";
    page += "|---|---|---|---|---|---|---|---|---|\n";
    let mut regions: Vec<_> = catalog.regions().iter().collect();
    regions.sort_by_key(|region| &region.code);
    let mut sections = String::new();
    for region in regions {
        let (mut own, mut profiled, mut batch) = (0, 0, 0);
        let mut section = String::new();
        for (provider, models) in by_provider(catalog) {
            let mut told = Vec::new();
            for offered in models {
                let ways = offered.in_region(&region.code);
                if ways.is_empty() {
                    continue;
                }
                let is_own = ways.iter().any(|place| place.scope == Scope::InRegion);
                let geos = geographies(ways.iter().map(AsRef::as_ref));
                own += usize::from(is_own);
                profiled += usize::from(!geos.is_empty());
                batch += usize::from(catalog.batch(&offered.model.id).is_some_and(|batch| batch.is_in(&region.code)));
                let ways = is_own.then_some("in-Region").into_iter().chain(geos);
                told.push(format!("{} ({})", offered.model.short, codes(ways)));
            }
            if !told.is_empty() {
                writeln!(section, "- **{provider}**: {}", told.join("; ")).unwrap();
            }
        }
        let geographies = bedrock_gateway::catalog::Geography::NAMES.iter().filter(|name| {
            bedrock_gateway::catalog::Geography::parse("", name).is_ok_and(|geo| geo.holds(&region.code))
        });
        let yes = |is: bool| if is { "yes" } else { "-" };
        let link = if section.is_empty() { region.code.to_string() } else { format!("[{0}](#{0})", region.code) };
        writeln!(
            page,
            "| {link} | {} | {} | {own} | {profiled} | {batch} | {} | {} | {} |",
            region.name,
            codes(geographies.copied()),
            yes(region.opt_in),
            yes(region.hosts.runtime_fips.is_some()),
            yes(region.hosts.mantle.is_some()),
        )
        .unwrap();
        if !section.is_empty() {
            write!(sections, "\n## {}\n\n{}\n\n{section}", region.code, region.name).unwrap();
        }
    }
    page + &sections
}

fn batch(catalog: &Catalog) -> String {
    let mut page = head("Batch", catalog);
    page += "From which Regions a model takes batch jobs: by its own id, or by an inference profile. A model that is not \
             here is not known to take any.\n";
    for (provider, models) in by_provider(catalog) {
        let rows: Vec<String> = (models.iter())
            .filter_map(|offered| {
                let batch = catalog.batch(&offered.model.id)?;
                let list = |regions: &[std::sync::Arc<str>]| codes(regions.iter().map(AsRef::as_ref));
                let (own, profile) = (list(&batch.in_region), list(&batch.via_profile));
                Some(format!("| {}<br>`{}` | {own} | {profile} |\n", offered.model.name, offered.model.id))
            })
            .collect();
        if !rows.is_empty() {
            write!(page, "\n## {provider}\n\n| model | in Region | by profile |\n|---|---|---|\n").unwrap();
            page.extend(rows);
        }
    }
    page + "\n[Quotas](QUOTAS.md#batch-jobs) tells how large a job may be.\n"
}

fn quotas(catalog: &Catalog) -> String {
    let quotas = Quotas::configured(&Config::default(), catalog).unwrap();
    let mut page = head("Quotas", catalog);
    page += "AWS's defaults for an account in one Region, as far as they are known: tokens and requests per minute. New \
             accounts often have less. `aws.quotas` of the configuration tells the gateway what yours really has. \
             *Burndown* is how many tokens of the quota a token of output takes. What calls by global profiles may use is \
             not published in the sources.\n";
    for (provider, models) in by_provider(catalog) {
        let rows: String = models.iter().filter_map(|offered| quota_row(&quotas, offered)).collect();
        if !rows.is_empty() {
            write!(page, "\n## {provider}\n\n").unwrap();
            page += "| model | in Region: requests | by profile: tokens | by profile: requests | burndown |\n";
            page += "|---|---|---|---|---|\n";
            page += &rows;
        }
    }
    page += "\n## Batch jobs\n\nFor one model in one Region. They do not count against the quotas above.\n\n";
    page += "| models | records of a job | bytes of a file | bytes of a job | jobs at once |\n|---|---|---|---|---|\n";
    let mut limits: BTreeMap<[u64; 5], Vec<String>> = BTreeMap::new();
    for model in catalog.offered().map(|offered| offered.model).filter(|model| model.is_callable()) {
        if let (Some(_), Some(limit)) = (catalog.batch(&model.id), catalog.batch_limits(&model.id)) {
            let numbers =
                [limit.min_records, limit.max_records, limit.max_file_bytes, limit.max_job_bytes, limit.max_jobs];
            limits.entry(numbers).or_default().push(format!("`{}`", model.id));
        }
    }
    let most = limits.values().map(Vec::len).max();
    for ([min, max, file, job, jobs], models) in &limits {
        let who = if Some(models.len()) == most { "all others".to_owned() } else { models.join(", ") };
        let [min, max, file, job] = [min, max, file, job].map(|number| grouped(*number));
        writeln!(page, "| {who} | {min} to {max} | {file} | {job} | {jobs} |").unwrap();
    }
    page
}

/// `None` when nothing is known.
fn quota_row(quotas: &Quotas, offered: &Offered<'_>) -> Option<String> {
    let known = |is_own: bool, of: fn(&Known) -> Option<u64>| {
        let mut regions: BTreeMap<Option<u64>, BTreeSet<&str>> = BTreeMap::new();
        for place in places(offered) {
            let is_global = matches!(&place.scope, Scope::Profile(geo) if **geo == *"global");
            if !is_global && (place.scope == Scope::InRegion) == is_own {
                let amount = of(&quotas.of(place, offered.model));
                regions.entry(amount).or_default().insert(&place.region);
            }
        }
        let most = regions.values().map(BTreeSet::len).max();
        let is_one = regions.len() == 1;
        let told = regions.into_iter().filter_map(|(amount, regions)| {
            let amount = grouped(amount?);
            Some(match Some(regions.len()) == most {
                _ if is_one => amount,
                true => format!("{amount} elsewhere"),
                false => format!("{amount} in {}", codes(regions)),
            })
        });
        told.collect::<Vec<_>>().join(", ")
    };
    let cells = [
        known(true, |known| known.requests_per_minute),
        known(false, |known| known.tokens_per_minute),
        known(false, |known| known.requests_per_minute),
    ];
    if cells.iter().all(String::is_empty) {
        return None;
    }
    let burndown = offered.model.output_burndown.map_or("unknown".to_owned(), |rate| rate.to_string());
    let model = offered.model;
    Some(format!("| {}<br>`{}` | {} | {burndown} |\n", model.name, model.id, cells.map(or_dash).join(" | ")))
}

/// The routes that have a column; a model of another kind has them told in the last.
const COLUMNS: [(&str, &str); 5] = [
    ("POST /v1/chat/completions", "chat completions"),
    ("POST /v1/responses", "responses"),
    ("POST /v1/messages", "messages"),
    ("POST /model/{id}/converse", "Converse"),
    ("POST /model/{id}/invoke", "InvokeModel"),
];

fn formats(catalog: &Catalog) -> String {
    let mut page = head("Formats", catalog);
    page += "Which of the gateway's routes take a model, and how its body gets there: *native* is as the caller wrote it, \
             *translated* is made into what the model speaks. The streamed route of a pair goes the same way as the whole \
             one. Where it is not known whether an API of AWS takes a model, it is offered, and AWS decides. \
             [The API](../API.md#lanes) tells what a translation changes.\n";
    for (provider, models) in by_provider(catalog) {
        let mut rows: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for offered in models {
            let ways = formats::of(offered.model);
            let name = |format: Format| match format {
                Format::Native => "native",
                Format::Translated => "translated",
            };
            let cell = |route: &str| ways.iter().find(|way| way.0 == route).map_or("-", |way| name(way.1));
            let cells: Vec<&str> = COLUMNS.iter().map(|(route, _)| cell(route)).collect();
            let is_other = |route: &str| COLUMNS.iter().all(|(column, _)| *column != route);
            let others = ways.iter().filter(|way| is_other(way.0)).map(|way| format!("`{}`: {}", way.0, name(way.1)));
            let others = or_dash(others.collect::<Vec<_>>().join(", "));
            rows.entry(format!("{} | {others}", cells.join(" | "))).or_default().push(&offered.model.short);
        }
        write!(page, "\n## {provider}\n\n| models |").unwrap();
        page.extend(COLUMNS.iter().map(|(_, title)| format!(" {title} |")));
        page += " others |\n|---|---|---|---|---|---|---|\n";
        let mut rows: Vec<(String, Vec<&str>)> = rows.into_iter().collect();
        rows.sort_by(|left, right| left.1.cmp(&right.1));
        for (cells, mut models) in rows {
            models.dedup();
            writeln!(page, "| {} | {cells} |", models.join(", ")).unwrap();
        }
    }
    page
}

#[expect(clippy::disallowed_methods, reason = "a test's own switch, not a setting of the gateway")]
pub(super) fn is_rewriting() -> bool {
    std::env::var_os("UPDATE_DOCS").is_some() && std::env::var_os("CI").is_none()
}

#[test]
fn the_pages_of_the_catalog_are_what_the_catalog_says() {
    let catalog = Catalog::embedded(&[]).unwrap();
    let pages = [
        ("MODELS.md", models(&catalog)),
        ("REGIONS.md", regions(&catalog)),
        ("BATCH.md", batch(&catalog)),
        ("QUOTAS.md", quotas(&catalog)),
        ("FORMATS.md", formats(&catalog)),
    ];
    let mut stale = Vec::new();
    for (name, text) in pages {
        assert!(text.lines().count() > 40, "{name} says next to nothing");
        let path = root().join("docs/catalog").join(name);
        if is_rewriting() {
            fs::write(&path, &text).unwrap();
        }
        if fs::read_to_string(&path).is_ok_and(|kept| kept == text) {
            continue;
        }
        stale.push(name);
    }
    assert!(stale.is_empty(), "{stale:?} are out of step: run UPDATE_DOCS=1 cargo test --test docs");
}
