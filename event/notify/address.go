package notify

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// errAddress is the reason for a refused address.
var errAddress = errors.New("refused address")

// private are the networks of machines near this one. A setting allows them.
var private = prefixes(
	"127.0.0.0/8", "::1/128", // loopback
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", // RFC 1918
	"100.64.0.0/10", // shared by the customers of a provider, RFC 6598
	"fc00::/7",      // unique local, RFC 4193
)

// special are the networks that are not of the public internet, of
// https://www.iana.org/assignments/iana-ipv4-special-registry and -ipv6-, and an address
// of a cloud's own services. Only a listed network allows them.
var special = prefixes(
	"0.0.0.0/8",                                         // this network
	"169.254.0.0/16",                                    // link-local, and the metadata of clouds
	"168.63.129.16/32",                                  // the services of Azure's hosts
	"192.0.0.0/24",                                      // protocol assignments, and the metadata of Oracle's cloud
	"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", // documentation
	"192.88.99.0/24",             // relays of 6to4
	"198.18.0.0/15",              // benchmarks
	"224.0.0.0/4",                // multicast
	"240.0.0.0/4",                // reserved, and broadcast
	"2001::/23",                  // protocol assignments: Teredo, benchmarks, ORCHID
	"2001:db8::/32", "3fff::/20", // documentation
	"2002::/16", // 6to4: leads to any IPv4 address
)

// global is the only part of IPv6 that is of the public internet. Outside of it are
// unspecified, link-local and multicast addresses and those that contain an IPv4 address,
// such as NAT64 (64:ff9b::/96).
var global = netip.MustParsePrefix("2000::/3")

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

func within(a netip.Addr, all []netip.Prefix) bool {
	for _, p := range all {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// permit returns the error for an address that may not be connected to.
func (s *Sender) permit(a netip.Addr) error {
	a = a.WithZone("").Unmap()
	switch {
	case within(a, s.options.Allow):
		return nil
	case within(a, private):
		if s.options.AllowPrivate {
			return nil
		}
		return fmt.Errorf("%w: %s is private", errAddress, a)
	case within(a, special), a.Is6() && !global.Contains(a), !a.IsValid():
		return fmt.Errorf("%w: %s is not of the public internet", errAddress, a)
	}
	return nil
}

// control is called by the dialer for each address, after names are resolved and before
// a packet is sent. So no name can resolve to another address between check and use.
func (s *Sender) control(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", errAddress, address)
	}
	return s.permit(a.Addr())
}
