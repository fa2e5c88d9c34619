//! Publications as the database keeps them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use roomcast::store::{Codec, Undecodable};
use roomcast_protocol::{ClientInfo, Payload, Publication};

/// A publication in Protobuf: fields may be added, none is ever given another meaning.
#[derive(Clone, PartialEq, prost::Message)]
struct StoredPublication {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
    #[prost(message, optional, tag = "2")]
    info: Option<StoredInfo>,
    #[prost(btree_map = "string, string", tag = "3")]
    tags: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredInfo {
    #[prost(string, tag = "1")]
    user: String,
    #[prost(string, tag = "2")]
    client: String,
    #[prost(bytes = "bytes", optional, tag = "3")]
    conn_info: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    chan_info: Option<Bytes>,
}

/// Turns publications into what the database keeps.
#[derive(Debug)]
pub(crate) struct PublicationCodec;

impl Codec<Publication> for PublicationCodec {
    fn encode(&self, publication: &Publication, out: &mut Vec<u8>) {
        let info = publication.info.as_ref().map(|info| StoredInfo {
            user: info.user().to_owned(),
            client: info.client().to_owned(),
            conn_info: info.conn_info().cloned(),
            chan_info: info.chan_info().cloned(),
        });
        let data = publication.data.to_bytes();
        let tags = publication.tags.as_deref().cloned().unwrap_or_default();
        let stored = StoredPublication { data, info, tags };
        // Into a vector: cannot fail.
        let encoded = stored.encode(out);
        debug_assert!(encoded.is_ok(), "{encoded:?}");
    }

    fn decode(&self, stored: &[u8]) -> Result<Publication, Undecodable> {
        let StoredPublication { data, info, tags } =
            StoredPublication::decode(Bytes::copy_from_slice(stored)).map_err(|_| Undecodable)?;
        let info = info.map(|info| ClientInfo::new(info.user, info.client, info.conn_info, info.chan_info));
        let mut publication = Publication::new(Payload::opaque(data), info);
        publication.tags = (!tags.is_empty()).then(|| Arc::new(tags));
        Ok(publication)
    }

    fn author<'a>(&self, publication: &'a Publication) -> Option<&'a str> {
        publication.info.as_ref().map(ClientInfo::user).filter(|user| !user.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn again(publication: &Publication) -> Result<Publication, Undecodable> {
        let mut stored = Vec::new();
        PublicationCodec.encode(publication, &mut stored);
        PublicationCodec.decode(&stored)
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_back(
            data: Vec<u8>,
            user in "[a-z]{0,8}",
            conn_info in proptest::option::of(Just(Bytes::from_static(b"{\"name\":\"Ann\"}"))),
            tags in proptest::collection::btree_map("[a-z]{1,4}", ".{0,8}", 0..3),
        ) {
            let info = ClientInfo::new(user.clone(), "c1".to_owned(), conn_info, None);
            let mut publication = Publication::new(Payload::opaque(data.into()), Some(info));
            publication.tags = (!tags.is_empty()).then(|| Arc::new(tags));
            prop_assert_eq!(again(&publication), Ok(publication.clone()));
            let author = PublicationCodec.author(&publication);
            prop_assert_eq!(author, (!user.is_empty()).then_some(user.as_str()));
        }

        #[test]
        fn what_is_no_publication_is_refused_and_nothing_else(bytes: Vec<u8>) {
            let _ = PublicationCodec.decode(&bytes);
        }
    }

    #[test]
    fn a_publication_of_the_server_names_nobody() {
        let publication = Publication::new(Payload::json("{}".into()), None);
        assert_eq!(again(&publication), Ok(publication.clone()));
        assert_eq!(PublicationCodec.author(&publication), None);
        assert_eq!(PublicationCodec.decode(b"\xff"), Err(Undecodable));
    }
}
