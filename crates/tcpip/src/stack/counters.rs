//! What a stack counts, in the names that Linux has for it.

/// Defines [`Counters`] once: field, Linux' group and name, and what is counted.
macro_rules! counters {
    ($( $group:literal { $( $(#[$doc:meta])* $field:ident = $name:literal, )* } )*) => {
        /// Everything that one stack counts since it was made, but `curr_estab`, which is a present
        /// number. The names are those of `/proc/net/snmp` and `/proc/net/netstat`, so that what is
        /// known of them holds here too; [`Counters::iter`] gives them as Linux writes them.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $( $( $(#[$doc])* pub $field: u64, )* )*
        }

        impl Counters {
            /// Every counter as group (`Ip`, `Tcp`, `TcpExt`, ..), name and value.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [ $( $( ($group, $name, self.$field), )* )* ].into_iter()
            }
        }
    };
}

counters! {
    "Tcp" {
        /// Connections that this side began.
        active_opens = "ActiveOpens",
        /// Connections that a listener took: SYN-RECEIVED from LISTEN.
        passive_opens = "PassiveOpens",
        /// Attempts that failed: from SYN-SENT or SYN-RECEIVED to CLOSED or LISTEN.
        attempt_fails = "AttemptFails",
        /// Connections that were reset from ESTABLISHED or CLOSE-WAIT.
        estab_resets = "EstabResets",
        /// Connections in ESTABLISHED or CLOSE-WAIT now.
        curr_estab = "CurrEstab",
        /// Segments received, with errors too. A coalesced frame counts as the segments it stands for.
        in_segs = "InSegs",
        /// Segments sent, but for retransmitted ones.
        out_segs = "OutSegs",
        /// Segments sent again.
        retrans_segs = "RetransSegs",
        /// Segments received that were malformed or had a wrong checksum.
        in_errs = "InErrs",
        /// Segments sent with RST.
        out_rsts = "OutRsts",
        /// Segments received with a wrong checksum.
        in_csum_errors = "InCsumErrors",
    }
    "Udp" {
        /// Datagrams given to sockets.
        udp_in_datagrams = "InDatagrams",
        /// Datagrams to a port without a socket.
        udp_no_ports = "NoPorts",
        /// Datagrams that were malformed, had a wrong checksum, or found no room.
        udp_in_errors = "InErrors",
        /// Datagrams sent.
        udp_out_datagrams = "OutDatagrams",
        /// Datagrams dropped because a socket's receive queue was full (the oldest goes).
        udp_rcvbuf_errors = "RcvbufErrors",
        /// Datagrams refused because a socket's send queue was full.
        udp_sndbuf_errors = "SndbufErrors",
        /// Datagrams with a wrong checksum.
        udp_in_csum_errors = "InCsumErrors",
    }
    "TcpExt" {
        /// SYN cookies sent.
        syncookies_sent = "SyncookiesSent",
        /// Valid SYN cookies received.
        syncookies_recv = "SyncookiesRecv",
        /// ACKs that were taken for SYN cookies and were none.
        syncookies_failed = "SyncookiesFailed",
        /// SYN-RECEIVED connections that a RST ended.
        embryonic_rsts = "EmbryonicRsts",
        /// Connections that ended in TIME-WAIT.
        tw = "TW",
        /// TIME-WAIT connections that a new SYN or connect took the place of.
        tw_recycled = "TWRecycled",
        /// SYNs refused in TIME-WAIT for an old timestamp.
        paws_passive = "PAWSPassive",
        /// Segments refused in SYN-SENT for an old timestamp.
        paws_active = "PAWSActive",
        /// Segments refused on a connection for an old timestamp.
        paws_estab = "PAWSEstab",
        /// Delayed ACKs sent.
        delayed_acks = "DelayedACKs",
        /// Times that quick ACK mode was entered because a duplicate arrived.
        delayed_ack_lost = "DelayedACKLost",
        /// ACKs (and SYNs) dropped because the accept queue was full.
        listen_overflows = "ListenOverflows",
        /// SYNs dropped by listeners, for whatever reason.
        listen_drops = "ListenDrops",
        /// Segments that the fast path took data from.
        tcp_hp_hits = "TCPHPHits",
        /// Segments of no data whose ACK the fast path took.
        tcp_hp_acks = "TCPHPAcks",
        /// Segments of no data whose ACK the full path took.
        tcp_pure_acks = "TCPPureAcks",
        /// Recoveries begun by SACK.
        tcp_sack_recovery = "TCPSackRecovery",
        /// Recoveries begun without SACK.
        tcp_reno_recovery = "TCPRenoRecovery",
        /// Times that a peer took back what it had SACKed.
        tcp_sack_reneging = "TCPSACKReneging",
        /// Times that reordering was seen by SACK.
        tcp_sack_reorder = "TCPSACKReorder",
        /// Times that reordering was seen by timestamps.
        tcp_ts_reorder = "TCPTSReorder",
        /// Window reductions undone because all of it had arrived.
        tcp_full_undo = "TCPFullUndo",
        /// Window reductions undone by D-SACK.
        tcp_dsack_undo = "TCPDSACKUndo",
        /// Segments thought lost by RACK, NewReno or SACK.
        tcp_lost = "TCPLost",
        /// Retransmissions that were lost.
        tcp_lost_retransmit = "TCPLostRetransmit",
        /// Fast retransmissions.
        tcp_fast_retrans = "TCPFastRetrans",
        /// Retransmissions in slow start.
        tcp_slow_start_retrans = "TCPSlowStartRetrans",
        /// Retransmission time-outs.
        tcp_timeouts = "TCPTimeouts",
        /// Tail loss probes sent.
        tcp_loss_probes = "TCPLossProbes",
        /// Tail losses that a probe repaired.
        tcp_loss_probe_recovery = "TCPLossProbeRecovery",
        /// Spurious retransmission time-outs found by F-RTO.
        tcp_spurious_rtos = "TCPSpuriousRTOs",
        /// Segments sent as SYN or SYN,ACK again.
        tcp_syn_retrans = "TCPSynRetrans",
        /// D-SACKs sent for old duplicates.
        tcp_dsack_old_sent = "TCPDSACKOldSent",
        /// D-SACKs sent for duplicates out of order.
        tcp_dsack_ofo_sent = "TCPDSACKOfoSent",
        /// D-SACKs received.
        tcp_dsack_recv = "TCPDSACKRecv",
        /// SACK blocks that were out of place and ignored.
        tcp_sack_discard = "TCPSACKDiscard",
        /// Connections reset because data came for one that nobody reads any more.
        tcp_abort_on_data = "TCPAbortOnData",
        /// Connections reset because they were closed with unread data.
        tcp_abort_on_close = "TCPAbortOnClose",
        /// Connections reset for want of memory or for too many orphans.
        tcp_abort_on_memory = "TCPAbortOnMemory",
        /// Connections that ended because retransmissions, probes or keep-alives went unanswered.
        tcp_abort_on_timeout = "TCPAbortOnTimeout",
        /// Connections that ended because they lingered too long.
        tcp_abort_on_linger = "TCPAbortOnLinger",
        /// Connections reset by the application (RST from SO_LINGER 0 or an abort).
        tcp_abort_failed = "TCPAbortFailed",
        /// Segments received out of order and kept.
        tcp_ofo_queue = "TCPOFOQueue",
        /// Segments out of order that there was no room for.
        tcp_ofo_drop = "TCPOFODrop",
        /// Segments dropped because the receive buffer was full.
        tcp_rcvq_drop = "TCPRcvQDrop",
        /// Segments dropped because they lay beyond the window.
        tcp_out_of_window = "TCPOutOfWindow",
        /// Challenge ACKs sent (RFC 5961).
        tcp_challenge_ack = "TCPChallengeACK",
        /// Challenge ACKs sent for a SYN.
        tcp_syn_challenge = "TCPSYNChallenge",
        /// Challenge ACKs that were not sent because there had been too many.
        tcp_ack_skipped_challenge = "TCPACKSkippedChallenge",
        /// ACKs that were not sent in TIME-WAIT because there had been too many.
        tcp_ack_skipped_time_wait = "TCPACKSkippedTimeWait",
        /// Zero windows announced.
        tcp_to_zero_window_adv = "TCPToZeroWindowAdv",
        /// Windows announced that ended a zero window.
        tcp_from_zero_window_adv = "TCPFromZeroWindowAdv",
        /// Window probes sent.
        tcp_win_probe = "TCPWinProbe",
        /// Keep-alive probes sent.
        tcp_keep_alive = "TCPKeepAlive",
        /// Black holes of the path MTU found.
        tcp_mtup_fail = "TCPMTUPFail",
        /// Larger path MTUs found by probing.
        tcp_mtup_success = "TCPMTUPSuccess",
        /// Data segments sent that carry new data.
        tcp_orig_data_sent = "TCPOrigDataSent",
        /// SYNs dropped in a full accept queue while cookies are off.
        tcp_req_q_full_drop = "TCPReqQFullDrop",
        /// Times that a full queue of half-open connections had SYN cookies sent.
        tcp_req_q_full_do_cookies = "TCPReqQFullDoCookies",
        /// Fast Open: SYNs with data sent that were acknowledged with their data.
        tcp_fast_open_active = "TCPFastOpenActive",
        /// Fast Open: SYNs with data sent whose data was not acknowledged.
        tcp_fast_open_active_fail = "TCPFastOpenActiveFail",
        /// Fast Open: SYNs with a valid cookie received, whose data was taken.
        tcp_fast_open_passive = "TCPFastOpenPassive",
        /// Fast Open: SYNs with an invalid cookie received.
        tcp_fast_open_passive_fail = "TCPFastOpenPassiveFail",
        /// Fast Open: SYNs refused as such because too many were half-open.
        tcp_fast_open_listen_overflow = "TCPFastOpenListenOverflow",
        /// Fast Open: cookies sent on request.
        tcp_fast_open_cookie_reqd = "TCPFastOpenCookieReqd",
        /// Data segments received with ECN's CE.
        tcp_ecn_ce = "TCPDeliveredCE",
        /// Times that memory ran short and windows were held back.
        tcp_memory_pressures = "TCPMemoryPressures",
        /// RSTs that were not sent because there had been too many (no counter of Linux').
        tcp_rst_rate_limited = "TCPRstRateLimited",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_listed_once() {
        let counters = Counters {
            retrans_segs: 7,
            ..Counters::default()
        };
        let mut seen = std::collections::HashSet::new();
        assert!(
            counters
                .iter()
                .all(|(group, name, _)| seen.insert((group, name)))
        );
        assert!(
            counters
                .iter()
                .any(|counter| counter == ("Tcp", "RetransSegs", 7))
        );
        assert_eq!(counters.iter().map(|(_, _, value)| value).sum::<u64>(), 7);
    }
}
