//! The content of a message, part by part.

use crate::api::conversation::{self, At, Builder, CachePoints, Label};
use crate::api::openai::found::Found;
use crate::api::openai::wire::{CacheBreakpoint, CacheControl, File, Part, TextOrList, Url};
use crate::converse::{CachePoint, ContentBlock, ToolResultBlock};
use crate::error::Error;
use crate::families::Traits;
use crate::report::{Action, Report};

/// What the content of a message may hold.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Allowed {
    Text,
    /// What a tool may answer.
    Results,
    Everything,
}

/// A block, and the cache mark behind it with its place.
type Marked = (ContentBlock, Option<(At, CacheControl)>);

/// Reads the content of one message.
pub(super) struct Parts<'a, 'b> {
    pub(super) builder: &'a mut Builder<'b>,
    pub(super) points: &'a mut CachePoints,
    pub(super) traits: &'a Traits,
    pub(super) allowed: Allowed,
}

/// What was read: the blocks worth sending, each with the mark that it is worth caching and the place of the mark.
#[derive(Default)]
pub(super) struct Content(Vec<Marked>);

impl Content {
    pub(super) fn add_text(&mut self, text: Option<String>) {
        self.0.extend(text.map(|text| (ContentBlock::Text(text), None)));
    }

    /// The mark of the last block.
    pub(super) fn take_last_mark(&mut self) -> Option<CacheControl> {
        let (_, mark) = self.0.last_mut()?;
        Some(mark.take()?.1)
    }

    /// As the answer of a tool, which cannot be cached in part.
    pub(super) fn into_results(self, report: &mut Report) -> Vec<ToolResultBlock> {
        let mut results = Vec::with_capacity(self.0.len());
        for (block, mark) in self.0 {
            if let Some((at, _)) = mark {
                report.add(Action::Dropped, at);
            }
            results.push(match block {
                ContentBlock::Text(text) => ToolResultBlock::Text(text),
                ContentBlock::Image(image) => ToolResultBlock::Image(image),
                ContentBlock::Document(document) => ToolResultBlock::Document(document),
                // `Allowed::Results` lets no other through.
                _ => continue,
            });
        }
        results
    }
}

impl Parts<'_, '_> {
    /// The content of the message at `at` without its blank texts. Content that is the empty string says the same as
    /// none, so leaving that out is not worth a word.
    pub(super) fn read(&mut self, at: At, content: Option<TextOrList<Part>>) -> Result<Content, Error> {
        match content {
            None => Ok(Content::default()),
            Some(TextOrList::Text(text)) if text.is_empty() => Ok(Content::default()),
            Some(TextOrList::Text(text)) => {
                let text = self.builder.text(at.dot("content"), text).map(ContentBlock::Text);
                Ok(Content(text.into_iter().map(|text| (text, None)).collect()))
            }
            Some(TextOrList::List(parts)) => {
                let mut blocks = Vec::with_capacity(parts.len());
                for (j, part) in parts.into_iter().enumerate() {
                    blocks.extend(self.part(at.at("content", j), part)?);
                }
                Ok(Content(blocks))
            }
        }
    }

    /// The blocks of `content`, each followed by the cache point that it is marked for; `whole` marks the message.
    pub(super) fn mark(
        &mut self,
        at: At,
        mut content: Content,
        whole: Option<CacheControl>,
    ) -> Result<Vec<ContentBlock>, Error> {
        if let Some(whole) = whole {
            let place = at.dot("cache_control");
            match content.0.last_mut() {
                Some((_, mark @ None)) => *mark = Some((place, whole)),
                // There is nothing to mark, or its own mark stands there already.
                Some(_) | None => self.builder.report().add(Action::Dropped, place),
            }
        }
        let mut blocks = Vec::with_capacity(content.0.len());
        for (block, mark) in content.0 {
            blocks.push(block);
            let point = mark.map(|(at, mark)| self.point_at(at, &mark)).transpose()?.flatten();
            blocks.extend(point.map(ContentBlock::CachePoint));
        }
        Ok(blocks)
    }

    /// The cache point that what stands at `at` is marked for.
    pub(super) fn point(&mut self, at: At, mark: Option<CacheControl>) -> Result<Option<CachePoint>, Error> {
        mark.map_or(Ok(None), |mark| self.point_at(at.dot("cache_control"), &mark))
    }

    fn point_at(&mut self, at: At, mark: &CacheControl) -> Result<Option<CachePoint>, Error> {
        let ttl = ttl(at, mark)?;
        Ok(self.points.point(at, ttl, self.builder.report()))
    }

    fn part(&mut self, at: At, part: Part) -> Result<Option<Marked>, Error> {
        for (key, _) in part.extra.iter().filter(|(_, value)| !value.is_null()) {
            self.builder.report().add(Action::Dropped, format!("{at}.{key}"));
        }
        let missing = |field: &'static str| Error::invalid(at.dot(field), format!("`{field}` is missing."));
        let kind = part.kind.as_str();
        let belongs = match self.allowed {
            Allowed::Everything => true,
            Allowed::Results => !matches!(kind, "input_audio" | "video_url"),
            Allowed::Text => !matches!(kind, "image_url" | "input_audio" | "file" | "video_url"),
        };
        if !belongs {
            return Err(Error::invalid(at.dot("type"), "This belongs in messages of the user."));
        }
        let block = match kind {
            "text" => self.builder.text(at, part.text.ok_or_else(|| missing("text"))?).map(ContentBlock::Text),
            "refusal" => self.builder.text(at, part.refusal.ok_or_else(|| missing("refusal"))?).map(ContentBlock::Text),
            "image_url" => {
                let image = part.image_url.ok_or_else(|| missing("image_url"))?;
                if image.detail.is_some_and(|detail| detail != "auto") {
                    self.builder.report().add(Action::Dropped, at.dot("image_url.detail"));
                }
                let at = at.dot("image_url.url");
                let found = Found::by(image.url, at, self.builder.report())?;
                Some(ContentBlock::Image(conversation::image(found.payload, at)?))
            }
            "input_audio" => {
                let audio = part.input_audio.ok_or_else(|| missing("input_audio"))?;
                let at = at.dot("input_audio");
                Some(conversation::audio(audio.data, &audio.format, at, self.traits)?)
            }
            "video_url" => {
                let at = at.dot("video_url.url");
                let found =
                    Found::by(part.video_url.ok_or_else(|| missing("video_url"))?.url, at, self.builder.report())?;
                Some(conversation::video(found.payload, found.media_type.as_deref(), at, self.traits)?)
            }
            "file" => Some(self.file(at.dot("file"), part.file.ok_or_else(|| missing("file"))?)?),
            _ => {
                let message = "`type` has to be `text`, `image_url`, `input_audio`, `file` or `video_url`.";
                return Err(Error::invalid(at.dot("type"), message));
            }
        };
        let mark = Self::mark_of(at, part.cache_control, part.prompt_cache_breakpoint)?;
        Ok(block.map(|block| (block, mark)))
    }

    /// The mark of the part at `at`, in Anthropic's words or in OpenAI's. Both together are one.
    fn mark_of(
        at: At,
        control: Option<CacheControl>,
        breakpoint: Option<CacheBreakpoint>,
    ) -> Result<Option<(At, CacheControl)>, Error> {
        if let Some(breakpoint) = &breakpoint {
            conversation::check_breakpoint(at.dot("prompt_cache_breakpoint"), &breakpoint.mode)?;
        }
        Ok(match (control, breakpoint) {
            (Some(control), _) => Some((at.dot("cache_control"), control)),
            (None, Some(_)) => {
                let plain = CacheControl { kind: "ephemeral".to_owned(), ttl: None };
                Some((at.dot("prompt_cache_breakpoint"), plain))
            }
            (None, None) => None,
        })
    }

    fn file(&mut self, at: At, file: File) -> Result<ContentBlock, Error> {
        let (at, url) = match (file.file_data, file.file_url, file.file_id) {
            (Some(data), ..) => (at.dot("file_data"), data),
            (None, Some(url), _) => (at.dot("file_url"), url),
            (None, None, Some(_)) => {
                let message = "Send the file itself as `file_data`: uploaded files cannot be referred to.";
                return Err(Error::unsupported(at.dot("file_id"), message));
            }
            (None, None, None) => return Err(Error::invalid(at.dot("file_data"), "`file_data` is missing.")),
        };
        let found = match url {
            // OpenAI's own examples show a data URL, its clients send the bare base64 as well.
            Url::Other(payload) if !payload.contains("://") => Found { media_type: None, payload },
            url => Found::by(url, at, self.builder.report())?,
        };
        if conversation::is_picture(&found.payload) {
            return conversation::image(found.payload, at).map(ContentBlock::Image);
        }
        let media_type = found.media_type.or(file.format);
        let label = Label { media_type: media_type.as_deref(), file_name: file.filename.as_deref() };
        let name = self.builder.document_name();
        if file.filename.is_some() {
            self.builder.report().add(Action::Renamed, at.parent().dot("filename"));
        }
        conversation::document(found.payload, label, name, at).map(ContentBlock::Document)
    }
}

/// How long what is marked is to be kept.
pub(super) fn ttl(at: At, mark: &CacheControl) -> Result<Option<&str>, Error> {
    if mark.kind != "ephemeral" {
        return Err(Error::invalid(at.dot("type"), "`type` has to be `ephemeral`."));
    }
    match mark.ttl.as_deref() {
        ttl @ (None | Some("5m" | "1h")) => Ok(ttl),
        Some(_) => Err(Error::invalid(at.dot("ttl"), "`ttl` has to be `5m` or `1h`.")),
    }
}
