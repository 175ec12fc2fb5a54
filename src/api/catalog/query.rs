//! The query of a list: filters, and which page. What is not known is a 400 that names it: a filter that were passed over
//! would show a caller the wrong models.

use std::str::FromStr;
use std::sync::Arc;

use url::form_urlencoded;

use crate::catalog::{Catalog, Model};
use crate::config::nearest;
use crate::error::{Error, Result};

/// Entries of a page, unless the caller says otherwise.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// The longest value: nothing that is looked for is longer.
const MAX_VALUE: usize = 512;
/// What every list takes.
const EVERYWHERE: [&str; 7] = ["region", "provider", "batch", "modality", "q", "limit", "cursor"];
/// What a list takes besides that has Regions in it.
const ALL_REGIONS: &str = "all_regions";

/// Which Regions a list is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those that this gateway calls, or all on request.
    Gateway,
    /// All there are.
    World,
}

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Query {
    /// This Region only; it exists.
    pub(super) region: Option<Arc<str>>,
    /// Whether only what takes batch jobs, or what does not, is wanted.
    pub(super) batch: Option<bool>,
    /// Also Regions that this gateway does not call.
    pub(super) all_regions: bool,
    /// In lower case; somebody has it.
    provider: Option<String>,
    /// In capitals; some model has it.
    modality: Option<String>,
    /// In lower case.
    words: Vec<String>,
    limit: usize,
    after: Option<String>,
}

impl Query {
    /// Reads the query string of a URL.
    ///
    /// # Errors
    /// `Invalid` with the parameter to blame: not known, given twice, or with a value that cannot be.
    pub(super) fn read(text: Option<&str>, reach: Reach, catalog: &Catalog) -> Result<Self> {
        let limit = match reach {
            Reach::Gateway => LIMIT,
            // There are so few that a page holds all of them.
            Reach::World => MAX_LIMIT,
        };
        let mut query = Self { limit, ..Self::default() };
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
            let is_known = EVERYWHERE.contains(&&*name) || (reach == Reach::Gateway && *name == *ALL_REGIONS);
            if !is_known {
                return Err(unknown(&name, reach));
            }
            if seen.iter().any(|seen| **seen == *name) {
                return Err(Error::invalid(&*name, format!("`{name}` is given twice.")));
            }
            // A replacement character stands where the URL had no UTF-8.
            if value.is_empty()
                || value.len() > MAX_VALUE
                || value.contains(|c: char| c.is_control() || c == '\u{fffd}')
            {
                let message = format!("`{name}` has to be text of 1 to {MAX_VALUE} bytes without control characters.");
                return Err(Error::invalid(&*name, message));
            }
            query.set(&name, &value, catalog)?;
            seen.push(name.into_owned());
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str, catalog: &Catalog) -> Result<()> {
        match name {
            "region" => self.region = Some(region(value, catalog)?),
            "provider" => self.provider = Some(provider(value, catalog)?),
            "modality" => self.modality = Some(modality(value, catalog)?),
            "batch" => self.batch = Some(parsed(name, value, "true or false")?),
            ALL_REGIONS => self.all_regions = parsed(name, value, "true or false")?,
            "limit" => {
                let told = "a whole number from 1 to 1000";
                let limit = parsed(name, value, told)?;
                if !(1..=MAX_LIMIT).contains(&limit) {
                    return Err(Error::invalid(name, format!("`{name}` has to be {told}.")));
                }
                self.limit = limit;
            }
            "cursor" => self.after = Some(value.to_owned()),
            _ => self.words = value.split_whitespace().map(str::to_lowercase).collect(),
        }
        Ok(())
    }

    /// Whether the list is limited to some models.
    pub(super) fn is_about_models(&self) -> bool {
        self.provider.is_some() || self.modality.is_some() || self.batch.is_some()
    }

    /// Whether the model is of the provider and has the modality that are wanted.
    pub(super) fn wants(&self, model: &Model) -> bool {
        let has =
            |wanted: &String| model.input_modalities.iter().chain(&model.output_modalities).any(|it| it == wanted);
        let is_by = |wanted: &String| providers(model).iter().any(|name| name == wanted);
        self.provider.as_ref().is_none_or(is_by) && self.modality.as_ref().is_none_or(has)
    }

    /// Whether every word that is looked for is in one of `texts`.
    pub(super) fn finds<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let texts: Vec<String> = texts.into_iter().map(str::to_lowercase).collect();
        self.words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
    }

    /// Whether every word is in one of the names of the model.
    pub(super) fn finds_model(&self, model: &Model) -> bool {
        self.finds([&*model.id, &*model.short, &*model.name, &*model.provider])
    }

    /// The page that is wanted of `entries`, which are in the order of their ids, and the cursor of the next.
    pub(super) fn page<T>(
        &self,
        entries: impl Iterator<Item = T>,
        id: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        let mut left = entries.skip_while(|entry| self.after.as_ref().is_some_and(|after| id(entry) <= *after));
        let page: Vec<T> = left.by_ref().take(self.limit).collect();
        let next = left.next().and(page.last()).map(&id);
        (page, next)
    }
}

/// By what a provider may be named: its name, and how the ids of its models begin. In lower case.
fn providers(model: &Model) -> [String; 2] {
    let prefix = model.id.split('.').next().unwrap_or_default();
    [model.provider.to_lowercase(), prefix.to_lowercase()]
}

fn parsed<T: FromStr>(name: &str, value: &str, told: &str) -> Result<T> {
    value.parse().map_err(|_| Error::invalid(name, format!("`{name}` has to be {told}.")))
}

fn region(value: &str, catalog: &Catalog) -> Result<Arc<str>> {
    if let Some(region) = catalog.region(value) {
        return Ok(Arc::clone(&region.code));
    }
    let known = catalog.regions().iter().map(|region| &*region.code);
    let hint = hint(value, known, "GET /catalog/regions lists them.");
    Err(Error::invalid("region", format!("There is no Region `{}`; {hint}", shown(value))))
}

fn provider(value: &str, catalog: &Catalog) -> Result<String> {
    let wanted = value.to_lowercase();
    let known: Vec<String> = catalog.offered().flat_map(|offered| providers(offered.model)).collect();
    if known.contains(&wanted) {
        return Ok(wanted);
    }
    let mut names: Vec<&str> = catalog.offered().map(|offered| offered.model.provider.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let hint = hint(&wanted, known.iter().map(String::as_str), &format!("known are {}.", names.join(", ")));
    Err(Error::invalid("provider", format!("No model is by the provider `{}`; {hint}", shown(value))))
}

fn modality(value: &str, catalog: &Catalog) -> Result<String> {
    let wanted = value.to_uppercase();
    let models = catalog.offered().map(|offered| offered.model);
    let mut known: Vec<&str> = models
        .flat_map(|model| model.input_modalities.iter().chain(&model.output_modalities))
        .map(String::as_str)
        .collect();
    known.sort_unstable();
    known.dedup();
    if known.contains(&&*wanted) {
        return Ok(wanted);
    }
    let message = format!("No model has the modality `{}`; known are {}.", shown(value), known.join(", "));
    Err(Error::invalid("modality", message))
}

fn unknown(name: &str, reach: Reach) -> Error {
    let all_regions = (reach == Reach::Gateway).then_some(ALL_REGIONS);
    let known: Vec<&str> = EVERYWHERE.into_iter().chain(all_regions).collect();
    let hint = hint(name, known.iter().copied(), &format!("known are {}.", known.join(", ")));
    Error::invalid(shown(name), format!("There is no parameter `{}`; {hint}", shown(name)))
}

fn hint<'a>(wrong: &str, known: impl Iterator<Item = &'a str>, otherwise: &str) -> String {
    nearest(wrong, known).map_or_else(|| otherwise.to_owned(), |meant| format!("did you mean `{meant}`?"))
}

/// As much of a caller's text as an error repeats.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Query> {
        Query::read(Some(text), Reach::Gateway, &Catalog::embedded(&[]).unwrap())
    }

    #[test]
    fn what_is_not_known_is_refused_by_its_name() {
        for (query, blamed, told) in [
            ("regoin=us-east-1", "regoin", "did you mean `region`?"),
            ("region=us-est-1", "region", "did you mean `us-east-1`?"),
            ("region=mars", "region", "GET /catalog/regions"),
            ("provider=antropic", "provider", "did you mean `anthropic`?"),
            ("provider=nobody-at-all", "provider", "Mistral AI"),
            ("batch=yes", "batch", "true or false"),
            ("modality=smell", "modality", "EMBEDDING"),
            ("limit=0", "limit", "from 1 to 1000"),
            ("limit=1001", "limit", "from 1 to 1000"),
            ("limit=-1", "limit", "from 1 to 1000"),
            ("q=", "q", "1 to 512"),
            ("q=%00", "q", "control characters"),
            ("q=%ff", "q", "control characters"),
            ("q=a&q=b", "q", "twice"),
            ("all_regions=1", "all_regions", "true or false"),
        ] {
            let error = read(query).unwrap_err();
            assert_eq!(error.blamed(), Some(blamed), "{query}");
            assert!(error.message().contains(told), "{query}: {error}");
        }
        let catalog = Catalog::embedded(&[]).unwrap();
        let error = Query::read(Some("all_regions=true"), Reach::World, &catalog).unwrap_err();
        assert_eq!(error.blamed(), Some("all_regions"));
        let long = read(&format!("{}=1", "x".repeat(100_000))).unwrap_err();
        assert!(long.message().len() < 512, "{}", long.message().len());
    }

    #[test]
    fn providers_go_by_name_and_by_how_ids_begin() {
        let catalog = Catalog::embedded(&[]).unwrap();
        let model = catalog.resolve("mistral.voxtral-mini-3b-2507").unwrap().model.unwrap();
        for query in ["provider=Mistral+AI", "provider=mistral", "modality=text&q=VOXTRAL+mini", "q=mistral%20ai"] {
            let query = read(query).unwrap();
            assert!(query.wants(&model) && query.finds_model(&model), "{query:?}");
        }
        assert!(!read("provider=meta").unwrap().wants(&model) && !read("q=llama").unwrap().finds_model(&model));
    }

    #[test]
    fn pages_end_with_no_cursor_and_begin_after_theirs() {
        let ids = ["a", "b", "c"];
        let page = |query: &str| read(query).unwrap().page(ids.iter(), |id| (**id).to_owned());
        assert_eq!(page("limit=2"), (vec![&"a", &"b"], Some("b".to_owned())));
        assert_eq!(page("limit=2&cursor=b"), (vec![&"c"], None));
        assert_eq!(page("limit=3"), (vec![&"a", &"b", &"c"], None));
        assert_eq!(page("cursor=bb"), (vec![&"c"], None));
        assert_eq!(page("cursor=z"), (vec![], None));
    }
}
