//! For batch jobs: the role that Bedrock takes, and the buckets.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/batch-iam-sr.html>

use super::caller::key;
use super::document::{Document, Principal, Statement};
use super::reach::Reach;
use super::{BatchRole, Named, Scope, numbered};

/// The role of `batch.role_arn`, if it is used.
pub(super) fn role(scope: &Scope<'_>, reach: &Reach) -> Option<BatchRole> {
    scope.batch_role()?;
    let account = scope.request.account.to_string();
    let buckets = || scope.buckets().map(|(region, bucket)| scope.bucket_arn(region, bucket));
    let keys = scope.keys();
    let jobs = scope.buckets().map(|(region, _)| scope.bedrock(region, "model-invocation-job/*"));
    let trust = Statement::allow("TakeRole", &["sts:AssumeRole"])
        .to(Principal::Service("bedrock.amazonaws.com"))
        .when("StringEquals", "aws:SourceAccount", [account.clone()])
        .when("ArnLike", "aws:SourceArn", jobs);
    let mut permissions = vec![
        Statement::allow("UseFiles", &["s3:GetObject", "s3:PutObject"])
            .on(buckets().map(|bucket| format!("{bucket}/{keys}")))
            .when("StringEquals", "aws:ResourceAccount", [account.clone()]),
        Statement::allow("ListFiles", &["s3:ListBucket"]).on(buckets()).when(
            "StringEquals",
            "aws:ResourceAccount",
            [account],
        ),
    ];
    permissions.extend(key(scope, "UseKey"));
    permissions.extend(profiles(scope, reach));
    let permissions = numbered("bedrock-gateway-batch", permissions);
    Some(BatchRole { permissions, trust: Document::new(vec![trust]) })
}

/// With a profile the role itself invokes: the profile, and the model wherever it leads. A job on a model in its Region
/// needs nothing of the sort.
fn profiles(scope: &Scope<'_>, reach: &Reach) -> Vec<Statement> {
    let invoke = ["bedrock:InvokeModel"];
    let called = scope.buckets().filter_map(|(region, _)| reach.called.get(region)).flatten();
    let named: Vec<String> = called.filter(|arn| arn.contains("inference-profile/")).cloned().collect();
    let models = |profile: &String| {
        let id = profile.rsplit('/').next()?.split_once('.')?.1;
        Some(id.to_owned())
    };
    let led_to: Vec<String> = named.iter().filter_map(models).collect();
    let is_led_to = |arn: &&String| {
        arn.rsplit_once("foundation-model/").is_some_and(|(_, id)| led_to.iter().any(|model| model == id))
    };
    let everywhere = reach.called.values().flatten().chain(&reach.routed).chain(&reach.anywhere);
    let models = Statement::allow("InvokeThroughProfiles", &invoke).on(everywhere.filter(is_led_to).cloned());
    vec![Statement::allow("InvokeProfiles", &invoke).on(named), models]
}

/// The policy of each bucket: nobody without TLS; and the role that Bedrock takes, which is all that a bucket of another
/// account still needs.
pub(super) fn buckets(scope: &Scope<'_>) -> Named {
    let policy = |(region, bucket)| {
        let arn = scope.bucket_arn(region, bucket);
        let (keys, objects) = (scope.keys(), format!("{arn}/*"));
        let mut statements = vec![Statement::deny("RefusePlainHttp", &["s3:*"]).on([arn.clone(), objects]).when(
            "Bool",
            "aws:SecureTransport",
            ["false"],
        )];
        if let Some(role) = scope.batch_role() {
            let role = || Principal::Aws(role.to_owned());
            let objects = Statement::allow("BatchFiles", &["s3:GetObject", "s3:PutObject"]).to(role());
            let list = Statement::allow("BatchList", &["s3:ListBucket"]).to(role());
            statements.extend([objects.on([format!("{arn}/{keys}")]), list.on([arn])]);
        }
        (bucket.to_owned(), Document::new(statements))
    };
    scope.buckets().map(policy).collect()
}
