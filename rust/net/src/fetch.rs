//! Rare calls of the control plane: probes, model lists, webhooks.
//!
//! Law: never on the path of a call. One small client, bounded in size and time; redirects are not followed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;

/// The largest answer that is read.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub enum Fault {
    /// Not in time.
    Timeout,
    /// Not at all, in words for the operator.
    Failed(String),
}

/// Asks once: status and body. `tls` is what an https URL needs.
///
/// # Errors
/// There was no answer in time, or none within the bounds.
pub async fn fetch(
    tls: Option<Arc<rustls::ClientConfig>>,
    method: Method,
    url: &str,
    headers: HeaderMap,
    body: Bytes,
    limit: Duration,
) -> Result<(u16, Bytes), Fault> {
    let uri: Uri = url.parse().map_err(|error| Fault::Failed(format!("'{url}' is not a URL: {error}")))?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let exchange = async {
        match tls {
            None => ask(HttpConnector::new(), request).await,
            Some(tls) => {
                let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config((*tls).clone());
                ask(builder.https_only().enable_http1().build(), request).await
            }
        }
    };
    tokio::time::timeout(limit, exchange).await.unwrap_or(Err(Fault::Timeout))
}

async fn ask<C>(connector: C, request: Request<Full<Bytes>>) -> Result<(u16, Bytes), Fault>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let client: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    let answer = client.request(request).await.map_err(|error| Fault::Failed(told(&error)))?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
    Ok((status, body.map_err(|error| Fault::Failed(error.to_string()))?.to_bytes()))
}

/// An error with its causes: the outermost alone says only that it failed.
fn told(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words.push_str(": ");
        words.push_str(&inner.to_string());
        cause = inner.source();
    }
    words
}
