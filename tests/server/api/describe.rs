//! What is said of the server API, by its description and on the page.

use serde_json::{Value, json};

use super::{KEY, post, result, server};
use crate::harness::text;

/// A value of that schema.
fn example(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("string") => json!("a"),
        Some("boolean") => json!(false),
        Some("integer") => json!(1),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!([null]),
    }
}

/// Whether a value is of that schema, with nothing in it that the schema does not name.
fn assert_is(value: &Value, schema: &Value, place: &str) {
    match (schema["type"].as_str(), value) {
        (None, _) | (Some("string"), Value::String(_)) | (Some("boolean"), Value::Bool(_)) => {}
        (Some("integer"), Value::Number(number)) => assert!(number.is_i64() || number.is_u64(), "{place}: {value}"),
        (Some("array"), Value::Array(items)) => items.iter().for_each(|item| assert_is(item, &schema["items"], place)),
        (Some("object"), Value::Object(fields)) => {
            for (name, field) in fields {
                let place = format!("{place}.{name}");
                let shape = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
                match shape {
                    Some(shape) => assert_is(field, shape, &place),
                    None => assert!(schema.get("properties").is_none(), "{place} is not described"),
                }
            }
        }
        _ => panic!("{place}: {value} is not {schema}"),
    }
}

#[test]
fn the_description_says_what_is() {
    let server = server();
    let (head, body) = server.get("/api/openapi.json", "");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: application/json"), "{head}");
    let description: Value = serde_json::from_str(&body).expect("JSON");
    let paths = description["paths"].as_object().expect("paths");
    let _ann = server.member("ann", "a");
    result(&server, "publish", json!({ "channel": "a", "data": 1, "tags": { "a": "b" } }));
    let mut names: Vec<_> = paths.keys().map(|path| path.trim_start_matches("/api/")).collect();
    for (path, operations) in paths {
        let method = path.trim_start_matches("/api/");
        let operation = &operations["post"];
        let request = &operation["requestBody"]["content"]["application/json"]["schema"];
        let fields = request["properties"].as_object().expect("an object");
        // Each field is read: one of another type is noticed.
        for (name, schema) in fields {
            assert!(!text(&schema["description"]).is_empty(), "{path} {name}");
            let wrong = match schema["type"].as_str() {
                Some("string") => json!(1),
                Some(_) => json!("a"),
                None => continue,
            };
            let (status, _) = post(&server, path, KEY, &json!({ name: wrong }).to_string());
            assert_eq!(status, 400, "{path} takes {name} of another type");
            let (status, body) = post(&server, path, KEY, &json!({ name: null }).to_string());
            assert_eq!(status, 200, "{path} {name}: {body}");
        }
        // Each answer is as described, of good requests and bad ones.
        let whole: Value = fields
            .iter()
            .map(|(name, schema)| (name.clone(), example(schema)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let good = match method {
            "batch" => json!({ "commands": [{ "publish": { "channel": "a", "data": 1 } }, { "info": {} }, null] }),
            "broadcast" => json!({ "channels": ["a", "no:where"], "data": 1 }),
            "history" => json!({ "channel": "a", "limit": 10 }),
            "disconnect" => json!({ "user": "nobody" }),
            _ => json!({ "channel": "a", "data": 1 }),
        };
        for params in [json!({}), good, whole] {
            let (status, body) = post(&server, path, KEY, &params.to_string());
            assert_eq!(status, 200, "{path} {params}: {body}");
            let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            assert_is(&serde_json::from_str(&body).expect("JSON"), schema, path);
        }
    }
    names.sort_unstable();
    for name in &names {
        let page = include_str!("../../../docs/server.md");
        assert!(page.contains(&format!("| `{name}` |")), "docs/server.md says nothing of the method {name}");
    }
}

/// Whether a text is the other, in which `…` stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut rest = text;
    pattern.split('…').enumerate().all(|(at, part)| match rest.find(part) {
        Some(found) if at > 0 || found == 0 => {
            rest = &rest[found + part.len()..];
            true
        }
        _ => false,
    })
}

#[test]
fn the_examples_of_the_page_answer_as_it_says() {
    let page = include_str!("../../../docs/server.md");
    let section =
        page.split("\n## Server API\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let server = server();
    let mut lines = section.lines();
    let mut run = 0;
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix("curl -H 'X-API-Key: secret' -d '") else { continue };
        let (body, url) = rest.split_once("' http://127.0.0.1:8000").expect("a body and an address");
        let told = lines.next().and_then(|line| line.strip_prefix("# ")).expect("an answer");
        let (status, answer) = post(&server, url, KEY, body);
        assert!(status == 200 && is_like(&answer, told), "{line}: {answer}");
        run += 1;
    }
    assert!(run >= 5, "{run}");
}
