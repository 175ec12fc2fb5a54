//! STS: `GetCallerIdentity`, `AssumeRole`, `AssumeRoleWithWebIdentity`, by the API reference of version 2011-06-15. What a form must
//! look like is botocore's service model; who may assume a role is its trust policy.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::catalog;
use super::errors::Failure;
use super::form::{Form, Xml};
use super::operations::Context;
use super::policy::{self, Decision, Request};
use super::reply::Reply;
use super::sessions::{AssumedSession, Session};
use super::validate::places;
use super::{Role, Simulator};

const NAMESPACE: &str = " xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"";
/// Of a session that a session assumed, in seconds.
const LONGEST_CHAINED: u64 = 3600;
const DEFAULT_SECONDS: u64 = 3600;
/// What is looked at of the parameters. A session's own policy, which narrows it, is refused, lest it be thought to hold.
const SIMULATED: &[&str] =
    &["roleArn", "roleSessionName", "durationSeconds", "tags", "transitiveTagKeys", "externalId"];
const SIMULATED_WITH_TOKEN: &[&str] = &["roleArn", "roleSessionName", "durationSeconds", "webIdentityToken"];

/// An action of STS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    CallerIdentity,
    AssumeRole,
    AssumeRoleWithWebIdentity,
}

impl Action {
    /// The action of a form.
    pub(crate) fn of(form: &Form) -> Option<Self> {
        match form.field("Action")? {
            "GetCallerIdentity" => Some(Self::CallerIdentity),
            "AssumeRole" => Some(Self::AssumeRole),
            "AssumeRoleWithWebIdentity" => Some(Self::AssumeRoleWithWebIdentity),
            _ => None,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::CallerIdentity => "GetCallerIdentity",
            Self::AssumeRole => "AssumeRole",
            Self::AssumeRoleWithWebIdentity => "AssumeRoleWithWebIdentity",
        }
    }
}

/// Answers a call of STS.
pub(crate) fn answer(context: &Context<'_>, action: Action, form: &Form) -> Result<Reply, Failure> {
    let result = match action {
        Action::CallerIdentity => caller(context),
        Action::AssumeRole => assume_role(context, form)?,
        Action::AssumeRoleWithWebIdentity => assume_with_token(context, form)?,
    };
    let name = action.name();
    let metadata = Xml::default().text("RequestId", context.request_id);
    let inside = Xml::default().element(&format!("{name}Result"), "", result).element("ResponseMetadata", "", metadata);
    Ok(Reply::xml(Xml::default().element(&format!("{name}Response"), NAMESPACE, inside).document()))
}

fn caller(context: &Context<'_>) -> Xml {
    let id = match context.identity.session() {
        Some(session) => format!("{}:{}", role_id(&session.role_arn), session.name),
        None => "AIDASIMULATOR0000000".to_owned(),
    };
    Xml::default()
        .text("UserId", &id)
        .text("Account", context.account())
        .text("Arn", &context.identity.arn(context.partition(), context.account()))
}

/// What both ways of assuming a role ask for.
struct Ask<'a> {
    role_arn: &'a str,
    name: &'a str,
    seconds: u64,
}

impl<'a> Ask<'a> {
    /// Of a form that was checked.
    fn read(form: &'a Form) -> Self {
        let text = |field: &str| form.field(field).unwrap_or_default();
        let seconds = form.field("DurationSeconds").and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_SECONDS);
        Self { role_arn: text("RoleArn"), name: text("RoleSessionName"), seconds }
    }
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(400, "ValidationError", message)
}

fn tags(form: &Form) -> Result<BTreeMap<String, String>, Failure> {
    let mut seen = BTreeSet::new();
    let mut tags = BTreeMap::new();
    for (key, value) in form.pairs("Tags") {
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(Failure::new(400, "InvalidParameterValue", "Tag keys cannot start with 'aws:'."));
        }
        if !seen.insert(key.to_lowercase()) {
            let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
            return Err(Failure::new(400, "InvalidParameterValue", message));
        }
        tags.insert(key.to_owned(), value.unwrap_or_default().to_owned());
    }
    Ok(tags)
}

fn assume_role(context: &Context<'_>, form: &Form) -> Result<Xml, Failure> {
    places::check_form("sts#AssumeRoleRequest", form, SIMULATED)?;
    let ask = Ask::read(form);
    let mut own = tags(form)?;
    let external_id = form.field("ExternalId");
    let passed = own.clone();
    let mut transitive: Vec<String> = form.list("TransitiveTagKeys").into_iter().map(str::to_owned).collect();
    if transitive.iter().any(|key| !own.contains_key(key)) {
        return Err(invalid("The specified transitive tag key must be included in the requested tags."));
    }
    if let Some(from) = context.identity.session() {
        if ask.seconds > LONGEST_CHAINED {
            return Err(invalid(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
            ));
        }
        for key in &from.transitive {
            let inherited = from.tags.get(key).cloned().unwrap_or_default();
            if own.insert(key.clone(), inherited).is_some() {
                return Err(Failure::new(
                    400,
                    "InvalidParameterValue",
                    "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.",
                ));
            }
            transitive.push(key.clone());
        }
    }
    let caller = context.identity.arn(context.partition(), context.account());
    let mut principals = vec![("AWS", caller.clone()), ("AWS", context.account().to_owned())];
    principals.push(("AWS", format!("arn:{}:iam::{}:root", context.partition(), context.account())));
    principals.extend(context.identity.session().map(|session| ("AWS", session.role_arn.clone())));
    let mut request = Request { resource: ask.role_arn, principals, ..Request::default() }
        .knowing("sts:RoleSessionName", ask.name)
        .knowing("aws:PrincipalArn", context.identity.session().map_or(&caller, |session| &session.role_arn))
        .knowing("aws:PrincipalAccount", context.account());
    if let Some(id) = external_id {
        request = request.knowing("sts:ExternalId", id);
    }
    for (key, value) in &passed {
        request = request.knowing(&format!("aws:RequestTag/{key}"), value).knowing("aws:TagKeys", key);
    }
    for key in &transitive {
        request = request.knowing("sts:TransitiveTagKeys", key);
    }
    let mut actions = vec!["sts:AssumeRole"];
    actions.extend((!passed.is_empty()).then_some("sts:TagSession"));
    trusted(context, &ask, &actions, request, &format!("User: {caller}"))?;
    Ok(granted(context, &ask, (own, transitive), external_id))
}

fn assume_with_token(context: &Context<'_>, form: &Form) -> Result<Xml, Failure> {
    places::check_form("sts#AssumeRoleWithWebIdentityRequest", form, SIMULATED_WITH_TOKEN)?;
    let (ask, token) = (Ask::read(form), form.field("WebIdentityToken").unwrap_or_default());
    let expected = context.simulator.web_identity_token();
    if expected.as_deref() != Some(token) {
        return Err(Failure::new(
            400,
            "InvalidIdentityToken",
            "The web identity token that was passed could not be validated by Amazon Web Services.",
        ));
    }
    let provider = format!("arn:{}:iam::{}:oidc-provider/oidc.simulator", context.partition(), context.account());
    let request = Request { resource: ask.role_arn, principals: vec![("Federated", provider)], ..Request::default() };
    trusted(context, &ask, &["sts:AssumeRoleWithWebIdentity"], request, "")?;
    let answer = granted(context, &ask, (BTreeMap::new(), Vec::new()), None);
    Ok(answer
        .text("SubjectFromWebIdentityToken", "system:serviceaccount:default:simulator")
        .text("Audience", "sts.amazonaws.com")
        .text("Provider", "oidc.simulator"))
}

/// Refuses a role whose trust policy does not let this caller do all of `actions`. STS does not say whether there is such a role.
fn trusted(
    context: &Context<'_>,
    ask: &Ask<'_>,
    actions: &[&'static str],
    mut request: Request<'_>,
    who: &str,
) -> Result<(), Failure> {
    let role = context.simulator.role(ask.role_arn);
    for action in actions {
        request.action = action;
        let trust = role.as_ref().map(|role| decide_trust(context, role, &request));
        if trust != Some(Decision::Allowed) || context.simulator.sessions_kept().is_denied(ask.role_arn) {
            let message = match who {
                "" => format!("Not authorized to perform {action}"),
                who => format!("{who} is not authorized to perform: {action} on resource: {}", ask.role_arn),
            };
            return Err(Failure::new(403, "AccessDenied", message));
        }
    }
    if role.is_some_and(|role| ask.seconds > role.max_session_seconds) {
        return Err(invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."));
    }
    Ok(())
}

fn decide_trust(context: &Context<'_>, role: &Role, request: &Request<'_>) -> Decision {
    let trust = role.trust_policy.clone().unwrap_or_else(|| default_trust(context.partition(), context.account()));
    policy::decide([&trust], request)
}

/// What a role without a trust policy of its own trusts: everybody of the account, and the simulator's identity provider.
pub(crate) fn default_trust(partition: &str, account: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": format!("arn:{partition}:iam::{account}:root")}, "Action": ["sts:AssumeRole", "sts:TagSession"]},
        {"Effect": "Allow", "Principal": {"Federated": format!("arn:{partition}:iam::{account}:oidc-provider/oidc.simulator")},
         "Action": "sts:AssumeRoleWithWebIdentity"},
    ]})
}

/// Gives out credentials.
fn granted(
    context: &Context<'_>,
    ask: &Ask<'_>,
    (tags, transitive): (BTreeMap<String, String>, Vec<String>),
    external_id: Option<&str>,
) -> Xml {
    let simulator = context.simulator;
    let lifetime = simulator.settings().session_lifetime.map_or_else(
        || SignedDuration::from_secs(i64::try_from(ask.seconds).unwrap_or(i64::MAX)),
        |lifetime| SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX),
    );
    let now = simulator.now();
    let expires = now.saturating_add(lifetime).unwrap_or(now);
    let account = ask.role_arn.split(':').nth(4).unwrap_or_default();
    let role_name = ask.role_arn.rsplit('/').next().unwrap_or_default();
    let random = || uuid::Uuid::new_v4().simple().to_string();
    let session = Session {
        role_arn: ask.role_arn.to_owned(),
        arn: format!("arn:{}:sts::{account}:assumed-role/{role_name}/{}", context.partition(), ask.name),
        name: ask.name.to_owned(),
        tags: tags.clone(),
        transitive,
        access_key: format!("ASIA{}", &random()[..16].to_uppercase()),
        secret_key: format!("sim/{}+{}", &random()[..20], &random()[..15]),
        token: format!("IQoJb3JpZ2luX2Vj//{}+{}/{}==", random(), random(), random()),
    };
    let credentials = Xml::default()
        .text("AccessKeyId", &session.access_key)
        .text("SecretAccessKey", &session.secret_key)
        .text("SessionToken", &session.token)
        // AWS tells whole seconds; what is told must not be later than what holds.
        .text("Expiration", &expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let user = Xml::default()
        .text("AssumedRoleId", &format!("{}:{}", role_id(ask.role_arn), ask.name))
        .text("Arn", &session.arn);
    let assumed = AssumedSession {
        role_arn: session.role_arn.clone(),
        session_name: session.name.clone(),
        tags,
        assumed_by: context.identity.label().to_owned(),
        external_id: external_id.map(str::to_owned),
        duration_seconds: ask.seconds,
        times: 1,
    };
    simulator.sessions_kept().add(session, expires, assumed);
    Xml::default().element("Credentials", "", credentials).element("AssumedRoleUser", "", user)
}

/// A role's unique id, made of its name.
pub(crate) fn role_id(role_arn: &str) -> String {
    let name = role_arn.rsplit('/').next().unwrap_or_default();
    let letters = name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase());
    let id: String = "AROA".chars().chain(letters).chain(std::iter::repeat('0')).take(21).collect();
    id
}

impl Simulator {
    /// The role of an ARN: one that was made or, while none was, any of the account.
    pub(crate) fn role(&self, arn: &str) -> Option<Role> {
        if let Ok(role) = self.inner.account.role(arn) {
            return role;
        }
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        match parts[..] {
            ["arn", partition, "iam", "", account, resource] => {
                let known = catalog::is_partition(partition) && account == self.settings().account;
                (known && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty())).then(Role::default)
            }
            _ => None,
        }
    }

    /// The token that `AssumeRoleWithWebIdentity` takes.
    fn web_identity_token(&self) -> Option<String> {
        self.sessions_kept().expected_token().or_else(|| self.settings().web_identity_token.clone())
    }
}
