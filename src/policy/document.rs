//! The language of IAM: policy documents, and how many characters they have.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// The most characters of a managed policy, white space left out.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
pub const LIMIT: usize = 6_144;

/// A policy document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Document {
    version: &'static str,
    /// What is allowed and denied.
    pub statement: Vec<Statement>,
}

/// One sentence of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    /// Its name: letters and digits, unlike the others' of its document.
    pub sid: String,
    /// Whether it allows or denies.
    pub effect: Effect,
    /// Whom; only in a policy on a resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// What, such as `bedrock:InvokeModel`.
    pub action: Vec<&'static str>,
    /// On what; empty in a trust policy, which is on its role.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource: Vec<String>,
    /// Under what conditions: operator, then key, then values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub condition: BTreeMap<&'static str, BTreeMap<&'static str, Values>>,
}

/// The values of a condition, one of which has to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values(pub Vec<String>);

/// One value is written by itself, as AWS's own examples have it: some readers take a list of flags for a mistake.
impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// Allows.
    Allow,
    /// Denies, whatever else allows.
    Deny,
}

/// Whom a statement of a resource's policy is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Principal {
    /// An identity, by its ARN; `*` is everybody.
    #[serde(rename = "AWS")]
    Aws(String),
    /// One of AWS's services.
    Service(&'static str),
}

impl Document {
    /// A document of these statements.
    pub fn new(statement: Vec<Statement>) -> Self {
        Self { version: "2012-10-17", statement }
    }

    /// Its characters as IAM counts them: without white space. Nothing in a name or an ARN is white space.
    pub fn size(&self) -> usize {
        serde_json::to_string(self).map_or(usize::MAX, |text| text.chars().filter(|c| !c.is_whitespace()).count())
    }
}

impl Statement {
    /// Allows `action`, so far on nothing.
    pub fn allow(sid: impl Into<String>, action: &[&'static str]) -> Self {
        Self {
            sid: sid.into(),
            effect: Effect::Allow,
            principal: None,
            action: action.to_vec(),
            resource: Vec::new(),
            condition: BTreeMap::new(),
        }
    }

    /// Denies `action` to everybody, so far on nothing.
    pub fn deny(sid: impl Into<String>, action: &[&'static str]) -> Self {
        let allow = Self::allow(sid, action);
        Self { effect: Effect::Deny, principal: Some(Principal::Aws("*".into())), ..allow }
    }

    /// On these too; each is listed once.
    #[must_use]
    pub fn on(mut self, resources: impl IntoIterator<Item = String>) -> Self {
        for resource in resources {
            if !self.resource.contains(&resource) {
                self.resource.push(resource);
            }
        }
        self
    }

    /// For this principal.
    #[must_use]
    pub fn to(mut self, principal: Principal) -> Self {
        self.principal = Some(principal);
        self
    }

    /// Only where the key has one of these values by this operator.
    #[must_use]
    pub fn when(
        mut self,
        operator: &'static str,
        key: &'static str,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let values = Values(values.into_iter().map(Into::into).collect());
        self.condition.entry(operator).or_default().insert(key, values);
        self
    }

    /// The values of the condition that has most of them.
    fn longest_condition(&mut self) -> Option<&mut Values> {
        self.condition.values_mut().flat_map(BTreeMap::values_mut).max_by_key(|values| values.0.len())
    }
}

/// Puts statements into as few documents as they fill in this order; one that does not fit is split by its resources, and
/// by the values of its condition where those alone are too many.
pub(super) fn pack(statements: Vec<Statement>) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut open = Document::new(Vec::new());
    let stated = statements.into_iter().filter(|statement| !statement.resource.is_empty());
    for statement in stated.flat_map(narrowed) {
        let mut rest = statement;
        while !rest.resource.is_empty() {
            let bare = Statement { resource: Vec::new(), ..rest.clone() };
            let fitting = fitting(&open, &bare, &rest.resource);
            // Not even one resource of a statement by itself would be more than IAM takes: leave that to IAM to say.
            let fitting = if fitting == 0 && open.statement.is_empty() { 1 } else { fitting };
            let later = rest.resource.split_off(fitting);
            if fitting > 0 {
                open.statement.push(Statement { resource: std::mem::take(&mut rest.resource), ..bare });
            }
            rest.resource = later;
            if !rest.resource.is_empty() {
                documents.push(std::mem::replace(&mut open, Document::new(Vec::new())));
            }
        }
    }
    if !open.statement.is_empty() {
        documents.push(open);
    }
    documents
}

/// The statement in parts, each of which has room for a resource in a document by itself. One value of a condition has to
/// match: parts with some of them each allow together what the whole does.
fn narrowed(statement: Statement) -> Vec<Statement> {
    let bare = Statement { resource: Vec::new(), ..statement.clone() };
    if fitting(&Document::new(Vec::new()), &bare, &statement.resource) > 0 {
        return vec![statement];
    }
    let mut upper = statement.clone();
    let mut lower = statement;
    let Some(values) = lower.longest_condition().filter(|values| values.0.len() > 1) else { return vec![upper] };
    let half = values.0.split_off(values.0.len() / 2);
    if let Some(values) = upper.longest_condition() {
        values.0 = half;
    }
    [lower, upper].into_iter().flat_map(narrowed).collect()
}

/// How many of `resources` a document has room for, in one more statement.
fn fitting(open: &Document, bare: &Statement, resources: &[String]) -> usize {
    /// A comma, and `"Resource":[],`.
    const AROUND: usize = 16;
    let statement = serde_json::to_string(bare).map_or(usize::MAX, |text| text.len());
    let mut left = LIMIT.saturating_sub(open.size()).saturating_sub(statement).saturating_sub(AROUND);
    let fits = |resource: &&String| {
        // Two quotes and a comma.
        let size = resource.len() + 3;
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    };
    resources.iter().take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_written_as_iam_reads_it() {
        let statement = Statement::allow("Invoke", &["bedrock:InvokeModel"]).on(["a".to_owned(), "a".to_owned()]).when(
            "StringEquals",
            "aws:RequestedRegion",
            ["unspecified"],
        );
        let expected = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Invoke","Effect":"Allow","Action":["bedrock:InvokeModel"],"Resource":["a"],"Condition":{"StringEquals":{"aws:RequestedRegion":"unspecified"}}}]}"#;
        let document = Document::new(vec![statement]);
        assert_eq!(serde_json::to_string(&document).unwrap(), expected);
        assert_eq!(document.size(), expected.len());
        let trust = Statement::allow("Trust", &["sts:AssumeRole"]).to(Principal::Service("bedrock.amazonaws.com"));
        let expected = r#"{"Sid":"Trust","Effect":"Allow","Principal":{"Service":"bedrock.amazonaws.com"},"Action":["sts:AssumeRole"]}"#;
        assert_eq!(serde_json::to_string(&trust).unwrap(), expected);
    }

    #[test]
    fn what_is_too_long_for_one_document_is_split_without_loss_and_within_the_limit() {
        let resources: Vec<String> =
            (0..500).map(|n| format!("arn:aws:bedrock:us-east-1::foundation-model/{n}")).collect();
        let small = Statement::allow("List", &["bedrock:ListFoundationModels"]).on(["*".to_owned()]);
        let large = Statement::allow("Invoke", &["bedrock:InvokeModel"]).on(resources.clone());
        let documents = pack(vec![small.clone(), large.clone(), small]);
        assert!(documents.len() > 3);
        for document in &documents {
            assert!((1..=LIMIT).contains(&document.size()), "{}", document.size());
        }
        // Filled: only the last has room for more than another resource.
        assert!(documents[..documents.len() - 1].iter().all(|document| document.size() > LIMIT - 80));
        let packed = documents.iter().flat_map(|document| &document.statement);
        let invoked: Vec<_> = packed.filter(|one| one.sid == "Invoke").flat_map(|one| one.resource.clone()).collect();
        assert_eq!(invoked, resources);
    }

    #[test]
    fn a_condition_with_too_many_values_is_split_without_loss_and_within_the_limit() {
        let profiles: Vec<String> =
            (0..300).map(|n| format!("arn:aws:bedrock:us-east-1:000000000000:inference-profile/{n}")).collect();
        let any = "arn:aws:bedrock:*::foundation-model/*".to_owned();
        let invoke = Statement::allow("Invoke", &["bedrock:InvokeModel"]).on([any.clone()]);
        let regions = ["us-east-1", "us-west-2"];
        let invoke = invoke.when("StringEquals", "aws:RequestedRegion", regions);
        let documents = pack(vec![invoke.when("ArnLike", "bedrock:InferenceProfileArn", profiles.clone())]);
        let mut kept = Vec::new();
        for document in &documents {
            assert!((1..=LIMIT).contains(&document.size()), "{}", document.size());
            for statement in &document.statement {
                assert_eq!(statement.resource, std::slice::from_ref(&any));
                assert_eq!(statement.condition["StringEquals"]["aws:RequestedRegion"].0, regions);
                kept.extend(statement.condition["ArnLike"]["bedrock:InferenceProfileArn"].0.clone());
            }
        }
        assert_eq!(kept, profiles);
    }

    #[test]
    fn a_statement_on_nothing_is_left_out() {
        assert_eq!(pack(vec![Statement::allow("Invoke", &["bedrock:InvokeModel"])]), []);
    }
}
