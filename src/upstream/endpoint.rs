//! Where one Region's two planes are: the host by the SDK's own rules, and the parts of a request's address that do not
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

/// Which of Bedrock's two services in a Region. They differ in host and environment variable, and in nothing else:
/// <https://docs.aws.amazon.com/general/latest/gr/bedrock.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plane {
    /// Inference: `bedrock-runtime`.
    Runtime,
    /// Models, profiles and jobs: `bedrock`.
    Control,
}

impl Plane {
    /// The name by which environment and profile know the service.
    const fn service_id(self) -> &'static str {
        match self {
            Self::Runtime => "Bedrock Runtime",
            Self::Control => "Bedrock",
        }
    }

    /// Its key in `[aws.endpoints.R]`.
    const fn key(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Control => "control",
        }
    }

    /// The URL in this plane that corresponds to AWS's own URL of the runtime: the rules of both are one text but for the
    /// first word of the host, in every partition, FIPS and dual stack included.
    fn of_runtime(self, url: &str) -> String {
        match self {
            Self::Runtime => url.to_owned(),
            Self::Control => url.replacen("//bedrock-runtime", "//bedrock", 1),
        }
    }
}

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
    /// A plane of `region`: `chosen` from the configuration, else the URL that the environment or the profile
    /// names, else AWS's host for the Region (FIPS and dual stack as the environment says).
    pub(super) async fn resolve(region: &str, plane: Plane, chosen: Option<&str>, sdk: &SdkConfig) -> Result<Self> {
        let field = || format!("aws.endpoints.{region}.{}", plane.key());
        let named = chosen.map(str::to_owned).or_else(|| named_by_environment(sdk, plane.service_id()));
        let is_aws = named.is_none();
        let params = Params::builder()
            .region(region)
            .use_fips(sdk.use_fips().unwrap_or(false))
            .use_dual_stack(sdk.use_dual_stack().unwrap_or(false))
            .set_endpoint(named)
            .build()
            .map_err(|error| Error::invalid("aws.regions", format!("`{region}` is no Region name.")).source(error))?;
        let resolver = DefaultResolver::new();
        let endpoint = ResolveEndpoint::resolve_endpoint(&resolver, &params)
            .await
            .map_err(|error| Error::invalid(field(), format!("No endpoint for {region}: {error}.")))?;
        let url = if is_aws { plane.of_runtime(endpoint.url()) } else { endpoint.url().to_owned() };
        Self::parse(&url).ok_or_else(|| {
            Error::invalid(field(), "The base URL must be http:// or https:// with a host, and have no query.")
        })
    }

    /// The base URL, if it is one.
    pub(super) fn parse(url: &str) -> Option<Self> {
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
    /// The same as text.
    pub(super) fn authority(&self) -> &str {
        self.host.to_str().unwrap_or_default()
    }

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
            match key.service_id() {
                "Bedrock Runtime" => Some("http://named:4567/base/".to_owned()),
                "Bedrock" => Some("http://control:4567".to_owned()),
                _ => None,
            }
        }
    }

    async fn uri(region: &str, chosen: Option<&str>, sdk: &SdkConfig) -> String {
        let endpoint = Endpoint::resolve(region, Plane::Runtime, chosen, sdk).await.unwrap();
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
    async fn the_control_plane_is_named_apart_from_the_runtime() {
        let named = SdkConfig::builder().service_config(Environment).build();
        for (chosen, base) in [(None, "http://control:4567"), (Some("http://127.0.0.1:1/"), "http://127.0.0.1:1")] {
            let endpoint = Endpoint::resolve("eu-west-1", Plane::Control, chosen, &named).await.unwrap();
            assert_eq!(endpoint.uri("/foundation-models").unwrap().to_string(), format!("{base}/foundation-models"));
        }
        let one_for_all = SdkConfig::builder().endpoint_url("http://bedrock-runtime.proxy").build();
        let endpoint = Endpoint::resolve("eu-west-1", Plane::Control, None, &one_for_all).await.unwrap();
        assert_eq!(endpoint.host(), "bedrock-runtime.proxy", "a URL that somebody chose is left as it is");
    }

    #[derive(serde::Deserialize)]
    struct Regions {
        regions: Vec<Hosts>,
    }

    #[derive(serde::Deserialize)]
    struct Hosts {
        code: String,
        control: String,
        runtime: String,
        control_fips: Option<String>,
        runtime_fips: Option<String>,
    }

    #[tokio::test]
    async fn both_planes_of_every_region_have_the_host_that_aws_publishes() {
        let Regions { regions } = serde_json::from_str(include_str!("../../data/regions.json")).unwrap();
        let (bare, fips) = (SdkConfig::builder().build(), SdkConfig::builder().use_fips(true).build());
        let mut checked = 0;
        for region in &regions {
            for (plane, sdk, expected) in [
                (Plane::Control, &bare, Some(&region.control)),
                (Plane::Runtime, &bare, Some(&region.runtime)),
                (Plane::Control, &fips, region.control_fips.as_ref()),
                (Plane::Runtime, &fips, region.runtime_fips.as_ref()),
            ] {
                let Some(expected) = expected else { continue };
                let endpoint = Endpoint::resolve(&region.code, plane, None, sdk).await.unwrap();
                assert_eq!(endpoint.host(), expected.as_str(), "{} {plane:?}", region.code);
                checked += 1;
            }
        }
        assert!(checked > 2 * regions.len(), "no FIPS host was checked");
    }

    #[tokio::test]
    async fn dual_stack_hosts_are_those_of_the_sdk() {
        for (region, fips, host) in [
            ("us-east-1", false, "bedrock.us-east-1.api.aws"),
            ("us-east-1", true, "bedrock-fips.us-east-1.api.aws"),
            ("us-gov-west-1", true, "bedrock-fips.us-gov-west-1.api.aws"),
            ("cn-north-1", false, "bedrock.cn-north-1.api.amazonwebservices.com.cn"),
        ] {
            let sdk = SdkConfig::builder().use_dual_stack(true).use_fips(fips).build();
            let endpoint = Endpoint::resolve(region, Plane::Control, None, &sdk).await.unwrap();
            assert_eq!(endpoint.host(), host);
        }
    }

    #[tokio::test]
    async fn a_base_url_that_cannot_be_called_is_refused_with_its_path() {
        let bare = SdkConfig::builder().build();
        for wrong in ["ftp://host", "localhost", "http://host/?a=b", "http://user@host"] {
            let error = Endpoint::resolve("us-east-1", Plane::Runtime, Some(wrong), &bare).await.unwrap_err();
            assert_eq!(error.blamed(), Some("aws.endpoints.us-east-1.runtime"), "{wrong}");
        }
        assert!(Endpoint::resolve("not a region", Plane::Runtime, None, &bare).await.is_err());
        let error = Endpoint::resolve("us-east-1", Plane::Control, Some("ftp://host"), &bare).await.unwrap_err();
        assert_eq!(error.blamed(), Some("aws.endpoints.us-east-1.control"));
    }

    #[test]
    fn a_default_port_is_not_part_of_the_host() {
        assert_eq!(Endpoint::parse("https://host:443/").unwrap().host(), "host");
        assert_eq!(Endpoint::parse("https://host:8443").unwrap().host(), "host:8443");
    }
}
