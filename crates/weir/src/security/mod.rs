//! Who the peers are: keys, peer IDs, and the TLS in which both sides prove theirs to each other
//! without a certificate authority. The forms are libp2p's, so a peer ID means the same to its
//! implementations.

mod by_name;
mod certificate;
mod chain;
mod der;
mod error;
mod identity;
mod key_log;
mod known;
mod limits;
mod peer_id;
mod public_key;
mod tls;

pub(crate) use by_name::{ByName, Names};
pub use certificate::CertificateError;
pub use error::SecurityError;
pub(crate) use error::alert_in_words;
pub use identity::{Identity, KeyError};
pub use key_log::{KeyLogError, KeyObserver, TlsKeyLog};
pub use peer_id::{PeerId, PeerIdError};
pub use public_key::{KeyType, PublicKey, PublicKeyError};
pub use tls::PeerMismatch;
pub(crate) use tls::{ALPN_WEIR, Security, peer_of};

#[cfg(test)]
pub(crate) use certificate::generate as generate_certificate;
#[cfg(test)]
pub(crate) use tls::provider;
