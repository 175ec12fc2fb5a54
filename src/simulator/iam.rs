//! IAM: `GetRole` and `SimulatePrincipalPolicy`, by the API reference of version 2010-05-08, from the roles and policies of the
//! settings.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::Role;
use super::errors::Failure;
use super::form::{Form, Xml};
use super::operations::Context;
use super::policy::{self, Decision, Request};
use super::reply::Reply;
use super::sts;
use super::validate::places;

const NAMESPACE: &str = " xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"";

/// An action of IAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Role,
    SimulatePrincipalPolicy,
}

impl Action {
    /// The action of a form.
    pub(crate) fn of(form: &Form) -> Option<Self> {
        match form.field("Action")? {
            "GetRole" => Some(Self::Role),
            "SimulatePrincipalPolicy" => Some(Self::SimulatePrincipalPolicy),
            _ => None,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Role => "GetRole",
            Self::SimulatePrincipalPolicy => "SimulatePrincipalPolicy",
        }
    }
}

/// Answers a call of IAM.
pub(crate) fn answer(context: &Context<'_>, action: Action, form: &Form) -> Result<Reply, Failure> {
    let result = match action {
        Action::Role => role(context, form)?,
        Action::SimulatePrincipalPolicy => simulate(context, form)?,
    };
    let name = action.name();
    let metadata = Xml::default().text("RequestId", context.request_id);
    let inside = Xml::default().element(&format!("{name}Result"), "", result).element("ResponseMetadata", "", metadata);
    Ok(Reply::xml(Xml::default().element(&format!("{name}Response"), NAMESPACE, inside).document()))
}

/// The ARN of what a call is about, as its permission is asked for.
pub(crate) fn resource(context: &Context<'_>, action: Action, form: &Form) -> String {
    match action {
        Action::Role => {
            let name = form.field("RoleName").unwrap_or_default();
            found(context, name).map_or_else(|| role_arn(context, name), |(arn, _)| arn)
        }
        Action::SimulatePrincipalPolicy => form.field("PolicySourceArn").unwrap_or_default().to_owned(),
    }
}

fn role_arn(context: &Context<'_>, name: &str) -> String {
    format!("arn:{}:iam::{}:role/{name}", context.partition(), context.account())
}

/// A role by its name, which is the last part of its ARN.
fn found(context: &Context<'_>, name: &str) -> Option<(String, Role)> {
    let arn = context.simulator.inner.account.role_arn(name).unwrap_or_else(|| role_arn(context, name));
    let role = context.simulator.role(&arn)?;
    Some((arn, role))
}

fn missing(name: &str) -> Failure {
    Failure::new(404, "NoSuchEntity", format!("The role with name {name} cannot be found."))
}

fn role(context: &Context<'_>, form: &Form) -> Result<Xml, Failure> {
    places::check_form("iam#GetRoleRequest", form, &["roleName"])?;
    let name = form.field("RoleName").unwrap_or_default();
    let (arn, role) = found(context, name).ok_or_else(|| missing(name))?;
    let path = arn.split_once(":role").map_or("/", |(_, rest)| rest).trim_end_matches(name);
    let trust = role.trust_policy.unwrap_or_else(|| sts::default_trust(context.partition(), context.account()));
    // IAM tells a document percent-encoded.
    let document = utf8_percent_encode(&trust.to_string(), NON_ALPHANUMERIC).to_string();
    let told = Xml::default()
        .text("Path", path)
        .text("RoleName", name)
        .text("RoleId", &sts::role_id(&arn))
        .text("Arn", &arn)
        .text("CreateDate", "2025-01-01T00:00:00Z")
        .text("AssumeRolePolicyDocument", &document)
        .text("MaxSessionDuration", &role.max_session_seconds.to_string());
    Ok(Xml::default().element("Role", "", told))
}

/// The identity policies of a user or role; `None` when it may do everything.
fn policies(context: &Context<'_>, source: &str) -> Result<Option<Vec<Value>>, Failure> {
    let parts: Vec<&str> = source.splitn(6, ':').collect();
    let ["arn", _, "iam", "", _, resource] = parts[..] else {
        return Err(Failure::new(
            400,
            "InvalidInput",
            format!("Invalid Entity Arn: {source} does not clearly define entity type and name."),
        ));
    };
    match resource.split_once('/') {
        Some(("role", path)) => {
            let role = context.simulator.role(source);
            let role = role.ok_or_else(|| missing(path.rsplit('/').next().unwrap_or(path)))?;
            Ok((!role.policies.is_empty()).then_some(role.policies))
        }
        Some(("user", "simulator")) => Ok(context.simulator.inner.account.policy().map(|policy| vec![policy])),
        _ => Err(Failure::new(404, "NoSuchEntity", format!("The user with name {resource} cannot be found."))),
    }
}

fn simulate(context: &Context<'_>, form: &Form) -> Result<Xml, Failure> {
    let simulated = ["policySourceArn", "policyInputList", "actionNames", "resourceArns", "contextEntries"];
    places::check_form("iam#SimulatePrincipalPolicyRequest", form, &simulated)?;
    let source = form.field("PolicySourceArn").unwrap_or_default();
    let actions = form.list("ActionNames");
    if let Some(action) = actions.iter().find(|action| !action.contains(':')) {
        return Err(Failure::new(400, "InvalidInput", format!("Invalid action name: {action}")));
    }
    let mut documents = policies(context, source)?;
    for text in form.list("PolicyInputList") {
        let document: Value = serde_json::from_str(text).unwrap_or_default();
        if let Some(message) = policy::malformed(&document) {
            return Err(Failure::new(400, "InvalidInput", message));
        }
        documents.get_or_insert_default().push(document);
    }
    let resources = match form.list("ResourceArns") {
        none if none.is_empty() => vec!["*"],
        some => some,
    };
    let mut results = Xml::default();
    for action in &actions {
        for resource in &resources {
            let mut request = Request { action, resource, ..Request::default() };
            for (key, values) in context_entries(form) {
                for value in values {
                    request = request.knowing(key, value);
                }
            }
            let decision =
                documents.as_ref().map_or(Decision::Allowed, |documents| policy::decide(documents, &request));
            let told = Xml::default()
                .text("EvalActionName", action)
                .text("EvalResourceName", resource)
                .text("EvalDecision", decision.name());
            results = results.element("member", "", told);
        }
    }
    Ok(Xml::default().element("EvaluationResults", "", results).text("IsTruncated", "false"))
}

fn context_entries(form: &Form) -> impl Iterator<Item = (&str, Vec<&str>)> {
    (1..).map_while(|number| {
        let entry = format!("ContextEntries.member.{number}");
        let key = form.field(&format!("{entry}.ContextKeyName"))?;
        Some((key, form.list(&format!("{entry}.ContextKeyValues"))))
    })
}
