//! A throw-away authority and certificates of servers.

use super::Bench;
use diffmig::service::workshop::{Extra, Workshop};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use std::path::PathBuf;

/// An authority that nobody but the test trusts.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, for `sslrootcert`.
    pub certificate: String,
}

/// What is wrong with a server's certificate, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Good,
    /// It ended with the year 2020.
    Expired,
    /// It begins with the year 2200.
    NotYet,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// What a server needs to speak TLS under a name.
    pub fn server(&self, name: &str, validity: Validity) -> Extra {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = match validity {
            Validity::Good => (date_time_ymd(2020, 1, 1), date_time_ymd(2200, 1, 1)),
            Validity::Expired => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
            Validity::NotYet => (date_time_ymd(2200, 1, 1), date_time_ymd(2201, 1, 1)),
        };
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Extra {
            settings: vec![
                ("ssl".into(), "on".into()),
                ("log_connections".into(), "on".into()),
            ],
            files: vec![
                ("server.crt".into(), certificate.pem().into_bytes()),
                ("server.key".into(), key.serialize_pem().into_bytes()),
            ],
        }
    }
}

impl Bench {
    /// Starts both servers with empty databases; the target speaks TLS.
    pub async fn with_tls(extra: &Extra) -> Bench {
        Bench::of(Workshop::start_with(extra).await.unwrap())
    }

    /// Writes a certificate where the command can read it.
    pub fn trust(&self, name: &str, authority: &Authority) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, &authority.certificate).unwrap();
        path
    }

    /// The target's URL with another host name and TLS parameters.
    pub fn target_url_at(&self, host: &str, parameters: &str) -> String {
        let url = self.workshop.target_url().replace("127.0.0.1", host);
        format!("{url}?{parameters}")
    }

    /// What the target's server has logged.
    pub fn target_log(&self) -> String {
        std::fs::read_to_string(self.workshop.target.log_path()).unwrap()
    }

    /// What the source's server has logged.
    pub fn source_log(&self) -> String {
        std::fs::read_to_string(self.workshop.source.log_path()).unwrap()
    }
}
