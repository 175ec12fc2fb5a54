//! What is granted, and what is not.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::catalog::{Destinations, Fence, Kind, Order};
use crate::config::{Alias, Secret};

const ACCOUNT: &str = "000000000000";
const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";

fn config(regions: &[&str]) -> Config {
    let mut config = Config::default();
    config.aws.regions = regions.iter().map(|region| (*region).to_owned()).collect();
    config
}

fn request(selection: Selection) -> Request {
    Request {
        account: Account::of(ACCOUNT).unwrap(),
        selection,
        profiles: Profiles::Chosen,
        team_roles: Vec::new(),
        team_profiles: Vec::new(),
        team_guardrails: Vec::new(),
        kms_key: None,
        base: None,
    }
}

fn named(names: &[&str]) -> Selection {
    Selection::Named(names.iter().map(|name| (*name).to_owned()).collect())
}

fn policies(config: &Config, request: &Request) -> Policies {
    Policies::new(config, &Catalog::configured(config).unwrap(), request).unwrap()
}

fn statements(documents: &Named) -> impl Iterator<Item = &Statement> {
    documents.values().flat_map(|document| &document.statement)
}

/// The resources of all statements of this name.
fn resources(documents: &Named, sid: &str) -> BTreeSet<String> {
    statements(documents).filter(|one| one.sid == sid).flat_map(|one| one.resource.clone()).collect()
}

fn set<'a>(arns: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    arns.into_iter().map(str::to_owned).collect()
}

fn fm(region: &str, id: &str) -> String {
    format!("arn:aws:bedrock:{region}::foundation-model/{id}")
}

#[test]
fn a_geographic_profile_is_allowed_with_its_model_in_the_source_and_in_every_destination_region() {
    let policies = policies(&config(&["us-east-1"]), &request(named(&["claude-haiku-4-5"])));
    let profile = format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/us.{HAIKU}");
    assert_eq!(resources(&policies.caller, "InvokeInUsEast1"), set([&*profile, &fm("us-east-1", HAIKU)]));
    let routed = [fm("us-east-2", HAIKU), fm("us-west-2", HAIKU)];
    assert_eq!(resources(&policies.caller, "InvokeThroughProfiles"), BTreeSet::from(routed));
    let through = statements(&policies.caller).find(|one| one.sid == "InvokeThroughProfiles").unwrap();
    let expected = [format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/*")];
    assert_eq!(through.condition["ArnLike"]["bedrock:InferenceProfileArn"].0, expected);
    assert_eq!(through.action, ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]);
}

#[test]
fn a_global_profile_is_allowed_by_three_arns_one_of_them_without_a_region() {
    let policies = policies(&config(&["us-east-1"]), &request(named(&[&format!("global.{HAIKU}")])));
    let profile = format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/global.{HAIKU}");
    assert_eq!(resources(&policies.caller, "InvokeInUsEast1"), set([&*profile, &fm("us-east-1", HAIKU)]));
    assert_eq!(resources(&policies.caller, "InvokeAnywhere"), BTreeSet::from([fm("", HAIKU)]));
    assert_eq!(resources(&policies.caller, "InvokeThroughProfiles"), BTreeSet::new());
    let anywhere = statements(&policies.caller).find(|one| one.sid == "InvokeAnywhere").unwrap();
    assert_eq!(anywhere.condition["StringEquals"]["aws:RequestedRegion"].0, ["unspecified"]);
}

#[test]
fn a_model_in_its_region_is_allowed_by_its_own_arn_alone() {
    let policies = policies(&config(&["us-east-1"]), &request(named(&["amazon.titan-embed-text-v2:0"])));
    let expected = BTreeSet::from([fm("us-east-1", "amazon.titan-embed-text-v2:0")]);
    assert_eq!(resources(&policies.caller, "InvokeInUsEast1"), expected);
    assert!(statements(&policies.caller).all(|one| one.sid != "InvokeThroughProfiles"));
}

#[test]
fn every_model_that_can_be_called_is_allowed_where_it_is_called_and_wherever_it_is_sent_on() {
    let config = config(&["us-east-1", "eu-west-2", "ap-southeast-2"]);
    let catalog = Catalog::configured(&config).unwrap();
    let policies = Policies::new(&config, &catalog, &request(Selection::Everything)).unwrap();
    let allowed: BTreeSet<&str> =
        statements(&policies.caller).flat_map(|one| one.resource.iter().map(String::as_str)).collect();
    let regions: Vec<Arc<str>> = config.aws.regions.iter().map(|region| region.as_str().into()).collect();
    let mut checked = 0;
    let anywhere = Fence::default();
    for model in catalog.models(&regions, &anywhere).filter(|model| model.kind != Kind::Realtime) {
        let resolved = catalog.resolve(&model.id).unwrap();
        for place in catalog.candidates(&resolved, &regions, &anywhere, Order::Preference).unwrap() {
            assert!(allowed.contains(&*fm(&place.region, &model.id)), "{} in {}", model.id, place.region);
            let Destinations::Among(to) = &place.destinations else { continue };
            for destination in &**to {
                assert!(allowed.contains(&*fm(destination, &model.id)), "{} to {destination}", place.id);
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn every_document_is_within_the_limit_of_iam_and_its_names_are_unique() {
    let mut config = config(&["us-east-1", "us-west-2", "eu-central-1"]);
    config.batch.bucket = [("us-east-1".to_owned(), "files".to_owned())].into();
    config.batch.role_arn = format!("arn:aws:iam::{ACCOUNT}:role/batch");
    for selection in [Selection::Everything, Selection::Aliases] {
        let policies = policies(&config, &Request { profiles: Profiles::Every, ..request(selection) });
        let role = policies.batch_role.as_ref().unwrap();
        for document in policies.caller.values().chain(role.permissions.values()).chain(policies.doctor.values()) {
            assert!(document.size() <= LIMIT, "{}", document.size());
            let mut sids: Vec<_> = document.statement.iter().map(|one| &one.sid).collect();
            sids.sort();
            sids.dedup();
            assert_eq!(sids.len(), document.statement.len());
        }
    }
}

#[test]
fn no_model_is_allowed_by_a_wildcard_unless_a_profile_holds_it_and_no_action_ever() {
    let policies = policies(&config(&["us-east-1", "ap-northeast-1"]), &request(Selection::Everything));
    for one in statements(&policies.caller) {
        assert!(one.action.iter().all(|action| !action.contains('*')), "{one:?}");
        let invokes = one.action.contains(&"bedrock:InvokeModel");
        let is_held = one.condition.get("ArnLike").is_some_and(|keys| keys.contains_key("bedrock:InferenceProfileArn"));
        assert!(!invokes || is_held || one.resource.iter().all(|arn| !arn.contains('*')), "{one:?}");
    }
}

#[test]
fn aliases_only_allows_what_aliases_stand_for_and_their_arns() {
    let mut config = config(&["us-east-1"]);
    let application = format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/abcdefghijkl");
    for (alias, model) in [("fast", "nova-lite"), ("ours", &application)] {
        config.models.push(Alias { alias: alias.into(), model: model.into(), ..Alias::default() });
    }
    let policies = policies(&config, &request(Selection::Aliases));
    let called = resources(&policies.caller, "InvokeInUsEast1");
    assert!(called.contains(&application) && called.len() == 2, "{called:?}");
    assert!(called.iter().all(|arn| arn.contains("nova-lite") || *arn == application));
    let hidden = statements(&policies.caller).find(|one| one.sid == "InvokeByProfile").unwrap();
    assert_eq!(hidden.resource, ["arn:aws:bedrock:*::foundation-model/*"]);
    assert_eq!(hidden.condition["ArnLike"]["bedrock:InferenceProfileArn"].0, [application]);
}

#[test]
fn a_model_that_is_not_known_or_not_offered_is_told() {
    let config = config(&["us-west-2"]);
    let catalog = Catalog::configured(&config).unwrap();
    let error = Policies::new(&config, &catalog, &request(named(&["claude-haiku-4-6"]))).unwrap_err();
    assert!(error.message().contains("did you mean"), "{error}");
    let error = Policies::new(&config, &catalog, &request(named(&[&format!("eu.{HAIKU}")]))).unwrap_err();
    assert!(error.message().contains("cannot be called from us-west-2"), "{error}");
}

#[test]
fn govcloud_has_arns_of_its_own_partition() {
    let mut config = config(&["us-gov-west-1"]);
    config.batch.bucket = [("us-gov-west-1".to_owned(), "files".to_owned())].into();
    let policies = policies(&config, &request(Selection::Everything));
    let all = statements(&policies.caller)
        .flat_map(|one| &one.resource)
        .chain(statements(&policies.bucket).flat_map(|one| &one.resource));
    let arns: Vec<&String> = all.filter(|arn| *arn != "*").collect();
    assert!(arns.len() > 5 && arns.iter().all(|arn| arn.starts_with("arn:aws-us-gov:")), "{arns:?}");
    assert!(arns.iter().any(|arn| arn.contains("inference-profile/us-gov.")));
}

#[test]
fn batch_needs_the_role_handed_over_trusted_and_let_to_the_files_below_the_prefix() {
    let mut config = config(&["us-east-1", "us-west-2"]);
    config.batch.bucket = [("us-east-1".to_owned(), "files".to_owned())].into();
    config.batch.role_arn = "arn:aws:iam::000000000000:role/batch".into();
    let key = format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/1");
    let request = Request { kms_key: Some(key.clone()), ..request(named(&["claude-haiku-4-5"])) };
    let policies = policies(&config, &request);
    let pass = statements(&policies.caller).find(|one| one.sid == "HandOverRole").unwrap();
    assert_eq!((pass.action.as_slice(), &pass.resource[0]), (["iam:PassRole"].as_slice(), &config.batch.role_arn));
    assert_eq!(pass.condition["StringEquals"]["iam:PassedToService"].0, ["bedrock.amazonaws.com"]);
    // No bucket in us-west-2, so no job is made there.
    let created = resources(&policies.caller, "CreateJobs");
    assert!(created.iter().all(|arn| arn.contains(":us-east-1:")) && created.len() == 3, "{created:?}");

    let role = policies.batch_role.as_ref().unwrap();
    let trust = &role.trust.statement[0];
    assert_eq!(trust.principal, Some(Principal::Service("bedrock.amazonaws.com")));
    assert_eq!(trust.condition["StringEquals"]["aws:SourceAccount"].0, [ACCOUNT]);
    let jobs = format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:model-invocation-job/*");
    assert_eq!(trust.condition["ArnLike"]["aws:SourceArn"].0, [jobs]);
    assert_eq!(resources(&role.permissions, "UseFiles"), set(["arn:aws:s3:::files/bedrock-gateway/*"]));
    assert_eq!(resources(&role.permissions, "UseKey"), set([&*key]));
    let led_to: BTreeSet<_> = ["us-east-1", "us-east-2", "us-west-2"].iter().map(|region| fm(region, HAIKU)).collect();
    assert_eq!(resources(&role.permissions, "InvokeThroughProfiles"), led_to);

    let bucket = &policies.bucket["files"].statement;
    assert_eq!((bucket[0].effect, &*bucket[0].sid), (Effect::Deny, "RefusePlainHttp"));
    assert!(bucket[1..].iter().all(|one| one.principal == Some(Principal::Aws(config.batch.role_arn.clone()))));
}

#[test]
fn what_is_not_configured_is_not_allowed() {
    let policies = policies(&config(&["us-east-1"]), &request(named(&["nova-lite"])));
    let actions: BTreeSet<&str> = statements(&policies.caller).flat_map(|one| one.action.iter().copied()).collect();
    for prefix in
        ["s3:", "iam:", "sts:", "kms:", "sagemaker:", "bedrock:CallWithBearerToken", "bedrock:CreateModelInvocationJob"]
    {
        assert!(actions.iter().all(|action| !action.starts_with(prefix)), "{prefix} in {actions:?}");
    }
    assert!(policies.base.is_empty() && policies.batch_role.is_none() && policies.caller_trust.is_none());
    assert!(policies.bucket.is_empty() && policies.doctor.is_empty() && policies.replace.is_empty());
}

#[test]
fn a_role_is_taken_by_the_base_identity_and_trusts_it() {
    let mut config = config(&["us-east-1"]);
    config.aws.role_arn = "arn:aws:iam::000000000000:role/gateway".into();
    config.aws.bearer_token = Some(Secret::new("bedrock-api-key-fake"));
    let team = "arn:aws:iam::000000000000:role/team".to_owned();
    let with_team = Request { team_roles: vec![team.clone()], ..request(named(&["nova-lite"])) };
    let found = policies(&config, &with_team);
    assert_eq!(resources(&found.base, "TakeRoles"), set([&*config.aws.role_arn, &*team]));
    assert_eq!(statements(&found.base).next().unwrap().action, ["sts:AssumeRole", "sts:TagSession"]);
    assert_eq!(found.replace.keys().copied().collect::<Vec<_>>(), ["${BASE_IDENTITY_ARN}"]);
    assert!(statements(&found.caller).any(|one| one.action == ["bedrock:CallWithBearerToken"]));
    let base = "arn:aws:iam::000000000000:role/pod".to_owned();
    let found = policies(&config, &Request { base: Some(base.clone()), ..with_team });
    assert_eq!(found.caller_trust.unwrap().statement[0].principal, Some(Principal::Aws(base)));
    assert!(found.replace.is_empty());
    assert_eq!(Account::configured(&config), Account::of(ACCOUNT));
}

#[test]
fn what_teams_carry_is_allowed_where_it_is() {
    let profile = format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/abcdefghijkl");
    let guardrail = "arn:aws:bedrock:us-east-1:111111111111:guardrail/abc".to_owned();
    let config = config(&["us-east-1"]);
    let request = Request {
        team_profiles: vec![profile.clone()],
        team_guardrails: vec![guardrail.clone()],
        ..request(named(&["claude-haiku-4-5"]))
    };
    let policies = policies(&config, &request);
    assert!(resources(&policies.caller, "InvokeInUsEast1").contains(&profile));
    let sent_on = statements(&policies.caller).find(|one| one.sid == "InvokeByProfile").unwrap();
    let condition = serde_json::to_value(sent_on).unwrap()["Condition"].clone();
    assert_eq!(condition["ArnLike"]["bedrock:InferenceProfileArn"], serde_json::json!(profile));
    let guardrails = resources(&policies.caller, "ApplyGuardrails");
    assert!(guardrails.contains(&guardrail) && guardrails.len() == 3, "{guardrails:?}");
}

#[test]
fn an_account_has_twelve_digits_and_an_unknown_one_is_to_be_filled_in() {
    for text in ["", "12345678901", "1234567890123", "12345678901a"] {
        assert_eq!(Account::of(text), None, "{text}");
    }
    let request = Request { account: Account::unknown(), ..request(named(&["claude-haiku-4-5"])) };
    let policies = policies(&config(&["us-east-1"]), &request);
    assert!(policies.replace.contains_key("${ACCOUNT}"));
    assert!(resources(&policies.caller, "InvokeInUsEast1").iter().any(|arn| arn.contains(":${ACCOUNT}:")));
}
