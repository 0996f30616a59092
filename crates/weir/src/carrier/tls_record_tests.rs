//! Records that are forged, out of place, too many or for TLS itself; and keys that change.

use std::time::Duration;

use rustls::ContentType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::tests::in_memory;
use super::*;

/// What a receiver makes of records that its peer's keys have sealed, and what the peer is told.
async fn verdict(records: impl FnOnce(&mut Records) -> Vec<Vec<u8>>) -> (io::Error, String) {
    let (mut client, mut server) = in_memory(1 << 20).await;
    client.write_all(b"before").await.unwrap();
    for record in records(&mut client.carrier.records) {
        client.carrier.stream.write_all(&record).await.unwrap();
    }
    // What came before is whole and handed out.
    assert_eq!(server.read_exact(6).await.unwrap(), b"before");
    let error = server.read().await.unwrap_err();
    assert_eq!(
        server.read().await.unwrap_err().kind(),
        io::ErrorKind::NotConnected
    );
    let write = server.write(&[IoSlice::new(b"x")]).await.unwrap_err();
    assert_eq!(write.kind(), io::ErrorKind::BrokenPipe);
    (error, client.read().await.unwrap_err().to_string())
}

#[tokio::test]
async fn a_forged_record_breaks_the_connection() {
    for at in [5, 20, 5020] {
        let (error, told) = verdict(|records| {
            let mut record = records
                .sealed(ContentType::ApplicationData, &[&[7; 5000]])
                .unwrap();
            record[at] ^= 1;
            vec![record]
        })
        .await;
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("damaged or forged"), "{error}");
        assert!(told.contains("BadRecordMac"), "{told}");
    }
}

#[tokio::test]
async fn a_record_sent_twice_or_left_out_breaks_the_connection() {
    let (error, _) = verdict(|records| {
        let record = records
            .sealed(ContentType::ApplicationData, &[b"again"])
            .unwrap();
        let _left_out = records
            .sealed(ContentType::ApplicationData, &[b"lost"])
            .unwrap();
        vec![
            records
                .sealed(ContentType::ApplicationData, &[b"late"])
                .unwrap(),
            record,
        ]
    })
    .await;
    assert!(error.to_string().contains("damaged or forged"), "{error}");
}

/// C1, C2: what has no place after a handshake, though the peer's keys have sealed it.
#[tokio::test]
async fn sealed_records_out_of_place_break_the_connection() {
    let (handshake, alert) = (ContentType::Handshake, ContentType::Alert);
    let cases: [(&str, ContentType, &[u8], &str); 10] = [
        (
            "key update of no kind",
            handshake,
            &[24, 0, 0, 1, 2],
            "IllegalParameter",
        ),
        (
            "long key update",
            handshake,
            &[24, 0, 0, 2, 0, 0],
            "DecodeError",
        ),
        (
            "more behind a key update",
            handshake,
            &[24, 0, 0, 1, 0, 4],
            "UnexpectedMessage",
        ),
        (
            "cut key update",
            handshake,
            &[24, 0, 0, 1],
            "UnexpectedMessage",
        ),
        (
            "ticket from a client",
            handshake,
            &[4, 0, 0, 0],
            "UnexpectedMessage",
        ),
        (
            "client hello",
            handshake,
            &[1, 0, 0, 0],
            "UnexpectedMessage",
        ),
        ("empty handshake", handshake, &[], "UnexpectedMessage"),
        ("short alert", alert, &[1], "DecodeError"),
        ("two alerts", alert, &[1, 0, 1, 0], "DecodeError"),
        (
            "unknown type",
            ContentType::Heartbeat,
            &[1],
            "UnexpectedMessage",
        ),
    ];
    for (name, content_type, payload, alert) in cases {
        let sealed = |records: &mut Records| records.sealed(content_type, &[payload]).unwrap();
        let (error, told) = verdict(|records| vec![sealed(records)]).await;
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{name}: {error}");
        assert!(told.contains(alert), "{name}: {told}");
    }
}

/// C1, C2: what nobody's keys have sealed.
#[tokio::test]
async fn raw_records_out_of_place_break_the_connection() {
    let cases: [(&str, &[u8], &str); 4] = [
        ("plain alert", &[21, 3, 3, 0, 2, 1, 0], "UnexpectedMessage"),
        (
            "plain change cipher spec",
            &[20, 3, 3, 0, 1, 1],
            "UnexpectedMessage",
        ),
        ("oversized", &[23, 3, 3, 0x41, 0x01, 0], "RecordOverflow"),
        ("empty", &[23, 3, 3, 0, 0], "BadRecordMac"),
    ];
    for (name, record, alert) in cases {
        let (error, told) = verdict(|_| vec![record.to_vec()]).await;
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{name}: {error}");
        assert!(told.contains(alert), "{name}: {told}");
    }
}

#[tokio::test]
async fn data_within_a_handshake_message_breaks_the_connection() {
    let (mut client, mut server) = in_memory(1 << 20).await;
    // The server's tickets may be cut anywhere, but nothing may stand between.
    let records = &mut server.carrier.records;
    let start = records
        .sealed(ContentType::Handshake, &[&[4, 0, 1, 0, 7, 7]])
        .unwrap();
    let data = records
        .sealed(ContentType::ApplicationData, &[b"data"])
        .unwrap();
    server
        .carrier
        .stream
        .write_all(&[start, data].concat())
        .await
        .unwrap();
    let error = client.read().await.unwrap_err();
    assert!(
        error.to_string().contains("within a handshake message"),
        "{error}"
    );
}

#[tokio::test]
async fn tickets_are_skipped_however_they_are_cut() {
    let (mut client, mut server) = in_memory(1 << 20).await;
    let mut tickets = [&[4, 0, 1, 44][..], &[9; 300], &[4, 0, 0, 0]].concat();
    tickets.extend([4, 0, 0, 2, 1, 1]);
    for cut in [1, 2, 3, 100, tickets.len()] {
        let records = &mut server.carrier.records;
        let mut out = Vec::new();
        for part in tickets.chunks(tickets.len().div_ceil(cut)) {
            out.extend(records.sealed(ContentType::Handshake, &[part]).unwrap());
        }
        out.extend(
            records
                .sealed(ContentType::ApplicationData, &[b"data"])
                .unwrap(),
        );
        server.carrier.stream.write_all(&out).await.unwrap();
        if cut < 64 {
            assert_eq!(client.read_exact(4).await.unwrap(), b"data");
        } else {
            // C3, C5: so many records for so little is no accident.
            let error = client.read().await.unwrap_err();
            assert!(error.to_string().contains("without data"), "{error}");
            return;
        }
    }
}

#[tokio::test]
async fn a_peer_that_sends_only_records_without_data_is_cut_off() {
    let empty = |records: &mut Records| records.sealed(ContentType::ApplicationData, &[]).unwrap();
    let (error, _) = verdict(|records| (0..100).map(|_| empty(records)).collect()).await;
    assert!(error.to_string().contains("without data"), "{error}");

    // Data in between shows that it means well.
    let (mut client, mut server) = in_memory(1 << 20).await;
    for _ in 0..10 {
        let records = &mut client.carrier.records;
        let mut out: Vec<_> = (0..50).flat_map(|_| empty(records)).collect();
        out.extend(
            records
                .sealed(ContentType::ApplicationData, &[b"data"])
                .unwrap(),
        );
        client.carrier.stream.write_all(&out).await.unwrap();
        assert_eq!(server.read_exact(4).await.unwrap(), b"data");
    }
}

/// RFC 8446 4.6.3: both sides' keys change at request, any number of times, with data under way.
#[tokio::test]
async fn keys_change_at_request() {
    let (mut client, mut server) = in_memory(1 << 20).await;
    for round in 0..5u8 {
        let request = [24, 0, 0, 1, 1];
        let records = &mut client.carrier.records;
        let update = records.sealed(ContentType::Handshake, &[&request]).unwrap();
        records.next_tx_keys().unwrap();
        client.carrier.outgoing.tail().extend(update);
        client.write_all(&[round; 50_000]).await.unwrap();
        assert_eq!(server.read_exact(50_000).await.unwrap(), [round; 50_000]);
        // The answer left while reading; the server's next data is under its new key.
        assert!(!server.carrier.records.wants_key_update());
        assert_eq!(server.carrier.records.tx_seq(), 0);
        server.write_all(&[round; 50_000]).await.unwrap();
        assert_eq!(client.read_exact(50_000).await.unwrap(), [round; 50_000]);
    }
}

/// C3: any number of requests is one answer, so a peer that does not read cannot make a queue of
/// them.
#[tokio::test]
async fn many_requests_for_new_keys_are_one_answer() {
    let (mut client, mut server) = in_memory(2000).await;
    // Fill the way back, so that no answer can leave.
    while let Ok(written) = timeout(
        Duration::from_millis(10),
        server.write(&[IoSlice::new(&[7; 100_000])]),
    )
    .await
    {
        written.unwrap();
    }
    let waiting = server.carrier.outgoing.len();
    for _ in 0..40 {
        let records = &mut client.carrier.records;
        let request = records
            .sealed(ContentType::Handshake, &[&[24, 0, 0, 1, 1]])
            .unwrap();
        records.next_tx_keys().unwrap();
        client.carrier.stream.write_all(&request).await.unwrap();
        assert!(
            timeout(Duration::from_millis(1), server.read())
                .await
                .is_err()
        );
    }
    assert_eq!(server.carrier.outgoing.len(), waiting);
    assert!(server.carrier.records.wants_key_update());
}

#[tokio::test]
async fn keys_are_replaced_before_they_are_worn_out() {
    let (mut client, mut server) = in_memory(1 << 20).await;
    client.carrier.records.rekey_after(3);
    let data: Vec<u8> = (0..2_000_000u32).map(|i| i as u8).collect();
    let (sent, got) = tokio::join!(client.write_all(&data), server.read_exact(data.len()));
    sent.unwrap();
    assert!(got.unwrap() == data, "the bytes differ");
    assert!(client.carrier.records.tx_seq() <= 3);
}

#[tokio::test]
async fn a_fatal_alert_is_told_in_words() {
    let (mut client, mut server) = in_memory(1 << 20).await;
    let alert = AlertDescription::InternalError;
    let mut record = Vec::new();
    client
        .carrier
        .records
        .seal_alert(alert, &mut record)
        .unwrap();
    client.carrier.stream.write_all(&record).await.unwrap();
    let error = server.read().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    assert!(error.to_string().contains("it failed by itself"), "{error}");
    // Nothing is answered to an alert.
    drop(server);
    let mut rest = Vec::new();
    client.carrier.stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}
