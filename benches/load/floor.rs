//! The floor: the least that a proxy in the same language and on the same stack can cost.
//!
//! hyper in, hyper out, pooled connections, bodies forwarded as they stream. It reads no body, knows no key, signs
//! nothing, counts nothing: every ratio that is reported is against this.

use std::net::SocketAddr;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::{Result, loopback};

type Upstream = Client<HttpConnector, Incoming>;

/// Forwards everything to `upstream`.
pub(crate) async fn run(upstream: SocketAddr) -> Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Upstream = Client::builder(TokioExecutor::new()).build(connector);
    let authority: http::uri::Authority = upstream.to_string().parse()?;
    loopback::serve(move |request| {
        let (client, authority) = (client.clone(), authority.clone());
        async move { forward(&client, authority, request).await }
    })
    .await
}

async fn forward(
    client: &Upstream,
    authority: http::uri::Authority,
    request: Request<Incoming>,
) -> Response<Either<Incoming, Empty<Bytes>>> {
    let (mut head, body) = request.into_parts();
    let mut uri = head.uri.into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority);
    head.uri = Uri::from_parts(uri).unwrap_or_default();
    head.headers.remove(header::HOST);
    if let Ok(response) = client.request(Request::from_parts(head, body)).await {
        return response.map(Either::Left);
    }
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
