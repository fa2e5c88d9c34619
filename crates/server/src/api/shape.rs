//! Messages of the API: how they are read, written and described, all from one declaration.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What can be described to those who read machine-readable descriptions.
pub(super) trait Shape {
    /// Its schema, in OpenAPI's words.
    fn shape() -> Value;
}

/// What a field of a request can be. What is not given, or is `null`, is its default.
pub(super) trait Field: Default {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error>;
}

/// Any JSON.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Json(pub(super) Option<Box<RawValue>>);

/// What is written in an answer even when it is zero.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Always<T>(pub(super) T);

/// Whether a field of an answer says nothing, and is left out.
pub(super) trait IsZero {
    fn is_zero(&self) -> bool;
}

impl<T> IsZero for Always<T> {
    fn is_zero(&self) -> bool {
        false
    }
}

impl<T: Shape> Shape for Always<T> {
    fn shape() -> Value {
        T::shape()
    }
}

macro_rules! plain {
    ($($kind:ty: $shape:expr;)*) => {
        $(
            impl Shape for $kind {
                fn shape() -> Value {
                    $shape
                }
            }

            impl Field for $kind {
                fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    Option::<Self>::deserialize(from).map(Option::unwrap_or_default)
                }
            }

            impl IsZero for $kind {
                fn is_zero(&self) -> bool {
                    *self == Self::default()
                }
            }
        )*
    };
}

plain! {
    String: json!({ "type": "string" });
    bool: json!({ "type": "boolean" });
    u32: json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX });
    u64: json!({ "type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX });
    i32: json!({ "type": "integer", "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX });
    i64: json!({ "type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX });
}

impl Shape for Json {
    fn shape() -> Value {
        json!({})
    }
}

impl Field for Json {
    /// `null` is some JSON, too.
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(from).map(|value| Self(Some(value)))
    }
}

impl IsZero for Json {
    fn is_zero(&self) -> bool {
        self.0.is_none()
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn shape() -> Value {
        json!({ "type": "array", "items": T::shape() })
    }
}

impl<T: DeserializeOwned> Field for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::<Self>::deserialize(from).map(Option::unwrap_or_default)
    }
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    fn shape() -> Value {
        json!({ "type": "object", "additionalProperties": T::shape() })
    }
}

impl<T: DeserializeOwned> Field for BTreeMap<String, T> {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::<Self>::deserialize(from).map(Option::unwrap_or_default)
    }
}

/// A message within another.
impl<T: Shape> Shape for Option<T> {
    fn shape() -> Value {
        let mut shape = T::shape();
        shape["nullable"] = true.into();
        shape
    }
}

impl<T: DeserializeOwned> Field for Option<T> {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Option::<Box<RawValue>>::deserialize(from)?;
        raw.map(|raw| object(raw.get()).map_err(D::Error::custom)).transpose()
    }
}

/// Reads a message, which is an object and no list of what would be in it.
pub(super) fn object<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    match text.trim_ascii_start().starts_with('{') {
        true => serde_json::from_str(text),
        false => Err(serde_json::Error::custom("expected an object")),
    }
}

/// The schema of an object with these fields: name, what it is, schema.
pub(super) fn schema(fields: &[(&str, &str, Value)]) -> Value {
    let described = |(name, about, shape): &(&str, &str, Value)| {
        let mut shape = shape.clone();
        if let Value::Object(shape) = &mut shape {
            shape.insert("description".to_owned(), about.trim().into());
        }
        // A name that is a word of the language is written otherwise there.
        (name.trim_start_matches("r#").to_owned(), shape)
    };
    let properties: serde_json::Map<String, Value> = fields.iter().map(described).collect();
    json!({ "type": "object", "properties": properties })
}

/// The same of a request, of whose fields each may be `null`.
pub(super) fn request_schema(fields: &[(&str, &str, Value)]) -> Value {
    let mut schema = schema(fields);
    for shape in schema["properties"].as_object_mut().into_iter().flat_map(|properties| properties.values_mut()) {
        shape["nullable"] = true.into();
    }
    schema
}

/// `request! { /// what it is
///  Name { /// what the field is
///  field: Type } }`: what a backend says.
macro_rules! request {
    ($(#[doc = $about:literal])* $name:ident { $($(#[doc = $told:literal])* $field:ident: $kind:ty),* $(,)? }) => {
        $(#[doc = $about])*
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(default)]
        pub(super) struct $name {
            $($(#[doc = $told])* #[serde(deserialize_with = "crate::api::shape::Field::read")] pub(super) $field: $kind,)*
        }

        impl $crate::api::shape::Shape for $name {
            fn shape() -> serde_json::Value {
                $crate::api::shape::request_schema(&[
                    $((stringify!($field), concat!($($told),*), <$kind as $crate::api::shape::Shape>::shape())),*
                ])
            }
        }
    };
}

/// The same of what it is answered; a field that is zero is left out.
macro_rules! answer {
    ($(#[doc = $about:literal])* $name:ident { $($(#[doc = $told:literal])* $field:ident: $kind:ty),* $(,)? }) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, Default, serde::Serialize)]
        pub(super) struct $name {
            $($(#[doc = $told])* #[serde(skip_serializing_if = "crate::api::shape::IsZero::is_zero")] pub(super) $field: $kind,)*
        }

        shape!($name { $($(#[doc = $told])* $field: $kind),* });
    };
}

/// The shape alone, of what is written by others.
macro_rules! shape {
    ($name:ident { $($(#[doc = $told:literal])* $field:ident: $kind:ty),* $(,)? }) => {
        impl $crate::api::shape::Shape for $name {
            fn shape() -> serde_json::Value {
                $crate::api::shape::schema(&[
                    $((stringify!($field), concat!($($told),*), <$kind as $crate::api::shape::Shape>::shape())),*
                ])
            }
        }
    };
}

pub(super) use {answer, request, shape};
