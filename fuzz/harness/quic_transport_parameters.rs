//! Transport parameters: what decodes, encodes to what decodes the same; what is remembered of it
//! comes back too.

use weir_quic::wire::TransportParameters;
use weir_quic::wire::transport_parameters::Remembered;
use weir_quic::{Side, code};

/// Reads all but the first byte of `data` as what the side that the first byte says sent.
pub fn run(data: &[u8]) {
    let Some((side, bytes)) = data.split_first() else {
        return;
    };
    if side & 2 != 0 {
        remembered(bytes);
        return;
    }
    let side = if side & 1 == 0 {
        Side::Client
    } else {
        Side::Server
    };
    let params = match TransportParameters::decode(side, bytes) {
        Ok(params) => params,
        Err(error) => {
            assert_eq!(error.code, code::TRANSPORT_PARAMETER_ERROR);
            return;
        }
    };
    let mut out = Vec::new();
    params.encode(side, &mut out, None);
    let again = TransportParameters::decode(side, &out).expect("what was written can be read");
    assert_eq!(again, params);
    let kept = params.remember();
    assert!(kept.still_holds(&params) && kept.check_accepted(&params).is_ok());
    out.clear();
    kept.encode(&mut out);
    remembered(&out);
}

fn remembered(bytes: &[u8]) {
    if let Some(kept) = Remembered::decode(bytes) {
        let mut out = Vec::new();
        kept.encode(&mut out);
        assert_eq!(Remembered::decode(&out), Some(kept));
        assert_eq!(kept.to_parameters().remember(), kept);
    }
}
