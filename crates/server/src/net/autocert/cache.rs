//! What is kept of certificates: files of the server's user alone, each whole or as it was.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use instant_acme::AccountCredentials;
use roomcast::internal::{named, private, private_folder, sync_names};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::{Held, Plan};
use crate::util::certificate;

/// As much as a key and a chain take.
const ROOM_BYTES: usize = 16 * 1024;
/// Far more than a chain of certificates takes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The folder of one authority: what another one has signed, its test server for one, is not taken for its own.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

/// Who we are to the authority.
#[derive(Deserialize, Serialize)]
pub(super) struct StoredAccount {
    pub(super) email: Option<String>,
    pub(super) credentials: AccountCredentials,
}

impl Cache {
    pub(super) fn new(folder: &Path, directory_url: &str) -> Self {
        let authority = directory_url.trim_start_matches("https://");
        let authority: String = authority.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '-' }).collect();
        Self { folder: folder.join(authority.trim_matches('-')) }
    }

    fn of_name(&self, name: &str, end: &str) -> PathBuf {
        named(&self.folder.join(name), end)
    }

    /// What is there of a name: the key, and behind it the chain of certificates.
    ///
    /// # Errors
    /// It cannot be read, or used.
    pub(super) fn certificate(&self, name: &str) -> Result<Option<Held>, String> {
        let Some(pem) = read(&self.of_name(name, ".pem")).map_err(|error| error.to_string())? else { return Ok(None) };
        held(name, &pem).map(Some)
    }

    /// Keeps a key with its chain.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn keep_certificate(&self, name: &str, pem: &str) -> Result<(), String> {
        let path = self.of_name(name, ".pem");
        self.write(&path, pem.as_bytes()).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// Whether there is room for a certificate: one that cannot be kept would be asked for again and again.
    ///
    /// # Errors
    /// There is none, and why.
    pub(super) fn try_out(&self) -> Result<(), String> {
        let path = self.folder.join("room+for+one");
        let written = self.write(&path, &[b' '; ROOM_BYTES]).and_then(|()| fs::remove_file(&path));
        written.map_err(|error| format!("cannot write to {}: {error}", self.folder.display()))
    }

    /// The account that was made.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn account(&self) -> Result<Option<StoredAccount>, String> {
        let path = self.account_path();
        let said = |error: &dyn std::fmt::Display| format!("the account in {} cannot be read: {error}", path.display());
        let Some(json) = read(&path).map_err(|error| said(&error))? else { return Ok(None) };
        // What it says of the error may have a piece of the key in it.
        serde_json::from_str(&json).map(Some).map_err(|_| said(&"it is no account; remove it to have another one made"))
    }

    /// # Errors
    /// It cannot be written.
    pub(super) fn keep_account(&self, account: &StoredAccount) -> Result<(), String> {
        let json = serde_json::to_vec(account).map_err(|error| error.to_string())?;
        self.write(&self.account_path(), &json).map_err(|error| format!("the account cannot be kept: {error}"))
    }

    /// Of an account that the authority does not know any more.
    pub(super) fn forget_account(&self) {
        let _ = fs::remove_file(self.account_path());
    }

    fn account_path(&self) -> PathBuf {
        // No name of a host has a sign of that kind in it.
        self.folder.join("account+key.json")
    }

    /// When to ask again for a name, where it has failed.
    pub(super) fn failures(&self, name: &str) -> Option<Plan> {
        let text = read(&self.of_name(name, ".failed")).ok().flatten()?;
        let (failures, at) = text.trim().split_once(' ')?;
        Some(Plan { failures: failures.parse().ok()?, at: Duration::from_secs(at.parse().ok()?) })
    }

    /// # Errors
    /// It cannot be written.
    pub(super) fn note_failures(&self, name: &str, plan: &Plan) -> io::Result<()> {
        let path = self.of_name(name, ".failed");
        if plan.failures == 0 {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        self.write(&path, format!("{} {}\n", plan.failures, plan.at.as_secs()).as_bytes())
    }

    /// Writes a file whole: what was there is there until then.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        private_folder(&self.folder)?;
        let part = named(path, &format!(".part-{}", std::process::id()));
        let _ = fs::remove_file(&part);
        let mut file = private().write(true).create_new(true).open(&part)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&part, path));
        if written.is_err() {
            let _ = fs::remove_file(&part);
            return written;
        }
        sync_names(&self.folder);
        Ok(())
    }
}

/// The text of a file; nothing where there is none.
fn read(path: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A key and its chain of certificates.
pub(super) fn certified(pem: &str) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.map_err(|_| "it is no chain of certificates".to_owned())?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| "it has no key".to_owned())?;
    // It says, too, whether they go together.
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| error.to_string())
}

/// The same, where it is good for this name.
pub(super) fn held(name: &str, pem: &str) -> Result<Held, String> {
    let key = certified(pem)?;
    let own = key.end_entity_cert().map_err(|error| error.to_string())?;
    let lasts = certificate::lasts(own).ok_or("it does not say until when it is good")?;
    let expected = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let parsed = ParsedCertificate::try_from(own).map_err(|error| error.to_string())?;
    rustls::client::verify_server_name(&parsed, &expected).map_err(|_| "it is for another name".to_owned())?;
    Ok(Held { key: Arc::new(key), lasts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_whole_and_for_nobody_else() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("roomcast-autocert-{}", std::process::id()));
        let cache = Cache::new(&folder, "https://acme.example:14000/dir");
        assert!(cache.certificate("chat.example").unwrap().is_none());
        let made = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let [one, other] = [made("chat.example"), made("other.example")];
        let pem = one.signing_key.serialize_pem() + &one.cert.pem();
        cache.keep_certificate("chat.example", &pem).unwrap();
        cache.keep_certificate("chat.example", &pem).unwrap();
        assert!(cache.certificate("chat.example").unwrap().is_some());
        for wrong in [
            other.signing_key.serialize_pem() + &one.cert.pem(),
            other.signing_key.serialize_pem() + &other.cert.pem(),
            one.cert.pem(),
            one.signing_key.serialize_pem(),
            String::new(),
        ] {
            assert!(held("chat.example", &wrong).is_err(), "{wrong}");
        }
        cache.try_out().unwrap();
        let plan = Plan { at: Duration::from_secs(7), failures: 2 };
        cache.note_failures("chat.example", &plan).unwrap();
        assert_eq!(cache.failures("chat.example"), Some(plan.clone()));
        cache.note_failures("chat.example", &Plan { failures: 0, ..plan }).unwrap();
        assert_eq!(cache.failures("chat.example"), None);

        let own = folder.join("acme-example-14000-dir");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&folder), mode(&own), mode(&own.join("chat.example.pem"))], [0o700, 0o700, 0o600]);
        let left: Vec<_> = fs::read_dir(&own).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["chat.example.pem"], "nothing half done");
        fs::write(own.join("account+key.json"), "{\"key\":\"secret").unwrap();
        let error = cache.account().err().unwrap();
        assert!(error.contains("remove it") && !error.contains("secret"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }
}
