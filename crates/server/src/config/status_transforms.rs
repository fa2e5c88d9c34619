//! `status_to_code_transforms`: what a client is told for a status of the backend's.

use super::options::within;
use super::parse::Format;
use super::proxy::{StatusTransform, TransformTo};
use super::setting::{Kind as _, quote};
use super::tree::{Node, Value};

/// There are no more statuses that say something.
const TRANSFORMS_MAX: usize = 256;
/// A close frame holds no more.
const TEXT_BYTES_MAX: usize = 123;

/// A table that was written as one, or as JSON in the environment.
pub(super) fn in_json(value: &Value) -> Option<Node> {
    let Value::Plain(text) = value else { return None };
    Format::Json.parse("", text).ok()
}

/// Reads them.
///
/// # Errors
/// What was expected, or what is wrong.
pub(super) fn transforms(value: &Value) -> Result<Vec<StatusTransform>, String> {
    let expected = || {
        "expected a list such as [{ status_code = 404, to_error = { code = 404, message = \"not found\", temporary = false } }, \
         { status_code = 403, to_disconnect = { code = 4503, reason = \"banned\" } }]"
            .to_owned()
    };
    let parsed = in_json(value);
    let Value::List(items) = parsed.as_ref().map_or(value, |node| &node.value) else { return Err(expected()) };
    within(&items.len(), &0, &TRANSFORMS_MAX)?;
    let mut transforms: Vec<StatusTransform> = Vec::new();
    for item in items {
        let transform = transform(&item.value).ok_or_else(expected)??;
        if transforms.iter().any(|known| known.status == transform.status) {
            return Err(format!("status_code {} stands there twice", transform.status));
        }
        transforms.push(transform);
    }
    Ok(transforms)
}

/// One of them; nothing where it has another form.
fn transform(value: &Value) -> Option<Result<StatusTransform, String>> {
    let status = number(member(value, "status_code")?)?;
    let text = |value: &Value, key| match member(value, key) {
        None => Some(String::new()),
        Some(value) => value.text().map(str::to_owned),
    };
    let (to_error, to_disconnect) = (member(value, "to_error"), member(value, "to_disconnect"));
    let (code, text, to): (u32, String, TransformTo) = match (to_error, to_disconnect) {
        (Some(error), None) => {
            let (code, message) = (number(member(error, "code")?)?, text(error, "message")?);
            let temporary = member(error, "temporary").map_or(Some(false), bool::read)?;
            (code, message.clone(), TransformTo::Error { code, message, temporary })
        }
        (None, Some(disconnect)) => {
            let (code, reason) = (number(member(disconnect, "code")?)?, text(disconnect, "reason")?);
            (code, reason.clone(), TransformTo::Disconnect { code, reason })
        }
        _ => return Some(Err(format!("status_code {status}: give one of `to_error` and `to_disconnect`"))),
    };
    let (least, most) = if matches!(to, TransformTo::Error { .. }) { (400, 1_999) } else { (4_000, 4_999) };
    Some(if !(100..=999).contains(&status) || status == 200 {
        Err(format!("{status} is no status that could be transformed"))
    } else if !(least..=most).contains(&code) {
        Err(format!("status_code {status}: expected a code from {least} to {most}, found {code}"))
    } else if !text.is_ascii() || text.len() > TEXT_BYTES_MAX {
        Err(format!("status_code {status}: expected a text in ASCII of at most {TEXT_BYTES_MAX} bytes"))
    } else {
        Ok(StatusTransform { status: status as u16, to })
    })
}

pub(super) fn member<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let Value::Table(members) = value else { return None };
    members.iter().find(|(known, _)| known == key).map(|(_, node)| &node.value)
}

fn number(value: &Value) -> Option<u32> {
    usize::read(value)?.try_into().ok()
}

/// In TOML.
pub(super) fn write_transforms(transforms: &[StatusTransform]) -> String {
    let written = transforms.iter().map(|StatusTransform { status, to }| match to {
        TransformTo::Error { code, message, temporary } => format!(
            "{{ status_code = {status}, to_error = {{ code = {code}, message = {}, temporary = {temporary} }} }}",
            quote(message)
        ),
        TransformTo::Disconnect { code, reason } => {
            format!("{{ status_code = {status}, to_disconnect = {{ code = {code}, reason = {} }} }}", quote(reason))
        }
    });
    format!("[{}]", written.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_are_checked_and_written_as_they_are_read() {
        let read = |json: &str| transforms(&Value::Plain(json.to_owned()));
        let both = r#"[{"status_code":404,"to_error":{"code":404,"message":"not \"found\"","temporary":true}},
            {"status_code":403,"to_disconnect":{"code":4503,"reason":"banned"}}]"#;
        let good = read(both).unwrap();
        assert_eq!(good.len(), 2);
        let table: toml::Table = format!("a = {}", write_transforms(&good)).parse().unwrap();
        assert_eq!(read(&serde_json::to_string(&table["a"]).unwrap()), Ok(good));
        for (bad, why) in [
            (r#"[{"status_code":404}]"#, "one of"),
            (r#"[{"status_code":200,"to_error":{"code":404}}]"#, "no status"),
            (r#"[{"status_code":404,"to_error":{"code":100}}]"#, "400 to 1999"),
            (r#"[{"status_code":404,"to_disconnect":{"code":3000}}]"#, "4000 to 4999"),
            (r#"[{"status_code":404,"to_error":{"code":404,"message":"ü"}}]"#, "ASCII"),
            (r#"[{"status_code":404,"to_error":{"code":404}},{"status_code":404,"to_error":{"code":405}}]"#, "twice"),
            (r#"{"status_code":404}"#, "a list"),
            (r#"[{"to_error":{"code":404}}]"#, "a list"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
