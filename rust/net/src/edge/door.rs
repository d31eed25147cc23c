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
use crate::convoy::{self, Side};
use crate::front::{self, HeadLimits};
use crate::gateway::Gateway;
use crate::guard::{Line, Turn};
use crate::keys::Last;
use crate::routes::{Route, Target, is_admin};
use crate::upload::{self, Pace};

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
    last: Last,
}

impl Door {
    /// The door that `visitor` came to.
    pub fn new(house: Arc<House>, line: Arc<Line>, visitor: Visitor) -> Self {
        Self { house, line, visitor, last: Last::default() }
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

/// What says how the process is, is open: that alone of the engine's is served on both listeners.
fn room(path: &str, route: &Route, admin: bool) -> Room {
    match (route.is_known(), admin) {
        (true, false) => Room::Engine,
        (true, true) if route.is_open() => Room::Engine,
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
    let path = parts.uri.path();
    let target = door.house.gateway.target(front::host_named(Some(&parts.uri), &parts.headers), path);
    if let Err(refusal) = front::check(&parts, framing, door.house.head) {
        return Ok(refuse(&door, &target, &parts, body, refusal, turn).await);
    }
    Ok(match room(path, &target.route, door.visitor.admin) {
        Room::Engine => engine(&door, target, parts, body, turn).await,
        // Boxed: the rare way must not make room in the state of every request.
        Room::App => Box::pin(relay(&door, target, parts, body, turn)).await,
        Room::Metrics if parts.method == Method::GET => metrics(&door, turn),
        Room::Metrics | Room::Nowhere => {
            let message = format!("Invalid URL ({} {path})", parts.method);
            let refusal = Refusal::of(Kind::RouteNotFound).message(message);
            refuse(&door, &target, &parts, body, refusal, turn).await
        }
    })
}

/// Authenticate, read the body, open.
async fn engine(
    door: &Door,
    target: Target,
    parts: Parts,
    mut body: Incoming,
    turn: Turn,
) -> Response<Answer> {
    if let Err(refusal) = front::check_inference(&parts, &target.route) {
        return refuse(door, &target, &parts, body, refusal, turn).await;
    }
    let (gateway, path) = (&door.house.gateway, parts.uri.path());
    let caller = match gateway.authenticate(&parts.method, target, &parts.headers, &door.last) {
        Ok(caller) => caller,
        Err(call) => {
            door.leave_unread(&parts, &body);
            return respond(call, turn).await;
        }
    };
    match upload::read(&mut body, caller.body_limit, door.house.pace).await {
        Ok(bytes) => respond(gateway.open(&caller, &parts.method, path, &parts.headers, bytes), turn).await,
        Err(refusal) => {
            door.leave_unread(&parts, &body);
            closing(
                respond(gateway.refuse_caller(&caller, &parts.headers, refusal), turn).await,
                parts.version,
            )
        }
    }
}

async fn relay(door: &Door, target: Target, parts: Parts, body: Incoming, turn: Turn) -> Response<Answer> {
    let (version, headers) = (parts.version, parts.headers.clone());
    door.leave_unread(&parts, &body);
    match door.house.app.relay(parts, body, &door.visitor).await {
        Ok(answer) => answer.map(|body| Answer::new(Source::App(body), turn)),
        Err(refusal) => {
            closing(respond(door.house.gateway.refuse(&target, &headers, refusal), turn).await, version)
        }
    }
}

/// The answer of a call.
async fn respond(mut call: Call, turn: Turn) -> Response<Answer> {
    let head = call.start().await;
    convoy::join(Side::Client, call.under_way()).await;
    let mut answer = Response::new(Answer::new(Source::Call(call), turn));
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    answer
}

/// A refusal, with the body left where it is.
async fn refuse(
    door: &Door,
    target: &Target,
    parts: &Parts,
    body: Incoming,
    refusal: Refusal,
    turn: Turn,
) -> Response<Answer> {
    door.leave_unread(parts, &body);
    respond(door.house.gateway.refuse(target, &parts.headers, refusal), turn).await
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
        use Route::{Live, Models, Unknown};
        for (path, route, admin, expected) in [
            ("/v1/models", Models, false, Room::Engine),
            ("/livez", Live, false, Room::Engine),
            ("/livez", Live, true, Room::Engine),
            ("/v1/models", Models, true, Room::Nowhere),
            ("/v1/files", Unknown, false, Room::App),
            ("/v1/files", Unknown, true, Room::App),
            ("/admin", Unknown, false, Room::Nowhere),
            ("/admin/keys", Unknown, false, Room::Nowhere),
            ("/administrator", Unknown, false, Room::App),
            ("/dashboard/", Unknown, false, Room::Nowhere),
            ("/metrics", Unknown, false, Room::Nowhere),
            ("/metrics", Unknown, true, Room::Metrics),
            ("/admin/keys", Unknown, true, Room::App),
        ] {
            assert_eq!(room(path, &route, admin), expected, "{path} {route:?} {admin}");
        }
    }
}
