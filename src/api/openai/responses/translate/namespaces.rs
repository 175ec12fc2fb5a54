//! Tools that are offered in groups: `namespace`
//! (<https://platform.openai.com/docs/guides/function-calling#namespaces>), as Codex offers those of each MCP server.
//! Bedrock knows no groups, so a tool goes there under the names of both, one after the other; its calls come back with
//! both apart.

use std::collections::HashMap;

use crate::api::conversation::At;
use crate::api::openai::responses::wire::{Item, Tool};
use crate::error::Error;
use crate::report::{Action, Report};

/// The tools that are in groups, by the joined names.
#[derive(Clone, Debug, Default)]
pub struct Namespaces(HashMap<String, (String, String)>);

impl Namespaces {
    /// Takes the tools of `offered` out of their groups, each with its place, and remembers the groups.
    pub(super) fn flatten(&mut self, offered: Vec<(At, Tool)>, report: &mut Report) -> Result<Vec<(At, Tool)>, Error> {
        let mut flat = Vec::with_capacity(offered.len());
        for (at, mut tool) in offered {
            if tool.kind != NAMESPACE {
                flat.push((at, tool));
                continue;
            }
            let Some(namespace) = tool.name.filter(|name| !name.is_empty()) else {
                return Err(Error::invalid(at.dot("name"), "A namespace needs a name."));
            };
            let Some(members) = tool.tools.take().filter(|members| !members.is_empty()) else {
                return Err(Error::invalid(at.dot("tools"), "A namespace needs tools."));
            };
            report.add(Action::Renamed, at.dot("tools"));
            // What is said of all of them is told once, where the model meets the first.
            let mut of_all = tool.description.filter(|text| !text.trim().is_empty());
            for (j, mut member) in members.into_iter().enumerate() {
                let at = at.at("tools", j);
                let Some(name) = member.name.take().filter(|name| !name.is_empty()) else {
                    return Err(Error::invalid(at.dot("name"), "A tool needs a name."));
                };
                if let Some(of_all) = of_all.take() {
                    member.description = Some(match member.description {
                        Some(own) => format!("{of_all}\n\n{own}"),
                        None => of_all,
                    });
                }
                let joined = joined(&namespace, &name);
                self.0.insert(joined.clone(), (namespace.clone(), name));
                member.name = Some(joined);
                flat.push((at, member));
            }
        }
        Ok(flat)
    }

    /// The namespace and the name that `joined` was made of.
    pub(super) fn apart(&self, joined: String) -> (Option<String>, String) {
        match self.0.get(&joined) {
            Some((namespace, name)) => (Some(namespace.clone()), name.clone()),
            None => (None, joined),
        }
    }
}

/// The type of a group.
pub(super) const NAMESPACE: &str = "namespace";

/// Names the calls among `items` as the tools that they call are named for Bedrock.
pub(super) fn join_calls(items: &mut [(At, Item)]) {
    for (_, item) in items {
        if let (Some(namespace), Some(name)) = (item.namespace.take(), item.name.as_mut()) {
            *name = joined(&namespace, name);
        }
    }
}

/// One name for both. Clients that name a namespace for this end it with the separator.
pub(super) fn joined(namespace: &str, name: &str) -> String {
    const SEPARATOR: &str = "__";
    if namespace.is_empty() {
        return name.to_owned();
    }
    let between = if namespace.ends_with(SEPARATOR) { "" } else { SEPARATOR };
    format!("{namespace}{between}{name}")
}
