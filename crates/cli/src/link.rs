//! What every command needs that opens connections: an endpoint, and the instruments that watch it.

use crate::args::Seen;
use crate::out::Failure;
use std::time::Duration;
use weir::trace::TraceOptions;
use weir::{Builder, ConnectError, Endpoint, EndpointError, Via};

pub(crate) use weir::trace::Instruments;

/// Sets up what `--qlog`, `--keylog`, `--pcap`, `-v` and `-vv` ask for. `SSLKEYLOGFILE` is honoured by
/// the endpoints themselves.
pub(crate) fn instruments(seen: &Seen) -> Result<Instruments, Failure> {
    // An empty variable is how shells take one back.
    let variable = || std::env::var_os("QLOGDIR").filter(|value| !value.is_empty());
    let options = TraceOptions {
        qlog: seen.qlog.clone().or_else(|| variable().map(Into::into)),
        pcap: seen.pcap.clone(),
        key_log: seen.keylog.clone(),
        log: true,
    };
    Instruments::new(&options)
        .map_err(|error| Failure::failed(error).hint("name a place that this user may write to"))
}

/// An endpoint with a fresh identity unless it is given another, with the instruments on it.
pub(crate) fn builder(via: Via, instruments: &Instruments) -> Builder {
    instruments.attach(Endpoint::builder().via(via))
}

/// How long the last words to the peers may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Ends an endpoint's connections and writes out what the instruments saw of them.
pub(crate) async fn close(endpoint: &Endpoint, reason: &str, instruments: &Instruments) {
    endpoint.close(0, reason);
    // A peer that takes nothing any more is left to find out by itself.
    let _ = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
    instruments.finish();
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Self {
        Failure::failed(error)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Failure::failed(error)
    }
}
