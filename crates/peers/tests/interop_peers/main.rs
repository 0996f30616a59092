//! The engine with quinn and s2n-quic, each as client and as server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod data;
mod ends;
mod hello;
mod life;
mod net;
mod q;
mod s2n;
mod tls;
mod weir;

/// Bytes that are at no two places the same run.
fn pattern(len: usize) -> bytes::Bytes {
    let mut rng = weir_core::rng::rng_from_seed(len as u64);
    let mut data = vec![0; len];
    weir_core::rng::fill(&mut rng, &mut data);
    data.into()
}
