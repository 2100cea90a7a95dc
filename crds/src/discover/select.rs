//! Label selection with the semantics of Kubernetes: all labels and all expressions
//! must match; a key that is absent satisfies `NotIn` and `DoesNotExist`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::Problem;
use crate::MCPServer;

/// Names of the servers that the selector matches; none without a selector, all with
/// an empty one.
pub(super) fn selected<'a>(
    selector: Option<&LabelSelector>,
    servers: &BTreeMap<&'a str, &'a MCPServer>,
) -> Result<BTreeSet<&'a str>, Problem> {
    let Some(selector) = selector else {
        return Ok(BTreeSet::new());
    };
    let requirements = requirements(selector)?;
    let names = servers
        .iter()
        .filter(|(_, server)| {
            requirements
                .iter()
                .all(|wanted| wanted.holds(labels(server)))
        })
        .map(|(name, _)| *name)
        .collect();
    Ok(names)
}

/// One condition on the labels of an object.
enum Requirement<'a> {
    In(&'a str, BTreeSet<&'a str>),
    NotIn(&'a str, BTreeSet<&'a str>),
    Exists(&'a str),
    DoesNotExist(&'a str),
}

impl Requirement<'_> {
    fn holds(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let value = |key: &str| {
            labels
                .and_then(|labels| labels.get(key))
                .map(String::as_str)
        };
        match self {
            Self::In(key, values) => value(key).is_some_and(|found| values.contains(found)),
            Self::NotIn(key, values) => value(key).is_none_or(|found| !values.contains(found)),
            Self::Exists(key) => value(key).is_some(),
            Self::DoesNotExist(key) => value(key).is_none(),
        }
    }
}

fn labels(server: &MCPServer) -> Option<&BTreeMap<String, String>> {
    server.metadata.labels.as_ref()
}

fn requirements(selector: &LabelSelector) -> Result<Vec<Requirement<'_>>, Problem> {
    let labels = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    labels
        .map(|(key, value)| Ok(Requirement::In(key, BTreeSet::from([value.as_str()]))))
        .chain(expressions.map(requirement))
        .collect()
}

fn requirement(expression: &LabelSelectorRequirement) -> Result<Requirement<'_>, Problem> {
    let key = expression.key.as_str();
    let values: BTreeSet<&str> = expression
        .values
        .iter()
        .flatten()
        .map(String::as_str)
        .collect();
    match (expression.operator.as_str(), values.is_empty()) {
        ("In", false) => Ok(Requirement::In(key, values)),
        ("NotIn", false) => Ok(Requirement::NotIn(key, values)),
        ("Exists", true) => Ok(Requirement::Exists(key)),
        ("DoesNotExist", true) => Ok(Requirement::DoesNotExist(key)),
        (operator, true) => Err(Problem::invalid_selector(&format!(
            "operator {operator} of key {key} has no values"
        ))),
        (operator, false) => Err(Problem::invalid_selector(&format!(
            "operator {operator} of key {key} has values"
        ))),
    }
}
