//! Keys and certificates of one control plane: one authority, a certificate for the API server,
//! one for each client, and the key that signs ServiceAccount tokens.
//!
//! All keys are ECDSA P-256: ring cannot make RSA keys, and every party here accepts these.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

/// Names and addresses under which clients reach the API server; 198.51.100.1 is what it
/// advertises, because a loopback address is refused there.
const SERVER_NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default.svc",
    "127.0.0.1",
    "10.96.0.1",
    "198.51.100.1",
];

/// The subject of a client certificate: Kubernetes reads the user from CN, the group from O.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub user: &'static str,
    pub group: Option<&'static str>,
}

/// A certificate with its key, both in PEM.
#[derive(Debug)]
pub(super) struct Pair {
    pub certificate: String,
    pub key: String,
}

/// The files that the servers read.
#[derive(Debug)]
pub(super) struct Pki {
    directory: PathBuf,
    authority: Issuer<'static, KeyPair>,
    pub ca_pem: String,
}

impl Pki {
    /// Makes everything but the clients' certificates and writes it into this folder.
    pub fn create(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).context("a folder for keys")?;
        let key = generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject("vmcp-test-ca", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = params.self_signed(&key).context("the authority")?.pem();
        secret(&directory.join("ca.key"), &key.serialize_pem())?;
        secret(&directory.join("ca.crt"), &ca_pem)?;
        let pki = Self {
            directory: directory.to_owned(),
            authority: Issuer::new(params, key),
            ca_pem,
        };
        pki.write_server()?;
        pki.write_service_account_key()?;
        Ok(pki)
    }

    /// A file of the folder: `ca.crt`, `ca.key`, `apiserver.crt`, `apiserver.key`, `sa.key`,
    /// `sa.pub`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A certificate for a client of the API server.
    pub fn client(&self, client: Client) -> Result<Pair> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(client.user, client.group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn write_server(&self) -> Result<()> {
        let names: Vec<String> = SERVER_NAMES.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).context("the names of the API server")?;
        params.distinguished_name = subject("kube-apiserver", None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let pair = self.sign(params)?;
        secret(&self.file("apiserver.crt"), &pair.certificate)?;
        secret(&self.file("apiserver.key"), &pair.key)
    }

    fn write_service_account_key(&self) -> Result<()> {
        let key = generate()?;
        secret(&self.file("sa.key"), &key.serialize_pem())?;
        secret(&self.file("sa.pub"), &key.public_key_pem())
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Pair> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = generate()?;
        let certificate = params
            .signed_by(&key, &self.authority)
            .context("signing a certificate")?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn generate() -> Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("generating a key")
}

fn subject(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name
}

/// Writes a new file that only its owner can read.
pub(super) fn secret(path: &Path, text: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}
