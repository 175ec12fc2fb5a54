//! Files as the official clients know them: <https://platform.openai.com/docs/api-reference/files/object>.

use serde::Serialize;
use utoipa::ToSchema;

use crate::batch::File;

/// A file.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = FileObject)]
pub(crate) struct FileObject {
    /// `file-...`
    pub id: String,
    /// Always `file`.
    pub object: &'static str,
    /// Its length.
    pub bytes: u64,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// When it is deleted, likewise.
    pub expires_at: i64,
    /// As its owner called it.
    pub filename: String,
    /// `batch`, or `batch_output` of what a batch has made.
    pub purpose: String,
    /// Always `processed`: what is wrong with its lines is told by a batch over it.
    pub status: &'static str,
    /// Always null.
    pub status_details: Option<String>,
}

impl From<File> for FileObject {
    fn from(file: File) -> Self {
        Self {
            id: file.id,
            object: "file",
            bytes: file.bytes,
            created_at: file.created_at.seconds(),
            expires_at: file.expires_at.seconds(),
            filename: file.filename,
            purpose: file.purpose,
            status: "processed",
            status_details: None,
        }
    }
}

/// A page of files.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FileList {
    /// Always `list`.
    pub object: &'static str,
    /// The files.
    pub data: Vec<FileObject>,
    /// The id of the first of them.
    pub first_id: Option<String>,
    /// The id of the last of them: `after` for the next page.
    pub last_id: Option<String>,
    /// Whether there is a next page.
    pub has_more: bool,
}

impl FileList {
    pub(super) fn of(files: Vec<File>, has_more: bool) -> Self {
        let data: Vec<FileObject> = files.into_iter().map(FileObject::from).collect();
        let id = |file: Option<&FileObject>| file.map(|file| file.id.clone());
        Self { object: "list", first_id: id(data.first()), last_id: id(data.last()), data, has_more }
    }
}

/// A file that is gone.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FileDeleted {
    /// The file.
    pub id: String,
    /// Always `file`.
    pub object: &'static str,
    /// Always true.
    pub deleted: bool,
}

/// What an upload is made of, in any order.
#[derive(ToSchema)]
#[schema(as = FileUpload)]
#[expect(dead_code, reason = "it is read part by part; this is its description")]
pub(super) struct FileUpload {
    /// The file: JSON, one object a line.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// `batch`.
    purpose: String,
    /// `created_at`, with `expires_after[seconds]`.
    #[schema(rename = "expires_after[anchor]")]
    anchor: Option<String>,
    /// 3600 to 2592000: after how many seconds it is deleted, if that is sooner than the gateway's own rule says.
    #[schema(rename = "expires_after[seconds]")]
    seconds: Option<u32>,
}
