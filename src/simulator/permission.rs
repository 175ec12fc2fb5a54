//! What a caller needs the permission for, and whether its policies give it: for an inference profile its own ARN, the model's in
//! the source Region and in every Region it may route to, for a global profile the model's without a Region ("Prerequisites for
//! inference profiles" of the user guide). A caller without policies may do everything.

use serde_json::Value;

use super::errors::{Failure, Surface};
use super::iam;
use super::operations::{Context, Operation};
use super::policy::{self, Decision, Request};
use super::resolve::Target;
use super::sessions::Identity;

/// One thing that must be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need {
    action: &'static str,
    resource: String,
    /// `aws:RequestedRegion`.
    region: String,
    /// `bedrock:InferenceProfileArn`.
    profile: Option<String>,
    /// Further condition keys.
    known: Vec<(&'static str, String)>,
}

/// Refuses an operation that the caller's policies do not allow.
pub(crate) fn check(context: &Context<'_>, operation: &Operation) -> Result<(), Failure> {
    hold(context, operation, || needs(context, operation))
}

/// Refuses one more thing that an operation does, if the caller's policies do not allow it.
pub(crate) fn require(
    context: &Context<'_>,
    operation: &Operation,
    action: &'static str,
    resource: &str,
) -> Result<(), Failure> {
    hold(context, operation, || vec![context.need(action, resource)])
}

fn hold(context: &Context<'_>, operation: &Operation, needs: impl FnOnce() -> Vec<Need>) -> Result<(), Failure> {
    let documents = match context.identity {
        Identity::Nobody => None,
        Identity::Session(session) => {
            context.simulator.role(&session.role_arn).map(|role| role.policies).filter(|policies| !policies.is_empty())
        }
        Identity::Key | Identity::Bearer => context.simulator.inner.account.policy().map(|policy| vec![policy]),
    };
    if documents.is_none() && !matches!(operation, Operation::S3(_)) {
        return Ok(());
    }
    for need in needs() {
        if is_denied_by_bucket(context, &need) {
            return Err(refusal(context, operation, &need, "with an explicit deny in a resource-based policy"));
        }
        let Some(documents) = &documents else { continue };
        let because = match policy::decide(documents, &request(context, &need)) {
            Decision::Allowed => continue,
            Decision::ExplicitDeny => "with an explicit deny in an identity-based policy".to_owned(),
            Decision::ImplicitDeny => format!("because no identity-based policy allows the {} action", need.action),
        };
        return Err(refusal(context, operation, &need, &because));
    }
    Ok(())
}

/// Whether the policy of the bucket that a need is about denies it.
fn is_denied_by_bucket(context: &Context<'_>, need: &Need) -> bool {
    let Some((_, resource)) = need.resource.split_once(":s3:::") else { return false };
    let bucket = resource.split('/').next().unwrap_or_default();
    let Some(document) = context.simulator.inner.account.bucket(bucket).and_then(|bucket| bucket.policy) else {
        return false;
    };
    let caller = context.identity.arn(context.partition(), context.account());
    let mut principals = vec![("AWS", caller), ("AWS", context.account().to_owned())];
    principals.push(("AWS", format!("arn:{}:iam::{}:root", context.partition(), context.account())));
    principals.extend(context.identity.session().map(|session| ("AWS", session.role_arn.clone())));
    let request = Request { principals, ..request(context, need) };
    policy::decide([&document], &request) == Decision::ExplicitDeny
}

fn request<'a>(context: &Context<'_>, need: &'a Need) -> Request<'a> {
    let caller = context.identity.arn(context.partition(), context.account());
    let principal = context.identity.session().map_or(caller.as_str(), |session| &session.role_arn);
    let mut request = Request { action: need.action, resource: &need.resource, ..Request::default() }
        .knowing("aws:RequestedRegion", &need.region)
        .knowing("aws:PrincipalArn", principal)
        .knowing("aws:PrincipalAccount", context.account())
        .knowing("aws:SecureTransport", "true");
    if need.resource != "*" && !need.resource.contains(":foundation-model/") {
        // A foundation model belongs to no account.
        request = request.knowing("aws:ResourceAccount", context.account());
    }
    if let Some(profile) = &need.profile {
        request = request.knowing("bedrock:InferenceProfileArn", profile);
    }
    if need.action == "iam:PassRole" {
        request = request.knowing("iam:PassedToService", "bedrock.amazonaws.com");
    }
    if matches!(context.identity, Identity::Bearer) {
        request = request.knowing("bedrock:BearerTokenType", "LONG_TERM");
    }
    for (key, value) in &need.known {
        request = request.knowing(key, value);
    }
    for (key, value) in context.identity.session().into_iter().flat_map(|session| &session.tags) {
        request = request.knowing(&format!("aws:PrincipalTag/{key}"), value);
    }
    request
}

fn refusal(context: &Context<'_>, operation: &Operation, need: &Need, because: &str) -> Failure {
    let who = context.identity.arn(context.partition(), context.account());
    let message =
        format!("User: {who} is not authorized to perform: {} on resource: {} {because}", need.action, need.resource);
    let name = match operation.surface() {
        Surface::Sts | Surface::Iam | Surface::S3 => "AccessDenied",
        _ => "AccessDeniedException",
    };
    Failure::new(if operation.surface() == Surface::Kms { 400 } else { 403 }, name, message)
}

fn needs(context: &Context<'_>, operation: &Operation) -> Vec<Need> {
    let mut needs = Vec::new();
    if matches!(context.identity, Identity::Bearer) {
        needs.push(context.need("bedrock:CallWithBearerToken", "*"));
    }
    if let Some(id) = operation.model_id() {
        // What resolves to nothing is refused for that.
        let Ok(target) = context.resolve(id) else { return needs };
        let actions: &[&'static str] = match operation {
            Operation::CountTokens(_) => &["bedrock:CountTokens", "bedrock:InvokeModel"],
            _ if operation.streams() => &["bedrock:InvokeModelWithResponseStream"],
            _ => &["bedrock:InvokeModel"],
        };
        needs.extend(actions.iter().flat_map(|action| inference(context, action, &target)));
        needs.extend(guardrail(context));
        return needs;
    }
    if let Operation::S3(request) = operation {
        let conditions: Vec<_> = request.conditions().map(|(key, value)| (key, value.to_owned())).collect();
        let all = request.needs(context.partition()).into_iter();
        needs.extend(
            all.map(|(action, resource)| Need { known: conditions.clone(), ..context.need(action, &resource) }),
        );
        return needs;
    }
    if matches!(operation, Operation::CreateJob(_)) {
        needs.extend(new_job(context));
        return needs;
    }
    let (action, resource) = match operation {
        Operation::Job(id) => ("bedrock:GetModelInvocationJob", job_arn(context, id)),
        Operation::StopJob(id) => ("bedrock:StopModelInvocationJob", job_arn(context, id)),
        Operation::ListJobs => ("bedrock:ListModelInvocationJobs", "*".to_owned()),
        Operation::ApplyGuardrail { id, .. } => {
            ("bedrock:ApplyGuardrail", context.own(&format!("guardrail/{}", last(id))))
        }
        Operation::StoredResponse(_) => ("bedrock:GetInvoke", context.own("project/default")),
        Operation::DeleteResponse(_) => ("bedrock:DeleteInvoke", context.own("project/default")),
        Operation::AsyncInvoke(arn) => ("bedrock:GetAsyncInvoke", arn.clone()),
        Operation::ListAsyncInvokes => ("bedrock:ListAsyncInvokes", "*".to_owned()),
        Operation::ListFoundationModels => ("bedrock:ListFoundationModels", "*".to_owned()),
        Operation::ListInferenceProfiles => ("bedrock:ListInferenceProfiles", "*".to_owned()),
        Operation::ModelAvailability(_) => ("bedrock:GetFoundationModelAvailability", "*".to_owned()),
        Operation::FoundationModel(id) => ("bedrock:GetFoundationModel", context.model_arn(context.region, last(id))),
        Operation::InferenceProfile(id) => ("bedrock:GetInferenceProfile", profile_arn(context, id)),
        Operation::ProvisionedModel(id) => {
            ("bedrock:GetProvisionedModelThroughput", context.own(&format!("provisioned-model/{}", last(id))))
        }
        Operation::CustomModel(id) if id.starts_with("arn:") => ("bedrock:GetCustomModel", id.clone()),
        Operation::CustomModel(id) => ("bedrock:GetCustomModel", context.own(&format!("custom-model/{id}"))),
        Operation::ImportedModel(id) => {
            ("bedrock:GetImportedModel", context.own(&format!("imported-model/{}", last(id))))
        }
        Operation::Sts(super::sts::Action::AssumeRole, form) => {
            ("sts:AssumeRole", form.field("RoleArn").unwrap_or_default().to_owned())
        }
        Operation::Iam(action @ iam::Action::Role, form) => ("iam:GetRole", iam::resource(context, *action, form)),
        Operation::Iam(action, form) => ("iam:SimulatePrincipalPolicy", iam::resource(context, *action, form)),
        Operation::DescribeKey => ("kms:DescribeKey", super::kms::arn(context)),
        // GetCallerIdentity needs no permission; the others were inference.
        _ => return needs,
    };
    needs.push(context.need(action, &resource));
    needs
}

fn job_arn(context: &Context<'_>, identifier: &str) -> String {
    if identifier.starts_with("arn:") {
        identifier.to_owned()
    } else {
        context.own(&format!("model-invocation-job/{identifier}"))
    }
}

/// A job is made of jobs and of the model or profile, and the role is passed on ("Required permissions for batch inference").
fn new_job(context: &Context<'_>) -> Vec<Need> {
    let body: Value = serde_json::from_slice(context.body).unwrap_or_default();
    let mut needs = vec![context.need("bedrock:CreateModelInvocationJob", &context.own("model-invocation-job/*"))];
    // What resolves to nothing is refused for that.
    let model = body["modelId"].as_str().and_then(|id| context.resolve(id).ok());
    needs.extend(model.map(|target| {
        let named = target.resource.clone();
        let profile = target.routing.map(|routing| format!("inference-profile/{}", routing.profile.id));
        let resource = named.or(profile).map(|resource| context.own(&resource));
        let resource = resource.unwrap_or_else(|| context.model_arn(context.region, &target.model.id));
        context.need("bedrock:CreateModelInvocationJob", &resource)
    }));
    if body["tags"].as_array().is_some_and(|tags| !tags.is_empty()) {
        needs.push(context.need("bedrock:TagResource", &context.own("model-invocation-job/*")));
    }
    needs.extend(body["roleArn"].as_str().map(|role| context.need("iam:PassRole", role)));
    needs
}

/// What a role of these policies may not invoke of what a profile leads to, for a job that goes through it; none: all is allowed.
/// Of a model in its own Region a role needs nothing.
pub(crate) fn missing_for_profile(context: &Context<'_>, documents: &[Value], target: &Target) -> Option<String> {
    if target.routing.is_none() && target.resource.is_none() {
        return None;
    }
    let allows = |need: &Need| policy::decide(documents, &request(context, need)) == Decision::Allowed;
    let needs = inference(context, "bedrock:InvokeModel", target);
    needs.into_iter().find(|need| !allows(need)).map(|need| need.resource)
}

fn last(identifier: &str) -> &str {
    identifier.rsplit('/').next().unwrap_or(identifier)
}

fn profile_arn(context: &Context<'_>, identifier: &str) -> String {
    let id = last(identifier);
    let own = context.simulator.settings().application_profiles.contains_key(id);
    let kind = if own { "application-inference-profile" } else { "inference-profile" };
    context.own(&format!("{kind}/{id}"))
}

/// What a call of a model needs.
fn inference(context: &Context<'_>, action: &'static str, target: &Target) -> Vec<Need> {
    let mut needs = Vec::new();
    let resource = target.resource.as_deref().map(|resource| context.own(resource));
    needs.extend(resource.as_deref().map(|arn| context.need(action, arn)));
    if matches!(target.kind(), "provisioned-model" | "custom-model" | "custom-model-deployment" | "imported-model") {
        return needs;
    }
    let application = resource.filter(|_| target.kind() == "application-inference-profile");
    let Some(routing) = &target.routing else {
        let model = context.need(action, &context.model_arn(context.region, &target.model.id));
        needs.push(Need { profile: application, ..model });
        return needs;
    };
    let system = context.own(&format!("inference-profile/{}", routing.profile.id));
    if application.is_none() {
        needs.push(context.need(action, &system));
    }
    let mut regions = vec![context.region];
    if routing.profile.is_global() {
        regions.push("");
    } else {
        regions.extend(routing.destinations.iter().map(String::as_str).filter(|to| *to != context.region));
    }
    let profile = application.unwrap_or(system);
    needs.extend(regions.into_iter().map(|region| Need {
        action,
        resource: context.model_arn(region, &target.model.id),
        region: if region.is_empty() { "unspecified".to_owned() } else { region.to_owned() },
        profile: Some(profile.clone()),
        known: Vec::new(),
    }));
    needs
}

/// A guardrail in the headers or the body of a call needs a permission of its own.
fn guardrail(context: &Context<'_>) -> Option<Need> {
    let in_header = context.header("x-amzn-bedrock-guardrailidentifier").map(str::to_owned);
    let id = in_header.or_else(|| {
        memchr::memmem::find(context.body, b"guardrailConfig")?;
        let body: Value = serde_json::from_slice(context.body).ok()?;
        body["guardrailConfig"]["guardrailIdentifier"].as_str().map(str::to_owned)
    })?;
    Some(context.need("bedrock:ApplyGuardrail", &context.own(&format!("guardrail/{}", last(&id)))))
}

impl Context<'_> {
    fn need(&self, action: &'static str, resource: &str) -> Need {
        Need { action, resource: resource.to_owned(), region: self.region.to_owned(), profile: None, known: Vec::new() }
    }

    /// The ARN of a resource of the account in Bedrock.
    pub(crate) fn own(&self, resource: &str) -> String {
        format!("arn:{}:bedrock:{}:{}:{resource}", self.partition(), self.region, self.account())
    }

    /// The ARN of a foundation model in a Region, or in none.
    pub(crate) fn model_arn(&self, region: &str, id: &str) -> String {
        format!("arn:{}:bedrock:{region}::foundation-model/{id}", self.partition())
    }
}
