//! IAM's policies: which statements of a set of documents allow or deny an action on a resource, by the rules of "Policy
//! evaluation logic" and "IAM JSON policy elements". Pure.

use std::collections::BTreeMap;

use serde_json::Value;

/// What policies say of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allowed,
    ImplicitDeny,
    ExplicitDeny,
}

impl Decision {
    /// As `SimulatePrincipalPolicy` writes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::ImplicitDeny => "implicitDeny",
            Self::ExplicitDeny => "explicitDeny",
        }
    }
}

/// What is asked: may this be done to that, under these condition keys (in lower case)?
#[derive(Clone, Debug, Default)]
pub(crate) struct Request<'a> {
    pub(crate) action: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) context: BTreeMap<String, Vec<String>>,
    /// Who asks, for policies that name principals: kinds and names.
    pub(crate) principals: Vec<(&'static str, String)>,
}

impl Request<'_> {
    /// With one value of a condition key.
    pub(crate) fn knowing(mut self, key: &str, value: &str) -> Self {
        self.context.entry(key.to_ascii_lowercase()).or_default().push(value.to_owned());
        self
    }
}

/// The decision of all `documents` together: one denial wins, then one permission.
pub(crate) fn decide<'a>(documents: impl IntoIterator<Item = &'a Value>, request: &Request<'_>) -> Decision {
    let mut decision = Decision::ImplicitDeny;
    for statement in documents.into_iter().flat_map(statements).filter(|statement| applies(statement, request)) {
        match statement["Effect"].as_str() {
            Some("Deny") => return Decision::ExplicitDeny,
            Some("Allow") => decision = Decision::Allowed,
            _ => {}
        }
    }
    decision
}

/// What IAM would refuse a document for, in words.
pub(crate) fn malformed(document: &Value) -> Option<&'static str> {
    if !matches!(document["Version"].as_str(), None | Some("2012-10-17" | "2008-10-17")) {
        return Some("Syntax errors in policy.");
    }
    if statements(document).is_empty() {
        return Some("Policy statement must contain statements.");
    }
    statements(document).into_iter().find_map(|statement| {
        let has = |name: &str| statement.get(name).is_some();
        let operators = statement["Condition"].as_object().into_iter().flat_map(|conditions| conditions.keys());
        match () {
            () if !matches!(statement["Effect"].as_str(), Some("Allow" | "Deny")) => Some("Syntax errors in policy."),
            () if has("Action") == has("NotAction") => Some("Policy statement must contain actions."),
            () if !(has("Resource") || has("NotResource") || has("Principal")) => {
                Some("Policy statement must contain resources.")
            }
            () if operators.into_iter().any(|name| Operator::parse(name).is_none()) => Some("Invalid Condition type."),
            () => None,
        }
    })
}

fn statements(document: &Value) -> Vec<&Value> {
    match &document["Statement"] {
        Value::Array(statements) => statements.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        Value::Null => Vec::new(),
        one => vec![text(one)],
    }
}

fn applies(statement: &Value, request: &Request<'_>) -> bool {
    let any = |name: &str, matches: &dyn Fn(&str) -> bool| {
        statement.get(name).map(|patterns| texts(patterns).iter().any(|pattern| matches(pattern)))
    };
    let action = request.action.to_ascii_lowercase();
    let of_action = |pattern: &str| like(&pattern.to_ascii_lowercase(), &action);
    let of_resource = |pattern: &str| like(&filled(pattern, request), request.resource);
    let action = any("Action", &of_action).or_else(|| any("NotAction", &of_action).map(|matched| !matched));
    let resource = any("Resource", &of_resource).or_else(|| any("NotResource", &of_resource).map(|matched| !matched));
    action == Some(true)
        // A policy of a resource names none: it is about its own.
        && resource.unwrap_or(true)
        && is_principal(statement.get("Principal"), request)
        && conditions_hold(&statement["Condition"], request)
}

fn is_principal(principal: Option<&Value>, request: &Request<'_>) -> bool {
    match principal {
        None => true,
        Some(Value::String(name)) => name == "*",
        Some(named) => request
            .principals
            .iter()
            .any(|(kind, name)| texts(&named[kind]).iter().any(|pattern| pattern == "*" || pattern == name)),
    }
}

/// `${aws:PrincipalTag/team}` and such, filled in.
fn filled(pattern: &str, request: &Request<'_>) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, tail) = after.split_once('}').unwrap_or((after, ""));
        let value = request.context.get(&name.to_ascii_lowercase()).and_then(|values| values.first());
        out.push_str(before);
        // A variable without a value matches nothing.
        out.push_str(value.map_or("\u{0}", String::as_str));
        rest = tail;
    }
    out + rest
}

struct Operator<'a> {
    base: &'a str,
    if_exists: bool,
    for_all: bool,
}

impl<'a> Operator<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let for_all = name.starts_with("ForAllValues:");
        let plain = name.strip_prefix("ForAllValues:").or_else(|| name.strip_prefix("ForAnyValue:")).unwrap_or(name);
        let base = plain.strip_suffix("IfExists").unwrap_or(plain);
        let known = matches!(
            base.strip_prefix("StringNot").or_else(|| base.strip_prefix("String")),
            Some("Equals" | "Like" | "EqualsIgnoreCase")
        ) || matches!(base, "ArnEquals" | "ArnLike" | "ArnNotEquals" | "ArnNotLike" | "Bool" | "Null")
            || base.strip_prefix("Numeric").is_some_and(|rest| {
                matches!(
                    rest,
                    "Equals" | "NotEquals" | "LessThan" | "LessThanEquals" | "GreaterThan" | "GreaterThanEquals"
                )
            });
        known.then_some(Self { base, if_exists: plain != base, for_all })
    }

    fn is_negated(&self) -> bool {
        self.base.contains("Not")
    }

    fn matches(&self, pattern: &str, value: &str) -> bool {
        let numbers = || Some((value.parse::<f64>().ok()?, pattern.parse::<f64>().ok()?));
        match self.base {
            "StringLike" | "StringNotLike" => like(pattern, value),
            base if base.starts_with("Arn") => like(pattern, value),
            "StringEqualsIgnoreCase" | "StringNotEqualsIgnoreCase" | "Bool" => pattern.eq_ignore_ascii_case(value),
            "NumericLessThan" => numbers().is_some_and(|(value, limit)| value < limit),
            "NumericLessThanEquals" => numbers().is_some_and(|(value, limit)| value <= limit),
            "NumericGreaterThan" => numbers().is_some_and(|(value, limit)| value > limit),
            "NumericGreaterThanEquals" => numbers().is_some_and(|(value, limit)| value >= limit),
            _ => pattern == value,
        }
    }

    fn holds(&self, values: Option<&Vec<String>>, patterns: &[String]) -> bool {
        if self.base == "Null" {
            return patterns.iter().any(|wanted| (wanted == "true") == values.is_none());
        }
        let Some(values) = values else { return self.if_exists || self.for_all || self.is_negated() };
        let one = |value: &String| patterns.iter().any(|pattern| self.matches(pattern, value)) != self.is_negated();
        if self.for_all || self.is_negated() { values.iter().all(one) } else { values.iter().any(one) }
    }
}

fn conditions_hold(conditions: &Value, request: &Request<'_>) -> bool {
    let tests = conditions.as_object().into_iter().flatten();
    tests.into_iter().all(|(name, keys)| {
        let Some(operator) = Operator::parse(name) else { return false };
        keys.as_object().into_iter().flatten().all(|(key, wanted)| {
            let patterns: Vec<String> = texts(wanted).iter().map(|pattern| filled(pattern, request)).collect();
            operator.holds(request.context.get(&key.to_ascii_lowercase()), &patterns)
        })
    })
}

/// Whether `text` is `pattern`, where `*` is any text and `?` any one character.
pub(crate) fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut here, mut star) = (0, 0, None);
    while here < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, here));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[here] => {
                at += 1;
                here += 1;
            }
            _ => {
                let Some((back, from)) = star else { return false };
                star = Some((back, from + 1));
                at = back + 1;
                here = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request<'a>(action: &'a str, resource: &'a str) -> Request<'a> {
        Request { action, resource, ..Request::default() }
    }

    #[test]
    fn a_denial_wins_and_nothing_is_allowed_unsaid() {
        let allow = json!({"Statement": [{"Effect": "Allow", "Action": "bedrock:Invoke*", "Resource": "arn:aws:bedrock:*::foundation-model/*"}]});
        let deny = json!({"Statement": {"Effect": "Deny", "NotAction": "bedrock:InvokeModel", "Resource": "*"}});
        let model = "arn:aws:bedrock:us-east-1::foundation-model/m";
        assert_eq!(decide([&allow], &request("bedrock:invokemodel", model)), Decision::Allowed);
        assert_eq!(decide([&allow], &request("bedrock:InvokeModel", "arn:aws:s3:::b")), Decision::ImplicitDeny);
        let stream = request("bedrock:InvokeModelWithResponseStream", model);
        assert_eq!(decide([&allow, &deny], &stream), Decision::ExplicitDeny);
        assert_eq!(decide([], &request("a:B", "*")), Decision::ImplicitDeny);
    }

    #[test]
    fn conditions_and_variables_hold_as_iam_says() {
        let asks = |condition: Value, resource: &str| {
            let document = json!({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": resource, "Condition": condition}]});
            let request = request("a:B", "arn:x:blue").knowing("aws:RequestedRegion", "eu-west-1");
            decide([&document], &request.knowing("aws:PrincipalTag/team", "blue")) == Decision::Allowed
        };
        for (holds, condition) in [
            (true, json!({"StringEquals": {"aws:requestedregion": ["us-east-1", "eu-west-1"]}})),
            (false, json!({"StringEquals": {"aws:RequestedRegion": "us-east-1"}})),
            (false, json!({"StringNotLike": {"aws:RequestedRegion": ["us-*", "eu-*"]}})),
            (true, json!({"StringNotEquals": {"aws:Missing": "x"}})),
            (false, json!({"StringEquals": {"aws:Missing": "x"}})),
            (true, json!({"StringEqualsIfExists": {"aws:Missing": "x"}})),
            (true, json!({"Null": {"aws:Missing": "true"}})),
            (false, json!({"Null": {"aws:RequestedRegion": true}})),
            (false, json!({"NoSuchOperator": {"aws:RequestedRegion": "eu-west-1"}})),
        ] {
            assert_eq!(asks(condition.clone(), "*"), holds, "{condition}");
        }
        assert!(asks(json!({}), "arn:x:${aws:PrincipalTag/team}"));
        assert!(!asks(json!({}), "arn:x:${aws:PrincipalTag/other}*"));
    }

    #[test]
    fn wildcards_span_anything() {
        for (matched, pattern, text) in [
            (true, "*", ""),
            (true, "a*b*c", "a-b-b-c"),
            (true, "a?c", "abc"),
            (false, "a?c", "ac"),
            (false, "a*b", "a-b-c"),
            (true, "arn:aws:bedrock:::foundation-model/m", "arn:aws:bedrock:::foundation-model/m"),
        ] {
            assert_eq!(like(pattern, text), matched, "{pattern} {text}");
        }
    }

    #[test]
    fn documents_that_iam_refuses_are_told() {
        let statement = |statement: Value| malformed(&json!({"Version": "2012-10-17", "Statement": [statement]}));
        assert_eq!(statement(json!({"Effect": "Allow", "Action": "a:B", "Resource": "*"})), None);
        assert!(statement(json!({"Effect": "Maybe", "Action": "a:B", "Resource": "*"})).is_some());
        assert!(statement(json!({"Effect": "Allow", "Resource": "*"})).is_some());
        assert!(statement(json!({"Effect": "Allow", "Action": "a:B"})).is_some());
        assert!(malformed(&json!({"Version": "2013-01-01", "Statement": []})).is_some());
    }
}
