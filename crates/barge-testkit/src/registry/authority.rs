//! A certificate authority of the test's own, which nobody knows who is not told of it.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// An authority, and what it has signed, in a directory.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

/// A certificate and its key.
pub(super) struct Signed {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) key_pair: KeyPair,
    pub(super) der: Vec<u8>,
}

#[allow(clippy::unwrap_used)] // For tests alone, where a panic is how to fail.
impl Authority {
    /// Makes one.
    pub fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        parameters.distinguished_name.push(DnType::CommonName, "an authority of a test");
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    /// The file with its own certificate.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// Signs a certificate for this machine, and for registry.example, which is no machine at all.
    pub(super) fn server(&self) -> Signed {
        self.sign("server", &["localhost", "127.0.0.1", "registry.example"], ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Puts down what a client needs that trusts this authority, and has a certificate of it where `known`: in `certs.d`, for the registry
    /// at `host`.
    pub fn install(&self, certs_d: &Path, host: &str, known: bool) {
        let directory = certs_d.join(host);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::copy(self.file(), directory.join("ca.crt")).unwrap();
        if known {
            let client = self.sign("client", &["a client"], ExtendedKeyUsagePurpose::ClientAuth);
            std::fs::copy(client.certificate, directory.join("client.cert")).unwrap();
            std::fs::copy(client.key, directory.join("client.key")).unwrap();
        }
    }

    fn sign(&self, name: &str, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Signed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.extended_key_usages = vec![purpose];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key_pair = KeyPair::generate().unwrap();
        let signed = parameters.signed_by(&key_pair, &self.issuer).unwrap();
        let (certificate, key) =
            (self.directory.path().join(format!("{name}.crt")), self.directory.path().join(format!("{name}.key")));
        std::fs::write(&certificate, signed.pem()).unwrap();
        std::fs::write(&key, key_pair.serialize_pem()).unwrap();
        Signed { certificate, key, key_pair, der: signed.der().to_vec() }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.directory.path().display())
    }
}
