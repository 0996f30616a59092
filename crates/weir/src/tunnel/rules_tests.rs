use super::*;
use proptest::prelude::*;

fn allow(rules: &[&str]) -> AllowTo {
    AllowTo::from_rules(rules).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn forms_are_read_and_written_alike() {
    for (text, shown) in [
        ("any", "any"),
        ("*", "any"),
        ("*:*", "any"),
        ("*:443", "*:443"),
        ("loopback", "loopback"),
        ("loopback:8000-8100", "loopback:8000-8100"),
        ("192.0.2.7:443", "192.0.2.7:443"),
        ("192.0.2.7", "192.0.2.7"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/8:22", "10.0.0.0/8:22"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ("2001:db8::/32", "[2001:db8::/32]"),
        ("[2001:db8::/32]:443", "[2001:db8::/32]:443"),
        ("DB.example.org:5432", "db.example.org:5432"),
        ("*.example.org:443", "*.example.org:443"),
        ("example.org", "example.org"),
    ] {
        let rule: Rule = text.parse().unwrap();
        assert_eq!(rule.to_string(), shown);
        assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule, "{text}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (text, part) in [
        ("", "host is missing"),
        (":80", "host is missing"),
        ("80", "host is missing"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.0.0.0/33", "prefix length"),
        ("10.0.0.0/x", "prefix length"),
        ("example.org/8", "no IP address"),
        ("[2001:db8::]/32:443", "behind brackets"),
        ("[2001:db8::1", "not closed"),
        ("example.org:http", "`http` is no port"),
        ("example.org:90-80", "`90-80`"),
        ("exa mple.org:1", "not a host name"),
    ] {
        let error = text.parse::<Rule>().unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(AllowTo::from_rules(["none", "any"]).is_err());
    assert!(AllowTo::from_rules(["none"]).unwrap().is_none());
    assert!(AllowListen::from_rules(["example.org:80"]).is_err());
}

#[test]
fn the_default_grants_this_machine_and_nothing_behind_it() {
    let rules = AllowTo::default();
    assert_eq!(rules.to_string(), "loopback");
    for own in [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
    ] {
        assert!(rules.permits(None, ip(own), 80), "{own}");
    }
    for other in [
        "10.0.0.1",
        "192.0.2.1",
        "169.254.169.254",
        "2001:db8::1",
        "::ffff:10.0.0.1",
    ] {
        assert!(!rules.permits(None, ip(other), 80), "{other}");
    }
}

#[test]
fn no_spelling_of_an_address_passes_by_a_rule() {
    let rules = allow(&["10.0.0.0/8:80"]);
    assert!(rules.permits(None, ip("10.1.2.3"), 80));
    assert!(rules.permits(None, ip("::ffff:10.1.2.3"), 80));
    assert!(!rules.permits(None, ip("10.1.2.3"), 81));
    assert!(!rules.permits(None, ip("11.0.0.0"), 80));
    // An IPv6 network does not grant the IPv4 addresses that can be written inside it.
    assert!(!allow(&["::/0"]).permits(None, ip("::ffff:10.1.2.3"), 80));
    // 0.0.0.0 connects to loopback, so a rule for that address alone does not grant it.
    assert!(!allow(&["192.0.2.0/24"]).permits(None, ip("0.0.0.0"), 80));
    assert!(allow(&["0.0.0.0/0"]).permits(None, ip("0.0.0.0"), 80));
}

#[test]
fn a_named_rule_grants_the_name_only() {
    let rules = allow(&["db.example.org:5432", "*.lan:*"]);
    let db = name("db.example.org");
    assert!(rules.permits(Some(&db), ip("10.0.0.5"), 5432));
    assert!(!rules.permits(Some(&db), ip("10.0.0.5"), 22));
    assert!(
        !rules.permits(None, ip("10.0.0.5"), 5432),
        "the address without the name"
    );
    assert!(!rules.permits(Some(&name("example.org")), ip("10.0.0.5"), 5432));
    assert!(rules.permits(Some(&name("printer.lan")), ip("10.0.0.5"), 631));
    assert!(!rules.permits(Some(&name("lan")), ip("10.0.0.5"), 631));
    assert!(!rules.permits(Some(&name("notlan")), ip("10.0.0.5"), 631));
}

/// DNS rebinding: whoever controls a name does not thereby reach this machine's own services.
#[test]
fn a_name_cannot_be_pointed_at_the_machine_itself() {
    let rules = allow(&["app.example.org:80", "localhost:8080"]);
    let app = name("app.example.org");
    for own in [
        "127.0.0.1",
        "::1",
        "169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "::ffff:127.0.0.1",
    ] {
        assert!(!rules.permits(Some(&app), ip(own), 80), "{own}");
    }
    assert!(rules.permits(Some(&app), ip("198.51.100.1"), 80));
    assert!(rules.permits(Some(&name("localhost")), ip("127.0.0.1"), 8080));
    // With a rule for the address itself it is meant.
    let both = allow(&["app.example.org:80", "127.0.0.1:80"]);
    assert!(both.permits(Some(&app), ip("127.0.0.1"), 80));
}

#[test]
fn names_that_cannot_be_granted_are_not_resolved() {
    let rules = allow(&["db.example.org:5432"]);
    assert!(rules.might_permit(&name("db.example.org"), 5432));
    assert!(!rules.might_permit(&name("db.example.org"), 80));
    assert!(!rules.might_permit(&name("other.example.org"), 5432));
    assert!(allow(&["10.0.0.0/8"]).might_permit(&name("other.example.org"), 1));
    assert!(!AllowTo::none().might_permit(&name("localhost"), 1));
}

#[test]
fn listening_by_default_is_for_loopback_and_unprivileged_ports() {
    let rules = AllowListen::default();
    assert!(rules.permits(ip("127.0.0.1"), 2222));
    assert!(rules.permits(ip("::1"), 0));
    assert!(!rules.permits(ip("127.0.0.1"), 80));
    assert!(
        !rules.permits(ip("0.0.0.0"), 2222),
        "all addresses are not loopback"
    );
    assert!(!rules.permits(ip("::"), 2222));
    assert!(!rules.permits(ip("192.0.2.1"), 2222));
    assert!(
        AllowListen::from_rules(["0.0.0.0:2222"])
            .unwrap()
            .permits(ip("0.0.0.0"), 2222)
    );
    assert!(AllowListen::any().permits(ip("::"), 80));
    assert!(!AllowListen::none().permits(ip("127.0.0.1"), 2222));
}

proptest! {
    #[test]
    fn networks_agree_with_bit_arithmetic(a in any::<u32>(), b in any::<u32>(), prefix in 0u8..=32) {
        let network = Network { address: IpAddr::V4(Ipv4Addr::from_bits(a)), prefix };
        let shift = 32 - u32::from(prefix);
        let expected = a.checked_shr(shift).unwrap_or(0) == b.checked_shr(shift).unwrap_or(0);
        prop_assert_eq!(network.contains(IpAddr::V4(Ipv4Addr::from_bits(b))), expected);
    }

    #[test]
    fn networks_of_ipv6(a in any::<u128>(), flip in 0u32..128, prefix in 0u8..=128) {
        let network = Network { address: IpAddr::V6(Ipv6Addr::from_bits(a)), prefix };
        let other = IpAddr::V6(Ipv6Addr::from_bits(a ^ (1u128 << (127 - flip))));
        prop_assert_eq!(network.contains(other), flip >= u32::from(prefix));
    }

    #[test]
    fn no_text_panics_and_what_is_read_is_written_back(text in "[a-z0-9.:*/\\[\\]-]{0,40}") {
        if let Ok(rule) = text.parse::<Rule>() {
            prop_assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
        }
    }
}
