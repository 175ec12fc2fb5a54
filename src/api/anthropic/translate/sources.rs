//! Sources that point elsewhere: found, and replaced by what was fetched from there.

use crate::api::anthropic::wire::{Block, MessagesRequest, Source, Whereabouts};
use crate::api::conversation::At;
use crate::api::openai::wire::TextOrList;
use crate::api::remote::{Payload, Remote};
use crate::report::{Action, Report};

/// What the request points to, in order.
pub(in crate::api) fn remotes(wire: &mut MessagesRequest) -> Vec<Remote> {
    let mut found = Vec::new();
    each(wire, &mut |at, source| {
        let url = source.url.clone().unwrap_or_default();
        found.push(Remote { path: at.dot("url").into(), url });
    });
    found
}

/// Puts what was fetched in the place of what [`remotes`] found, in the same order.
pub(in crate::api) fn inline(wire: &mut MessagesRequest, fetched: Vec<Payload>, report: &mut Report) {
    let mut fetched = fetched.into_iter();
    each(wire, &mut |at, source| {
        if let Some(payload) = fetched.next() {
            "base64".clone_into(&mut source.kind);
            source.media_type = payload.media_type;
            source.data = Some(payload.base64);
            source.url = None;
            report.add(Action::Fetched, at);
        }
    });
}

/// Calls `visit` with each source that is a URL.
fn each(wire: &mut MessagesRequest, visit: &mut dyn FnMut(At, &mut Source)) {
    for (i, message) in wire.messages.iter_mut().enumerate() {
        if let TextOrList::List(blocks) = &mut message.content {
            walk(blocks, &|j| At::item("messages", i).at("content", j), visit);
        }
    }
}

fn walk(blocks: &mut [Block], at: &dyn Fn(usize) -> At, visit: &mut dyn FnMut(At, &mut Source)) {
    for (j, block) in blocks.iter_mut().enumerate() {
        let at = at(j);
        if let Some(Whereabouts::Source(source)) = &mut block.source
            && source.kind == "url"
            && source.url.is_some()
        {
            visit(at.dot("source"), source);
        }
        if let Some(TextOrList::List(inner)) = &mut block.content {
            walk(inner, &|k| at.at("content", k), visit);
        }
    }
}
