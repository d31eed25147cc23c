//! Why the gateway itself turns a call down: where it is aimed, which model it names, how large it is.
//!
//! Law: in the words of the profile; a model that the caller may not use says so, one that is not there tells nothing else.

use http::Method;
use levada_core::bounds;
use levada_core::profile::Profile;
use levada_core::refusal::{Kind, Refusal};
use levada_core::snapshot::Snapshot;

use crate::call::Call;
use crate::keys::Caller;
use crate::routes::{Route, Target};
use crate::tally::Tally;

/// A refused call, in the words of the profile.
pub fn refused(tally: Box<Tally>, refusal: Refusal, target: &Target) -> Call {
    Call::refused(tally, refusal.styled(&target.profile.errors), target.route.dialect())
}

/// The index of a model that exists and that the caller may use.
pub fn permitted(caller: &Caller, snapshot: &Snapshot, name: &str) -> Result<usize, Refusal> {
    let index = snapshot.position(name).ok_or_else(|| not_found(&caller.target.profile, name))?;
    if caller.key.as_ref().is_some_and(|key| !key.permits(name)) {
        let words = format!("This key does not have access to the model `{name}`.");
        return Err(Refusal::of(Kind::ModelForbidden).message(words));
    }
    Ok(index)
}

/// There is no such model, for all that the caller is told.
pub fn not_found(profile: &Profile, name: &str) -> Refusal {
    let shown: String = name.chars().take(bounds::MODEL_NAME_BYTES).collect();
    let words = match &profile.errors.unknown_model_message {
        Some(words) => words.replace("{model}", &shown),
        None => format!("The model `{shown}` does not exist or you do not have access to it."),
    };
    Refusal::of(Kind::ModelNotFound).message(words)
}

/// The refusal for a body over the limit; a body that did not announce its length is known to be one byte over.
#[must_use]
pub fn too_large(limit: usize, declared: Option<u64>) -> Refusal {
    let got = declared.unwrap_or(limit as u64 + 1);
    Refusal::of(Kind::BodyTooLarge)
        .message(format!("Maximum content size limit ({limit}) exceeded ({got} bytes read)"))
}

/// The refusal for a path that is nowhere, or that has other methods.
pub fn misdirected(route: &Route, method: &Method, path: &str) -> Refusal {
    let shown: String = path.chars().take(bounds::MODEL_NAME_BYTES).collect();
    match route.methods() {
        "" => Refusal::of(Kind::RouteNotFound).message(format!("Invalid URL ({method} {shown})")),
        methods => Refusal::of(Kind::MethodNotAllowed)
            .message(format!(
                "Not allowed to {method} on {shown}. (HINT: Perhaps you meant to use a different HTTP method?)"
            ))
            .allow(methods),
    }
}
