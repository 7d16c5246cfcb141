"""The packet filter as text: what each topology turns into."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

from sandbox.network.plan import Plan, public_slice
from sandbox.network.port import Allow, Topology
from sandbox.network.ruleset import render
from tests.topologies import ANYWHERE, EDGE_RANGES, droplet, tcp, topology

PUBLIC = public_slice(3)
PLAN = Plan(3, PUBLIC)


def _chains(text: str, direction: str) -> list[str]:
    return [line.split()[1] for line in text.splitlines() if line.strip().startswith(f"chain {direction}-")]


def test_order_of_droplets_does_not_matter() -> None:
    first, second = droplet(PUBLIC, 1), droplet(PUBLIC, 2, inbound=[tcp(22, *ANYWHERE)])
    assert render(PLAN, topology(first, second)) == render(PLAN, topology(second, first))


def test_whole_table_is_replaced_in_one_transaction() -> None:
    lines = render(PLAN, topology()).splitlines()
    assert lines[:3] == ["table inet flotilla", "delete table inet flotilla", "table inet flotilla {"]


def test_droplet_without_firewall_has_no_rules() -> None:
    text = render(PLAN, topology(droplet(PUBLIC, 1)))
    assert _chains(text, "in") == []
    assert "jump in-" not in text


def test_firewall_without_rules_drops_everything() -> None:
    text = render(PLAN, topology(droplet(PUBLIC, 1, inbound=[], outbound=[])))
    (chain,) = _chains(text, "in")
    assert f"\tchain {chain} {{\n\t\tdrop\n\t}}" in text


def test_firewall_covers_both_interfaces() -> None:
    text = render(PLAN, topology(droplet(PUBLIC, 1, inbound=[tcp(22, *ANYWHERE)])))
    (chain,) = _chains(text, "in")
    assert f'"pub1" : jump {chain}, "vpc1" : jump {chain}' in text


def test_equal_rules_share_a_chain() -> None:
    rules = [tcp(443, "173.245.48.0/20")]
    fleet = [droplet(PUBLIC, number, inbound=rules, outbound=rules) for number in range(1, 101)]
    text = render(PLAN, topology(*fleet))
    assert len(_chains(text, "in")) == len(_chains(text, "out")) == 1


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (tcp(22, "203.0.113.7/32"), "ip saddr { 203.0.113.7/32 } tcp dport 22 return"),
        (tcp(22, "203.0.113.7"), "ip saddr { 203.0.113.7/32 } tcp dport 22 return"),
        (Allow("udp", (5000, 6000), ("10.0.0.0/8",)), "ip saddr { 10.0.0.0/8 } udp dport 5000-6000 return"),
        (Allow("tcp", None, ("10.0.0.0/8",)), "ip saddr { 10.0.0.0/8 } meta l4proto tcp return"),
        (Allow("icmp", None, ("0.0.0.0/0",)), "meta nfproto ipv4 meta l4proto icmp return"),
        (Allow("icmp", None, ("::/0",)), "meta nfproto ipv6 meta l4proto ipv6-icmp return"),
        (tcp(443, "2400:cb00::/32"), "ip6 saddr { 2400:cb00::/32 } tcp dport 443 return"),
        (tcp(443, "10.0.0.0/8", "10.1.0.0/16"), "ip saddr { 10.0.0.0/8 } tcp dport 443 return"),
    ],
)
def test_rule_text(rule: Allow, expected: str) -> None:
    assert f"\t{expected}\n" in render(PLAN, topology(droplet(PUBLIC, 1, inbound=[rule])))


def test_outbound_rules_look_at_the_destination() -> None:
    text = render(PLAN, topology(droplet(PUBLIC, 1, outbound=[tcp(3306, "10.20.0.0/24")])))
    assert "ip daddr { 10.20.0.0/24 } tcp dport 3306 return" in text


def test_rule_without_peers_opens_nothing() -> None:
    text = render(PLAN, topology(droplet(PUBLIC, 1, inbound=[tcp(22)])))
    assert "dport 22" not in text


def test_unknown_protocol_is_an_error() -> None:
    with pytest.raises(ValueError, match="'sctp'"):
        render(PLAN, topology(droplet(PUBLIC, 1, inbound=[Allow("sctp", None, ANYWHERE)])))


def test_isolated_droplet_is_cut_on_both_interfaces() -> None:
    text = render(PLAN, topology(droplet(PUBLIC, 1, isolated=True), droplet(PUBLIC, 2)))
    assert 'type ifname\n\t\telements = { "pub1", "vpc1" }' in text


def test_members_of_a_vpc_carry_its_mark() -> None:
    text = render(PLAN, topology(droplet(PUBLIC, 1), droplet(PUBLIC, 2, vpc="vpc-b"), droplet(PUBLIC, 3)))
    assert 'elements = { 1 . "vpc1", 2 . "vpc2", 1 . "vpc3" }' in text


def test_only_the_own_address_and_card_may_send() -> None:
    web = droplet(PUBLIC, 1)
    text = render(PLAN, topology(web))
    assert f'"pub1" . {web.public.mac} . {web.public.address}' in text
    assert f'"vpc1" . {web.private.mac} . {web.private.address}' in text


def test_only_the_own_ipv6_address_may_send_and_on_the_public_card_alone() -> None:
    web = droplet(PUBLIC, 1, public6=PLAN.public6)
    text = render(PLAN, topology(web, droplet(PUBLIC, 2)))
    assert f'elements = {{ "pub1" . {web.public.mac} . 2001:db8:f103:1::2 }}' in text


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
@pytest.mark.parametrize("droplets", [0, 1, 300])
def test_nft_accepts_the_text(droplets: int) -> None:
    peers = [str(PUBLIC[number + 10]) for number in range(1, droplets + 1)]
    rules = [
        tcp(22, *peers),
        tcp(443, *EDGE_RANGES),
        Allow("icmp", None, ANYWHERE),
        Allow("udp", None, ANYWHERE),
    ]
    fleet = [
        replace(
            droplet(PUBLIC, number, inbound=rules, outbound=rules, public6=PLAN.public6),
            isolated=number % 7 == 0,
        )
        for number in range(1, droplets + 1)
    ]
    text = render(PLAN, Topology(tuple(fleet), EDGE_RANGES))
    # A namespace of its own: checking needs the right to read the kernel's tables.
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "nft", "-c", "-f", "-"],
        input=text,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.returncode == 0
