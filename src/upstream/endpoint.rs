//! Where one Region's runtime is: the host by the SDK's own rules, and the parts of a request's address that do not
//! change from call to call.

use aws_sdk_bedrockruntime::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{Error, Result};

/// What a model id keeps as it is: RFC 3986's unreserved characters. All else, `:` and `/` included, is encoded, so that
/// the id is one path segment.
pub(super) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A base URL, taken apart once.
#[derive(Debug)]
pub(super) struct Endpoint {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    /// The path of the base URL without its last slash; mostly empty.
    prefix: String,
}

impl Endpoint {
    /// The runtime of `region`: `chosen` from the configuration, else the URL that the environment or the profile
    /// names, else AWS's host for the Region (FIPS and dual stack as the environment says).
    pub(super) async fn resolve(region: &str, chosen: Option<&str>, sdk: &SdkConfig) -> Result<Self> {
        let url = chosen.map(str::to_owned).or_else(|| named_by_environment(sdk, "Bedrock Runtime"));
        let field = || format!("aws.endpoints.{region}.runtime");
        let params = Params::builder()
            .region(region)
            .use_fips(sdk.use_fips().unwrap_or(false))
            .use_dual_stack(sdk.use_dual_stack().unwrap_or(false))
            .set_endpoint(url)
            .build()
            .map_err(|error| Error::invalid("aws.regions", format!("`{region}` is no Region name.")).source(error))?;
        let resolver = DefaultResolver::new();
        let endpoint = ResolveEndpoint::resolve_endpoint(&resolver, &params)
            .await
            .map_err(|error| Error::invalid(field(), format!("No endpoint for {region}: {error}.")))?;
        Self::parse(endpoint.url()).ok_or_else(|| {
            Error::invalid(field(), "The base URL must be http:// or https:// with a host, and have no query.")
        })
    }

    fn parse(url: &str) -> Option<Self> {
        let Parts { scheme, authority, path_and_query, .. } = url.parse::<Uri>().ok()?.into_parts();
        let (scheme, authority) = (scheme?, authority?);
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let path = path_and_query.unwrap_or(PathAndQuery::from_static("/"));
        if path.query().is_some() || authority.as_str().contains('@') {
            return None;
        }
        // As hyper and AWS do: a default port is not part of the host that is signed.
        let host = if authority.port_u16() == Some(default_port) { authority.host() } else { authority.as_str() };
        let host = HeaderValue::from_str(host).ok()?;
        Some(Self { scheme, authority, host, prefix: path.path().trim_end_matches('/').to_owned() })
    }

    /// The value of `host`.
    pub(super) fn host(&self) -> HeaderValue {
        self.host.clone()
    }

    /// The address of `POST /model/{model_id}/{suffix}`.
    pub(super) fn model_uri(&self, model_id: &str, suffix: &str) -> Result<Uri> {
        let mut path = String::with_capacity(self.prefix.len() + model_id.len() + suffix.len() + 32);
        path.push_str(&self.prefix);
        path.push_str("/model/");
        path.extend(utf8_percent_encode(model_id, SEGMENT));
        path.push('/');
        path.push_str(suffix);
        self.address(path)
    }

    /// The address of a path that names no model.
    pub(super) fn uri(&self, path: &str) -> Result<Uri> {
        self.address([&self.prefix, path].concat())
    }

    fn address(&self, path: String) -> Result<Uri> {
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query =
            Some(PathAndQuery::from_maybe_shared(bytes::Bytes::from(path)).map_err(Error::internal)?);
        Uri::from_parts(parts).map_err(Error::internal)
    }
}

/// `AWS_ENDPOINT_URL_<SERVICE>`, the profile's `services` section, or `AWS_ENDPOINT_URL`.
pub(super) fn named_by_environment(sdk: &SdkConfig, service_id: &str) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service_id)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    sdk.service_config().and_then(|config| config.load_config(key)).or_else(|| sdk.endpoint_url().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use aws_types::service_config::LoadServiceConfig;

    use super::*;

    #[derive(Debug)]
    struct Environment;

    impl LoadServiceConfig for Environment {
        fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
            (key.service_id() == "Bedrock Runtime").then(|| "http://named:4567/base/".to_owned())
        }
    }

    async fn uri(region: &str, chosen: Option<&str>, sdk: &SdkConfig) -> String {
        let endpoint = Endpoint::resolve(region, chosen, sdk).await.unwrap();
        endpoint.model_uri("arn:aws:bedrock:x::m/a.b-1:0", "converse").unwrap().to_string()
    }

    #[tokio::test]
    async fn the_host_is_the_chosen_one_then_the_environments_then_awss() {
        let bare = SdkConfig::builder().build();
        let fips = SdkConfig::builder().use_fips(true).build();
        let named = SdkConfig::builder().service_config(Environment).build();
        let path = "/model/arn%3Aaws%3Abedrock%3Ax%3A%3Am%2Fa.b-1%3A0/converse";
        for (region, chosen, sdk, base) in [
            ("us-east-1", None, &bare, "https://bedrock-runtime.us-east-1.amazonaws.com"),
            ("us-gov-west-1", None, &fips, "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com"),
            ("us-east-1", None, &named, "http://named:4567/base"),
            ("us-east-1", Some("http://127.0.0.1:1"), &named, "http://127.0.0.1:1"),
        ] {
            assert_eq!(uri(region, chosen, sdk).await, format!("{base}{path}"));
        }
    }

    #[tokio::test]
    async fn a_base_url_that_cannot_be_called_is_refused_with_its_path() {
        let bare = SdkConfig::builder().build();
        for wrong in ["ftp://host", "localhost", "http://host/?a=b", "http://user@host"] {
            let error = Endpoint::resolve("us-east-1", Some(wrong), &bare).await.unwrap_err();
            assert_eq!(error.blamed(), Some("aws.endpoints.us-east-1.runtime"), "{wrong}");
        }
        assert!(Endpoint::resolve("not a region", None, &bare).await.is_err());
    }

    #[test]
    fn a_default_port_is_not_part_of_the_host() {
        assert_eq!(Endpoint::parse("https://host:443/").unwrap().host(), "host");
        assert_eq!(Endpoint::parse("https://host:8443").unwrap().host(), "host:8443");
    }
}
