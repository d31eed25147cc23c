//! What happens to one request at the door: checked, then answered by the engine, here, or by the app.
//!
//! Law: authenticated on headers alone before a byte of the body is read. The door carries bytes; it knows nothing of models.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use levada_core::refusal::{Kind, Refusal};

use super::settings::Settings;
use crate::app::App;
use crate::app::forward::Visitor;
use crate::body::{Answer, Source};
use crate::call::Call;
use crate::front::{self, HeadLimits};
use crate::gateway::Gateway;
use crate::guard::{Line, Turn};
use crate::routes::is_admin;
use crate::upload::{self, Pace};

/// The engine's paths that say how the process is: these alone are served on both listeners.
const HEALTH: [&str; 4] = ["/livez", "/readyz", "/health", "/ready"];

const METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What all doors share.
pub struct House {
    pub gateway: Arc<Gateway>,
    app: App,
    head: HeadLimits,
    pace: Pace,
}

impl House {
    /// The house with these settings.
    pub fn new(gateway: Arc<Gateway>, settings: Settings) -> Self {
        let head = HeadLimits { bytes: settings.header_bytes, headers: settings.headers };
        let app = App::new(settings.app, settings.door_token, settings.trusted_proxies, settings.pace);
        Self { gateway, app, head, pace: settings.pace }
    }
}

/// One connection's door.
pub struct Door {
    house: Arc<House>,
    line: Arc<Line>,
    visitor: Visitor,
}

impl Door {
    /// The door that `visitor` came to.
    pub fn new(house: Arc<House>, line: Arc<Line>, visitor: Visitor) -> Self {
        Self { house, line, visitor }
    }

    /// Notes that a body may never be read: if hyper does not find its end at hand, it will end the connection.
    fn leave_unread(&self, parts: &Parts, body: &Incoming) {
        if parts.version < Version::HTTP_2 && !body.is_end_stream() {
            self.line.leave_unread();
        }
    }
}

/// Who answers a path.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    Engine,
    Metrics,
    App,
    Nowhere,
}

fn room(path: &str, served: bool, admin: bool) -> Room {
    match (served, admin) {
        (true, false) => Room::Engine,
        (true, true) if HEALTH.contains(&path) => Room::Engine,
        (true, true) => Room::Nowhere,
        (false, true) if path == "/metrics" => Room::Metrics,
        (false, false) if is_admin(path) => Room::Nowhere,
        _ => Room::App,
    }
}

/// Answers one request.
pub async fn serve(door: Arc<Door>, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let (turn, framing) = Turn::begin(&door.line);
    let (parts, body) = request.into_parts();
    if let Err(refusal) = front::check(&parts, framing, door.house.head) {
        return Ok(refuse(&door, &parts, body, refusal, turn).await);
    }
    let path = parts.uri.path();
    Ok(match room(path, Gateway::serves(path), door.visitor.admin) {
        Room::Engine => engine(&door, parts, body, turn).await,
        // Boxed: the rare way must not make room in the state of every request.
        Room::App => Box::pin(relay(&door, parts, body, turn)).await,
        Room::Metrics if parts.method == Method::GET => metrics(&door, turn),
        Room::Metrics | Room::Nowhere => {
            let message = format!("Invalid URL ({} {path})", parts.method);
            refuse(&door, &parts, body, Refusal::of(Kind::RouteNotFound).message(message), turn).await
        }
    })
}

/// Authenticate, read the body, open.
async fn engine(door: &Door, parts: Parts, mut body: Incoming, turn: Turn) -> Response<Answer> {
    if let Err(refusal) = front::check_inference(&parts) {
        return refuse(door, &parts, body, refusal, turn).await;
    }
    let (gateway, path) = (&door.house.gateway, parts.uri.path());
    let caller = match gateway.authenticate(&parts.method, path, &parts.headers) {
        Ok(caller) => caller,
        Err(call) => {
            door.leave_unread(&parts, &body);
            return respond(call, turn).await;
        }
    };
    match upload::read(&mut body, caller.body_limit(), door.house.pace).await {
        Ok(bytes) => respond(gateway.open(caller, &parts.method, path, &parts.headers, bytes), turn).await,
        Err(refusal) => closing(refuse(door, &parts, body, refusal, turn).await, parts.version),
    }
}

async fn relay(door: &Door, parts: Parts, body: Incoming, turn: Turn) -> Response<Answer> {
    let (version, headers) = (parts.version, parts.headers.clone());
    door.leave_unread(&parts, &body);
    match door.house.app.relay(parts, body, &door.visitor).await {
        Ok(answer) => answer.map(|body| Answer::new(Source::App(body), turn)),
        Err(refusal) => closing(respond(door.house.gateway.refuse(&headers, refusal), turn).await, version),
    }
}

/// The answer of a call.
async fn respond(mut call: Call, turn: Turn) -> Response<Answer> {
    let head = call.start().await;
    let mut answer = Response::new(Answer::new(Source::Call(call), turn));
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    answer
}

/// A refusal, with the body left where it is.
async fn refuse(
    door: &Door,
    parts: &Parts,
    body: Incoming,
    refusal: Refusal,
    turn: Turn,
) -> Response<Answer> {
    door.leave_unread(parts, &body);
    respond(door.house.gateway.refuse(&parts.headers, refusal), turn).await
}

/// Says that the connection ends; HTTP/2 has no such header.
fn closing(mut answer: Response<Answer>, version: Version) -> Response<Answer> {
    if version < Version::HTTP_2 {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

fn metrics(door: &Door, turn: Turn) -> Response<Answer> {
    let mut answer = Response::new(Answer::new(Source::Whole(door.house.gateway.metrics().render()), turn));
    answer.headers_mut().insert(CONTENT_TYPE, METRICS_TYPE);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_room() {
        for (path, served, admin, expected) in [
            ("/v1/models", true, false, Room::Engine),
            ("/livez", true, false, Room::Engine),
            ("/livez", true, true, Room::Engine),
            ("/v1/models", true, true, Room::Nowhere),
            ("/v1/files", false, false, Room::App),
            ("/v1/files", false, true, Room::App),
            ("/admin", false, false, Room::Nowhere),
            ("/admin/keys", false, false, Room::Nowhere),
            ("/administrator", false, false, Room::App),
            ("/dashboard/", false, false, Room::Nowhere),
            ("/metrics", false, false, Room::Nowhere),
            ("/metrics", false, true, Room::Metrics),
            ("/admin/keys", false, true, Room::App),
        ] {
            assert_eq!(room(path, served, admin), expected, "{path} {served} {admin}");
        }
    }
}
