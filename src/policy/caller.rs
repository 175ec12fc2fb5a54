//! For the identity that calls AWS: models, guardrails, what the catalog is refreshed from, files.

use super::Scope;
use super::document::{Principal, Statement};
use super::reach::Reach;
use crate::config::Config;

/// Converse and the OpenAI and Anthropic paths are allowed by these two as well; so is StartAsyncInvoke by the first.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonbedrock.html>
const INVOKE: [&str; 2] = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"];
const PROFILE: &str = "bedrock:InferenceProfileArn";

/// What the gateway needs while it serves.
pub(super) fn statements(scope: &Scope<'_>, reach: &Reach) -> Vec<Statement> {
    let mut statements = look_ups(scope);
    statements.extend(files(scope));
    statements.extend(jobs(scope, reach));
    statements.extend(invocations(scope, reach));
    statements
}

/// Refresh, guardrails, token counts.
fn look_ups(scope: &Scope<'_>) -> Vec<Statement> {
    let regions = &scope.config.aws.regions;
    let everywhere = |resource: &str| regions.iter().map(|region| scope.bedrock(region, resource)).collect::<Vec<_>>();
    let lists =
        ["bedrock:ListFoundationModels", "bedrock:GetFoundationModelAvailability", "bedrock:ListInferenceProfiles"];
    let mut statements = vec![
        // These have no resource.
        Statement::allow("ReadCatalog", &lists).on(["*".to_owned()]).when(
            "StringEquals",
            "aws:RequestedRegion",
            regions.iter().map(String::as_str),
        ),
        Statement::allow("ReadProfiles", &["bedrock:GetInferenceProfile"])
            .on(everywhere("inference-profile/*"))
            .on(everywhere("application-inference-profile/*")),
        // Which guardrail is said by the request or by its team.
        Statement::allow("ApplyGuardrails", &["bedrock:ApplyGuardrail"])
            .on(everywhere("guardrail/*"))
            .on(everywhere("guardrail-profile/*"))
            .on(scope.request.team_guardrails.iter().cloned()),
        // Free, and tells only of what was sent. A profile is counted for as it is invoked, wherever it leads.
        Statement::allow("CountTokens", &["bedrock:CountTokens"])
            .on(regions.first().map(|region| any_model(scope.partition(region))))
            .on(everywhere("inference-profile/*"))
            .on(everywhere("application-inference-profile/*")),
    ];
    if scope.config.aws.bearer_token.is_some() {
        statements.push(Statement::allow("UseApiKey", &["bedrock:CallWithBearerToken"]).on(["*".to_owned()]));
    }
    statements
}

/// The objects below the prefix; of asynchronous invocations the identity itself writes them.
fn files(scope: &Scope<'_>) -> Vec<Statement> {
    let keys = scope.keys();
    let objects =
        ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"];
    let buckets = || scope.buckets().map(|(region, bucket)| scope.bucket_arn(region, bucket));
    let invocations = scope.buckets().map(|(region, _)| scope.bedrock(region, "async-invoke/*")).collect::<Vec<_>>();
    let async_invoke = ["bedrock:InvokeModel", "bedrock:GetAsyncInvoke", "bedrock:TagResource"];
    let mut statements = vec![
        Statement::allow("UseFiles", &objects).on(buckets().map(|bucket| format!("{bucket}/{keys}"))),
        Statement::allow("ListFiles", &["s3:ListBucket"]).on(buckets()).when("StringLike", "s3:prefix", [keys.clone()]),
        Statement::allow("InvokeLater", &async_invoke).on(invocations),
    ];
    statements.extend(key(scope, "UseKey"));
    statements
}

/// The key of the buckets, through S3 only.
pub(super) fn key(scope: &Scope<'_>, sid: &str) -> Option<Statement> {
    let key = scope.request.kms_key.as_ref()?;
    let through = scope.buckets().map(|(region, _)| format!("s3.{region}.amazonaws.com")).collect::<Vec<_>>();
    let key = Statement::allow(sid, &["kms:Decrypt", "kms:GenerateDataKey"]).on([key.clone()]);
    (!through.is_empty()).then(|| key.when("StringEquals", "kms:ViaService", through))
}

/// Batch jobs, and the role that they run as.
fn jobs(scope: &Scope<'_>, reach: &Reach) -> Vec<Statement> {
    let Some(role) = scope.batch_role() else { return Vec::new() };
    let jobs = || scope.buckets().map(|(region, _)| scope.bedrock(region, "model-invocation-job/*"));
    let regions = scope.buckets().map(|(region, _)| region).collect::<Vec<_>>();
    let models = regions.iter().filter_map(|region| reach.called.get(*region)).flatten();
    let works_in_batch = |arn: &&String| {
        [":foundation-model/", "inference-profile/", ":custom-model/"].iter().any(|kind| arn.contains(kind))
    };
    let manage = ["bedrock:GetModelInvocationJob", "bedrock:StopModelInvocationJob", "bedrock:TagResource"];
    vec![
        Statement::allow("ManageJobs", &manage).on(jobs()),
        // Has no resource.
        Statement::allow("ListJobs", &["bedrock:ListModelInvocationJobs"]).on(["*".to_owned()]).when(
            "StringEquals",
            "aws:RequestedRegion",
            regions.iter().copied(),
        ),
        Statement::allow("HandOverRole", &["iam:PassRole"]).on([role.to_owned()]).when(
            "StringEquals",
            "iam:PassedToService",
            ["bedrock.amazonaws.com"],
        ),
        Statement::allow("CreateJobs", &["bedrock:CreateModelInvocationJob"])
            .on(jobs())
            .on(models.filter(works_in_batch).cloned()),
    ]
}

/// The models. Those in Regions that a profile leads to can be called through a profile only.
fn invocations(scope: &Scope<'_>, reach: &Reach) -> Vec<Statement> {
    let regions = &scope.config.aws.regions;
    let profiles = |geo: &str| {
        let named = format!("inference-profile/{geo}*");
        regions.iter().map(|region| scope.bedrock(region, &named)).collect::<Vec<_>>()
    };
    let in_order = regions.iter().filter_map(|region| Some((region, reach.called.get(region.as_str())?)));
    let mut statements: Vec<Statement> = in_order
        .map(|(region, arns)| Statement::allow(format!("InvokeIn{}", joined(region)), &INVOKE).on(arns.iter().cloned()))
        .collect();
    // Which profile is for the statements above to say, so a wildcard here adds nothing.
    let routed = Statement::allow("InvokeThroughProfiles", &INVOKE).on(reach.routed.iter().cloned());
    statements.push(routed.when("ArnLike", PROFILE, profiles("")));
    // A call that a global profile sends on is in no Region.
    // <https://docs.aws.amazon.com/bedrock/latest/userguide/global-cross-region-inference.html>
    let anywhere = Statement::allow("InvokeAnywhere", &INVOKE).on(reach.anywhere.iter().cloned());
    let anywhere = anywhere.when("StringEquals", "aws:RequestedRegion", ["unspecified"]);
    statements.push(anywhere.when("ArnLike", PROFILE, profiles("global.")));
    // Such a profile leads to one model and to Regions that cannot be changed: naming them would add nothing.
    let models = |arns: &[String]| arns.first().and_then(|arn| arn.split(':').nth(1)).map(any_model);
    let hidden = Statement::allow("InvokeByProfile", &INVOKE).on(models(&reach.hidden));
    statements.push(hidden.when("ArnLike", PROFILE, reach.hidden.iter().cloned()));
    let routers = Statement::allow("InvokeByRouter", &INVOKE).on(models(&reach.routers));
    statements.push(routers.when("ArnLike", "bedrock:PromptRouterArn", reach.routers.iter().cloned()));
    statements.push(Statement::allow("RenderPrompts", &["bedrock:RenderPrompt"]).on(reach.prompts.iter().cloned()));
    let endpoints =
        Statement::allow("InvokeEndpoints", &["sagemaker:InvokeEndpoint"]).on(reach.endpoints.iter().cloned());
    statements.push(endpoints.when("StringEquals", "aws:CalledViaLast", ["bedrock.amazonaws.com"]));
    statements
}

fn any_model(partition: &str) -> String {
    format!("arn:{partition}:bedrock:*::foundation-model/*")
}

/// `us-east-1` as `UsEast1`: a `Sid` has letters and digits only.
fn joined(region: &str) -> String {
    let mut name = String::with_capacity(region.len());
    for word in region.split('-') {
        name.extend(word.chars().enumerate().map(|(at, c)| if at == 0 { c.to_ascii_uppercase() } else { c }));
    }
    name
}

/// Who may take the gateway's role. The session is tagged with the team.
pub(super) fn trust(base: &str) -> super::Document {
    let take = Statement::allow("TakeRole", &["sts:AssumeRole", "sts:TagSession"]);
    super::Document::new(vec![take.to(Principal::Aws(base.to_owned()))])
}

/// For the identity of the AWS chain: taking the roles.
pub(super) fn base(config: &Config, team_roles: &[String]) -> Vec<Statement> {
    let own = Some(&config.aws.role_arn).filter(|arn| !arn.is_empty());
    vec![
        Statement::allow("TakeRoles", &["sts:AssumeRole", "sts:TagSession"])
            .on(own.into_iter().chain(team_roles).cloned()),
    ]
}

/// What `doctor` looks at besides. `sts:GetCallerIdentity` needs no permission.
pub(super) fn doctor(scope: &Scope<'_>) -> Vec<Statement> {
    let buckets = scope.buckets().map(|(region, bucket)| scope.bucket_arn(region, bucket));
    let look =
        ["s3:ListBucket", "s3:GetBucketLocation", "s3:GetBucketPublicAccessBlock", "s3:GetEncryptionConfiguration"];
    let role = scope.batch_role().map(str::to_owned);
    vec![
        Statement::allow("LookAtBuckets", &look).on(buckets),
        Statement::allow("LookAtBatchRole", &["iam:GetRole", "iam:SimulatePrincipalPolicy"]).on(role),
    ]
}
