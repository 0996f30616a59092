//! Transport parameters from bytes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use weir_core::time::Duration;

use super::{
    MAX_ACK_DELAY_END_MS, MAX_ACK_DELAY_EXPONENT, MIN_ACTIVE_CONNECTION_IDS, MIN_UDP_PAYLOAD,
    PreferredAddress, TransportParameters, VersionInformation, id,
};
use crate::error::{TransportError, code};
use crate::limits::{MAX_AVAILABLE_VERSIONS, MAX_UNKNOWN_PARAMETERS};
use crate::wire::frame::MAX_STREAM_COUNT;
use crate::wire::varint::{Reader, Truncated};
use crate::wire::{ConnectionId, Side, Version};

/// In words, what is wrong.
struct Fault(&'static str);

impl From<Truncated> for Fault {
    fn from(_: Truncated) -> Fault {
        Fault("transport parameters are cut off")
    }
}

impl TransportParameters {
    /// Reads what `sender` sent. What is not known is ignored.
    ///
    /// # Errors
    ///
    /// TRANSPORT_PARAMETER_ERROR for what cannot be read, comes twice, is out of its range
    /// (RFC 9000 section 18.2) or may not come from this side.
    pub fn decode(sender: Side, bytes: &[u8]) -> Result<TransportParameters, TransportError> {
        decode_all(sender, bytes)
            .map_err(|fault| TransportError::new(code::TRANSPORT_PARAMETER_ERROR, fault.0))
    }
}

fn decode_all(sender: Side, bytes: &[u8]) -> Result<TransportParameters, Fault> {
    let mut params = TransportParameters::default();
    let mut seen = Seen::default();
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let id = reader.varint()?;
        let value = reader.with_length()?;
        if !seen.first_time(id) {
            return Err(Fault("a transport parameter comes twice"));
        }
        if sender.is_client() && is_server_only(id) {
            return Err(Fault("a client sent what only servers send"));
        }
        let mut value = Reader::new(value);
        if one(&mut params, sender, id, &mut value)? && !value.is_empty() {
            return Err(Fault("a transport parameter is longer than its value"));
        }
    }
    check_together(&params)?;
    Ok(params)
}

/// Which parameters came already. Those not known are remembered up to a bound: a peer that sends
/// more of them twice has won nothing.
#[derive(Default)]
struct Seen {
    known: u32,
    unknown: Vec<u64>,
}

impl Seen {
    fn first_time(&mut self, id: u64) -> bool {
        if let Some(at) = id::KNOWN.iter().position(|known| *known == id) {
            let bit = 1u32.checked_shl(at as u32).unwrap_or(0);
            let first = self.known & bit == 0;
            self.known |= bit;
            return first;
        }
        if self.unknown.contains(&id) {
            return false;
        }
        if self.unknown.len() < MAX_UNKNOWN_PARAMETERS {
            self.unknown.push(id);
        }
        true
    }
}

const fn is_server_only(id: u64) -> bool {
    matches!(
        id,
        id::ORIGINAL_DESTINATION_CONNECTION_ID
            | id::STATELESS_RESET_TOKEN
            | id::PREFERRED_ADDRESS
            | id::RETRY_SOURCE_CONNECTION_ID
    )
}

/// Reads one value. False for what is not known.
fn one(
    params: &mut TransportParameters,
    sender: Side,
    id: u64,
    value: &mut Reader<'_>,
) -> Result<bool, Fault> {
    match id {
        id::ORIGINAL_DESTINATION_CONNECTION_ID => {
            params.original_destination_connection_id = Some(connection_id(value.take_rest())?);
        }
        id::MAX_IDLE_TIMEOUT => {
            let millis = value.varint()?;
            params.max_idle_timeout = (millis > 0).then(|| Duration::from_millis(millis));
        }
        id::STATELESS_RESET_TOKEN => params.stateless_reset_token = Some(value.array()?),
        id::MAX_UDP_PAYLOAD_SIZE => {
            let what = "max_udp_payload_size below 1200";
            params.max_udp_payload_size = at_least(value, MIN_UDP_PAYLOAD, what)?;
        }
        id::INITIAL_MAX_DATA => params.initial_max_data = value.varint()?,
        id::INITIAL_MAX_STREAM_DATA_BIDI_LOCAL => {
            params.initial_max_stream_data_bidi_local = value.varint()?;
        }
        id::INITIAL_MAX_STREAM_DATA_BIDI_REMOTE => {
            params.initial_max_stream_data_bidi_remote = value.varint()?;
        }
        id::INITIAL_MAX_STREAM_DATA_UNI => params.initial_max_stream_data_uni = value.varint()?,
        id::INITIAL_MAX_STREAMS_BIDI => params.initial_max_streams_bidi = streams(value)?,
        id::INITIAL_MAX_STREAMS_UNI => params.initial_max_streams_uni = streams(value)?,
        id::ACK_DELAY_EXPONENT => {
            let what = "ack_delay_exponent above 20";
            let exponent = at_most(value, u64::from(MAX_ACK_DELAY_EXPONENT), what)?;
            params.ack_delay_exponent = exponent as u8;
        }
        id::MAX_ACK_DELAY => {
            let what = "max_ack_delay of 2^14 ms or more";
            let millis = at_most(value, MAX_ACK_DELAY_END_MS.saturating_sub(1), what)?;
            params.max_ack_delay = Duration::from_millis(millis);
        }
        _ => return one_more(params, sender, id, value),
    }
    Ok(true)
}

fn one_more(
    params: &mut TransportParameters,
    sender: Side,
    id: u64,
    value: &mut Reader<'_>,
) -> Result<bool, Fault> {
    match id {
        // Those without a value: whatever is left in it is found to be too much.
        id::DISABLE_ACTIVE_MIGRATION => params.disable_active_migration = true,
        id::GREASE_QUIC_BIT => params.grease_quic_bit = true,
        id::PREFERRED_ADDRESS => params.preferred_address = Some(preferred_address(value)?),
        id::ACTIVE_CONNECTION_ID_LIMIT => {
            let what = "active_connection_id_limit below 2";
            params.active_connection_id_limit = at_least(value, MIN_ACTIVE_CONNECTION_IDS, what)?;
        }
        id::INITIAL_SOURCE_CONNECTION_ID => {
            params.initial_source_connection_id = Some(connection_id(value.take_rest())?);
        }
        id::RETRY_SOURCE_CONNECTION_ID => {
            params.retry_source_connection_id = Some(connection_id(value.take_rest())?);
        }
        id::MAX_DATAGRAM_FRAME_SIZE => params.max_datagram_frame_size = value.varint()?,
        id::VERSION_INFORMATION => {
            params.version_information = Some(version_information(sender, value.take_rest())?);
        }
        id::MIN_ACK_DELAY => {
            params.min_ack_delay = Some(Duration::from_micros(value.varint()?));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// What two parameters have to say about each other.
fn check_together(params: &TransportParameters) -> Result<(), Fault> {
    // draft-ietf-quic-ack-frequency section 3.
    if params
        .min_ack_delay
        .is_some_and(|min| min > params.max_ack_delay)
    {
        return Err(Fault("min_ack_delay above max_ack_delay"));
    }
    // RFC 9000 section 18.2: a server that has empty connection IDs has none to give with an address.
    let own = params.initial_source_connection_id;
    if params.preferred_address.is_some() && own.is_some_and(|id| id.is_empty()) {
        return Err(Fault("preferred_address beside an empty connection ID"));
    }
    Ok(())
}

fn at_least(value: &mut Reader<'_>, least: u64, what: &'static str) -> Result<u64, Fault> {
    let value = value.varint()?;
    if value < least {
        return Err(Fault(what));
    }
    Ok(value)
}

fn at_most(value: &mut Reader<'_>, most: u64, what: &'static str) -> Result<u64, Fault> {
    let value = value.varint()?;
    if value > most {
        return Err(Fault(what));
    }
    Ok(value)
}

/// RFC 9000 section 4.6.
fn streams(value: &mut Reader<'_>) -> Result<u64, Fault> {
    at_most(value, MAX_STREAM_COUNT, "more streams than stream IDs")
}

fn connection_id(bytes: &[u8]) -> Result<ConnectionId, Fault> {
    ConnectionId::new(bytes).ok_or(Fault("a connection ID of more than 20 bytes"))
}

fn preferred_address(value: &mut Reader<'_>) -> Result<PreferredAddress, Fault> {
    let ipv4 = SocketAddrV4::new(Ipv4Addr::from(value.array::<4>()?), value.u16()?);
    let ipv6 = SocketAddrV6::new(Ipv6Addr::from(value.array::<16>()?), value.u16()?, 0, 0);
    let len = value.u8()?;
    let id = connection_id(value.bytes(usize::from(len))?)?;
    if id.is_empty() {
        return Err(Fault("preferred_address with an empty connection ID"));
    }
    Ok(PreferredAddress {
        ipv4: (!ipv4.ip().is_unspecified() || ipv4.port() != 0).then_some(ipv4),
        ipv6: (!ipv6.ip().is_unspecified() || ipv6.port() != 0).then_some(ipv6),
        id,
        reset_token: value.array()?,
    })
}

/// RFC 9368 sections 3 and 4. A list longer than anyone needs is checked whole and kept in part.
fn version_information(sender: Side, bytes: &[u8]) -> Result<VersionInformation, Fault> {
    let (versions, []) = bytes.as_chunks::<4>() else {
        return Err(Fault("version_information is no list of versions"));
    };
    let mut versions = versions
        .iter()
        .map(|bytes| Version(u32::from_be_bytes(*bytes)));
    let chosen = versions
        .next()
        .ok_or(Fault("version_information is empty"))?;
    let zero = Version::NEGOTIATION;
    if chosen == zero || versions.clone().any(|version| version == zero) {
        return Err(Fault("version 0 in version_information"));
    }
    if sender.is_client() && !versions.clone().any(|version| version == chosen) {
        return Err(Fault("the chosen version is not among the available ones"));
    }
    Ok(VersionInformation {
        chosen,
        available: versions.take(MAX_AVAILABLE_VERSIONS).collect(),
    })
}
