//! The description of the API for programs, made of the declarations that it is read and written by.

use serde_json::{Value, json};

use super::answer::BARE;
use super::methods::METHODS;
use super::{COUNT_MAX, REQUEST_BYTES_MAX, messages::ErrorShape, shape::Shape as _};

/// The description, in OpenAPI 3.0, of an API whose paths begin with `prefix`.
pub(super) fn describe(prefix: &str) -> Value {
    let paths: serde_json::Map<String, Value> = METHODS
        .iter()
        .map(|method| {
            let text = |about: &str| json!({ "description": about, "content": { "text/plain": { "schema": { "type": "string" } } } });
            let mut answer = if method.name == BARE { (method.result)() } else { json!({ "type": "object" }) };
            if method.name != BARE {
                answer["properties"]["result"] = (method.result)();
            }
            answer["properties"]["error"] = ErrorShape::shape();
            (answer["minProperties"], answer["maxProperties"]) = (1.into(), 1.into());
            let operation = json!({
                "operationId": method.name,
                "summary": method.about,
                "requestBody": {
                    "required": true,
                    "content": { "application/json": { "schema": (method.request)() } },
                },
                "responses": {
                    "200": {
                        "description": "`result`, which a batch has not, or `error` where it could not be done",
                        "content": { "application/json": { "schema": answer } },
                    },
                    "400": text("The request is not what the method takes"),
                    "401": { "description": "The key is missing or wrong" },
                    "403": text("A page of another origin asks"),
                    "408": text("The rest of the request did not come in time"),
                    "413": text("The request is too long"),
                },
            });
            (format!("{prefix}/{}", method.name), json!({ "post": operation }))
        })
        .collect();
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "roomcast server API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!(
                "What a backend commands the server with. At most {REQUEST_BYTES_MAX} bytes a request, {COUNT_MAX} commands a \
                 batch and {COUNT_MAX} rooms a broadcast. With the header `X-Centrifugo-Error-Mode: transport` an error is told \
                 by the status of the answer, and is its body."
            ),
        },
        "security": [{ "key": [] }],
        "components": { "securitySchemes": { "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" } } },
        "paths": paths,
    })
}
