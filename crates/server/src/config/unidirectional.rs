//! The transports of clients that only listen, and what such clients are told when they are not let in.

use std::borrow::Cow;

use super::compression::{self, Compression};
use super::options::{Reload, Section, Setting, setting, within};
use super::setting::{Kind as _, read};
use super::transforms::{self, CodeTransforms, HttpAnswer};
use super::transports::own_path;

/// The transports of clients that only listen, each with a section of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unidirectional {
    /// `[uni_websocket]`
    pub websocket: UniWebSocket,
    /// `[uni_http_stream]`
    pub http_stream: UniHttpStream,
    /// `[uni_sse]`
    pub sse: UniSse,
    /// `[init]`
    pub init: Init,
}

/// `[uni_websocket]`: WebSocket whose client says who it is and then listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UniWebSocket {
    /// Whether clients may connect by it. Default false; true in development mode, as of those below.
    pub enabled: bool,
    /// Its path. Default `/connection/uni_websocket`.
    pub handler_prefix: String,
    /// The largest message from a client, in bytes. Default 64 KiB.
    pub message_size_limit: usize,
    /// Whether and how messages are compressed.
    pub compression: Compression,
    /// Whether pushes that come together share a message, in lines. Default false: a message for each.
    pub join_push_messages: bool,
    /// Whether the close frame alone says how a connection ends, and no push before it.
    pub disable_disconnect_push: bool,
}

impl Default for UniWebSocket {
    fn default() -> Self {
        Self {
            enabled: false,
            handler_prefix: "/connection/uni_websocket".to_owned(),
            message_size_limit: REQUEST_BYTES,
            compression: Compression::default(),
            join_push_messages: false,
            disable_disconnect_push: false,
        }
    }
}

/// `[init]`: an address that says next to nothing, to open a connection before it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Init {
    /// Whether it is there. Default false.
    pub enabled: bool,
    /// Its path. Default `/connection/init`.
    pub handler_prefix: String,
}

impl Default for Init {
    fn default() -> Self {
        Self { enabled: false, handler_prefix: "/connection/init".to_owned() }
    }
}

/// `uni_http_transport!(name, section, field, default path, what it is called)`
macro_rules! uni_http_transport {
    ($name:ident, $sections:ident, $section:literal, $answers:literal, $field:ident, $path:literal, $called:literal) => {
        #[doc = concat!("`[", $section, "]`: an answer without end to one request, as ", $called, ".")]
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name {
            /// Whether clients may connect by it. Default false.
            pub enabled: bool,
            #[doc = concat!("Its path. Default `", $path, "`.")]
            pub handler_prefix: String,
            /// The longest connect request, in bytes. Default 64 KiB.
            pub max_request_body_size: usize,
            /// With what requests are answered whose clients are not let in. Off: with 200 and a disconnect push.
            pub connect_code_to_http_response: CodeTransforms<HttpAnswer>,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    enabled: false,
                    handler_prefix: $path.to_owned(),
                    max_request_body_size: REQUEST_BYTES,
                    connect_code_to_http_response: CodeTransforms::default(),
                }
            }
        }

        const $sections: [Section; 2] = [
            Section {
                name: $section,
                settings: &[
                    setting!(
                        "enabled",
                        Live,
                        unidirectional.$field.enabled,
                        concat!("whether clients that only listen may connect by ", $called)
                    ),
                    setting!(
                        "handler_prefix",
                        Live,
                        unidirectional.$field.handler_prefix,
                        "the path where they do",
                        own_path
                    ),
                    setting!(
                        "max_request_body_size",
                        Live,
                        unidirectional.$field.max_request_body_size,
                        "the longest connect request, in bytes",
                        |v: &usize| within(v, &REQUEST_BYTES_MIN, &REQUEST_BYTES_MAX)
                    ),
                ],
            },
            Section {
                name: $answers,
                settings: &[
                    setting!(
                        "enabled",
                        Live,
                        unidirectional.$field.connect_code_to_http_response.enabled,
                        "answer a client that is not let in with a status of HTTP: 500, or what its code becomes"
                    ),
                    Setting {
                        key: "transforms",
                        reload: Reload::Live,
                        about: || {
                            "what codes become: [{ code = 109, to = { status_code = 401, body = \"…\" } }]".into()
                        },
                        read: |target: &mut super::Config, value| {
                            target.unidirectional.$field.connect_code_to_http_response.transforms =
                                transforms::read(value)?;
                            Ok(())
                        },
                        write: |target| {
                            Some(transforms::write(
                                &target.unidirectional.$field.connect_code_to_http_response.transforms,
                            ))
                        },
                        copy: |target, source| {
                            let (to, from) = (&mut target.unidirectional.$field, &source.unidirectional.$field);
                            let from = &from.connect_code_to_http_response.transforms;
                            to.connect_code_to_http_response.transforms.clone_from(from);
                        },
                    },
                ],
            },
        ];
    };
}

uni_http_transport!(
    UniHttpStream,
    HTTP_STREAM,
    "uni_http_stream",
    "uni_http_stream.connect_code_to_http_response",
    http_stream,
    "/connection/uni_http_stream",
    "lines of JSON"
);
uni_http_transport!(
    UniSse,
    SSE,
    "uni_sse",
    "uni_sse.connect_code_to_http_response",
    sse,
    "/connection/uni_sse",
    "server-sent events"
);

/// The longest connect request, where nothing else is said; as of Centrifugo.
const REQUEST_BYTES: usize = 64 * 1024;
/// A token must fit.
const REQUEST_BYTES_MIN: usize = 1_024;
/// It is held whole in memory, once per client that is connecting.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

const WEBSOCKET: Section = Section {
    name: "uni_websocket",
    settings: &[
        setting!(
            "enabled",
            Live,
            unidirectional.websocket.enabled,
            "whether clients that only listen may connect by WebSocket"
        ),
        setting!("handler_prefix", Live, unidirectional.websocket.handler_prefix, "the path where they do", own_path),
        setting!(
            "message_size_limit",
            Live,
            unidirectional.websocket.message_size_limit,
            "the largest message from a client, in bytes",
            |v: &usize| within(v, &REQUEST_BYTES_MIN, &REQUEST_BYTES_MAX)
        ),
        setting!("compression", Live, unidirectional.websocket.compression.enabled, compression::ABOUT_ENABLED),
        setting!(
            "compression_min_size",
            Live,
            unidirectional.websocket.compression.min_size,
            compression::ABOUT_MIN_SIZE,
            compression::is_min_size
        ),
        setting!(
            "compression_level",
            Live,
            unidirectional.websocket.compression.level,
            compression::ABOUT_LEVEL,
            compression::is_level
        ),
        setting!(
            "join_push_messages",
            Live,
            unidirectional.websocket.join_push_messages,
            "pushes that come together share a message, in lines"
        ),
        setting!(
            "disable_disconnect_push",
            Live,
            unidirectional.websocket.disable_disconnect_push,
            "say how a connection ends in its close frame alone, in no push before it"
        ),
    ],
};

const INIT: Section = Section {
    name: "init",
    settings: &[
        setting!(
            "enabled",
            Live,
            unidirectional.init.enabled,
            "whether there is an address that says next to nothing, to open a connection before it is needed"
        ),
        setting!("handler_prefix", Live, unidirectional.init.handler_prefix, "its path", own_path),
    ],
};

pub(super) const SECTIONS: &[Section] = {
    let ([stream, stream_answers], [sse, sse_answers]) = (HTTP_STREAM, SSE);
    &[WEBSOCKET, stream, stream_answers, sse, sse_answers, INIT]
};

/// `[client.connect_code_to_unidirectional_disconnect]`
pub(super) const DISCONNECTS: Section = Section {
    name: "client.connect_code_to_unidirectional_disconnect",
    settings: &[
        setting!(
            "enabled",
            Live,
            client.connect_code_to_unidirectional_disconnect.enabled,
            "close clients that only listen, and are not let in, with codes of the application"
        ),
        Setting {
            key: "transforms",
            reload: Reload::Live,
            about: || "what errors become: [{ code = 109, to = { code = 4109, reason = \"…\" } }]".into(),
            read: |target: &mut super::Config, value| {
                target.client.connect_code_to_unidirectional_disconnect.transforms = transforms::read(value)?;
                Ok(())
            },
            write: |target| {
                Some(transforms::write(&target.client.connect_code_to_unidirectional_disconnect.transforms))
            },
            copy: |target, source| {
                let (to, from) = (&mut target.client, &source.client);
                let from = &from.connect_code_to_unidirectional_disconnect.transforms;
                to.connect_code_to_unidirectional_disconnect.transforms.clone_from(from);
            },
        },
    ],
};

impl Unidirectional {
    /// All of them switched on, as in development mode.
    pub(super) fn dev() -> Self {
        let mut all = Self::default();
        all.websocket.enabled = true;
        all.http_stream.enabled = true;
        all.sse.enabled = true;
        all.init.enabled = true;
        all
    }
}
