//! Who calls AWS, and whether both clocks agree.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::regions::said;
use super::{AccountId, Check, Examined, Group, PATIENCE_FOR_IDENTITY, Standing, told};
use crate::clock::Timestamp;
use crate::upstream::{PlainCall, Region, Service, Told, Unreachable};

pub(super) const CREDENTIALS: &str = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role \
                                      (instance profile, ECS task role, IRSA).";
/// Clocks this near are one.
const NEAR: Duration = Duration::from_secs(10);
/// AWS refuses signatures from here on.
const FAR: Duration = Duration::from_mins(5);

/// Asks STS; what else is to be seen depends on the answer.
pub(super) async fn look(examined: &Examined<'_>) -> (Standing, Vec<Check>) {
    let Some(region) = examined.upstream.regions().next() else { return (Standing::Unknown, Vec::new()) };
    if examined.config.aws.bearer_token.is_some() {
        let found = "calls are made with an Amazon Bedrock API key; whose it is AWS does not tell";
        return (Standing::Unknown, vec![Check::ok(Group::Identity, "credentials", found)]);
    }
    let answer = tokio::time::timeout(PATIENCE_FOR_IDENTITY, caller(region)).await.unwrap_or(Err(Unreachable::Timeout));
    let ours = examined.clock.now();
    let (standing, credentials) = judge(answer.as_ref(), examined);
    let mut checks = vec![credentials];
    if let Some(theirs) = answer.ok().and_then(|told| told.date) {
        checks.push(clocks(ours, theirs));
    }
    (standing, checks)
}

/// `sts:GetCallerIdentity`, which needs no permission.
pub(super) async fn caller(region: &Region) -> Result<Told, Unreachable> {
    let body = Bytes::from_static(b"Action=GetCallerIdentity&Version=2011-06-15");
    region.ask(Service::Sts, &PlainCall::new(Method::POST, [""]).body(body)).await
}

fn judge(answer: Result<&Told, &Unreachable>, examined: &Examined<'_>) -> (Standing, Check) {
    const SUBJECT: &str = "credentials";
    let told = match answer {
        Ok(told) => told,
        Err(unreachable @ Unreachable::Credentials(_)) => {
            let (found, remedy) = told_of(unreachable, examined);
            return (Standing::Nobody, Check::failed(Group::Identity, SUBJECT, found, remedy));
        }
        Err(unreachable) => {
            let (found, remedy) = told(unreachable);
            let remedy = format!("{remedy} STS has an endpoint of its own: AWS_ENDPOINT_URL_STS names another.");
            return (Standing::Unknown, Check::warning(Group::Identity, SUBJECT, format!("STS: {found}"), remedy));
        }
    };
    if !told.is_success() {
        let found = format!("AWS refuses them: {}", said(&told.code, &told.message));
        return (Standing::Nobody, Check::failed(Group::Identity, SUBJECT, found, CREDENTIALS));
    }
    let account = told.element("Account").unwrap_or_default();
    let who = told.element("Arn").as_deref().map_or_else(|| "an identity".to_owned(), name);
    let shown = shown(&account, examined.wish.account);
    (Standing::Known { account }, Check::ok(Group::Identity, SUBJECT, format!("{who} of the account {shown}")))
}

fn told_of(unreachable: &Unreachable, examined: &Examined<'_>) -> (String, String) {
    let (found, remedy) = told(unreachable);
    if examined.config.aws.role_arn.is_empty() {
        return (found, remedy.to_owned());
    }
    let role = "Where credentials are there, the role of aws.role_arn has to trust their identity with sts:AssumeRole and \
                sts:TagSession (`iam-policy` prints caller_trust and base).";
    (found, format!("{remedy} {role}"))
}

/// `arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION` as `role NAME`.
fn name(arn: &str) -> String {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
    let mut parts = resource.split('/');
    match (parts.next(), parts.next(), resource.rsplit('/').next()) {
        (Some("assumed-role"), Some(role), _) => format!("role {role}"),
        (Some("user"), Some(_), Some(user)) => format!("user {user}"),
        (Some("root"), ..) => "the root user".to_owned(),
        _ => "an identity".to_owned(),
    }
}

/// The account as it may be shown.
pub(super) fn shown(account: &str, how: AccountId) -> String {
    match account.len().checked_sub(4).and_then(|from| account.get(from..)) {
        Some(last) if how == AccountId::LastDigits => format!("..{last}"),
        _ => account.to_owned(),
    }
}

/// AWS's clock has whole seconds.
fn clocks(ours: Timestamp, theirs: Timestamp) -> Check {
    const SUBJECT: &str = "clock";
    let remedy = "Synchronise this machine's clock (NTP, chrony): certificates, tokens and the ledger go by it.";
    let apart = ours.since(theirs).max(theirs.since(ours));
    let found = format!("{} s from AWS's", apart.as_secs());
    if apart <= NEAR {
        Check::ok(Group::Identity, SUBJECT, found)
    } else if apart < FAR {
        Check::warning(Group::Identity, SUBJECT, found, remedy)
    } else {
        Check::failed(Group::Identity, SUBJECT, format!("{found}: AWS refuses signatures"), remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;

    #[test]
    fn an_identity_is_named_without_its_account() {
        for (arn, expected) in [
            ("arn:aws:sts::000000000000:assumed-role/gateway/i-0", "role gateway"),
            ("arn:aws:iam::000000000000:user/team/anna", "user anna"),
            ("arn:aws:iam::000000000000:root", "the root user"),
            ("?", "an identity"),
        ] {
            assert_eq!(name(arn), expected);
        }
        assert_eq!(shown("123456789012", AccountId::LastDigits), "..9012");
        assert_eq!(shown("123456789012", AccountId::Whole), "123456789012");
        assert_eq!(shown("1", AccountId::LastDigits), "1");
    }

    #[test]
    fn clocks_apart_are_a_warning_until_aws_refuses() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        for (seconds, outcome) in [(0, Outcome::Ok), (10, Outcome::Ok), (60, Outcome::Warning), (300, Outcome::Failed)]
        {
            let later = now.plus(Duration::from_secs(seconds));
            assert_eq!(clocks(now, later).outcome, outcome);
            assert_eq!(clocks(later, now).outcome, outcome);
        }
    }
}
