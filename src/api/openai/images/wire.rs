//! What a client may send and gets (<https://platform.openai.com/docs/api-reference/images/create>), and the fields of
//! Stability's models.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::converse::Object;

/// A request for images.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = ImageRequest)]
pub(super) struct Request {
    /// The model, by any name the gateway knows.
    pub(super) model: String,
    /// What the image shows.
    pub(super) prompt: String,
    /// How many images, 1 to 10; 1 if absent.
    pub(super) n: Option<u32>,
    /// Width and height as in `1024x1024`, or `auto`.
    pub(super) size: Option<String>,
    /// Width to height as in `16:9`, in the model's own words; outdoes `size`.
    pub(super) aspect_ratio: Option<String>,
    /// Only `b64_json`, also if absent: nothing here keeps images.
    pub(super) response_format: Option<String>,
    /// `png` (also if absent), `jpeg` or `webp`.
    pub(super) output_format: Option<String>,
    /// Has no equivalent.
    pub(super) quality: Option<String>,
    /// Has no equivalent.
    pub(super) style: Option<String>,
    /// Has no equivalent: images are opaque.
    pub(super) background: Option<String>,
    /// Has no equivalent.
    pub(super) moderation: Option<String>,
    /// Has no equivalent.
    pub(super) output_compression: Option<u32>,
    /// Has no equivalent: an image comes whole.
    pub(super) stream: Option<bool>,
    /// Has no equivalent: an image comes whole.
    pub(super) partial_images: Option<u32>,
    /// Who is behind the request.
    pub(super) user: Option<String>,
    /// What decides about chance; with it every image is the same, so it goes with one image only.
    pub(super) seed: Option<u64>,
    /// Everything else, such as `negative_prompt`, for the model itself.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub(super) extra: Object,
}

/// The images.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ImageList<'a> {
    /// When: seconds since the Unix epoch.
    pub(super) created: i64,
    /// As many as were asked for.
    #[schema(value_type = Vec<Image>)]
    pub(super) data: Vec<Image<'a>>,
    /// `png`, `jpeg` or `webp`.
    pub(super) output_format: &'a str,
}

/// One image.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GeneratedImage)]
pub(super) struct Image<'a> {
    /// The file in base64.
    #[schema(value_type = String)]
    pub(super) b64_json: &'a RawValue,
}
