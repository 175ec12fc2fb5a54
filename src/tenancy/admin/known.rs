//! Whether what administrators name exists: Regions, models, the partition of a role. What is known is the catalog's.

use std::sync::Arc;

use crate::catalog::Catalog;
use crate::config;
use crate::error::{Error, Result};

/// Fails with [`crate::error::Kind::Invalid`] for the first Region that does not exist, `field` and its place to blame.
pub fn check_regions(catalog: &Catalog, field: &str, regions: &[String]) -> Result<()> {
    for (index, region) in regions.iter().enumerate() {
        let path = format!("{field}[{index}]");
        // As much of it as can be one: the rest is nobody's to repeat.
        let shown: String = region.chars().filter(|c| !c.is_control()).take(32).collect();
        catalog.check_region(&shown).map_err(|problem| Error::invalid(&*path, format!("{problem}.")))?;
    }
    Ok(())
}

/// What to say of allowed models that are not known. One may come later, so that is no error.
pub fn doubts<'a>(catalog: &Catalog, field: &str, models: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let doubts = models.into_iter().filter_map(|model| catalog.check_allowed(model).err());
    doubts.map(|problem| format!("{field}: {problem}")).collect()
}

/// A role is assumed from the `regions` that are called, and none of them trusts another partition. A text that is no
/// role's ARN is somebody else's to refuse. Fails with [`crate::error::Kind::Invalid`], `field` to blame.
pub fn check_role(catalog: &Catalog, regions: &[Arc<str>], field: &str, arn: &str) -> Result<()> {
    let Some(of_role) = config::role_partition(arn) else { return Ok(()) };
    let mut of_regions = regions.iter().filter_map(|region| catalog.region(region)).map(|region| &*region.partition);
    if of_regions.clone().any(|partition| *partition == *of_role) {
        return Ok(());
    }
    let Some(called) = of_regions.next() else { return Ok(()) };
    let text = format!("The role is of the partition `{of_role}`, and the Regions in `aws.regions` are of `{called}`.");
    Err(Error::invalid(field, text))
}

/// Fails with [`crate::error::Kind::Invalid`] for a profile in a Region that does not exist, its model's place in `field`
/// to blame. A text that is no ARN is somebody else's to refuse.
pub fn check_profiles<'a>(
    catalog: &Catalog,
    field: &str,
    profiles: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<()> {
    for (model, arn) in profiles {
        let Some(region) = arn.split(':').nth(3).filter(|_| arn.len() <= 2048) else { continue };
        let path = format!("{field}.{model}");
        catalog.check_region(region).map_err(|problem| Error::invalid(&*path, format!("`{path}`: {problem}.")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        Catalog::embedded(&[]).unwrap()
    }

    #[test]
    fn regions_have_to_exist_and_models_may_come_later() {
        let catalog = catalog();
        let list = |entries: &[&str]| entries.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(check_regions(&catalog, "regions", &list(&["us-east-1", "eu-west-1"])).is_ok());
        let error = check_regions(&catalog, "regions", &list(&["us-east-1", "us-est-1"])).unwrap_err();
        assert_eq!(error.blamed(), Some("regions[1]"));
        assert!(error.message().contains("did you mean \"us-east-1\"?"), "{error}");
        let told = doubts(&catalog, "models", ["nova-lite", "nova-*", "nonsense"]);
        assert_eq!(told, ["models: unknown model \"nonsense\""]);
    }

    #[test]
    fn a_role_is_of_the_partition_that_is_called() {
        let regions: Vec<Arc<str>> = vec!["us-east-1".into()];
        let check = |arn: &str| check_role(&catalog(), &regions, "role_arn", arn);
        assert!(check("arn:aws:iam::000000000000:role/a").is_ok());
        assert!(check("no arn").is_ok(), "refused elsewhere");
        let error = check("arn:aws-us-gov:iam::000000000000:role/a").unwrap_err();
        assert_eq!(error.blamed(), Some("role_arn"));
        assert!(!error.message().contains("000000000000"));
    }

    #[test]
    fn a_profile_is_in_a_region_that_exists() {
        let check = |region: &str| {
            let arn = format!("arn:aws:bedrock:{region}:000000000000:application-inference-profile/abc");
            let profiles = std::collections::BTreeMap::from([("nova-lite".to_owned(), arn)]);
            check_profiles(&catalog(), "profiles", &profiles)
        };
        assert!(check("us-east-1").is_ok());
        let error = check("us-moon-1").unwrap_err();
        assert_eq!(error.blamed(), Some("profiles.nova-lite"));
        assert!(!error.message().contains("000000000000"));
    }
}
