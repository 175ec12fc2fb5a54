//! `POST /v1/embeddings`: <https://platform.openai.com/docs/api-reference/embeddings/create>.
//!
//! One request is as many calls as the model needs for its inputs. The numbers of a vector are the text that the model
//! wrote, unless the client asks for base64.

mod inputs;
pub(super) mod record;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::value::RawValue;

use self::wire::{EmbeddingList, Request, Usage, Vector};
use super::error::{self, ErrorBody};
use crate::api::answer::{annotate, of_json};
use crate::api::body;
use crate::api::caller::{Body, Strictness};
use crate::api::fan_out::{self, Answered, Part};
use crate::api::purpose;
use crate::error::{Error, Kind, Result};
use crate::families::embedding::{Embedding, Input, Settings, Vectors};
use crate::gateway::{Asked, Gateway, Origin, Trail};
use crate::report::Report;
use crate::tenancy::Caller;

/// Create embeddings
///
/// Titan, Cohere, Nova and Marengo. Inputs are sent in as many calls as the model needs; the headers tell the sum of
/// their attempts and costs. Fields that OpenAI does not have go to the model itself.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "OpenAI",
    request_body = Request,
    responses(
        (status = 200, description = "The vectors.", body = EmbeddingList),
        (status = "4XX", description = "The request cannot be served as it is.", body = ErrorBody),
        (status = "5XX", description = "Bedrock or the gateway failed.", body = ErrorBody),
    ),
    security(("key" = ["inference"]))
)]
pub(super) async fn create(
    State(gateway): State<Gateway>,
    caller: Caller,
    trail: Trail,
    strictness: Strictness,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response> {
    let mut wish = Wish::read(&body)?;
    drop(body);
    let model = trail.wait_for(gateway.model(&caller, std::mem::take(&mut wish.model))).await?;
    let (family, report) = wish.fit(&model)?;
    strictness.judge(&report)?;
    let origin =
        Origin { surface: "openai", operation: "embeddings", trail, end_user: wish.user.take(), status: error::status };

    let parts = wish.parts(family)?;
    let (count, format) = (wish.inputs.list.len(), wish.format);
    drop(wish);
    let (answers, served) = fan_out::invoke(&gateway, &caller, &origin, (&model, &headers), parts).await?;
    let answer = render(family, &answers, count, &model.name, format)?;
    Ok(annotate(of_json(answer.into()), &served, &report))
}

/// What is asked for.
struct Wish {
    /// By any name the gateway knows.
    model: String,
    format: Format,
    inputs: inputs::Inputs,
    settings: Settings,
    user: Option<String>,
}

impl Wish {
    fn read(body: &[u8]) -> Result<Self> {
        let request: Request = body::read(body)?;
        let format = Format::of(request.encoding_format.as_deref())?;
        let inputs = inputs::read(request.input)?;
        let mut settings = Settings {
            dimensions: request.dimensions,
            input_type: request.input_type,
            truncate: request.truncate,
            extra: request.extra,
        };
        settings.extra.retain(|_, value| !value.is_null());
        Ok(Self { model: request.model, format, inputs, settings, user: request.user })
    }

    /// Holds it against what the model can do, and leaves out what has no equivalent there.
    fn fit(&mut self, model: &Asked) -> Result<(Embedding, Report)> {
        let family = purpose::family(model, "embeddings", Embedding::of)?;
        inputs::fit(family, &self.inputs)?;
        let mut report = Report::default();
        family.judge(&self.inputs.list, &mut self.settings, &mut report)?;
        Ok((family, report))
    }

    /// The calls to make.
    fn parts(&self, family: Embedding) -> Result<Vec<Part>> {
        let own: Arc<[String]> = self.settings.extra.keys().cloned().collect();
        let one = |calls: std::ops::Range<usize>| -> Result<Part> {
            let list: &[Input] = &self.inputs.list[calls.clone()];
            let blame = if list.len() == 1 { self.inputs.path(calls.start) } else { "input".to_owned() };
            Ok(Part { body: family.body(list, &self.settings)?, blame: Some(blame), own: Arc::clone(&own) })
        };
        family.calls(&self.inputs.list).into_iter().map(one).collect()
    }
}

/// How the numbers of a vector are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// As a list.
    Float,
    /// As base64 of little-endian floats of four bytes.
    Base64,
}

impl Format {
    fn of(asked: Option<&str>) -> Result<Self> {
        match asked {
            None | Some("float") => Ok(Self::Float),
            Some("base64") => Ok(Self::Base64),
            Some(_) => Err(Error::invalid("encoding_format", "`encoding_format` takes float or base64.")),
        }
    }
}

/// The answer's body.
fn render(family: Embedding, answers: &[Answered], count: usize, model: &str, format: Format) -> Result<Vec<u8>> {
    let mut data = Vec::with_capacity(count);
    let mut prompt_tokens = 0;
    for answer in answers {
        let vectors = family.read(&answer.body).map_err(unreadable)?;
        prompt_tokens += vectors.input_tokens.unwrap_or(answer.input_tokens);
        append(vectors, format, &mut data)?;
    }
    write(data, count, (model, prompt_tokens))
}

/// Adds the vectors of one call to those of the others.
fn append<'a>(vectors: Vectors<'a>, format: Format, data: &mut Vec<wire::Embedding<'a>>) -> Result<()> {
    for numbers in vectors.numbers {
        let embedding = match format {
            Format::Float => Vector::Numbers(numbers),
            Format::Base64 => Vector::Base64(base64(numbers).map_err(unreadable)?),
        };
        data.push(wire::Embedding { object: "embedding", index: data.len(), embedding });
    }
    Ok(())
}

/// Puts an answer of `count` vectors together.
fn write(data: Vec<wire::Embedding<'_>>, count: usize, (model, prompt_tokens): (&str, u64)) -> Result<Vec<u8>> {
    if data.len() != count {
        return Err(unreadable("a vector for each input was expected"));
    }
    let usage = Usage { prompt_tokens, total_tokens: prompt_tokens };
    serde_json::to_vec(&EmbeddingList { object: "list", data, model, usage }).map_err(Error::internal)
}

fn base64(numbers: &RawValue) -> serde_json::Result<String> {
    let numbers: Vec<f32> = serde_json::from_str(numbers.get())?;
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Ok(STANDARD.encode(bytes))
}

fn unreadable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::UpstreamUnavailable, "Bedrock sent an answer that could not be read.").source(cause)
}
